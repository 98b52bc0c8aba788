"""The client against a real server: what it asks for, what it is given, how errors come back."""

from __future__ import annotations

import hashlib
import zipfile
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import pytest

from conforming import faults_of
from conveyor.client.credentials import make_key_pair, sign_statement
from conveyor.client.store import StoreClient, connect
from conveyor.domain.indexes.definitions import NewClaim, NewIndex
from conveyor.domain.people.access import NewToken
from conveyor.domain.people.keys import NewSigner
from conveyor.domain.people.passwords import NewUser
from conveyor.domain.releases.evidence import statement
from conveyor.domain.runs.repositories import NewRepository
from conveyor.domain.runs.states import RunReport
from conveyor.errors import (
    Conflict,
    DistributionExists,
    Forbidden,
    InvalidDistribution,
    InvalidInput,
    NotFound,
    PromotionRefused,
    StoreUnreachable,
    Unauthorized,
)
from distributions_made import Made, make_sdist, make_wheel
from makers import ADMIN_PASSWORD
from releases_made import (
    COMMIT,
    head,
    make_repository,
    make_ssh_key,
    predicate_of_build,
    predicate_of_tests,
    public_key,
    sign_tag,
)
from running_stores import running_store

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from conveyor.client.credentials import WorkerCredentials
    from running_stores import RunningStore


@pytest.fixture(scope="module")
def store(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RunningStore]:
    with running_store(tmp_path_factory.mktemp("client") / "store") as served:
        yield served


@pytest.fixture(scope="module")
def admin(store: RunningStore) -> Iterator[StoreClient]:
    answer = store.request(
        "POST",
        "/api/v1/tokens",
        json={"user": "admin"},
        headers={"authorization": _basic("admin", ADMIN_PASSWORD)},
    )
    with connect(store.url + "/", token=answer.json()["token"]) as client:
        yield client


@pytest.fixture(scope="module")
def worker(admin: StoreClient) -> WorkerCredentials:
    from conveyor.client.credentials import WorkerCredentials

    pair = make_key_pair()
    token = admin.workers.add("worker-1", pair.public_pem).token
    return WorkerCredentials(admin.url, "worker-1", token, pair.private_pem)


@pytest.fixture(scope="module")
def machine(admin: StoreClient, worker: WorkerCredentials) -> Iterator[StoreClient]:
    """The client of the worker."""
    with connect(admin.url, token=worker.token) as client:
        yield client


def _basic(user: str, password: str) -> str:
    import base64

    return "Basic " + base64.b64encode(f"{user}:{password}".encode()).decode()


def signed_by_worker(worker: WorkerCredentials, kind: Any, made: Made, predicate: dict[str, Any]) -> bytes:
    said = statement(kind, filename=made.filename, sha256=made.sha256, predicate=predicate)
    return sign_statement(said, worker)


def test_status_names_the_store_and_its_serial(store: RunningStore) -> None:
    status = connect(store.url).status()
    assert status.version
    assert status.store
    assert status.serial >= 1


def test_indexes_come_with_bases_and_gates(store: RunningStore) -> None:
    indexes = {index.name: index for index in connect(store.url).indexes.all()}
    assert indexes["unstable"].bases == ("testing", "stable", "pypi")
    assert indexes["stable"].gates == ("tests", "qa-signature", "final-version")


def test_uploaded_file_is_downloaded_with_the_same_bytes(admin: StoreClient, tmp_path: Path) -> None:
    made = make_wheel("updown", extra={"updown/data": bytes(3_000_000)})
    admin.files.upload("unstable", made.write(tmp_path / "here"))
    (file,) = admin.releases.get("updown", "1.0").files
    assert (file.sha256, file.size_bytes, file.packagetype) == (
        made.sha256,
        len(made.content),
        "bdist_wheel",
    )
    path = admin.files.download(file, tmp_path / "there")
    assert hashlib.sha256(path.read_bytes()).hexdigest() == made.sha256
    assert [one.name for one in path.parent.iterdir()] == [made.filename]


def test_identical_upload_again_is_a_success_and_other_bytes_are_not(
    admin: StoreClient, tmp_path: Path
) -> None:
    path = make_sdist("again").write(tmp_path)
    admin.files.upload("unstable", path)
    admin.files.upload("unstable", path)
    other = make_sdist("again", extra={"more.txt": b"more"}).write(tmp_path / "other")
    with pytest.raises(Conflict, match="with other content"):
        admin.files.upload("unstable", other)


def test_refused_upload_names_all_its_faults(admin: StoreClient, tmp_path: Path) -> None:
    made = make_wheel("broken", replace={"RECORD": None, "WHEEL": None})
    with pytest.raises(InvalidInput) as caught:
        admin.files.upload("unstable", made.write(tmp_path))
    assert len(caught.value.faults) >= 2


