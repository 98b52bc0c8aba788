"""Serves a store whose clock is ahead: ``python serve_later.py DAYS store serve …``."""

from __future__ import annotations

import sys
from datetime import UTC, datetime, timedelta

from conveyor.cli import run
from conveyor.operations.care import opening

if __name__ == "__main__":
    ahead = timedelta(days=int(sys.argv[1]))
    setattr(opening, "now", lambda: datetime.now(UTC) + ahead)  # noqa: B010 - a name that it imports
    sys.exit(run(sys.argv[2:]))
