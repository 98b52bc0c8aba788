"""A checkout and what it declares, read once into one frozen value.

A project is what PEP 517 says: a folder with a ``pyproject.toml``, or with a ``setup.py`` alone. Whatever can
be read from its files is read from them; nothing of the project runs here. What only its build backend knows
is kept beside git's own files once ``backend`` has asked, as long as the checkout is that commit unchanged.
"""

from __future__ import annotations

import ast
import json
import os
import re
import shlex
import tomllib
from configparser import ConfigParser
from configparser import Error as ConfigParserError
from dataclasses import dataclass, field
from difflib import get_close_matches
from hashlib import sha256
from pathlib import Path, PurePosixPath
from typing import TYPE_CHECKING, Any, cast

from packaging.utils import canonicalize_name

from conveyor.domain.words.names import NormalizedName, project_name
from conveyor.errors import InvalidName, ProjectError
from conveyor.project.declarations import Declarations, ProjectKind, read_declarations
from conveyor.project.git import differs_from_commit, head_commit, own_folder, tracked_files
from conveyor.project.taking import own_file

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from packaging.metadata import RawMetadata

    Asking = Callable[[Path], RawMetadata]

__all__ = ["Project", "ProjectKind", "find_project", "read_project", "written_name"]

PROJECT_FILES = ("pyproject.toml", "setup.py")
"""A folder with one of these is a project (PEP 517)."""
TEST_FOLDERS = ("tests", "test")
"""What a folder of tests is called, whoever asks; each asks for more, which its own question adds."""


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
    asked_requires_python: str | None = None
    """What its backend says of ``requires-python``, if only that knows it and was asked."""
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

    @property
    def misspelled(self) -> tuple[str, ...]:
        """Tables below ``[tool]`` that are nearly called ``conveyor``, and therefore mean nothing to us."""
        others = [name for name in table_in(self.document, "tool") if name != "conveyor"]
        return tuple(get_close_matches("conveyor", others, cutoff=0.8))

    @property
    def known(self) -> RawMetadata:
        """What was found out about it, for reading another checkout of it without asking the backend."""
        known: RawMetadata = {"name": self.display_name, "provides_extra": list(self.extras)}
        if self.asked_requires_python is not None:
            known["requires_python"] = self.asked_requires_python
        return known

    def command(self, name: str) -> str:
        """How to call ``conveyor NAME`` on this project from the current folder."""
        words = [] if self._is_around() else ["--project", str(self.root)]
        return shlex.join(["conveyor", *name.split(), *words])

    def git(self) -> str:
        """How to call git on this project from the current folder."""
        return "git" if self._is_around() else shlex.join(["git", "-C", str(self.root)])

    def _is_around(self) -> bool:
        return Path.cwd().is_relative_to(self.root)


def read_project(checkout: Path, *, known: RawMetadata | None = None, ask: Asking | None = None) -> Project:
    """What a checkout is: a project in the sense of PEP 517, with or without a ``pyproject.toml``.

    Args:
        checkout: its folder.
        known: core metadata that the caller has, as far as the project's files do not say it; then nobody is
            asked.
        ask: asks the project's build backend for its core metadata; called only if the name, or a
            ``requires-python`` that there is, stands in no file that can be read without running it, and the
            backend was not asked about this commit before.

    Raises:
        ProjectError: it is no project, a file of it is broken, or a declaration is not valid; all faults are
            named.
    """
    root = checkout.resolve()
    document = _read_document(root)
    display_name = written_name(root, document)
    asked: RawMetadata = {}
    if display_name is None or _is_python_computed(root, document):
        asked = known or answer_of(root) or (ask(root) if ask is not None else {})
        display_name = display_name or asked.get("name")
    if not display_name:
        raise ProjectError(
            f"{root} does not name a project: its name stands in none of its files"
            + (", and its build backend gives none" if ask is not None else ""),
            hint='write its name into pyproject.toml, under [project]: name = "…"',
        )
    try:
        name = project_name(display_name)
    except InvalidName as error:
        raise ProjectError(f"{root}: {error.message}", hint=error.hint) from error
    tools = table_in(document, "tool")
    declared = read_declarations(tools.get("conveyor", {}), where=str(root / "pyproject.toml"))
    package = declared.package or _package(root, name, document)
    folder = _package_folder(root, package)
    extras = _extras(root, document, asked)
    _refuse_unknown_extra(declared.test.extra, extras, document, where=root / "pyproject.toml")
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
        extras=extras,
        version_files=tuple(sorted({*_version_files(root, document), *declared.build.version_files})),
        backend=_backend(document.get("build-system")),
        asked_requires_python=asked.get("requires_python"),
        document=document,
    )


