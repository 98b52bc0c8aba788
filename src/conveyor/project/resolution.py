"""The lock of an environment: resolved first, then installed from; that of tests is handed to the store.

uv resolves the requirements against one index and writes what it found as ``pylock.toml``. Of each package
only the file that fits the interpreter best is kept, and the environment is installed from exactly that, by
digest and size: so the lock is true by construction. What uv built from an sdist is locked as that sdist.

The lock that the store is given differs in one point: its files have the store's public address.

Source: PEP 751.
"""

from __future__ import annotations

import hashlib
import json
import os
import re
import shutil
import tomllib
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import quote, unquote

from packaging.utils import BuildTag, canonicalize_name, parse_wheel_filename
from packaging.version import Version

from conveyor.domain.releases.locks import marker_of
from conveyor.domain.words.names import version_or_none
from conveyor.domain.words.notation import utc_text
from conveyor.errors import ProjectError
from conveyor.project.archives import sha256_of_file
from conveyor.project.taking import opened_plainly, take_file
from conveyor.project.uv import PYLOCK, run_uv, run_uv_behind, sync_lock

if TYPE_CHECKING:
    from collections.abc import Sequence
    from datetime import datetime

    from conveyor.project.foreign import Surroundings, Wall
    from conveyor.project.interpreters import Interpreter

INSTALL_SECONDS = 1800.0
LARGEST_LOCK_BYTES = 16 * 2**20
"""A wheel takes about 300 bytes of it."""
MOST_PACKAGES = 4096
_PLACE = re.compile(r"/packages/([0-9a-f]{64})/([^/?#]+)")
"""Where the store serves a file, below its own address."""
_NAME = re.compile(r"[a-z0-9]+(-[a-z0-9]+)*")
_FILENAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._+!-]{0,254}")
_SHA256 = re.compile(r"[0-9a-f]{64}")
_BARE_KEY = re.compile(r"[A-Za-z0-9_-]+")
_SUPPORTED = re.compile(r"[0-9A-Za-z.,<>=!~* ]{0,200}")
_FORMS = ("archive", "directory", "sdist", "vcs", "wheels")
_SDISTS = (".tar.gz", ".tgz", ".zip", ".tar.bz2", ".tar.xz")


@dataclass(frozen=True)
class LockedPackage:
    """One package of an environment, with the one file that it is installed from."""

    name: str
    """Normalized."""
    version: str | None
    """``None``: only the file knows, as for an archive that was named by its URL."""
    kind: str
    """``wheels``, ``sdist`` or ``archive``, as in the document."""
    file: dict[str, Any]
    """Its table in the document: url, size, hashes."""


@dataclass(frozen=True)
class EnvironmentLock:
    """A whole environment on one interpreter."""

    packages: tuple[LockedPackage, ...]
    requires_python: str
    python: str
    """As evidence states it: ``3.12.4``, ``pypy3.9.16``."""
    platform: str
    """As ``sysconfig.get_platform`` says it."""
    index: str
    """The simple API that it was resolved against. uv keeps what it has downloaded by
    index: what this machine has installed from there before is not downloaded again."""
    tested_at: str | None = None
    """When the test was over, in UTC."""

    def at(self, private: str, public: str) -> EnvironmentLock:
        """The same, with the files of the store named by its public address; both without a last slash."""

        def told(url: str) -> str:
            return public + url.removeprefix(private) if url.startswith(f"{private}/") else url

        packages = [
            replace(one, file=one.file | {"url": told(str(one.file["url"]))}) if "url" in one.file else one
            for one in self.packages
        ]
        return replace(self, packages=tuple(packages), index=told(self.index))

    def tested(self, name: str, version: str, size_bytes: int, *, at: datetime) -> EnvironmentLock:
        """The same after the test: with the version and size of the package that was named by its URL."""
        return replace(
            self,
            tested_at=utc_text(at),
            packages=tuple(
                replace(one, version=version, file=one.file | {"size": size_bytes})
                if one.name == canonicalize_name(name)
                else one
                for one in self.packages
            ),
        )

    def document(self) -> str:
        """The text of ``pylock.toml``."""
        lines = [
            'lock-version = "1.0"',
            f"environments = [{json.dumps(marker_of(self.python, self.platform))}]",
            f"requires-python = {json.dumps(self.requires_python)}",
            'created-by = "conveyor"',
        ]
        for package in self.packages:
            lines += ["", "[[packages]]", f"name = {json.dumps(package.name)}"]
            lines += [f"version = {json.dumps(package.version)}"] if package.version else []
            lines += [f"index = {json.dumps(self.index)}"] if package.kind in ("wheels", "sdist") else []
            table = _inline(package.file)
            lines.append(f"{package.kind} = {f'[{table}]' if package.kind == 'wheels' else table}")
        told = [f"python = {json.dumps(self.python)}", f"platform = {json.dumps(self.platform)}"]
        told += [f"tested-at = {json.dumps(self.tested_at)}"] if self.tested_at else []
        return "\n".join([*lines, "", "[tool.conveyor]", *told, ""])


