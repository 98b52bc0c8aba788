from __future__ import annotations

import hashlib
import json
from contextlib import contextmanager
from dataclasses import replace
from typing import TYPE_CHECKING

import pytest
from sqlalchemy import insert, select, update

from attestations_made import make_attestation
from conveyor.catalog.database.events import events_since
from conveyor.catalog.database.tables import (
    claims,
    distributions,
    mirrored_projects,
    placements,
    projects,
    releases,
    retired_filenames,
)
from conveyor.catalog.releases.projects import close_release
from conveyor.domain.distributions.reading import UploadForm
from conveyor.domain.indexes.definitions import NewIndex
from conveyor.domain.indexes.policy import UploadLimits
from conveyor.domain.people.access import ANONYMOUS, Identity
from conveyor.domain.words.names import project_name
from conveyor.errors import (
    Conflict,
    ConveyorError,
    DistributionExists,
    Forbidden,
    InvalidDistribution,
    NotFound,
    StorageFailed,
    TooLarge,
    Unauthorized,
)
from conveyor.operations.indexes.claims import claim_name
from conveyor.operations.indexes.definitions import create_index
from conveyor.operations.indexes.pages import find_page
from conveyor.operations.indexes.projects import set_project_size_limit, set_project_status
from conveyor.operations.releases.standing import get_project
from conveyor.operations.store.store import read, record_change
from conveyor.operations.uploads.acceptance import (
    AcceptedUpload,
    ReceivedUpload,
    UpstreamQuestion,
    accept_answered,
    accept_upload,
    check_upload_rights,
)
from conveyor.operations.uploads.incoming_files import IncomingFile
from distributions_made import Made, core_metadata, make_sdist, make_wheel, wheel_members, zip_of
from makers import make_store

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from conveyor.operations.store.store import Store

ADMIN = Identity("admin", frozenset({"admin"}))
CLAIMER = Identity("cleo", frozenset({"upload", "claim"}))
UPLOADER = Identity("ulla", frozenset({"upload"}))
LIMITS = UploadLimits()


@contextmanager
def received(store: Store, made: Made, *, index: str = "unstable") -> Iterator[ReceivedUpload]:
    """An upload that has arrived, in pieces of uneven size."""
    file = IncomingFile(store.blobs, limits=LIMITS)
    try:
        file.write([made.content[:100], made.content[100:101], made.content[101:]])
        yield ReceivedUpload(index, made.filename, UploadForm(made.form), file)
    finally:
        file.close()


def upload(
    store: Store,
    made: Made,
    *,
    index: str = "unstable",
    identity: Identity = ADMIN,
    limits: UploadLimits = LIMITS,
    upstream_has: bool | None = None,
) -> AcceptedUpload:
    with received(store, made, index=index) as arrived:
        answer = accept_upload(store, arrived, identity=identity, limits=limits)
        if isinstance(answer, UpstreamQuestion):
            assert upstream_has is not None, "upstream was to be asked"
            answer = accept_answered(
                store, arrived, answer, identity=identity, limits=limits, upstream_has=upstream_has
            )
    return answer


def refused(store: Store, made: Made, error: type[ConveyorError], **arguments: object) -> ConveyorError:
    """The refusal of an upload, which must leave nothing behind."""
    before = state_of(store)
    with pytest.raises(error) as caught:
        upload(store, made, **arguments)  # type: ignore[arg-type]  # passed on as they are
    assert state_of(store) == before
    return caught.value


def state_of(store: Store) -> list[object]:
    """Every row that an upload may write, and the serial."""
    with read(store) as connection:
        rows = [
            [tuple(row) for row in connection.execute(select(table))]
            for table in (projects, releases, distributions, placements, claims)
        ]
    return [*rows, store.newest.read()]


def leftovers(tmp_path: Path) -> list[Path]:
    return list((tmp_path / "blobs" / "temporary").iterdir())


