"""People and machines: users, their API tokens, signers, and pipeline workers."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from conveyor.client.connection import Request, api_path, ask_for, ask_for_all
from conveyor.domain.people.access import IssuedToken, NewToken, Token
from conveyor.domain.people.keys import IssuedWorker, NewSigner, NewWorker, Signer, Worker
from conveyor.domain.people.passwords import MadeUser, NewPassword, PasswordChange
from conveyor.domain.people.publishers import Publisher

if TYPE_CHECKING:
    from conveyor.client.connection import Connection
    from conveyor.domain.people.passwords import NewUser
    from conveyor.domain.people.publishers import NewPublisher


@dataclass(frozen=True)
class Users:
    """The users of a store."""

    connection: Connection

    def add(self, asked: NewUser) -> MadeUser:
        """Make a user."""
        return ask_for(self.connection, Request("POST", api_path("users"), json_body=asked), MadeUser)

    def set_password(self, name: str, password: str, *, revoke_tokens: bool = False) -> PasswordChange:
        """Give a user a new password; the result says how many tokens still work."""
        body = NewPassword(password, revoke_tokens)
        request = Request("PUT", api_path("users", name, "password"), json_body=body)
        return ask_for(self.connection, request, PasswordChange)

    def disable(self, name: str) -> None:
        """Disable a user permanently."""
        self.connection.send(Request("DELETE", api_path("users", name)))


@dataclass(frozen=True)
class Tokens:
    """The API tokens of a store."""

    connection: Connection

    def all(self, user: str | None = None) -> tuple[Token, ...]:
        """Every token, or those of one user, without their secrets, oldest first."""
        request = Request("GET", api_path("tokens", user=user or None))
        return ask_for_all(self.connection, request, "tokens", Token)

    def add(self, asked: NewToken) -> IssuedToken:
        """Make a token."""
        return ask_for(self.connection, Request("POST", api_path("tokens"), json_body=asked), IssuedToken)

    def revoke(self, token_id: int) -> None:
        """Revoke a token."""
        self.connection.send(Request("DELETE", api_path("tokens", token_id)))


@dataclass(frozen=True)
class Publishers:
    """The trusted publishers that a store knows."""

    connection: Connection

    def all(self) -> tuple[Publisher, ...]:
        """Every publisher, by number."""
        return ask_for_all(self.connection, Request("GET", api_path("publishers")), "publishers", Publisher)

    def add(self, asked: NewPublisher) -> Publisher:
        """Let jobs of a CI host publish a project into an index."""
        request = Request("POST", api_path("publishers"), json_body=asked)
        return ask_for(self.connection, request, Publisher)

    def remove(self, number: int) -> None:
        """Remove a publisher."""
        self.connection.send(Request("DELETE", api_path("publishers", number)))


@dataclass(frozen=True)
class Signers:
    """The signers that a store knows."""

    connection: Connection

    def all(self) -> tuple[Signer, ...]:
        """Every signer, revoked ones too."""
        return ask_for_all(self.connection, Request("GET", api_path("signers")), "signers", Signer)

    def add(self, asked: NewSigner) -> Signer:
        """Register a person's public key, SSH or OpenPGP."""
        return ask_for(self.connection, Request("POST", api_path("signers"), json_body=asked), Signer)

    def revoke(self, principal: str) -> None:
        """Revoke every key of a person."""
        self.connection.send(Request("DELETE", api_path("signers", principal)))


@dataclass(frozen=True)
class Workers:
    """The workers that a store knows."""

    connection: Connection

    def all(self) -> tuple[Worker, ...]:
        """Every worker, revoked ones too."""
        return ask_for_all(self.connection, Request("GET", api_path("workers")), "workers", Worker)

    def add(self, name: str, public_key: str) -> IssuedWorker:
        """Register a worker with its public key (PEM)."""
        request = Request("POST", api_path("workers"), json_body=NewWorker(name, public_key))
        return ask_for(self.connection, request, IssuedWorker)

    def revoke(self, name: str) -> None:
        """Revoke a worker."""
        self.connection.send(Request("DELETE", api_path("workers", name)))