def answer_of(root: Path) -> RawMetadata:
    """What the backend said of the commit that is checked out, unchanged, in that very folder; else empty."""
    file = _answer_file(root.resolve())
    try:
        answer = json.loads(file.read_text(encoding="utf-8")) if file is not None else None
    except (OSError, ValueError):
        answer = None
    return cast("RawMetadata", answer) if isinstance(answer, dict) else {}


def keep_answer(root: Path, answer: RawMetadata) -> None:
    """Keep what the backend says of a checkout: asking takes seconds, and every step reads the project.

    Nothing is kept of a checkout whose tracked files differ from the commit: the next edit may change it.
    """
    file = _answer_file(root.resolve())
    if file is None:
        return
    file.parent.mkdir(parents=True, exist_ok=True)
    kept = {key: answer[key] for key in ("name", "requires_python", "provides_extra") if key in answer}
    partial = file.with_name(f"{file.name}.{os.getpid()}")
    partial.write_text(json.dumps(kept), encoding="utf-8")
    partial.rename(file)


def _answer_file(root: Path) -> Path | None:
    """Where the backend's answer is kept; ``None`` outside git, and if the tree differs from its commit."""
    try:
        if differs_from_commit(root, (*PROJECT_FILES, "setup.cfg")):
            return None
        folder = own_folder(root, "conveyor")
        named = sha256(f"{head_commit(root)} {root}".encode()).hexdigest()[:16]
    except ProjectError:
        return None
    return folder / f"answer-{named}.json"


def find_project(folder: Path, *, ask: Asking | None = None) -> Project:
    """The project that a folder belongs to: its own, or that of the nearest folder above it.

    ``ask`` is as for ``read_project``.

    Raises:
        ProjectError: neither the folder nor any above it is a project.
    """
    return read_project(find_root(folder), ask=ask)


def find_root(folder: Path) -> Path:
    """The folder of the project that a folder belongs to, which is not read; errors as above."""
    start = folder.resolve()
    for candidate in (start, *start.parents):
        if any((candidate / name).is_file() for name in PROJECT_FILES):
            return candidate
    if (start / "setup.cfg").is_file():
        return start  # reading it says what is missing
    below = _folders_below(start)
    if below:
        named = below[0] if start == Path.cwd() else start / below[0]
        raise ProjectError(
            f"{start} is no project itself, but holds projects in {', '.join(below)}",
            hint=f"say which is meant: --project {shlex.quote(str(named))}",
        )
    raise ProjectError(
        f"{start} does not belong to a project: there is neither a pyproject.toml nor a setup.py",
        hint="go to a project's folder, name one with --project, or make one: conveyor new NAME",
    )


def _folders_below(start: Path) -> list[str]:
    """The folders of the projects that git tracks below a folder, without those inside another project."""
    try:
        tracked = [PurePosixPath(path) for path in tracked_files(start)]
    except ProjectError:
        return []
    found = sorted({path.parent for path in tracked if path.name in PROJECT_FILES})
    return [str(path) for path in found if not any(one in path.parents for one in found)]


def table_in(document: Mapping[str, Any], *keys: str) -> dict[str, Any]:
    """The table under nested keys; empty if there is none, or something else in its place."""
    found: Any = document
    for key in keys:
        found = found.get(key) if isinstance(found, dict) else None
    return found if isinstance(found, dict) else {}


def written_name(root: Path, document: Mapping[str, Any]) -> str | None:
    """The project's name, where PEP 621, poetry, flit or setuptools keep it, if any does."""
    flit = table_in(document, "tool", "flit", "metadata")
    for found in (
        table_in(document, "project").get("name"),
        table_in(document, "tool", "poetry").get("name"),
        flit.get("dist-name") or flit.get("module"),
        written_in_setup_cfg(root, "name"),
        written_in_setup_py(root, "name"),
    ):
        if isinstance(found, str):
            return found
    return None


def written_requires_python(root: Path, document: Mapping[str, Any]) -> str | None:
    """What a project says of ``requires-python``, where PEP 621, flit, poetry or setuptools keep it."""
    for found in (
        table_in(document, "project").get("requires-python"),
        table_in(document, "tool", "flit", "metadata").get("requires-python"),
        specifier_of_poetry(table_in(document, "tool", "poetry", "dependencies").get("python")),
        written_in_setup_cfg(root, "python_requires", section="options"),
        written_in_setup_py(root, "python_requires"),
    ):
        if isinstance(found, str):
            return found
    return None


