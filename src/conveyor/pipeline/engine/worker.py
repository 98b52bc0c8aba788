"""Who works here, for the store: a worker, whose key signs its evidence, or the job of a CI host.

A worker is registered and has a key. A job of a CI host is known by the ID token that its host gave it; it
signs nothing, so what it tells is kept as its word and no more (``domain.releases.facts``).
"""

from __future__ import annotations

import re
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING

from conveyor.client.credentials import WorkerCredentials, load_credentials, sign_statement
from conveyor.client.id_tokens import JobTokens
from conveyor.client.store import StoreClient, connect
from conveyor.domain.releases.facts import admitted
from conveyor.domain.runs.repositories import Reach
from conveyor.errors import InvalidInput

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

    from conveyor.domain.releases.evidence import Evidence


@dataclass(frozen=True)
class Keeper:
    """A registered worker, as the jobs see it. Never an argument of a workflow: it holds secrets."""

    client: StoreClient
    credentials: WorkerCredentials | None
    """``None``: it is the job of a CI host, and signs nothing."""
    store_url: str
    run: int | None = None
    """The run that it carries; ``None``: none yet."""
    reach: Reach = field(default_factory=Reach)
    """The repositories that the run may read."""
    tests_since: str | None = None
    """Only results of tests from then on count for its run; ``None``: earlier ones too."""
    public_url: str | None = None
    """The URL by which people reach the store, as it says; ``None``: it does not say."""
    index: str | None = None
    """The index that the run enters; ``None``: no run yet."""
    is_private: bool = False
    """Whether reading that index, or one of its bases, takes the run's token."""
    token: str | None = field(default=None, repr=False)
    """The run's token, which the client sends; ``None``: no run yet."""
    job: JobTokens | None = None
    """The token of the job of a CI host."""

    @property
    def name(self) -> str:
        """The name under which the store registered it."""
        return self.credentials.name if self.credentials is not None else "the job of a CI host"

    def seen(self, evidence: tuple[Evidence, ...]) -> tuple[Evidence, ...]:
        """Evidence as this worker goes by it: a job of a CI host believes what jobs told before."""
        return admitted(evidence, takes_jobs=self.job is not None)

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
            self, client=client, token=made.secret, run=run_id, reach=reach, public_url=made.store_url,
            index=made.index, is_private=made.is_private, tests_since=made.tests_since,
        )  # fmt: skip

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

    def testify(self, statement: bytes, *, mirror: str | None = None) -> None:
        """Sign a statement and hand it to the store, which records the same statement only once.

        A job of a CI host hands it in as it is. With ``mirror`` it is about a file of the store that this
        index mirrors.
        """
        if self.credentials is None:
            self.client.evidence.tell(statement)
        else:
            self.client.evidence.add(sign_statement(statement, self.credentials), mirror=mirror)


def open_worker(credentials: Path, *, store_url: str | None = None) -> Keeper:
    """The worker whose credentials are in that file; ``store_url`` overrides the URL in it.

    Raises:
        InvalidInput: neither the file nor the argument names a store.
    """
    found = load_credentials(credentials)
    url = (store_url or found.store_url or "").rstrip("/")
    if not url:
        raise InvalidInput(f"{credentials} does not name a store", hint="name it with --store URL")
    return Keeper(connect(url, token=found.token), found, url)


def open_job(*, store_url: str | None, variables: Mapping[str, str] | None = None) -> Keeper:
    """The job of a CI host that runs here, a trusted publisher of the store.

    ``variables`` are those of its environment; ``None``: of this process. It asks for a token only when
    the store is first called.

    Raises:
        InvalidInput: no store is named.
    """
    url = (store_url or "").rstrip("/")
    if not url:
        raise InvalidInput("no store is named", hint="name it with --store URL, or in CONVEYOR_URL")
    tokens = JobTokens(url, variables)
    return Keeper(connect(url, token=tokens), None, url, job=tokens)
