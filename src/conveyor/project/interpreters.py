"""Interpreters of this machine, and the one that a project is built, trained and tested with.

They are found by path, never through a shim: on the ``PATH``, in the system's folders, among the versions of
pyenv and of uv. What an interpreter is, it is asked itself, once in each process. The choice:

1. ``.python-version`` of the project, if it satisfies ``requires-python``; else that is an error
2. without that file, the newest CPython that ``requires-python`` allows, no pre-release; what is newest, the
   interpreters say themselves, since 3.12.1 and 3.12.9 have files of one name
3. ``[tool.conveyor.test] pythons`` adds versions to test on, and so do the settings of the index
"""

from __future__ import annotations

import json
import os
import platform
import re
import sys
import sysconfig
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

import packaging
from packaging.specifiers import InvalidSpecifier, SpecifierSet
from packaging.utils import parse_wheel_filename

from conveyor.errors import MissingTool, ProjectError
from conveyor.project.foreign import Sight, clean_environment_variables, run_foreign
from conveyor.project.settings import written_requires_python
from conveyor.project.taking import own_file

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping, Sequence

    from conveyor.project.settings import Project

_NAME = re.compile(r"(python|pypy)3(?:\.([0-9]+))?")
_WANTED = re.compile(r"(?:(cpython|pypy)-?)?([0-9]+(?:\.[0-9]+){0,2})")
_ASKED = """\
import json, platform, sys, sysconfig
sys.path.append(sys.argv[1])
try:
    from packaging.tags import sys_tags
    tags = [str(tag) for tag in sys_tags()]
except Exception:  # too old for our copy of packaging
    tags = ["py3-none-any", "py%d%d-none-any" % sys.version_info[:2]]
level = {"final": ""}.get(sys.version_info.releaselevel, "rc0")
print(json.dumps({
    "implementation": sys.implementation.name,
    "version": platform.python_version() if not level else "%d.%d.%d" % sys.version_info[:3] + level,
    "platform": sysconfig.get_platform(),
    "tags": tags,
}))
"""
ANSWER_SECONDS = 30.0


@dataclass(frozen=True)
class Interpreter:
    """One interpreter, as it described itself."""

    path: Path
    implementation: str
    """``cpython`` or ``pypy``."""
    version: str
    """Of the language, with its patch number: ``3.12.4``."""
    platform: str
    """As ``sysconfig.get_platform`` says it: ``linux-x86_64``."""
    tags: tuple[str, ...]
    """The tags of the wheels that it can install, the best first."""

    @property
    def order(self) -> tuple[int, int]:
        """Newest minor version first; CPython before others."""
        return (0 if self.implementation == "cpython" else 1, -_numbers(self.version)[1])

    @property
    def name(self) -> str:
        """The version as evidence states it: ``3.12.4``, ``pypy3.9.16``."""
        return self.version if self.implementation == "cpython" else f"{self.implementation}{self.version}"

    def fits(self, filename: str) -> bool:
        """Whether it can install a wheel of that name."""
        return any(str(tag) in self.tags for tag in parse_wheel_filename(filename)[3])

    def is_called(self, wanted: str) -> bool:
        """Whether ``3.12``, ``3.12.4``, ``cpython-3.12`` or ``pypy3.9`` means this one."""
        match = _WANTED.fullmatch(wanted)
        if match is None:
            return False
        return self.implementation == (match[1] or "cpython") and (
            f"{self.version}.".startswith(f"{match[2]}.")
        )


@dataclass(frozen=True)
class InterpreterPlace:
    """A file that may be an interpreter, and how it was found."""

    path: Path
    """Without links."""
    found_in: str
    """``PATH``, ``pyenv``, ``uv`` or ``the system``."""

    @property
    def order(self) -> tuple[int, int]:
        """Newest minor version first, by its name; CPython before others; 1 if the name does not say it."""
        match = _NAME.fullmatch(self.path.name)
        minor = int(match[2]) if match is not None and match[2] else -1
        return (0 if self.path.name.startswith("python") else 1, -minor)

    def may_be(self, wanted: str) -> bool:
        """Whether its name leaves open that it is that Python; a ``pypy3.9`` is no 3.12."""
        match, named = _WANTED.fullmatch(wanted), _NAME.fullmatch(self.path.name)
        if match is None or named is None:
            return match is not None
        numbers = match[2].split(".")
        return named[1] == {"cpython": "python"}.get(match[1] or "cpython", match[1]) and (
            named[2] is None or numbers[1:2] in ([], [named[2]])
        )


