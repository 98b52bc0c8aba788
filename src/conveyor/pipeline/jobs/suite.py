"""A test suite of a repository, run against an installed distribution.

1. a fresh virtual environment of one Python, resolved against one index and nothing else
2. the file is installed by URL and SHA-256, with its test requirements: published from the store, or, in the
   packaging job's rehearsal, from its folder; nothing else differs
3. only the tests, the files that they are declared to read and the ``conftest.py`` above them are taken from
   the commit (or from the sdist, of a release that no packaging job built), into an empty folder
4. services are started; pytest, or the declared command, runs there, isolated from every checkout
   (``origin.py``), under limits and a time limit
5. the counts (``counts.py``), the proof of origin and the environment are the facts, judged elsewhere
"""

from __future__ import annotations

import hashlib
import json
import re
import shutil
import tempfile
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager, nullcontext, suppress
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from pathlib import Path, PurePosixPath
from typing import TYPE_CHECKING, Any
from urllib.parse import unquote, urlsplit

from packaging.utils import canonicalize_name

from conveyor.domain.releases.evidence import FactsOfTests, TestedOn, TestedOrigin, TestedPackage
from conveyor.domain.words.names import canonical_version
from conveyor.errors import ConveyorError, ProjectError, StepFailed
from conveyor.pipeline.jobs import origin
from conveyor.pipeline.jobs.counts import LARGEST_REPORT_BYTES, OUTCOMES, ToldCounts, read_junit
from conveyor.pipeline.jobs.services import refuse_dead, running_services
from conveyor.project.archives import unpack_sdist
from conveyor.project.clones import clone_commit, clone_tag
from conveyor.project.environment import Environment, make_environment, run_in
from conveyor.project.foreign import Sight
from conveyor.project.git import tracked_files
from conveyor.project.interpreters import running_interpreter
from conveyor.project.resolution import install_lock, lock_requirements
from conveyor.project.settings import Project, read_project
from conveyor.project.suites import (
    Requirements,
    below,
    flatten_requirements,
    paths_of_tests,
    pytest_settings,
    requirements_of_tests,
)
from conveyor.project.taking import make_folder, opened_plainly, refuse_links_out, take_file
from conveyor.project.uv import PYLOCK

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence
    from contextlib import AbstractContextManager

    from packaging.metadata import RawMetadata

    from conveyor.pipeline.engine.isolation import Workplace
    from conveyor.pipeline.engine.worker import Keeper
    from conveyor.pipeline.jails.wall import Shared
    from conveyor.project.foreign import Completed
    from conveyor.project.git import Repository
    from conveyor.project.interpreters import Interpreter
    from conveyor.project.resolution import EnvironmentLock

LARGEST_PROOF_BYTES = 4 * 2**20
"""Of a proof of ``origin.py``. It is read whole, and JSON takes up to 25 times its size in memory."""
REPORT, JUNIT, ATTENDED = "report.json", "junit.xml", "attended"
"""What the tests leave in the folder of their results."""
_USAGE_ERRORS = (3, 4)  # pytest's own failure, and words or settings that it does not know


@dataclass(frozen=True)
class Subject:
    """A distribution to test, and where its tests are."""

    project: str
    version: str
    filename: str
    sha256: str
    url: str
    """Its absolute URL: on the store, or of a file of this machine."""
    size_bytes: int
    commit: str | None = None
    repository: Repository | None = None
    tag: str | None = None
    subfolder: str = "."
    """The project's folder in the repository."""
    complete: Callable[[Path, str], None] | None = None
    """Brings submodules and files of Git LFS into a clone of a repository; ``None``: they stay away."""
    requires_python: str | None = None
    """What its metadata says."""
    sdist: Path | None = None
    """The sdist that holds the tests; ``None``: they are in the repository."""
    store: tuple[str, str] | None = None
    """The store's address as it is reached here, and its public one for the lock; ``None``: there is none."""

    @property
    def metadata(self) -> RawMetadata:
        """What is known of it, in place of an answer of its backend, which is not asked again."""
        known: RawMetadata = {"name": self.project}
        return known if self.requires_python is None else {**known, "requires_python": self.requires_python}


