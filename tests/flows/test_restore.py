"""A release is restored a year later: upstream has newer versions of everything, and has removed files."""

from __future__ import annotations

import hashlib
import io
import json
import os
import subprocess
import sys
import tomllib
import zipfile
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
import urllib3
from packaging.pylock import Pylock

from conveyor.operations.releases.locks import add_lock
from conveyor.project.clones import clone_tag
from conveyor.project.foreign import clean_environment_variables
from conveyor.project.interpreters import interpreters, running_interpreter
from conveyor.project.resolution import EnvironmentLock, LockedPackage
from conveyor.project.uv import find_uv
from distributions_made import BACKEND, core_metadata, make_sdist, make_wheel
from flows import serve_later
from makers import make_store
from pipeline.conftest import Town, settled
from pipeline.installed import offer_installed
from pipeline.projects import HATCHLING, git, make_project
from releases_made import ADMIN, hand_in, make_worker, predicate_of_tests, publish
from running_stores import RunningStore, ServerProcess, ready_url, running_store, serve_environment, stop
from upstreams import running_upstream

if TYPE_CHECKING:
    from collections.abc import Iterator

    from distributions_made import Made
    from upstreams import RunningUpstream

pytestmark = [pytest.mark.xdist_group("restore"), pytest.mark.timeout(600)]

DAYS = 365
NAMES = ("first", "second", "third")
TESTS = """\
import importlib.metadata

import yearly.core


def test_environment_is_the_one_of_the_release():
    for name in ("first", "second", "third"):
        assert importlib.metadata.version(name) == "1.0"
"""


DOCS = """\
from pathlib import Path

Path("html").mkdir()
Path("html/index.html").write_text("the pages")
"""


TESTED_AT = "2025-01-01T00:00:00Z"
BUILDERS = (
    ("1.0", BACKEND.format(name="source", version="1.0").encode()),
    ("2.0", b"raise SystemExit('a builder that came after the test')"),
)


def dep(name: str, version: str) -> Made:
    return make_wheel(name, version, metadata=core_metadata(name, version))


@pytest.fixture(scope="module")
def later(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Town, RunningUpstream, Path]]:
    """A store a year after it tested yearly 1.0.0rc1; of its requirements two files are gone upstream."""
    folder = tmp_path_factory.mktemp("year")
    with running_upstream() as upstream:
        offer_installed(upstream)
        for name in NAMES:
            upstream.add_html(name, [dep(name, "1.0")])
        environment = serve_environment(PIP_INDEX_URL=upstream.url)
        with running_store(folder / "store", environment=environment) as store:
            town = settled(store, folder)
            repository = released(town, folder)
        upstream.add_html("first", [dep("first", "2.0")])
        upstream.add_html("second", [dep("second", "2.0")])
        upstream.add_html("third", [dep("third", "1.0"), dep("third", "2.0")])
        process = ServerProcess(
            [
                *(sys.executable, serve_later.__file__, str(DAYS)),
                *("store", "serve", "--data", folder / "store", "--port", "0"),
            ],
            environment=environment,
        )
        try:
            yield Town(ready_url(process), *_rest(town)), upstream, repository
        finally:
            stop(process)


def _rest(town: Town) -> tuple[Path, Path, Path, str, Path]:
    return town.data, town.credentials, town.key, town.token, town.state


def released(town: Town, folder: Path) -> Path:
    """Yearly 1.0.0rc1 is in "testing"; its repository."""
    town.claim("yearly")
    wanted = HATCHLING.replace("[project]\n", f"[project]\ndependencies = {json.dumps(NAMES)}\n", 1)
    wanted += '\n[tool.conveyor.docs]\ncommand = ["python", "docs/build.py"]\noutput = "html"\n'
    files = {"tests/test_year.py": TESTS, "docs/build.py": DOCS}
    repository = make_project(folder / "repository", name="yearly", pyproject=wanted, files=files)
    git(repository, "tag", "v1.0.0rc1")
    outcome = town.run(repository, "v1.0.0rc1")
    assert (outcome["state"], outcome["index"]) == ("succeeded", "testing"), outcome
    return repository


def installed(python: Path) -> dict[str, str]:
    """Version by name, as the interpreter's environment says itself."""
    code = (
        "import importlib.metadata as m, json;"
        "print(json.dumps({one.metadata['Name'].lower(): one.version for one in m.distributions()}))"
    )
    done = subprocess.run([python, "-I", "-c", code], capture_output=True, text=True, check=True)
    found: dict[str, str] = json.loads(done.stdout)
    return found


