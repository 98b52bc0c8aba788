"""The one line in which a project states its version, if it takes none from git: found, read and set.

Where it is depends on the backend: ``version`` under ``[project]``, ``[tool.poetry]``, ``[metadata]`` in
``setup.cfg``, ``[package]`` in ``Cargo.toml``; an argument in ``setup.py`` or ``meson.build``; or a variable
such as ``__version__`` in a module, which setuptools (``attr:``), hatchling, flit, pdm and scikit-build-core
read. The files are only read here, nothing of the project runs.

A final is built from such a project as it is. For a candidate and for a development version the line is set
in a clone, so that candidate and final stand on one commit; the build evidence names the line.
"""

from __future__ import annotations

import ast
import re
import tomllib
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from conveyor.domain.words.names import Version, version_or_none
from conveyor.errors import ProjectError
from conveyor.project.settings import handed_to_setup, read_project, table_in, written_in_setup_cfg
from conveyor.project.versions import version_tools

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator
    from pathlib import Path

    from conveyor.project.settings import Project

_PROBE = "0.0.0.dev987654321"
_QUOTED = re.compile(r"""^\s*["']?(?:[\w-]+\.)*version["']?\s*=\s*(["'])(?P<version>[^"']*)\1""")
# hatchling and scikit-build-core search for a variable in this way, if the project names no pattern.
_HATCH_PATTERN = r"""(?im)^(?:__version__|VERSION)(?: ?: ?str)? *= *(["'])v?(?P<version>.+?)\1"""
_MESON = re.compile(r"\bproject\s*\(.*?(?<!\w)version\s*:\s*'(?P<version>[^']+)'", re.DOTALL)
_FOLLOWED_IMPORTS = 3


@dataclass(frozen=True)
class VersionLine:
    """A line that states a version."""

    path: str
    """Its file, relative to the project's folder, with forward slashes."""
    number: int
    """Counted from 1."""
    text: str
    """The whole line, without its ending."""
    start: int
    """Where in the line the version begins, and where it ends."""
    end: int

    @property
    def version(self) -> Version:
        """The version that it states."""
        return Version(self.text[self.start : self.end])

    def stating(self, version: Version) -> str:
        """The line with another version."""
        spelled = _semantic(version) if self.path.endswith("Cargo.toml") else str(version)
        return self.text[: self.start] + spelled + self.text[self.end :]


def version_line(project: Project) -> VersionLine | None:
    """The line that states the project's version; ``None`` if it comes from git or is computed."""
    root, document = project.root, project.document
    metadata = table_in(document, "project")
    poetry = table_in(document, "tool", "poetry")
    tools = version_tools(project)
    if isinstance(metadata.get("version"), str):
        return _in_toml(root, "pyproject.toml", ("project", "version"))
    if isinstance(poetry.get("version"), str) and project.backend.startswith("poetry"):
        # For poetry-dynamic-versioning it is a number that is never built.
        git = "poetry-dynamic-versioning" in tools
        return None if git else _in_toml(root, "pyproject.toml", ("tool", "poetry", "version"))
    if metadata and "version" not in (metadata.get("dynamic") or ()):
        return None
    find = _FINDERS.get(project.backend)
    if find is None and table_in(document, "build-system").get("backend-path"):
        find = _of_setuptools  # a backend of the project's own, which mostly stands around setuptools
    return find(project) if find is not None else None


def set_version(project: Project, line: VersionLine, version: Version) -> VersionLine:
    """Make the line state another version, in place, and return it as it is then.

    The lock beside a ``Cargo.toml`` names the same crate, and Cargo refuses one that is out of date
    (``--locked``), so its entry follows.

    Raises:
        ProjectError: the file changed meanwhile, or the project would not be read with that version.
    """
    path = project.root / line.path
    lines = path.read_bytes().decode("utf-8").splitlines(keepends=True)
    old = lines[line.number - 1]
    if old.rstrip("\r\n") != line.text:
        raise ProjectError(f"{path} changed while its version was set")
    lines[line.number - 1] = line.stating(version) + old[len(line.text) :]
    path.write_bytes("".join(lines).encode("utf-8"))
    if path.name == "Cargo.toml":
        for folder in dict.fromkeys((path.parent, project.root)):
            _set_in_lock(folder / "Cargo.lock", line.text[line.start : line.end], _semantic(version))
    found = version_line(read_project(project.root, known=project.known))
    if found is None or found.number != line.number or found.version != version:
        raise ProjectError(
            f"{path}, line {line.number} cannot be made to state {version}: {line.text.strip()}"
        )
    return found


