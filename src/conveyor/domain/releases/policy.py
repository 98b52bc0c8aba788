"""The policy: which rules hold for which projects in which indexes, as one versioned TOML file of the store.

::

    schema = 1

    [index.stable]                          # every project
    gates = ["tests", "qa-signature", "final-version"]
    minimum_age_hours = 24

    [index.stable.project."risk-*"]         # and on top of that, for projects of this pattern
    approval = "minor"

**The most specific section that names a setting decides it**, setting by setting: the index as a whole, then
patterns by the number of characters that are not wildcards, then the project's own name. Of two patterns with
as many such characters the later one in the file decides. What no section names is as the index was set.

A file is read whole or not at all: ``read_policy`` names every fault with its line and needs no store;
``check_policy`` compares with a store what only a store can know.
"""

from __future__ import annotations

import json
import re
import tomllib
from dataclasses import dataclass, replace
from difflib import get_close_matches
from fnmatch import fnmatchcase
from functools import lru_cache
from typing import TYPE_CHECKING, Annotated, Any

from conveyor.domain.indexes.definitions import check_index_name
from conveyor.domain.releases.gates import GATES
from conveyor.domain.releases.gates.judged import Verdict
from conveyor.domain.releases.gates.rules import Rules, rules_of_index
from conveyor.domain.releases.promotions import successors
from conveyor.domain.words.faults import MOST_FAULTS, printable
from conveyor.domain.words.notation import Moment
from conveyor.domain.words.records import NO_COLUMN, Count, Given, Record, Text, read_record
from conveyor.domain.words.toml_lines import KeyLines
from conveyor.errors import InvalidInput, InvalidName

if TYPE_CHECKING:
    from collections.abc import Collection, Iterable, Mapping

    from conveyor.domain.indexes.definitions import Index
    from conveyor.domain.words.toml_lines import Path

_READER = {setting: name for name, gate in GATES.items() for setting in gate.reads}
"""Setting → the gate that reads it."""
SCHEMA = 1
MAX_POLICY_BYTES = 256 * 1024
_HINT = "repair these lines; nothing has changed"
_PATTERN = re.compile(r"[a-z0-9*?](?:[a-z0-9*?-]*[a-z0-9*?])?")
_BARE_KEY = re.compile(r"[A-Za-z0-9_-]+")
PolicyText = Annotated[str, Given(MAX_POLICY_BYTES)]


@dataclass(frozen=True)
class NewPolicy(Record):
    """A policy to be applied."""

    content: Annotated[PolicyText, "The TOML file."]
    reason: Annotated[Text, "Why, for the history."]


@dataclass(frozen=True)
class ProposedPolicy(Record):
    """A policy that is only asked about."""

    content: Annotated[PolicyText, "The TOML file."]


@dataclass(frozen=True)
class PolicyVersion(Record):
    """One version of the policy."""

    version: Annotated[Count, "Numbered from 1."]
    applied_at: Moment
    applied_by: str
    reason: str
    content: Annotated[str, "The TOML file.", NO_COLUMN]


@dataclass(frozen=True)
class RulesOfIndex(Record):
    """What an index asks of the releases of a project."""

    index: str
    rules: Rules


@dataclass(frozen=True)
class JudgedOtherwise(Record):
    """A release that another policy would judge otherwise, and the gates whose verdicts would differ."""

    project: str
    version: str
    index: Annotated[str, "The index that it would enter, or is in."]
    is_inside: Annotated[bool, "Whether it is in that index already; then nothing moves."]
    before: Annotated[tuple[Verdict, ...], "As judged now."]
    after: Annotated[tuple[Verdict, ...], "As judged by the other policy."]


@dataclass(frozen=True)
class PolicySection:
    """The settings that one table of the file names."""

    index: str
    pattern: str | None
    """Of projects; ``None``: the index as a whole."""
    given: Mapping[str, Any]
    """Field of ``Rules`` → value."""
    line: int
    lines: Mapping[str, int]
    """Field of ``Rules`` → the line of its key."""

    @property
    def title(self) -> str:
        """Its title in the file."""
        below = "" if self.pattern is None else f".project.{json.dumps(self.pattern)}"
        index = self.index if _BARE_KEY.fullmatch(self.index) else json.dumps(self.index)
        return f"[index.{index}{below}]"

    def covers(self, index: str, project: str) -> bool:
        """Whether its settings are about this project in this index."""
        return self.index == index and (self.pattern is None or fnmatchcase(project, self.pattern))

    @property
    def specificity(self) -> tuple[int, int, int]:
        """Of two sections that cover a project, the one with more decides."""
        if self.pattern is None:
            return (0, 0, self.line)
        literal = len(re.sub(r"[*?]", "", self.pattern))
        return (1 if literal < len(self.pattern) else 2, literal, self.line)


