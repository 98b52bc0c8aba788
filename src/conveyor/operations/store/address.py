"""Where a store was served last: a line in its folder, for commands on this machine that work on the folder.

It is a hint and no promise: the store may be down, or be reached by another URL through a proxy.
"""

from __future__ import annotations

import secrets
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

if TYPE_CHECKING:
    from pathlib import Path

ADDRESS_FILE = "served-at"
_MOST_BYTES = 1000
_ANY_ADDRESS = {"0.0.0.0": "127.0.0.1", "::": "[::1]"}  # noqa: S104 - read, not bound


def reachable(url: str) -> str:
    """The URL by which this machine reaches what listens there: an address that means "any" is no address."""
    parts = urlsplit(url)
    host = _ANY_ADDRESS.get(parts.hostname or "")
    return url if host is None else f"{parts.scheme}://{host}:{parts.port}/"


def remember_address(data: Path, url: str) -> None:
    """Note that the store in this folder is served at this URL; if that fails, nobody is told it later."""
    scratch = data / f".{ADDRESS_FILE}-{secrets.token_hex(4)}"
    try:
        scratch.write_text(reachable(url) + "\n", encoding="utf-8")
        scratch.replace(data / ADDRESS_FILE)
    except OSError:
        scratch.unlink(missing_ok=True)


def last_address(data: Path) -> str | None:
    """The URL that the store in this folder was served at last; ``None`` when it never was."""
    try:
        with (data / ADDRESS_FILE).open(encoding="utf-8") as file:
            url = file.read(_MOST_BYTES).strip()
    except (OSError, UnicodeDecodeError):
        return None
    return url if url.startswith(("http://", "https://")) else None
