"""Facts about a store as a whole: its id, its upstream, its audit log, and where it was last served.

The address is a line in the store's folder, for commands on this machine that work on the folder. It is only
a hint: the store may be down, or may be reached at another URL through a proxy.
"""

from __future__ import annotations

import secrets
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

from conveyor.catalog.database.events import events_since
from conveyor.catalog.database.schema import read_fact
from conveyor.domain.people.access import Identity, may_administer
from conveyor.errors import StorageFailed
from conveyor.operations.store.store import read
from conveyor.settings import UpstreamSettings

if TYPE_CHECKING:
    from pathlib import Path

    from conveyor.domain.words.notation import Event
    from conveyor.operations.store.store import Store


def store_upstream(store: Store) -> UpstreamSettings:
    """The index that mirrors of this store read from."""
    return UpstreamSettings.from_json(_fact(store, "upstream"))


def store_id(store: Store) -> str:
    """The id that this store was given when it was initialised."""
    return _fact(store, "store-id")


def _fact(store: Store, key: str) -> str:
    with read(store) as connection:
        value = read_fact(connection, key)
    if value is None:
        raise StorageFailed(
            "this store is not initialised", hint="initialise it: conveyor store serve --data DIR"
        )
    return value


MAX_EVENTS_LISTED = 1000


def list_events(store: Store, identity: Identity, *, since: int = 0) -> list[Event]:
    """The events after serial ``since``, oldest first, at most ``MAX_EVENTS_LISTED``.

    To get more, call again with the last serial received.

    Raises:
        Unauthorized, Forbidden: the caller does not administer the store.
    """
    may_administer(identity)
    with read(store) as connection:
        return events_since(connection, since, limit=MAX_EVENTS_LISTED)


ADDRESS_FILE = "served-at"
_MOST_BYTES = 1000
_ANY_ADDRESS = {"0.0.0.0": "127.0.0.1", "::": "[::1]"}  # noqa: S104 - read, not bound


def reachable(url: str) -> str:
    """The URL at which this machine reaches the listener: an address that means "any" cannot be called."""
    parts = urlsplit(url)
    host = _ANY_ADDRESS.get(parts.hostname or "")
    return url if host is None else f"{parts.scheme}://{host}:{parts.port}/"


def remember_address(data: Path, url: str) -> None:
    """Note that the store in this folder is served at this URL; a failure only loses the note."""
    scratch = data / f".{ADDRESS_FILE}-{secrets.token_hex(4)}"
    try:
        scratch.write_text(reachable(url) + "\n", encoding="utf-8")
        scratch.replace(data / ADDRESS_FILE)
    except OSError:
        scratch.unlink(missing_ok=True)


def last_address(data: Path) -> str | None:
    """The URL at which the store in this folder was last served; ``None`` if it never was."""
    try:
        with (data / ADDRESS_FILE).open(encoding="utf-8") as file:
            url = file.read(_MOST_BYTES).strip()
    except (OSError, UnicodeDecodeError):
        return None
    return url if url.startswith(("http://", "https://")) else None
