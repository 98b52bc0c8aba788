"""The lock of a test's environment: resolved first, then installed from, then handed to the store.

uv resolves the requirements against one index and writes what it found as ``pylock.toml``. Of each package
only the file that fits the interpreter best is kept, and the environment is installed from exactly that, by
digest and size: so the lock is true by construction. What uv built from an sdist is locked as that sdist.

The lock that the store is given differs in one point: its files have the store's public address.

Source: PEP 751.
"""

from __future__ import annotations

import json
import tomllib
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any
from urllib.parse import unquote

from packaging.utils import BuildTag, canonicalize_name, parse_wheel_filename

from conveyor.domain.releases.locks import marker_of
from conveyor.domain.words.notation import utc_text
from conveyor.errors import ProjectError
from conveyor.project.environment import PYLOCK, run_uv

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from datetime import datetime
    from pathlib import Path

    from conveyor.project.environment import Environment
    from conveyor.project.interpreters import Interpreter

INSTALL_SECONDS = 1800.0


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
    index_url: str,
    variables: dict[str, str],
    on_line: Callable[[str], None] | None = None,
) -> EnvironmentLock:
    """Resolve requirements, and files of requirements, against one index and nothing else.

    Raises:
        ProjectError: they cannot be resolved, or one of them is a repository or a folder of this machine.
    """
    asked, found = folder / "requirements.in", folder / "pylock.resolved.toml"
    asked.write_text("\n".join([*requirements, ""]), encoding="utf-8")
    words = ["pip", "compile", "--quiet", "--no-header", "--format", PYLOCK, "--output-file", str(found)]
    words += ["--python", str(interpreter.path), str(asked), *files]
    run_uv(words, index_url=index_url, variables=variables, on_line=on_line, timeout_seconds=INSTALL_SECONDS)
    document = tomllib.loads(found.read_text(encoding="utf-8"))
    return EnvironmentLock(
        packages=tuple(_chosen(package, interpreter) for package in document.get("packages", [])),
        requires_python=str(document.get("requires-python", f">={interpreter.version}")),
        python=interpreter.name,
        platform=interpreter.platform,
        index=index_url,
    )


def install_lock(
    environment: Environment,
    lock: EnvironmentLock,
    folder: Path,
    *,
    index_url: str,
    variables: dict[str, str],
    on_line: Callable[[str], None] | None = None,
) -> None:
    """Install exactly the files of a lock; requirements to build an sdist come from the index.

    Raises:
        ProjectError: a file has other bytes, or cannot be installed.
    """
    path = folder / PYLOCK
    path.write_text(lock.document(), encoding="utf-8")
    environment.install_lock(
        path, index_url=index_url, variables=variables, on_line=on_line, timeout_seconds=INSTALL_SECONDS
    )


def _chosen(package: dict[str, Any], interpreter: Interpreter) -> LockedPackage:
    """The package with the file that uv would install on this interpreter."""
    name, version = str(package["name"]), package.get("version")
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
        parts.append(f"{name} = {shown}")
    return f"{{ {', '.join(parts)} }}"