def test_uploaded_file_is_described_placed_claimed_and_recorded(tmp_path: Path) -> None:
    store = make_store(tmp_path)
    before = store.newest.read()
    metadata = core_metadata("Demo-Pkg", requires_python=">=3.9")
    made = make_wheel("Demo-Pkg", metadata=metadata)
    assert upload(store, made) == AcceptedUpload("unstable", made.filename, made.sha256, is_new=True)
    with read(store) as connection:
        (row,) = connection.execute(select(distributions))
        (placed,) = connection.execute(select(placements))
        (project,) = connection.execute(select(projects))
        (release,) = connection.execute(select(releases))
        (claim,) = connection.execute(select(claims))
        events = events_since(connection, before)
    assert (row.filename, row.project, row.version) == (made.filename, "demo-pkg", "1.0")
    assert (row.sha256, row.size_bytes, row.requires_python) == (made.sha256, len(made.content), ">=3.9")
    assert row.blake2b_256 == hashlib.blake2b(made.content, digest_size=32).hexdigest()
    assert row.uploaded_by == "admin"
    assert (placed.index_name, placed.filename, placed.is_yanked) == ("unstable", made.filename, False)
    assert (project.name, project.display_name) == ("demo-pkg", "Demo-Pkg")
    assert (release.version, release.closed_at) == ("1.0", None)
    assert (claim.name, claim.is_prefix, claim.claimed_by) == ("demo-pkg", False, "admin")
    assert [(event.action, event.index, event.project) for event in events] == [
        ("claim", None, "demo-pkg"),
        ("upload", "unstable", "demo-pkg"),
    ]
    assert placed.added_serial == events[-1].serial == store.newest.read()
    with store.blobs.open(made.sha256) as blob:
        assert blob.read() == made.content
    assert (row.metadata, row.metadata_sha256) == (metadata, hashlib.sha256(metadata).hexdigest())
    assert leftovers(tmp_path) == []


def test_notes_on_an_accepted_file_are_in_its_event(tmp_path: Path) -> None:
    store = make_store(tmp_path)
    made = Made("demo-1.0-py3-none-any.whl", zip_of(wheel_members(tag="py3-none-win32")))
    notes = upload(store, made).notes
    plain = make_wheel("plain")
    assert notes
    assert upload(store, plain).notes == ()
    with read(store) as connection:
        found = [event.detail for event in events_since(connection, 0) if event.action == "upload"]
    assert [(detail["filename"], detail.get("notes")) for detail in found] == [
        (made.filename, list(notes)),
        (plain.filename, None),
    ]


def test_attestations_are_kept_as_a_provenance_object_of_their_publisher(tmp_path: Path) -> None:
    store = make_store(tmp_path)
    made = make_wheel()
    attestation = make_attestation(made)
    with received(store, made) as arrived:
        form = UploadForm({**made.form, "attestations": [json.dumps([attestation])]})
        accept_upload(store, replace(arrived, form=form), identity=ADMIN, limits=LIMITS)
    with read(store) as connection:
        digest = connection.scalar(select(distributions.c.provenance_sha256))
    assert digest is not None
    with store.blobs.open(digest) as blob:
        assert json.load(blob) == {
            "version": 1,
            "attestation_bundles": [
                {"publisher": {"kind": "Conveyor", "user": "admin"}, "attestations": [attestation]}
            ],
        }


def test_identical_file_again_changes_nothing(tmp_path: Path) -> None:
    store = make_store(tmp_path)
    upload(store, make_wheel())
    before = state_of(store)
    assert not upload(store, make_wheel()).is_new
    assert state_of(store) == before
    assert leftovers(tmp_path) == []


def test_other_content_under_the_same_name_is_refused(tmp_path: Path) -> None:
    store = make_store(tmp_path)
    upload(store, make_wheel())
    error = refused(store, make_wheel(extra={"demo/more.py": b"1"}), DistributionExists)
    assert error.message == 'demo-1.0-py3-none-any.whl already exists in index "unstable" with other content'


def test_filename_is_unique_along_the_chain_and_free_outside_of_it(tmp_path: Path) -> None:
    store = make_store(tmp_path)
    create_index(store, ADMIN, NewIndex("above", mode="uploads", bases=("unstable",)))
    create_index(store, ADMIN, NewIndex("alone", mode="uploads"))
    made, other = make_wheel(), make_wheel(extra={"demo/more.py": b"1"})
    upload(store, made)
    refused(store, other, DistributionExists, index="above")
    assert upload(store, made, index="above") == AcceptedUpload(
        "unstable", made.filename, made.sha256, is_new=False
    )
    assert upload(store, other, index="alone").is_new


def test_file_that_only_an_index_above_holds_is_put_into_this_one_too(tmp_path: Path) -> None:
    store = make_store(tmp_path)
    create_index(store, ADMIN, NewIndex("secret", mode="uploads", bases=("unstable",), is_private=True))
    made = make_wheel()
    upload(store, made, index="secret")
    again = upload(store, made, identity=UPLOADER)
    assert (again.index, again.is_new) == ("unstable", True)
    assert find_page(store, "unstable", project_name("demo")).exists
    assert upload(store, made).is_new is False


def test_same_bytes_in_two_chains_are_one_distribution(tmp_path: Path) -> None:
    store = make_store(tmp_path)
    create_index(store, ADMIN, NewIndex("alone", mode="uploads"))
    upload(store, make_wheel())
    assert upload(store, make_wheel(), index="alone").is_new
    with read(store) as connection:
        assert len(list(connection.execute(select(distributions)))) == 1
        assert len(list(connection.execute(select(placements)))) == 2