def running_interpreter() -> Interpreter:
    """The one that runs now, without asking it: the worker's own."""
    from packaging.tags import sys_tags

    return Interpreter(
        Path(os.path.realpath(sys.executable)),
        sys.implementation.name,
        platform.python_version(),
        sysconfig.get_platform(),
        tuple(map(str, sys_tags())),
    )


def places() -> list[InterpreterPlace]:
    """Every file of this machine that may be an interpreter of Python 3, each once, newest first by name."""
    found: dict[Path, InterpreterPlace] = {}
    for folder, found_in in _folders():
        try:
            names = sorted(os.listdir(folder))  # noqa: PTH208 - folders of programs have thousands of names
        except OSError:
            continue
        for name in names:
            if _NAME.fullmatch(name) is None or not os.access(folder / name, os.X_OK):
                continue
            path = Path(os.path.realpath(folder / name))
            if path.is_file():
                found.setdefault(path, InterpreterPlace(path, found_in))
    return sorted(found.values(), key=lambda place: (place.order, str(place.path)))


def _folders() -> Iterator[tuple[Path, str]]:
    yield Path(os.path.realpath(sys.executable)).parent, "PATH"
    pyenv = Path(os.environ.get("PYENV_ROOT") or Path.home() / ".pyenv")
    for entry in os.environ.get("PATH", os.defpath).split(os.pathsep):
        if (
            entry and Path(entry).name != "shims"
        ):  # a shim runs whatever some file says, with pyenv's own home
            yield Path(entry), "PATH"
    for folder in sorted(pyenv.glob("versions/*/bin")):
        yield folder, "pyenv"
    data = Path(os.environ.get("XDG_DATA_HOME") or Path.home() / ".local" / "share")
    managed = Path(os.environ.get("UV_PYTHON_INSTALL_DIR") or data / "uv" / "python")
    for folder in sorted(managed.glob("*/bin")):
        yield folder, "uv"
    for folder in (Path("/usr/local/bin"), Path("/usr/bin")):
        yield folder, "the system"


@lru_cache(maxsize=256)
def ask(path: Path) -> Interpreter | str:
    """The interpreter at ``path``, which is run once to describe itself; a sentence if it is none."""
    if path == Path(os.path.realpath(sys.executable)):
        return running_interpreter()
    ours = str(Path(packaging.__file__).parent.parent)
    command = [str(path), "-I", "-S", "-c", _ASKED, ours]
    try:
        done = run_foreign(
            command, Sight(clean_environment_variables(), reads=(path, Path(ours))),
            timeout_seconds=ANSWER_SECONDS,
        )  # fmt: skip
    except MissingTool as error:
        return error.message
    lines = done.output.strip().splitlines() or ["it wrote nothing"]
    if done.return_code:
        return f"it ended with code {done.return_code}: {lines[-1][:200]}"
    try:
        said = json.loads(lines[-1])
        return Interpreter(
            path, str(said["implementation"]), str(said["version"]), str(said["platform"]),
            tuple(map(str, said["tags"])),
        )  # fmt: skip
    except (ValueError, KeyError, TypeError):
        return f"it is no Python: it wrote {lines[-1][:200]}"


def interpreters(wanted: str | None = None) -> Iterator[Interpreter]:
    """The interpreters at ``places``, newest first, CPython before others.

    Those of one name are asked when it is their turn, and those whose names have no number at once. With a
    ``wanted`` version only those are asked that may be it: to ask all of a machine takes a second.
    """
    waiting: dict[tuple[int, int], list[Interpreter | InterpreterPlace]] = {}
    for place in places():
        if wanted is not None and not place.may_be(wanted):
            continue
        if place.order[1] <= 0:
            waiting.setdefault(place.order, []).append(place)
        elif isinstance(found := ask(place.path), Interpreter):
            waiting.setdefault(found.order, []).append(found)
    for order in sorted(waiting):
        asked = (one if isinstance(one, Interpreter) else ask(one.path) for one in waiting[order])
        yield from newest_first(one for one in asked if isinstance(one, Interpreter))


