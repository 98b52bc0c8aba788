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
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from functools import partial
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
from conveyor.project.clones import clone_for_a_look, copy_for_foreign
from conveyor.project.environment import Environment, make_environment
from conveyor.project.foreign import Sight, run_foreign
from conveyor.project.git import changed_files, repository_top
from conveyor.project.interpreters import python_to_ask_with
from conveyor.project.settings import keep_answer, read_toml
from conveyor.project.taking import own_file, take_file

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

    from conveyor.project.foreign import Surroundings

LEGACY = "setuptools.build_meta:__legacy__"
"""The backend of a project that declares none (PEP 517)."""

LARGEST_ANSWER_BYTES = 16 * 2**20
_ARGUMENTS, _ANSWER = "input.json", "output.json"
"""The files by which ``pyproject_hooks`` talks to its script."""
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
    """A build backend that can be called.

    Its hooks may change the source tree that they are given: behind a wall, no git of ours may be run there
    afterwards, because a hook can leave settings in it that git would follow.
    """

    system: BuildSystem
    environment: Environment
    hook_variables: Mapping[str, str] = field(default_factory=dict)
    """Set for the hooks alone: those that force the project's version."""
    build_folder: Path | None = None
    """Where a backend compiles that else takes a folder of random name; ``None`` leaves that to it."""

    def sdist(self, source: Path, out: Path, *, top: Path | None = None) -> Path:
        """Build the sdist of a source tree into the folder ``out``.

        ``top`` is the top of the repository that the tree is in, which the backend may see and change too.

        Raises:
            ProjectError: the backend cannot, or failed; the message ends with what it said.
        """
        return out / self._built(source, "build_sdist", "get_requires_for_build_sdist", out, top=top)

    def wheel(self, source: Path, out: Path) -> Path:
        """Build the wheel of a source tree into the folder ``out``; errors as for ``sdist``."""
        return out / self._built(source, "build_wheel", "get_requires_for_build_wheel", out)

    def editable(self, source: Path, out: Path, *, top: Path | None = None) -> Path:
        """Build the wheel (PEP 660) by which a source tree is installed editable; otherwise as ``sdist``."""
        return out / self._built(source, "build_editable", "get_requires_for_build_editable", out, top=top)

    def metadata(self, source: Path, *, top: Path | None = None) -> RawMetadata:
        """The core metadata of a source tree, prepared, or from a wheel if the backend cannot prepare it."""
        with tempfile.TemporaryDirectory(prefix="conveyor-metadata-") as folder:
            name = self._built(
                source, "prepare_metadata_for_build_wheel", "get_requires_for_build_wheel", Path(folder),
                top=top, member="METADATA",
            )  # fmt: skip
            return parse_email(Path(folder, name).read_bytes())[0]

    def _built(
        self, source: Path, hook: str, asks: str, out: Path, *, top: Path | None = None,
        member: str | None = None,
    ) -> str:  # fmt: skip
        """Have a hook write into a folder of its own, take what it says it has built, and return its name.

        ``member`` names the one file that is wanted, if a folder is built.
        """
        with _scratch(self.environment.path.parent, "built") as made:
            name = PurePosixPath(self._called(source, hook, asks, made, top))
            if len(name.parts) != 1 or name.name == "..":
                raise ProjectError(f'the build backend {self.system.backend} calls its file "{name}"')
            try:
                take_file(made, str(name / member if member else name), out / (member or name))
            except FileNotFoundError as error:
                raise ProjectError(
                    f"the build backend {self.system.backend} says it has built {name}, which is not there"
                ) from error
        return member or str(name)

    def _called(self, source: Path, hook: str, asks: str, made: Path, top: Path | None) -> str:
        hooks = BuildBackendHookCaller(
            str(source), self.system.backend, self.system.path or None,
            runner=partial(self._run, writes=(top or source, made)),
            python_executable=str(self.environment.python),
        )  # fmt: skip
        try:
            with warnings.catch_warnings(record=True) as warned:
                warnings.simplefilter("always")  # the backend's warnings are no faults of ours
                requires = getattr(hooks, asks)()
                if requires:
                    install(self.environment, [*self.system.requires, *requires])
                built = getattr(hooks, hook)(str(made), config_settings=self._settings())
        except (BackendUnavailable, BackendInvalid) as error:
            raise ProjectError(
                f"the build backend {self.system.backend} cannot be imported: {_last_line(error)}",
                hint="name the package that holds it in requires under [build-system] in pyproject.toml",
            ) from error
        except (HookMissing, UnsupportedOperation) as error:
            raise ProjectError(
                f"the build backend {self.system.backend} has no {hook}: {_last_line(error)}"
            ) from error
        on_line = self.environment.around.on_line
        if on_line is not None:
            for warning in warned:
                on_line(f"warning: {warning.message}")
        return str(built)

    def _settings(self) -> dict[str, str] | None:
        if self.build_folder is None or self.system.backend.partition(".")[0] not in _TAKE_A_BUILD_FOLDER:
            return None
        return {"build-dir": str(self.build_folder)}

    def _run(
        self,
        cmd: Sequence[str],
        cwd: str | None = None,
        extra_environ: Mapping[str, str] | None = None,
        *,
        writes: tuple[Path, ...],
    ) -> None:
        """Run a hook, as ``pyproject_hooks`` asks for it: ``cmd`` is Python, a script, a hook and a folder.

        The hook's arguments are in that folder, and its answer comes into it. A hook gets a copy of it, so
        that the answer can be taken as a plain file.
        """
        python, script, hook, folder = cmd
        around = self.environment.around
        # Modules of the project that a backend imports must not leave their bytecode in the checkout.
        bytecode = self.environment.path.with_name("bytecode")
        bytecode.mkdir(exist_ok=True)
        with _scratch(self.environment.path.parent, "hook") as control:
            shutil.copyfile(Path(folder, _ARGUMENTS), control / _ARGUMENTS)
            sight = Sight(
                variables=self.environment.variables()
                | {"PYTHONPYCACHEPREFIX": str(bytecode)}
                | dict(self.hook_variables) | dict(extra_environ or {}),
                reads=(self.environment.path, Path(script).parent),
                writes=(*writes, control, bytecode, *([self.build_folder] if self.build_folder else [])),
                holds=around.holds,
                is_build=True,
                wall=around.wall,
            )  # fmt: skip
            words = [python, script, hook, str(control)]
            done = run_foreign(words, sight, folder=Path(cwd or "."), on_line=around.on_line)
            if done.return_code:
                said = done.output.strip()[-4000:] or f"exit code {done.return_code}"
                raise ProjectError(f"the build backend {self.system.backend} failed:\n{said}")
            with suppress(FileNotFoundError):  # the library says what that means
                take_file(control, _ANSWER, Path(folder, _ANSWER), largest=LARGEST_ANSWER_BYTES)