@pytest.mark.parametrize("tool", ["uv", "pip"])
def test_release_is_restored_a_year_later(
    later: tuple[Town, RunningUpstream, Path], tmp_path: Path, tool: str
) -> None:
    town, _, repository = later
    store = RunningStore(town.url, town.data, subprocess.Popen(["true"]), Path(os.devnull))  # type: ignore[arg-type]
    store.process.wait()
    for name in NAMES:  # the store sees what upstream has now
        page = store.get(f"/testing/simple/{name}/", Accept="application/vnd.pypi.simple.v1+json").json()
        assert page["versions"][-1] == "2.0"
        assert [file["filename"] for file in page["files"]].count(dep(name, "1.0").filename) == (
            name == "third"
        )
    town.conveyor("store", "gc", "--data", town.data)
    folder = tmp_path / "restored"
    words = ("restore", "yearly==1.0.0rc1", folder, "--store", town.url, "--tool", tool)
    town.conveyor(*words, CONVEYOR_TOKEN=town.token, XDG_CACHE_HOME=str(tmp_path / "cache"))
    # the same environment
    release = town.client.releases.get("yearly", "1.0.0rc1")
    (tested,) = (one for one in release.evidence if one.kind == "tests")
    told = {one["name"].lower(): one["version"] for one in tested.predicate["environment"]["packages"]}
    assert installed(folder / "bin" / "python") == told
    assert {told[name] for name in NAMES} == {"1.0"}
    # its tests are green
    clone_tag(str(repository), "v1.0.0rc1", tmp_path / "clone")
    done = subprocess.run(
        [folder / "bin" / "python", "-I", "-m", "pytest", "-q", "--import-mode=importlib", "tests"],
        cwd=tmp_path / "clone",
        env=clean_environment_variables(),
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    # nothing of the token is left
    secret = town.token.encode()
    assert not [path for path in folder.rglob("*") if path.is_file() and secret in path.read_bytes()]


def test_lock_is_complete_and_can_be_installed_by_uv_and_pip_alone(
    later: tuple[Town, RunningUpstream, Path], tmp_path: Path
) -> None:
    town, _, _ = later
    content = town.client.releases.lock("yearly", "1.0.0rc1").decode()
    document = tomllib.loads(content)
    lock = Pylock.from_dict(document)
    for package in lock.packages:
        file = package.archive or (package.wheels or ())[0]
        assert file.size
        assert set(file.hashes) == {"sha256"}
        assert str(file.url).startswith(town.url.rpartition(":")[0])
        assert package.archive or str(package.index).endswith("/testing/simple/")
    assert town.token not in content
    # where it was made, uv and a new pip install it; the files are in a store that is a year older
    python = next(one.path for one in interpreters() if one.name == document["tool"]["conveyor"]["python"])
    path = tmp_path / "pylock.toml"
    path.write_text(content.replace(made_at(document), town.url))
    for done in (by_uv(path, python), by_pip(path, python)):
        assert done.returncode == 0, done.stderr
    # on another Python, and on another machine, both say clearly that it is not for that one
    other = by_uv(path, Path("/usr/bin/pypy3"))
    assert (other.returncode, "PyPy 3.9" in other.stderr) == (2, True), other.stderr
    path.write_text(path.read_text().replace("platform_machine == '", "platform_machine == 'not-"))
    assert "target environment is not supported by the lockfile" in by_uv(path, python).stderr
    assert "does not satisfy any of the environments" in by_pip(path, python).stderr


def test_docs_of_the_release_are_kept(later: tuple[Town, RunningUpstream, Path]) -> None:
    town, _, _ = later
    with urllib3.PoolManager() as pool:
        kept = pool.request("GET", f"{town.url}/api/v1/projects/yearly/releases/1.0.0rc1/docs").json()
        archive = pool.request("GET", town.url + kept["url"]).data
    with zipfile.ZipFile(io.BytesIO(archive)) as docs:
        assert docs.read("index.html") == b"the pages"


def made_at(document: dict[str, Any]) -> str:
    """The address of the store when the lock was made."""
    (archive,) = (one["archive"] for one in document["packages"] if one["name"] == "yearly")
    return str(archive["url"]).partition("/packages/")[0]


def by_uv(lock: Path, python: Path) -> subprocess.CompletedProcess[str]:
    words = [
        *("--preview-features", "pylock", "pip", "install", "--dry-run", "--target", str(lock.parent / "t")),
        *("--python", str(python), "-r", str(lock)),
    ]
    return run_clean([find_uv(), "--no-config", *words])


def by_pip(lock: Path, python: Path) -> subprocess.CompletedProcess[str]:
    words = ["install", "--dry-run", "--no-deps", "--ignore-installed", "-r", str(lock)]
    return run_clean([sys.executable, "-m", "pip", "--python", str(python), *words])


def run_clean(command: list[str]) -> subprocess.CompletedProcess[str]:
    return subprocess.run(command, env=clean_environment_variables(), capture_output=True, text=True)


def test_source_is_built_again_with_what_there_was_at_the_time_of_the_test(
    later: tuple[Town, RunningUpstream, Path], tmp_path: Path
) -> None:
    """PEP 751 has no place for the requirements of a build; what came after the test must not build."""
    town, upstream, _ = later
    old, new = (make_wheel("builder", version, extra={"making.py": code}) for version, code in BUILDERS)
    offered = [offered_file(upstream, old, 2024), offered_file(upstream, new, 2026)]
    upstream.add_json("builder", offered)
    wheel = make_wheel("built", extra={"built/data": b""})
    needs = b'[build-system]\nrequires = ["builder"]\nbuild-backend = "making"\n'
    source = make_sdist("source", extra={"pyproject.toml": needs})
    here = running_interpreter()
    locked = tuple(
        LockedPackage(name, "1.0", kind, {"url": url_in(town, made), "hashes": {"sha256": made.sha256}})
        for name, kind, made in (("built", "wheels", wheel), ("source", "sdist", source))
    )
    environment = EnvironmentLock(
        locked, f">={here.version}", here.name, here.platform, f"{town.url}/unstable/simple/", TESTED_AT
    )
    content = environment.document().encode()
    store = make_store(town.data)
    worker = make_worker(store, "worker-2")
    publish(store, wheel)
    publish(store, source)
    add_lock(store, ADMIN, "built", "1.0", content, keep=lambda _: None)
    facts = predicate_of_tests(name="built", index="unstable")
    facts["environment"] |= {"lock_sha256": hashlib.sha256(content).hexdigest(), "python": here.name}
    hand_in(store, worker, "tests", wheel, facts)
    words = ("restore", "built==1.0", tmp_path / "again", "--store", town.url)
    cache = str(tmp_path / "cache")
    old_pip = town.conveyor(*words, "--tool", "pip", expected=8, XDG_CACHE_HOME=cache)
    assert "cannot leave out what came after the test" in old_pip.stderr
    town.conveyor(*words, XDG_CACHE_HOME=cache)
    found = installed(tmp_path / "again" / "bin" / "python")
    assert found == {"built": "1.0", "source": "1.0"}


def offered_file(upstream: RunningUpstream, made: Made, year: int) -> dict[str, Any]:
    """An entry of a page, uploaded in that year."""
    return {
        "filename": made.filename,
        "url": f"../..{upstream.add_file(made)}",
        "hashes": {"sha256": made.sha256},
        "upload-time": f"{year}-01-01T00:00:00Z",
    }


def url_in(town: Town, made: Made) -> str:
    return f"{town.url}/packages/{made.sha256}/{made.filename}"


def test_restore_says_clearly_what_is_missing(
    later: tuple[Town, RunningUpstream, Path], tmp_path: Path
) -> None:
    town, _, _ = later
    there = tmp_path / "there"
    there.mkdir()
    (there / "file").write_text("mine")
    at = ("--store", town.url)
    full = town.conveyor("restore", "yearly==1.0.0rc1", there, *at, expected=6)
    assert "there is something in" in full.stderr
    none = town.conveyor("restore", "yearly==1.0.0rc1", tmp_path / "x", *at, "--python", "3.1", expected=5)
    assert "has no lock on Python 3.1" in none.stderr
    assert "?python=3." in none.stderr
    assert not (tmp_path / "x").exists()
    wrong = town.conveyor("restore", "yearly", *at, expected=2)
    assert "is not NAME==VERSION" in wrong.stderr
