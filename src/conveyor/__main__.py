"""Entry point of the ``conveyor`` command.

``conveyor --version`` answers from the version file written at build time, before any framework is
imported: scripts and shells ask it often, and importing the command line costs more than the answer.
"""

from __future__ import annotations

import sys

from conveyor import installed_version


def main() -> int:
    """Run the command line on ``sys.argv`` and return its exit code."""
    if sys.argv[1:] in (["--version"], ["-V"]):
        try:
            sys.stdout.write(f"conveyor {installed_version()}\n")
            sys.stdout.flush()
        except OSError as error:
            from conveyor.cli import told

            return told(error)
        return 0
    from conveyor.cli import run

    return run(sys.argv[1:])


if __name__ == "__main__":
    sys.exit(main())