def _is_python_computed(root: Path, document: Mapping[str, Any]) -> bool:
    """Whether only the backend knows ``requires-python``: dynamic, computed, or in poetry's own form."""
    if written_requires_python(root, document) is not None:
        return False
    project = table_in(document, "project")
    dynamic = project.get("dynamic")
    if isinstance(dynamic, list) and "requires-python" in dynamic:
        return True
    if "python" in table_in(document, "tool", "poetry", "dependencies"):
        return True
    return not project and "python_requires" in _text_of(root / "setup.py")


def _text_of(path: Path) -> str:
    try:
        return own_file(path).read_text(encoding="utf-8", errors="replace")
    except OSError:
        return ""


def specifier_of_poetry(constraint: object) -> str | None:
    """A version constraint as poetry writes it, as a specifier (PEP 440); ``None`` if that cannot say it.

    ``^1.2`` is at least 1.2 and below the next value of its first number that is not zero, ``~1.2`` at least
    1.2 and below 1.3; a version alone is exactly that one (poetry's documentation, "Dependency
    specification"). PEP 440 has no ``||``.
    """
    if not isinstance(constraint, str) or "|" in constraint:
        return None
    found = []
    for part in re.findall(r"[^\s,<>=!~^]+|(?:[<>=!~^]+\s*[^\s,<>=!~^]+)", constraint):
        operator, version = re.match(r"([<>=!~^]*)\s*(.*)", part).groups()  # type: ignore[union-attr]
        numbers = [int(one) for one in re.match(r"[0-9.]*", version)[0].split(".") if one]  # type: ignore[index]
        if operator in ("^", "~") and numbers:
            place = 0 if len(numbers) < 2 else 1
            if operator == "^":
                place = next((at for at, number in enumerate(numbers) if number), len(numbers) - 1)
            above = ".".join(map(str, [*numbers[:place], numbers[place] + 1]))
            found += [f">={version}", f"<{above}"]
        elif version != "*":
            found.append(f"{operator if operator not in ('', '=') else '=='}{version}")
    return ",".join(found)


def written_in_setup_cfg(root: Path, key: str, *, section: str = "metadata") -> str | None:
    """The value of a key in a section of ``setup.cfg``; ``None`` if it is not there."""
    return _setup_cfg(root, section).get(key)


def _setup_cfg(root: Path, section: str) -> dict[str, str]:
    parser = ConfigParser(interpolation=None, strict=False)
    try:
        parser.read(own_file(root / "setup.cfg"), encoding="utf-8")
    except (ConfigParserError, UnicodeDecodeError) as error:
        raise ProjectError(f"{root / 'setup.cfg'} cannot be read: {error}") from error
    return dict(parser[section]) if parser.has_section(section) else {}


def written_in_setup_py(root: Path, key: str) -> str | None:
    """The literal that ``setup.py`` hands to ``setup`` under a keyword; ``None`` if it computes it."""
    try:
        tree = ast.parse(own_file(root / "setup.py").read_bytes())
        handed = handed_to_setup(tree, key)
    except (OSError, SyntaxError, ValueError, RecursionError, MemoryError):
        return None
    literals = (value for value in handed if isinstance(value, ast.Constant))
    return next((str(value.value) for value in literals), None)


def handed_to_setup(tree: ast.Module, key: str) -> list[ast.expr]:
    """What a ``setup.py`` hands to its calls of ``setup`` under a keyword."""
    return [
        word.value
        for call in ast.walk(tree)
        if isinstance(call, ast.Call) and ast.unparse(call.func).rpartition(".")[2] == "setup"
        for word in call.keywords
        if word.arg == key
    ]


def read_toml(path: Path) -> dict[str, Any]:
    """The document in a TOML file; raises ProjectError if it is none, FileNotFoundError if it is missing."""
    try:
        return tomllib.loads(path.read_text(encoding="utf-8"))
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise ProjectError(f"{path} is not TOML: {error}") from error
    except RecursionError as error:
        raise ProjectError(f"{path} cannot be read: its values are nested too deeply") from error


