"""Indexes: which there are, and new ones; and names that belong to the house."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from conveyor.client.answers import read_indexes, read_way
from conveyor.client.connection import Request, api_path, ask

if TYPE_CHECKING:
    from collections.abc import Sequence

    from conveyor.client.connection import Connection
    from conveyor.domain.indexes.definitions import Index


@dataclass(frozen=True)
class Indexes:
    """The indexes of a store."""

    connection: Connection

    def all(self) -> tuple[Index, ...]:
        """The indexes that this caller may read, by name."""
        return ask(self.connection, Request("GET", api_path("indexes")), read_indexes)

    def way(self, entry: str | None = None) -> tuple[str, ...]:
        """The indexes that a run carries a release through, from ``entry`` to the last.

        ``None``: from the only index where runs of this caller can enter. Raises NotFound, Conflict.
        """
        return ask(self.connection, Request("GET", api_path("way", index=entry)), read_way)

    def add(
        self,
        name: str,
        *,
        mode: str,
        bases: Sequence[str] = (),
        gates: Sequence[str] = (),
        is_private: bool = False,
    ) -> None:
        """Make a local index."""
        body = {
            "name": name,
            "mode": mode,
            "bases": list(bases),
            "gates": list(gates),
            "is_private": is_private,
        }
        ask(self.connection, Request("POST", api_path("indexes"), json_body=body), dict)


@dataclass(frozen=True)
class Claims:
    """The claims of a store."""

    connection: Connection

    def add(self, name: str, *, is_prefix: bool = False) -> bool:
        """Claim a name or a prefix; whether the claim is new."""
        body = {"name": name, "is_prefix": is_prefix}
        request = Request("POST", api_path("claims"), json_body=body, may_repeat=True)
        return self.connection.send(request).status == 201