def test_uploads_into_promotion_only_indexes_are_forbidden(admin: StoreClient, tmp_path: Path) -> None:
    with pytest.raises(Forbidden, match="promotion-only"):
        admin.files.upload("stable", make_wheel("direct").write(tmp_path))


def test_what_is_no_distribution_is_not_sent(admin: StoreClient, tmp_path: Path) -> None:
    (tmp_path / "notes.txt").write_text("no wheel")
    with pytest.raises(InvalidDistribution):
        admin.files.upload("unstable", tmp_path / "notes.txt")
    with pytest.raises(InvalidInput):
        admin.files.upload("unstable", tmp_path / "gone-1.0-py3-none-any.whl")


def test_download_with_another_digest_is_refused_and_leaves_nothing(
    admin: StoreClient, tmp_path: Path
) -> None:
    admin.files.upload("unstable", make_wheel("lying").write(tmp_path / "here"))
    (file,) = admin.releases.get("lying", "1.0").files
    for wrong in (replace(file, sha256="0" * 64, url=file.url), replace(file, size_bytes=10)):
        with pytest.raises(StoreUnreachable):
            admin.files.download(wrong, tmp_path / "there")
    assert list((tmp_path / "there").iterdir()) == []


def test_file_that_would_leave_its_folder_is_refused(admin: StoreClient, tmp_path: Path) -> None:
    admin.files.upload("unstable", make_wheel("escaping").write(tmp_path / "here"))
    (file,) = admin.releases.get("escaping", "1.0").files
    for name in ("../evil.whl", "/tmp/evil.whl", "..", ""):
        with pytest.raises(InvalidInput):
            admin.files.download(replace(file, filename=name), tmp_path)


def test_token_is_never_sent_to_another_host(admin: StoreClient, tmp_path: Path) -> None:
    admin.files.upload("unstable", make_wheel("luring").write(tmp_path / "here"))
    (file,) = admin.releases.get("luring", "1.0").files
    for url in ("http://evil.example/x.whl", "@evil.example/x.whl"):
        with pytest.raises(StoreUnreachable, match="not a path on a store"):
            admin.files.download(replace(file, url=url), tmp_path)


def test_whole_way_from_upload_to_stable(
    admin: StoreClient, machine: StoreClient, worker: WorkerCredentials, tmp_path: Path
) -> None:
    repository, key = make_repository(tmp_path), make_ssh_key(tmp_path)
    commit = head(repository)
    admin.claims.add(NewClaim("demo"))
    admin.signers.add(NewSigner("qa@team.example", public_key(key)))
    # 1. the packaging job
    sdist, wheel = make_sdist(), make_wheel()
    for made, source in ((sdist, None), (wheel, sdist.sha256)):
        admin.files.upload("unstable", made.write(tmp_path / "dist"))
        predicate = predicate_of_build(made, commit=commit, built_from=source)
        machine.evidence.add(signed_by_worker(worker, "build", made, predicate))
    assert [one.version for one in machine.releases.of_commit("demo", commit)] == ["1.0"]
    assert machine.releases.of_commit("demo", COMMIT) == ()
    # 2. what nobody tested is refused
    with pytest.raises(PromotionRefused) as caught:
        admin.releases.promote("demo", "1.0", to="testing")
    assert [(one.gate, one.outcome) for one in caught.value.verdicts] == [("tests", "waiting")]
    assert caught.value.verdicts[0].next_step
    # 3. the testing job; the store promotes by itself, or because a person asks
    envelope = signed_by_worker(worker, "tests", wheel, predicate_of_tests())
    machine.evidence.add(envelope)
    machine.evidence.add(envelope)
    with pytest.raises(Forbidden, match="lacks the scope promote"):
        machine.releases.promote("demo", "1.0", to="testing")
    promotion = admin.releases.promote("demo", "1.0", to="testing")
    assert (promotion.source, promotion.target, len(promotion.files)) == ("unstable", "testing", 2)
    assert admin.releases.promote("demo", "1.0", to="testing").source is None
    # 4. what nobody signed is refused
    judgement = machine.releases.judgement("demo", "1.0")  # of the index that follows
    assert judgement.target == "stable"
    outcomes = {one.gate: one.outcome for one in judgement.verdicts}
    assert outcomes == {"tests": "pass", "qa-signature": "waiting", "final-version": "pass"}
    # 5. QA signs, and the store promotes with the last fact
    admin.evidence.add_tag("demo", sign_tag(repository, key, "v1.0"))
    judged = machine.releases.judge("demo", "1.0", to="stable")
    assert (judged.index, judged.has_arrived) == ("testing", False)
    assert all(one.lets_pass for one in judged.verdicts), "nobody has tested it for stable"
    tested = signed_by_worker(worker, "tests", wheel, predicate_of_tests(index="stable"))
    machine.evidence.add(tested)
    assert machine.releases.judge("demo", "1.0", to="stable").has_arrived
    release = connect(admin.url).releases.get("demo", "1.0")
    assert (release.index, release.is_closed) == ("stable", True)
    assert [(one.kind, one.signed_by) for one in release.evidence] == [
        ("build", "worker-1"),
        ("build", "worker-1"),
        ("tests", "worker-1"),
        ("tests", "worker-1"),
        ("qa-signature", "qa@team.example"),
    ]
    assert all(one.is_signer_valid for one in release.evidence)


