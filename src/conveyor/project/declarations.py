"""What a project declares under ``[tool.conveyor]`` in ``pyproject.toml``: one record for each table.

Every table and every key is optional; without any, a project is a plain package. Paths are relative to the
checkout, with forward slashes, and never lead out of it. A key that is not known is an error that names the
nearest one: what is misspelled must not be ignored silently.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import PurePosixPath
from typing import Annotated, Any, Literal
from urllib.parse import urlsplit

from packaging.specifiers import InvalidSpecifier, SpecifierSet

from conveyor.domain.releases.tags import read_tag_name
from conveyor.domain.words.records import Between, Given, Judged, Matching, Record, Text, read_record
from conveyor.errors import InvalidInput, InvalidVersion, ProjectError

ProjectKind = Literal["package", "model"]
Warnings = Literal["error", "ignore"]
LONGEST_SECONDS = 7 * 24 * 3600


def _leaves(path: str) -> str | None:
    parts = PurePosixPath(path).parts
    if path.startswith("/") or ".." in parts or "\\" in path:
        return "is not a path inside the project, with forward slashes"
    return None


def _is_no_python(text: str) -> str | None:
    number = text.removeprefix("cpython").removeprefix("pypy").removeprefix("-")
    try:
        SpecifierSet(f"=={number}.*" if number.count(".") < 2 else f"=={number}")
    except InvalidSpecifier:
        return 'is not a version of Python such as "3.12", "3.12.4" or "pypy3.9"'
    return None


Inside = Annotated[str, Given(), Judged(_leaves)]
"""A path in the checkout."""
Seconds = Annotated[int, Between(1, LONGEST_SECONDS)]
Variable = Annotated[str, Given(), Matching("[A-Za-z_][A-Za-z0-9_]*", "is not the name of a variable")]
Python = Annotated[str, Given(), Judged(_is_no_python)]
Sha256 = Annotated[str, Matching("[0-9a-f]{64}", "is not a SHA-256 digest in hexadecimal digits")]


@dataclass(frozen=True)
class Service(Record):
    """A program that the testing job starts before the tests and ends after them."""

    name: Annotated[Text, "Its name in logs."]
    command: Annotated[tuple[Text, ...], "The words of its command."]
    port: Annotated[
        Annotated[int, Between(1, 65535)] | None, "It is ready when this port of 127.0.0.1 answers."
    ] = None
    socket: Annotated[Inside | None, "It is ready when this Unix socket answers."] = None
    ready_seconds: Annotated[Seconds, "How long that may take."] = 60


@dataclass(frozen=True)
class TestDeclaration(Record):
    """``[tool.conveyor.test]``: how the installed file is tested."""

    __test__ = False  # for pytest, which takes every class of such a name for tests

    paths: Annotated[tuple[Inside, ...], "Files and folders of tests; else testpaths of pytest."] = ()
    files: Annotated[tuple[Inside, ...], "Further files of the repository that the tests read."] = ()
    extra: Annotated[Text | None, "The extra that holds the requirements of the tests."] = None
    group: Annotated[Text | None, "The dependency group that holds them (PEP 735, poetry or pdm)."] = None
    requirements: Annotated[tuple[Inside, ...], "Requirements files that hold them."] = ()
    command: Annotated[tuple[Text, ...], "The words of another command than pytest."] = ()
    junit: Annotated[Inside | None, "The JUnit file that this command writes."] = None
    services: Annotated[tuple[Service, ...], "Programs that run beside the tests."] = ()
    pythons: Annotated[tuple[Python, ...], "Versions of Python to test on."] = ()
    timeout_seconds: Annotated[Seconds, "The time after which the tests are ended."] = 3600


@dataclass(frozen=True)
class DocsDeclaration(Record):
    """``[tool.conveyor.docs]``: how the documentation is built."""

    command: Annotated[tuple[Text, ...], "The words of the command, if it is neither Sphinx nor MkDocs."] = ()
    output: Annotated[Inside | None, "The folder that this command writes."] = None
    warnings: Annotated[Warnings, "Whether a warning stops the release."] = "error"


@dataclass(frozen=True)
class Allowance(Record):
    """A file that the contract of the archives lets pass, and why."""

    pattern: Annotated[Text, "Its path in the checkout or archive; * and ** as in .gitignore."]
    reason: Annotated[Text, "Why that is right."]


@dataclass(frozen=True)
class BuildDeclaration(Record):
    """``[tool.conveyor.build]``: what the built files hold."""

    version_files: Annotated[tuple[Inside, ...], "Files that the build writes the version into."] = ()
    allow: Annotated[tuple[Allowance, ...], "Exceptions from the contract of the archives."] = ()
    size_mb: Annotated[Annotated[int, Between(1, 100_000)], "The largest size of a built file, in MB."] = 500


@dataclass(frozen=True)
class TrainDeclaration(Record):
    """``[tool.conveyor.train]``: how the model is trained."""

    command: Annotated[tuple[Text, ...], "The words of the command; python is the environment's."] = ()
    env: Annotated[tuple[Variable, ...], "Environment variables that it may see."] = ()


@dataclass(frozen=True)
class DataDeclaration(Record):
    """``[tool.conveyor.data.NAME]``: a file that training reads and git does not hold."""

    sha256: Annotated[Sha256, "Its digest."]
    path: Annotated[Inside | None, "Where it lies in the checkout; else data/NAME."] = None
    url: Annotated[Text | None, "Where it comes from: https or s3."] = None
    licence: Annotated[Text | None, "Its licence."] = None


@dataclass(frozen=True)
class Declarations(Record):
    """``[tool.conveyor]`` as a whole."""

    kind: Annotated[ProjectKind, "What the project is."] = "package"
    package: Annotated[Text | None, "The name to import."] = None
    payload: Annotated[tuple[Inside, ...], "Files that training writes and the wheel carries."] = ()
    tag_prefix: Annotated[str | None, "What each release tag of the project begins with."] = None
    train: Annotated[TrainDeclaration, "How the model is trained."] = TrainDeclaration()
    test: Annotated[TestDeclaration, "How the installed file is tested."] = TestDeclaration()
    docs: Annotated[DocsDeclaration | None, "How the documentation is built."] = None
    build: Annotated[BuildDeclaration, "What the built files hold."] = BuildDeclaration()
    data: Annotated[Mapping[str, Any], "Files that training reads, by name."] = field(default_factory=dict)

    @cached_property
    def datasets(self) -> dict[str, DataDeclaration]:
        """The declared data by name; read_declarations has checked it."""
        return {name: _dataset(name, table) for name, table in self.data.items()}


def read_declarations(table: object, *, where: str) -> Declarations:
    """The declarations in the table ``[tool.conveyor]``.

    ``train`` may be the list of the command's words alone. ``where`` names the file in the error.

    Raises:
        ProjectError: the table has faults; all are named.
    """
    faults: list[str] = []
    found: Declarations | None = None
    if isinstance(table, dict) and isinstance(table.get("train"), list):
        table = {**table, "train": {"command": table["train"]}}
    try:
        found = read_record(Declarations, table, what="it")
    except InvalidInput as error:
        faults += error.faults
    data = table.get("data", {}) if isinstance(table, dict) else {}
    for name, one in data.items() if isinstance(data, dict) else ():
        try:
            faults += _data_faults(name, _dataset(name, one))
        except InvalidInput as error:
            faults += error.faults
    if found is not None:
        faults += _faults_of(found)
    if faults or found is None:
        listed = "".join(f"\n- {fault}" for fault in faults)
        raise ProjectError(f"[tool.conveyor] in {where} is not valid:{listed}")
    return found


def _dataset(name: str, table: object) -> DataDeclaration:
    return read_record(DataDeclaration, table, what=f"data.{name}", place=f"data.{name}")


def _data_faults(name: str, declared: DataDeclaration) -> list[str]:
    faults = []
    if declared.path is None and declared.url is None:
        faults.append(f"data.{name} has neither path nor url")
    if declared.url is not None:
        try:
            parts = urlsplit(declared.url)
        except ValueError:  # such as an address of IPv6 without its end
            parts = urlsplit("")
        if parts.scheme not in ("https", "s3") or not parts.hostname:
            faults.append(f"data.{name}.url is not an address that begins with https:// or s3://")
        elif parts.username or parts.password:
            faults.append(f"data.{name}.url holds credentials; give them to the worker, not to the project")
    return faults


def _is_told_apart(prefix: str) -> bool:
    """Whether a store finds the version in a tag that begins so, which does not know what is declared."""
    try:
        return str(read_tag_name(f"{prefix}1.2.0").version) == "1.2.0"
    except InvalidVersion:
        return False


def _faults_of(declared: Declarations) -> list[str]:
    faults = []
    if declared.kind == "model" and not (declared.payload and declared.train.command):
        faults.append("a model needs its payload and its training command: payload = […], train = […]")
    if bool(declared.test.command) != (declared.test.junit is not None):
        faults.append("test.command and test.junit belong together: the counts are read from the JUnit file")
    if declared.tag_prefix is not None and not _is_told_apart(declared.tag_prefix):
        faults.append(
            f'tag_prefix "{declared.tag_prefix}" cannot be told from the version that follows it: let it end '
            'with a sign such as "-" or "/", or with one and a v, as in "release-" or "demo/v"'
        )
    given = [name for name in ("extra", "group") if getattr(declared.test, name) is not None]
    if len(given) > 1:
        faults.append("test.extra and test.group exclude each other")
    faults += [
        f"test.services: {one.name} needs either port or socket, to tell when it is ready"
        for one in declared.test.services
        if (one.port is None) == (one.socket is None)
    ]
    if declared.docs is not None and bool(declared.docs.command) != (declared.docs.output is not None):
        faults.append("docs.command and docs.output belong together: the folder is what is published")
    return faults
