"""The server's own log: what went wrong, one JSON line each, on standard error.

Standard output belongs to the one line that says where the store is served.
"""

from __future__ import annotations

import logging
import sys

import structlog


def configure_logs() -> None:
    """Make every structlog logger of this process write JSON lines to standard error.

    The form parser would write a line there for each broken form; its sender is told already.
    """
    logging.getLogger("python_multipart").setLevel(logging.CRITICAL)
    structlog.configure(
        processors=[
            structlog.processors.add_log_level,
            structlog.processors.TimeStamper(fmt="iso", utc=True, key="time"),
            structlog.processors.format_exc_info,
            structlog.processors.JSONRenderer(),
        ],
        logger_factory=structlog.PrintLoggerFactory(file=sys.stderr),
        cache_logger_on_first_use=True,
    )
