from __future__ import annotations

import hashlib
import hmac
import json
import threading
from dataclasses import replace
from datetime import timedelta
from typing import TYPE_CHECKING

import pytest

from conveyor.catalog.database.events import events_since
from conveyor.catalog.runs.queue import insert_run, output_of_run
from conveyor.domain.indexes.definitions import NewIndex
from conveyor.domain.people.access import ANONYMOUS, WORKER_SCOPES, Identity
from conveyor.domain.runs.repositories import NewRepository
from conveyor.domain.runs.states import AS_BUILT, NewRun, OutputPart, OutputReport, OutputTaken, RunSettings
from conveyor.domain.runs.webhooks import NewWebhook
from conveyor.errors import Conflict, Forbidden, InvalidInput, InvalidVersion, NotFound, Unauthorized
from conveyor.operations.indexes.definitions import create_index
from conveyor.operations.people.signers import revoke_worker
from conveyor.operations.releases.standing import find_dependants
from conveyor.operations.runs import queue
from conveyor.operations.runs.queue import (
    MAX_RUNS_LISTED,
    add_output,
    cancel_run,
    claim_run,
    create_run,
    get_output,
    get_run,
    get_run_settings,
    list_runs,
    report_step,
    retry_run,
    set_run_settings,
    take_over_run,
    update_run,
)
from conveyor.operations.runs.repositories import add_repository, list_repositories, remove_repository
from conveyor.operations.runs.tokens import issue_run_token
from conveyor.operations.runs.webhooks import (
    add_webhook,
    list_webhooks,
    receive_delivery,
    remove_webhook,
)
from conveyor.operations.store.store import now, read, record_change
from distributions_made import make_wheel
from makers import make_store
from operations.stores_damaged import execute
from releases_made import (
    ADMIN,
    COMMIT,
    REPOSITORY,
    TEAM_CHAIN,
    make_team_chain,
    make_worker,
    publish,
    request_run,
)

if TYPE_CHECKING:
    from pathlib import Path

    from conveyor.domain.people.access import Scope
    from conveyor.domain.runs.states import Run
    from conveyor.operations.store.store import Store

WORKER = Identity("worker-1", WORKER_SCOPES, worker="worker-1")
OTHER = Identity("worker-2", WORKER_SCOPES, worker="worker-2")
READER = Identity("rea", frozenset({"read"}))


def make_claimed_run(folder: Path) -> tuple[Store, Run]:
    store = make_store(folder)
    make_worker(store)
    request_run(store, ref="refs/tags/v1.0")
    run = claim_run(store, WORKER, "worker-1")
    assert run is not None
    return store, run


def test_requested_run_waits_for_a_worker(tmp_path: Path) -> None:
    store = make_store(tmp_path)
    run = request_run(store, ref="refs/tags/v1.0")
    assert (run.state, run.worker, run.requested_by, run.steps) == ("requested", None, "admin", ())
    assert get_run(store, READER, run.id) == run


def test_oldest_run_is_claimed_first_and_then_none_is_left(tmp_path: Path) -> None:
    store = make_store(tmp_path)
    make_worker(store)
    made = [request_run(store, ref=ref).id for ref in ("a", "b")]
    claimed = [claim_run(store, WORKER, "worker-1") for _ in range(3)]
    assert [run.id if run else None for run in claimed] == [*made, None]
    assert claimed[0] is not None
    assert (claimed[0].state, claimed[0].worker) == ("running", "worker-1")
    assert claimed[0].claimed_at is not None


def test_every_run_is_claimed_by_one_worker_however_many_ask(tmp_path: Path) -> None:
    store = make_store(tmp_path)
    names = [f"worker-{number}" for number in range(4)]
    for name in names:
        make_worker(store, name)
    expected = {request_run(store, ref=f"r{n}").id for n in range(12)}
    claimed: list[int] = []
    barrier = threading.Barrier(len(names))

    def work(name: str) -> None:
        identity = Identity(name, WORKER_SCOPES, worker=name)
        barrier.wait()
        while (run := claim_run(store, identity, name)) is not None:
            claimed.append(run.id)

    threads = [threading.Thread(target=work, args=(name,)) for name in names]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sorted(claimed) == sorted(expected)


