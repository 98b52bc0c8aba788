"""Evidence of workers; signed tags, with real git and ssh-keygen, are in ``test_signed_tags``."""

from __future__ import annotations

import base64
import json
from datetime import timedelta
from typing import TYPE_CHECKING

import pytest
from sqlalchemy import select

from conveyor.catalog.database.events import events_since
from conveyor.catalog.database.judging_tables import evidence
from conveyor.catalog.releases.evidence import evidence_of_release
from conveyor.client.credentials import WorkerCredentials, make_key_pair, sign_statement
from conveyor.domain.people.access import ANONYMOUS, Identity
from conveyor.domain.people.keys import key_id, read_public_key
from conveyor.domain.releases.evidence import MAX_ENVELOPE_BYTES, statement
from conveyor.domain.releases.facts import results_of
from conveyor.domain.words.notation import utc_text
from conveyor.errors import Conflict, Forbidden, InvalidInput, NotFound, TooLarge, Unauthorized
from conveyor.operations.people.signers import add_worker, list_workers, revoke_worker
from conveyor.operations.releases.evidence import add_evidence, evidence_on_file
from conveyor.operations.runs.queue import claim_run, update_run
from conveyor.operations.store.store import read
from distributions_made import make_sdist, make_wheel
from makers import make_store
from releases_made import (
    ADMIN,
    COMMIT,
    envelope_of,
    hand_in,
    make_worker,
    predicate_of_build,
    predicate_of_tests,
    publish,
    request_run,
)

if TYPE_CHECKING:
    from pathlib import Path

WHEEL = make_wheel()


def test_evidence_is_kept_as_it_was_signed(tmp_path: Path) -> None:
    store = make_store(tmp_path)
    publish(store, WHEEL)
    worker = make_worker(store)
    envelope = envelope_of(worker, "build", WHEEL, predicate_of_build(WHEEL))
    received = add_evidence(store, ADMIN, envelope)
    assert (received.project, received.version, received.signed_by) == ("demo", "1.0", "worker-1")
    assert received.is_new
    with read(store) as connection:
        row = connection.execute(select(evidence)).one()
        (found,) = evidence_of_release(connection, "demo", "1.0")
    assert row.envelope.encode() == envelope
    assert row.received_from == "admin"
    assert (found.kind, found.sha256, found.commit_id) == ("build", WHEEL.sha256, COMMIT)
    assert found.is_signer_valid
    assert found.predicate["filename"] == WHEEL.filename


def test_same_envelope_again_is_known_and_changes_nothing(tmp_path: Path) -> None:
    store = make_store(tmp_path)
    publish(store, WHEEL)
    worker = make_worker(store)
    first = hand_in(store, worker, "tests", WHEEL, predicate_of_tests())
    serial = store.newest.read()
    again = hand_in(store, worker, "tests", WHEEL, predicate_of_tests())
    assert (again.id, again.is_new) == (first.id, False)
    assert store.newest.read() == serial


def test_same_statement_in_another_spelling_is_known_and_does_not_become_the_newest(tmp_path: Path) -> None:
    """Else an older success, replayed with one blank more in its envelope, outvotes a failure."""
    store = make_store(tmp_path)
    publish(store, WHEEL)
    worker = make_worker(store)
    passed = envelope_of(worker, "tests", WHEEL, predicate_of_tests())
    first = add_evidence(store, ADMIN, passed)
    hand_in(store, worker, "tests", WHEEL, predicate_of_tests(failed=1))
    respelled = json.loads(passed)
    respelled["signatures"].append({"keyid": "0" * 64, "sig": "AAAA"})
    respelled["more"] = "ignored"
    for envelope in (passed + b"\n", json.dumps(respelled, indent=1).encode()):
        again = add_evidence(store, ADMIN, envelope)
        assert (again.id, again.is_new) == (first.id, False)
    with read(store) as connection:
        found = evidence_of_release(connection, "demo", "1.0")
    assert [one.predicate["failed"] for one in found] == [0, 1]


def test_failing_tests_are_evidence_too(tmp_path: Path) -> None:
    store = make_store(tmp_path)
    publish(store, WHEEL)
    assert hand_in(store, make_worker(store), "tests", WHEEL, predicate_of_tests(failed=2)).is_new


