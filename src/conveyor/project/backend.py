"""The project's build backend, in an environment of its own, and its hooks (PEP 517).

One environment serves one build: it is made on the right interpreter and filled with ``[build-system]
requires``, then with what the backend asks for once it can be asked (``get_requires_for_build_*``). The hooks
run in it by the library ``pyproject-hooks``, whose runner is the one door for foreign code.

Two rules hold here, and no build frontend keeps both (``docs/decisions/0031``):

- A variable that forces the project's version reaches the hooks and nothing else. Set for a whole build, the
  plain ``SETUPTOOLS_SCM_PRETEND_VERSION`` gives the same number to each build requirement that is itself
  built from source.
- The path of environment and unpacked sdist depends on project and commit alone (``rooms``).
"""

from __future__ import annotations

import shutil
import tempfile
import warnings
from dataclasses import dataclass, field
from pathlib import Path, PurePosixPath
from typing import TYPE_CHECKING, Any

from packaging.metadata import RawMetadata, parse_email
from packaging.requirements import InvalidRequirement, Requirement
from pyproject_hooks import (
    BackendInvalid,
    BackendUnavailable,
    BuildBackendHookCaller,
    HookMissing,
    UnsupportedOperation,
)

from conveyor.errors import ProjectError
from conveyor.project.environment import Environment, make_environment
from conveyor.project.foreign import Sight, run_foreign
from conveyor.project.git import changed_files, clone_for_a_look, repository_top
from conveyor.project.interpreters import python_to_ask_with
from conveyor.project.settings import keep_answer, read_toml

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

LEGACY = "setuptools.build_meta:__legacy__"
"""The backend of a project that declares none (PEP 517)."""

_TAKE_A_BUILD_FOLDER = {"mesonpy", "scikit_build_core"}


@dataclass(frozen=True)
class BuildSystem:
    """The table ``[build-system]``, with the defaults of PEP 517 and PEP 518."""

    requires: tuple[str, ...] = ("setuptools>=40.8.0",)
    backend: str = LEGACY
    path: tuple[str, ...] = ()
    """``backend-path``: folders of the project from which the backend is imported."""


def read_build_system(document: Mapping[str, Any], *, where: str) -> BuildSystem:
    """What a ``pyproject.toml`` says about building; ``where`` names the file in the error.

    Raises:
        ProjectError: the table has faults; all are named.
    """
    table = document.get("build-system")
    if table is None:
        return BuildSystem()
    if not isinstance(table, dict):
        raise ProjectError(f"build-system in {where} is not a table", hint="write [build-system] above it")
    faults = []
    requires = table.get("requires")
    if not _is_list_of_text(requires):
        faults.append("requires is not a list of requirements (PEP 518)")
        requires = []
    for one in requires or ():
        try:
            Requirement(one)
        except InvalidRequirement as error:
            faults.append(f'requires holds "{one}": {str(error).splitlines()[0]}')
    backend = table.get("build-backend", LEGACY)
    if not isinstance(backend, str) or not backend:
        faults.append("build-backend is not the name of a module (PEP 517)")
    path = table.get("backend-path", [])
    if not _is_list_of_text(path):
        faults.append("backend-path is not a list of folders (PEP 517)")
        path = []
    faults += [
        f'backend-path holds "{one}", which is not a folder of the project (PEP 517)'
        for one in path
        if one.startswith("/") or "\0" in one or ".." in PurePosixPath(one).parts
    ]
    if faults:
        listed = "".join(f"\n- {fault}" for fault in faults)
        raise ProjectError(
            f"[build-system] in {where} is not valid:{listed}",
            hint="see the documentation of the project's backend; for setuptools: "
            'requires = ["setuptools>=77"], build-backend = "setuptools.build_meta"',
        )
    return BuildSystem(tuple(requires or ()), backend, tuple(path))


def _is_list_of_text(value: object) -> bool:
    return isinstance(value, list) and all(isinstance(one, str) for one in value)