def lock_requirements(
    folder: Path,
    interpreter: Interpreter,
    requirements: Sequence[str],
    files: Sequence[str] = (),
    *,
    around: Surroundings,
    given: Sequence[Path] = (),
) -> EnvironmentLock:
    """Resolve requirements, and files of requirements, against one index and nothing else.

    Args:
        folder: where to work.
        interpreter: the Python of the environment.
        requirements: such as ``tumor[test]==0.1.0``, or a path or URL of a distribution.
        files: paths of files of requirements.
        around: names the index. uv builds what has no other metadata, so it runs behind the wall.
        given: the distributions of this machine that ``requirements`` name.

    Raises:
        ProjectError: they cannot be resolved, or one of them is a repository or a folder of this machine.
    """
    wall = around.wall
    asked = folder / "requirements.in"
    lines = "\n".join([*requirements, ""])
    asked.write_text(wall.inward(lines) if wall is not None else lines, encoding="utf-8")
    out = folder / "resolution"
    shutil.rmtree(out, ignore_errors=True)
    out.mkdir()
    words = ["pip", "compile", "--quiet", "--no-header"]
    words += ["--format", PYLOCK, "--output-file", str(out / PYLOCK)]
    words += ["--python", str(interpreter.path), str(asked), *files]
    if wall is None:
        run_uv(words, around, timeout_seconds=INSTALL_SECONDS)
        return _read((out / PYLOCK).read_text(encoding="utf-8"), interpreter, around)
    reads = (interpreter.path, asked, *map(Path, files), *given)
    run_uv_behind(words, around, reads=reads, writes=(out,), timeout_seconds=INSTALL_SECONDS)
    return _read_foreign(out, interpreter, around, wall, given)


def _read(text: str, interpreter: Interpreter, around: Surroundings) -> EnvironmentLock:
    document = tomllib.loads(text)
    return EnvironmentLock(
        packages=tuple(_chosen(package, interpreter) for package in document.get("packages", [])),
        requires_python=str(document.get("requires-python", f">={interpreter.version}")),
        python=interpreter.name,
        platform=interpreter.platform,
        index=str(around.index_url),
    )


def _read_foreign(
    out: Path, interpreter: Interpreter, around: Surroundings, wall: Wall, given: Sequence[Path]
) -> EnvironmentLock:
    try:
        with opened_plainly(out, PYLOCK, largest=LARGEST_LOCK_BYTES) as found:
            text = found.read(LARGEST_LOCK_BYTES + 1).decode("utf-8")
        lock = _read(wall.outward(text), interpreter, around)
    except (ValueError, TypeError, KeyError, AttributeError, RecursionError, FileNotFoundError) as error:
        raise ProjectError(
            f"what was written behind the wall is no lock that can be read: {str(error)[:200]!a}"
        ) from error
    return made_anew(lock, wall, given)


def install_lock(python: Path, lock: EnvironmentLock, folder: Path, *, around: Surroundings) -> None:
    """Install exactly the files of a lock into an environment, and leave nothing else in it.

    With a wall, the environment must be empty: uv asks its interpreter, which would run what is installed
    there. Then only wheels are installed, checked by their digests, which runs none of their code; what has
    only an sdist is built behind the wall first.

    Args:
        python: the interpreter of the environment.
        lock: what to install.
        folder: where to work.
        around: names the index for what an sdist is built with.

    Raises:
        ProjectError: a file has other bytes, or cannot be installed.
    """
    if around.wall is not None:
        lock = _with_wheels(python, lock, folder, around)
    path = folder / PYLOCK
    path.write_text(lock.document(), encoding="utf-8")
    sync_lock(python, path, around, may_build=around.wall is None, timeout_seconds=INSTALL_SECONDS)