def test_only_a_registered_worker_claims_and_only_for_itself(tmp_path: Path) -> None:
    store = make_store(tmp_path)
    make_worker(store)
    request_run(store, ref="main")
    for identity in (ADMIN, OTHER):
        with pytest.raises(Forbidden, match="is not the worker"):
            claim_run(store, identity, "worker-1")
    with pytest.raises(Unauthorized):
        claim_run(store, ANONYMOUS, "worker-1")
    revoke_worker(store, ADMIN, "worker-1")
    with pytest.raises(Forbidden, match="revoked"):
        claim_run(store, WORKER, "worker-1")


def test_tags_are_claimed_before_branches_and_an_event_told_twice_is_one_run(tmp_path: Path) -> None:
    store = make_store(tmp_path)
    make_worker(store)
    branch, tag, plain = (request_run(store, ref=ref) for ref in (COMMIT, "refs/tags/v1.0", "v1.1"))
    assert [run.priority for run in (branch, tag, plain)] == [0, 1, 1]
    assert request_run(store, ref="refs/tags/v1.0") == tag
    claimed = [claim_run(store, WORKER, "worker-1") for _ in range(3)]
    assert [run.id if run else None for run in claimed] == [tag.id, plain.id, branch.id]
    # A commit stays the same while it is carried; a tag may have become another object meanwhile.
    assert request_run(store, ref=COMMIT).id == branch.id
    assert request_run(store, ref="refs/tags/v1.0").id not in {branch.id, tag.id, plain.id}
    own = create_run(store, WORKER, NewRun(REPOSITORY, COMMIT))
    assert own.id != branch.id


def test_no_more_runs_than_the_store_allows_are_under_way(tmp_path: Path) -> None:
    store = make_store(tmp_path)
    make_worker(store)
    with pytest.raises(Forbidden):
        set_run_settings(store, READER, RunSettings(1, None))
    set_run_settings(store, ADMIN, RunSettings(2, kept_days=7))
    assert get_run_settings(store, ADMIN) == RunSettings(2, 7)
    for ref in ("a", "b", "c"):
        request_run(store, ref=ref)
    first, second, third = (claim_run(store, WORKER, "worker-1") for _ in range(3))
    assert first is not None
    assert second is not None
    assert third is None
    update_run(store, WORKER, first.id, state="succeeded")
    assert claim_run(store, WORKER, "worker-1") is not None
    later = replace(store, clock=lambda: now() + timedelta(days=8))
    update_run(later, WORKER, second.id, state="failed")  # whatever is old goes when a run ends
    assert first.id not in {run.id for run in list_runs(later, ADMIN)}
    assert second.id in {run.id for run in list_runs(later, ADMIN)}
    set_run_settings(store, ADMIN, RunSettings(None, None))
    assert get_run_settings(store, ADMIN) == RunSettings(None, None)


def test_run_is_cancelled_and_requested_again_with_a_reason(tmp_path: Path) -> None:
    store, run = make_claimed_run(tmp_path)
    with pytest.raises(Forbidden):
        cancel_run(store, READER, run.id)
    with pytest.raises(Conflict, match="is running"):
        retry_run(store, ADMIN, run.id)
    ended = cancel_run(store, ADMIN, run.id, "the wrong tag")
    assert (ended.state, ended.detail) == ("cancelled", "cancelled by admin: the wrong tag")
    assert cancel_run(store, ADMIN, run.id) == ended
    with pytest.raises(Conflict, match="has cancelled already"):
        report_step(store, WORKER, run.id, "build", state="succeeded")
    again = retry_run(store, ADMIN, run.id, "it was right")
    assert (again.state, again.retry_of, again.reason) == ("requested", run.id, "it was right")
    assert (again.ref, again.index, again.repository) == (run.ref, run.index, run.repository)
    cancel_run(store, ADMIN, again.id)
    assert claim_run(store, WORKER, "worker-1") is None
    with pytest.raises(NotFound):
        cancel_run(store, ADMIN, 99)
    # Only the worker that tested a release knows how to do so again.
    tested = create_run(store, WORKER, NewRun(AS_BUILT, "1.0", "unstable", "demo", version="1.0", claim=True))
    cancel_run(store, ADMIN, tested.id)
    with pytest.raises(Conflict) as refused:
        retry_run(store, ADMIN, tested.id)
    assert "conveyor pipeline test demo 1.0 " in str(refused.value.hint)


