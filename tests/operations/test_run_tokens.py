"""Tokens of runs: what each reaches, and when it ends."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

import pytest

from conveyor.client.credentials import sign_statement
from conveyor.client.store import connect
from conveyor.domain.distributions.reading import UploadForm
from conveyor.domain.indexes.policy import UploadLimits
from conveyor.domain.releases.evidence import statement
from conveyor.domain.runs.repositories import NewRepository
from conveyor.domain.runs.states import NewRun
from conveyor.errors import Conflict, Forbidden
from conveyor.operations.people.tokens import digest_of, find_token
from conveyor.operations.releases.evidence import add_evidence
from conveyor.operations.releases.promotions import promote_release
from conveyor.operations.runs.queue import claim_run, create_run, report_step, update_run
from conveyor.operations.runs.repositories import add_repository
from conveyor.operations.runs.tokens import issue_run_token
from conveyor.operations.uploads.acceptance import ReceivedUpload, accept_upload
from conveyor.operations.uploads.incoming_files import IncomingFile
from conveyor.pipeline.engine.isolation import Workplace
from conveyor.pipeline.engine.worker import Keeper
from distributions_made import make_wheel
from makers import make_store
from releases_made import ADMIN, REPOSITORY, make_worker, predicate_of_tests, publish

if TYPE_CHECKING:
    from pathlib import Path

    from conveyor.client.credentials import WorkerCredentials
    from conveyor.domain.people.access import Identity
    from conveyor.domain.runs.states import Run
    from conveyor.operations.store.store import Store
    from distributions_made import Made

URL = "https://git.example.org/team/demo.git"


def identity_of(store: Store, token: str) -> Identity:
    bearer = find_token(store, digest_of(token))
    assert bearer is not None
    return bearer.identity


def upload(store: Store, made: Made, identity: Identity, *, index: str = "unstable") -> None:
    file = IncomingFile(store.blobs, limits=UploadLimits())
    try:
        file.write([made.content])
        wanted = ReceivedUpload(index, made.filename, UploadForm(made.form), file)
        accept_upload(store, wanted, identity=identity, limits=UploadLimits())
    finally:
        file.close()


def begun(store: Store, worker: WorkerCredentials, repository: str) -> tuple[Run, Identity]:
    """A run that the worker asked for and holds, and who its token stands for."""
    known = identity_of(store, worker.token)
    run = create_run(store, known, NewRun(repository, "v1.0", claim=True))
    return run, identity_of(store, issue_run_token(store, known, run.id).secret)


def test_token_of_a_run_reaches_its_project_and_its_way_and_ends_with_it(tmp_path: Path) -> None:
    store = make_store(tmp_path)
    worker = make_worker(store)
    for name in ("demo", "other"):
        publish(store, make_wheel(name))
    run, early = begun(store, worker, "/srv/checkout")
    # 1. Until the run has a project it reaches none, and neither does the worker's own token.
    for identity in (early, identity_of(store, worker.token)):
        with pytest.raises(Forbidden):
            upload(store, make_wheel("demo", "1.1"), identity)
    assert update_run(store, early, run.id, project="demo").project == "demo"
    token = issue_run_token(store, identity_of(store, worker.token), run.id).secret
    own = identity_of(store, token)
    assert own.projects == frozenset({"demo"})
    assert own.indexes == frozenset({"unstable", "testing", "stable"})
    # 2. Its own project, and no other: neither files nor evidence nor promotions.
    upload(store, make_wheel("demo", "1.1"), own)
    with pytest.raises(Forbidden, match="may not upload other with this token"):
        upload(store, make_wheel("other", "1.1"), own)
    with pytest.raises(Forbidden, match="lacks the scope promote"):
        promote_release(store, own, "other", "1.0", to="testing")
    foreign, facts = make_wheel("other"), predicate_of_tests(name="other")
    said = statement("tests", filename=foreign.filename, sha256=foreign.sha256, predicate=facts)
    with pytest.raises(Forbidden, match="may not upload other with this token"):
        add_evidence(store, own, sign_statement(said, worker))
    # 3. Neither a second project nor another run; and no run can be started with it.
    with pytest.raises(Conflict, match="touches no other project"):
        update_run(store, own, run.id, project="other")
    again, _ = begun(store, worker, "/srv/checkout")
    for refused in (
        lambda: report_step(store, own, again.id, "build", state="running"),
        lambda: update_run(store, own, again.id, state="failed"),
        lambda: create_run(store, own, NewRun("/srv/checkout", "v2.0")),
        lambda: claim_run(store, own, "worker-1"),
        lambda: issue_run_token(store, own, again.id),
        lambda: issue_run_token(store, ADMIN, again.id),
    ):
        with pytest.raises(Forbidden):
            refused()
    # 4. The end of the run ends every token of it.
    update_run(store, own, run.id, state="succeeded")
    assert find_token(store, digest_of(token)) is None
    with pytest.raises(Conflict, match="has succeeded already"):
        issue_run_token(store, identity_of(store, worker.token), run.id)


def test_worker_vouches_for_folders_and_administrators_for_everything_else(tmp_path: Path) -> None:
    store = make_store(tmp_path)
    worker = make_worker(store)
    known = identity_of(store, worker.token)
    with pytest.raises(Forbidden, match="no administrator has registered") as refused:
        create_run(store, known, NewRun(URL, "v1.0", claim=True))
    assert refused.value.hint == f"ask an administrator: conveyor store repository add PROJECT {URL}"
    with pytest.raises(Forbidden, match="is not a worker"):
        create_run(store, ADMIN, NewRun(REPOSITORY, "v1.0", claim=True))
    add_repository(store, ADMIN, NewRepository("demo", URL))
    run, own = begun(store, worker, URL)
    assert own.projects == frozenset({"demo"})
    told = issue_run_token(store, known, run.id)
    assert ([(one.url, one.is_local) for one in told.repositories], told.folders) == ([(URL, False)], False)
    with pytest.raises(Forbidden, match="not registered for other"):
        update_run(store, own, run.id, project="other")
    # A run of an unregistered folder reads no repository of anybody's: its project is not known yet.
    run, _ = begun(store, worker, "/srv/checkout")
    told = issue_run_token(store, known, run.id)
    assert (told.repositories, told.folders) == ((), True)
    # A folder that is registered for some project is for that project, whoever asks.
    add_repository(store, ADMIN, NewRepository("demo", REPOSITORY, is_local=True))
    run, own = begun(store, worker, REPOSITORY)
    assert own.projects == frozenset({"demo"})
    assert not issue_run_token(store, known, run.id).folders
    with pytest.raises(Forbidden, match="not registered for other"):
        update_run(store, own, run.id, project="other")


def test_folder_alone_does_not_say_that_it_is_a_project_with_a_repository(tmp_path: Path) -> None:
    store = make_store(tmp_path)
    worker = make_worker(store)
    add_repository(store, ADMIN, NewRepository("demo", URL))
    run, own = begun(store, worker, "/srv/checkout")
    with pytest.raises(Forbidden, match="a folder that is not registered for demo, which has a") as refused:
        update_run(store, own, run.id, project="demo")
    assert refused.value.hint == (
        "start another that names it, with --project demo; or ask an administrator: "
        "conveyor store repository add demo /srv/checkout --local"
    )
    assert update_run(store, own, run.id, project="other").project == "other"
    known = identity_of(store, worker.token)
    named = create_run(store, known, NewRun("/srv/checkout", "v1.0", project="demo", claim=True))
    own = identity_of(store, issue_run_token(store, known, named.id).secret)
    assert update_run(store, own, named.id, project="demo").project == "demo"


def test_worker_writes_the_public_url_of_the_store_and_not_how_it_reaches_it(tmp_path: Path) -> None:
    """Behind a proxy the worker may use an address that nobody else has."""
    store = replace(make_store(tmp_path), public_url="https://packages.example.org/store/")
    worker = make_worker(store)
    known = identity_of(store, worker.token)
    run = create_run(store, known, NewRun("/srv/checkout", "v1.0", claim=True))
    made = issue_run_token(store, known, run.id)
    assert made.store_url == "https://packages.example.org/store"
    keeper = Keeper(
        connect("http://10.0.0.7:8080", token=made.secret), worker, "http://10.0.0.7:8080",
        public_url=made.store_url,
    )  # fmt: skip
    told = "Looking in http://10.0.0.7:8080/stable/simple/, not http://10.0.0.7:80801/ (http://10.0.0.7:8080)"
    assert keeper.told(told) == (
        "Looking in https://packages.example.org/store/stable/simple/, not http://10.0.0.7:80801/ "
        "(https://packages.example.org/store)"
    )
    place = Workplace(tmp_path / "work", tmp_path / "cache", told=keeper.told, store=keeper.public_url)
    with place.log("build") as write:
        write("GET http://10.0.0.7:8080/packages/x")
    assert place.read_log("build") == "GET https://packages.example.org/store/packages/x\n"
    assert place.making().store == "https://packages.example.org/store"
    assert replace(keeper, public_url=None).told(told) == told
