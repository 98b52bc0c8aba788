"""Indexes: which there are, and new ones."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from conveyor.client.answers import read_indexes
from conveyor.client.connection import Request, ask
from conveyor.client.paths import api_path

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
