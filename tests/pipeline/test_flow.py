"""The whole way on a real store: commits and tags are packaged, tested and promoted, or stopped."""

from __future__ import annotations

import json
import os
import re
import shutil
import signal
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from conveyor.cli import run
from conveyor.client.problems import problem_of
from conveyor.domain.runs.repositories import NewRepository
from conveyor.domain.runs.states import RunReport
from conveyor.errors import Forbidden, NotFound, StepFailed
from conveyor.operations.releases.verification import verify_release
from conveyor.pipeline.carrying.claims import end_lines
from conveyor.pipeline.carrying.outcomes import Outcome
from conveyor.pipeline.engine.worker import open_worker
from conveyor.project.ci import PACKAGE, TEST
from gpg_keys import gpg_home
from pipeline.projects import (
    EXTENSION,
    HATCHLING,
    MODEL,
    MODEL_TESTS,
    SETUPTOOLS_SCM,
    STATED_IN_A_MODULE,
    TRAINING,
    git,
    let_go_on,
    make_project,
    wait_until_tested,
)

if TYPE_CHECKING:
    from conveyor.domain.releases.standing import Release
    from pipeline.conftest import Town

pytestmark = [pytest.mark.xdist_group("pipeline"), pytest.mark.timeout(300)]

LEAK = """\
from hatchling.builders.hooks.plugin.interface import BuildHookInterface


class Leak(BuildHookInterface):
    def initialize(self, version, build_data):
        build_data["force_include"]["about.txt"] = "demo/about.txt"
        with open("about.txt", "w") as file:
            file.write("This is " + self.metadata.version)
"""
WAIT = """\
import os
import time
from pathlib import Path

import demo.core


def test_that_waits():
    Path("reached").touch()
    while not Path("open").exists():
        time.sleep(0.05)
"""


def claimed(town: Town, name: str) -> str:
    town.claim(name)
    return name


def facts_of(release: Release, kind: str) -> list[dict[str, object]]:
    return [one.predicate for one in release.evidence if one.kind == kind]


def steps_of(town: Town, ref: str) -> dict[str, str]:
    """Step → state of the newest run of a ref."""
    run = next(run for run in town.client.runs.newest() if run.ref == ref)
    return {step.name: step.state for step in run.steps}


def engine_starts(town: Town) -> int:
    """Grows with each run that the engine carries."""
    return len(list((town.state / "work").iterdir()))


def test_candidate_goes_to_testing_and_its_signed_final_to_stable(town: Town, tmp_path: Path) -> None:
    """A compiled project: Python compiles with -g, which writes the folder of the build into the module."""
    repository = make_project(
        tmp_path / "repository", name=claimed(town, "alpha"), pyproject=SETUPTOOLS_SCM, files=EXTENSION
    )
    git(repository, "tag", "v1.0.0rc1")

    outcome = town.run(repository, "v1.0.0rc1")
    assert (outcome["state"], outcome["project"], outcome["version"]) == ("succeeded", "alpha", "1.0.0rc1")
    assert outcome["index"] == "testing"
    candidate = town.client.releases.get("alpha", "1.0.0rc1")
    built = facts_of(candidate, "build")
    assert {fact["commit"] for fact in built} == {git(repository, "rev-parse", "HEAD")}
    (tested,) = facts_of(candidate, "tests")
    assert (tested["passed"], tested["index"]) == (2, "testing")
    assert tested["origin"] == {"modules_checked": 3, "files_checked": 13, "outside": []}
    run = town.client.runs.newest()[0]
    assert (run.state, run.project, run.version) == ("succeeded", "alpha", "1.0.0rc1")
    assert {"build", "rehearse", "publish", "test for testing"} <= {step.name for step in run.steps}

    # A final that nobody signed is built, tested and waits.
    git(repository, "tag", "-a", "-m", "final", "v1.0.0")
    outcome = town.run(repository, "v1.0.0", expected=4)
    assert (outcome["state"], outcome["index"]) == ("succeeded", "testing")
    rehearsed = next(step for step in town.client.runs.newest()[0].steps if step.name == "rehearse")
    assert re.fullmatch(
        r"1\.0\.0rc1 passed with the same packages on (Python \S+) and \1 for stable",
        str(rehearsed.detail["summary"]),
    )
    assert {verdict["gate"]: verdict["outcome"] for verdict in outcome["verdicts"]}[
        "qa-signature"
    ] == "waiting"

    # Called again, there is nothing to do; that is told without starting the engine.
    started = engine_starts(town)
    assert town.run(repository, "v1.0.0", expected=4) == outcome
    assert town.run(repository, "v1.0.0rc1")["index"] == "testing"
    assert engine_starts(town) == started

    # QA signs: the same call goes on from there, and builds nothing again.
    git(repository, "tag", "-d", "v1.0.0")
    town.sign(repository, "v1.0.0")
    outcome = town.run(repository, "v1.0.0")
    assert (outcome["state"], outcome["index"]) == ("succeeded", "stable")
    assert "build" not in steps_of(town, "v1.0.0")
    started = engine_starts(town)
    assert town.run(repository, "v1.0.0") == outcome
    assert engine_starts(town) == started

    final = town.client.releases.get("alpha", "1.0.0")
    wheels = {
        r.version: next(f for f in r.files if f.packagetype == "bdist_wheel") for r in (candidate, final)
    }
    proofs = {str(fact["rc_filename"])[-4:]: fact for fact in facts_of(final, "equivalence")}
    proof = proofs[".whl"]
    assert (proof["proof"], proofs["r.gz"]["proof"]) == ("identical", "members-identical")
    assert proof["rc_sha256"] == wheels["1.0.0rc1"].sha256
    assert proof["derived_sha256"] == proof["rebuilt_sha256"] == wheels["1.0.0"].sha256
    # Both tests run at the same time: which of the two is heard first is not told.
    assert sorted(str(fact["index"]) for fact in facts_of(final, "tests")) == ["stable", "testing"]
    derived = next(fact for fact in facts_of(final, "build") if str(fact["filename"]).endswith(".whl"))
    assert derived["derived_from"] == wheels["1.0.0rc1"].sha256


