"""A new project: rendered from the templates in this package, offline, with a repository and a first commit.

``templates/common`` goes into every project, ``templates/<kind>`` on top of it. A template's path is the
file's path with three changes: ``.jinja`` at its end is dropped, ``dot-`` at the start of a name becomes
``.`` (a real ``.gitignore`` here would act on our own repository), ``__package__`` becomes the package.

The folder appears at once, complete and committed, or not at all.
"""

from __future__ import annotations

import json
import keyword
import re
import shutil
import sys
import tempfile
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from conveyor.domain.words.names import NormalizedName, project_name
from conveyor.errors import InvalidInput, InvalidName, ProjectError
from conveyor.project.git import configured_identity, head_commit, make_repository

if TYPE_CHECKING:
    from collections.abc import Mapping

    from conveyor.project.settings import ProjectKind

TEMPLATES = Path(__file__).parent / "templates"
PAYLOAD = ("model.joblib", "golden.json", "model.json")
"""The files that training a model project writes into the folder ``model`` of its package."""
BORROWED_IDENTITY = ("conveyor new", "conveyor@localhost")
"""Name and address for the first commit if git is not configured with any."""

_TAKEN = {
    "package": ("pytest", "sphinx", "tests"),
    "model": ("joblib", "numpy", "pytest", "scikit-learn", "scipy", "sklearn", "sphinx", "tests"),
}
"""Names, by kind, that a new project itself uses: a project of that name would hide them or need itself."""


@dataclass(frozen=True)
class NewProject:
    """The properties of a new project."""

    name: str
    kind: ProjectKind = "package"
    folder: Path | None = None
    """Its folder; ``None`` means a folder of its name in the current one."""
    description: str | None = None
    author: str | None = None
    """``Name`` or ``Name <address>``; ``None`` omits the authors."""


@dataclass(frozen=True)
class CreatedProject:
    """A project that was made."""

    folder: Path
    package: str
    files: tuple[str, ...]
    """Relative to the folder, sorted."""
    commit: str
    borrowed_identity: str | None
    """The identity used for the commit because git has none configured; ``None`` if the user's was used."""


def create_project(new: NewProject) -> CreatedProject:
    """Make a project: files, repository on branch ``main``, first commit.

    Raises:
        InvalidName: the name cannot be that of a project and a package, or the folder is in use; all
            faults are named.
        InvalidInput: the description or the author has line breaks.
        ProjectError: git could not make the commit; nothing is left behind.
    """
    folder = (new.folder or Path(new.name)).resolve()
    name, package = _checked(new, folder)
    files = render(new, name, package)
    try:
        borrowed, commit = _write_project(folder, files, new)
    except OSError as error:
        raise ProjectError(
            f"{folder} cannot be made: {error.strerror or error}",
            hint="name a folder that you may write with --path",
        ) from error
    return CreatedProject(folder, package, tuple(sorted(files)), commit, borrowed)


def _write_project(folder: Path, files: Mapping[str, str], new: NewProject) -> tuple[str | None, str]:
    folder.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(prefix=f".{folder.name}-", dir=folder.parent) as scratch:
        work = Path(scratch) / folder.name
        work.mkdir()
        for path, content in files.items():
            (work / path).parent.mkdir(parents=True, exist_ok=True)
            (work / path).write_text(content, encoding="utf-8")
        borrowed = _commit(work, new)
        commit = head_commit(work)
        _move_into_place(work, folder)
    return borrowed, commit


