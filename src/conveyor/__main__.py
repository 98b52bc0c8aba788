"""Entry point of the ``conveyor`` command.

``conveyor --version`` answers from the version file written at build time, before any framework is
imported: scripts and shells ask it often, and importing the command line costs more than the answer.
"""

from __future__ import annotations

import sys


def main() -> int:
    """Run the command line on ``sys.argv`` and return its exit code."""
    if sys.argv[1:] in (["--version"], ["-V"]):
        sys.stdout.write(f"conveyor {installed_version()}\n")
        return 0
    from conveyor.cli import run

    return run(sys.argv[1:])


def installed_version() -> str:
    """The version of this installation, such as ``1.3.0.dev4+g1a2b3c4``."""
    try:
        from conveyor._version import __version__
    except ModuleNotFoundError:  # a source tree that was never built
        return "0.0.0"
    return str(__version__)


if __name__ == "__main__":
    sys.exit(main())
