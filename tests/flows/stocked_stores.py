"""A serving store with everything in it that installers have to cope with.

===============  =============================================================================================
own, promoted    ``demo`` 1.0 in stable, 1.1 in testing, 1.2 in unstable: wheel and sdist, needing ``lower``
own, traps       ``demo`` 1.3 is yanked, 1.4 asks for a Python that is not there, 2.0rc1 is a pre-release
own, others      ``source-only`` has an sdist alone, ``large`` a wheel of some megabytes
private          ``hidden`` 1.0 in the index ``team/private``, needing ``demo``, ``lower``, ``source-only``
mirrored         ``lower`` 0.5, 2.0 and 3.0 with upload times; ``picky`` 1.0, whose newer releases want an
                 old ``lower``
===============  =============================================================================================

The releases are a month apart, so that "not newer than" has something to choose from.
"""

from __future__ import annotations

import random
from contextlib import contextmanager
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from typing import TYPE_CHECKING

from conveyor.domain.indexes.definitions import NewIndex
from conveyor.domain.people.access import NewToken
from conveyor.domain.people.keys import NewSigner
from conveyor.operations.indexes.definitions import create_index
from conveyor.operations.people.signers import add_signer
from conveyor.operations.people.tokens import create_token
from conveyor.operations.people.users import add_user
from conveyor.operations.releases.evidence import add_tag
from conveyor.operations.releases.promotions import promote_release
from conveyor.operations.releases.withdrawals import yank_release
from conveyor.settings import UpstreamSettings
from distributions_made import core_metadata, make_sdist, make_wheel
from makers import close_stores, make_store
from releases_made import (
    ADMIN,
    hand_in,
    head,
    make_repository,
    make_ssh_key,
    make_worker,
    predicate_of_build,
    predicate_of_tests,
    public_key,
    publish,
    sign_tag,
)
from running_stores import RunningStore, running_store
from upstreams import file_entry, running_upstream

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from conveyor.operations.store.store import Store
    from distributions_made import Made
    from upstreams import RunningUpstream

YANK_REASON = "it predicts nonsense"
LARGE_BYTES = 4 * 1024 * 1024
PASSWORD = "p@ss:wörd/#1?"
"""Of the user ``person``, who may read every index: half of it cannot stand in a URL as it is."""
PRIVATE = "team/private"
"""The private index; a team's prefix makes its URL one folder deeper."""


@dataclass(frozen=True)
class StockedStore:
    """A serving store, its upstream, and what is in it."""

    running: RunningStore
    upstream: RunningUpstream
    files: dict[str, Made]
    """Every file by its name, own and mirrored."""
    token: str
    """Of a user who may read every index, the private one too, and upload."""
    reading_token: str
    """Of the same user, narrowed to reading."""

    def index(self, name: str = "unstable", *, token: str | None = None) -> str:
        """The URL of an index's simple API; with a token it is part of the URL."""
        url = f"{self.running.url}/{name}/simple/"
        return url if token is None else url.replace("://", f"://__token__:{token}@")

    @contextmanager
    def watched(self) -> Iterator[Requests]:
        """What is asked of the store inside the block, known after it."""
        before = len(self.running.logged())
        seen = Requests([])
        yield seen
        seen.lines.extend(line for line in self.running.logged()[before:] if line["path"] != "/healthz")


@dataclass(frozen=True)
class Requests:
    """Lines of the access log."""

    lines: list[dict[str, object]]

    def statuses(self) -> set[int]:
        """Every status that was answered."""
        return {int(str(line["status"])) for line in self.lines}

    def pages(self, *, status: int = 200) -> list[str]:
        """The projects whose pages were asked for and answered with that status, in order."""
        return [
            str(line["path"]).rstrip("/").rpartition("/")[2]
            for line in self.lines
            if "/simple/" in str(line["path"]) and line["status"] == status
        ]

    def files(self, *, method: str = "GET") -> list[str]:
        """The files that were asked for, sidecars among them, in order."""
        return [
            str(line["path"]).rpartition("/")[2]
            for line in self.lines
            if str(line["path"]).startswith("/packages/") and line["method"] == method
        ]

    def suppliers(self, ending: str) -> dict[str, object]:
        """File with that ending → the index that supplied it."""
        return {
            str(line["path"]).rpartition("/")[2]: line["supplied_by"]
            for line in self.lines
            if str(line["path"]).startswith("/packages/") and str(line["path"]).endswith(ending)
        }