@contextmanager
def _scratch(beside: Path, name: str) -> Iterator[Path]:
    """A folder that foreign code may write in, until the end of the block."""
    beside.mkdir(parents=True, exist_ok=True)
    folder = Path(tempfile.mkdtemp(prefix=f"{name}-", dir=beside))
    try:
        yield folder
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def make_backend(
    system: BuildSystem,
    environment: Path,
    *,
    python: str | None = None,
    hook_variables: Mapping[str, str] | None = None,
    around: Surroundings | None = None,
    build_folder: Path | None = None,
) -> Backend:
    """Make an environment at a path and install the backend of a project there.

    Args:
        system: the project's ``[build-system]``.
        environment: where the environment is made; the folder that holds it is used as well.
        python: path or version of the interpreter; ``None`` means the one that runs now.
        hook_variables: set for the backend's hooks alone.
        around: for every child; names the index for the build requirements.
        build_folder: where the backend compiles; ``None`` leaves that to it.

    Raises:
        ProjectError: the requirements cannot be installed.
    """
    made = make_environment(environment, python=python, around=around)
    if system.requires:
        install(made, system.requires)
    return Backend(system, made, hook_variables or {}, build_folder)


def install(environment: Environment, requires: Sequence[str]) -> None:
    """Install build requirements, declared ones or those that a backend's hook returned as well.

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
        environment.install(*requires)
    except ProjectError as error:
        raise ProjectError(
            f"the build requirements {', '.join(requires)} cannot be installed: {error.message}",
            hint="requires under [build-system] in pyproject.toml declares them, or the backend itself does",
        ) from error


def ask_backend(root: Path, *, python: str | None = None, around: Surroundings | None = None) -> RawMetadata:
    """The core metadata that a project's backend gives: name, version, ``requires_python``, extras.

    Arguments and errors as for ``make_backend``, but without ``python`` the interpreter is chosen by what the
    project's files say. It takes seconds: ask only for what is written nowhere.
    """
    path = root / "pyproject.toml"
    try:
        document = read_toml(own_file(path))
    except FileNotFoundError:
        document = {}
    system = read_build_system(document, where=str(path))
    is_walled = around is not None and around.wall is not None
    python = python or str(python_to_ask_with(root, document).path)
    with tempfile.TemporaryDirectory(prefix="conveyor-ask-") as scratch:
        backend = make_backend(system, Path(scratch, "environment"), python=python, around=around)
        copy = Path(scratch, "source")
        answer = backend.metadata(_copied(root, copy, is_foreign=is_walled), top=copy)
    keep_answer(root, answer)
    return answer


def _copied(root: Path, into: Path, *, is_foreign: bool) -> Path:
    """A copy of a checked-out project: some backends write into the tree that they are asked about."""
    try:
        top = repository_top(root)
        if is_foreign:
            return copy_for_foreign(root.resolve(), top, into)
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
