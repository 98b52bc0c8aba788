"""The documentation of a release: built against the built wheel, and packed into one archive.

It is built as it is declared under ``[tool.conveyor.docs]``; without a command by Sphinx or MkDocs, whichever
has its settings in the repository. A project that declares nothing gets its documentation built if it names
the requirements for that, in an extra, a group or a file; warnings count only if the table is declared.
"""

from __future__ import annotations

import re
import zipfile
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from conveyor.errors import StepFailed
from conveyor.pipeline.engine.steps import Done
from conveyor.pipeline.jobs.sources import read_clone
from conveyor.project.clones import copy_for_foreign
from conveyor.project.declarations import DocsDeclaration
from conveyor.project.environment import make_environment, run_in
from conveyor.project.interpreters import python_of
from conveyor.project.resolution import INSTALL_SECONDS
from conveyor.project.suites import Requirements, flatten_requirements, requirements_of
from conveyor.project.taking import take_tree

if TYPE_CHECKING:
    from conveyor.pipeline.engine.isolation import Workplace
    from conveyor.pipeline.jobs.distributions import BuiltRelease
    from conveyor.pipeline.jobs.sources import Source
    from conveyor.project.foreign import Completed
    from conveyor.project.settings import Project

DOCS_SECONDS = 3600.0
ARCHIVE = "docs.zip"
_NAMES = ("docs", "doc", "documentation")
_FILES = (
    "docs/requirements.txt", "doc/requirements.txt", "docs/requirements.in", "requirements-docs.txt",
    "requirements-doc.txt", "docs-requirements.txt", "requirements/docs.txt", "requirements/doc.txt",
)  # fmt: skip
_HINT_FOR_WARNINGS = 'correct it, or let warnings pass: [tool.conveyor.docs], warnings = "ignore"'
_SPHINX = ("docs", "doc", "docs/source", "doc/source")
_MKDOCS = ("mkdocs.yml", "mkdocs.yaml")
_WARNING = re.compile(r"^(?:.*: )?WARNING(?:: | +- )", re.MULTILINE)
# The earliest time that a zip archive can state: equal pages give equal archives.
_EPOCH = (1980, 1, 1, 0, 0, 0)


@dataclass(frozen=True)
class DocsPlan:
    """How the documentation of a checkout is built."""

    tool: str
    """``Sphinx``, ``MkDocs`` or the declared command."""
    command: tuple[str, ...]
    requirements: Requirements
    is_strict: bool = False
    """Whether a warning is a failure, by what the project declares."""


def plan_docs(project: Project, output: Path) -> DocsPlan | None:
    """How a checkout's documentation is built; ``None`` if it has none, or nothing that says what it needs.

    Raises:
        ProjectError: its requirements are not sound.
    """
    declared = project.declared.docs
    found = requirements_of(
        project, extra=None, group=None, files=(), names=_NAMES, usual_files=_FILES,
        where="[tool.conveyor.docs]",
    )  # fmt: skip
    if declared is not None and declared.command:
        return DocsPlan(" ".join(declared.command), declared.command, found)
    is_named = bool(found.extra or found.lines or found.files)
    if declared is None and not is_named:
        return None
    is_strict = declared is not None and declared.warnings == "error"
    conf = next((folder for folder in _SPHINX if (project.root / folder / "conf.py").is_file()), None)
    strict: tuple[str, ...]
    if conf is not None:
        strict = ("-W", "--keep-going") if is_strict else ()
        command = ("python", "-m", "sphinx", "-q", "-b", "html", *strict, conf, str(output))
        return DocsPlan("Sphinx", command, _with(found, "sphinx"), is_strict)
    settings = next((name for name in _MKDOCS if (project.root / name).is_file()), None)
    if settings is not None:
        strict = ("--strict",) if is_strict else ()
        # Without -q: it keeps warnings from being counted, so that --strict fails nothing (MkDocs 1.6.1).
        command = ("python", "-m", "mkdocs", "build", *strict, "-f", settings, "-d", str(output))
        return DocsPlan("MkDocs", command, _with(found, "mkdocs"), is_strict)
    if declared is not None:
        raise StepFailed(
            f"{project.display_name} declares its documentation, but has neither docs/conf.py nor mkdocs.yml",
            hint='name the command that builds it: command = ["…"], output = "…"',
        )
    return None


def _with(found: Requirements, tool: str) -> Requirements:
    return Requirements(found.extra, (tool, *found.lines), found.files)


