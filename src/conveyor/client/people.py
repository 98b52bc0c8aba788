"""People and machines: users, their API tokens, signers, and pipeline workers."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from conveyor.client.connection import Request, api_path, ask, ask_for, ask_for_all
from conveyor.domain.people.access import IssuedToken, NewToken, Token
from conveyor.errors import InvalidInput

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

    def set_password(self, name: str, password: str, *, revoke_tokens: bool = False) -> int:
        """Give a user a new password; how many tokens of the user go on working."""
        body = {"password": password, "revoke_tokens": revoke_tokens}
        request = Request("PUT", api_path("users", name, "password"), json_body=body)
        return ask(self.connection, request, lambda value: int(value["working_tokens"]))

    def disable(self, name: str) -> None:
        """Let a user do nothing any more."""
        self.connection.send(Request("DELETE", api_path("users", name)))


@dataclass(frozen=True)
class Tokens:
    """The API tokens of a store."""

    connection: Connection

    def all(self, user: str | None = None) -> tuple[Token, ...]:
        """Every token without its secret, or those of one user, oldest first."""
        request = Request("GET", api_path("tokens", user=user or None))
        return ask_for_all(self.connection, request, "tokens", Token)

    def add(self, asked: NewToken) -> IssuedToken:
        """Make a token."""
        return ask_for(self.connection, Request("POST", api_path("tokens"), json_body=asked), IssuedToken)

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
        raise InvalidInput(f"{source} is empty", hint="put a token there, or leave it out to ask anonymously")
    if not (token.isascii() and token.isprintable()):
        raise InvalidInput(
            f"{source} is not a token: it holds a line break, or another character that no token has",
            hint="copy the token again, all of it and nothing else",
        )
    return token


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