@pytest.mark.torture
def test_candidate_of_a_stated_version_and_its_final_stand_on_one_commit(town: Town, tmp_path: Path) -> None:
    """A project in a folder of its repository, whose version setuptools reads from a module."""
    name = claimed(town, "kappa")
    repository = tmp_path / "repository"
    module = {"src/demo/__init__.py": '"""Demo."""\n\n__version__ = "1.2.0"\n'}
    project = make_project(repository / "libs/one", name=name, pyproject=STATED_IN_A_MODULE, files=module)
    shutil.rmtree(project / ".git")
    git(repository, "init", "-q", "-b", "main")
    git(repository, "add", ".")
    git(repository, "commit", "-q", "-m", "Begin")
    git(repository, "tag", f"{name}/v1.2.0rc1")

    outcome = town.run(repository, f"{name}/v1.2.0rc1")
    assert (outcome["version"], outcome["index"]) == ("1.2.0rc1", "testing")
    built = facts_of(town.client.releases.get(name, "1.2.0rc1"), "build")[0]
    assert (built["tag"], built["folder"]) == (f"{name}/v1.2.0rc1", "libs/one")
    assert built["version_line"] == {
        "path": f"src/{name}/__init__.py",
        "line": 3,
        "was": '__version__ = "1.2.0"',
        "is": '__version__ = "1.2.0rc1"',
    }

    town.sign(repository, f"{name}/v1.2.0")
    outcome = town.run(repository, f"{name}/v1.2.0")
    assert (outcome["version"], outcome["index"]) == ("1.2.0", "stable")
    final = town.client.releases.get(name, "1.2.0")
    assert {fact["proof"] for fact in facts_of(final, "equivalence")} == {"identical", "members-identical"}
    assert {fact["version_line"] for fact in facts_of(final, "build")} == {None}
    for chain in verify_release(town.client.releases.bundle(name, "1.2.0")):  # without the store
        assert not chain.broken


