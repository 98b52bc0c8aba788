"""Conveyor carries data science from a notebook to production as ordinary Python packages."""


def installed_version() -> str:
    """The version of this installation, such as ``1.3.0.dev4+g1a2b3c4``."""
    try:
        from conveyor._version import __version__
    except ModuleNotFoundError:  # a source tree that was never built
        return "0.0.0"
    return str(__version__)
