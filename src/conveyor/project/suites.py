"""The test suite of a checkout, as the project runs it: its files, pytest settings and requirements.

Read from the project's files; nothing of it runs here. What ``[tool.conveyor.test]`` declares holds; what it
leaves open is taken from pytest's own settings (``testpaths``, ``required_plugins``), else found: folders
``tests`` and ``test``, requirements in an extra, a dependency group or a file of a usual name.

The settings are those of the one file that pytest itself would choose (pytest, "Configuration file formats").
"""

from __future__ import annotations

import json
import re
import shlex
from configparser import ConfigParser
from configparser import Error as ConfigParserError
from dataclasses import dataclass
from fnmatch import fnmatchcase
from pathlib import Path, PurePosixPath
from typing import TYPE_CHECKING, Any

from packaging.requirements import InvalidRequirement, Requirement
from packaging.utils import canonicalize_name

from conveyor.errors import ProjectError
from conveyor.project.settings import TEST_FOLDERS, read_toml, specifier_of_poetry, table_in
from conveyor.project.taking import own_file

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

    from conveyor.project.settings import Project

TEST_NAMES = ("test", "tests", "testing", "dev")
"""Extras and dependency groups for the requirements of tests; the first that exists is used."""
_REQUIREMENTS_FILES = (
    "requirements-test.txt", "requirements-tests.txt", "test-requirements.txt", "test_requirements.txt",
    "requirements/test.txt", "requirements/tests.txt", "tests/requirements.txt", "test/requirements.txt",
    "requirements-dev.txt", "requirements_dev.txt", "dev-requirements.txt", "requirements/dev.txt",
)  # fmt: skip
_SUITE_FOLDERS = (*TEST_FOLDERS, "testing", "t")
_PYTEST_FILES = (
    "pytest.toml", ".pytest.toml", "pytest.ini", ".pytest.ini", "pyproject.toml", "tox.ini", "setup.cfg",
)  # fmt: skip
"""In the order in which pytest looks; the first that has its section wins."""
_REPLACED = {"testpaths", "cache_dir"}
"""Settings of pytest that are given on its command line here."""


@dataclass(frozen=True)
class Requirements:
    """The requirements of tests, or of documentation."""

    extra: str | None = None
    """The extra of the project that holds them."""
    lines: tuple[str, ...] = ()
    """Requirements (PEP 508)."""
    files: tuple[str, ...] = ()
    """Requirements files in the checkout."""


@dataclass(frozen=True)
class PytestSettings:
    """What pytest would read in a checkout."""

    file: str | None
    """The file that it chooses; ``None`` if there is none."""
    options: Mapping[str, Any]
    is_native: bool = False
    """Whether its values are TOML's own (``[tool.pytest]``), not those of an ini file."""

    def words(self, name: str) -> list[str]:
        """The value of an option that is a list of words; raises ProjectError if it is something else."""
        value = self.options.get(name, [])
        try:
            if isinstance(value, str):
                return shlex.split(value, comments=True)
        except ValueError as error:
            raise ProjectError(f"{name} of pytest in {self.file} cannot be read: {error}") from error
        if not isinstance(value, list):
            raise ProjectError(
                f"{name} of pytest in {self.file} is {value!r}, which is neither text nor a list of texts"
            )
        return [str(one) for one in value]

    def as_toml(self, *, without: Iterable[str] = ()) -> str:
        """The settings as a document of the form of ``pyproject.toml``."""
        dropped = _REPLACED | set(without)
        # JSON writes these values as TOML does.
        lines = [
            f"{json.dumps(key)} = {json.dumps(value, ensure_ascii=False)}"
            for key, value in self.options.items()
            if key not in dropped and isinstance(value, (str, bool, int, float, list))
        ]
        return "\n".join([f"[tool.{'pytest' if self.is_native else 'pytest.ini_options'}]", *lines, ""])


def pytest_settings(root: Path) -> PytestSettings:
    """The settings that pytest would read at the top of a checkout.

    Raises:
        ProjectError: the file that it would choose cannot be read.
    """
    for name in _PYTEST_FILES:
        path = root / name
        if not path.is_file():
            continue
        found = _toml_settings(path) if path.suffix == ".toml" else _ini_settings(path)
        if found is not None:
            return found
    return PytestSettings(None, {})


