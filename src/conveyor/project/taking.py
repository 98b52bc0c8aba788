"""Taking out what a program in a jail has written: the keeper reads plain files there, and nothing else.

A program can leave anything under the name that the keeper will open: a link to the worker's key, whose
content would then be published; a pipe, on which the keeper would wait for ever; a sparse file of a terabyte.
Each part of a path is opened by itself and never through a link, and what is found there must be a plain file
of bounded size with no other name. All this happens when the jail has ended, so that nothing changes between
the look and the reading.

A commit holds links as well. Those that lead out of the repository are refused before anything of a clone is
read (``refuse_links_out``), and what the keeper itself reads of a checkout is a file of that repository
(``own_file``). What it writes into a folder where others put links goes through none of them (``put_file``).

Sources: ``openat(2)`` (``O_NOFOLLOW``), ``path_resolution(7)``.
"""

from __future__ import annotations

import os
import shutil
import stat
from contextlib import contextmanager, suppress
from pathlib import Path, PurePosixPath
from typing import IO, TYPE_CHECKING

from conveyor.errors import ProjectError, StepFailed

if TYPE_CHECKING:
    from collections.abc import Iterator

LARGEST_BYTES = 64 * 2**30
_MOST_NAMED = 20


def refuse_links_out(top: Path) -> None:
    """Refuse links below a folder that lead out of it, or to what git keeps for itself.

    Args:
        top: a fresh clone with its submodules, or an unpacked archive; nothing else may write in it.

    Raises:
        ProjectError: the links are named, but nothing of where they lead.
    """
    home = Path(os.path.realpath(top))
    found = []
    for folder, names, files in os.walk(home, followlinks=False):
        found += [
            str(path.relative_to(home))
            for path in (Path(folder, name) for name in (*names, *files))
            if path.is_symlink() and not _is_inside(home, Path(os.path.realpath(path)))
        ]
    if found:
        listed = "".join(f"\n  - {path}" for path in sorted(found)[:_MOST_NAMED])
        more = f"\n  - and {len(found) - _MOST_NAMED} more" if len(found) > _MOST_NAMED else ""
        raise ProjectError(
            f"these links lead out of the repository:{listed}{more}",
            hint="put the files themselves in the place of the links, or remove the links; then commit",
        )


def own_file(path: Path) -> Path:
    """A file of a checkout that the keeper reads: the path to open, of a file of the same repository.

    Outside of git, as in an unpacked sdist, the file's own folder stands for the repository.

    Raises:
        ProjectError: it is a link that leads out of the repository, or to what git keeps for itself.
    """
    real, folder = Path(os.path.realpath(path)), Path(os.path.realpath(path.parent))
    if real == folder / path.name:
        return path
    top = next((one for one in (folder, *folder.parents) if (one / ".git").exists()), folder)
    if not _is_inside(top, real):
        raise ProjectError(
            f"{path} is a link that leads out of the repository",
            hint="put the file itself in the place of the link, then commit",
        )
    return real


def _is_inside(top: Path, real: Path) -> bool:
    return real.is_relative_to(top) and ".git" not in real.relative_to(top).parts