def test_model_is_never_trained_again_for_its_final(town: Town, tmp_path: Path) -> None:
    files = {"src/demo/training.py": TRAINING, "tests/test_model.py": MODEL_TESTS}
    repository = make_project(
        tmp_path / "repository", name=claimed(town, "gamma"), pyproject=HATCHLING + MODEL, files=files
    )
    git(repository, "tag", "v0.1.0rc1")
    town.run(repository, "v0.1.0rc1")
    with gpg_home() as home:  # QA signs by OpenPGP as well
        key = home.make_key("reviewer")
        (tmp_path / "reviewer.asc").write_text(home.export(key))
        accept = ("store", "signer", "add", "reviewer@gpg.example", "--data", town.data)
        town.conveyor(*accept, "--key", tmp_path / "reviewer.asc")
        home.sign_tag(repository, key, "v0.1.0")
    assert town.run(repository, "v0.1.0")["index"] == "stable"
    final = town.client.releases.get("gamma", "0.1.0")
    assert {one.signed_by for one in final.evidence if one.kind == "qa-signature"} == {"reviewer@gpg.example"}
    payloads = [
        fact["payload"]
        for version in ("0.1.0rc1", "0.1.0")
        for fact in facts_of(town.client.releases.get("gamma", version), "build")
    ]
    assert len(payloads) == 4
    assert all(payload == payloads[0] for payload in payloads)
    steps = steps_of(town, "v0.1.0")
    assert "train" not in steps
    assert steps["take payload"] == "succeeded"


@pytest.mark.torture
def test_generated_file_that_holds_the_version_stops_the_final_and_is_missed_when_it_goes(
    town: Town, tmp_path: Path
) -> None:
    hook = "[tool.hatch.build.targets.wheel.hooks.custom]\n"
    repository = make_project(
        tmp_path / "repository",
        name=claimed(town, "hydra"),
        pyproject=HATCHLING + hook,
        files={"hatch_build.py": LEAK, "src/demo/old.json": "{}"},
    )
    git(repository, "tag", "v1.0.0rc1")
    town.run(repository, "v1.0.0rc1")
    town.sign(repository, "v1.0.0")
    outcome = town.run(repository, "v1.0.0", expected=9)
    assert outcome["error"]["title"] == "EquivalenceFailed"
    assert "hydra/about.txt" in outcome["error"]["detail"]
    there = town.client.releases.of_commit("hydra", git(repository, "rev-parse", "HEAD"))
    assert [release.version for release in there] == ["1.0.0rc1"]

    (repository / "pyproject.toml").write_text(HATCHLING.replace("demo", "hydra"))
    git(repository, "rm", "-q", "hatch_build.py", "src/hydra/old.json")
    git(repository, "commit", "-q", "-a", "-m", "Forget the hook")
    git(repository, "tag", "v1.1.0rc1")
    outcome = town.run(repository, "v1.1.0rc1", expected=8)
    assert "hydra/about.txt is not inside, but was in 1.0.0rc1" in outcome["error"]["detail"]
    assert "old.json" not in outcome["error"]["detail"]


def test_file_missing_from_the_wheel_is_found_before_anything_is_published(
    town: Town, tmp_path: Path
) -> None:
    files = {
        "src/demo/table.txt": "42\n",
        "tests/test_table.py": "from pathlib import Path\n\nimport demo\n\n\ndef test_table():\n"
        "    assert (Path(demo.__file__).parent / 'table.txt').read_text() == '42\\n'\n",
    }
    pyproject = HATCHLING.replace(
        "[tool.hatch.build.targets.wheel]\n", '[tool.hatch.build.targets.wheel]\nexclude = ["*.txt"]\n'
    )
    repository = make_project(
        tmp_path / "repository", name=claimed(town, "zeta"), pyproject=pyproject, files=files
    )
    git(repository, "tag", "v1.0.0rc1")
    outcome = town.run(repository, "v1.0.0rc1", expected=8)
    assert "table.txt is not inside" in outcome["error"]["detail"]
    assert "publish" not in steps_of(town, "v1.0.0rc1")


def test_killed_run_goes_on_where_it_stood(town: Town, tmp_path: Path) -> None:
    files = {
        "src/demo/training.py": TRAINING,
        "tests/test_model.py": MODEL_TESTS,
        "tests/test_wait.py": WAIT,
    }
    repository = make_project(
        tmp_path / "repository", name=claimed(town, "eta"), pyproject=HATCHLING + MODEL, files=files
    )
    git(repository, "tag", "v1.0.0rc1")
    command = [
        *(sys.executable, "-m", "conveyor", "pipeline", "run", "--json", "--repo", str(repository)),
        *("--ref", "v1.0.0rc1", "--store", town.url, "--credentials", str(town.credentials)),
        *("--state", str(town.state)),
    ]
    with subprocess.Popen(
        command, env=town.variables(), stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True
    ) as first:
        wait_until_tested(town.state)
        os.kill(first.pid, signal.SIGKILL)

    with let_go_on(town.state):
        outcome = town.run(repository, "v1.0.0rc1")
    assert (outcome["state"], outcome["index"]) == ("succeeded", "testing")
    runs = [run for run in town.client.runs.newest() if run.project == "eta"]
    assert len(runs) == 1
    trained = next(step for step in runs[0].steps if step.name == "train")
    release = town.client.releases.get("eta", "1.0.0rc1")
    # Training writes other bytes each time, so what was published is what was trained before the kill.
    (payload,) = {fact["payload"][0]["sha256"] for fact in facts_of(release, "build")}  # type: ignore[index]
    assert trained.detail["payload"] == {"src/eta/model/weights.bin": payload}
    assert len(facts_of(release, "tests")) == 1