def _read_document(root: Path) -> dict[str, Any]:
    path = root / "pyproject.toml"
    try:
        document = read_toml(own_file(path))
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
    wrong = [
        key for key in ("build-system", "project", "tool") if not isinstance(document.get(key, {}), dict)
    ]
    project = table_in(document, "project")
    faults = [f"{' and '.join(wrong)} must be a table (PEP 518, PEP 621)"] if wrong else []
    dynamic = project.get("dynamic", [])
    if not isinstance(dynamic, list) or not all(isinstance(one, str) for one in dynamic):
        faults.append('dynamic under [project] must be a list of names, such as ["version"] (PEP 621)')
    if faults:
        raise ProjectError(
            f"{path} is not valid: {'; '.join(faults)}",
            hint=f"write [{wrong[0]}] on a line of its own, and its keys below" if wrong else "correct it",
        )
    if "project" in document and "name" not in project and "name" not in table_in(document, "tool", "poetry"):
        raise ProjectError(
            f"[project] in {path} has no name, which it must have (PEP 621)", hint='add it: name = "…"'
        )
    return document


def _refuse_unknown_extra(
    extra: str | None, extras: Sequence[str], document: Mapping[str, Any], *, where: Path
) -> None:
    """Refuse a declared extra that the project does not have, if its extras are known without its backend."""
    dynamic = table_in(document, "project").get("dynamic", ())
    is_all = "project" in document and "optional-dependencies" not in (dynamic or ())
    names = {canonicalize_name(name) for name in extras}
    if extra is not None and (is_all or names) and canonicalize_name(extra) not in names:
        raise ProjectError(
            f'[tool.conveyor] in {where} is not valid:\n- test.extra names "{extra}", which the project does '
            "not have",
            hint=f"its extras are: {', '.join(sorted(extras))}" if extras else "it has no extra",
        )


def _extras(root: Path, document: Mapping[str, Any], asked: RawMetadata) -> tuple[str, ...]:
    """Names of the extras: of PEP 621, poetry or flit, of setup.cfg, or what the backend said."""
    found = {
        *table_in(document, "project", "optional-dependencies"),
        *table_in(document, "tool", "poetry", "extras"),
        *table_in(document, "tool", "flit", "metadata", "requires-extra"),
        *_setup_cfg(root, "options.extras_require"),
        *asked.get("provides_extra", ()),
    }
    return tuple(sorted(found))


def _package(root: Path, name: NormalizedName, document: Mapping[str, Any]) -> str:
    """The package to import: as flit names it, or the project's name, or the only package of the project."""
    module = table_in(document, "tool", "flit", "module").get("name")
    module = module or table_in(document, "tool", "flit", "metadata").get("module")
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


_NO_PACKAGES = {*TEST_FOLDERS, "testing", "benchmarks", "docs", "doc", "examples", "scripts", "src", "tools"}


def _package_folder(root: Path, package: str) -> str:
    """``src/<package>`` if it exists or neither folder does; ``<package>`` for a flat layout."""
    path = package.replace(".", "/")
    is_flat = (root / path).is_dir() and not (root / "src" / path).is_dir()
    return path if is_flat else f"src/{path}"


def _backend(build_system: object) -> str:
    """The backend's top module; setuptools if none is declared (PEP 517)."""
    declared = build_system.get("build-backend") if isinstance(build_system, dict) else None
    return declared.partition(":")[0].partition(".")[0] if isinstance(declared, str) else "setuptools"


def _version_files(root: Path, document: Mapping[str, Any]) -> tuple[str, ...]:
    """The version files of hatch-vcs, hatchling, setuptools-scm, pdm, scikit-build-core and versioneer."""
    hatch = table_in(document, "tool", "hatch", "build")
    hooks = [table_in(hatch, "hooks")]
    hooks += [table_in(hatch, "targets", name, "hooks") for name in table_in(hatch, "targets")]
    found = [table_in(hook, "vcs").get("version-file") for hook in hooks]
    found += [table_in(hook, "version").get("path") for hook in hooks]
    scm = table_in(document, "tool", "setuptools_scm")
    found += [scm.get("version_file"), scm.get("write_to")]
    found.append(table_in(document, "tool", "pdm", "version").get("write_to"))
    found.append(table_in(document, "tool", "versioneer").get("versionfile_source"))
    found.append(_setup_cfg(root, "versioneer").get("versionfile_source"))
    generated = table_in(document, "tool", "scikit-build").get("generate")
    generated = generated if isinstance(generated, list) else []
    found += [one.get("path") for one in generated if isinstance(one, dict)]
    return tuple(sorted({path.strip("/") for path in found if isinstance(path, str)}))