# --- one finder for each backend ---------------------------------------------------------------------------


def _of_setuptools(project: Project) -> VersionLine | None:
    if _has_version_from_git(project):
        return None
    root = project.root
    declared = table_in(project.document, "tool", "setuptools", "dynamic").get("version")
    if isinstance(declared, dict):
        return _named(project, attribute=declared.get("attr"), file=declared.get("file"))
    written = written_in_setup_cfg(root, "version")
    if written is not None:
        kind, _, named = written.partition(":")
        if kind.strip() in ("attr", "file"):
            return _named(project, **{"attribute" if kind.strip() == "attr" else "file": named.strip()})
        return _in_setup_cfg(root)
    return _in_setup_py(project)


def _has_version_from_git(project: Project) -> bool:
    """Whether a tool gives setuptools the version; setuptools-scm is also required to list files alone."""
    tools = version_tools(project)
    if tools - {"setuptools-scm", "vcs-versioning"}:
        return True
    script = _read(project.root, "setup.py") or ""
    requires = table_in(project.document, "build-system").get("requires") or ()
    return bool(tools) and (
        "setuptools_scm" in table_in(project.document, "tool")
        or "use_scm_version" in script
        or any("[simple]" in str(word) for word in requires)
    )


def _named(project: Project, *, attribute: object = None, file: object = None) -> VersionLine | None:
    """The line in a file, or the assignment of a variable, as setuptools names them."""
    if isinstance(file, list) and len(file) == 1:
        file = file[0]
    if isinstance(file, str):
        return _by_pattern(project.root, file, r"\A\s*(?P<version>\S+)\s*\Z")
    if not isinstance(attribute, str):
        return None
    module, _, variable = attribute.rpartition(".")
    places = table_in(project.document, "tool", "setuptools", "package-dir")
    folders = [str(places[""])] if isinstance(places.get(""), str) else []
    return _variable(project.root, _files_of(module or project.package, (*folders, "src", ".")), variable)


def _of_hatchling(project: Project) -> VersionLine | None:
    table = table_in(project.document, "tool", "hatch", "version")
    if table.get("source", "regex") != "regex" or not isinstance(table.get("path"), str):
        return None
    pattern = table.get("pattern", True)
    return _by_pattern(project.root, table["path"], pattern if isinstance(pattern, str) else _HATCH_PATTERN)


def _of_flit(project: Project) -> VersionLine | None:
    return _variable(project.root, _files_of(project.package, ("src", ".")), "__version__")


def _of_pdm(project: Project) -> VersionLine | None:
    table = table_in(project.document, "tool", "pdm", "version")
    path = table.get("path") or table.get("from")
    if table.get("source", "file") != "file" or not isinstance(path, str):
        return None
    return _by_pattern(project.root, path, r"""(?m)^__version__\s*=\s*(["'])(?P<version>.+?)\1\s*(?:#.*)?$""")


def _of_scikit_build(project: Project) -> VersionLine | None:
    table = table_in(project.document, "tool", "scikit-build", "metadata", "version")
    path, pattern = table.get("input"), table.get("regex", _HATCH_PATTERN)
    if table.get("provider") != "scikit_build_core.metadata.regex" or not isinstance(path, str):
        return None
    pattern = pattern.replace("(?P<value>", "(?P<version>") if isinstance(pattern, str) else _HATCH_PATTERN
    return _by_pattern(project.root, path, f"(?m){pattern}" if "(?" in pattern[:2] else pattern)


def _of_meson(project: Project) -> VersionLine | None:
    return _by_pattern(project.root, "meson.build", _MESON)


def _of_maturin(project: Project) -> VersionLine | None:
    manifest = table_in(project.document, "tool", "maturin").get("manifest-path", "Cargo.toml")
    for path in dict.fromkeys((str(manifest), "Cargo.toml")):
        for keys in (("package", "version"), ("workspace", "package", "version")):
            found = _in_toml(project.root, path, keys)
            if found is not None:
                return found
    return None


