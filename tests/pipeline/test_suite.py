"""Which files of a release are tested where, and which candidate is a tested one."""

from __future__ import annotations

import json
import platform
import sysconfig
import tomllib
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from conveyor.domain.releases.standing import Release, ReleaseFile
from conveyor.errors import ProjectError, StepFailed
from conveyor.pipeline.jails.wall import Bubblewrap
from conveyor.pipeline.jobs.candidates import candidate_of
from conveyor.pipeline.jobs.suite import LARGEST_PROOF_BYTES, REPORT, read_report
from conveyor.pipeline.jobs.testing import earlier_success, environment_on, files_to_test
from conveyor.project.foreign import Completed, Surroundings
from conveyor.project.interpreters import running_interpreter
from conveyor.project.resolution import (
    LARGEST_LOCK_BYTES,
    EnvironmentLock,
    LockedPackage,
    _read_foreign,
    lock_requirements,
    made_anew,
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


SHA256 = "a" * 64
SERVED = f"http://store.example/packages/{SHA256}/six-1.0-py3-none-any.whl"
HASHES = {"sha256": SHA256}


@pytest.mark.parametrize(
    ("kind", "file", "is_taken"),
    [
        ("wheels", {"url": SERVED, "size": 7, "hashes": HASHES | {"md5": "b"}}, True),
        ("archive", {"path": "/builds/six-1.0-py3-none-any.whl", "hashes": HASHES}, True),
        ("archive", {"url": "file:///builds/six-1.0-py3-none-any.whl", "hashes": HASHES}, True),
        ("sdist", {"url": SERVED.replace("-py3-none-any.whl", ".tar.gz"), "hashes": HASHES}, True),
        ("wheels", {"url": SERVED, "hashes": {"md5": "a"}}, False),
        ("wheels", {"url": SERVED}, False),
        ("wheels", {"url": SERVED, "hashes": {"sha256": "b" * 64}}, False),
        ("wheels", {"url": SERVED, "hashes": HASHES | {"other = 1": "b"}}, False),
        ("wheels", {"url": SERVED, "path": "/builds/six-1.0-py3-none-any.whl", "hashes": HASHES}, False),
        ("wheels", {"url": SERVED, "subdirectory": "x", "hashes": HASHES}, False),
        ("wheels", {"url": SERVED, "size": "7", "hashes": HASHES}, False),
        ("wheels", {"url": SERVED.replace("six-1.0", "six-1.1"), "hashes": HASHES}, False),
        ("wheels", {"url": SERVED.replace("six-1.0", "other-1.0"), "hashes": HASHES}, False),
        ("wheels", {"url": SERVED.replace("six-1", "..%2Fsix-1"), "hashes": HASHES}, False),
        ("wheels", {"url": f"{SERVED}?a=/six-1.0-py3-none-any.whl", "hashes": HASHES}, False),
        ("wheels", {"url": f"{SERVED}#six-1.0-py3-none-any.whl", "hashes": HASHES}, False),
        ("sdist", {"url": SERVED, "hashes": HASHES}, False),
        ("wheels", {"url": f"http://elsewhere.example/?{SERVED}", "hashes": HASHES}, False),
        ("wheels", {"url": SERVED.replace(".example", ".example.org"), "hashes": HASHES}, False),
        ("archive", {"path": "/etc/six-1.0-py3-none-any.whl", "hashes": HASHES}, False),
        ("archive", {"url": "file:///etc/six-1.0-py3-none-any.whl", "hashes": HASHES}, False),
        ("archive", {"path": SERVED, "hashes": HASHES}, False),
    ],
)
def test_a_lock_that_a_jail_wrote_names_files_of_the_store_alone(
    tmp_path: Path, kind: str, file: dict[str, Any], is_taken: bool
) -> None:
    wall = Bubblewrap(tmp_path, store_url="http://store.example")
    lock = locked(LockedPackage("six", "1.0", kind, file))
    given = [Path("/builds/six-1.0-py3-none-any.whl")]
    if is_taken:
        (made,) = made_anew(lock, wall, given).packages
        assert made.file["hashes"] == HASHES
        assert made.file.get("url") in (None, file.get("url"))
        assert made.file.get("path") in (None, str(given[0]))
        assert len(tomllib.loads(lock.document())["packages"]) == 1
        return
    with pytest.raises(ProjectError, match="behind the wall is refused: 'six': "):
        made_anew(lock, wall, given)


@pytest.mark.parametrize(("name", "version"), [("six/../..", "1.0"), ("six\n", "1.0"), ("six", "1.0/..")])
def test_a_lock_that_a_jail_wrote_has_plain_names_and_versions(
    tmp_path: Path, name: str, version: str
) -> None:
    wall = Bubblewrap(tmp_path, store_url="http://store.example")
    one = LockedPackage(name, version, "wheels", {"url": SERVED, "hashes": HASHES})
    with pytest.raises(ProjectError, match="behind the wall is refused"):
        made_anew(locked(one), wall, [])


def test_a_lock_that_a_jail_wrote_has_each_package_once(tmp_path: Path) -> None:
    wall = Bubblewrap(tmp_path, store_url="http://store.example")
    one = LockedPackage("six", "1.0", "wheels", {"url": SERVED, "hashes": HASHES})
    with pytest.raises(ProjectError, match="it stands there twice"):
        made_anew(locked(one, one), wall, [])
    with pytest.raises(ProjectError, match="no range of Python versions"):
        made_anew(replace(locked(one), requires_python=">=3\n"), wall, [])


def test_keys_of_a_lock_stay_keys_whatever_they_hold() -> None:
    hashes = {"sha256": SHA256, 'x" = "" }]\n[[packages]]\nname = "y"\n#': "z"}
    lock = locked(LockedPackage("six", "1.0", "wheels", {"url": SERVED, "hashes": hashes}))
    (package,) = tomllib.loads(lock.document())["packages"]
    assert package["wheels"][0]["hashes"] == hashes


def locked(*packages: LockedPackage) -> EnvironmentLock:
    """An environment of these packages."""
    return EnvironmentLock(packages, ">=3.11", "3.12.1", "linux-x86_64", "http://store.example/i/simple/")


def test_proof_of_the_tests_that_is_too_large_is_refused_before_it_is_read(tmp_path: Path) -> None:
    done = Completed(0, "", 1.0)
    proof = tmp_path / REPORT
    proof.write_text(json.dumps({"origin": {}, "opened": ["x" * (LARGEST_PROOF_BYTES - 40)]}))
    assert read_report(tmp_path, done)["origin"] == {}
    proof.write_text(json.dumps({"origin": {}, "opened": ["x" * LARGEST_PROOF_BYTES]}))
    with pytest.raises(StepFailed, match=r"report\.json, which the job wrote, is larger than 4 MB"):
        read_report(tmp_path, done)


@pytest.mark.parametrize(
    "text",
    [
        "packages = 3",
        "packages = [1]",
        f"x = {'[' * 5000}",
        '[[packages]]\nname = "six"\nwheels = [{ name = "../six.whl" }]\n',
        '[[packages]]\nname = "six"\narchive = { url = "a" }\nvcs = { url = "b" }\n',
        '[[packages]]\nname = "six"\nversion = 1\nsdist = { url = "a", hashes = "b" }\n',
        " " * (LARGEST_LOCK_BYTES + 1),
    ],
    ids=range(7),
)
def test_what_a_jail_wrote_in_place_of_a_lock_is_refused_with_one_clear_error(
    tmp_path: Path, text: str
) -> None:
    (tmp_path / "pylock.toml").write_text(text)
    wall = Bubblewrap(tmp_path, store_url="http://store.example")
    with pytest.raises((ProjectError, StepFailed)) as refused:
        _read_foreign(tmp_path, running_interpreter(), Surroundings(), wall, [])
    assert len(refused.value.message) < 400