def test_delivery_of_a_git_host_asks_for_runs_of_its_repository_once(tmp_path: Path) -> None:
    store = make_store(tmp_path)
    add_repository(store, ADMIN, NewRepository("demo", REPOSITORY, is_local=True))
    with pytest.raises(InvalidInput, match="is registered for no project"):
        add_webhook(store, ADMIN, NewWebhook("https://git.example.org/other.git", "github"))
    with pytest.raises(Forbidden):
        add_webhook(store, READER, NewWebhook(REPOSITORY, "github"))
    made = add_webhook(store, ADMIN, NewWebhook(REPOSITORY, "github"))
    assert list_webhooks(store, ADMIN) == [made.webhook]
    push = {"ref": "refs/tags/v1.0", "before": "0" * 40, "after": COMMIT}
    body = json.dumps(push | {"repository": {"clone_url": "https://git.example.org/other.git"}}).encode()
    signature = hmac.new(made.secret.encode(), body, hashlib.sha256).hexdigest()
    headers = {"x-github-event": "push", "x-hub-signature-256": f"sha256={signature}"}
    with pytest.raises(Forbidden):
        receive_delivery(store, made.webhook.id, headers, body + b" ")
    # What breaks before its runs are written is as if it had never come: the host tells it again.
    execute(store, "create trigger broken before insert on runs begin select raise(abort, 'broken'); end")
    with pytest.raises(Conflict, match="was not stored"):
        receive_delivery(store, made.webhook.id, headers, body)
    execute(store, "drop trigger broken")
    (number,) = receive_delivery(store, made.webhook.id, headers, body).runs
    run = get_run(store, ADMIN, number)
    assert (run.repository, run.ref) == (REPOSITORY, "refs/tags/v1.0")
    assert run.requested_by == f"webhook {made.webhook.id[:8]}"
    with pytest.raises(Conflict, match="received before"):
        receive_delivery(store, made.webhook.id, headers | {"x-github-delivery": "another"}, body)
    remove_webhook(store, ADMIN, made.webhook.id)
    with pytest.raises(NotFound):
        receive_delivery(store, made.webhook.id, headers, body)


def test_run_of_a_worker_that_has_ended_is_taken_over_once(tmp_path: Path) -> None:
    store, run = make_claimed_run(tmp_path)
    for name in ("worker-2", "worker-3"):
        make_worker(store, name)
    third = Identity("worker-3", WORKER_SCOPES, worker="worker-3", indexes=frozenset({"testing"}))
    with pytest.raises(Forbidden, match="is not the worker"):
        take_over_run(store, ADMIN, "worker-2", run.id, held_by="worker-1")
    with pytest.raises(Forbidden, match="may not take over"):
        take_over_run(store, third, "worker-3", run.id, held_by="worker-1")
    taken = take_over_run(store, OTHER, "worker-2", run.id, held_by="worker-1")
    assert taken is not None
    assert (taken.state, taken.worker) == ("running", "worker-2")
    with pytest.raises(Forbidden, match="held by worker-2, not by worker-1"):
        report_step(store, WORKER, run.id, "build", state="succeeded")
    assert take_over_run(store, WORKER, "worker-1", run.id, held_by="worker-1") is None
    update_run(store, OTHER, run.id, state="succeeded")
    assert take_over_run(store, WORKER, "worker-1", run.id, held_by="worker-2") is None


def test_worker_notes_what_it_found_out(tmp_path: Path) -> None:
    store, run = make_claimed_run(tmp_path)
    update_run(store, WORKER, run.id, commit=COMMIT, project="My.Demo", version="1.0-RC1")
    noted = update_run(store, WORKER, run.id, state="succeeded", detail="demo 1.0rc1 is in testing")
    assert (noted.commit, noted.project, noted.version) == (COMMIT, "my-demo", "1.0rc1")
    assert (noted.state, noted.detail) == ("succeeded", "demo 1.0rc1 is in testing")
    assert noted.finished_at is not None
    assert noted.has_ended


def test_report_that_comes_twice_changes_nothing(tmp_path: Path) -> None:
    store, run = make_claimed_run(tmp_path)
    report_step(store, WORKER, run.id, "build", state="succeeded", detail={"files": 2})
    first = update_run(store, WORKER, run.id, state="failed", detail="broken")
    serial = store.newest.read()
    assert update_run(store, WORKER, run.id, state="failed", detail="broken") == first
    assert report_step(store, WORKER, run.id, "build", state="succeeded", detail={"files": 2}) == first
    assert store.newest.read() == serial