@dataclass(frozen=True)
class Suite:
    """What is taken from the commit: a folder with the tests, and what they need."""

    project: Project
    """As it was read in the checkout, which is gone."""
    folder: Path
    settings: Path
    """A file with the project's pytest settings, outside of ``folder``."""
    paths: tuple[str, ...]
    """The files and folders of tests."""
    requirements: Requirements
    """The requirements files in it are flattened into one, beside ``folder``."""
    tracked: tuple[str, ...]
    """Every file of the checkout."""
    taken: tuple[str, ...]
    """Those that are in ``folder``."""


def run_tests(
    place: Workplace, subject: Subject, *, index: str, index_url: str, name: str,
    interpreter: Interpreter | None = None, suite: Suite | None = None,
    beside: Sequence[str] = (),
) -> FactsOfTests:  # fmt: skip
    """The facts of one test run, as ``tests`` evidence states them.

    Args:
        place: where to work.
        subject: what to test.
        index: the index that its requirements are resolved against.
        index_url: its simple API.
        name: the step's name, for its folder and logs; the folder is emptied first.
        interpreter: the Python to test on; ``None`` means the one that runs now.
        suite: the suite if it has been exported already, into that folder, which is not emptied then.
        beside: further requirements.

    Raises:
        ProjectError: the repository has no such commit or no tests, or installing failed.
        StepFailed: the suite broke before it could be counted, or a service did; carries its log.
    """
    python = interpreter or running_interpreter()
    folder = suite.folder.parent if suite is not None else fresh_folder(place, name)
    with ThreadPoolExecutor(1) as threads:  # what is made does not wait for what is found out
        making = threads.submit(
            make_environment, folder / "environment", python=str(python.path), around=place.around()
        )
        suite = suite or export_suite(subject, folder / "suite")
        lock = lock_suite(
            place, subject, suite, index_url=index_url, name=name, interpreter=python, beside=beside
        )
        environment = making.result()
    _install(place, environment, lock, suite, index_url=index_url, name=name)
    packages = _packages(environment, subject)
    report, seconds = run_suite(place, environment, subject, suite, name=name)
    lock = lock.tested(subject.project, subject.version, subject.size_bytes, at=datetime.now(UTC))
    document = (lock.at(*subject.store) if subject.store is not None else lock).document()
    place.report(f"{name} {PYLOCK}").write_text(document, encoding="utf-8")
    counts, proof = report["counts"], report["origin"]
    return FactsOfTests(
        subject.project,
        subject.version,
        index,
        **{how: counts[how] for how in OUTCOMES},
        origin=TestedOrigin(proof["modules_checked"], tuple(proof["outside"]), proof["files_checked"]),
        on=TestedOn(python.name, python.platform, packages, hashlib.sha256(document.encode()).hexdigest()),
        duration_milliseconds=round(seconds * 1000),
        counted="junit" if suite.project.declared.test.command else "plugin",
    )


def fresh_folder(place: Workplace, name: str) -> Path:
    """The folder of the step of that name, emptied."""
    return place.fresh(name.replace(" ", "-"))


def lock_suite(
    place: Workplace, subject: Subject, suite: Suite, *, index_url: str, name: str, interpreter: Interpreter,
    beside: Sequence[str] = (),
) -> EnvironmentLock:  # fmt: skip
    """What ``run_tests`` would install now for the subject and its tests, resolved but not installed.

    Raises:
        ProjectError: the requirements cannot be resolved.
    """
    with place.log(f"{name} resolution") as write:
        return lock_requirements(
            suite.folder.parent, interpreter, [*_requirements(subject, suite), *beside],
            suite.requirements.files, around=place.around(index_url, write), given=_given(subject),
        )  # fmt: skip