@dataclass(frozen=True)
class Backend:
    """A build backend that can be called: its environment, and the variables that its hooks see."""

    system: BuildSystem
    environment: Environment
    variables: Mapping[str, str] = field(default_factory=dict)
    """Set on top of the clean ones, for the hooks and for installing what they ask for."""
    hook_variables: Mapping[str, str] = field(default_factory=dict)
    """Set for the hooks alone: those that force the project's version."""
    index_url: str | None = field(default=None, repr=False)
    on_line: Callable[[str], None] | None = None
    build_folder: Path | None = None
    """Where a backend compiles that else takes a folder of random name; ``None`` leaves that to it."""

    def sdist(self, source: Path, out: Path) -> Path:
        """Build the sdist of a source tree into the folder ``out``.

        Raises:
            ProjectError: the backend cannot, or failed; the message ends with what it said.
        """
        return out / self._built(source, "build_sdist", "get_requires_for_build_sdist", out)

    def wheel(self, source: Path, out: Path) -> Path:
        """Build the wheel of a source tree into the folder ``out``; errors as for ``sdist``."""
        return out / self._built(source, "build_wheel", "get_requires_for_build_wheel", out)

    def editable(self, source: Path, out: Path) -> Path:
        """Build the wheel (PEP 660) by which a source tree is installed editable; errors as for ``sdist``."""
        return out / self._built(source, "build_editable", "get_requires_for_build_editable", out)

    def metadata(self, source: Path) -> RawMetadata:
        """The core metadata of a source tree, prepared, or from a wheel if the backend cannot prepare it."""
        with tempfile.TemporaryDirectory(prefix="conveyor-metadata-") as folder:
            name = self._built(
                source, "prepare_metadata_for_build_wheel", "get_requires_for_build_wheel", Path(folder)
            )
            return parse_email(Path(folder, name, "METADATA").read_bytes())[0]

    def _built(self, source: Path, hook: str, asks: str, out: Path) -> str:
        hooks = BuildBackendHookCaller(
            str(source), self.system.backend, self.system.path or None,
            runner=self._run, python_executable=str(self.environment.python),
        )  # fmt: skip
        try:
            with warnings.catch_warnings(record=True) as warned:
                warnings.simplefilter("always")  # the backend's warnings are no faults of ours
                requires = getattr(hooks, asks)()
                if requires:
                    install(self.environment, requires, index_url=self.index_url, variables=self.variables,
                            on_line=self.on_line)  # fmt: skip
                built = getattr(hooks, hook)(str(out), config_settings=self._settings())
        except (BackendUnavailable, BackendInvalid) as error:
            raise ProjectError(
                f"the build backend {self.system.backend} cannot be imported: {_last_line(error)}",
                hint="name the package that holds it in requires under [build-system] in pyproject.toml",
            ) from error
        except (HookMissing, UnsupportedOperation) as error:
            raise ProjectError(
                f"the build backend {self.system.backend} has no {hook}: {_last_line(error)}"
            ) from error
        if self.on_line is not None:
            for warning in warned:
                self.on_line(f"warning: {warning.message}")
        return str(built)

    def _settings(self) -> dict[str, str] | None:
        if self.build_folder is None or self.system.backend.partition(".")[0] not in _TAKE_A_BUILD_FOLDER:
            return None
        return {"build-dir": str(self.build_folder)}

    def _run(
        self, cmd: Sequence[str], cwd: str | None = None, extra_environ: Mapping[str, str] | None = None
    ) -> None:
        folder = Path(cwd or ".")
        # Modules of the project that a backend imports must not leave their bytecode in the checkout.
        cached = {"PYTHONPYCACHEPREFIX": str(self.environment.path / "bytecode")}
        sight = Sight(
            variables=self.environment.variables()
            | cached
            | dict(self.variables) | dict(self.hook_variables) | dict(extra_environ or {}),
            reads=(self.environment.path, folder),
            writes=(folder,),
            index_url=self.index_url,
            holds=self.environment.holds,
        )  # fmt: skip
        done = run_foreign(cmd, sight, folder=folder, on_line=self.on_line)
        if done.return_code:
            said = done.output.strip()[-4000:] or f"exit code {done.return_code}"
            raise ProjectError(f"the build backend {self.system.backend} failed:\n{said}")


