"""Pipeline workers, whose evidence counts."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from conveyor.client.connection import Request, ask
from conveyor.client.paths import api_path

if TYPE_CHECKING:
    from conveyor.client.connection import Connection


@dataclass(frozen=True)
class Workers:
    """The workers that a store knows."""

    connection: Connection

    def all(self) -> list[dict[str, Any]]:
        """Every worker, revoked ones too."""
        request = Request("GET", api_path("workers"))
        return ask(self.connection, request, lambda value: list(value["workers"]))

    def add(self, name: str, public_key: str) -> tuple[str, str]:
        """Register a worker with its public key (PEM); its token and key id."""
        request = Request("POST", api_path("workers"), json_body={"name": name, "public_key": public_key})
        return ask(self.connection, request, lambda value: (str(value["token"]), str(value["key_id"])))

    def revoke(self, name: str) -> None:
        """Revoke a worker."""
        self.connection.send(Request("DELETE", api_path("workers", name)))
