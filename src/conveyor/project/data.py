"""Declared data: files that training reads and git does not hold, each under its digest.

A file is right when its SHA-256 is the declared one, wherever it came from. What was downloaded once lies in
a cache by digest, so that the next checkout copies it. A file of another digest is never replaced: it may be
somebody's work.
"""

from __future__ import annotations

import os
import re
import shlex
import shutil
import tomllib
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import TYPE_CHECKING, Literal

from conveyor.errors import InvalidInput, ProjectError, StorageFailed
from conveyor.project.archives import sha256_of_file
from conveyor.project.declarations import read_declarations
from conveyor.project.downloads import download
from conveyor.project.git import tracked_files
from conveyor.project.settings import read_project, table_in

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from conveyor.project.declarations import DataDeclaration
    from conveyor.project.downloads import Judge
    from conveyor.project.settings import Project

    Progress = Callable[[str, int, int | None], None]
    """Called with (name, bytes that are here, all bytes or ``None`` if unknown)."""

State = Literal["here", "missing", "changed"]
_NAME = re.compile(r"[A-Za-z0-9_-]+")


@dataclass(frozen=True)
class Dataset:
    """One declared file of a checkout."""

    name: str
    declared: DataDeclaration
    path: str
    """Where it lies in the checkout."""
    state: State
    is_cached: bool


def data_cache() -> Path:
    """The user's cache of data, by digest (XDG Base Directory Specification)."""
    base = os.environ.get("XDG_CACHE_HOME") or str(Path.home() / ".cache")
    return Path(base) / "conveyor" / "data"


def path_of(name: str, declared: DataDeclaration) -> str:
    """Where a dataset lies in the checkout."""
    return declared.path or f"data/{name}"


def datasets(project: Project, cache: Path) -> tuple[Dataset, ...]:
    """Every declared dataset and whether it is here; each file is read once."""
    return tuple(_dataset(project, name, cache) for name in project.declared.datasets)


def _dataset(project: Project, name: str, cache: Path) -> Dataset:
    declared = project.declared.datasets[name]
    path = path_of(name, declared)
    file = project.root / path
    state: State = "missing"
    if file.is_file():
        state = "here" if sha256_of_file(file) == declared.sha256 else "changed"
    return Dataset(name, declared, path, state, cached_file(cache, declared.sha256).is_file())


def cached_file(cache: Path, sha256: str) -> Path:
    """The place of a digest in a cache."""
    return cache / sha256[:2] / sha256


def bring(
    project: Project, cache: Path, *, names: Sequence[str] = (), on_progress: Progress | None = None,
    judge: Judge | None = None,
) -> tuple[Dataset, ...]:  # fmt: skip
    """Bring declared data into the checkout: from the cache, else from its address; return what was brought.

    Args:
        project: the checkout.
        cache: a folder of files by digest; made if it does not exist.
        names: those to bring; empty means all.
        on_progress: told of each piece that is downloaded.
        judge: judges each address before it is asked, as ``download`` has it. An error then does not say what
            was found at an address: those who see the run may not be able to read it there.

    Raises:
        InvalidInput: the project declares no data of that name.
        ProjectError: a file here or at its address has another digest, or has no address; names all of them.
        UpstreamFailed, StorageFailed: a download failed; called again, it continues.
    """
    known = project.declared.datasets
    unknown = [name for name in names if name not in known]
    if unknown:
        raise InvalidInput(
            f"{project.display_name} declares no data called {', '.join(unknown)}",
            hint=f"it declares: {', '.join(known) or 'none'}",
        )
    found = [_dataset(project, name, cache) for name in (names or known)]
    faults = [_fault(one) for one in found if one.state == "changed"]
    missing = [one for one in found if one.state == "missing"]
    faults += [_way_out(one.path) for one in missing if _leads_out(project, one.path)]
    faults += [
        f"{one.path} is not here, and nothing says where it comes from"
        for one in missing
        if one.declared.url is None and not one.is_cached
    ]
    if faults:
        listed = "".join(f"\n- {fault}" for fault in faults)
        raise ProjectError(
            f"the data of {project.display_name} is not what it declares:{listed}",
            hint="declare an address with url or another path, commit the file, or, if the new content is "
            f"right, declare it: {_add(project, found)}",
        )
    for one in missing:
        _bring(project, one, cache, on_progress, judge)
    return tuple(missing)


def _add(project: Project, found: Sequence[Dataset]) -> str:
    """The command that declares what is here; the name is known if one file alone is changed."""
    changed = [one.name for one in found if one.state == "changed"]
    return f"{project.command('data add')} {changed[0] if len(changed) == 1 else 'NAME'}"


def _leads_out(project: Project, path: str) -> bool:
    """Whether writing a file would follow a link of the repository out of the project's folder.

    A link that git does not track is the user's own: data on a larger disk.
    """
    root = project.root.resolve()
    if (root / path).parent.resolve().is_relative_to(root):
        return False
    links = {str(one) for one in PurePosixPath(path).parents if (root / one).is_symlink()}
    try:
        return bool(links & set(tracked_files(root)))
    except ProjectError:  # outside git nobody can tell
        return True


def _way_out(path: str) -> str:
    return f"{path} leads out of the project by a link that is committed"


def _fault(one: Dataset) -> str:
    return f"{one.path} has another SHA-256 than {one.declared.sha256}, which data.{one.name} declares"