def test_evidence_is_an_event_with_its_digest(tmp_path: Path) -> None:
    store = make_store(tmp_path)
    publish(store, WHEEL)
    worker = make_worker(store)
    before = store.newest.read()
    hand_in(store, worker, "tests", WHEEL, predicate_of_tests())
    with read(store) as connection:
        (event,) = events_since(connection, before)
    assert (event.action, event.project, event.version) == ("add-evidence", "demo", "1.0")
    assert event.detail["sha256"] == WHEEL.sha256
    assert event.detail["signed_by"] == "worker-1"


def test_signature_of_an_unknown_key_is_refused(tmp_path: Path) -> None:
    store = make_store(tmp_path)
    publish(store, WHEEL)
    stranger = WorkerCredentials(None, "stranger", "", make_key_pair().private_pem)
    with pytest.raises(InvalidInput, match="no worker is registered with the key"):
        hand_in(store, stranger, "tests", WHEEL, predicate_of_tests())


@pytest.mark.parametrize("sha256", [WHEEL.sha256, "0" * 64], ids=["here", "not here"])
def test_who_is_no_worker_does_not_learn_what_a_digest_is(tmp_path: Path, sha256: str) -> None:
    store = make_store(tmp_path)
    publish(store, WHEEL)
    stranger = WorkerCredentials(None, "stranger", "", make_key_pair().private_pem)
    guess = statement(
        "build",
        filename="guess-1.0-py3-none-any.whl",
        sha256=sha256,
        predicate=predicate_of_build(WHEEL),
    )
    with pytest.raises(InvalidInput) as caught:
        add_evidence(store, ADMIN, sign_statement(guess, stranger))
    (fault,) = caught.value.faults
    assert "no worker is registered" in fault


def test_key_id_of_a_worker_on_a_strangers_signature_is_refused(tmp_path: Path) -> None:
    store = make_store(tmp_path)
    publish(store, WHEEL)
    worker = make_worker(store)
    stranger = WorkerCredentials(None, "stranger", "", make_key_pair().private_pem)
    genuine = json.loads(envelope_of(worker, "tests", WHEEL, predicate_of_tests()))
    forged = json.loads(envelope_of(stranger, "tests", WHEEL, predicate_of_tests()))
    forged["signatures"][0]["keyid"] = genuine["signatures"][0]["keyid"]
    with pytest.raises(InvalidInput, match="the signature is not that of worker worker-1"):
        add_evidence(store, ADMIN, json.dumps(forged).encode())


def test_changed_payload_is_refused(tmp_path: Path) -> None:
    store = make_store(tmp_path)
    publish(store, WHEEL)
    envelope = json.loads(envelope_of(make_worker(store), "tests", WHEEL, predicate_of_tests(failed=1)))
    better = statement("tests", filename=WHEEL.filename, sha256=WHEEL.sha256, predicate=predicate_of_tests())
    envelope["payload"] = base64.b64encode(better).decode()
    with pytest.raises(InvalidInput, match="the signature is not that of"):
        add_evidence(store, ADMIN, json.dumps(envelope).encode())


def test_good_signature_beside_a_strangers_is_enough(tmp_path: Path) -> None:
    store = make_store(tmp_path)
    publish(store, WHEEL)
    stranger = WorkerCredentials(None, "stranger", "", make_key_pair().private_pem)
    envelope = json.loads(envelope_of(stranger, "tests", WHEEL, predicate_of_tests()))
    envelope["signatures"] += json.loads(
        envelope_of(make_worker(store), "tests", WHEEL, predicate_of_tests())
    )["signatures"]
    assert add_evidence(store, ADMIN, json.dumps(envelope).encode()).signed_by == "worker-1"


def test_revoked_worker_gives_no_evidence_and_what_it_gave_counts_no_more(tmp_path: Path) -> None:
    store = make_store(tmp_path)
    publish(store, WHEEL)
    worker = make_worker(store)
    hand_in(store, worker, "build", WHEEL, predicate_of_build(WHEEL))
    revoke_worker(store, ADMIN, "worker-1")
    with read(store) as connection:
        (found,) = evidence_of_release(connection, "demo", "1.0")
    assert not found.is_signer_valid
    with pytest.raises(InvalidInput, match="worker-1 was revoked at"):
        hand_in(store, worker, "tests", WHEEL, predicate_of_tests())
    with pytest.raises(NotFound):
        revoke_worker(store, ADMIN, "worker-1")