def _toml_settings(path: Path) -> PytestSettings | None:
    document = read_toml(own_file(path))
    if path.name != "pyproject.toml":  # pytest 9: chosen even if it is empty
        if not isinstance(document.get("pytest", {}), dict):
            raise ProjectError(f"{path} is not valid: pytest must be a table", hint="write [pytest] above it")
        return PytestSettings(path.name, document.get("pytest", {}), is_native=True)
    table = table_in(document, "tool", "pytest")
    if isinstance(table.get("ini_options"), dict):
        return PytestSettings(path.name, table["ini_options"])
    return PytestSettings(path.name, table, is_native=True) if table else None


def _ini_settings(path: Path) -> PytestSettings | None:
    parser = ConfigParser(interpolation=None, strict=False)
    parser.optionxform = str  # type: ignore[method-assign,assignment]  # the documented way to keep the case
    try:
        parser.read(own_file(path), encoding="utf-8")
    except (ConfigParserError, UnicodeDecodeError) as error:
        raise ProjectError(f"{path} cannot be read: {error}") from error
    section = "tool:pytest" if path.name == "setup.cfg" else "pytest"
    if parser.has_section(section):
        return PytestSettings(path.name, dict(parser.items(section)))
    # pytest.ini is chosen even if it is empty.
    return PytestSettings(path.name, {}) if path.name.endswith("pytest.ini") else None


def paths_of_tests(project: Project, settings: PytestSettings, tracked: Sequence[str]) -> tuple[str, ...]:
    """The files and folders that hold the tests, relative to the checkout.

    Declared ones, else those of ``testpaths``, else folders of a usual name that hold test files, else test
    files at the top, else the folders of tests inside the package.

    Raises:
        ProjectError: there are none, or a declared one does not exist.
    """
    declared = project.declared.test.paths
    absent = [path for path in declared if not below(tracked, path)]
    if absent:
        raise ProjectError(
            f"{project.root} has no committed {', '.join(absent)}, which [tool.conveyor.test] paths names",
            hint="correct paths in pyproject.toml, or commit these tests",
        )
    if declared:
        return declared
    named = [_matches(tracked, pattern) for pattern in settings.words("testpaths")]
    found = tuple(dict.fromkeys(path for paths in named for path in paths))
    if found:
        return found
    tests = [path for path in tracked if _is_test_file(path, settings)]
    folders = tuple(folder for folder in _SUITE_FOLDERS if below(tests, folder))
    if folders:
        return folders
    top = tuple(path for path in tests if "/" not in path)
    inside = {
        str(parent)
        for path in tests
        for parent in PurePosixPath(path).parents
        if parent.name in _SUITE_FOLDERS
    }
    shallow = tuple(sorted(one for one in inside if not any(one.startswith(f"{other}/") for other in inside)))
    if top or shallow:
        return top or shallow
    raise ProjectError(
        f"{project.display_name} has no tests to run: its repository has no folder tests/ with test files",
        hint="put tests into a folder tests/ at the top of the repository and commit them, or name where "
        'they are in pyproject.toml: [tool.conveyor.test], paths = ["…"]',
    )


def _is_test_file(path: str, settings: PytestSettings) -> bool:
    patterns = settings.words("python_files") or ["test_*.py", "*_test.py"]
    name = PurePosixPath(path).name
    return any(fnmatchcase(name, pattern) for pattern in patterns)


def _matches(tracked: Sequence[str], pattern: str) -> list[str]:
    """The tracked files and folders that a shell pattern of ``testpaths`` names."""
    pattern = pattern.strip("/").removeprefix("./")
    if pattern in ("", "."):
        return ["."]
    if not any(sign in pattern for sign in "*?["):
        return [pattern] if below(tracked, pattern) else []
    known = {str(parent) for path in tracked for parent in PurePosixPath(path).parents} | set(tracked)
    depth = pattern.count("/")
    return sorted(one for one in known if one.count("/") == depth and fnmatchcase(one, pattern))


def below(tracked: Iterable[str], path: str) -> list[str]:
    """Those of the files that are ``path`` or lie below it."""
    path = path.rstrip("/")
    if path == ".":
        return list(tracked)
    return [one for one in tracked if one == path or one.startswith(f"{path}/")]


def requirements_of_tests(project: Project, settings: PytestSettings) -> Requirements:
    """What the tests require besides the project: declared, else found.

    Raises:
        ProjectError: what is declared does not exist, or a dependency group is not sound.
    """
    declared = project.declared.test
    runner = () if declared.command else ("pytest", *_plugins(settings))
    found = requirements_of(
        project, extra=declared.extra, group=declared.group, files=declared.requirements,
        names=TEST_NAMES, usual_files=_REQUIREMENTS_FILES, where="[tool.conveyor.test]",
    )  # fmt: skip
    return Requirements(found.extra, tuple(dict.fromkeys((*runner, *found.lines))), found.files)