_MISSED = re.compile(
    r"([\w.-]+) was not found in the package registry|no versions? of ([\w.-]+?)[ =<>!~,]"
    r"|only ([\w.-]+?)[=<>!~]"
)
"""How uv names a package that it lacks, or lacks a version of."""
MOST_ASKED = 8
"""Packages of a failed resolution about which the store is asked."""


@contextmanager
def telling_of_claims(worker: Keeper) -> Iterator[None]:
    """Add to the error of a failed resolution which of the missing packages are names of this store's own.

    A claimed name is never taken from upstream, so that what upstream has under it does not count; the
    message of uv cannot say so.
    """
    try:
        yield
    except ProjectError as error:
        missed = dict.fromkeys("".join(one) for one in _MISSED.findall(error.message))
        own = [name for name in list(missed)[:MOST_ASKED] if _is_own(worker, name)]
        if own:
            error.hint = (
                f"this store takes {', '.join(own)} from its own indexes alone, because the name is claimed: "
                "publish a version there that fits, or require another one"
            )
        raise


def _is_own(worker: Keeper, name: str) -> bool:
    """Whether a name is claimed, as far as this worker may know."""
    try:
        return worker.client.projects.get(name).claimed_by is not None
    except ConveyorError:
        return False


@contextmanager
def checked_out(subject: Subject, beside: Path) -> Iterator[tuple[Path, tuple[str, ...]]]:
    """A checkout of the project that the subject was built from, and the paths of its files; then it is gone.

    Raises:
        ProjectError: there is no such commit, or the sdist does not hold one folder; or a link leads out.
    """
    with tempfile.TemporaryDirectory(prefix="checkout-", dir=beside) as scratch:
        if subject.sdist is not None:
            root = Path(scratch) / "sdist"
            unpack_sdist(subject.sdist, root)
            found = (path.relative_to(root) for path in root.rglob("*") if not path.is_dir())
            yield root, tuple(sorted(path.as_posix() for path in found))
            return
        assert subject.repository is not None  # noqa: S101 - a subject has one of the two
        assert subject.commit is not None  # noqa: S101
        clone = Path(scratch) / "clone"
        if subject.tag is not None:
            clone_tag(subject.repository, subject.tag, clone)
        else:
            clone_commit(subject.repository, subject.commit, clone)
        if subject.complete is not None:  # which looks at links first
            subject.complete(clone, str(subject.repository))
        else:
            refuse_links_out(clone)
        root = clone / subject.subfolder
        yield root, tracked_files(root)


def export_suite(subject: Subject, folder: Path) -> Suite:
    """Take the tests and what they need at the commit; nothing else of the repository is kept.

    Raises:
        ProjectError: there is no such commit, or no test in it, or a declared file is missing.
    """
    with checked_out(subject, folder.parent) as (checkout, tracked):
        return take_suite(subject, checkout, tracked, folder)


def take_suite(subject: Subject, checkout: Path, tracked: tuple[str, ...], folder: Path) -> Suite:
    """Copy the tests and what they need out of a checkout of these files.

    Raises:
        ProjectError: there is no test in it, or a declared file is missing.
    """
    project = read_project(checkout, known=subject.metadata)
    settings = pytest_settings(checkout)
    paths = paths_of_tests(project, settings, tracked)
    taken = files_to_take(project, paths, tracked)
    for path in taken:
        _copy(checkout / path, folder / path)
    folder.mkdir(exist_ok=True)
    written = folder.parent / "pytest-settings.toml"
    # The project's own code is the installed one, so its folder is no place to import from. pytest takes
    # such paths as relative to the file, which does not lie in the folder of the suite.
    roots = [
        str(folder / one)
        for one in settings.words("pythonpath")
        if one.rstrip("/") != project.import_root or project.import_root == "."
    ]
    written.write_text(
        settings.as_toml(without=("pythonpath",)) + (f"pythonpath = {json.dumps(roots)}\n" if roots else ""),
        encoding="utf-8",
    )
    requirements = _flat(requirements_of_tests(project, settings), checkout, folder.parent)
    return Suite(project, folder, written, paths, requirements, tracked, taken)


