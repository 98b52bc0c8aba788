"""The declarations of a checkout in ``pyproject.toml``, read once into one frozen value.

``[tool.conveyor]`` is optional: without it a project is a plain package. Paths are relative to the
checkout, with forward slashes, and never lead out of it.
"""

from __future__ import annotations

import shlex
import tomllib
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import Any, Literal, cast, get_args

from conveyor.domain.words.names import NormalizedName, project_name
from conveyor.errors import InvalidName, ProjectError

ProjectKind = Literal["package", "model"]

_TABLE_KEYS = {"kind", "package", "payload", "train"}


@dataclass(frozen=True)
class Project:
    """A checkout and its declarations."""

    root: Path
    """The folder that holds ``pyproject.toml``; absolute."""
    name: NormalizedName
    display_name: str
    """The name as the project spells it."""
    package: str
    """The name to import."""
    package_folder: str
    """The package's folder in the checkout, such as ``src/tumor``."""
    kind: ProjectKind
    payload: tuple[str, ...]
    """Files that training writes, git ignores and the wheel carries: ``src/tumor/model/model.joblib``."""
    train: tuple[str, ...]
    """The training command, empty if there is none; ``python`` as its first word is the environment's."""
    extras: tuple[str, ...]
    """Names of the optional dependencies, such as ``test`` for ``tumor[test]``."""
    version_files: tuple[str, ...]
    """Files that the build backend writes the version into; empty for generated projects."""
    backend: str
    """The build backend's top module: ``hatchling``, ``setuptools``, ``flit_core``, ``poetry``, ``pdm``, …"""

    @property
    def import_root(self) -> str:
        """The folder whose content is at the top of the wheel: ``src``, or ``.`` for a flat layout."""
        return str(PurePosixPath(self.package_folder).parent)

    def member_of(self, path: str) -> str:
        """The name that a file of the package has in the wheel, such as ``tumor/model/model.joblib``."""
        return str(PurePosixPath(path).relative_to(self.import_root))

    def command(self, name: str) -> str:
        """How to call ``conveyor NAME`` on this project from the current folder."""
        words = [] if self._is_around() else ["--project", str(self.root)]
        return shlex.join(["conveyor", name, *words])

    def git(self) -> str:
        """How to call git on this project from the current folder."""
        return "git" if self._is_around() else shlex.join(["git", "-C", str(self.root)])

    def _is_around(self) -> bool:
        return Path.cwd().is_relative_to(self.root)


def read_project(checkout: Path) -> Project:
    """Read the ``pyproject.toml`` of a checkout.

    Raises:
        ProjectError: no such file, not TOML, or an invalid declaration; all faults are named.
    """
    root = checkout.resolve()
    document = _read_document(root)
    project = document.get("project")
    if not isinstance(project, dict) or not isinstance(project.get("name"), str):
        raise ProjectError(
            f"{root / 'pyproject.toml'} does not name a project",
            hint='write the name under [project]: name = "…"',
        )
    try:
        name = project_name(project["name"])
    except InvalidName as error:
        raise ProjectError(f"{root / 'pyproject.toml'}: {error.message}", hint=error.hint) from error
    table = document.get("tool", {}).get("conveyor", {})
    faults = _faults_of(table, root, name)
    if faults:
        listed = "".join(f"\n- {fault}" for fault in faults)
        raise ProjectError(f"[tool.conveyor] in {root / 'pyproject.toml'} is not valid:{listed}")
    package = _package(table, name)
    return Project(
        root=root,
        name=name,
        display_name=project["name"],
        package=package,
        package_folder=_package_folder(root, package),
        kind=cast("ProjectKind", table.get("kind", "package")),
        payload=tuple(table.get("payload", ())),
        train=tuple(table.get("train", ())),
        extras=tuple(sorted(project.get("optional-dependencies", {}))),
        version_files=_version_files(document.get("tool", {})),
        backend=_backend(document.get("build-system", {})),
    )


def find_project(folder: Path) -> Project:
    """The project that a folder belongs to: its own, or that of the nearest folder above it.

    Raises:
        ProjectError: there is no ``pyproject.toml`` there or in any folder above.
    """
    start = folder.resolve()
    for candidate in (start, *start.parents):
        if (candidate / "pyproject.toml").is_file():
            return read_project(candidate)
    raise ProjectError(
        f"{start} does not belong to a project: there is no pyproject.toml",
        hint="go to a project's folder, name one with --project, or make one: conveyor new NAME",
    )


def _read_document(root: Path) -> dict[str, Any]:
    path = root / "pyproject.toml"
    try:
        return tomllib.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise ProjectError(
            f"{root} is not a project: it has no pyproject.toml",
            hint="commit one at the top of the repository, as in a project made by: conveyor new NAME",
        ) from None
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise ProjectError(f"{path} is not TOML: {error}") from error


def _faults_of(table: object, root: Path, name: NormalizedName) -> list[str]:
    if not isinstance(table, dict):
        return ["it is not a table"]
    faults = [f'"{key}" is not known' for key in sorted(set(table) - _TABLE_KEYS)]
    kind = table.get("kind", "package")
    if kind not in get_args(ProjectKind):
        faults.append(f'kind = "{kind}" is neither "package" nor "model"')
    if not isinstance(table.get("package", ""), str):
        faults.append("package is not a string")
    for key in ("payload", "train"):
        value = table.get(key, [])
        if not isinstance(value, list) or not all(isinstance(entry, str) and entry for entry in value):
            faults.append(f"{key} is not a list of strings")
    if faults:
        return faults
    folder = _package_folder(root, _package(table, name))
    faults += [
        f'payload "{path}" does not lie in the package folder {folder}'
        for path in table.get("payload", [])
        if ".." in PurePosixPath(path).parts or not PurePosixPath(path).is_relative_to(folder)
    ]
    if kind == "model" and not (table.get("payload") and table.get("train")):
        faults.append("a model needs its payload and its training command: payload = […], train = […]")
    return faults


def _package(table: dict[str, Any], name: NormalizedName) -> str:
    return str(table.get("package", name.replace("-", "_")))


def _package_folder(root: Path, package: str) -> str:
    """``src/<package>`` if it exists or neither folder does; ``<package>`` for a flat layout."""
    path = package.replace(".", "/")
    is_flat = (root / path).is_dir() and not (root / "src" / path).is_dir()
    return path if is_flat else f"src/{path}"


def _backend(build_system: object) -> str:
    """The backend's top module; setuptools if none is declared (PEP 517)."""
    declared = build_system.get("build-backend") if isinstance(build_system, dict) else None
    return declared.partition(":")[0].partition(".")[0] if isinstance(declared, str) else "setuptools"


def _version_files(tools: dict[str, Any]) -> tuple[str, ...]:
    """The version files of hatch-vcs, hatchling's version hook, setuptools-scm and pdm-backend."""
    hatch = tools.get("hatch", {}).get("build", {})
    hooks = [hatch.get("hooks", {})]
    hooks += [target.get("hooks", {}) for target in hatch.get("targets", {}).values()]
    found = [hook.get("vcs", {}).get("version-file") for hook in hooks]
    found += [hook.get("version", {}).get("path") for hook in hooks]
    scm = tools.get("setuptools_scm", {})
    found += [scm.get("version_file"), scm.get("write_to")]
    found.append(tools.get("pdm", {}).get("version", {}).get("write_to"))
    return tuple(sorted({path for path in found if isinstance(path, str)}))
