"""A checkout and what it declares, read once into one frozen value.

A project is what PEP 517 says: a folder with a ``pyproject.toml``, or with a ``setup.py`` alone. Whatever can
be read from its files is read from them; nothing of the project runs here.
"""

from __future__ import annotations

import ast
import shlex
import tomllib
from configparser import ConfigParser
from configparser import Error as ConfigParserError
from dataclasses import dataclass, field
from pathlib import Path, PurePosixPath
from typing import TYPE_CHECKING, Any

from conveyor.domain.words.names import NormalizedName, project_name
from conveyor.errors import InvalidName, ProjectError
from conveyor.project.declarations import Declarations, ProjectKind, read_declarations

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from packaging.metadata import RawMetadata

    Asking = Callable[[Path], RawMetadata]

__all__ = ["Project", "ProjectKind", "find_project", "read_project", "written_name"]

PROJECT_FILES = ("pyproject.toml", "setup.py")
"""A folder with one of these is a project (PEP 517)."""


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
    declared: Declarations
    """What it declares under ``[tool.conveyor]``."""
    extras: tuple[str, ...]
    """Names of the optional dependencies, such as ``test`` for ``tumor[test]``."""
    version_files: tuple[str, ...]
    """Files that the build writes the version into; empty for generated projects."""
    backend: str
    """The build backend's top module: ``hatchling``, ``setuptools``, ``flit_core``, ``poetry``, ``pdm``, …"""
    document: Mapping[str, Any] = field(repr=False, compare=False, default_factory=dict)
    """The whole of ``pyproject.toml``; empty if the project has none."""

    @property
    def kind(self) -> ProjectKind:
        """What the project is."""
        return self.declared.kind

    @property
    def payload(self) -> tuple[str, ...]:
        """Files that training writes, git ignores and the wheel carries: ``src/tumor/model/model.joblib``."""
        return self.declared.payload

    @property
    def train(self) -> tuple[str, ...]:
        """The training command, empty if there is none; ``python`` as its first word is the environment's."""
        return self.declared.train.command

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


def read_project(checkout: Path, *, ask: Asking | None = None) -> Project:
    """What a checkout is: a project in the sense of PEP 517, with or without a ``pyproject.toml``.

    Args:
        checkout: its folder.
        ask: asks the project's build backend for its core metadata; called only if the name is written in
            no file that can be read without running it.

    Raises:
        ProjectError: it is no project, a file of it is broken, or a declaration is not valid; all faults are
            named.
    """
    root = checkout.resolve()
    document = _read_document(root)
    display_name = written_name(root, document)
    if display_name is None and ask is not None:
        display_name = ask(root).get("name")
    if display_name is None:
        raise ProjectError(
            f"{root} does not name a project",
            hint='write its name into pyproject.toml, under [project]: name = "…"',
        )
    try:
        name = project_name(display_name)
    except InvalidName as error:
        raise ProjectError(f"{root}: {error.message}", hint=error.hint) from error
    tools = document.get("tool", {})
    declared = read_declarations(tools.get("conveyor", {}), where=str(root / "pyproject.toml"))
    package = declared.package or _package(root, name, tools)
    folder = _package_folder(root, package)
    outside = [path for path in declared.payload if not PurePosixPath(path).is_relative_to(folder)]
    if outside:
        listed = "".join(
            f'\n- payload "{path}" does not lie in the package folder {folder}' for path in outside
        )
        raise ProjectError(f"[tool.conveyor] in {root / 'pyproject.toml'} is not valid:{listed}")
    return Project(
        root=root,
        name=name,
        display_name=display_name,
        package=package,
        package_folder=folder,
        declared=declared,
        extras=tuple(sorted(document.get("project", {}).get("optional-dependencies", {}))),
        version_files=tuple(sorted({*_version_files(tools), *declared.build.version_files})),
        backend=_backend(document.get("build-system", {})),
        document=document,
    )