def test_run_that_ended_is_not_changed_any_more(tmp_path: Path) -> None:
    store, run = make_claimed_run(tmp_path)
    update_run(store, WORKER, run.id, state="failed")
    with pytest.raises(Conflict):
        update_run(store, WORKER, run.id, state="succeeded")
    with pytest.raises(Conflict):
        update_run(store, WORKER, run.id, detail="more")
    with pytest.raises(Conflict):
        report_step(store, WORKER, run.id, "late", state="running")


@pytest.mark.parametrize("kept_days", [None, 30])
def test_output_of_a_run_is_kept_once_until_its_limit_and_goes_with_the_run_or_before(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, kept_days: int | None
) -> None:
    store, run = make_claimed_run(tmp_path)

    def add(text: str, after: int | None) -> OutputTaken:
        return add_output(store, WORKER, run.id, OutputReport((OutputPart("build", text),), after))

    monkeypatch.setattr(queue, "MOST_OUTPUT", 20)
    assert get_output(store, ADMIN, run.id) == []
    assert add("one\n", None) == OutputTaken(1, is_full=False)
    assert add("two\n", 1) == OutputTaken(2, is_full=False)
    assert add("two\n", 1) == OutputTaken(2, is_full=False), "its answer was lost"
    assert add("three\n", 2) == OutputTaken(3, is_full=True)
    assert add("four\n", 3) == OutputTaken(3, is_full=True)
    assert [part.text for one in get_output(store, ADMIN, run.id) for part in one.parts] == [
        "one\n", "two\n", "three\n",
    ]  # fmt: skip
    assert [one.number for one in get_output(store, ADMIN, run.id, after=1)] == [2, 3]
    with pytest.raises(Forbidden):
        add_output(store, OTHER, run.id, OutputReport(()))
    with pytest.raises(Forbidden):
        get_output(store, Identity("eve", frozenset({"upload"})), run.id)
    update_run(store, WORKER, run.id, state="succeeded")
    with pytest.raises(Conflict, match="it writes no more"):
        add("late\n", 3)
    assert len(get_output(store, ADMIN, run.id)) == 3

    def lines_after(days: int) -> int:
        """What is left of it when another run ends, which writes too."""
        later = replace(store, clock=lambda: now() + timedelta(days=days))
        request_run(later, ref=f"b{days}")
        other = claim_run(later, WORKER, "worker-1")
        assert other is not None
        add_output(later, WORKER, other.id, OutputReport((OutputPart("build", "other\n"),)))
        update_run(later, WORKER, other.id, state="failed")
        with read(later) as connection:
            assert len(output_of_run(connection, other.id, after=0, most=9)) == 1
            return len(output_of_run(connection, run.id, after=0, most=9))

    assert lines_after(29) == 3
    if kept_days is not None:
        set_run_settings(store, ADMIN, RunSettings(None, kept_days))
    assert lines_after(31) == 0
    assert (run.id in {one.id for one in list_runs(store, ADMIN)}) == (kept_days is None)


def test_repositories_of_dependants_are_told_to_workers_alone(tmp_path: Path) -> None:
    store = make_store(tmp_path)
    make_worker(store)
    request_run(store)  # its repository is registered for both
    publish(store, make_wheel("demo"))

    def require(version: str, requirement: str) -> None:
        words = f"Metadata-Version: 2.4\nName: my-demo\nVersion: {version}\nRequires-Dist: {requirement}\n"
        publish(store, make_wheel("my-demo", version, metadata=words.encode()))

    def told(identity: Identity) -> list[tuple[str, str]]:
        found = find_dependants(store, identity, "demo", "1.0", index="unstable")
        assert [one.project for one in found.dependants] == ["my-demo"]
        return [(one.project, one.url) for one in found.repositories]

    require("1.0", "demo>=1")
    assert [told(one) for one in (WORKER, ADMIN, READER)] == [[("my-demo", REPOSITORY)], [], []]
    require("2.0", "demo<1")
    assert told(WORKER) == [], "its tests are not asked for"


