"""Users: people and machines that may sign in."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from conveyor.client.connection import Request, ask
from conveyor.client.paths import api_path

if TYPE_CHECKING:
    from collections.abc import Sequence

    from conveyor.client.connection import Connection


@dataclass(frozen=True)
class Users:
    """The users of a store."""

    connection: Connection

    def add(self, name: str, *, password: str | None, scopes: Sequence[str]) -> None:
        """Make a user; ``password`` ``None``: one who has tokens only."""
        body = {"name": name, "password": password, "scopes": list(scopes)}
        ask(self.connection, Request("POST", api_path("users"), json_body=body), dict)

    def set_password(self, name: str, password: str) -> None:
        """Give a user a new password."""
        path = api_path("users", name, "password")
        self.connection.send(Request("PUT", path, json_body={"password": password}))

    def disable(self, name: str) -> None:
        """Let a user do nothing any more."""
        self.connection.send(Request("DELETE", api_path("users", name)))
