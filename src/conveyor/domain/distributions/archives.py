"""Rules for every archive, zip or tar: limits against bombs, and paths that mean the same everywhere.

The two readers, ``zips`` and ``tars``, are our own and strict: an archive that two sound readers could
understand differently is refused, because what was checked must be what gets installed.
"""

from __future__ import annotations

import re
import unicodedata
from dataclasses import dataclass
from typing import TYPE_CHECKING

from conveyor.errors import InvalidDistribution

if TYPE_CHECKING:
    from conveyor.domain.words.faults import Faults
    from conveyor.errors import Rule

MEBIBYTE = 1024 * 1024
GIBIBYTE = 1024 * MEBIBYTE


@dataclass(frozen=True)
class ArchiveLimits:
    """Limits of an archive; one that exceeds them is treated as a bomb."""

    members: int = 100_000
    names_bytes: int = 32 * MEBIBYTE
    """Total size of all names (of a zip: the whole central directory)."""
    expanded_bytes: int = 20 * GIBIBYTE
    ratio: int = 50
    """Expanded size over archive size, checked only above ``ratio_free_bytes``."""
    ratio_free_bytes: int = 64 * MEBIBYTE

    def bomb_fault(self, expanded_bytes: int, archive_bytes: int) -> str | None:
        """The fault of an archive that expands to that size, or ``None``."""
        if expanded_bytes > self.expanded_bytes:
            return f"the archive expands to more than {self.expanded_bytes:,} bytes"
        if expanded_bytes > self.ratio_free_bytes and expanded_bytes > self.ratio * archive_bytes:
            return (
                f"the archive expands to {expanded_bytes:,} bytes or more, "
                f"over {self.ratio} times its own {archive_bytes:,} bytes"
            )
        return None


class Unreadable(InvalidDistribution):
    """The archive cannot be read any further; its message is the fault, and joins the others of the file."""

    def add_to(self, faults: Faults, *, otherwise: Rule) -> None:
        """Add it to the faults of the file, under its own rule or else that of the whole archive."""
        faults.add(self.rule or otherwise, self.message)


_CONTROL = re.compile(r"[\x00-\x1f\x7f]")
_DRIVE = re.compile(r"[A-Za-z]:")


def path_fault(path: str) -> str | None:
    """The fault of a member's path, as the end of a sentence, or ``None``.

    The caller has removed the trailing slash of a folder.
    """
    if not path:
        return "has an empty path"
    if _CONTROL.search(path):
        return "has a control character in its path"
    if "\\" in path:
        return "has a backslash in its path"
    if path.startswith("/") or _DRIVE.match(path):
        return "has an absolute path"
    for part in path.split("/"):
        if part == "..":
            return "has '..' in its path"
        if part in ("", "."):
            return "has an empty or '.' part in its path"
    return None


class Tree:
    """The paths of an archive, entered one by one; reports paths that cannot all be unpacked."""

    def __init__(self, faults: Faults, *, is_unpacked_anywhere: bool = False) -> None:
        """With ``is_unpacked_anywhere``, files and folders that differ only in case are a fault as well.

        Some file systems treat both as one, so that the installed files would depend on the machine.
        """
        self._faults = faults
        self._by_folded: dict[str, str] | None = {} if is_unpacked_anywhere else None
        self._merged: set[str] = set()
        """Folders that coincide with another: the fault of their contents is reported already."""
        self._leaves: set[str] = set()
        self._folders: set[str] = set()
        self._entered: set[str] = set()

    def enter(self, path: str, *, is_folder: bool) -> None:
        """Enter one member; a path twice, and a file where a folder is, become faults.

        Paths are compared in Unicode's NFC form: some file systems treat both forms as one name.
        """
        plain = path if path.isascii() else unicodedata.normalize("NFC", path)
        if plain in self._entered:
            self._faults.add("archive-twice", f"the archive has {path} twice")
            return
        self._entered.add(plain)
        parents = plain.split("/")[:-1]
        found = [plain]
        for depth in range(len(parents), 0, -1):
            parent = "/".join(parents[:depth])
            if parent in self._folders:
                break
            self._folders.add(parent)
            found.append(parent)
        (self._folders if is_folder else self._leaves).add(plain)
        if self._by_folded is not None:
            self._compare_folded(found, self._by_folded)

    def _compare_folded(self, found: list[str], by_folded: dict[str, str]) -> None:
        """Compare a member and its new folders, deepest first, with those before; one fault at most."""
        for path in reversed(found):
            if self._merged and any(path.startswith(f"{folder}/") for folder in self._merged):
                return
            if (other := by_folded.setdefault(_folded(path), path)) != path:
                self._faults.add(
                    "archive-case", f"the archive has {other} and {path}, which are one where case is ignored"
                )
                self._merged.add(path)
                return

    def finish(self) -> None:
        """Report the paths that are a file for one member and a folder for another."""
        self._faults.add_each(
            "archive-twice", self._leaves & self._folders, "the archive has {} both as a file and as a folder"
        )


def _folded(path: str) -> str:
    """The path as a file system that ignores case compares it: decomposed, by full case folding.

    That is what APFS does, the file system of macOS (and ext4 and F2FS in folders with ``casefold``): to them
    straße.py and STRASSE.py are one file, as are é in one character and in two. NTFS goes by single
    characters only and keeps those apart; a wheel must mean the same on all of them.
    """
    if path.isascii():
        return path.lower()
    return unicodedata.normalize("NFD", unicodedata.normalize("NFD", path).casefold())