def test_push_asks_for_a_run_that_a_stopped_worker_leaves_to_the_next(town: Town, tmp_path: Path) -> None:
    files = {"tests/test_wait.py": WAIT}
    repository = make_project(tmp_path / "repository", name=claimed(town, "theta"), files=files)
    bare = tmp_path / "theta.git"
    git(tmp_path, "init", "-q", "--bare", str(bare))
    town.conveyor("store", "repository", "add", "theta", bare, "--local", "--data", town.data)
    town.conveyor("pipeline", "hook", "install", bare, "--store", town.url, CONVEYOR_TOKEN=town.token)
    assert (bare / "conveyor-token").stat().st_mode & 0o777 == 0o600
    git(repository, "tag", "v1.0.0rc1")
    git(repository, "tag", "latest")
    environment = town.variables()
    pushed = subprocess.run(
        ["git", "push", str(bare), "v1.0.0rc1", "latest"],
        cwd=repository, env=environment, capture_output=True, text=True, check=True,
    )  # fmt: skip
    assert "is requested: refs/tags/v1.0.0rc1" in pushed.stderr
    assert "no run for refs/tags/latest: not a release tag" in pushed.stderr

    words = ("--credentials", str(town.credentials), "--store", town.url, "--state", str(town.state))
    with subprocess.Popen(
        [sys.executable, "-m", "conveyor", "pipeline", "worker", *words],
        env=town.variables(), stderr=subprocess.PIPE, text=True,
    ) as worker:  # fmt: skip
        wait_until_tested(town.state)
        worker.send_signal(signal.SIGTERM)
        assert worker.wait(timeout=30) == 0
    with let_go_on(town.state):
        said = town.conveyor("pipeline", "worker", "--once", *words).stderr
    assert "continuing" in said
    run = town.client.runs.newest()[0]
    assert (run.state, run.ref, run.project) == ("succeeded", "refs/tags/v1.0.0rc1", "theta")
    assert town.client.releases.get("theta", "1.0.0rc1").index == "testing"
    assert f"; to see it: conveyor pipeline log {run.id} --store {town.url}" in pushed.stderr
    log = ("pipeline", "log", str(run.id), "--store", town.url)
    shown = town.conveyor(*log, "--output", CONVEYOR_TOKEN=town.token).stdout
    assert re.search(r"^  > test for testing\n(    \|.*\n)*    \| .*2 passed", shown, re.MULTILINE), shown
    tag = next(step for step in run.steps if step.name == "tag")
    assert (
        tag.summary == "v1.0.0rc1 is a lightweight tag, so nobody signed it; a candidate needs no signature"
    )