def test_evidence_that_is_refused_says_why(
    admin: StoreClient, machine: StoreClient, worker: WorkerCredentials
) -> None:
    stranger = replace(worker, private_key_pem=make_key_pair().private_pem)
    nowhere = make_wheel("nowhere")
    with pytest.raises(InvalidInput, match="no worker is registered with the key"):
        machine.evidence.add(signed_by_worker(stranger, "tests", nowhere, predicate_of_tests()))
    with pytest.raises(InvalidInput, match="no distribution"):
        machine.evidence.add(signed_by_worker(worker, "tests", nowhere, predicate_of_tests()))
    with pytest.raises(InvalidInput, match="the tag object is refused"):
        admin.evidence.add_tag("demo", b"not a tag")


def test_run_is_carried_by_the_worker_that_claimed_it(admin: StoreClient, machine: StoreClient) -> None:
    admin.repositories.add(NewRepository("demo", "/srv/demo.git", is_local=True))
    requested = admin.runs.create("/srv/demo.git", "refs/tags/v1.0", index="unstable")
    claimed = machine.runs.claim("worker-1")
    while claimed is not None and claimed.id != requested.id:  # what other tests have requested
        claimed = machine.runs.claim("worker-1")
    assert claimed is not None
    assert claimed.state == "running"
    assert machine.runs.claim("worker-1") is None
    machine.runs.report_step(claimed.id, "test for testing", "running")
    machine.runs.report_step(
        claimed.id, "test for testing", "succeeded", {"summary": "3 passed", "seconds": 1.5}
    )
    machine.runs.report_step(claimed.id, "test for risk/testing", "succeeded", "done")
    machine.runs.update(claimed.id, RunReport(commit=COMMIT, project="demo", version="1.0"))
    machine.runs.update(claimed.id, RunReport(state="succeeded", detail="demo 1.0 is in testing"))
    run = admin.runs.get(claimed.id)
    assert run.has_ended
    assert (run.project, run.version, run.commit) == ("demo", "1.0", COMMIT)
    assert [(step.name, step.summary) for step in run.steps] == [
        ("test for testing", "3 passed"),
        ("test for risk/testing", "done"),
    ]
    assert run.steps[0].seconds == 1.5
    assert run in admin.runs.newest()
    with pytest.raises(Forbidden):
        admin.runs.update(claimed.id, RunReport(state="failed"))
    with pytest.raises(Conflict):
        machine.runs.update(claimed.id, RunReport(state="failed"))


def test_tokens_are_made_listed_and_revoked(admin: StoreClient) -> None:
    admin.users.add(NewUser("ada"))
    token = admin.tokens.add(NewToken("ada", description="laptop")).secret
    (listed,) = admin.tokens.all("ada")
    assert (listed.description, listed.revoked_at) == ("laptop", None)
    with connect(admin.url, token=token) as client:
        assert isinstance(client.runs.newest(), tuple)
        admin.tokens.revoke(listed.id)
        with pytest.raises(Unauthorized):
            client.runs.newest()