@dataclass(frozen=True)
class Policy:
    """The sections of a file, least specific first."""

    sections: tuple[PolicySection, ...] = ()

    def rules(self, index: Index, project: str) -> Rules:
        """What an index asks of a project."""
        return _merged(
            rules_of_index(index), (one for one in self.sections if one.covers(index.name, project))
        )

    def deciding(self, setting: str, index: str, project: str) -> str | None:
        """The title of the section that decides a setting; ``None`` if none names it."""
        named = (one for one in self.sections if setting in one.given and one.covers(index, project))
        return next((one.title for one in reversed(tuple(named))), None)


def _merged(rules: Rules, sections: Iterable[PolicySection]) -> Rules:
    for section in sections:
        given = dict(section.given)
        if given.keys() & {"pythons", "platforms"}:
            given.setdefault("other_environments", "shown")
        rules = replace(rules, **given)
    return rules


@lru_cache(maxsize=8)
def read_policy(content: str) -> Policy:
    """The policy in a file.

    Raises:
        InvalidInput: it is not one; every fault begins with its line.
    """
    try:
        document = tomllib.loads(content)
        lines = KeyLines(content)
    except RecursionError as error:
        raise _refused([(1, "this is not TOML: it is nested too deeply")]) from error
    except ValueError as error:  # besides TOMLDecodeError, that of Python about too many digits
        found = re.search(r"\(at line (\d+), column (\d+)\)", str(error))
        said = str(error).partition(" (at ")[0]
        line = int(found[1]) if found else 1
        if said.startswith("Exceeds") or "at end of document" in str(error):
            line = content.rstrip("\n").count("\n") + 1
        raise _refused([(line, f"this is not TOML: {said[:1].lower()}{said[1:]}")]) from error
    return _FileReading(lines).policy(document)


def _refused(faults: Iterable[tuple[int, str]]) -> InvalidInput:
    told = [f"line {line}: {printable(fault)}" for line, fault in sorted(dict.fromkeys(faults))]
    count = "a fault" if len(told) == 1 else f"{len(told)} faults"
    detail = f": {told[0]}" if len(told) == 1 else ""
    return InvalidInput(f"the policy has {count}{detail}", faults=told[:MOST_FAULTS], hint=_HINT)


class _FileReading:
    """One file being read: its lines, and the faults so far."""

    def __init__(self, lines: KeyLines) -> None:
        self._lines = lines
        self._faults: list[tuple[int, str]] = []

    def _fault(self, path: Path, fault: str) -> None:
        self._faults.append((self._lines.line_of(path), fault))

    def policy(self, document: Mapping[str, Any]) -> Policy:
        if document.get("schema") != SCHEMA or isinstance(document["schema"], bool):
            said = f"is {document['schema']!r:.50}" if "schema" in document else "is missing"
            self._fault(("schema",), f"schema {said}: write schema = {SCHEMA}")
        for key in document.keys() - {"schema", "index"}:
            self._fault((key,), f"{key[:100]} is unknown here (known: schema, index)")
        sections: list[PolicySection] = []
        for name, table in self._tables(("index",), document.get("index", {})):
            self._check_index(name)
            own = {key: value for key, value in table.items() if key != "project"}
            sections.append(self._section(("index", name), own, index=name))
            for pattern, inner in self._tables(("index", name, "project"), table.get("project", {})):
                self._check_pattern(name, pattern)
                path = ("index", name, "project", pattern)
                sections.append(self._section(path, inner, index=name, pattern=pattern))
        ordered = tuple(sorted(sections, key=lambda section: section.specificity))
        if self._faults:
            raise _refused(self._faults)
        self._faults += _faults_of_gates(ordered, {})
        if self._faults:
            raise _refused(self._faults)
        return Policy(ordered)

    def _tables(self, path: Path, value: object) -> Iterable[tuple[str, Mapping[str, Any]]]:
        """The tables in a table; anything else in it is a fault."""
        if not isinstance(value, dict):
            self._fault(path, f"{'.'.join(map(str, path))} is not a table")
            return
        for name, inner in value.items():
            if isinstance(inner, dict):
                yield name, inner
            else:
                self._fault((*path, name), f"{'.'.join(map(str, (*path, name)))} is not a table")

    def _check_index(self, name: str) -> None:
        try:
            check_index_name(name)
        except InvalidName as error:
            self._fault(("index", name), error.message)

    def _check_pattern(self, index: str, pattern: str) -> None:
        if not _PATTERN.fullmatch(pattern):
            self._fault(
                ("index", index, "project", pattern),
                f'"{pattern[:100]}" is not a normalized project name, nor a pattern of one with * and ?',
            )

    def _section(
        self, path: Path, table: Mapping[str, Any], *, index: str, pattern: str | None = None
    ) -> PolicySection:
        try:
            read: Rules | None = read_record(Rules, table, what="the section")
        except InvalidInput as error:
            read = None
            for fault in error.faults:
                where = self._path_of(fault, table)
                self._fault((*path, *where), fault)
        for position, gate in enumerate(_texts(table.get("gates"))):
            if gate not in GATES:
                near = get_close_matches(gate, GATES, n=1)
                meant = f": did you mean {near[0]}?" if near else ""
                known = ", ".join(GATES)
                self._fault(
                    (*path, "gates", position), f'there is no gate "{gate[:100]}"{meant} (known: {known})'
                )
        given = {} if read is None else {name: getattr(read, name) for name in table}
        lines = {name: self._lines.line_of((*path, name)) for name in table}
        return PolicySection(index, pattern, given, self._lines.line_of(path), lines)

    @staticmethod
    def _path_of(fault: str, table: Mapping[str, Any]) -> Path:
        """The key in a table, and the item of its list, that a fault begins with."""
        keys = [key for key in table if fault.startswith(key[:100])]
        if not keys:
            return ()
        key = max(keys, key=len)
        item = re.match(r"\[(\d+)\]", fault[len(key) :])
        return (key, int(item[1])) if item else (key,)