def test_run_that_failed_is_listed_and_shown_with_its_log_and_next_step(
    town: Town, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    worker = open_worker(town.credentials, store_url=town.url)
    asked = worker.client.runs.create("file:///srv/git/demo.git", "refs/tags/v9.0")
    worker.client.runs.claim(worker.name, run_id=asked.id)
    failure = {
        "summary": "1 failed", "seconds": 3.25, "error": "StepFailed", "message": "1 failed",
        "log": "FAILED tests/test_core.py::test_answer - assert 41 == 42\n", "hint": "fix it",
    }  # fmt: skip
    worker.client.runs.report_step(asked.id, "clone", "succeeded", {"summary": "demo 9.0", "seconds": 0.5})
    worker.client.runs.report_step(asked.id, "tests", "failed", failure)
    worker.client.runs.report_step(asked.id, "docs", "running")
    worker.client.runs.update(asked.id, RunReport(state="failed", detail="StepFailed: 1 failed"))
    monkeypatch.setenv("CONVEYOR_TOKEN", town.token)
    assert run(["pipeline", "runs", "--limit", "1", "--store", town.url]) == 0
    listed = capsys.readouterr().out
    assert re.fullmatch(
        rf" *{asked.id}  failed     \S+  file:///srv/git/demo\.git  refs/tags/v9\.0  StepFailed: 1 failed\n",
        listed,
    )
    assert run(["pipeline", "log", str(asked.id), "--store", town.url]) == 0
    head, clone, tests, *rest, last = capsys.readouterr().out.splitlines()
    assert f"{head}\n" == listed
    assert (clone, tests) == (
        "     0.5 s  clone                demo 9.0", "!    3.2 s  tests                1 failed",
    )  # fmt: skip
    assert rest == [
        "    | FAILED tests/test_core.py::test_answer - assert 41 == 42", "    StepFailed: 1 failed",
        "    hint: fix it",
    ]  # fmt: skip
    assert last.startswith("…          docs                 since 2")
    assert run(["pipeline", "log", str(asked.id), "--json", "--store", town.url]) == 0
    told = json.loads(capsys.readouterr().out)
    assert [step["state"] for step in told["steps"]] == ["succeeded", "failed", "running"]
    assert run(["pipeline", "log", "999999", "--store", town.url]) == NotFound.exit_code
    assert "there is no run 999999" in capsys.readouterr().err


def test_worker_names_the_tests_that_failed_and_the_next_step() -> None:
    log = "".join(f"FAILED tests/test_core.py::test_{one} - assert 0\n" for one in range(12))
    error = problem_of(StepFailed("12 failed", log=f"....\n{log}12 failed in 1 s\n", hint="fix them"))
    lines = end_lines(Outcome("failed", "demo", "1.0", None, "12 failed", error=error), "conveyor …")
    assert lines[0] == "FAILED tests/test_core.py::test_0 - assert 0"
    assert lines[9:] == [
        "FAILED tests/test_core.py::test_9 - assert 0", "and 2 more", "hint: fix them",
        "to see it all: conveyor …",
    ]  # fmt: skip
    assert end_lines(Outcome("succeeded", "demo", "1.0", "testing", "here"), "conveyor …") == []


def test_push_that_the_store_refuses_in_part_requests_the_other_runs(town: Town, tmp_path: Path) -> None:
    top = tmp_path / "repository"
    for name in ("one", "other"):
        pyproject = HATCHLING + f'[tool.conveyor]\ntag_prefix = "{name}/v"\n'
        shutil.rmtree(make_project(top / name, name=name, pyproject=pyproject) / ".git")
    git(top, "init", "-q", "-b", "main")
    git(top, "add", ".")
    git(top, "commit", "-q", "-m", "Begin")
    town.client.repositories.add(NewRepository("other", str(top), is_local=True))
    done = subprocess.run(
        [sys.executable, "-m", "conveyor", "pipeline", "trigger", "--hook", "--store", town.url],
        input=f"{'0' * 40} {git(top, 'rev-parse', 'HEAD')} refs/heads/main\n",
        env=town.variables() | {"CONVEYOR_TOKEN": town.token}, cwd=top, capture_output=True, text=True,
    )  # fmt: skip
    assert done.returncode == Forbidden.exit_code, done.stderr
    assert "no run for refs/heads/main of one: " in done.stderr
    assert " of other; to see it: " in done.stdout


@pytest.mark.torture
def test_push_of_a_branch_carries_each_project_that_it_changes(town: Town, tmp_path: Path) -> None:
    top = tmp_path / "repository"
    for name in ("psi", "omega"):
        pyproject = HATCHLING + f'[tool.conveyor]\ntag_prefix = "{name}/v"\n'
        folder = make_project(top / "packages" / name, name=claimed(town, name), pyproject=pyproject)
        shutil.rmtree(folder / ".git")
    git(top, "init", "-q", "-b", "main")
    git(top, "add", ".")
    git(top, "commit", "-q", "-m", "Begin")
    bare = tmp_path / "many.git"
    git(tmp_path, "init", "-q", "--bare", str(bare))
    hook = bare / "hooks" / "post-receive"
    hook.write_text(
        f"#!/bin/sh\nexec '{sys.executable}' -m conveyor pipeline trigger"
        f" --store '{town.url}' --repo \"$PWD\" --hook\n"
    )
    hook.chmod(0o755)
    for name in ("psi", "omega"):
        town.conveyor("store", "repository", "add", name, bare, "--local", "--data", town.data)
    environment = town.variables() | {"CONVEYOR_TOKEN": town.token}
    said = subprocess.run(
        ["git", "push", str(bare), "main"],
        cwd=top, env=environment, capture_output=True, text=True, check=True,
    ).stderr  # fmt: skip
    assert [f"of {name}" in said for name in ("psi", "omega")] == [True, True]
    words = ("--credentials", town.credentials, "--store", town.url, "--state", town.state)
    town.conveyor("pipeline", "worker", "--once", *words)
    commit = git(top, "rev-parse", "HEAD")
    for name in ("psi", "omega"):
        (release,) = town.client.releases.of_commit(name, commit)
        assert release.version == f"0.0.1.dev1+g{commit[:9]}"
    git(top, "commit", "-q", "--allow-empty", "-m", "Change nothing")
    refused = town.run(top, "main", expected=8)
    assert "several projects" in refused["error"]["detail"]
    named = ("--ref", "main", "--project", "psi", "--repo", top, "--json")
    assert '"project": "psi"' in town.conveyor("pipeline", "run", *named, *words).stdout


@pytest.mark.torture
def test_cancelled_run_ends_with_all_that_it_started(
    town: Town, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    files = {"tests/test_wait.py": WAIT}
    repository = make_project(tmp_path / "repository", name=claimed(town, "stigma"), files=files)
    git(repository, "tag", "v1.0.0rc1")
    town.client.repositories.add(NewRepository("stigma", str(repository), is_local=True))
    asked = town.client.runs.create(str(repository), "refs/tags/v1.0.0rc1")
    words = ("--credentials", str(town.credentials), "--store", town.url, "--state", str(town.state))
    monkeypatch.setenv("CONVEYOR_TOKEN", town.token)
    with subprocess.Popen(
        [sys.executable, "-m", "conveyor", "pipeline", "worker", "--once", *words],
        env=town.variables(), stderr=subprocess.PIPE, text=True,
    ) as worker:  # fmt: skip
        wait_until_tested(town.state)
        shown = {part.log for one in town.client.runs.output(asked.id) for part in one.parts}
        assert "build" in shown, "it is seen while the run goes on"
        assert run(["pipeline", "cancel", str(asked.id), "--reason", "wrong", "--store", town.url]) == 0
        assert "cancelled by admin: wrong" in capsys.readouterr().out
        said = worker.communicate(timeout=120)[1]
    assert f"run {asked.id} was cancelled" in said
    assert worker.returncode == 0
    left = [path.name for folder in town.state.glob(f"work/*-{asked.id}-1") for path in folder.iterdir()]
    assert left == ["logs"]
    assert run(["pipeline", "log", str(asked.id), "--follow", "--store", town.url]) == StepFailed.exit_code
    assert "cancelled" in capsys.readouterr().out.splitlines()[-1]
    assert run(["pipeline", "retry", str(asked.id), "--store", town.url]) == 0
    again = town.client.runs.newest()[0]
    assert again.retry_of == asked.id
    town.client.runs.cancel(again.id)


def test_run_that_was_claimed_but_never_begun_is_carried(town: Town, tmp_path: Path) -> None:
    """Of a commit without a tag, so that it goes to "testing" as a development version."""
    repository = make_project(tmp_path / "repository", name=claimed(town, "mu"))
    worker = open_worker(town.credentials, store_url=town.url)
    town.client.repositories.add(NewRepository("mu", str(repository), is_local=True))
    commit = git(repository, "rev-parse", "HEAD")
    asked = town.client.runs.create(str(repository), commit)
    assert worker.client.runs.claim(worker.name, run_id=asked.id) is not None
    words = ("--credentials", str(town.credentials), "--store", town.url, "--state", str(town.state))
    town.conveyor("pipeline", "worker", "--once", *words)
    run = town.client.runs.get(asked.id)
    assert (run.state, run.version) == ("succeeded", f"0.0.1.dev1+g{commit[:9]}")
    assert town.client.releases.get("mu", str(run.version)).index == "testing"


@pytest.mark.torture
def test_run_that_the_clock_requests_tests_the_same_commit_again(town: Town, tmp_path: Path) -> None:
    """It builds nothing twice; its tests may fail today, with the dependencies of today."""
    repository = make_project(tmp_path / "repository", name=claimed(town, "rhythm"))
    town.client.repositories.add(NewRepository("rhythm", str(repository), is_local=True))
    words = ("--credentials", town.credentials, "--store", town.url, "--state", town.state, "--once")
    told = []
    for again in (False, False, True):
        run = town.client.runs.create(str(repository), "main", tests_again=again)
        town.conveyor("pipeline", "worker", *words)
        ended = town.client.runs.get(run.id)
        assert (ended.state, ended.tests_since is not None) == ("succeeded", again), ended.detail
        (release,) = town.client.releases.of_commit("rhythm", git(repository, "rev-parse", "HEAD"))
        told.append([one.kind for one in release.evidence].count("tests"))
    assert told[1] == told[0] > 0
    assert told[2] > told[1]
    assert [one.kind for one in release.evidence].count("build") == len(release.files)
    assert release.index == "testing"


def test_ci_host_packages_and_tests_in_two_calls(town: Town, tmp_path: Path) -> None:
    repository = make_project(tmp_path / "repository", name=claimed(town, "iota"))
    git(repository, "tag", "v1.0.0rc1")
    state = tmp_path / "state"
    shared = ("--credentials", town.credentials, "--store", town.url, "--state", state, "--json")
    town.conveyor("pipeline", "package", "--repo", repository, "--ref", "v1.0.0rc1", *shared)
    assert town.client.releases.get("iota", "1.0.0rc1").index == "unstable"
    report = tmp_path / "junit.xml"
    town.conveyor("pipeline", "test", "iota", "1.0.0rc1", "--junit", report, *shared)
    assert town.client.releases.get("iota", "1.0.0rc1").index == "testing"
    assert 'tests="1"' in report.read_text()
    assert list((state / "work").iterdir()) == []


@pytest.mark.torture
def test_shell_of_the_files_for_ci_hosts_carries_a_tag(town: Town, tmp_path: Path) -> None:
    repository = make_project(tmp_path / "repository", name=claimed(town, "sigma"))
    git(repository, "tag", "-m", "signed or not", "v1.0.0rc1")
    checkout = tmp_path / "checkout"
    git(tmp_path, "clone", "-q", "--no-tags", str(repository), str(checkout))
    told = {"COMMIT": git(repository, "rev-parse", "HEAD"), "TAG": "v1.0.0rc1", "CONVEYOR_URL": town.url}
    told |= {"CONVEYOR_WORKER_CREDENTIALS": str(town.credentials), "CONVEYOR_STATE": str(town.state)}
    told |= {"PATH": f"{Path(sys.executable).parent}:{os.environ['PATH']}"}
    for script in (PACKAGE, TEST):
        done = subprocess.run(
            ["/bin/sh", "-c", script],
            cwd=checkout,
            env=town.variables() | told,
            capture_output=True,
            text=True,
        )
        assert done.returncode == 0, done.stdout + done.stderr
    assert town.client.releases.get("sigma", "1.0.0rc1").index == "testing"
    assert 'tests="1"' in (checkout / "junit.xml").read_text()
    git(repository, "commit", "-q", "--allow-empty", "-m", "Later")
    git(checkout, "pull", "-q")
    moved = told | {"COMMIT": git(checkout, "rev-parse", "HEAD")}
    done = subprocess.run(
        ["/bin/sh", "-c", PACKAGE], cwd=checkout, env=town.variables() | moved, capture_output=True, text=True
    )
    assert (done.returncode, done.stderr) == (1, "tag v1.0.0rc1 does not name the commit of this job\n")


def test_store_that_is_down_is_told_as_such(town: Town, tmp_path: Path) -> None:
    repository = make_project(tmp_path)
    away = ("--store", "http://127.0.0.1:1", "--state", tmp_path / "state")
    done = town.conveyor(
        *("pipeline", "run", "--repo", repository, "--ref", "main", "--credentials", town.credentials),
        *away,
        expected=7,
    )
    assert done.stderr.splitlines()[-2].startswith("StoreUnreachable: http://127.0.0.1:1 does not answer")
    assert done.stderr.splitlines()[-1] == "hint: is the store running, and is the URL right?"
