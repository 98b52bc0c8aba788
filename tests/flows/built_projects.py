"""Published projects as their authors had them: pinned in a table, committed and tagged from their sdists.

An sdist is a checkout with files that its backend added. Those are taken out again, and the rest is committed
with the project's own ``.gitignore`` and tagged with the version. What that builds is compared with the wheel
that its authors published.
"""

from __future__ import annotations

import csv
import re
import shutil
import tarfile
import zipfile
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import TYPE_CHECKING

from flows.published import ACCEPTED, Published, fetch
from project.checkouts import commit, git

if TYPE_CHECKING:
    from collections.abc import Iterable

TABLE = Path(__file__).with_name("built_projects.csv")
MADE_BY_BACKENDS = ("PKG-INFO", "*.egg-info", "*.dist-info")
_COMPILED = re.compile(r"\.(?:cpython-|cp3|abi3)[^/]*\.so$")


@dataclass(frozen=True)
class BuiltProject:
    """A published release of which sdist and wheel are known."""

    project: str
    version: str
    backend: str
    sdist: Published
    wheel: Published
    is_in_make_test: bool
    allow: tuple[str, ...]
    """Patterns that its ``[tool.conveyor.build]`` must allow, as the error says."""
    more: frozenset[str]
    """Members that our wheel has and the published one lacks."""
    fewer: frozenset[str]
    """Members that the published wheel has and ours lacks."""
    why: str
    """The explanation of both, and of the exceptions."""
    way: str
    """How far it is carried: to "testing", or to "stable", and what that shows; empty: it is only built."""
    declared: str
    """What it declares under ``[tool.conveyor.test]``, because an error asked for it."""


def built_projects() -> list[BuiltProject]:
    """The table, row by row."""
    with TABLE.open(encoding="utf-8", newline="") as file:
        return [
            BuiltProject(
                project=row["project"],
                version=row["version"],
                backend=row["backend"],
                sdist=_published(row, "sdist"),
                wheel=_published(row, "wheel"),
                is_in_make_test=row["make test"] == "yes",
                allow=tuple(row["allow"].split()),
                more=frozenset(row["more"].split()),
                fewer=frozenset(row["fewer"].split()),
                why=row["why"],
                way=row["way"],
                declared=row["declared"],
            )
            for row in csv.DictReader(file)
        ]


def _published(row: dict[str, str], kind: str) -> Published:
    return Published(row["project"], row["version"], row[kind], row[f"{kind} sha256"], ACCEPTED, False)


def contents_of(projects: Iterable[BuiltProject]) -> dict[str, bytes]:
    """Both files of each project, by their names."""
    return fetch(file for one in projects for file in (one.sdist, one.wheel))


def checkout_of(one: BuiltProject, content: bytes, folder: Path) -> Path:
    """A repository with one commit and one tag, as the project's authors had them."""
    folder.mkdir(parents=True)
    archive = folder / one.sdist.filename
    archive.write_bytes(content)
    with tarfile.open(archive) as sdist:
        sdist.extractall(folder / "unpacked", filter="data")
    (root,) = (folder / "unpacked").iterdir()
    for pattern in MADE_BY_BACKENDS:
        for made in root.glob(pattern):
            _remove(made)
        for made in root.glob(f"src/{pattern}"):
            _remove(made)
    original = root / "pyproject.toml.orig"  # uv_build's: the other one is rewritten
    if original.exists():
        original.replace(root / "pyproject.toml")
    if one.allow:
        excepted = ", ".join(f'{{pattern = "{pattern}", reason = "{one.why}"}}' for pattern in one.allow)
        with (root / "pyproject.toml").open("a", encoding="utf-8") as file:
            file.write(f"\n[tool.conveyor.build]\nallow = [{excepted}]\n")
    git(root, "init", "-q")
    commit(root)
    git(root, "tag", f"v{one.version}")
    return root


def declare(one: BuiltProject, root: Path) -> None:
    """Declare what the table says, and commit it."""
    with (root / "pyproject.toml").open("a", encoding="utf-8") as file:
        file.write(f"\n[tool.conveyor.test]\n{one.declared}\n")
    commit(root)


def beside_another(root: Path, top: Path) -> Path:
    """A repository with one commit that holds a project in a folder, and another beside it; its top."""
    packages = top / "packages"
    other = packages / "other"
    other.mkdir(parents=True)
    (other / "pyproject.toml").write_text('[project]\nname = "neighbour"\nversion = "3.0"\n')
    (other / "neighbour.py").write_text("")
    shutil.rmtree(root / ".git")
    root.rename(packages / "one")
    git(top, "init", "-q")
    commit(top)
    return top


def _remove(path: Path) -> None:
    if path.is_dir():
        for child in path.iterdir():
            _remove(child)
        path.rmdir()
    else:
        path.unlink()


def members_of(wheel: Path) -> set[str]:
    """The members of a wheel, without tags of compiled modules and what a repair for other systems added."""
    with zipfile.ZipFile(wheel) as archive:
        names = {name for name in archive.namelist() if not name.endswith("/")}
    return {
        _COMPILED.sub(".so", name)
        for name in names
        if not PurePosixPath(name).parts[0].endswith(".libs") and "/sboms/auditwheel" not in name
    }
