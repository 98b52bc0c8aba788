"""Releases tested in more ways than one: on two Pythons, uploaded by hand, trained in an earlier run."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any

import pytest

from conveyor.pipeline.engine.isolation import Workplace
from conveyor.pipeline.engine.worker import open_worker
from conveyor.pipeline.jobs.packaging import make_workshop, prepare
from conveyor.pipeline.jobs.sources import clone, resolve
from conveyor.project.environment import Environment, run_in
from distributions_made import BACKEND, make_sdist
from pipeline.projects import (
    HATCHLING,
    MODEL,
    TRAINING,
    build,
    clone_of_tag,
    git,
    let_go_on,
    make_project,
    second_python,
)
from pipeline.test_flow import claimed, facts_of

if TYPE_CHECKING:
    from pathlib import Path

    from pipeline.conftest import Town

pytestmark = [pytest.mark.xdist_group("pipeline"), pytest.mark.timeout(300)]

PATIENT = """\
import time
from pathlib import Path

import demo


def test_gate():
    Path("reached").touch()
    deadline = time.monotonic() + 3
    while not Path("open").exists():
        assert time.monotonic() < deadline
        time.sleep(0.05)
"""
RUN = """\
import pathlib
import unittest

from demo.core import answer


class TestAnswer(unittest.TestCase):
    def test_it(self):
        self.assertEqual(answer(), 42)


if __name__ == "__main__":
    found = unittest.main(exit=False).result
    inner = "" if found.wasSuccessful() else "<failure/>"
    pathlib.Path("junit.xml").write_text("<testsuite><testcase>" + inner + "</testcase></testsuite>")