def test_only_the_holder_reports(tmp_path: Path) -> None:
    store, run = make_claimed_run(tmp_path)
    for identity in (OTHER, ADMIN):
        with pytest.raises(Forbidden, match="held by worker-1"):
            update_run(store, identity, run.id, state="succeeded")
        with pytest.raises(Forbidden):
            report_step(store, identity, run.id, "build", state="running")
    waiting = request_run(store, ref="main")
    with pytest.raises(Conflict, match="nobody has claimed"):
        update_run(store, WORKER, waiting.id, state="running")


def test_steps_stand_in_the_order_they_began(tmp_path: Path) -> None:
    store, run = make_claimed_run(tmp_path)
    for name in ("clone", "build", "publish"):
        report_step(store, WORKER, run.id, name, state="running")
        report_step(store, WORKER, run.id, name, state="succeeded", detail={"summary": name.upper()})
    steps = get_run(store, READER, run.id).steps
    assert [step.name for step in steps] == ["clone", "build", "publish"]
    assert all(step.state == "succeeded" and step.finished_at is not None for step in steps)
    assert steps[0].summary == "CLONE"


def test_step_of_a_resumed_run_begins_anew(tmp_path: Path) -> None:
    store, run = make_claimed_run(tmp_path)
    report_step(store, WORKER, run.id, "build", state="running")
    before = report_step(store, WORKER, run.id, "build", state="failed", detail={"log": "x"}).steps[0]
    after = report_step(store, WORKER, run.id, "build", state="running").steps[0]
    assert after.finished_at is None
    assert after.started_at > before.started_at
    assert after.detail == {"log": "x"}


def test_end_of_a_step_whose_beginning_was_lost_is_kept(tmp_path: Path) -> None:
    store, run = make_claimed_run(tmp_path)
    step = report_step(store, WORKER, run.id, "build", state="succeeded").steps[0]
    assert step.started_at == step.finished_at


def test_step_does_not_jump_from_one_end_to_another(tmp_path: Path) -> None:
    store, run = make_claimed_run(tmp_path)
    report_step(store, WORKER, run.id, "build", state="failed")
    with pytest.raises(Conflict):
        report_step(store, WORKER, run.id, "build", state="succeeded")


def test_request_claim_and_end_are_events_and_steps_are_not(tmp_path: Path) -> None:
    store, run = make_claimed_run(tmp_path)
    report_step(store, WORKER, run.id, "build", state="running")
    update_run(store, WORKER, run.id, commit=COMMIT)
    update_run(store, WORKER, run.id, state="succeeded")
    with read(store) as connection:
        actions = [event.action for event in events_since(connection, 0) if event.action.endswith("-run")]
    assert actions == ["request-run", "claim-run", "end-run"]


def test_newest_runs_come_first(tmp_path: Path) -> None:
    store = make_store(tmp_path)
    made = [request_run(store, ref=f"r{n}").id for n in range(4)]
    assert [run.id for run in list_runs(store, READER, limit=3)] == made[:0:-1]


def test_runs_are_shown_to_known_readers_only(tmp_path: Path) -> None:
    store = make_store(tmp_path)
    run = request_run(store, ref="main")
    with pytest.raises(Unauthorized):
        get_run(store, ANONYMOUS, run.id)
    with pytest.raises(Unauthorized):
        list_runs(store, ANONYMOUS)
    with pytest.raises(Forbidden):
        get_run(store, Identity("up", frozenset({"upload"})), run.id)
    with pytest.raises(NotFound):
        get_run(store, READER, run.id + 1)


def store_with_a_private_way(folder: Path) -> Store:
    """Releases of ``hidden`` enter it at the private ``team/dev`` and go on to ``team/done``."""
    store = make_store(folder)
    create_index(store, ADMIN, NewIndex("team/done", mode="promotion-only", is_private=True))
    create_index(store, ADMIN, NewIndex("team/dev", mode="uploads", bases=("team/done",), is_private=True))
    add_repository(store, ADMIN, NewRepository("hidden", "https://git.team.example/hidden.git"))
    return store


def insert_hidden_run(store: Store, identity: Identity = ADMIN) -> Run:
    """A run that enters a private index, also if the same is requested already."""
    with record_change(store, actor=identity.name) as change:
        run_id = insert_run(
            change.connection,
            NewRun("https://git.team.example/hidden.git", "main", "team/dev"),
            requested_by=identity.name,
            requested_at=change.at,
        )
        change.event("request-run", index="team/dev", detail={"run": run_id})
    return get_run(store, identity, run_id)