def files_to_take(project: Project, paths: tuple[str, ...], tracked: tuple[str, ...]) -> tuple[str, ...]:
    """The files below the tests' paths and the declared files, and each ``conftest.py`` above a test.

    Raises:
        ProjectError: a declared file is not in the repository.
    """
    declared = project.declared.test
    absent = [path for path in declared.files if not below(tracked, path)]
    if absent:
        raise ProjectError(
            f"{project.display_name} has no committed {', '.join(absent)}, which [tool.conveyor.test] files "
            "names",
            hint="correct files in pyproject.toml, or commit these files",
        )
    known = set(tracked)
    above = {
        str(parent / "conftest.py")
        for path in paths
        for parent in (PurePosixPath(path), *PurePosixPath(path).parents)
    }
    chosen = {one for path in paths for one in below(tracked, path)} | (above & known)
    package = PurePosixPath(project.package_folder)
    if any(package.is_relative_to(path) for path in paths):  # the package is tested where it is installed
        chosen -= set(below(tracked, project.package_folder)) - above
    chosen.update(one for path in declared.files for one in below(tracked, path))
    return tuple(sorted(chosen))


def _copy(source: Path, target: Path) -> None:
    target.parent.mkdir(parents=True, exist_ok=True)
    if source.is_dir() and not source.is_symlink():  # a submodule, empty if it was left out
        without = shutil.ignore_patterns(".git")
        shutil.copytree(source, target, symlinks=True, ignore=without, dirs_exist_ok=True)
    else:
        shutil.copy2(source, target, follow_symlinks=False)


def _flat(found: Requirements, checkout: Path, folder: Path) -> Requirements:
    flat = flatten_requirements(checkout, found.files, folder)
    return Requirements(found.extra, found.lines, () if flat is None else (str(flat),))


def _install(
    place: Workplace, environment: Environment, lock: EnvironmentLock, suite: Suite, *, index_url: str,
    name: str,
) -> None:  # fmt: skip
    """Install the published file and its tests' requirements from a lock that is made of them."""
    with place.log(f"{name} install") as write:
        around = place.around(index_url, write)
        install_lock(environment.python, lock, suite.folder.parent, around=around)


def _packages(environment: Environment, subject: Subject) -> tuple[TestedPackage, ...]:
    """The installed packages by name, among them the subject, by its own version.

    Read from the names of their metadata folders, as uv does (recording installed projects, PEP 376).
    """
    there: dict[str, str] = {}
    for site in site_folders(environment):
        for folder in site.glob("*.dist-info"):
            name, _, version = folder.name.removesuffix(".dist-info").partition("-")
            there[canonicalize_name(name)] = canonical_version(version)
    if there.get(canonicalize_name(subject.project)) != subject.version:
        raise ProjectError(
            f"{subject.filename} installed as {there.get(canonicalize_name(subject.project), 'nothing')}"
        )
    return tuple(TestedPackage(name, version) for name, version in sorted(there.items()))


def _given(subject: Subject) -> list[Path]:
    """The subject, if it is a file of this machine."""
    local = subject.url.startswith("file:")
    return [Path(unquote(urlsplit(subject.url).path))] if local else []


def _requirements(subject: Subject, suite: Suite) -> list[str]:
    """The subject, by URL and digest, and the requirements of its tests that are no files."""
    extra = f"[{suite.requirements.extra}]" if suite.requirements.extra else ""
    wanted = f"{subject.project}{extra} @ {subject.url}#sha256={subject.sha256}"
    return [wanted, *suite.requirements.lines]