def _texts(value: object) -> list[str]:
    return [one for one in value if isinstance(one, str)] if isinstance(value, list) else []


def _faults_of_gates(
    sections: tuple[PolicySection, ...], indexes: Mapping[str, Index]
) -> list[tuple[int, str]]:
    """Settings that no gate reads, and gates that could let nothing pass, where the gates are known.

    They are known where the file names them, and for ``indexes`` of a store.
    """
    faults = []
    for section in sections:
        name = section.index
        around = [one for one in sections if one.index == name and one.pattern in (None, section.pattern)]
        if name not in indexes and not any("gates" in one.given for one in around):
            continue
        rules = _merged(rules_of_index(indexes[name]) if name in indexes else Rules(), around)
        faults += [
            (section.lines[key], f"{key} has no effect without the gate {_READER[key]}: add it to gates")
            for key in section.given
            if key in _READER and _READER[key] not in rules.gates
        ]
        is_stated = section.pattern is None or section.given.keys() & {"gates", "licences"}
        if is_stated and "licences" in rules.gates and not rules.licences:
            faults.append((section.line, "the gate licences allows nothing: name identifiers in licences"))
    return faults


def check_policy(policy: Policy, indexes: Mapping[str, Index], workers: Collection[str]) -> None:
    """Accept a policy for a store that has these indexes and workers.

    Raises:
        InvalidInput: an index or a worker is unknown, nothing is promoted into an index, or a setting has no
            effect; names every fault with its line.
    """
    faults = []
    for section in policy.sections:
        index = indexes.get(section.index)
        if index is None:
            known = ", ".join(one.name for one in indexes.values() if one.kind == "local")
            faults.append((section.line, f'there is no index "{section.index}" (there are {known})'))
        elif index.kind == "mirror" or index.mode == "uploads":
            faults += [
                (line, f'nothing is promoted into "{index.name}", so only hosts has an effect there')
                for key, line in section.lines.items()
                if key != "hosts" or index.kind == "mirror"
            ]
        elif section.given.get("ci_evidence") == "counts" and not _may_count_jobs(index.name, indexes):
            said = f'"{index.name}" is not between the uploads and the last index'
            faults.append(
                (section.lines["ci_evidence"], f"{said}, so what jobs of CI hosts tell does not count there")
            )
        faults += [
            (section.lines["workers"], f'there is no worker "{name}": see conveyor store worker list')
            for name in section.given.get("workers", ())
            if name not in workers
        ]
    faults += _faults_of_gates(policy.sections, indexes)
    if faults:
        raise _refused(faults)


def _may_count_jobs(name: str, indexes: Mapping[str, Index]) -> bool:
    """Whether releases come into an index from one that takes uploads, and go on from it."""
    uploading = [one.name for one in indexes.values() if one.mode == "uploads"]
    return any(name in successors(one, indexes) for one in uploading) and bool(successors(name, indexes))


def differing_gates(before: Iterable[Verdict], after: Iterable[Verdict]) -> frozenset[str]:
    """The gates by whose verdicts two judgements of a release differ; one that passes is as if not asked."""
    shut = [
        {one.gate: one.outcome for one in verdicts if one.outcome != "pass"} for verdicts in (before, after)
    ]
    return frozenset(gate for gate in {**shut[0], **shut[1]} if shut[0].get(gate) != shut[1].get(gate))