def newest_first(found: Iterable[Interpreter]) -> list[Interpreter]:
    """Interpreters by their version, the highest first; of one version, in the order in which they came."""
    return sorted(found, key=lambda one: (_numbers(one.version)[:3], "rc" not in one.version), reverse=True)


def requires_python(project: Project) -> SpecifierSet:
    """What ``requires-python`` allows, wherever the project's backend keeps it; everything if nowhere.

    Raises:
        ProjectError: it is not a version specifier.
    """
    written = written_requires_python(project.root, project.document)
    return _specifiers(project.root, written if written is not None else project.asked_requires_python)


def _specifiers(root: Path, found: str | None) -> SpecifierSet:
    try:
        return SpecifierSet(found or "")
    except InvalidSpecifier as error:
        raise ProjectError(f'requires-python of {root} is not valid: "{found}"') from error


def declared_python(root: Path) -> str | None:
    """The version in ``.python-version``, such as ``3.12`` or ``pypy3.9``; ``None`` without one.

    Raises:
        ProjectError: it names something else, such as an environment of pyenv.
    """
    path = root / ".python-version"
    try:
        lines = own_file(path).read_text(encoding="utf-8").splitlines()
    except FileNotFoundError:
        return None
    except (OSError, UnicodeDecodeError) as error:
        raise ProjectError(f"{path} cannot be read: {error}") from error
    words = [line.partition("#")[0].strip() for line in lines]
    first = next((word for word in words if word), "")
    if _WANTED.fullmatch(first) is None:
        raise ProjectError(
            f'.python-version of {root} says "{first}", which is no version of Python',
            hint="write a version into it, such as 3.12 or 3.12.4, or remove it from the repository",
        )
    return first


def python_of(project: Project) -> Interpreter:
    """The interpreter that a project is built, trained and first tested with.

    Raises:
        ProjectError: ``.python-version`` contradicts ``requires-python``.
        MissingTool: this machine has no such interpreter; the message names those that it has.
    """
    return _chosen(project.root, requires_python(project))


def python_to_ask_with(root: Path, document: Mapping[str, Any]) -> Interpreter:
    """The interpreter that a project's backend is asked with: chosen by what is written; errors as above."""
    return _chosen(root, _specifiers(root, written_requires_python(root, document)))


def _chosen(root: Path, allowed: SpecifierSet) -> Interpreter:
    declared = declared_python(root)
    if declared is not None:
        named = _named(declared, allowed, ".python-version")
        if named is None:
            raise _missing(f"{declared} that .python-version asks for", declared)
        return named
    for found in interpreters():
        if found.implementation == "cpython" and allowed.contains(found.version, prereleases=False):
            return found
    raise _missing(f"that requires-python allows ({allowed})", _example(allowed))


def pythons_to_test_on(
    project: Project, further: Mapping[str, Sequence[str]] | None = None
) -> tuple[Interpreter, ...]:
    """The project's own interpreter, then the declared ones and further ones, each once.

    ``further`` are versions by who asks for them, as ``asked_by`` names an index.

    Raises:
        ProjectError: one of them contradicts ``requires-python``.
        MissingTool: this machine lacks some; the message names each.
    """
    allowed = requires_python(project)
    chosen = [python_of(project)]
    missing: dict[str, str] = {}
    for where, versions in {"pythons": project.declared.test.pythons, **(further or {})}.items():
        for wanted in versions:
            if wanted in missing or any(one.is_called(wanted) for one in chosen):
                continue
            found = _named(wanted, allowed, where)
            if found is not None:
                chosen.append(found)
            else:
                missing[wanted] = f"{wanted} that {where} asks for"
    if missing:
        raise _missing(" and no Python ".join(missing.values()), " ".join(missing))
    return tuple(chosen)


