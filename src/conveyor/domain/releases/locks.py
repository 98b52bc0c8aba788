"""Locks: the environment of a test as ``pylock.toml``, and what one must hold.

A lock describes one environment. It names one file for each package, by digest, as it was installed, and its
``environments`` has the one marker of that interpreter, so that uv and pip refuse any other. A command reads
this module to restore a release, so it imports little.

Source: PEP 751.
"""

from __future__ import annotations

import re
import tomllib
from dataclasses import dataclass
from typing import TYPE_CHECKING, Annotated, Any
from urllib.parse import unquote, urlsplit

from packaging.utils import canonicalize_name

from conveyor.domain.words.notation import Sha256, is_sha256
from conveyor.domain.words.records import Count, Record
from conveyor.errors import InvalidInput

if TYPE_CHECKING:
    from collections.abc import Iterator

MAX_LOCK_BYTES = 4 * 1024 * 1024
MOST_PACKAGES = 10_000
_SYSTEMS, _MACHINES = {"macosx": "darwin", "win": "win32"}, {"amd64": "AMD64"}
"""The words of markers where those of ``sysconfig.get_platform`` differ."""
_UNREACHABLE = "has no URL that others can reach"
_CREDENTIALS = "has a URL that holds a user or a password"
_VERSION = re.compile(r"[0-9]+\.[0-9]+\.[0-9]+")


@dataclass(frozen=True)
class TakenLock(Record):
    """A lock that the store holds."""

    sha256: Annotated[Sha256, "Its digest, as tests evidence names it (`lock_sha256`)."]
    pinned: Annotated[Count, "Files of mirrors that are kept for it."]


def marker_of(python: str, platform: str) -> str:
    """The marker that only this interpreter on this platform satisfies, for ``environments``.

    Args:
        python: as evidence states it: ``3.12.4``, ``pypy3.9.16``. A pre-release is told by its minor version.
        platform: as ``sysconfig.get_platform`` says it: ``linux-x86_64``, ``macosx-11.0-arm64``.
    """
    implementation = "cpython" if python[:1].isdigit() else python.rstrip("0123456789.abrc")
    version = python.removeprefix(implementation)
    parts = [f"implementation_name == '{implementation}'"]
    if _VERSION.fullmatch(version):
        parts.append(f"python_full_version == '{version}'")
    else:
        parts.append(f"python_version == '{'.'.join(version.split('.')[:2])}'")
    system, *_, machine = platform.split("-")
    parts.append(f"sys_platform == '{_SYSTEMS.get(system, system)}'")
    if machine not in (system, "universal2"):
        parts.append(f"platform_machine == '{_MACHINES.get(machine, machine)}'")
    return " and ".join(parts)


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
    tested_at: str | None
    """When the test was over, in UTC; what has built its sdists was older."""
    indexes: frozenset[str]
    """The simple APIs that its files were found in."""

    @property
    def has_sources(self) -> bool:
        """Whether something must be built to install it."""
        return not all(file.filename.endswith(".whl") for file in self.files)

    def holds(self, project: str, version: str) -> bool:
        """Whether a package of that normalized name and version is in it."""
        return any((file.project, file.version) == (project, version) for file in self.files)


def read_lock(content: bytes) -> Lock:
    """The lock in a document.

    Raises:
        InvalidInput: it is not a lock that can be given to anybody; every fault is named.
    """
    return _lock(_document(content))


def check_lock(content: bytes) -> Lock:
    """The lock in a document that keeps every rule of PEP 751; raises as ``read_lock``."""
    from packaging.pylock import Pylock, PylockValidationError

    document = _document(content)
    lock = _lock(document)
    try:
        Pylock.from_dict(document)
    except PylockValidationError as error:
        raise _invalid([f"it is not a pylock.toml: {error}"]) from error
    return lock


def _document(content: bytes) -> dict[str, Any]:
    try:
        return tomllib.loads(content.decode())
    except (UnicodeDecodeError, tomllib.TOMLDecodeError) as error:
        raise _invalid([f"it is not TOML: {error}"]) from error


def _lock(document: dict[str, Any]) -> Lock:
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
    python, platform, tested_at = (
        value if isinstance(value := told.get(name), str) else None
        for name in ("python", "platform", "tested-at")
    )
    return Lock(
        tuple(files),
        python,
        platform,
        tested_at,
        frozenset(package["index"] for package in packages if "index" in package),
    )


def _files(package: object, number: int, faults: list[str]) -> Iterator[LockedFile]:
    if not isinstance(package, dict) or not isinstance(package.get("name"), str):
        faults.append(f"packages[{number}] has no name")
        return
    name, version = canonicalize_name(package["name"]), package.get("version")
    if "directory" in package:
        faults.append(f"{name} is a folder of one machine")
        return
    if "index" in package and _fault_of_url(package["index"]):
        faults.append(f"the index of {name} {_fault_of_url(package['index'])}")
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
    if not isinstance(url, str) or (fault := _fault_of_url(url)):
        faults.append(f"the file of {name} {_UNREACHABLE if not isinstance(url, str) else fault}")
        return None
    filename = unquote(urlsplit(url).path.rpartition("/")[2])
    return LockedFile(name, version, filename, url, sha256, size if isinstance(size, int) else None)


def _fault_of_url(url: object) -> str | None:
    """What is wrong with an address that is given to others."""
    if not isinstance(url, str) or urlsplit(url).scheme not in ("http", "https"):
        return _UNREACHABLE
    return _CREDENTIALS if "@" in urlsplit(url).netloc else None


def _invalid(faults: list[str]) -> InvalidInput:
    shown = faults[:20]
    return InvalidInput(
        f"the lock is refused: {shown[0]}",
        faults=shown,
        hint="a lock is made by a testing job, and sent as it is",
    )