def _bring(
    project: Project, one: Dataset, cache: Path, on_progress: Progress | None, judge: Judge | None
) -> None:
    kept = cached_file(cache, one.declared.sha256)
    if not kept.is_file() or sha256_of_file(kept) != one.declared.sha256:
        url = one.declared.url
        assert url is not None  # noqa: S101 - else it was refused, or is cached
        again = f"{project.command('data add')} {one.name} --url {shlex.quote(url)}"
        _download(url, kept, one.name, on_progress, expected=one.declared.sha256, again=again, judge=judge)
    _copy(kept, project.root / one.path)


def _download(
    url: str, kept: Path, name: str, on_progress: Progress | None, *, expected: str, again: str,
    judge: Judge | None,
) -> None:  # fmt: skip
    arriving = kept.with_name(f"{kept.name}.new")

    def tell(done: int, total: int | None) -> None:
        if on_progress is not None:
            on_progress(name, done, total)

    sha256 = download(url, arriving, on_progress=tell, judge=judge)
    if sha256 != expected:
        arriving.unlink()
        found = f"SHA-256 {sha256}" if judge is None else "another SHA-256"
        raise ProjectError(
            f"{url} has {found}, but data.{name} declares {expected}",
            hint=f"if the new content is right, declare it: {again}",
        )
    arriving.replace(kept)


def _copy(source: Path, target: Path) -> None:
    unfinished = target.with_name(f".{target.name}.{os.getpid()}.part")
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
        try:
            shutil.copyfile(source, unfinished)
            unfinished.replace(target)
        finally:
            unfinished.unlink(missing_ok=True)
    except OSError as error:
        raise StorageFailed(f"{target} cannot be written: {error.strerror or error}") from error


def declare(
    project: Project,
    name: str,
    cache: Path,
    *,
    path: str | None = None,
    url: str | None = None,
    licence: str | None = None,
    on_progress: Progress | None = None,
) -> DataDeclaration:
    """Declare a file in ``pyproject.toml`` under its digest, or give a declared one its new digest.

    Without a file at its path it is downloaded from ``url``. What is declared already and not given stays.

    Raises:
        InvalidInput: the name has other characters than letters, digits, "-" and "_", or another text has
            some that cannot be printed, such as the end of a line.
        ProjectError: there is neither a file nor an address, or the declaration would not be valid.
    """
    if _NAME.fullmatch(name) is None:
        raise InvalidInput(f'"{name}" is not a name for data: letters, digits, "-" and "_" only')
    given = {"path": path, "url": url, "licence": licence}
    unprintable = [key for key, value in given.items() if value is not None and not value.isprintable()]
    if unprintable:
        raise InvalidInput(
            f"{' and '.join(unprintable)} of {name} cannot be written into pyproject.toml: "
            "only characters that can be printed stand there, on one line"
        )
    before = project.declared.datasets.get(name)
    path = path or (before.path if before is not None else None)
    url = url or (before.url if before is not None else None)
    licence = licence or (before.licence if before is not None else None)
    place = path or f"data/{name}"
    if _leads_out(project, place):
        raise ProjectError(_way_out(place), hint="declare another path: --path")
    file = project.root / place
    if not file.is_file():
        if url is None:
            raise ProjectError(
                f"there is no file {place} in {project.root}",
                hint="put it there, or say where it comes from: --url",
            )
        file = cache / "new" / name
        download(url, file, on_progress=lambda done, all_: on_progress and on_progress(name, done, all_))
    sha256 = sha256_of_file(file)
    fields = {"path": place, "url": url, "sha256": sha256, "licence": licence}
    _write(project, name, {key: value for key, value in fields.items() if value is not None})
    kept = cached_file(cache, sha256)
    if file.is_relative_to(cache):
        kept.parent.mkdir(parents=True, exist_ok=True)
        file.replace(kept)
        _copy(kept, project.root / place)
    return read_project(project.root, known=project.known).declared.datasets[name]


def _write(project: Project, name: str, fields: dict[str, str]) -> None:
    """Put the table of a dataset into ``pyproject.toml``: in place of the one that is there, else at the end.

    Everything else of the file stays as it is. A document that would not be valid is never written.
    """
    file = project.root / "pyproject.toml"
    old = file.read_text(encoding="utf-8") if file.exists() else ""
    head = f"[tool.conveyor.data.{name}]"
    table = "\n".join([head, *(f"{key} = {_quoted(value)}" for key, value in fields.items()), ""])
    there = re.compile(rf"^{re.escape(head)}[ \t]*(?:#.*)?\n(?:(?!\[).*(?:\n|\Z))*", re.MULTILINE)
    new, count = there.subn(lambda _match: table + "\n", old, count=1)
    if not count:
        new = f"{old.rstrip()}\n\n{table}" if old.strip() else table
    try:
        read = tomllib.loads(new)["tool"]["conveyor"]["data"][name]
    except (tomllib.TOMLDecodeError, KeyError, TypeError):
        read = None
    if read != fields:
        raise ProjectError(
            f"data.{name} cannot be declared by itself: {file} declares it in another form",
            hint=f"write it there by hand: sha256 = {_quoted(fields['sha256'])}",
        )
    read_declarations(table_in(tomllib.loads(new), "tool", "conveyor"), where=str(file))
    unfinished = file.with_name(f".pyproject.toml.{os.getpid()}")
    unfinished.write_text(new.rstrip() + "\n", encoding="utf-8")
    unfinished.replace(file)


def _quoted(value: str) -> str:
    escaped = value.replace("\\", "\\\\").replace('"', '\\"')
    return f'"{escaped}"'