def run_suite(
    place: Workplace, environment: Environment, subject: Subject, suite: Suite, *, name: str,
    watch: Path | None = None,
) -> tuple[dict[str, Any], float]:  # fmt: skip
    """Return (the report that ``origin.py`` describes, seconds); ``watch`` is a folder to watch.

    Raises:
        StepFailed: the tests took too long or could not be counted, or a service died; carries the log.
    """
    declared = suite.project.declared.test
    results = suite.folder.parent / "results"
    shutil.rmtree(results, ignore_errors=True)
    results.mkdir()
    if declared.command:
        _attend(environment, subject, results)
        make_folder(suite.folder, str(PurePosixPath(str(declared.junit)).parent))
        command = list(declared.command)
    else:
        command = _pytest_command(environment, subject, suite, results, watch=watch)
    reads = (environment.path, suite.settings, Path(origin.__file__))
    writes = (suite.folder, results)
    with (
        _shared_wall(place, Sight({}, reads, writes), suite.folder) as wall,
        running_services(
            declared.services, place, environment, folder=suite.folder, name=name, wall=wall
        ) as services,
        place.log(name) as write,
        ToldCounts() as told,
    ):
        shared = Environment(environment.path, replace(place.around(on_line=write), wall=wall))
        done = run_in(
            shared, command, folder=suite.folder, reads=reads, writes=writes,
            hands=None if declared.command else told.writing,
            timeout_seconds=float(declared.timeout_seconds),
        )  # fmt: skip
        refuse_dead(services)
    # Read from here on: nothing of the suite lives any more.
    spent = done.spent or (wall.jail.spent if wall is not None else None)
    _refuse_ended(done, spent, declared.timeout_seconds)
    if declared.command:
        return _report_of_command(place, suite, results, done, name=name), done.seconds
    counts, exit_code = told.ended()
    if exit_code is None:
        raise _untold(done)
    found = read_report(results, done) | {"counts": counts, "exit_code": exit_code}
    with suppress(FileNotFoundError):
        take_file(results, JUNIT, place.report(f"{name} junit.xml"), largest=LARGEST_REPORT_BYTES)
    if exit_code in _USAGE_ERRORS:
        raise _unbegun(done)
    return found, done.seconds


def _refuse_ended(done: Completed, spent: str | None, timeout_seconds: int) -> None:
    """Raise StepFailed if a limit ended the tests, or their time was over."""
    if spent is not None and done.return_code:
        raise StepFailed(f"the tests were ended: {spent}", log=done.output)
    if done.is_timed_out:
        raise StepFailed(
            f"the tests were ended after {timeout_seconds} s",
            log=done.output,
            hint="make them faster, or give them more time: [tool.conveyor.test], timeout_seconds",
        )


def _unbegun(done: Completed) -> StepFailed:
    """What pytest said when it could not begin."""
    lines = [line for line in done.output.splitlines() if line.strip()] or [""]
    told = [line for sign in (": error: ", "ERROR: ") for line in lines if sign in line] or lines[-1:]
    said = re.sub(r"^.*?(: error|ERROR): ", "", told[0])
    return StepFailed(
        f"pytest could not begin: {said.strip()}",
        log=done.output,
        hint="plugins that the settings of pytest name are installed when the requirements of the tests "
        "hold them: an extra, a dependency group or a file, declared under [tool.conveyor.test]",
    )


def _untold(done: Completed) -> StepFailed:
    """What to say of tests that ended before ``origin.py`` had told all."""
    last = next((f": {line.strip()}" for line in reversed(done.output.splitlines()) if line.strip()), "")
    return StepFailed(
        f"the tests ended with code {done.return_code} and reported nothing{last}", log=done.output,
        hint="look for a test that ends the interpreter, or for requirements of the tests that ask for a "
        "pytest which does not run on this Python (others: [tool.conveyor.test] pythons)",
    )  # fmt: skip


def read_report(results: Path, done: Completed) -> dict[str, Any]:
    """What ``origin.py`` wrote; it shared its process with the tests, which may have written anything."""
    try:
        with opened_plainly(results, REPORT, largest=LARGEST_PROOF_BYTES) as file:
            found = json.load(file)
        if "origin" in found:
            return dict(found)
    except FileNotFoundError:
        raise _untold(done) from None
    except (ValueError, AttributeError, RecursionError):
        pass
    raise StepFailed("the report of the tests is not one that conveyor wrote", log=done.output)


