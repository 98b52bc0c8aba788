"""A store as its clients see it: its operations, grouped by noun."""

from __future__ import annotations

from typing import TYPE_CHECKING, Self

from conveyor.client.connection import Request, api_path, ask_for
from conveyor.client.files import StoreFiles
from conveyor.client.http import HttpConnection
from conveyor.client.indexes import Claims, Indexes
from conveyor.client.people import Publishers, Signers, Tokens, Users, Workers
from conveyor.client.policies import Advisories, Decisions, Policies
from conveyor.client.releases import Projects, Releases, StoreEvidence
from conveyor.client.runs import Receivers, Repositories, Runs
from conveyor.domain.words.notation import StoreStatus

if TYPE_CHECKING:
    from collections.abc import Callable

    from conveyor.client.connection import Connection


def connect(url: str, *, token: str | Callable[[], str] | None = None) -> StoreClient:
    """Connect to the store that a server serves at ``url``, with a token or anonymously.

    A function as ``token`` gives the one that holds now, for every request.

    Raises:
        InvalidInput: ``url`` is not the URL of a store, or ``token`` cannot be a token.
    """
    return StoreClient(HttpConnection(url, token=token))


class StoreClient:
    """A client of one store; may be shared by threads.

    Every method of every noun raises ``StoreUnreachable`` if there is no answer, else the error that the
    store raised.
    """

    def __init__(self, connection: Connection) -> None:
        """``connection`` is closed with the client."""
        self._connection = connection
        self.advisories = Advisories(connection)
        self.claims = Claims(connection)
        self.decisions = Decisions(connection)
        self.evidence = StoreEvidence(connection)
        self.files = StoreFiles(connection)
        self.indexes = Indexes(connection)
        self.policies = Policies(connection)
        self.projects = Projects(connection)
        self.publishers = Publishers(connection)
        self.receivers = Receivers(connection)
        self.releases = Releases(connection)
        self.repositories = Repositories(connection)
        self.runs = Runs(connection)
        self.signers = Signers(connection)
        self.tokens = Tokens(connection)
        self.users = Users(connection)
        self.workers = Workers(connection)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    @property
    def url(self) -> str:
        """The name of the store in messages; over HTTP its URL without a trailing slash."""
        return self._connection.url

    def close(self) -> None:
        """Close the connection."""
        self._connection.close()

    def status(self) -> StoreStatus:
        """The store's identity and its newest serial."""
        return ask_for(self._connection, Request("GET", api_path("status")), StoreStatus)
