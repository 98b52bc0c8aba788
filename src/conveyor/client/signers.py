"""Signers: people whose SSH signatures count."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from conveyor.client.connection import Request, ask
from conveyor.client.paths import api_path

if TYPE_CHECKING:
    from conveyor.client.connection import Connection


@dataclass(frozen=True)
class Signers:
    """The signers that a store knows."""

    connection: Connection

    def all(self) -> list[dict[str, Any]]:
        """Every signer, revoked ones too."""
        request = Request("GET", api_path("signers"))
        return ask(self.connection, request, lambda value: list(value["signers"]))

    def add(
        self, principal: str, public_key: str, *, role: str = "qa", valid_until: str | None = None
    ) -> None:
        """Register a person's public SSH key."""
        body = {"principal": principal, "public_key": public_key, "role": role, "valid_until": valid_until}
        ask(self.connection, Request("POST", api_path("signers"), json_body=body), dict)

    def revoke(self, principal: str) -> None:
        """Revoke every key of a person."""
        self.connection.send(Request("DELETE", api_path("signers", principal)))
