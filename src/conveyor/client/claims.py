"""Claims: names that belong to the house."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from conveyor.client.connection import Request
from conveyor.client.paths import api_path

if TYPE_CHECKING:
    from conveyor.client.connection import Connection


@dataclass(frozen=True)
class Claims:
    """The claims of a store."""

    connection: Connection

    def add(self, name: str, *, is_prefix: bool = False) -> bool:
        """Claim a name or a prefix; whether the claim is new."""
        body = {"name": name, "is_prefix": is_prefix}
        request = Request("POST", api_path("claims"), json_body=body, may_repeat=True)
        return self.connection.send(request).status == 201