@contextmanager
def opened_plainly(root: Path, path: str, *, largest: int = LARGEST_BYTES) -> Iterator[IO[bytes]]:
    """Open a file below a folder that a jail could write in.

    Args:
        root: the folder; its own path is the keeper's, and trusted.
        path: relative to ``root``.
        largest: the most bytes that the file may have.

    Raises:
        FileNotFoundError: there is none.
        StepFailed: it is no plain file, lies behind a link, has another name as well, or is too large.
    """
    parts = PurePosixPath(path).parts
    if not parts or PurePosixPath(path).is_absolute() or ".." in parts:
        raise StepFailed(f"{path} leads out of the job's folder")
    at = os.open(root, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        for part in parts[:-1]:
            inner = _open(part, os.O_DIRECTORY, at, path)
            os.close(at)
            at = inner
        found = _open(parts[-1], os.O_NONBLOCK, at, path)  # a pipe without a writer must not block
    finally:
        os.close(at)
    facts = os.fstat(found)
    fault = _fault_of(facts, path, largest)
    if fault is not None:
        os.close(found)
        raise StepFailed(fault)
    with os.fdopen(found, "rb") as file:
        yield file


def take_file(root: Path, path: str, target: Path, *, largest: int = LARGEST_BYTES) -> None:
    """Copy such a file to a place of the keeper's; raises as ``opened_plainly`` does."""
    with opened_plainly(root, path, largest=largest) as source, target.open("wb") as copy:
        shutil.copyfileobj(source, copy, 1024 * 1024)


def put_file(root: Path, path: str, source: IO[bytes]) -> None:
    """Write a file below a folder in which others could put links: none of them is followed.

    Folders that are missing are made; a plain file that is there gets other bytes.

    Args:
        root: the folder, such as a clone; its own path is the keeper's, and trusted.
        path: relative to ``root``.
        source: what is written, from where it stands to its end.

    Raises:
        StepFailed: it would lie outside or behind a link, or something else than a plain file is there.
    """
    flags = os.O_WRONLY | os.O_CREAT | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC
    with _made_folder(root, PurePosixPath(path).parent, path) as folder:
        try:  # a pipe without a reader must not block, and the path "" names no file
            target = os.open(PurePosixPath(path).name, flags, 0o666, dir_fd=folder)
        except OSError as error:
            raise _not_put(path) from error
    with os.fdopen(target, "wb") as file:
        facts = os.fstat(target)
        if not stat.S_ISREG(facts.st_mode) or facts.st_nlink > 1:
            raise _not_put(path)
        file.truncate()
        shutil.copyfileobj(source, file, 1024 * 1024)


def make_folder(root: Path, path: str) -> None:
    """Make a folder below one in which others could put links; raises as ``put_file`` does."""
    with _made_folder(root, PurePosixPath(path), path):
        pass


@contextmanager
def _made_folder(root: Path, below: PurePosixPath, path: str) -> Iterator[int]:
    """The descriptor of a folder below ``root``, made if it is missing; ``path`` is what is told."""
    if below.is_absolute() or ".." in PurePosixPath(path).parts:
        raise StepFailed(f"{path} leads out of its folder")
    at = os.open(root, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        for part in below.parts:
            try:
                with suppress(FileExistsError):
                    os.mkdir(part, dir_fd=at)
                inner = os.open(part, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC, dir_fd=at)
            except OSError as error:
                raise _not_put(path) from error
            os.close(at)
            at = inner
        yield at
    finally:
        os.close(at)


def _not_put(path: str) -> StepFailed:
    return StepFailed(
        f"{path} cannot be written: it, or a folder on its way, is a link or not what it should be",
        hint="remove what stands in its place from the repository, then commit",
    )


def take_tree(
    root: Path, target: Path, *, path: str = ".", largest: int = LARGEST_BYTES, most_files: int = 100_000
) -> list[str]:
    """Copy the plain files below a folder that a jail could write in; links and devices are left behind.

    Args:
        root: the folder; its own path is the keeper's, and trusted.
        target: where the copies go.
        path: the folder in it that is wanted.
        largest: the most bytes that the files may have together.
        most_files: the most files.

    Returns:
        The paths of what was left behind, relative to the wanted folder.

    Raises:
        StepFailed: that folder lies behind a link; there are too many files, or they are too large together.
    """
    for part in PurePosixPath(path).parts:
        root = root / part
        if part == ".." or root.is_symlink():
            raise StepFailed(f"{path}, which the job wrote, is not a plain folder")
    target.mkdir(parents=True, exist_ok=True)
    left_behind: list[str] = []
    size = number = 0
    for folder, names, files in os.walk(root, followlinks=False):
        below = Path(folder).relative_to(root)
        left_behind += [str(below / name) for name in names if Path(folder, name).is_symlink()]
        names[:] = [name for name in names if not Path(folder, name).is_symlink()]
        (target / below).mkdir(parents=True, exist_ok=True)
        for name in files:
            found = str(below / name)
            facts = Path(folder, name).lstat()
            if not stat.S_ISREG(facts.st_mode) or facts.st_nlink > 1:
                left_behind.append(found)
                continue
            number, size = number + 1, size + facts.st_size
            if number > most_files or size > largest:
                raise StepFailed(
                    f"the job wrote more than {most_files} files, or more than {largest // 2**20} MB"
                )
            take_file(root, found, target / found, largest=largest)
    return sorted(left_behind)


def _fault_of(facts: os.stat_result, path: str, largest: int) -> str | None:
    if not stat.S_ISREG(facts.st_mode) or facts.st_nlink > 1:
        return f"{path}, which the job wrote, is not a plain file"
    if facts.st_size > largest:
        return f"{path}, which the job wrote, is larger than {largest // 2**20} MB"
    return None


def _open(name: str, flags: int, folder: int, path: str) -> int:
    try:
        return os.open(name, os.O_RDONLY | os.O_NOFOLLOW | os.O_CLOEXEC | flags, dir_fd=folder)
    except FileNotFoundError:
        raise FileNotFoundError(2, os.strerror(2), path) from None
    except OSError as error:  # a link, a file in place of a folder, a socket
        raise StepFailed(f"{path}, which the job wrote, is not a plain file") from error