def asked_by(index: str) -> str:
    """An index as messages name it when its settings ask for a Python."""
    return f'index "{index}"'


def _named(wanted: str, allowed: SpecifierSet, where: str) -> Interpreter | None:
    """The newest interpreter of that version, ``None`` if there is none; ``where`` says who wants it."""
    called = [one for one in interpreters(wanted) if one.is_called(wanted)]
    for one in newest_first(called):
        if allowed.contains(one.version, prereleases=True):
            return one
    match = _WANTED.fullmatch(wanted)
    number = match[2] if match is not None else wanted
    if called or not _may_satisfy(number, allowed):
        remedy = f"correct {where} or requires-python: they contradict each other"
        if where.startswith("index "):
            index = where.removeprefix('index "').removesuffix('"')
            remedy += f"; an administrator corrects an index with: conveyor store index set {index}"
        raise ProjectError(
            f"{where} says {wanted}, which requires-python ({allowed}) does not allow", hint=remedy
        )
    return None


def _may_satisfy(number: str, allowed: SpecifierSet) -> bool:
    """Whether some version that begins with these numbers is allowed."""
    parts = number.split(".")
    if len(parts) >= 3:
        return allowed.contains(number, prereleases=True)
    tails = [".".join([*parts, *tail]) for tail in (("0",), ("0", "0"), ("99",), ("99", "99"))]
    middle = [f"{number}.{patch}" for patch in range(40)]
    return any(allowed.contains(one, prereleases=True) for one in (*tails, *middle))


def _missing(what: str, wanted: str) -> MissingTool:
    found = [one.name for one in interpreters()]
    listed = ", ".join(dict.fromkeys(sorted(found, key=_numbers))) or "none"
    return MissingTool(
        f"this machine has no Python {what}; it has {listed}",
        hint=f"install it, for example with: uv python install {wanted}; "
        "where interpreters are looked for: conveyor python list",
    )


def _example(allowed: SpecifierSet) -> str:
    """A version to install: the newest that was out when this was written, else one that is named."""
    versions = [f"3.{minor}" for minor in range(14, 5, -1)]
    known = [version for version in versions if _may_satisfy(version, allowed)]
    named = [one.version for one in allowed if one.operator in (">=", "==", "~=", "===")]
    return next(iter([*known, *named, "3"])).removesuffix(".*")


def _numbers(version: str) -> tuple[int, ...]:
    return tuple(int(number) for number in re.findall(r"[0-9]+", version))


@dataclass(frozen=True)
class JudgedPlace:
    """A place where an interpreter was looked for, and what became of it."""

    place: InterpreterPlace
    interpreter: Interpreter | None
    passed_over: str | None
    """Why it is not used; ``None`` if it is the chosen one, or if there is no project to choose for."""


def judge_places(project: Project | None) -> list[JudgedPlace]:
    """Every place with its interpreter and, for a project, why it was passed over."""
    judged: list[JudgedPlace] = []
    chosen = python_of(project) if project is not None else None
    allowed = requires_python(project) if project is not None else SpecifierSet()
    declared = declared_python(project.root) if project is not None else None
    for place in places():
        found = ask(place.path)
        if isinstance(found, str):
            judged.append(JudgedPlace(place, None, found))
            continue
        reason = None
        if chosen is not None and found != chosen:
            reason = _reason(found, chosen, allowed, declared)
        judged.append(JudgedPlace(place, found, reason))
    return judged


def _reason(found: Interpreter, chosen: Interpreter, allowed: SpecifierSet, declared: str | None) -> str:
    if not allowed.contains(found.version, prereleases=True):
        return f"requires-python ({allowed}) does not allow it"
    if declared is not None and not found.is_called(declared):
        return f".python-version says {declared}"
    if found.implementation != chosen.implementation:
        return f"{found.implementation} is used only when it is asked for"
    if "rc" in found.version:
        return "it is a pre-release"
    if found.version == chosen.version:
        return f"{chosen.path} is the same version"
    return f"{chosen.version} is newer"