def make_backend(
    system: BuildSystem,
    environment: Path,
    *,
    python: str | None = None,
    variables: Mapping[str, str] | None = None,
    hook_variables: Mapping[str, str] | None = None,
    index_url: str | None = None,
    on_line: Callable[[str], None] | None = None,
    build_folder: Path | None = None,
    holds: tuple[int, ...] = (),
) -> Backend:
    """Make an environment at a path and install the backend of a project there.

    Args:
        system: the project's ``[build-system]``.
        environment: where the environment is made.
        python: path or version of the interpreter; ``None`` means the one that runs now.
        variables: set on top of the clean ones, for every child.
        hook_variables: set for the backend's hooks alone.
        index_url: the only index for the build requirements; ``None`` means the user's configuration.
        on_line: called with each line that uv and the backend write.
        build_folder: where the backend compiles; ``None`` leaves that to it.
        holds: descriptors that every child keeps open.

    Raises:
        ProjectError: the requirements cannot be installed.
    """
    made = make_environment(environment, python=python, holds=holds)
    backend = Backend(system, made, variables or {}, hook_variables or {}, index_url, on_line, build_folder)
    if system.requires:
        install(made, system.requires, index_url=index_url, variables=backend.variables, on_line=on_line)
    return backend


def install(
    environment: Environment,
    requires: Sequence[str],
    *,
    index_url: str | None,
    variables: Mapping[str, str],
    on_line: Callable[[str], None] | None,
) -> None:
    """Install build requirements, declared ones or those that a backend's hook returned.

    Raises:
        ProjectError: they are none, or cannot be installed; the hint says where they are declared.
    """
    faults = []
    for one in requires:
        try:
            Requirement(one)
        except (InvalidRequirement, TypeError) as error:
            faults.append(f'\n- "{one}": {str(error).splitlines()[0]}')
    if faults:
        raise ProjectError(
            f"the build backend asks for what is no requirement (PEP 508):{''.join(faults)}",
            hint="correct the project's own backend, or use another version of it",
        )
    try:
        environment.install(*requires, index_url=index_url, variables=variables, on_line=on_line)
    except ProjectError as error:
        raise ProjectError(
            f"the build requirements {', '.join(requires)} cannot be installed: {error.message}",
            hint="requires under [build-system] in pyproject.toml declares them, or the backend itself does",
        ) from error


def ask_backend(
    root: Path,
    *,
    python: str | None = None,
    variables: Mapping[str, str] | None = None,
    index_url: str | None = None,
    on_line: Callable[[str], None] | None = None,
) -> RawMetadata:
    """The core metadata that a project's backend gives: name, version, ``requires_python``, extras.

    Arguments and errors as for ``make_backend``, but without ``python`` the interpreter is chosen by what the
    project's files say. It takes seconds: ask only for what is written nowhere.
    """
    path = root / "pyproject.toml"
    try:
        document = read_toml(path)
    except FileNotFoundError:
        document = {}
    system = read_build_system(document, where=str(path))
    python = python or str(python_to_ask_with(root, document).path)
    with tempfile.TemporaryDirectory(prefix="conveyor-ask-") as scratch:
        backend = make_backend(
            system, Path(scratch, "environment"), python=python, variables=variables, index_url=index_url,
            on_line=on_line,
        )  # fmt: skip
        answer = backend.metadata(_copied(root, Path(scratch, "source")))
    keep_answer(root, answer)
    return answer


def _copied(root: Path, into: Path) -> Path:
    """A copy of a checked-out project: some backends write into the tree that they are asked about."""
    try:
        top = repository_top(root)
        clone_for_a_look(top, into)
    except ProjectError:  # no repository, or one without a commit
        shutil.copytree(root, into, symlinks=True)
        return into
    copy = into / root.resolve().relative_to(top)
    for path in changed_files(root):
        (copy / path).unlink(missing_ok=True)
        if (root / path).is_file():
            (copy / path).parent.mkdir(parents=True, exist_ok=True)
            shutil.copy2(root / path, copy / path, follow_symlinks=False)
    return copy


def _last_line(error: Exception) -> str:
    lines = [line for line in str(error).strip().splitlines() if line.strip()]
    return lines[-1].strip() if lines else type(error).__name__