"""


@pytest.mark.torture
def test_release_tested_on_two_pythons_carries_evidence_of_each(town: Town, tmp_path: Path) -> None:
    """With a plain runner: the pytest of this environment is too new for PyPy."""
    second = second_python()
    extra = '[project.optional-dependencies]\ntest = ["pytest"]\n'
    pyproject = HATCHLING.replace('">=3.11"', '">=3.9"').replace(extra, "") + (
        '[tool.conveyor.test]\ncommand = ["python", "tests/run.py"]\njunit = "junit.xml"\n'
        f'pythons = ["{second}"]\n'
    )
    files = {"tests/run.py": RUN, ".python-version": "3.11\n"}
    repository = make_project(
        tmp_path / "repository", name=claimed(town, "digamma"), pyproject=pyproject, files=files
    )
    git(repository, "tag", "v1.0.0rc1")
    assert town.run(repository, "v1.0.0rc1")["index"] == "testing"
    release = town.client.releases.get("digamma", "1.0.0rc1")
    on: list[dict[str, Any]] = [one["environment"] for one in facts_of(release, "tests")]  # type: ignore[misc]
    assert [one["python"].rpartition(".")[0] for one in on] == ["3.11", second]
    (python,) = {one["environment"]["python"] for one in facts_of(release, "build")}  # type: ignore[index]
    assert python.startswith("3.11.")


def test_pythons_of_an_index_are_rehearsed_tested_and_asked_for(town: Town, tmp_path: Path) -> None:
    second = second_python()
    extra = '[project.optional-dependencies]\ntest = ["pytest"]\n'
    pyproject = HATCHLING.replace('">=3.11"', '">=3.9"').replace(extra, "") + (
        '[tool.conveyor.test]\ncommand = ["python", "tests/run.py"]\njunit = "junit.xml"\n'
    )
    files = {"tests/run.py": RUN, ".python-version": "3.11\n"}
    repository = make_project(
        tmp_path / "repository", name=claimed(town, "chi"), pyproject=pyproject, files=files
    )
    town.sign(repository, "v1.0.0")
    with town.pythons("stable", second):
        assert town.run(repository, "v1.0.0")["index"] == "stable"
    release = town.client.releases.get("chi", "1.0.0")
    facts: list[dict[str, Any]] = facts_of(release, "tests")
    tested = [(one["index"], one["environment"]["python"].rpartition(".")[0]) for one in facts]
    assert sorted(tested) == [("stable", "3.11"), ("stable", second), ("testing", "3.11")]
    steps = {step.name: step for step in town.client.runs.newest()[0].steps}
    assert f"Python {second}" in steps["rehearse"].summary

    # A Python that this machine lacks is named before anything is built, with how to get it.
    git(repository, "commit", "--allow-empty", "-m", "more")
    git(repository, "tag", "v1.1.0rc1")
    with town.pythons("testing", "3.97", "3.98"), town.pythons("stable", "3.98"):
        failed = town.run(repository, "v1.1.0rc1", expected=10)
        verdict, *_ = town.client.releases.judgement("chi", "1.0.0").verdicts
    asks = 'this machine has no Python 3.97 that index "testing" asks for and no Python 3.98'
    assert asks in failed["error"]["detail"]
    assert "uv python install 3.97 3.98" in failed["error"]["hint"]
    assert "build" not in {step.name for step in town.client.runs.newest()[0].steps}
    assert verdict.reason == 'no tests evidence on Python 3.98, which "stable" asks for'


def test_release_uploaded_by_hand_is_tested_with_the_tests_in_its_sdist(town: Town, tmp_path: Path) -> None:
    repository = make_project(tmp_path / "repository", name=claimed(town, "tau"))
    git(repository, "tag", "v1.0.0rc1")
    sdist, wheel = build(clone_of_tag(repository, "v1.0.0rc1", tmp_path / "clone"))
    for file in (sdist, wheel):
        town.client.files.upload("unstable", file)
    (verdict,) = town.client.releases.judgement("tau", "1.0.0rc1").verdicts
    said = "run the testing job: conveyor pipeline test tau 1.0.0rc1 --credentials worker.toml"
    assert (verdict.outcome, verdict.next_step) == ("waiting", said)
    words = ("--credentials", town.credentials, "--store", town.url, "--state", town.state)
    done = town.conveyor("pipeline", "test", "tau", "1.0.0rc1", *words)
    assert 'tau 1.0.0rc1 is in "testing"' in done.stdout
    release = town.client.releases.get("tau", "1.0.0rc1")
    assert sorted(one.sha256 or "" for one in release.evidence) == sorted(f.sha256 for f in release.files)


def test_wheel_uploaded_by_hand_is_tested_with_the_tests_of_a_repository(town: Town, tmp_path: Path) -> None:
    repository = make_project(tmp_path / "repository", name=claimed(town, "upsilon"))
    git(repository, "tag", "v1.0.0rc1")
    _, wheel = build(clone_of_tag(repository, "v1.0.0rc1", tmp_path / "clone"))
    town.client.files.upload("unstable", wheel)
    (verdict,) = town.client.releases.judgement("upsilon", "1.0.0rc1").verdicts
    assert str(verdict.next_step).endswith("--repo URL --ref v1.0.0rc1")
    words = ("--credentials", town.credentials, "--store", town.url, "--state", town.state)
    refused = town.conveyor("pipeline", "test", "upsilon", "1.0.0rc1", *words, expected=9)
    assert "it has no build evidence, and no sdist" in refused.stderr
    named = ("--repo", repository, "--ref", "v1.0.0rc1")
    town.conveyor("pipeline", "test", "upsilon", "1.0.0rc1", *named, *words)
    assert town.client.releases.get("upsilon", "1.0.0rc1").index == "testing"


def test_version_of_a_model_reaches_no_requirement_that_is_built_for_its_training(
    town: Town, tmp_path: Path
) -> None:
    """hatch-vcs without ``dist_name`` takes a variable that names no project: each build would believe it."""
    backend = BACKEND.format(name="chi_needs", version="1.0")
    guard = (
        "import os\nassert not [name for name in os.environ if name.endswith('PRETEND_VERSION')], 'leaked'\n"
    )
    sdist = make_sdist(claimed(town, "chi-needs"), extra={"backend.py": (guard + backend).encode()})
    (tmp_path / sdist.filename).write_bytes(sdist.content)
    town.client.files.upload("unstable", tmp_path / sdist.filename)
    pyproject = HATCHLING.replace('dist_name = "demo"\n', "").replace(
        'description = "A small project"\n', 'description = "A model"\ndependencies = ["chi-needs"]\n'
    )
    files = {"src/demo/training.py": TRAINING}
    repository = make_project(tmp_path / "repository", name="chi", pyproject=pyproject + MODEL, files=files)
    git(repository, "tag", "v1.0.0rc1")
    place = Workplace(tmp_path / "work", tmp_path / "cache")
    source = clone(place, resolve(str(repository), "v1.0.0rc1").value).value.source
    make_workshop(place)
    prepare(place, open_worker(town.credentials, store_url=town.url), source, "unstable")
    code = (
        "import chi; from importlib.metadata import version; "
        "print(version('chi'), version('chi-needs'), chi.__file__)"
    )
    done = run_in(Environment(place.folder / "environment"), ["python", "-I", "-c", code])
    assert done.output.split() == ["1.0.0rc1", "1.0", str(place.folder / "workshop/src/chi/__init__.py")]


@pytest.mark.torture
def test_rerun_takes_what_the_failed_run_had_trained(town: Town, tmp_path: Path) -> None:
    files = {"src/demo/training.py": TRAINING, "tests/test_core.py": PATIENT}
    repository = make_project(
        tmp_path / "repository", name=claimed(town, "phi"), pyproject=HATCHLING + MODEL, files=files
    )
    git(repository, "tag", "v1.0.0rc1")
    failed = town.run(repository, "v1.0.0rc1", expected=9)
    assert "1 tests failed" in failed["error"]["detail"]
    steps = {step.name: step for step in town.client.runs.newest()[0].steps}
    with let_go_on(town.state):
        assert town.run(repository, "v1.0.0rc1")["index"] == "testing"
    again = {step.name: step for step in town.client.runs.newest()[0].steps}
    assert "train" not in again
    trained = steps["train"].detail["payload"]
    assert again["look for payload"].detail["payload"] == trained
    release = town.client.releases.get("phi", "1.0.0rc1")
    (payload,) = {one["payload"][0]["sha256"] for one in facts_of(release, "build")}  # type: ignore[index]
    assert list(trained.values()) == [payload]

    # Another tag of the commit: its files come from the release.
    git(repository, "tag", "v1.0.0rc2")
    with let_go_on(town.state):
        town.run(repository, "v1.0.0rc2")
    release = town.client.releases.get("phi", "1.0.0rc2")
    assert {one["payload"][0]["sha256"] for one in facts_of(release, "build")} == {payload}  # type: ignore[index]


@pytest.mark.torture
def test_failure_that_the_policy_only_shows_is_evidence_and_ends_no_run(town: Town, tmp_path: Path) -> None:
    name, second = claimed(town, "sampi"), second_python()
    extra = '[project.optional-dependencies]\ntest = ["pytest"]\n'
    pyproject = HATCHLING.replace('">=3.11"', '">=3.9"').replace(extra, "") + (
        '[tool.conveyor.test]\ncommand = ["python", "tests/run.py"]\njunit = "junit.xml"\n'
        f'pythons = ["{second}"]\n'
    )
    here = RUN.replace("answer(), 42", "answer(), 42 if sys.implementation.name == 'cpython' else 43")
    files = {"tests/run.py": f"import sys\n{here}", ".python-version": "3.11\n"}
    repository = make_project(tmp_path / "repository", name=name, pyproject=pyproject, files=files)
    git(repository, "tag", "v1.0.0rc1")
    rules = f'schema = 1\n[index.testing.project.{name}]\ngates = ["tests"]\npythons = ["3.11"]\n'
    town.client.policies.apply(rules, reason="the other one is on its way")
    assert town.run(repository, "v1.0.0rc1")["index"] == "testing"
    facts: list[dict[str, Any]] = facts_of(town.client.releases.get(name, "1.0.0rc1"), "tests")
    on = {one["environment"]["python"].rpartition(".")[0]: (one["passed"], one["failed"]) for one in facts}
    assert on == {"3.11": (1, 0), second: (0, 1)}
    steps = {step.name: step.summary for step in town.client.runs.newest()[0].steps}
    assert 'which "testing" only shows' in steps["rehearse"]
    assert 'which "testing" only shows' in steps["test for testing"]


@pytest.mark.torture
@pytest.mark.timeout(900)
def test_release_waits_for_the_tests_of_those_that_require_it(town: Town, tmp_path: Path) -> None:
    """A failure of theirs blocks, unless they fail with the release before it as well."""

    def why(version: str) -> str:
        said = town.conveyor("why", lib, version, "--to", "testing", "--data", town.data).stdout
        return next(line.strip() for line in said.splitlines() if " dependants: " in line)

    def release(version: str, answer: int, *, expected: int) -> None:
        (source / "src" / lib / "core.py").write_text(f"def answer() -> int:\n    return {answer}\n")
        (source / "tests" / "test_core.py").write_text(f"import {lib}.core\n\n\ndef test_it():\n    pass\n")
        git(source, "commit", "-q", "-a", "--allow-empty", "-m", version)
        git(source, "tag", f"v{version}")
        town.run(source, f"v{version}", expected=expected)

    def results(version: str) -> list[dict[str, Any]]:
        return facts_of(town.client.releases.get(lib, version), "dependants")

    lib, user = claimed(town, "lib"), claimed(town, "user")
    source = make_project(tmp_path / lib, name=lib)
    release("1.0.0", 42, expected=4)
    tests = f"from {lib}.core import answer\n\nimport demo.core\n"
    tests += "\n\ndef test_answer():\n    assert answer() == 42\n"
    needing = make_project(
        tmp_path / user,
        name=user,
        pyproject=HATCHLING.replace("dynamic =", f'dependencies = ["{lib}>=1"]\ndynamic ='),
        files={"tests/test_core.py": tests + "\n\ndef test_other():\n    assert demo.core\n"},
    )
    git(needing, "tag", "v1.0.0rc1")  # a candidate goes to "testing" only, where the other is
    town.run(needing, "v1.0.0rc1")
    rules = f'schema = 1\n[index.testing.project.{lib}]\ngates = ["tests", "dependants"]\n'
    town.client.policies.apply(rules, reason="others rely on it")

    release("1.1.0", 43, expected=9)
    (step,) = [one for one in town.client.runs.newest()[0].steps if one.name == "dependants in testing"]
    assert (step.state, len(results("1.1.0"))) == ("failed", 1)
    failing = "tests.test_core::test_answer"
    assert why("1.1.0") == f"fail       dependants: {user} 1.0.0rc1: {failing} failed, not so with 1.0.0"
    until = (datetime.now(UTC) + timedelta(days=1)).isoformat()
    override = ("store", "override", lib, "1.1.0", "--to", "testing", "--gate", "dependants")
    town.conveyor(*override, "--until", until, "--reason", "they know", "--data", town.data)
    assert town.client.releases.get(lib, "1.1.0").index == "testing"

    release("1.2.0", 43, expected=4)
    assert town.client.releases.get(lib, "1.2.0").index == "testing"
    assert why("1.2.0") == f"pass       dependants: {user} 1.0.0rc1: 1 passed, 1 fail as before"
    again = ("pipeline", "test-dependants", lib, "1.2.0", "--to", "testing")
    town.conveyor(*again, "--credentials", town.credentials, "--state", town.state)
    (found,) = results("1.2.0")
    assert found["reference"]["version"] == "1.1.0"
    # Who would suffer if it were withdrawn: with 1.0.0 they would all have something.
    said = town.conveyor(
        "store", "rollback", lib, "1.2.0", "--reason", "a mistake", "--yes", "--data", town.data
    )
    assert said.stdout.splitlines()[1] == f'{user} 1.0.0rc1 in "testing" requires {lib}>=1'