def _plugins(settings: PytestSettings) -> list[str]:
    plugins = settings.words("required_plugins")
    for one in plugins:
        try:
            Requirement(one)
        except InvalidRequirement as error:
            raise ProjectError(
                f'required_plugins of pytest in {settings.file} holds "{one}": {error}'
            ) from error
    return plugins


def requirements_of(
    project: Project, *, extra: str | None, group: str | None, files: tuple[str, ...],
    names: Sequence[str], usual_files: Sequence[str], where: str,
) -> Requirements:  # fmt: skip
    """Declared requirements, else an extra of one of these names, else a group, else a usual file."""
    extras = {canonicalize_name(name): name for name in project.extras}
    groups = _groups(project.document)
    known = {canonicalize_name(name) for name in groups}
    if extra is not None and extras and canonicalize_name(extra) not in extras:
        raise ProjectError(
            f'{where} names the extra "{extra}", which {project.display_name} does not have',
            hint=f"its extras are: {', '.join(sorted(extras.values()))}",
        )
    if group is not None and canonicalize_name(group) not in known:
        raise ProjectError(
            f'{where} names the dependency group "{group}", which {project.display_name} does not have',
            hint=_hint_of_group(project.document, group, groups),
        )
    absent = [path for path in files if not (project.root / path).is_file()]
    if absent:
        raise ProjectError(f"{where} names {', '.join(absent)}, which {project.root} does not have")
    if extra is None and group is None and not files:
        wanted = [canonicalize_name(name) for name in names]
        extra = next((extras[name] for name in wanted if name in extras), None)
        group = next((name for name in wanted if name in known), None) if extra is None else None
        if group is not None and not _is_readable(groups, group):
            group = None  # nobody said that the tests need it
        if extra is None and group is None:
            files = next(((path,) for path in usual_files if (project.root / path).is_file()), ())
    lines = _group(groups, group, ()) if group is not None else []
    return Requirements(extra, tuple(lines), files)


def _hint_of_group(document: Mapping[str, Any], group: str, groups: Iterable[str]) -> str:
    if group in table_in(document, "tool", "hatch", "envs"):
        return (
            f"the environment of that name is read by hatch alone: write what it needs as {group} = […] "
            f'under [dependency-groups] (PEP 735), and dependency-groups = ["{group}"] in its place'
        )
    return f"its groups are: {', '.join(sorted(groups)) or 'none'}"


def _groups(document: Mapping[str, Any]) -> dict[str, list[Any]]:
    """Dependency groups (PEP 735), and those that pdm and poetry kept before there were any."""
    older = dict(table_in(document, "tool", "pdm", "dev-dependencies"))
    if table := table_in(document, "tool", "poetry", "dev-dependencies"):
        older["dev"] = [(name, said) for name, said in table.items()]
    for name in table_in(document, "tool", "poetry", "group"):
        table = table_in(document, "tool", "poetry", "group", name)
        names = table.get("include-groups")
        included = [{"include-group": one} for one in (names if isinstance(names, list) else ())]
        older[name] = [*table_in(table, "dependencies").items(), *included]
    return {**older, **table_in(document, "dependency-groups")}


def _of_poetry(name: str, said: object, group: str) -> list[str]:
    """The requirements (PEP 508) in one entry of a group of poetry.

    Raises:
        ProjectError: it names a place instead of versions, or a constraint that PEP 440 cannot say.
    """
    if isinstance(said, list):
        return [line for one in said for line in _of_poetry(name, one, group)]
    table: dict[str, Any] = said if isinstance(said, dict) else {"version": said}
    specifier = specifier_of_poetry(table.get("version", "*"))
    python = specifier_of_poetry(table.get("python", "*"))
    places = [key for key in ("git", "path", "file", "url") if key in table]
    if specifier is None or python is None or places:
        why = f"it comes by {places[0]}" if places else f"{said!r} has no form in PEP 440"
        raise ProjectError(
            f'dependency group "{group}" holds {name}, which an index cannot supply as it is written: {why}',
            hint=f"write what the tests need as {group} = […] under [dependency-groups] (PEP 735), or name "
            "requirements files under [tool.conveyor.test]",
        )
    markers = [f"({table['markers']})"] if "markers" in table else []
    markers += [f'sys_platform == "{table["platform"]}"'] if "platform" in table else []
    for part in python.split(",") if python else ():
        operator = re.match(r"[<>=!]+", part)
        assert operator is not None  # noqa: S101 - specifier_of_poetry writes one before each version
        markers.append(f'python_full_version {operator[0]} "{part[operator.end() :]}"')
    extras = f"[{','.join(table['extras'])}]" if table.get("extras") else ""
    marker = f"; {' and '.join(markers)}" if markers else ""
    return [f"{name}{extras}{specifier}{marker}"]