def made_anew(lock: EnvironmentLock, wall: Wall, given: Sequence[Path]) -> EnvironmentLock:
    """The same lock, built from the parts that a lock needs, each of which is what it may be.

    It was written where foreign code ran, and is used where none runs: names become paths, and keys and
    values become text of another document. So nothing of it is taken over that was not looked at.

    Args:
        lock: as it was read.
        wall: knows the store's address.
        given: the files of this machine that may stand in it.

    Raises:
        ProjectError: it names a file of anywhere but the store, or says anything else that no lock says;
            names each fault.
    """
    faults, packages, names = [], [], set()
    if len(lock.packages) > MOST_PACKAGES:
        faults.append(f"it has more than {MOST_PACKAGES} packages")
    if not _SUPPORTED.fullmatch(lock.requires_python):
        faults.append(f"{lock.requires_python[:80]!a} is no range of Python versions")
    for one in lock.packages[:MOST_PACKAGES]:
        try:
            made = _judged(one, wall, given)
        except (ValueError, TypeError) as error:
            faults.append(f"{one.name[:80]!a}: {error}")
            continue
        if made.name in names:
            faults.append(f"{made.name[:80]!a}: it stands there twice")
        names.add(made.name)
        packages.append(made)
    if faults:
        raise ProjectError(
            f"the lock that was written behind the wall is refused: {'; '.join(faults[:20])}",
            hint="publish what it names to an index of the store and require it by version",
        )
    return replace(lock, packages=tuple(packages))


def _judged(package: LockedPackage, wall: Wall, given: Sequence[Path]) -> LockedPackage:
    """Raises ValueError with the fault."""
    name = canonicalize_name(package.name)
    if not _NAME.fullmatch(name) or len(name) > 200:
        raise ValueError("it is no name of a package")
    version = None if package.version is None else Version(package.version)
    where = [str(package.file[one]) for one in ("url", "path") if one in package.file]
    if len(where) != 1 or "subdirectory" in package.file:
        raise ValueError("it has to come from exactly one file")
    hashes = package.file.get("hashes")
    if not isinstance(hashes, dict) or not set(hashes) <= hashlib.algorithms_guaranteed:
        raise ValueError("its digests have no known names")
    sha256 = str(hashes.get("sha256"))
    if not _SHA256.fullmatch(sha256):
        raise ValueError(f"{where[0][:200]!a} has no SHA-256")
    known = {text: path for path in given for text in (str(path), path.as_uri())}
    if where[0] in known:
        filename, facts = known[where[0]].name, {"path": str(known[where[0]])}
    else:
        place = _PLACE.fullmatch(wall.path_in_store(where[0]) or "") if "url" in package.file else None
        if place is None or place[1] != sha256:
            raise ValueError(f"the store does not serve {where[0][:200]!a} with that digest")
        filename = unquote(place[2])
        facts = {"url": where[0].removesuffix(place[2]) + quote(filename)}
    if not _is_file_of(filename, package.kind, name, version):
        raise ValueError(f"{filename[:200]!a} is no name of a file of it")
    size = package.file.get("size")
    if size is not None and (type(size) is not int or not 0 <= size < 2**53):
        raise ValueError("its size is no number of bytes")
    sized = {} if size is None else {"size": size}
    told = None if version is None else str(version)
    return LockedPackage(name, told, package.kind, {**facts, **sized, "hashes": {"sha256": sha256}})


def _is_file_of(filename: str, kind: str, name: str, version: Version | None) -> bool:
    """Whether a file can be one of a package, by its name; raises ValueError if it is no wheel's."""
    if not _FILENAME.fullmatch(filename):
        return False
    if filename.endswith(".whl"):
        found, release, _, _ = parse_wheel_filename(filename)
        return kind != "sdist" and found == name and version in (None, release)
    suffix = next((one for one in _SDISTS if filename.endswith(one)), None)
    if suffix is None or kind == "wheels":
        return False
    parts = filename.removesuffix(suffix).split("-")  # of names and versions of old, both may have dashes
    for at in range(1, len(parts)):
        if canonicalize_name("-".join(parts[:at])) == name:
            stated = version_or_none("-".join(parts[at:]))
            if stated is not None and version in (None, stated):
                return True
    return False


