"""The limit of a project, from the command line through the API to the next upload."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

import pytest
from packaging.utils import canonicalize_name

from conveyor.catalog.database.events import events_since
from conveyor.catalog.indexes.definitions import claims_on
from conveyor.cli import run
from conveyor.client.connection import Request
from conveyor.domain.distributions.reading import UploadForm
from conveyor.domain.indexes.policy import UploadLimits
from conveyor.domain.people.access import Identity
from conveyor.errors import Forbidden, InvalidInput, NotFound, TooLarge
from conveyor.operations.care.inspection import inspect_store
from conveyor.operations.indexes.claims import claim_name
from conveyor.operations.indexes.pages import find_list, find_page
from conveyor.operations.indexes.projects import get_project_size, set_project_size_limit
from conveyor.operations.releases.standing import get_project
from conveyor.operations.store.store import read
from conveyor.operations.uploads.acceptance import ReceivedUpload, accept_upload
from conveyor.operations.uploads.incoming_files import IncomingFile
from conveyor.server.api.direct import DirectConnection
from distributions_made import Made, make_sdist, make_wheel
from makers import make_store

if TYPE_CHECKING:
    from pathlib import Path

    from packaging.utils import NormalizedName

    from conveyor.operations.store.store import Store

ADMIN = Identity("admin", frozenset({"admin"}))
WHEEL = make_wheel()


def upload(store: Store, made: Made) -> None:
    limits = UploadLimits(project_bytes=10**9)
    file = IncomingFile(store.blobs, limits=limits)
    try:
        file.write([made.content])
        received = ReceivedUpload("unstable", made.filename, UploadForm(made.form), file)
        accept_upload(store, received, identity=ADMIN, limits=limits)
    finally:
        file.close()


@pytest.fixture
def store(tmp_path: Path) -> Store:
    made = make_store(tmp_path / "store")
    upload(made, WHEEL)
    return made


def call(tmp_path: Path, *arguments: str) -> int:
    return run(["store", "limit", "demo", *arguments, "--data", str(tmp_path / "store")])


def test_size_is_shown(store: Store, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert call(tmp_path) == 0
    size = len(WHEEL.content)
    assert capsys.readouterr().out == f"demo has {size:,} bytes and no limit of its own\n"
    assert call(tmp_path, "--json") == 0
    shown = json.loads(capsys.readouterr().out)
    assert shown == {"project": "demo", "stored_bytes": size, "limit_bytes": None, "is_known": True}


def test_limit_holds_from_the_next_upload_on_and_can_be_taken_away(
    store: Store, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    before = store.newest.read()
    assert call(tmp_path, "1000") == 0
    assert capsys.readouterr().out.endswith("bytes and a limit of 1,000\n")
    with pytest.raises(TooLarge, match="more than 1,000"):
        upload(store, make_sdist())
    assert call(tmp_path, "1000") == 0
    with read(store) as connection:
        (event,) = events_since(connection, before)
    assert (event.action, event.project, event.detail) == ("set-size-limit", "demo", {"limit_bytes": 1000})
    assert call(tmp_path, "--none") == 0
    upload(store, make_sdist())


@pytest.mark.parametrize("arguments", [("5", "--none"), ("many",), ("-1",)])
def test_what_is_no_limit_is_refused(store: Store, tmp_path: Path, arguments: tuple[str, ...]) -> None:
    assert call(tmp_path, *arguments) == 2


def test_unknown_project_is_not_found_and_can_be_given_a_limit_before_its_first_file(
    store: Store, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    other = ["store", "limit", "Other", "--data", str(tmp_path / "store")]
    assert run(other) == 5
    said = capsys.readouterr().err
    assert 'there is no project "other" of this store\'s own' in said
    assert f"conveyor store limit other BYTES --data {tmp_path / 'store'}" in said
    before = store.newest.read()
    assert run([*other, "--none"]) == 0
    assert store.newest.read() == before
    assert capsys.readouterr().err == 'note: nothing of "Other" is here yet\n'
    assert run([*other, "10"]) == 0
    shown = capsys.readouterr()
    assert shown.out == "Other has 0 bytes and a limit of 10\n"
    assert shown.err == 'note: nothing of "Other" is here yet\n'
    with pytest.raises(TooLarge, match="other has 0 bytes"):
        upload(store, make_wheel("other"))
    check_unclaimed_and_unlisted(store, canonicalize_name("other"))
    assert run([*other, str(10**6)]) == 0
    upload(store, make_wheel("other"))
    capsys.readouterr()
    assert run(other) == 0
    assert capsys.readouterr().err == ""


def test_nothing_is_noted_of_a_claimed_name_that_has_no_file_yet(
    store: Store, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    claim_name(store, ADMIN, "other")
    assert run(["store", "limit", "Other", "10", "--data", str(tmp_path / "store")]) == 0
    assert capsys.readouterr().err == ""


def check_unclaimed_and_unlisted(store: Store, project: NormalizedName) -> None:
    assert find_list(store, "unstable").projects == ("demo",)
    assert not find_page(store, "unstable", project).exists
    with read(store) as connection:
        assert claims_on(connection, project) == []
    with pytest.raises(NotFound):
        get_project(store, ADMIN, project)
    assert inspect_store(store, grace_seconds=60, threads=1).faults == []


def test_body_must_name_a_limit_or_null(store: Store) -> None:
    connection = DirectConnection(store, ADMIN, name="here")
    for body in ({}, {"limit_bytes": -1}, {"limit_bytes": "1"}, {"limit_bytes": 1, "x": 1}):
        with pytest.raises(InvalidInput):
            connection.send(Request("PUT", "/api/v1/projects/demo/size", json_body=body))


def test_only_administrators_see_and_set_sizes(store: Store) -> None:
    uploader = Identity("ulla", frozenset({"upload", "read"}))
    with pytest.raises(Forbidden):
        get_project_size(store, uploader, "demo")
    with pytest.raises(Forbidden):
        set_project_size_limit(store, uploader, "demo", None)
