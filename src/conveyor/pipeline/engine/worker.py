"""The worker's identity at the store: a client with its token, and the key that signs its evidence."""

from __future__ import annotations

import re
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING

from conveyor.client.credentials import WorkerCredentials, load_credentials, sign_statement
from conveyor.client.store import StoreClient, connect
from conveyor.domain.runs.repositories import Reach
from conveyor.errors import InvalidInput

if TYPE_CHECKING:
    from pathlib import Path


@dataclass(frozen=True)
class Keeper:
    """A registered worker, as the jobs see it. Never an argument of a workflow: it holds secrets."""

    client: StoreClient
    credentials: WorkerCredentials
    store_url: str
    token: str = field(repr=False)
    """What the client sends: the worker's own token, or that of one run."""
    run: int | None = None
    """The run that it carries; ``None``: none yet."""
    reach: Reach = field(default_factory=Reach)
    """The repositories that the run may read."""
    public_url: str | None = None
    """The URL by which people reach the store, as it says; ``None``: it does not say."""

    @property
    def name(self) -> str:
        """The name under which the store registered it."""
        return self.credentials.name

    def for_run(self, run_id: int) -> Keeper:
        """The worker as it carries one run: with a token for its project and indexes, which ends with it.

        Raises:
            Conflict: the run has ended.
            ConveyorError: the store refuses it, or cannot be reached.
        """
        made = self.client.runs.token(run_id)
        client = connect(self.store_url, token=made.secret)
        registered = {one.url: one.is_local for one in made.repositories}
        reach = Reach(registered, made.folders)
        return replace(
            self, client=client, token=made.secret, run=run_id, reach=reach, public_url=made.store_url
        )

    @property
    def told_url(self) -> str:
        """The URL of the store for what is written down: other people read it, on other machines."""
        return self.public_url or self.store_url

    def told(self, text: str) -> str:
        """A text for people: it names the store by its public URL, not as this worker reaches it."""
        return re.sub(rf"{re.escape(self.store_url)}(?![\w.:-])", lambda _: self.told_url, text)

    def index_url(self, index: str) -> str:
        """The simple API of an index, for installers."""
        return f"{self.store_url}/{index}/simple/"

    def file_url(self, path: str) -> str:
        """A file's absolute URL, from the path or URL in the store's API."""
        return path if "://" in path else f"{self.store_url}{path}"

    def testify(self, statement: bytes) -> None:
        """Sign a statement and hand it to the store, which records the same statement only once."""
        self.client.evidence.add(sign_statement(statement, self.credentials))


def open_worker(credentials: Path, *, store_url: str | None = None) -> Keeper:
    """The worker whose credentials are in that file; ``store_url`` overrides the URL in it.

    Raises:
        InvalidInput: neither the file nor the argument names a store.
    """
    found = load_credentials(credentials)
    url = (store_url or found.store_url or "").rstrip("/")
    if not url:
        raise InvalidInput(f"{credentials} does not name a store", hint="name it with --store URL")
    return Keeper(connect(url, token=found.token), found, url, found.token)