_FINDERS: dict[str, Callable[[Project], VersionLine | None]] = {
    "setuptools": _of_setuptools,
    "hatchling": _of_hatchling,
    "flit_core": _of_flit,
    "flit": _of_flit,
    "pdm": _of_pdm,
    "scikit_build_core": _of_scikit_build,
    "mesonpy": _of_meson,
    "maturin": _of_maturin,
}


# --- one reader for each kind of file ----------------------------------------------------------------------


def _in_toml(root: Path, path: str, keys: tuple[str, ...]) -> VersionLine | None:
    """The line of a value, found by writing another one into it and parsing the document again."""
    text = _read(root, path)
    lines = text.splitlines() if text is not None else []
    for number, line in enumerate(lines, start=1):
        match = _QUOTED.match(line)
        if match is None:
            continue
        probed = line[: match.start("version")] + _PROBE + line[match.end("version") :]
        try:
            found: Any = tomllib.loads("\n".join([*lines[: number - 1], probed, *lines[number:]]))
        except tomllib.TOMLDecodeError:
            continue
        for key in keys:
            found = found.get(key) if isinstance(found, dict) else None
        if found == _PROBE:
            return _line(path, number, line, match.start("version"), match.end("version"))
    return None


def _in_setup_cfg(root: Path) -> VersionLine | None:
    section = ""
    for number, line in enumerate((_read(root, "setup.cfg") or "").splitlines(), start=1):
        if head := re.match(r"\[([^\]]+)\]", line):
            section = head[1].strip()
        match = re.match(r"version\s*[=:]\s*(?P<version>\S+)\s*$", line)
        if section == "metadata" and match is not None:
            return _line("setup.cfg", number, line, match.start("version"), match.end("version"))
    return None


def _in_setup_py(project: Project) -> VersionLine | None:
    """The literal that ``setup`` is called with, or the variable that holds it.

    It may stand at the top of the file, in a module that the file imports, or in one that it names: such a
    file is executed, or searched for ``__version__``.
    """
    root = project.root
    text = _read(root, "setup.py") or ""
    tree = _parse(text)
    value = next(iter(handed_to_setup(tree, "version")), None) if tree is not None else None
    if tree is None or value is None:
        return None
    if isinstance(value, ast.Name):
        found = _variable(root, ("setup.py",), value.id)
        if found is not None:
            return found
        value = next((one for name, one in _assigned(tree) if name == value.id), value)
    if isinstance(value, ast.Constant):
        return _literal("setup.py", text, value)
    if isinstance(value, ast.Attribute):
        modules = {
            alias.asname or alias.name: alias.name
            for node in tree.body
            if isinstance(node, ast.Import)
            for alias in node.names
        }
        module = modules.get(ast.unparse(value.value))
        return _variable(root, _files_of(module, ("src", ".")), value.attr) if module else None
    variable = "__version__"
    if isinstance(value, ast.Name):
        variable = value.id
    elif isinstance(value, ast.Subscript) and isinstance(value.slice, ast.Constant):
        variable = str(value.slice.value)
    lines = (_variable(root, (path,), variable) for path in _modules_named(project, tree))
    return next((line for line in lines if line is not None), None)


def _modules_named(project: Project, tree: ast.Module) -> list[str]:
    """The modules of the project that a script names in its texts, whole or by their last part."""
    ends = {
        node.value
        for node in ast.walk(tree)
        if isinstance(node, ast.Constant) and isinstance(node.value, str) and node.value.endswith(".py")
    }
    return [f"{folder}/{end}" for end in sorted(ends) for folder in (".", "src", project.package_folder)]


def _assigned(tree: ast.Module) -> Iterator[tuple[str, ast.expr | None]]:
    """Each variable that is assigned at the top of a module, and its value."""
    for node in tree.body:
        if isinstance(node, ast.Assign | ast.AnnAssign):
            for target in node.targets if isinstance(node, ast.Assign) else [node.target]:
                if isinstance(target, ast.Name):
                    yield target.id, node.value


