"""Locks: the environment of a test as ``pylock.toml``, what one must hold, and which one a reader is given.

A lock names one file for each package, by digest, as it was installed: on another platform it says clearly
that it does not fit. It is given for the tests that passed in it.

Source: PEP 751.
"""

from __future__ import annotations

import re
import tomllib
from dataclasses import dataclass
from typing import TYPE_CHECKING, Annotated
from urllib.parse import unquote, urlsplit

from packaging.utils import canonicalize_name
from packaging.version import InvalidVersion, Version

from conveyor.domain.releases.facts import passing_results
from conveyor.domain.releases.standing import farthest
from conveyor.domain.words.notation import Sha256, is_sha256
from conveyor.domain.words.records import Count, Record
from conveyor.errors import InvalidInput, NotFound

if TYPE_CHECKING:
    from collections.abc import Collection, Iterator, Mapping

    from conveyor.domain.indexes.definitions import Index
    from conveyor.domain.releases.evidence import Evidence

MAX_LOCK_BYTES = 4 * 1024 * 1024
MOST_PACKAGES = 10_000
_NO_LOCK = "its next testing job leaves one"
_RELEASED = re.compile(r"[0-9]+(?:\.[0-9]+)*")


@dataclass(frozen=True)
class TakenLock(Record):
    """A lock that the store holds."""

    sha256: Annotated[Sha256, "Its digest, as tests evidence names it (`lock_sha256`)."]
    pinned: Annotated[Count, "Files of mirrors that are kept for it."]


@dataclass(frozen=True)
class LockedFile:
    """A file that a lock names."""

    project: str
    version: str | None
    filename: str
    url: str
    sha256: str
    size_bytes: int | None


@dataclass(frozen=True)
class Lock:
    """A lock as far as it is looked at here."""

    files: tuple[LockedFile, ...]
    python: str | None
    """The interpreter that it was made with, as evidence states it: ``3.12.4``, ``pypy3.9.16``."""
    platform: str | None
    """As ``sysconfig.get_platform`` says it."""

    def holds(self, project: str, version: str) -> bool:
        """Whether a package of that normalized name and version is in it."""
        return any((file.project, file.version) == (project, version) for file in self.files)


def read_lock(content: bytes) -> Lock:
    """The lock in a document.

    Raises:
        InvalidInput: it is not a lock that can be given to anybody; every fault is named.
    """
    try:
        document = tomllib.loads(content.decode())
    except (UnicodeDecodeError, tomllib.TOMLDecodeError) as error:
        raise _invalid([f"it is not TOML: {error}"]) from error
    faults: list[str] = []
    if not str(document.get("lock-version", "")).startswith("1."):
        faults.append("lock-version is not 1.0")
    packages = document.get("packages")
    if not isinstance(packages, list) or not 1 <= len(packages) <= MOST_PACKAGES:
        raise _invalid([*faults, f"packages is not a list of 1 to {MOST_PACKAGES:,}"])
    files = [file for number, package in enumerate(packages) for file in _files(package, number, faults)]
    if faults:
        raise _invalid(faults)
    tool = document.get("tool")
    ours = tool.get("conveyor") if isinstance(tool, dict) else None
    told = ours if isinstance(ours, dict) else {}
    python, platform = told.get("python"), told.get("platform")
    return Lock(
        tuple(files),
        python if isinstance(python, str) else None,
        platform if isinstance(platform, str) else None,
    )


def _files(package: object, number: int, faults: list[str]) -> Iterator[LockedFile]:
    if not isinstance(package, dict) or not isinstance(package.get("name"), str):
        faults.append(f"packages[{number}] has no name")
        return
    name, version = canonicalize_name(package["name"]), package.get("version")
    if "directory" in package:
        faults.append(f"{name} is a folder of one machine")
        return
    if "vcs" in package:
        faults.append(f"{name} comes from a repository and not from a file, which could be kept")
        return
    wheels = package.get("wheels", [])
    named = [*(wheels if isinstance(wheels, list) else [])]
    named += [package[key] for key in ("sdist", "archive") if key in package]
    if len(named) != 1:
        faults.append(f"{name} has {len(named)} files, not the one that was installed")
    for file in named:
        found = _file(name, version if isinstance(version, str) else None, file, faults)
        if found is not None:
            yield found


def _file(name: str, version: str | None, file: object, faults: list[str]) -> LockedFile | None:
    hashes = file.get("hashes") if isinstance(file, dict) else None
    sha256 = hashes.get("sha256") if isinstance(hashes, dict) else None
    url = file.get("url") if isinstance(file, dict) else None
    size = file.get("size") if isinstance(file, dict) else None
    if not isinstance(sha256, str) or not is_sha256(sha256):
        faults.append(f"{name} has no SHA-256")
        return None
    parts = urlsplit(url) if isinstance(url, str) else None
    if not isinstance(url, str) or parts is None or parts.scheme not in ("http", "https"):
        faults.append(f"{name} has no URL that others can reach")
        return None
    if "@" in parts.netloc:
        faults.append(f"the URL of {name} holds a user or a password")
        return None
    filename = unquote(parts.path.rpartition("/")[2])
    return LockedFile(name, version, filename, url, sha256, size if isinstance(size, int) else None)


def _invalid(faults: list[str]) -> InvalidInput:
    shown = faults[:20]
    return InvalidInput(
        f"the lock is refused: {shown[0]}",
        faults=shown,
        hint="a lock is made by a testing job, and sent as it is",
    )


@dataclass(frozen=True)
class TestedLock:
    """A lock in which tests passed."""

    sha256: str
    index: str
    """The index that its environment was resolved against."""
    python: str
    received_at: str

    @property
    def minor(self) -> str:
        """The Python without its patch number."""
        return ".".join(self.python.split(".")[:2])


def tested_locks(
    evidence: Collection[Evidence], *, stored: Collection[str], readable: Collection[str]
) -> list[TestedLock]:
    """The locks of the tests that count and pass, against an index that the reader may see.

    A later failure in an environment takes back what passed there before.
    """
    return [
        TestedLock(str(facts.on.lock_sha256), facts.index, facts.on.python, one.received_at)
        for one, facts in passing_results(evidence)
        if facts.on.lock_sha256 in stored and facts.index in readable
    ]


def choose_lock(
    locks: Collection[TestedLock],
    indexes: Mapping[str, Index],
    *,
    release: str,
    python: str | None,
    index: str | None,
) -> TestedLock:
    """The newest lock on the newest Python, in the most mature index; or on this Python, in this index.

    The most mature index is the one that most of the others lead to. ``python`` may leave out the patch
    number.

    Raises:
        NotFound: there is no such lock; the hint names those that there are.
    """
    matching = [
        lock
        for lock in locks
        if index in (None, lock.index) and (python is None or f"{lock.python}.".startswith(f"{python}."))
    ]
    if not matching:
        asked = "".join((f" on Python {python}" if python else "", f' in "{index}"' if index else ""))
        there = sorted({f"?python={lock.minor}&index={lock.index}" for lock in locks})
        hint = f"there are {', '.join(there)}" if there else _NO_LOCK
        raise NotFound(f"{release} has no lock{asked}", hint=hint)
    index = farthest({lock.index for lock in matching}, indexes)
    return max(
        (lock for lock in matching if lock.index == index),
        key=lambda lock: (_order(lock.python), lock.received_at),
    )


def _order(python: str) -> tuple[int, Version]:
    """CPython before others, then by version."""
    number = _RELEASED.search(python)
    try:
        version = Version(number[0] if number else "0")
    except InvalidVersion:
        version = Version("0")
    return (1 if python[:1].isdigit() else 0, version)