def find_project(folder: Path) -> Project:
    """The project that a folder belongs to: its own, or that of the nearest folder above it.

    Raises:
        ProjectError: there is no ``pyproject.toml`` there or in any folder above.
    """
    start = folder.resolve()
    for candidate in (start, *start.parents):
        if any((candidate / name).is_file() for name in PROJECT_FILES):
            return read_project(candidate)
    raise ProjectError(
        f"{start} does not belong to a project: there is neither a pyproject.toml nor a setup.py",
        hint="go to a project's folder, name one with --project, or make one: conveyor new NAME",
    )


def written_name(root: Path, document: Mapping[str, Any]) -> str | None:
    """The project's name, where PEP 621, poetry, flit or setuptools keep it, if any does."""
    tools = document.get("tool", {})
    flit = tools.get("flit", {}).get("metadata", {})
    for found in (
        document.get("project", {}).get("name"),
        tools.get("poetry", {}).get("name"),
        flit.get("dist-name") or flit.get("module"),
        written_in_setup_cfg(root, "name"),
        written_in_setup_py(root, "name"),
    ):
        if isinstance(found, str):
            return found
    return None


def written_in_setup_cfg(root: Path, key: str, *, section: str = "metadata") -> str | None:
    """The value of a key in a section of ``setup.cfg``; ``None`` if it is not there."""
    parser = ConfigParser(interpolation=None, strict=False)
    try:
        parser.read(root / "setup.cfg", encoding="utf-8")
    except (ConfigParserError, UnicodeDecodeError) as error:
        raise ProjectError(f"{root / 'setup.cfg'} cannot be read: {error}") from error
    return parser.get(section, key, fallback=None)


def written_in_setup_py(root: Path, key: str) -> str | None:
    """The literal that ``setup.py`` hands to ``setup`` under a keyword; ``None`` if it computes it."""
    try:
        tree = ast.parse((root / "setup.py").read_bytes())
    except (OSError, SyntaxError, ValueError):
        return None
    for call in ast.walk(tree):
        if isinstance(call, ast.Call) and ast.unparse(call.func).rpartition(".")[2] == "setup":
            for word in call.keywords:
                if word.arg == key and isinstance(word.value, ast.Constant):
                    return str(word.value.value)
    return None


def _read_document(root: Path) -> dict[str, Any]:
    path = root / "pyproject.toml"
    try:
        return tomllib.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        if (root / "setup.py").is_file():
            return {}
        if (root / "setup.cfg").is_file():
            raise ProjectError(
                f"{root} has a setup.cfg, but neither a pyproject.toml nor a setup.py, without which no tool "
                "builds it",
                hint='commit a pyproject.toml beside it: [build-system], requires = ["setuptools>=77"], '
                'build-backend = "setuptools.build_meta"',
            ) from None
        raise ProjectError(
            f"{root} is not a project: it has neither a pyproject.toml nor a setup.py",
            hint="commit one at the top of the repository, as in a project made by: conveyor new NAME",
        ) from None
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise ProjectError(f"{path} is not TOML: {error}") from error


def _package(root: Path, name: NormalizedName, tools: Mapping[str, Any]) -> str:
    """The package to import: as flit names it, or the project's name, or the only package of the project."""
    flit = tools.get("flit", {})
    module = flit.get("module", {}).get("name") or flit.get("metadata", {}).get("module")
    if isinstance(module, str):
        return module
    package = name.replace("-", "_").replace(".", "_")
    if any((root / place / package).is_dir() for place in ("src", ".")):
        return package
    found = sorted(path.parent.name for path in root.glob("src/*/__init__.py"))
    found = found or sorted(
        path.parent.name for path in root.glob("*/__init__.py") if path.parent.name not in _NO_PACKAGES
    )
    return found[0] if len(found) == 1 else package


_NO_PACKAGES = {"benchmarks", "docs", "doc", "examples", "scripts", "test", "testing", "tests", "tools"}


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