def test_token_of_a_run_says_whether_reading_what_it_reads_takes_a_right(tmp_path: Path) -> None:
    store = store_with_a_private_way(tmp_path)
    make_worker(store)
    hidden = NewRun("https://git.team.example/hidden.git", "main", "team/dev", claim=True)
    for asked, index in ((hidden, "team/dev"), (NewRun("/srv/demo.git", "main", claim=True), "unstable")):
        made = issue_run_token(store, WORKER, create_run(store, WORKER, asked).id)
        assert (made.index, made.is_private) == (index, index == "team/dev")
    outsider = Identity("otto", frozenset({"run", "read"}), indexes=frozenset({"unstable"}))
    with pytest.raises(NotFound, match='there is no index "team/dev"'):
        create_run(store, outsider, replace(hidden, claim=False))


@pytest.mark.parametrize("is_known", [False, True])
def test_run_of_a_private_project_is_seen_by_readers_of_it_starters_and_who_asked_for_it(
    tmp_path: Path, is_known: bool
) -> None:
    store = store_with_a_private_way(tmp_path)
    make_worker(store)
    starter = Identity("stan", frozenset({"run", "read"}))
    run = insert_hidden_run(store, starter)
    if is_known:
        claim_run(store, WORKER, "worker-1")
        update_run(store, WORKER, run.id, project="hidden")
    read_only: frozenset[Scope] = frozenset({"read"})
    for identity in (
        READER,
        starter,
        WORKER,
        ADMIN,
        Identity("stan", read_only, indexes=frozenset({"stable"})),
        Identity("tess", read_only, indexes=frozenset({"team/dev", "team/done"})),
        Identity("hal", read_only, projects=frozenset({"hidden"})),
        Identity("ron", frozenset({"run"}), projects=frozenset({"hidden"})),
    ):
        assert get_run(store, identity, run.id).id == run.id, identity
        assert [one.id for one in list_runs(store, identity)] == [run.id]
    for identity in (
        Identity("otto", read_only, indexes=frozenset({"stable"})),
        Identity("otto", read_only, indexes=frozenset({"team/done"})),
        Identity("otto", read_only, projects=frozenset({"demo"})),
        Identity("ron", frozenset({"run"}), projects=frozenset({"demo"})),
        Identity("ron", frozenset({"run"}), indexes=frozenset({"stable"})),
        Identity("ada", frozenset({"read", "admin"}), indexes=frozenset({"stable"})),
    ):
        assert list_runs(store, identity) == [], identity
        with pytest.raises(NotFound) as hidden:
            get_run(store, identity, run.id)
        with pytest.raises(NotFound) as absent:
            get_run(store, identity, run.id + 1)
        assert str(hidden.value).replace(f"run {run.id}", f"run {run.id + 1}") == str(absent.value)


def test_reader_of_a_part_sees_runs_once_the_project_is_there(tmp_path: Path) -> None:
    store = store_with_a_private_way(tmp_path)
    run = insert_hidden_run(store)
    publish(store, make_wheel("hidden"), index="team/dev")
    of_team = Identity("tess", frozenset({"read"}), indexes=frozenset({"team/dev"}))
    assert [one.id for one in list_runs(store, of_team)] == [run.id]


def test_runs_that_are_hidden_do_not_crowd_out_others(tmp_path: Path) -> None:
    store = store_with_a_private_way(tmp_path)
    seen = request_run(store, index="unstable")
    for project in ("demo", "my-demo"):  # the repository is registered for both
        publish(store, make_wheel(project))
    for _ in range(MAX_RUNS_LISTED + 1):
        insert_hidden_run(store)
    outsider = Identity("otto", frozenset({"read"}), indexes=frozenset({"stable"}))
    assert [run.id for run in list_runs(store, outsider, limit=5)] == [seen.id]