def _group(groups: Mapping[str, list[Any]], name: str, seen: tuple[str, ...]) -> list[str]:
    """The requirements of a dependency group and those it includes (PEP 735)."""
    known = {canonicalize_name(key): entries for key, entries in groups.items()}
    if canonicalize_name(name) in seen or canonicalize_name(name) not in known:
        raise ProjectError(f'dependency group "{name}" includes itself or does not exist')
    found: list[str] = []
    if not isinstance(known[canonicalize_name(name)], list):
        raise ProjectError(
            f'dependency group "{name}" is not a list (PEP 735)', hint=f'write it as one: {name} = ["…"]'
        )
    faults: list[str] = []
    for one in known[canonicalize_name(name)]:
        if isinstance(one, dict):
            found += _group(groups, str(one.get("include-group")), (*seen, canonicalize_name(name)))
            continue
        if str(one).startswith("-e"):  # pdm kept editable ones there
            continue
        for entry in _of_poetry(one[0], one[1], name) if isinstance(one, tuple) else [one]:
            try:
                found.append(str(Requirement(entry)))
                why = _why_not(entry)
            except (InvalidRequirement, TypeError) as error:
                why = str(error).splitlines()[0]
            if why is not None:
                faults.append(f'\n- "{entry}" ({why})')
    if faults:
        raise ProjectError(
            f'dependency group "{name}" holds what cannot be installed from an index:{"".join(faults)}',
            hint=_NOT_FROM_AN_INDEX,
        )
    return found


def _is_readable(groups: Mapping[str, Any], name: str) -> bool:
    """Whether a group that nobody declared can be used: one of poetry may hold what no index supplies."""
    try:
        _group(groups, name, ())
    except ProjectError:
        lists = (entries for entries in groups.values() if isinstance(entries, list))
        return not any(isinstance(one, tuple) for entries in lists for one in entries)
    return True


_OPTION = re.compile(r"(-[rce]|--(?:requirement|constraint|editable))(?:[ =]\s*|(?<=-[rce]))(\S.*)")
_NOT_FROM_AN_INDEX = (
    "require by name and version what an index has, and publish there what it lacks; files of the repository "
    "that the tests only read are declared: [tool.conveyor.test], files"
)


def flatten_requirements(
    root: Path, paths: Sequence[str], folder: Path, more: Sequence[str] = ()
) -> Path | None:
    """Write the requirements files of a checkout into one, which needs the checkout no more.

    Args:
        root: the project's folder.
        paths: the files, relative to it.
        folder: where ``requirements.txt`` is written, and beside it ``constraints.txt`` if there are any.
        more: further requirements, which come first.

    Returns:
        ``None`` if there is nothing to write.

    Raises:
        ProjectError: as for ``read_requirements``.
    """
    found = [read_requirements(root, path) for path in paths]
    lines = [*more, *(line for one in found for line in one.lines)]
    constraints = [line for one in found for line in one.constraints]
    if not lines and not constraints:
        return None
    flat = folder / "requirements.txt"
    if constraints:
        (folder / "constraints.txt").write_text("\n".join([*constraints, ""]), encoding="utf-8")
        lines.append("-c constraints.txt")
    flat.write_text("\n".join([*lines, ""]), encoding="utf-8")
    return flat


@dataclass(frozen=True)
class RequirementLines:
    """The content of a requirements file, with that of the files that it includes."""

    lines: tuple[str, ...]
    """Requirements, each with its own options, such as ``pytest==9.0.1 --hash=sha256:…``."""
    constraints: tuple[str, ...]
    """What ``-c`` names: they hold for what is installed, and install nothing."""


