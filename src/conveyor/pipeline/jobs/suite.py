"""A test suite of a repository, run against an installed distribution.

1. a fresh virtual environment, resolved against one index and nothing else
2. the file is installed from the store by URL and SHA-256, with its test requirements
3. only ``tests/`` at the commit is taken from the repository, into an empty folder
4. pytest runs there, isolated from every checkout (``origin.py``), under limits and a time limit
5. the counts, the proof of origin and the environment are the facts; they are judged elsewhere
"""

from __future__ import annotations

import hashlib
import io
import json
import platform
import shlex
import sysconfig
import tarfile
import tempfile
import tomllib
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

from conveyor.errors import ProjectError, StepFailed
from conveyor.pipeline.jobs import origin
from conveyor.project.environment import Environment, make_environment, run_in, run_uv
from conveyor.project.git import clone_commit, clone_tag, run_git

if TYPE_CHECKING:
    from conveyor.pipeline.engine.isolation import Workplace

SUITE_SECONDS = 3600.0
INSTALL_SECONDS = 1800.0
_TEST_NAMES = tuple(canonicalize_name(name) for name in ("test", "tests", "testing", "dev"))
"""Extras and dependency groups for the requirements of tests; the first that exists is used."""
_OWN_SETTINGS = {"pythonpath", "testpaths", "norecursedirs", "cache_dir"}
"""pytest settings about folders of the checkout; all others belong to the suite and are kept."""


@dataclass(frozen=True)
class Subject:
    """A published distribution to test."""

    project: str
    version: str
    filename: str
    sha256: str
    url: str
    """Its absolute URL on the store."""
    commit: str
    repository: str
    tag: str | None = None


@dataclass(frozen=True)
class Suite:
    """The part taken from the repository: a folder that holds ``tests/``, and the tests' requirements."""

    folder: Path
    settings: Path
    """A file with the project's pytest settings, outside of ``folder``."""
    extra: str | None
    requirements: tuple[str, ...]


def run_tests(place: Workplace, subject: Subject, *, index_url: str, name: str) -> dict[str, Any]:
    """The facts of one test run: the predicate of ``tests`` evidence, without ``index``.

    Args:
        place: where to work; its folder ``name`` is emptied first.
        subject: what to test.
        index_url: the simple API of the index that its requirements are resolved against.
        name: the step's name, for its folder and logs.

    Raises:
        ProjectError: the repository has no such commit or no ``tests/``, or installing failed.
        StepFailed: the suite broke before it could be counted; carries its log.
    """
    folder = place.fresh(name.replace(" ", "-"))
    with ThreadPoolExecutor(2) as threads:  # git and uv do not wait for each other
        making = threads.submit(make_environment, folder / "environment")
        suite = export_suite(subject, folder / "suite")
        environment = making.result()
    packages = _install(place, environment, subject, suite, index_url=index_url, name=name)
    report, seconds = _run_suite(place, environment, subject, suite, name=name)
    counts = report["counts"]
    lock = _lock(subject, packages)
    place.report(f"{name} lock.toml").write_text(lock, encoding="utf-8")
    return {
        "project": subject.project,
        "version": subject.version,
        **counts,
        "total": sum(counts.values()),
        "duration_seconds": round(seconds, 3),
        "origin": report["origin"],
        "environment": {
            "python": platform.python_version(),
            "platform": sysconfig.get_platform(),
            "packages": packages,
            "lock_sha256": hashlib.sha256(lock.encode()).hexdigest(),
        },
    }


def export_suite(subject: Subject, folder: Path) -> Suite:
    """Take ``tests/`` and the test settings at the commit; nothing else of the repository is kept.

    Raises:
        ProjectError: there is no such commit, or no ``tests/`` in it.
    """
    with tempfile.TemporaryDirectory(prefix="clone-", dir=folder.parent) as scratch:
        clone = Path(scratch) / "clone"
        if subject.tag is not None:
            clone_tag(subject.repository, subject.tag, clone)
        else:
            clone_commit(subject.repository, subject.commit, clone)
        try:
            archive = run_git(["archive", "--format=tar", subject.commit, "--", "tests"], folder=clone)
        except ProjectError as error:
            raise ProjectError(
                f"commit {subject.commit[:12]} has no tests to run: {error.message}",
                hint="put tests into a folder tests/ at the top of the repository, and commit them",
            ) from error
        pyproject = tomllib.loads(
            run_git(["show", f"{subject.commit}:pyproject.toml"], folder=clone).decode()
        )
    folder.mkdir()
    with tarfile.open(fileobj=io.BytesIO(archive)) as tar:
        tar.extractall(folder, filter="data")
    settings = folder.parent / "pytest-settings.toml"
    settings.write_text(pytest_settings(pyproject), encoding="utf-8")
    extra, requirements = declared_requirements(pyproject)
    return Suite(folder, settings, extra, requirements)


def declared_requirements(pyproject: dict[str, Any]) -> tuple[str | None, tuple[str, ...]]:
    """Return (extra to install, further requirements) of a project's tests; pytest is always included.

    An extra ``test`` (``tests``, ``testing``, ``dev``) is used, else a dependency group of that name.
    """
    extras = {
        canonicalize_name(name): name
        for name in pyproject.get("project", {}).get("optional-dependencies", {})
    }
    groups = {canonicalize_name(name): name for name in pyproject.get("dependency-groups", {})}
    extra = next((extras[name] for name in _TEST_NAMES if name in extras), None)
    group = next((groups[name] for name in _TEST_NAMES if name in groups), None)
    found = ["pytest"]
    if extra is None and group is not None:
        found += _group(pyproject["dependency-groups"], group, ())
    return extra, tuple(dict.fromkeys(found))