def test_run_is_started_only_of_a_repository_that_is_registered_for_its_project(tmp_path: Path) -> None:
    store = make_store(tmp_path)
    make_worker(store)
    starter = Identity("hook", frozenset({"run"}), projects=frozenset({"demo"}))
    with pytest.raises(Forbidden, match="no administrator has registered"):
        create_run(store, starter, NewRun(REPOSITORY, "main"))
    with pytest.raises(Forbidden):
        add_repository(store, starter, NewRepository("demo", REPOSITORY, is_local=True))
    add_repository(store, ADMIN, NewRepository("Other", REPOSITORY, is_local=True))
    with pytest.raises(Forbidden, match="may not start runs of this repository"):
        create_run(store, starter, NewRun(REPOSITORY, "main"))
    add_repository(store, ADMIN, NewRepository("Demo", f"{REPOSITORY}/", is_local=True))
    for unregistered in ("third", "other"):  # the token reaches demo alone
        with pytest.raises(Forbidden):
            create_run(store, starter, NewRun(REPOSITORY, "main", project=unregistered))
    with pytest.raises(Forbidden, match="for third") as refused:
        create_run(store, ADMIN, NewRun(REPOSITORY, "main", project="third"))
    assert (refused.value.hint or "").endswith(f"conveyor store repository add third {REPOSITORY} --local")
    run = create_run(store, starter, NewRun(REPOSITORY, "main", project="Demo"))
    assert run.project == "demo"
    assert claim_run(store, WORKER, "worker-1") is not None
    with pytest.raises(Conflict, match="touches no other project"):
        update_run(store, WORKER, run.id, project="third")
    assert update_run(store, WORKER, run.id, project="demo").project == "demo"
    remove_repository(store, ADMIN, "demo", REPOSITORY)
    assert [one.project for one in list_repositories(store, ADMIN)] == ["other"]
    with pytest.raises(NotFound):
        remove_repository(store, ADMIN, "demo", REPOSITORY)


def test_run_of_a_worker_needs_no_registration_and_goes_to_no_other_worker(tmp_path: Path) -> None:
    store = make_store(tmp_path)
    make_worker(store)
    make_worker(store, "worker-2")
    run = create_run(store, WORKER, NewRun(REPOSITORY, "main"))
    assert claim_run(store, OTHER, "worker-2") is None
    assert claim_run(store, OTHER, "worker-2", run_id=run.id) is None
    assert claim_run(store, WORKER, "worker-1", run_id=run.id) is not None
    assert update_run(store, WORKER, run.id, project="demo").project == "demo"


def test_run_enters_the_index_that_is_named_or_the_only_one_there_is(tmp_path: Path) -> None:
    store = make_store(tmp_path)
    assert request_run(store).index == "unstable"
    make_team_chain(store)
    with pytest.raises(Conflict, match="enter at several indexes") as caught:
        request_run(store)
    assert caught.value.hint == "name the index where it enters: risk/unstable, unstable"
    asked = request_run(store, index="risk/unstable")
    assert get_run(store, READER, asked.id).index == "risk/unstable"
    with read(store) as connection:
        event = events_since(connection, 0)[-1]
    assert (event.action, event.index) == ("request-run", "risk/unstable")
    with pytest.raises(NotFound, match="no index"):
        request_run(store, index="nowhere")
    with pytest.raises(Conflict, match="promotion-only"):
        request_run(store, index="testing")


def test_token_for_one_chain_starts_runs_there_only(tmp_path: Path) -> None:
    store = make_store(tmp_path)
    make_team_chain(store)
    add_repository(store, ADMIN, NewRepository("demo", REPOSITORY, is_local=True))
    starter = Identity("hook", frozenset({"run"}), indexes=frozenset(TEAM_CHAIN))
    assert create_run(store, starter, NewRun(REPOSITORY, "main")).index == "risk/unstable"
    with pytest.raises(Forbidden, match='may not run in index "unstable"'):
        create_run(store, starter, NewRun(REPOSITORY, "main", "unstable"))


def test_runs_are_requested_by_starters_and_without_secrets(tmp_path: Path) -> None:
    store = make_store(tmp_path)
    with pytest.raises(Forbidden):
        create_run(store, READER, NewRun("/srv/demo.git", "main"))
    with pytest.raises(Forbidden, match="run"):
        create_run(store, Identity("up", frozenset({"upload"})), NewRun("/srv/demo.git", "main"))
    with pytest.raises(InvalidInput, match="credentials"):
        create_run(store, ADMIN, NewRun("https://a:b@host/demo.git", "main"))


def test_facts_that_are_no_names_or_versions_are_refused(tmp_path: Path) -> None:
    store, run = make_claimed_run(tmp_path)
    with pytest.raises(InvalidVersion):
        update_run(store, WORKER, run.id, version="latest")
    with pytest.raises(InvalidInput):
        update_run(store, WORKER, run.id, project="-demo")