def test_errors_come_back_as_they_were_raised(admin: StoreClient, tmp_path: Path) -> None:
    with pytest.raises(NotFound) as missing:
        admin.releases.get("nothing", "1.0")
    assert missing.value.hint
    with pytest.raises(InvalidInput) as invalid:
        admin.users.add(NewUser("Ada Lovelace"))
    assert type(invalid.value).__name__ == "InvalidName"
    with pytest.raises(Conflict):
        admin.users.add(NewUser("admin"))
    with pytest.raises(Unauthorized):
        connect(admin.url, token="conveyor-wrong").indexes.all()
    with pytest.raises(Unauthorized):
        connect(admin.url).runs.newest()
    for team, content in (("left", b"1"), ("right", b"2")):
        admin.indexes.add(NewIndex(team, mode="uploads", bases=("stable",)))
        admin.files.upload(team, make_wheel("twice", extra={"twice/data": content}).write(tmp_path / team))
    with pytest.raises(PromotionRefused):
        admin.releases.promote("twice", "1.0", to="stable", source="left")
    admin.indexes.add(NewIndex("free", mode="promotion-only"))
    for team, content in (("up", b"1"), ("down", b"2")):
        admin.indexes.add(NewIndex(team, mode="uploads", bases=("free",)))
        admin.files.upload(team, make_wheel("thrice", extra={"thrice/data": content}).write(tmp_path / team))
    admin.releases.promote("thrice", "1.0", to="free", source="up")
    with pytest.raises(DistributionExists):
        admin.releases.promote("thrice", "1.0", to="free", source="down")


def test_names_with_slashes_do_not_leave_their_place_in_a_path(admin: StoreClient) -> None:
    for project, version in (("../status", "1"), ("demo", "../../indexes"), ("demo/releases", "1.0")):
        with pytest.raises((NotFound, InvalidInput)):
            admin.releases.get(project, version)


def test_every_answer_is_as_the_document_says(
    admin: StoreClient, worker: WorkerCredentials, store: RunningStore, tmp_path: Path
) -> None:
    document = store.get("/api/v1/openapi.json").json()
    components = document["components"]["schemas"]
    admin.repositories.add(NewRepository("demo", "/srv/demo.git", is_local=True))
    assert [one.url for one in admin.repositories.all()] == ["/srv/demo.git"]
    run = admin.runs.create("/srv/demo.git", "main", index="unstable")
    wheel = make_wheel("shown")
    admin.files.upload("unstable", wheel.write(tmp_path))
    predicate = predicate_of_build(wheel, name="shown")
    admin.evidence.add(signed_by_worker(worker, "build", wheel, predicate))
    with zipfile.ZipFile(tmp_path / "docs.zip", "w") as docs:
        docs.writestr("index.html", "shown")
    admin.files.upload_docs("unstable", "shown", "1.0", tmp_path / "docs.zip")
    admin.policies.apply("schema = 1\n", reason="so that there is one")
    filled = {
        "/api/v1/policy/versions/{version}": "/api/v1/policy/versions/1",
        "/api/v1/projects/{project}/rules": "/api/v1/projects/shown/rules",
        "/api/v1/projects/{project}": "/api/v1/projects/shown",
        "/api/v1/projects/{project}/status": "/api/v1/projects/shown/status",
        "/api/v1/projects/{project}/size": "/api/v1/projects/shown/size",
        "/api/v1/projects/{project}/releases": f"/api/v1/projects/shown/releases?commit={COMMIT}",
        "/api/v1/projects/{project}/releases/{version}": "/api/v1/projects/shown/releases/1.0",
        "/api/v1/projects/{project}/releases/{version}/bundle": "/api/v1/projects/shown/releases/1.0/bundle",
        "/api/v1/projects/{project}/releases/{version}/docs": "/api/v1/projects/shown/releases/1.0/docs",
        "/api/v1/projects/{project}/releases/{version}/dependants": (
            "/api/v1/projects/shown/releases/1.0/dependants"
        ),
        "/api/v1/projects/{project}/releases/{version}/verdicts": (
            "/api/v1/projects/shown/releases/1.0/verdicts?to=stable"
        ),
        "/api/v1/projects/{project}/releases/{version}/publication": (
            "/api/v1/projects/shown/releases/2.0/publication?index=unstable"
        ),
        "/api/v1/files/{sha256}/{filename}/evidence": (
            f"/api/v1/files/{wheel.sha256}/{wheel.filename}/evidence"
        ),
        "/api/v1/runs/{run}": f"/api/v1/runs/{run.id}",
        "/api/v1/runs/{run}/output": f"/api/v1/runs/{run.id}/output",
        "/api/v1/way": "/api/v1/way?index=unstable",
    }
    headers = {"authorization": _basic("admin", ADMIN_PASSWORD)}
    asked = 0
    for path, methods in document["paths"].items():
        if "get" not in methods or "application/json" not in methods["get"]["responses"]["200"]["content"]:
            continue
        answer = store.get(filled.get(path, path), **headers)
        assert answer.status == 200, (path, answer.data)
        schema = methods["get"]["responses"]["200"]["content"]["application/json"]["schema"]
        assert faults_of(answer.json(), schema, components) == [], path
        asked += 1
    assert asked >= 12
    problem = store.get("/api/v1/projects/nothing").json()
    assert faults_of(problem, components["Problem"], components) == []