def render(new: NewProject, name: NormalizedName, package: str) -> dict[str, str]:
    """Path → content of every file of a new project; only the templates are read from the disk."""
    import jinja2

    engine = jinja2.Environment(
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        keep_trailing_newline=True,
        autoescape=False,  # noqa: S701 - not HTML pages; each place quotes for its own language
    )
    engine.filters |= {"toml": _quote_toml, "py": _quote_python}
    author_name, author_email = _author(new.author)
    values = {
        "name": name,
        "package": package,
        "kind": new.kind,
        "description": new.description or _description(new.kind),
        "author_name": author_name,
        "author_email": author_email,
        "payload": [f"src/{package}/model/{file}" for file in PAYLOAD],
    }
    files = {}
    for part in (TEMPLATES / "common", TEMPLATES / new.kind):
        for template in sorted(part.rglob("*.jinja")):
            path = template.relative_to(part).as_posix().removesuffix(".jinja")
            path = path.replace("__package__", package).replace("dot-", ".")
            files[path] = engine.from_string(template.read_text(encoding="utf-8")).render(values)
    return files


def _checked(new: NewProject, folder: Path) -> tuple[NormalizedName, str]:
    """Check a new project and its folder, and return its normalized name and its package."""
    faults: list[str] = []
    name, package = NormalizedName(""), ""
    try:
        name = project_name(new.name)
    except InvalidName as error:
        faults.append(f"{error.message}: {error.hint}")
    else:
        package = name.replace("-", "_")
        faults += _package_faults(name, package, new.kind)
    if folder.exists() and not folder.is_dir():
        faults.append(f"{folder} exists and is not a folder")
    elif folder.is_dir() and any(folder.iterdir()):
        faults.append(f"{folder} exists and is not empty")
    named_badly = bool(faults)
    for what, text in (("description", new.description), ("author", new.author)):
        if text is not None and not text.isprintable():
            faults.append(f"the {what} has characters that cannot be printed, or several lines")
    if faults:
        kind = InvalidName if named_badly else InvalidInput
        said = faults[0] if len(faults) == 1 else f"{len(faults)} faults"
        raise kind(
            f'"{new.name}" cannot be made: {said}',
            faults=faults,
            hint="choose another name, or another folder with --path" if named_badly else None,
        )
    return name, package


def _package_faults(name: NormalizedName, package: str, kind: ProjectKind) -> list[str]:
    faults = []
    if not package.isidentifier():
        faults.append(f'"{package}" cannot be imported: a package begins with a letter')
    if keyword.iskeyword(package):
        faults.append(f'"{package}" is a keyword of Python')
    if package in sys.stdlib_module_names:
        faults.append(f'"{package}" is a module of the standard library, which it would hide')
    if name in _TAKEN[kind]:
        faults.append(f'"{name}" is what the new project itself uses')
    return faults


def _commit(work: Path, new: NewProject) -> str | None:
    """Make the repository and its first commit; return the borrowed identity if git has none configured."""
    variables: dict[str, str] = {}
    borrowed = None
    if not configured_identity(work):
        name, email = _author(new.author)
        name, email = (name, email) if name and email else BORROWED_IDENTITY
        borrowed = f"{name} <{email}>"
        for role in ("AUTHOR", "COMMITTER"):
            variables |= {f"GIT_{role}_NAME": name, f"GIT_{role}_EMAIL": email}
    make_repository(work, "Start the project", variables=variables)
    return borrowed


def _move_into_place(work: Path, folder: Path) -> None:
    if not folder.exists():
        work.rename(folder)
        return
    for entry in work.iterdir():  # keep an empty folder that exists: it may be someone's working folder
        shutil.move(entry, folder / entry.name)


def _author(author: str | None) -> tuple[str, str]:
    """Name and address of ``Name <address>``; a part that is not given is empty."""
    found = re.fullmatch(r"\s*(.*?)\s*(?:<([^<>\s]+)>)?\s*", author or "")
    return (found.group(1), found.group(2) or "") if found else ("", "")


def _description(kind: ProjectKind) -> str:
    return "A trained model as a Python package" if kind == "model" else "A Python package"


def _quote_toml(text: str) -> str:
    """A basic string of TOML; JSON's escapes are a subset of TOML's, except for the delete character."""
    return json.dumps(text, ensure_ascii=False).replace("\x7f", "\\u007f")


def _quote_python(text: str) -> str:
    return json.dumps(text)  # double quotes, as the formatter wants them