def build_docs(place: Workplace, source: Source, built: BuiltRelease, index_url: str) -> Done[bool]:
    """Build the documentation in the checkout and pack it as ``docs.zip``; whether there is any.

    Raises:
        StepFailed: it could not be built, or a warning stops the release; carries the log.
        ProjectError: its requirements cannot be installed.
    """
    project = read_clone(place, source)
    checkout = project.root
    folder = place.fresh("docs")
    output = folder / "html"
    plan = plan_docs(project, output)
    if plan is None:
        return Done(False, "none is declared, nor requirements for any (docs)", is_skipped=True)
    environment = make_environment(
        folder / "environment", python=str(python_of(project).path), around=place.around(index_url)
    )
    extra = f"[{plan.requirements.extra}]" if plan.requirements.extra else ""
    wheel = place.folder / "dist" / built.wheel
    wanted = f"{built.project}{extra} @ {wheel.as_uri()}"
    requirements = flatten_requirements(checkout, plan.requirements.files, folder, plan.requirements.lines)
    files = [] if requirements is None else [str(requirements)]
    with place.log("docs install") as write:
        environment.telling(write).install(
            wanted, files=files, given=[wheel], timeout_seconds=INSTALL_SECONDS
        )
    top = folder / "checkout"
    work = copy_for_foreign(checkout, place.folder / "checkout", top)
    output.mkdir()
    with place.log("docs") as write:
        done = run_in(
            environment.telling(write), plan.command, folder=work, writes=(top, output),
            timeout_seconds=DOCS_SECONDS,
        )  # fmt: skip
    must_be_built(plan, done)
    declared = project.declared.docs or DocsDeclaration()
    own = declared.output if declared.command else None
    pages = folder / "pages" / (Path(own).name if own else output.name)
    _take(work if own else output, own or ".", pages)
    count = pack(pages, place.folder / ARCHIVE)
    warned = count_warnings(done.output)
    told = f", {warned} warning{'' if warned == 1 else 's'}" if warned else ""
    return Done(True, f"{count} files by {plan.tool}{told}", {"files": count, "warnings": warned})


def _take(root: Path, path: str, pages: Path) -> None:
    """Take the pages to where nothing else can write; a link among them stays one, to be judged there."""
    for one in take_tree(root, pages, path=path):
        if (root / path / one).is_symlink():
            (pages / one).symlink_to((root / path / one).readlink())


def count_warnings(output: str) -> int:
    """How many lines of Sphinx (``conf.py:3: WARNING: …``) or MkDocs (``WARNING -  …``) are warnings."""
    return len(_WARNING.findall(output))


def must_be_built(plan: DocsPlan, done: Completed) -> None:
    """Raise StepFailed, with the log, unless the command has built the documentation."""
    if done.is_timed_out:
        raise StepFailed(
            f"the documentation was not built within {DOCS_SECONDS / 60:.0f} minutes ({plan.tool})",
            log=done.output,
            hint="run the command in the project, and see what it waits for",
        )
    if done.return_code:
        lines = [line for line in done.output.splitlines() if line.strip()] or [""]
        first = next((line for line in lines if "WARNING" in line or "ERROR" in line), lines[-1])
        is_warning = plan.is_strict and "WARNING" in first
        raise StepFailed(
            f"the documentation cannot be built ({plan.tool}, exit code {done.return_code}): {first}",
            log=done.output,
            hint=_HINT_FOR_WARNINGS
            if is_warning
            else f"build it in the project with {plan.tool}, and correct what it says",
        )


def pack(output: Path, archive: Path) -> int:
    """Pack a folder of pages into a zip archive, and return how many files it holds.

    Raises:
        StepFailed: there is no page to begin with, or a link leads somewhere else.
    """
    if not (output / "index.html").is_file():
        raise StepFailed(
            f"the documentation was built, but {output.name} has no index.html",
            hint="correct output under [tool.conveyor.docs]: the folder that holds index.html",
        )
    files = sorted(path for path in output.rglob("*") if path.is_file() or path.is_symlink())
    outside = [path for path in files if not path.resolve().is_relative_to(output.resolve())]
    if outside:
        raise StepFailed(
            f"{outside[0].relative_to(output)} in the documentation is a link that leads out of it"
        )
    count = 0
    with zipfile.ZipFile(archive, "w", zipfile.ZIP_DEFLATED) as packed:
        for path in files:
            name = path.relative_to(output)
            if name.parts[0] == ".doctrees":
                continue
            info = zipfile.ZipInfo(name.as_posix(), _EPOCH)
            info.compress_type, info.external_attr = zipfile.ZIP_DEFLATED, 0o644 << 16
            packed.writestr(info, path.read_bytes())
            count += 1
    return count