def command_to_install(pyproject: dict[str, Any]) -> str:
    """The command by which people install a project, editable, with the requirements of its tests."""
    extra, requirements = declared_requirements(pyproject)
    return shlex.join(["pip", "install", "-e", f".[{extra}]" if extra else ".", *requirements])


def _group(groups: dict[str, list[Any]], name: str, seen: tuple[str, ...]) -> list[str]:
    """The requirements of a dependency group and those it includes (PEP 735)."""
    known = {canonicalize_name(key): entries for key, entries in groups.items()}
    if canonicalize_name(name) in seen or canonicalize_name(name) not in known:
        raise ProjectError(f'dependency group "{name}" includes itself or does not exist')
    found: list[str] = []
    for entry in known[canonicalize_name(name)]:
        if isinstance(entry, dict):
            found += _group(groups, str(entry.get("include-group")), (*seen, canonicalize_name(name)))
        else:
            found.append(str(Requirement(entry)))
    return found


def _install(
    place: Workplace, environment: Environment, subject: Subject, suite: Suite, *, index_url: str, name: str
) -> list[dict[str, str]]:
    """Install the published file and its tests' requirements; return the packages that uv then lists."""
    extra = f"[{suite.extra}]" if suite.extra else ""
    wanted = f"{subject.project}{extra} @ {subject.url}#sha256={subject.sha256}"
    python = ("--python", str(environment.python))
    with place.log(f"{name} install") as write:
        run_uv(
            ["pip", "install", *python, wanted, *suite.requirements], index_url=index_url,
            variables=place.variables(), on_line=write, timeout_seconds=INSTALL_SECONDS,
        )  # fmt: skip
    listed = run_uv(["pip", "list", *python, "--format", "json", "--quiet"], is_clean=True)
    packages = [{"name": one["name"], "version": one["version"]} for one in json.loads(listed.output)]
    there = {canonicalize_name(one["name"]): one["version"] for one in packages}
    if there.get(canonicalize_name(subject.project)) != subject.version:
        raise ProjectError(
            f"{subject.filename} installed as {there.get(canonicalize_name(subject.project), 'nothing')}"
        )
    return packages


def _run_suite(
    place: Workplace, environment: Environment, subject: Subject, suite: Suite, *, name: str
) -> tuple[dict[str, Any], float]:
    """Return (report of ``origin.py``, seconds)."""
    report = suite.folder.parent / "report.json"
    settings = {
        "distribution": subject.project,
        "report": str(report),
        "arguments": [
            *("-c", str(suite.settings), "--rootdir", str(suite.folder), "-p", "no:cacheprovider"),
            *("--junitxml", str(place.report(f"{name} junit.xml")), "tests"),
        ],
    }
    command = ["python", "-I", origin.__file__, json.dumps(settings)]
    with place.log(name) as write:
        done = run_in(
            environment, command, folder=suite.folder, variables=place.variables(), on_line=write,
            timeout_seconds=SUITE_SECONDS,
        )  # fmt: skip
    if done.is_timed_out:
        raise StepFailed(f"the tests were ended after {SUITE_SECONDS:.0f} s", log=done.output)
    if not report.is_file():
        raise StepFailed(
            f"the tests ended with code {done.return_code} and reported nothing", log=done.output,
            hint="look for a test that ends the interpreter: it ends the whole suite",
        )  # fmt: skip
    found: dict[str, Any] = json.loads(report.read_text(encoding="utf-8"))
    return found, done.seconds


def pytest_settings(pyproject: dict[str, Any]) -> str:
    """The project's pytest settings as a TOML document, without those about folders of the checkout."""
    table = pyproject.get("tool", {}).get("pytest", {"ini_options": {}})
    name, settings = (
        ("pytest", table) if "ini_options" not in table else ("pytest.ini_options", table["ini_options"])
    )
    # JSON writes these values as TOML does.
    lines = [
        f"{key} = {json.dumps(value, ensure_ascii=False)}"
        for key, value in settings.items()
        if key not in _OWN_SETTINGS and isinstance(value, (str, bool, int, float, list))
    ]
    return "\n".join([f"[tool.{name}]", *lines, ""])


def _lock(subject: Subject, packages: list[dict[str, str]]) -> str:
    """The environment in the manner of pylock.toml (PEP 751): packages by version, the subject by digest."""
    lines = ['lock-version = "1.0"', 'created-by = "conveyor"']
    for package in sorted(packages, key=lambda one: canonicalize_name(one["name"])):
        lines += ["", "[[packages]]", f"name = {json.dumps(canonicalize_name(package['name']))}"]
        lines.append(f"version = {json.dumps(package['version'])}")
        if canonicalize_name(package["name"]) == canonicalize_name(subject.project):
            lines.append(f'archive = {{ url = "{subject.url}", hashes = {{ sha256 = "{subject.sha256}" }} }}')
    return "\n".join([*lines, ""])