def test_closed_release_takes_no_new_file_but_knows_its_own(tmp_path: Path) -> None:
    store = make_store(tmp_path)
    upload(store, make_wheel())
    with record_change(store, actor="test") as change:
        close_release(change.connection, "demo", "1.0", closed_at=change.at)
    error = refused(store, make_sdist(), Conflict)
    assert "1.0.post1" in (error.hint or "")
    assert not upload(store, make_wheel()).is_new
    assert upload(store, make_sdist(version="1.0.post1")).is_new


def test_name_of_a_deleted_file_is_never_given_again(tmp_path: Path) -> None:
    store = make_store(tmp_path)
    made = make_wheel()
    with record_change(store, actor="test") as change:
        change.connection.execute(
            insert(retired_filenames).values(filename=made.filename, sha256=made.sha256, retired_at=change.at)
        )
    refused(store, made, Conflict)


def test_equal_version_in_another_spelling_is_refused(tmp_path: Path) -> None:
    store = make_store(tmp_path)
    upload(store, make_wheel(version="1.0"))
    assert "is here as 1.0," in refused(store, make_wheel(version="1.0.0"), Conflict).message
    assert upload(store, make_sdist(version="1.0")).is_new


@pytest.mark.parametrize("index", ["testing", "stable", "pypi"])
@pytest.mark.parametrize("identity", [ADMIN, UPLOADER])
def test_promotion_only_indexes_and_mirrors_refuse_everybody(
    tmp_path: Path, index: str, identity: Identity
) -> None:
    store = make_store(tmp_path)
    assert 'upload to "unstable"' in (
        refused(store, make_wheel(), Forbidden, index=index, identity=identity).hint or ""
    )
    with pytest.raises(Forbidden):
        check_upload_rights(store, identity, index)


@pytest.mark.parametrize("index", ["unstable", "testing", "pypi", "nowhere"])
def test_strangers_are_asked_who_they_are_before_they_learn_of_an_index(tmp_path: Path, index: str) -> None:
    store = make_store(tmp_path)
    refused(store, make_wheel(), Unauthorized, index=index, identity=ANONYMOUS)
    with pytest.raises(Unauthorized):
        check_upload_rights(store, ANONYMOUS, index)


def test_unknown_index_is_not_found(tmp_path: Path) -> None:
    store = make_store(tmp_path)
    refused(store, make_wheel(), NotFound, index="nowhere")
    with pytest.raises(NotFound):
        check_upload_rights(store, ADMIN, "nowhere")


def test_strangers_and_readers_upload_nothing(tmp_path: Path) -> None:
    store = make_store(tmp_path)
    reader = Identity("rea", frozenset({"read"}))
    for identity, error in ((ANONYMOUS, Unauthorized), (reader, Forbidden)):
        refused(store, make_wheel(), error, identity=identity)
        with pytest.raises(error):
            check_upload_rights(store, identity, "unstable")


def test_token_for_other_indexes_or_projects_uploads_nothing_here(tmp_path: Path) -> None:
    store = make_store(tmp_path)
    claim_name(store, ADMIN, "demo")
    here = {"scopes": frozenset({"upload"})}
    assert upload(
        store,
        make_wheel(),
        identity=Identity("a", **here, projects=frozenset({"demo"})),  # type: ignore[arg-type]  # scopes
    ).is_new
    for narrowed in ({"indexes": frozenset({"other"})}, {"projects": frozenset({"other"})}):
        identity = Identity("a", **here, **narrowed)  # type: ignore[arg-type]  # scopes
        refused(store, make_sdist(), Forbidden, identity=identity)


def test_first_upload_needs_the_right_to_claim_unless_the_name_is_claimed(tmp_path: Path) -> None:
    store = make_store(tmp_path)
    refusal = refused(store, make_wheel(), Forbidden, identity=UPLOADER)
    assert refusal.message.startswith(f"demo is not claimed, and {UPLOADER.name} lacks the scope claim")
    assert "conveyor store claim demo" in str(refusal.hint)
    claim_name(store, ADMIN, "demo")
    assert upload(store, make_wheel(), identity=UPLOADER).is_new


def test_first_upload_below_a_claimed_prefix_needs_no_right_and_claims_the_name_itself(
    tmp_path: Path,
) -> None:
    store = make_store(tmp_path)
    claim_name(store, ADMIN, "risk", is_prefix=True)
    assert upload(store, make_wheel("risk-model"), identity=UPLOADER).is_new
    with read(store) as connection:
        assert connection.scalar(select(claims.c.claimed_by).where(claims.c.name == "risk-model")) == "ulla"