def test_revoked_name_and_key_are_not_registered_again(tmp_path: Path) -> None:
    store = make_store(tmp_path)
    pair = make_key_pair()
    add_worker(store, ADMIN, "worker-1", pair.public_pem)
    revoke_worker(store, ADMIN, "worker-1")
    with pytest.raises(Conflict):
        add_worker(store, ADMIN, "worker-1", make_key_pair().public_pem)
    with pytest.raises(Conflict, match="key is already registered"):
        add_worker(store, ADMIN, "worker-2", pair.public_pem)
    assert [worker.name for worker in list_workers(store, ADMIN)] == ["worker-1"]


def test_worker_does_not_take_the_name_of_a_user(tmp_path: Path) -> None:
    with pytest.raises(Conflict):
        add_worker(make_store(tmp_path), ADMIN, "admin", make_key_pair().public_pem)


def test_worker_is_known_by_the_digest_of_its_key(tmp_path: Path) -> None:
    store = make_store(tmp_path)
    pair = make_key_pair()
    registered = add_worker(store, ADMIN, "worker-1", pair.public_pem)
    assert registered.key_id == key_id(read_public_key(pair.public_pem))
    assert registered.token not in repr(registered)


def test_evidence_about_a_file_that_is_not_here_is_refused(tmp_path: Path) -> None:
    store = make_store(tmp_path)
    publish(store, WHEEL)
    other = make_wheel(extra={"demo/more.py": b""})
    with pytest.raises(InvalidInput, match="no distribution here has the digest"):
        hand_in(store, make_worker(store), "tests", other, predicate_of_tests())


def test_what_evidence_says_of_its_file_must_agree_with_the_file(tmp_path: Path) -> None:
    store = make_store(tmp_path)
    publish(store, WHEEL)
    predicate = predicate_of_build(WHEEL, name="other", version="2.0") | {"filename": "x.whl"}
    with pytest.raises(InvalidInput) as caught:
        hand_in(store, make_worker(store), "build", WHEEL, predicate)
    assert len(caught.value.faults) == 3
    said = statement("tests", filename="else.whl", sha256=WHEEL.sha256, predicate=predicate_of_tests())
    with pytest.raises(InvalidInput, match="the file with that digest is"):
        add_evidence(store, ADMIN, sign_statement(said, make_worker(store, "worker-2")))


def test_who_may_not_upload_hands_in_no_evidence(tmp_path: Path) -> None:
    store = make_store(tmp_path)
    publish(store, WHEEL)
    envelope = envelope_of(make_worker(store), "tests", WHEEL, predicate_of_tests())
    with pytest.raises(Unauthorized):
        add_evidence(store, ANONYMOUS, envelope)
    reader = Identity("rea", frozenset({"read", "promote"}))
    elsewhere = Identity("ada", frozenset({"upload"}), projects=frozenset({"other"}))
    for identity in (reader, elsewhere):
        with pytest.raises(Forbidden):
            add_evidence(store, identity, envelope)


def test_huge_envelope_is_refused_before_it_is_read(tmp_path: Path) -> None:
    with pytest.raises(TooLarge):
        add_evidence(make_store(tmp_path), ADMIN, b"{" * (MAX_ENVELOPE_BYTES + 1))


def test_evidence_on_each_file_of_a_release_is_kept_apart(tmp_path: Path) -> None:
    store = make_store(tmp_path)
    worker, sdist = make_worker(store), make_sdist()
    for made in (WHEEL, sdist):
        publish(store, made)
        hand_in(store, worker, "build", made, predicate_of_build(made))
    with read(store) as connection:
        found = evidence_of_release(connection, "demo", "1.0")
    assert [one.sha256 for one in found] == [WHEEL.sha256, sdist.sha256]


# --- when, and in which run --------------------------------------------------------------------------------


def made_at(moment: str, *, run: int | None = None) -> dict[str, object]:
    return {"at": moment, "isolation": "jail", "run": run}


def test_newest_is_what_was_made_last_whenever_it_came(tmp_path: Path) -> None:
    store = make_store(tmp_path)
    worker = make_worker(store)
    publish(store, WHEEL)
    late, early = "2021-05-01T08:00:00.000000Z", "2021-05-01T07:59:59.999999Z"
    hand_in(store, worker, "tests", WHEEL, predicate_of_tests(failed=1, made=made_at(late)))
    hand_in(store, worker, "tests", WHEEL, predicate_of_tests(made=made_at(early)))
    with read(store) as connection:
        found = evidence_of_release(connection, "demo", "1.0")
    assert [one.made_at for one in found] == [early, late]
    assert results_of(found, WHEEL.sha256).failing, "the success was made before the failure"


