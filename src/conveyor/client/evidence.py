"""Evidence: signed facts of distributions and commits, handed to a store."""

from __future__ import annotations

import base64
from dataclasses import dataclass
from typing import TYPE_CHECKING

from conveyor.client.connection import Request, ask
from conveyor.client.paths import api_path

if TYPE_CHECKING:
    from conveyor.client.connection import Connection


@dataclass(frozen=True)
class Evidence:
    """The evidence of a store. What it has already is a success."""

    connection: Connection

    def add(self, envelope: bytes) -> None:
        """Hand in a signed statement."""
        ask(self.connection, Request("POST", api_path("evidence"), body=envelope, may_repeat=True), dict)

    def add_tag(self, project: str, tag_object: bytes) -> None:
        """Hand in a signed tag object (``git cat-file tag NAME``)."""
        body = {"project": project, "tag_object": base64.b64encode(tag_object).decode()}
        ask(self.connection, Request("POST", api_path("tags"), json_body=body, may_repeat=True), dict)