def _with_wheels(python: Path, lock: EnvironmentLock, folder: Path, around: Surroundings) -> EnvironmentLock:
    """The same lock with a wheel of this machine in the place of each sdist, built behind the wall."""
    packages = []
    for one in lock.packages:
        if _filename(one.file).endswith(".whl"):
            packages.append(one)
            continue
        wheel = _build_wheel(python, one, folder, around)
        facts = {"path": str(wheel), "hashes": {"sha256": sha256_of_file(wheel)}}
        packages.append(replace(one, kind="archive", file=facts))
    return replace(lock, packages=tuple(packages))


def _build_wheel(python: Path, package: LockedPackage, folder: Path, around: Surroundings) -> Path:
    out, kept = folder / f"build-{package.name}", folder / "wheels"
    shutil.rmtree(out, ignore_errors=True)
    out.mkdir()
    kept.mkdir(exist_ok=True)
    if "path" in package.file:
        sdist = Path(package.file["path"])
    else:
        from conveyor.project.downloads import download  # most environments need no build

        sdist = kept / _filename(package.file)
        url, sha256 = str(package.file["url"]), str(package.file["hashes"]["sha256"])
        if download(url, sdist, netrc=around.netrc) != sha256:
            raise ProjectError(f"{url} has other bytes than its index says")
    base = Path(os.path.realpath(python))
    words = ["build", "--wheel", "--no-create-gitignore", "--python", str(base)]
    words += ["--out-dir", str(out), str(sdist)]
    run_uv_behind(words, around, reads=(base, sdist), writes=(out,), timeout_seconds=INSTALL_SECONDS)
    built = sorted(path.name for path in out.iterdir() if path.name.endswith(".whl"))
    try:
        is_of_package = len(built) == 1 and _is_file_of(built[0], "wheels", package.name, None)
    except ValueError:
        is_of_package = False
    if not is_of_package:
        raise ProjectError(f"{sdist.name} was built, but gave {', '.join(map(ascii, built)) or 'no wheel'}")
    take_file(out, built[0], kept / built[0])
    return kept / built[0]


def _chosen(package: dict[str, Any], interpreter: Interpreter) -> LockedPackage:
    """The package with the file that uv would install on this interpreter."""
    name, version = str(package["name"]), package.get("version")
    if len({"files" if form in ("wheels", "sdist") else form for form in _FORMS if form in package}) > 1:
        raise ProjectError(f"{name[:80]!a} comes from several places at once")
    if "archive" in package:
        return LockedPackage(name, version, "archive", _kept(package["archive"]))
    if "vcs" in package:
        raise ProjectError(
            f"{name} comes from a repository and not from a file that a lock names and the store keeps: "
            "nobody could restore this environment once the repository has moved",
            hint=f"publish {name} to an index of the store and require it by its version",
        )
    ranks = {tag: rank for rank, tag in enumerate(interpreter.tags)}
    fitting = []
    for wheel in package.get("wheels", []):
        _, _, build, tags = parse_wheel_filename(_filename(wheel))
        found = [ranks[str(tag)] for tag in tags if str(tag) in ranks]
        if found:
            fitting.append((min(found), _reversed(build), wheel))
    if fitting:
        best = min(fitting, key=lambda one: one[:2])[2]
        return LockedPackage(name, version, "wheels", _kept(best))
    if "sdist" in package:
        return LockedPackage(name, version, "sdist", _kept(package["sdist"]))
    raise ProjectError(
        f"{name} {version or ''} has no file that can be locked for Python {interpreter.name}",
        hint="requirements of tests that are folders of this machine cannot be installed anywhere else",
    )


def _kept(file: dict[str, Any]) -> dict[str, Any]:
    """The entries that are the same wherever the file comes from."""
    names = ("url", "path", "size", "hashes", "subdirectory")
    return {name: file[name] for name in names if name in file}


def _filename(file: dict[str, Any]) -> str:
    return str(
        file.get("name") or unquote(str(file.get("url") or file["path"]).partition("#")[0].rpartition("/")[2])
    )


def _reversed(build: BuildTag) -> tuple[int, ...]:
    """An order in which a higher build number comes first."""
    return tuple(-part for part in build if isinstance(part, int))


def _inline(table: dict[str, Any]) -> str:
    parts = []
    for name, value in table.items():
        shown = _inline(value) if isinstance(value, dict) else json.dumps(value, ensure_ascii=False)
        parts.append(f"{name if _BARE_KEY.fullmatch(name) else json.dumps(name)} = {shown}")
    return f"{{ {', '.join(parts)} }}"
