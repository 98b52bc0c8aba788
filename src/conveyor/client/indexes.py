"""Indexes: list, make and set them; and claims of names for this store."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from conveyor.client.connection import Request, api_path, ask_for, ask_for_all
from conveyor.domain.indexes.definitions import Index
from conveyor.domain.releases.promotions import RunWay

if TYPE_CHECKING:
    from conveyor.client.connection import Connection
    from conveyor.domain.indexes.definitions import IndexSettings, NewClaim, NewIndex


@dataclass(frozen=True)
class Indexes:
    """The indexes of a store."""

    connection: Connection

    def all(self) -> tuple[Index, ...]:
        """The indexes that this caller may read, by name."""
        return ask_for_all(self.connection, Request("GET", api_path("indexes")), "indexes", Index)

    def way(self, entry: str | None = None) -> tuple[str, ...]:
        """The indexes that a run carries a release through, from ``entry`` to the last.

        ``None`` begins at the only index where runs of this caller can enter. Raises NotFound, Conflict.
        """
        return ask_for(self.connection, Request("GET", api_path("way", index=entry)), RunWay).indexes

    def add(self, asked: NewIndex) -> Index:
        """Make a local index."""
        return ask_for(self.connection, Request("POST", api_path("indexes"), json_body=asked), Index)

    def set(self, asked: IndexSettings) -> Index:
        """Change the settings of an index; those that are left out are emptied."""
        request = Request("PUT", api_path("indexes", "settings"), json_body=asked)
        return ask_for(self.connection, request, Index)


@dataclass(frozen=True)
class Claims:
    """The claims of a store."""

    connection: Connection

    def add(self, asked: NewClaim) -> bool:
        """Claim a name or a prefix; return whether the claim is new."""
        request = Request("POST", api_path("claims"), json_body=asked, may_repeat=True)
        return self.connection.send(request).status == 201
