"""Which files of a release are tested where, and which candidate is a tested one."""

from __future__ import annotations

import platform
import sysconfig
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from conveyor.domain.releases.standing import Release, ReleaseFile
from conveyor.errors import ProjectError
from conveyor.pipeline.jails.wall import Bubblewrap
from conveyor.pipeline.jobs.candidates import candidate_of
from conveyor.pipeline.jobs.testing import earlier_success, environment_on, files_to_test
from conveyor.project.foreign import Surroundings
from conveyor.project.interpreters import running_interpreter
from conveyor.project.resolution import (
    EnvironmentLock,
    LockedPackage,
    lock_requirements,
    refuse_elsewhere,
)
from domain.test_gates import SDIST, WHEEL, built, with_tests
from pipeline.projects import make_project

if TYPE_CHECKING:
    from conveyor.domain.releases.evidence import Evidence


def test_wheels_of_other_machines_do_not_fit() -> None:
    here = running_interpreter()
    assert here.fits("demo-1.0-py3-none-any.whl")
    assert not here.fits("demo-1.0-cp27-cp27m-win32.whl")


def test_file_is_tested_again_after_a_failure_and_in_each_environment_for_itself() -> None:
    environment = environment_on("testing")
    python = platform.python_version()

    def result(*, failed: int = 0, python: str = python, index: str = "testing") -> Evidence:
        one = with_tests(WHEEL, failed=failed, python=python, index=index)
        one.predicate["environment"]["platform"] = sysconfig.get_platform()
        return one

    def is_skipped(*evidence: Evidence) -> bool:
        return earlier_success(evidence, WHEEL.sha256, environment) is not None

    assert is_skipped(result())
    assert is_skipped(result(failed=1), result())
    assert not is_skipped(result(), result(failed=1)), "an earlier success hides a later failure"
    assert not is_skipped(result(python="3.9.1")), "a second Python is never tested"
    assert not is_skipped(result(index="stable"))


def test_candidate_that_failed_after_it_had_passed_is_not_a_candidate_of() -> None:
    evidence = (built(WHEEL, source=SDIST), with_tests(WHEEL))
    assert candidate_of(released(*evidence)) is not None
    assert candidate_of(released(*evidence, with_tests(WHEEL, failed=1))) is None
    assert candidate_of(released(*evidence, with_tests(WHEEL, failed=1, python="3.12.0"))) is None


def test_candidate_is_judged_by_its_newest_build_evidence_that_can_be_read() -> None:
    unreadable = built(WHEEL, source=SDIST)
    unreadable.predicate["built_from"] = "an sdist"
    readable = built(WHEEL, source=SDIST)
    readable.predicate["payload"] = [{"path": "weights.bin", "sha256": "a" * 64}]
    candidate = candidate_of(released(readable, with_tests(WHEEL), unreadable))
    assert candidate is not None
    assert candidate.payload == (("weights.bin", "a" * 64),)
    assert candidate_of(released(unreadable, with_tests(WHEEL))) is None


def test_sdist_is_tested_itself_unless_a_wheel_is_known_to_be_built_from_it() -> None:
    """A release uploaded by hand waited for ever: nothing could give its sdist evidence."""
    assert [one.filename for one in files_to_test(released())] == [WHEEL.filename, SDIST.filename]
    known = released(built(WHEEL, source=SDIST))
    assert [one.filename for one in files_to_test(known)] == [WHEEL.filename]


STATIC = '[project]\nname = "demo"\nversion = "1.0"\nrequires-python = ">=3.11"\ndependencies = []\n'


def test_requirement_in_a_repository_cannot_be_locked_and_is_named(tmp_path: Path) -> None:
    """It is no file that the store could keep: the environment could not be restored later."""
    root = make_project(tmp_path / "repository", pyproject=STATIC)
    with pytest.raises(ProjectError, match="demo comes from a repository") as refused:
        lock_requirements(
            tmp_path, running_interpreter(), [f"demo @ git+file://{root}"],
            around=Surroundings({"UV_CACHE_DIR": str(tmp_path / "cache")}, "http://127.0.0.1:9/simple/"),
        )  # fmt: skip
    assert "publish demo to an index" in (refused.value.hint or "")


def released(*evidence: Evidence) -> Release:
    """Release 1.0 of demo with a wheel and an sdist, as a client sees it."""
    files = tuple(
        ReleaseFile(
            one.filename,
            "sdist" if one is SDIST else "bdist_wheel",
            one.sha256,
            1,
            f"/files/{one.filename}",
            "",
            "ann",
            None,
        )
        for one in (WHEEL, SDIST)
    )
    return Release("demo", "1.0", "unstable", ("unstable",), is_closed=False, files=files, evidence=evidence)


@pytest.mark.parametrize(
    ("file", "is_taken"),
    [
        ({"url": "http://store.example/team/packages/a/six.whl", "hashes": {"sha256": "a" * 64}}, True),
        ({"path": "/builds/demo.whl", "hashes": {"sha256": "a" * 64}}, True),
        ({"url": "file:///builds/demo.whl", "hashes": {"sha256": "a" * 64}}, True),
        ({"url": "http://store.example/packages/a/six.whl", "hashes": {"md5": "a"}}, False),
        ({"url": "http://store.example/packages/a/six.whl"}, False),
        ({"url": "http://elsewhere.example/?http://store.example/", "hashes": {"sha256": "a" * 64}}, False),
        ({"url": "http://store.example.org/six.whl", "hashes": {"sha256": "a" * 64}}, False),
        ({"path": "/etc/passwd", "hashes": {"sha256": "a" * 64}}, False),
        ({"url": "file:///etc/passwd", "hashes": {"sha256": "a" * 64}}, False),
    ],
)
def test_a_lock_that_a_jail_wrote_names_files_of_the_store_alone(
    tmp_path: Path, file: dict[str, Any], is_taken: bool
) -> None:
    wall = Bubblewrap(tmp_path, store_url="http://store.example")
    package = LockedPackage("six", "1.0", "wheels", file)
    lock = EnvironmentLock((package,), ">=3.11", "3.12.1", "linux-x86_64", "http://store.example/i/simple/")
    if is_taken:
        refuse_elsewhere(lock, wall, [Path("/builds/demo.whl")])
        return
    with pytest.raises(ProjectError, match="the store does not serve these files") as refused:
        refuse_elsewhere(lock, wall, [Path("/builds/demo.whl")])
    assert "six from " in refused.value.message
