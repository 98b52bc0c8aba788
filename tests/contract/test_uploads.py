"""Uploads that happen at once, on every database."""

from __future__ import annotations

import threading
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING

import urllib3
from sqlalchemy import func, select
from urllib3.filepost import encode_multipart_formdata

from conveyor.catalog.database.tables import claims, distributions, events, placements, projects, releases
from conveyor.catalog.indexes.definitions import has_lookalike
from conveyor.domain.distributions.reading import UploadForm
from conveyor.domain.indexes.definitions import NewIndex
from conveyor.domain.indexes.policy import UploadLimits
from conveyor.domain.people.access import Identity
from conveyor.domain.words.names import project_name
from conveyor.errors import ConveyorError, DistributionExists
from conveyor.operations.indexes.definitions import create_index
from conveyor.operations.store.store import read
from conveyor.operations.uploads.acceptance import AcceptedUpload, ReceivedUpload, accept_upload
from conveyor.operations.uploads.incoming_files import IncomingFile
from distributions_made import Made, make_sdist, make_wheel
from makers import ADMIN_PASSWORD, make_store
from running_stores import RunningStore, running_store, serve_environment

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from pathlib import Path

    from conveyor.operations.store.store import Store

ADMIN = Identity("admin", frozenset({"admin"}))
LIMITS = UploadLimits()


def upload(store: Store, made: Made, *, index: str = "unstable") -> AcceptedUpload:
    file = IncomingFile(store.blobs, limits=LIMITS)
    try:
        file.write([made.content])
        received = ReceivedUpload(index, made.filename, UploadForm(made.form), file)
        answer = accept_upload(store, received, identity=ADMIN, limits=LIMITS)
    finally:
        file.close()
    assert isinstance(answer, AcceptedUpload)
    return answer


def test_names_that_look_alike_are_found(tmp_path: Path, database_url: str) -> None:
    store = make_store(tmp_path / "store", database_url=database_url)
    upload(store, make_wheel("my-lib"))
    with read(store) as connection:
        found = {
            name: has_lookalike(connection, project_name(name)) for name in ("my-lib", "myl1b", "my-lab")
        }
    assert found == {"my-lib": False, "myl1b": True, "my-lab": False}


def at_once(calls: Sequence[Callable[[], AcceptedUpload]]) -> list[AcceptedUpload | ConveyorError]:
    """What each call gave, when all begin together."""
    barrier = threading.Barrier(len(calls))

    def call(function: Callable[[], AcceptedUpload]) -> AcceptedUpload | ConveyorError:
        barrier.wait(timeout=30)
        try:
            return function()
        except ConveyorError as error:
            return error

    with ThreadPoolExecutor(len(calls)) as pool:
        return list(pool.map(call, calls))


def test_files_of_one_new_release_uploaded_at_once_are_all_in(tmp_path: Path, database_url: str) -> None:
    store = make_store(tmp_path / "store", database_url=database_url)
    tags = [f"cp3{minor}-cp3{minor}-linux_x86_64" for minor in range(9, 16)]
    made = [make_sdist(), *(make_wheel(tag=tag) for tag in tags)]
    answers = at_once([lambda each=each: upload(store, each) for each in made])  # type: ignore[misc]  # a default
    assert all(isinstance(answer, AcceptedUpload) and answer.is_new for answer in answers), answers
    with read(store) as connection:
        assert connection.scalar(select(func.count()).select_from(placements)) == 8
        assert connection.scalar(select(func.count()).select_from(releases)) == 1
        assert connection.scalar(select(func.count()).select_from(claims)) == 1
        serials = list(connection.scalars(select(events.c.serial).order_by(events.c.serial)))
    assert serials == list(range(1, len(serials) + 1))


def test_identical_file_uploaded_at_once_is_new_exactly_once(tmp_path: Path, database_url: str) -> None:
    store = make_store(tmp_path / "store", database_url=database_url)
    answers = at_once([lambda: upload(store, make_wheel())] * 6)
    accepted = [answer for answer in answers if isinstance(answer, AcceptedUpload)]
    assert len(accepted) == 6, answers
    assert sum(answer.is_new for answer in accepted) == 1