def read_requirements(root: Path, path: str) -> RequirementLines:
    """The lines of a requirements file of a checkout, with those of the files that it includes.

    The project itself is left out, since the built file is installed instead, and so are options of pip:
    which index is asked is not for the project to say.

    Raises:
        ProjectError: a file does not exist, lies outside of the checkout, includes itself or is not UTF-8; or
            a line is no requirement, or one that no index supplies. All such lines are named.
    """
    faults: list[str] = []
    found: dict[bool, list[str]] = {False: [], True: []}
    _read_lines(root.resolve(), path, (), found, faults, is_constraint=False)
    if faults:
        raise ProjectError(
            f"requirements of {root} cannot be installed:" + "".join(f"\n- {fault}" for fault in faults),
            hint=_NOT_FROM_AN_INDEX,
        )
    return RequirementLines(tuple(found[False]), tuple(found[True]))


def check_requirements(project: Project, found: Requirements) -> None:
    """Read the requirements files among what was found; raises ProjectError as ``read_requirements``."""
    for path in found.files:
        read_requirements(project.root, path)


def _read_lines(
    root: Path, path: str, seen: tuple[str, ...], found: dict[bool, list[str]], faults: list[str], *,
    is_constraint: bool,
) -> None:  # fmt: skip
    for line in _text_of_requirements(root, path, seen).replace("\\\n", " ").splitlines():
        bare = re.sub(r"(^|\s)#.*$", "", line).strip()
        option = _OPTION.fullmatch(bare)
        if not bare or (option is None and bare.startswith("-")):
            continue
        if option is not None and option[1] not in ("-e", "--editable"):
            inner = _plain_path(str(PurePosixPath(path).parent / option[2].strip("\"'")))
            is_other = is_constraint or option[1] in ("-c", "--constraint")
            _read_lines(root, inner, (*seen, path), found, faults, is_constraint=is_other)
            continue
        target = option[2] if option is not None else bare
        if _is_the_project(root, path, target):
            continue
        why = "it is editable" if option is not None else _why_not(target)
        if why is not None:
            faults.append(f"{path}: {bare} ({why})")
        else:
            found[is_constraint].append(bare)


def _text_of_requirements(root: Path, path: str, seen: tuple[str, ...]) -> str:
    file = (root / path).resolve()
    if not file.is_relative_to(root) or not file.is_file() or path in seen:
        raise ProjectError(
            f"requirements file {path} of {root} does not exist, lies outside or includes itself"
        )
    try:
        return file.read_text(encoding="utf-8-sig").replace("\0", "")
    except UnicodeDecodeError as error:
        raise ProjectError(
            f"requirements file {path} of {root} is not text in UTF-8: {error}", hint="save it as UTF-8"
        ) from error


def _plain_path(path: str) -> str:
    parts: list[str] = []
    for part in PurePosixPath(path).parts:
        if part == ".." and parts:
            parts.pop()
        else:
            parts.append(part)
    return "/".join(parts)


def _is_the_project(root: Path, path: str, target: str) -> bool:
    """Whether a line names the project's own folder: from that folder, as pip reads it, or from the file."""
    place = re.sub(r"^[\w.-]+(\[[^]]*\])?\s*@\s*(?=file:)", "", target)
    place = place.removeprefix("file:").removeprefix("//")
    place = re.sub(r"(\[[^]]*\])?\s*([;#].*)?$", "", place)
    if not place.startswith((".", "/")):
        return False
    return root in ((root / place).resolve(), (root / path).parent.joinpath(place).resolve())


def _why_not(line: str) -> str | None:
    """Why a line is not installed; ``None`` if it is, and then it is a requirement (PEP 508) or a URL."""
    text = re.split(r"\s+--", line, maxsplit=1)[0].strip()
    if re.match(r"(git|hg|svn|bzr)\+", text) or re.search(r"@\s*(git|hg|svn|bzr)\+", text):
        return "it comes from a repository of sources"
    if re.match(r"https?://", text):
        return None
    if re.search(r"(^|@\s*)file:", text) or text.startswith((".", "/", "~")):
        return "it is a folder or file of the checkout"
    try:
        Requirement(text)
    except InvalidRequirement as error:
        return str(error).splitlines()[0]
    return None


def command_to_install(project: Project) -> str:
    """The command by which people install a project, editable, with the requirements of its tests."""
    found = requirements_of_tests(project, pytest_settings(project.root))
    files = [word for path in found.files for word in ("-r", path)]
    return shlex.join(
        ["pip", "install", "-e", f".[{found.extra}]" if found.extra else ".", *found.lines, *files]
    )


def command_to_test(project: Project) -> str:
    """The command by which people run the tests."""
    return shlex.join(project.declared.test.command or ("pytest",))