def test_name_that_upstream_has_needs_an_administrator(tmp_path: Path) -> None:
    store = make_store(tmp_path)
    error = refused(store, make_wheel(), Forbidden, identity=CLAIMER, upstream_has=True)
    assert "upstream has a project of that name" in error.message
    assert upload(store, make_wheel(), identity=ADMIN).is_new
    assert upload(store, make_sdist(), identity=CLAIMER).is_new


def test_name_that_upstream_does_not_have_is_claimed_by_the_first_upload(tmp_path: Path) -> None:
    store = make_store(tmp_path)
    assert upload(store, make_wheel(), identity=CLAIMER, upstream_has=False).is_new
    assert upload(store, make_sdist(), identity=UPLOADER).is_new


def test_name_that_looks_like_one_that_is_known_here_needs_an_administrator(tmp_path: Path) -> None:
    store = make_store(tmp_path)
    claim_name(store, ADMIN, "my-model")
    with record_change(store, actor="test") as change:
        change.connection.execute(
            insert(mirrored_projects).values(
                index_name="pypi", project="lib", is_present=True, fetched_at=change.at
            )
        )
    for name in ("mymode1", "1ib"):
        error = refused(store, make_wheel(name), Forbidden, identity=CLAIMER, upstream_has=False)
        assert "has a name that looks alike" in error.message
        assert upload(store, make_wheel(name), identity=ADMIN).is_new
    assert upload(store, make_wheel("our-model"), identity=CLAIMER, upstream_has=False).is_new


def test_upstream_is_asked_only_when_the_file_is_sound(tmp_path: Path) -> None:
    refused(
        make_store(tmp_path),
        make_wheel(replace={"demo/__init__.py": b"changed"}),
        InvalidDistribution,
        identity=CLAIMER,
    )


def test_refused_file_leaves_no_bytes_behind(tmp_path: Path) -> None:
    store = make_store(tmp_path)
    made = make_wheel(replace={"demo/__init__.py": b"changed"})
    refused(store, made, InvalidDistribution)
    assert not store.blobs.has(made.sha256)
    assert leftovers(tmp_path) == []


def test_file_and_project_over_their_limits_are_refused(tmp_path: Path) -> None:
    store = make_store(tmp_path)
    size = len(make_wheel().content)
    file = IncomingFile(store.blobs, limits=UploadLimits(file_bytes=size - 1))
    with pytest.raises(TooLarge):
        file.write([make_wheel().content])
    file.close()
    upload(store, make_wheel())
    refused(store, make_sdist(), TooLarge, limits=UploadLimits(project_bytes=size + 1))
    assert leftovers(tmp_path) == []


def test_stored_bytes_are_counted_once_for_each_file_and_held_against_the_projects_own_limit(
    tmp_path: Path,
) -> None:
    store = make_store(tmp_path)
    create_index(store, ADMIN, NewIndex("alone", mode="uploads"))
    wheel, sdist = make_wheel(), make_sdist()
    for index in ("unstable", "unstable", "alone"):
        upload(store, wheel, index=index)
    with read(store) as connection:
        assert connection.scalar(select(projects.c.stored_bytes)) == len(wheel.content)
    with record_change(store, actor="test") as change:
        limit = len(wheel.content) + len(sdist.content)
        change.connection.execute(update(projects).values(size_limit_bytes=limit))
    assert upload(store, sdist, limits=UploadLimits(project_bytes=1)).is_new
    refused(store, make_wheel(version="2.0"), TooLarge, limits=UploadLimits(project_bytes=10**9))


@pytest.mark.parametrize("is_claimed", [False, True])
def test_first_file_says_how_the_name_is_spelled_whatever_was_set_beforehand(
    tmp_path: Path, is_claimed: bool
) -> None:
    store = make_store(tmp_path)
    if is_claimed:
        claim_name(store, ADMIN, "DEMO.PKG")
    set_project_size_limit(store, ADMIN, "demo_pkg", 10**9)
    set_project_status(store, ADMIN, "DEMO-PKG", "deprecated")
    for made in (make_wheel("Demo-Pkg"), make_wheel("dEMO-pKG", version="2.0")):
        upload(store, made)
        assert get_project(store, ADMIN, "demo-pkg").display_name == "Demo-Pkg"


def test_unwritable_disk_is_told_and_nothing_is_visible(tmp_path: Path) -> None:
    store = make_store(tmp_path)
    made = make_wheel()
    folder = tmp_path / "blobs" / made.sha256[:2]
    folder.rmdir()
    folder.write_bytes(b"a file where a folder must be")
    error = refused(store, made, StorageFailed)
    assert "cannot be written" in error.message
    folder.unlink()
    assert upload(store, made).is_new


def test_empty_file_is_refused_with_its_faults(tmp_path: Path) -> None:
    error = refused(make_store(tmp_path), Made("demo-1.0-py3-none-any.whl", b""), InvalidDistribution)
    assert "too short" in error.message