def _shared_wall(place: Workplace, sight: Sight, folder: Path) -> AbstractContextManager[Shared | None]:
    """The jail of a suite and its services; ``None`` where there is no wall."""
    return place.wall.shared(sight, folder) if place.wall is not None else nullcontext()


def _pytest_command(
    environment: Environment, subject: Subject, suite: Suite, results: Path, *, watch: Path | None
) -> list[str]:
    settings = {
        "distribution": subject.project,
        "report": str(results / REPORT),
        "watch": str(watch) if watch is not None else None,
        "arguments": [
            *("-c", str(suite.settings), "--rootdir", str(suite.folder)),
            *("-o", f"cache_dir={results / 'pytest-cache'}"),
            *("--junitxml", str(results / JUNIT)),
            *(place for path in suite.paths for place in _places(environment, suite, path)),
        ],
    }
    return ["python", "-I", origin.__file__, json.dumps(settings)]


def _places(environment: Environment, suite: Suite, path: str) -> list[str]:
    """Where the tests of a path are: in the installed package, if the file holds them, or in the suite.

    A path that holds the package, as ``src`` for doctests, is both.
    """
    package = suite.project.package_folder
    inside = path if PurePosixPath(path).is_relative_to(package) else package
    if path == "." or not PurePosixPath(inside).is_relative_to(path):
        return [path]
    member = suite.project.member_of(inside)
    there = [str(site / member) for site in site_folders(environment) if (site / member).exists()]
    if not there or (inside != path and below(suite.taken, path)):
        there.append(path)
    return there


def site_folders(environment: Environment) -> list[Path]:
    """Where the distributions of an environment are installed."""
    return sorted(environment.path.glob("lib/*/site-packages"))


def _attend(environment: Environment, subject: Subject, results: Path) -> None:
    """Have every Python process of the environment prove where it imported the subject from."""
    folder = results / ATTENDED
    folder.mkdir()
    for site in site_folders(environment):
        shutil.copyfile(origin.__file__, site / "_conveyor_origin.py")
        line = f"import _conveyor_origin; _conveyor_origin.attend({subject.project!r}, {str(folder)!r})\n"
        (site / "_conveyor_origin.pth").write_text(line, encoding="utf-8")


def _report_of_command(
    place: Workplace, suite: Suite, results: Path, done: Completed, *, name: str
) -> dict[str, Any]:
    """The report of another command than pytest: counts from its JUnit file, the proofs of its processes."""
    junit = place.report(f"{name} junit.xml")
    try:
        take_file(suite.folder, str(suite.project.declared.test.junit), junit, largest=LARGEST_REPORT_BYTES)
    except FileNotFoundError:
        raise StepFailed(
            f"the tests ended with code {done.return_code} and wrote no "
            f"{suite.project.declared.test.junit}, which [tool.conveyor.test] junit names",
            log=done.output,
            hint="correct junit in pyproject.toml, or let the command write it",
        ) from None
    counts = read_junit(junit)
    if done.return_code and not (counts["failed"] or counts["errors"]):
        raise StepFailed(
            f"the tests ended with code {done.return_code}, though their JUnit file tells of no failure",
            log=done.output,
        )
    proofs = list(_proofs(results))
    return {
        "exit_code": done.return_code,
        "counts": counts,
        "origin": {
            "modules_checked": max((proof["modules_checked"] for proof in proofs), default=0),
            "files_checked": max((proof["files_checked"] for proof in proofs), default=0),
            "outside": list(dict.fromkeys(line for proof in proofs for line in proof["outside"])),
        },
    }


def _proofs(results: Path) -> Iterator[dict[str, Any]]:
    for path in sorted((results / ATTENDED).glob("*.json")):
        with opened_plainly(results, f"{ATTENDED}/{path.name}", largest=LARGEST_PROOF_BYTES) as file:
            yield json.load(file)