@contextmanager
def stocked_store(folder: Path) -> Iterator[StockedStore]:
    """A stocked store below a folder, serving with two processes, and its upstream."""
    with running_upstream() as upstream:
        mirrored = _fill_upstream(upstream)
        store = make_store(folder / "store", upstream=UpstreamSettings(upstream.url))
        try:
            own, token, reading_token = _fill(store, folder)
        finally:
            close_stores()
        with running_store(folder / "store", workers=2) as running:
            files = {made.filename: made for made in (*mirrored, *own)}
            stocked = StockedStore(running, upstream, files, token, reading_token)
            _warm(stocked, mirrored)
            yield stocked


def _fill_upstream(upstream: RunningUpstream) -> list[Made]:
    lower = {"0.5": "2025-01-10", "2.0": "2025-06-10", "3.0": "2026-05-10"}
    picky = {"1.0": "lower>=1", "2.0": "lower<1", "3.0": "lower<1"}
    made = {version: make_wheel("lower", version) for version in lower}
    entries = [
        file_entry(
            upstream, made[version], **{"size": len(made[version].content), "upload-time": f"{day}T12:00:00Z"}
        )
        for version, day in lower.items()
    ]
    upstream.add_json("lower", entries)
    choosy = [
        make_wheel("picky", version, metadata=core_metadata("picky", version, requires=[needed]))
        for version, needed in picky.items()
    ]
    upstream.add_html("picky", choosy)
    return [*made.values(), *choosy]


def _warm(stocked: StockedStore, mirrored: list[Made]) -> None:
    """Ask for the sidecar of every mirrored file: its digest on the page is the last that changes there."""
    for project in {made.filename.partition("-")[0] for made in mirrored}:
        stocked.running.get(f"/unstable/simple/{project}/")
    for made in mirrored:
        assert stocked.running.get(f"/packages/{made.sha256}/{made.filename}.metadata").status == 200


def _release(version: str, *, requires_python: str = ">=3.8") -> tuple[Made, Made]:
    """Wheel and sdist of a release of ``demo``."""
    metadata = core_metadata("demo", version, requires_python=requires_python, requires=["lower>=1.0"])
    return make_wheel("demo", version, metadata=metadata), make_sdist("demo", version, metadata=metadata)


def _fill(store: Store, folder: Path) -> tuple[list[Made], str, str]:
    """Put everything into a store; returns the files, a token that may all, one that may only read them."""
    files: list[Made] = []

    def put(month: int, *made: Made, index: str = "unstable") -> None:
        moment = datetime(2026, month, 10, 12, tzinfo=UTC)
        for each in made:
            publish(replace(store, clock=lambda: moment), each, index=index)
            files.append(each)

    for month, version in enumerate(("1.0", "1.1", "1.2", "1.3"), start=1):
        put(month, *_release(version))
    put(5, *_release("1.4", requires_python=">=4"))
    put(6, *_release("2.0rc1"))
    put(1, make_sdist("source-only"))
    noise = random.Random(1).randbytes(LARGE_BYTES)  # noqa: S311 - incompressible, and the same each time
    put(1, make_wheel("large", extra={"large/data.bin": noise}, compression=0))
    _promote(store, folder, {made.filename: made for made in files})
    yank_release(store, ADMIN, "demo", "1.3", reason=YANK_REASON)
    create_index(store, ADMIN, NewIndex(PRIVATE, mode="uploads", bases=("unstable",), is_private=True))
    needs = ["demo>=1.0", "lower>=1.0", "source-only"]
    hidden = core_metadata("hidden", "1.0", requires_python=">=3.8", requires=needs)
    put(1, make_wheel("hidden", metadata=hidden), index=PRIVATE)
    add_user(store, ADMIN, "reader", password=None, scopes=["read", "upload", "claim"])
    add_user(store, ADMIN, "person", password=PASSWORD, scopes=["read"])
    return (
        files,
        create_token(store, ADMIN, NewToken("reader")).secret,
        create_token(store, ADMIN, NewToken("reader", scopes=("read",))).secret,
    )


def _promote(store: Store, folder: Path, files: dict[str, Made]) -> None:
    """``demo`` 1.0 to stable and 1.1 to testing, with the evidence that their gates ask for."""
    worker, repository, key = make_worker(store), make_repository(folder), make_ssh_key(folder)
    add_signer(store, ADMIN, NewSigner("qa@team.example", public_key(key)))
    add_tag(store, ADMIN, "demo", sign_tag(repository, key, "v1.0"))
    for version, target in (("1.0", "stable"), ("1.1", "testing")):
        wheel, sdist = files[f"demo-{version}-py3-none-any.whl"], files[f"demo-{version}.tar.gz"]
        for made, source in ((sdist, None), (wheel, sdist.sha256)):
            said = predicate_of_build(made, version=version, commit=head(repository), built_from=source)
            hand_in(store, worker, "build", made, said)
        hand_in(store, worker, "tests", wheel, predicate_of_tests(version=version))
        promote_release(store, ADMIN, "demo", version, to=target)