def _variable(root: Path, paths: Iterable[str], name: str, depth: int = 0) -> VersionLine | None:
    """The assignment of a literal to a variable, in the first of the files that is there.

    An import of it from a module beside is followed, as ``from ._version import __version__``.
    """
    path = next((path for path in paths if "\0" not in path and (root / path).is_file()), None)
    text = _read(root, path) if path is not None else None
    tree = _parse(text)
    if path is None or text is None or tree is None:
        return None
    for assigned, value in _assigned(tree):
        if assigned == name:
            return _literal(path, text, value)
    for node in tree.body:
        if isinstance(node, ast.ImportFrom) and node.module and depth < _FOLLOWED_IMPORTS:
            for alias in node.names:
                if (alias.asname or alias.name) == name:
                    folder = path.rpartition("/")[0] if node.level == 1 else ""
                    places = (folder or ".",) if node.level else ("src", ".")
                    return _variable(root, _files_of(node.module, places), alias.name, depth + 1)
    return None


def _set_in_lock(lock: Path, old: str, new: str) -> None:
    """Give the crates of the project itself, which have no source, another version in a lock, if any."""
    if not lock.is_file():
        return
    entries = re.split(r"(?m)^(?=\[)", lock.read_bytes().decode("utf-8"))
    for place, entry in enumerate(entries):
        if entry.startswith("[[package]]") and not re.search(r"(?m)^source *=", entry):
            entries[place] = re.sub(rf'(?m)^(version *= *"){re.escape(old)}"', rf'\g<1>{new}"', entry)
    lock.write_bytes("".join(entries).encode("utf-8"))


def _literal(path: str, text: str, value: ast.expr | None) -> VersionLine | None:
    if not isinstance(value, ast.Constant) or not isinstance(value.value, str):
        return None
    line = text.splitlines()[value.lineno - 1]
    # ast counts bytes of UTF-8; the literal is searched from where it begins.
    begin = len(line.encode()[: value.col_offset].decode())
    start = line.find(value.value, begin)
    return _line(path, value.lineno, line, start, start + len(value.value)) if start >= 0 else None


def _by_pattern(root: Path, path: str, pattern: str | re.Pattern[str]) -> VersionLine | None:
    """The line of the group ``version`` in a file, for a pattern that the project or its backend gives."""
    text = _read(root, path)
    try:
        match = re.search(pattern, text) if text is not None else None
        start, end = match.span("version") if match is not None else (0, 0)
    except (re.error, IndexError):
        return None
    if text is None or end == 0:
        return None
    before = text[:start]
    column = start - (before.rfind("\n") + 1)
    number = before.count("\n") + 1
    return _line(path, number, text.split("\n")[number - 1].rstrip("\r"), column, column + end - start)


def _line(path: str, number: int, text: str, start: int, end: int) -> VersionLine | None:
    if version_or_none(text[start:end]) is None:
        return None
    return VersionLine(path.removeprefix("./"), number, text, start, end)


def _files_of(module: str, folders: Iterable[str]) -> list[str]:
    path = module.replace(".", "/")
    names = [
        f"{folder}/{path}{end}".removeprefix("./") for folder in folders for end in ("/__init__.py", ".py")
    ]
    return list(dict.fromkeys(names))


def _read(root: Path, path: str) -> str | None:
    """The text of a file of the project; ``None`` if it is missing, outside, not UTF-8, or no path at all."""
    try:
        file = (root / path).resolve()
        if not file.is_relative_to(root) or not file.is_file():
            return None
        return file.read_bytes().decode("utf-8")
    except ValueError:  # a path with a null character, too
        return None


def _parse(text: str | None) -> ast.Module | None:
    try:
        return ast.parse(text) if text is not None else None
    except (SyntaxError, ValueError, RecursionError, MemoryError):
        return None


def _semantic(version: Version) -> str:
    """A version as Cargo spells it: ``1.2.0-rc.1``, ``1.2.1-dev.5+g1a2b3c4d5``."""
    parts = [".".join(map(str, (*version.release, 0, 0)[: max(3, len(version.release))]))]
    if version.pre is not None:
        kind = {"a": "alpha", "b": "beta"}.get(version.pre[0], version.pre[0])
        parts.append(f"-{kind}.{version.pre[1]}")
    if version.dev is not None:
        parts.append(f"{'.' if version.pre is not None else '-'}dev.{version.dev}")
    return "".join(parts) + (f"+{version.local}" if version.local is not None else "")