def test_files_of_a_release_by_clients_who_all_send_all_of_it_are_in_once(
    tmp_path: Path, database_url: str
) -> None:
    """Eight clients, four files: half of the clients bring other bytes for one of the names."""
    store = make_store(tmp_path / "store", database_url=database_url)
    same = [make_sdist(), *(make_wheel(tag=f"cp3{minor}-cp3{minor}-linux_x86_64") for minor in (10, 11))]
    contested = [make_wheel(extra={"demo/x.py": str(client % 2).encode()}) for client in range(8)]
    sent = [made for client in range(8) for made in (*same, contested[client])]
    answers = at_once([lambda each=each: upload(store, each) for each in sent])  # type: ignore[misc]  # a default
    by_name: dict[str, list[AcceptedUpload | ConveyorError]] = {}
    for made, answer in zip(sent, answers, strict=True):
        by_name.setdefault(made.filename, []).append(answer)
    for made in same:
        accepted = by_name[made.filename]
        assert all(isinstance(answer, AcceptedUpload) for answer in accepted), accepted
        assert sum(isinstance(answer, AcceptedUpload) and answer.is_new for answer in accepted) == 1
    fought = by_name[contested[0].filename]
    winners = [answer for answer in fought if isinstance(answer, AcceptedUpload)]
    losers = [answer for answer in fought if isinstance(answer, DistributionExists)]
    assert (len(winners), len(losers)) == (4, 4), fought
    assert [answer.is_new for answer in winners].count(True) == 1
    with read(store) as connection:
        assert connection.scalar(select(func.count()).select_from(placements)) == 4
        assert connection.scalar(select(func.count()).select_from(distributions)) == 4
        stored = connection.scalar(select(projects.c.stored_bytes))
        assert stored == connection.scalar(select(func.sum(distributions.c.size_bytes)))


def test_of_other_bytes_under_one_name_exactly_one_wins(tmp_path: Path, database_url: str) -> None:
    """Also when they go into two indexes of one chain, which share no row that could be unique."""
    store = make_store(tmp_path / "store", database_url=database_url)
    create_index(store, ADMIN, NewIndex("above", mode="uploads", bases=("unstable",)))
    made = [make_wheel(extra={"demo/x.py": str(number).encode()}) for number in range(6)]
    answers = at_once(
        [
            lambda each=each, index=index: upload(store, each, index=index)  # type: ignore[misc]  # defaults
            for each, index in zip(made, ["unstable", "above"] * 3, strict=True)
        ]
    )
    assert sum(isinstance(answer, AcceptedUpload) and answer.is_new for answer in answers) == 1, answers
    assert sum(isinstance(answer, DistributionExists) for answer in answers) == 5, answers
    with read(store) as connection:
        assert connection.scalar(select(func.count()).select_from(distributions)) == 1


def test_projects_uploaded_at_once_do_not_disturb_each_other(tmp_path: Path, database_url: str) -> None:
    store = make_store(tmp_path / "store", database_url=database_url)
    made = [make_wheel(f"demo{number}") for number in range(8)]
    answers = at_once([lambda each=each: upload(store, each) for each in made])  # type: ignore[misc]  # a default
    assert all(isinstance(answer, AcceptedUpload) and answer.is_new for answer in answers), answers


def test_release_uploaded_by_eight_clients_of_two_server_processes_is_in_once(
    tmp_path: Path, database_url: str
) -> None:
    """Each brings a file of its own, one that all bring, and one of which half of them bring other bytes."""
    environment = serve_environment(CONVEYOR_DATABASE_URL=database_url)
    shared = make_sdist()

    def send(client: int) -> list[tuple[str, int]]:
        own = make_wheel(tag=f"cp3{client + 10}-cp3{client + 10}-linux_x86_64")
        contested = make_wheel(extra={"demo/x.py": str(client % 2).encode()})
        barrier.wait(timeout=30)
        with urllib3.PoolManager(retries=False, timeout=60) as pool:
            return [(made.filename, _post(pool, running, made)) for made in (shared, contested, own)]

    barrier = threading.Barrier(8)
    with (
        running_store(tmp_path / "store", workers=2, environment=environment) as running,
        ThreadPoolExecutor(8) as pool,
    ):
        answers = [answer for all_of_one in pool.map(send, range(8)) for answer in all_of_one]
        page = running.get("/unstable/simple/demo/", Accept="application/vnd.pypi.simple.v1+json").json()
    fought = sorted(status for name, status in answers if name == make_wheel().filename)
    assert fought == [200] * 4 + [409] * 4
    assert {status for name, status in answers if name != make_wheel().filename} == {200}
    assert sorted(file["filename"] for file in page["files"]) == sorted({name for name, _ in answers})
    assert len(page["files"]) == 10


def _post(pool: urllib3.PoolManager, store: RunningStore, made: Made) -> int:
    pairs = [(name, value) for name, values in made.form.items() for value in values]
    body, content_type = encode_multipart_formdata([*pairs, ("content", (made.filename, made.content))])
    headers = {"Content-Type": content_type, **urllib3.make_headers(basic_auth=f"admin:{ADMIN_PASSWORD}")}
    return pool.request("POST", f"{store.url}/unstable/legacy/", body=body, headers=headers).status
