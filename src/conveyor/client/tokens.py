"""API tokens, which stand for a user's password."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from conveyor.client.connection import Request, ask
from conveyor.client.paths import api_path
from conveyor.domain.people.access import NewToken
from conveyor.errors import InvalidInput

if TYPE_CHECKING:
    from collections.abc import Sequence

    from conveyor.client.connection import Connection


@dataclass(frozen=True)
class Tokens:
    """The API tokens of a store."""

    connection: Connection

    def all(self, user: str | None = None) -> list[dict[str, Any]]:
        """Every token without its secret, or those of one user, oldest first."""
        request = Request("GET", api_path("tokens", user=user or None))
        return ask(self.connection, request, lambda value: list(value["tokens"]))

    def add(
        self,
        user: str,
        *,
        scopes: Sequence[str] | None = None,
        indexes: Sequence[str] | None = None,
        projects: Sequence[str] | None = None,
        expires_at: str | None = None,
        description: str = "",
    ) -> NewToken:
        """Make a token; ``scopes`` ``None``: all that the user has."""
        body = {
            "user": user,
            "scopes": _list(scopes),
            "indexes": _list(indexes),
            "projects": _list(projects),
            "expires_at": expires_at,
            "description": description or None,
        }
        request = Request("POST", api_path("tokens"), json_body=body)
        return ask(self.connection, request, _new_token)

    def revoke(self, token_id: int) -> None:
        """Revoke a token."""
        self.connection.send(Request("DELETE", api_path("tokens", token_id)))


def checked_token(text: str, *, source: str) -> str:
    """The token in a text, without the white space that shells and editors leave at its ends.

    ``source`` is where it was read. Errors name that and never the text: libraries for HTTP would repeat a
    header that they refuse, and so write the secret into logs.

    Raises:
        InvalidInput: it is empty, or holds what no header can carry.
    """
    token = text.strip()
    if not token:
        raise InvalidInput(f"{source} is empty", hint="put a token there, or leave it out to ask as anybody")
    if not (token.isascii() and token.isprintable()):
        raise InvalidInput(
            f"{source} is no token: it holds a line break, or another character that none has",
            hint="copy the token again, all of it and nothing else",
        )
    return token


def _new_token(value: dict[str, Any]) -> NewToken:
    return NewToken(int(value["id"]), str(value["token"]))


def _list(names: Sequence[str] | None) -> list[str] | None:
    return None if names is None else list(names)