def test_evidence_from_the_future_is_refused_and_a_clock_slightly_ahead_is_not(tmp_path: Path) -> None:
    store = make_store(tmp_path)
    worker = make_worker(store)
    publish(store, WHEEL)
    ahead = utc_text(store.clock() + timedelta(hours=1))
    with pytest.raises(InvalidInput, match="which is in the future: this store's clock says") as caught:
        hand_in(store, worker, "tests", WHEEL, predicate_of_tests(made=made_at(ahead)))
    assert "NTP" in (caught.value.hint or "")
    slightly = utc_text(store.clock() + timedelta(minutes=1))
    assert hand_in(store, worker, "tests", WHEEL, predicate_of_tests(made=made_at(slightly))).is_new
    with pytest.raises(InvalidInput, match="is not a time such as"):
        hand_in(store, worker, "tests", WHEEL, predicate_of_tests(made=made_at("2021-05-01T08:00Z")))


def test_evidence_names_no_run_but_one_that_its_worker_carries_for_that_project(tmp_path: Path) -> None:
    store = make_store(tmp_path)
    worker, other = make_worker(store), make_worker(store, "worker-2")
    publish(store, WHEEL)
    asked = request_run(store)
    holder = Identity("worker-1", frozenset({"read", "upload", "run"}), worker="worker-1")
    claim_run(store, holder, "worker-1", run_id=asked.id)
    in_run = predicate_of_tests(made=made_at("2021-05-01T08:00:00.000000Z", run=asked.id))
    with pytest.raises(InvalidInput, match=f"run {asked.id} is not carried by worker-2"):
        hand_in(store, other, "tests", WHEEL, in_run)
    unknown = made_at("2021-05-01T08:00:00.000000Z", run=99)
    with pytest.raises(InvalidInput, match="run 99 is not carried by worker-1"):
        hand_in(store, worker, "tests", WHEEL, predicate_of_tests(made=unknown))
    assert hand_in(store, worker, "tests", WHEEL, in_run).is_new
    update_run(store, holder, asked.id, project="my-demo")
    with pytest.raises(InvalidInput, match=f"run {asked.id} is of my-demo, not of demo"):
        hand_in(store, worker, "tests", WHEEL, predicate_of_tests(made=in_run["made"], passed=4))


def test_evidence_on_a_file_of_another_store_is_kept_for_its_mirror(tmp_path: Path) -> None:
    store = make_store(tmp_path / "store")
    worker, made = make_worker(store), make_wheel("their", "1.0")
    envelope = envelope_of(worker, "build", made, predicate_of_build(made, name="their"))
    with pytest.raises(InvalidInput, match="no distribution here"):
        add_evidence(store, ADMIN, envelope)
    for index in ("unstable", "nothing"):
        with pytest.raises(NotFound):
            add_evidence(store, ADMIN, envelope, mirror=index)
    received = add_evidence(store, ADMIN, envelope, mirror="pypi")
    assert (received.project, received.version, received.is_new) == ("their", "1.0", True)
    with pytest.raises(NotFound):  # nobody has asked the mirror for it yet
        evidence_on_file(store, ADMIN, made.sha256, made.filename)
    lying = envelope_of(worker, "build", made, predicate_of_build(made, name="other"))
    with pytest.raises(InvalidInput, match="but the file's is"):
        add_evidence(store, ADMIN, lying, mirror="pypi")
    # A name of this store is never taken from a mirror.
    own = make_wheel("demo", "1.0")
    publish(store, own)
    with pytest.raises(Conflict, match="belongs to this store"):
        add_evidence(store, ADMIN, envelope_of(worker, "build", own, predicate_of_build(own)), mirror="pypi")
    hand_in(store, worker, "build", own, predicate_of_build(own))
    assert [one.kind for one in evidence_on_file(store, ADMIN, own.sha256, own.filename)] == ["build"]
    with pytest.raises(NotFound):
        evidence_on_file(store, ADMIN, "0" * 64, own.filename)
