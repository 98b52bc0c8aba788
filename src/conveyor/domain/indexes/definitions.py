"""Indexes: their properties and names, those of a new store, and which of them supply a project.

An index is ``local`` (its files are ours) or a ``mirror`` (its files are another index's). It accepts
``uploads`` or is ``promotion-only``, permanently: that is fixed when it is made. Its pages show its own
files, then those of its bases, in order, one row per filename. Names that are claimed belong to this store:
no index asks upstream for them (design, rule 5).
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import TYPE_CHECKING, Annotated, Literal, Protocol, TypeVar

from conveyor.domain.words.names import ProjectName, PythonName
from conveyor.domain.words.notation import Moment
from conveyor.domain.words.records import Described, Given, Option, Record, Text
from conveyor.errors import InvalidInput, InvalidName, NotFound

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

    from packaging.utils import NormalizedName

IndexKind = Literal["local", "mirror"]
IndexMode = Literal["uploads", "promotion-only"]
RequiredIsolation = Literal["required", "any"]

RESERVED_NAMES = frozenset(
    {"api", "docs", "healthz", "indexes", "legacy", "login", "logout", "metrics", "packages", "projects"}
    | {"readyz", "runs", "search", "simple", "static"}
)
"""Words that begin URLs of the store; indexes and teams cannot have these names."""

RESERVED_BELOW_A_TEAM = frozenset({"docs", "legacy", "pypi", "simple"})
"""Words that follow an index name in a URL: ``/risk/pypi/…`` would be the index or the JSON API of a team."""

MAX_NAME_LENGTH = 64
_PART = re.compile(r"[a-z0-9](?:[a-z0-9-]*[a-z0-9])?")


IndexName = Annotated[
    str,
    Given(200),
    Described(
        longest=MAX_NAME_LENGTH,
        pattern="^[a-z0-9]([a-z0-9-]*[a-z0-9])?(/[a-z0-9]([a-z0-9-]*[a-z0-9])?)?$",
    ),
]
"""The name of an index as a caller spells it."""


@dataclass(frozen=True)
class Index(Record):
    """One index of the store."""

    name: str
    kind: Annotated[IndexKind, "Whether its files are this store's, or another index's."]
    mode: Annotated[IndexMode, "How files enter it; cannot be changed."]
    bases: Annotated[tuple[str, ...], "Other indexes whose files its pages show too, nearest first."] = ()
    gates: Annotated[
        tuple[str, ...], "What a release must pass to be promoted into it, in order of judgement."
    ] = ()
    is_private: Annotated[bool, "Whether reading it requires a right."] = False
    pythons: Annotated[
        tuple[str, ...], "Pythons that a release must be tested on to be promoted into it, besides its own."
    ] = ()
    isolation: Annotated[
        RequiredIsolation, "Whether builds and tests of what enters it must have run in a jail."
    ] = "any"


AskedPythons = Annotated[
    tuple[PythonName, ...] | None,
    "Have releases tested on this Python too, such as 3.12 or pypy3.9.",
    Option("python", "VERSION"),
]
"""The Pythons of an index as a caller names them; ``None`` or none at all: only those of each project."""

AskedIsolation = Annotated[
    RequiredIsolation | None,
    "Whether builds and tests of what enters it must have run in a jail (required), or not (any).",
]


@dataclass(frozen=True)
class NewIndex(Record):
    """A local index to be made."""

    name: IndexName
    mode: Annotated[IndexMode, "How files enter it; cannot be changed later."]
    bases: Annotated[
        tuple[IndexName, ...] | None, "Show this index's files too; nearest first.", Option("base", "INDEX")
    ] = None
    gates: Annotated[tuple[Text, ...] | None, "Require this gate of promotions.", Option("gate")] = None
    is_private: Annotated[bool, "Only users who sign in may read it."] = False
    pythons: AskedPythons = None
    isolation: AskedIsolation = None


@dataclass(frozen=True)
class IndexSettings(Record):
    """What can be changed of an index that exists; with nothing named, its Pythons are emptied."""

    name: IndexName
    pythons: AskedPythons = None
    isolation: AskedIsolation = None


@dataclass(frozen=True)
class Claim:
    """A name, or a prefix of names, that belongs to this store."""

    name: str
    """Normalized; a prefix is without its last hyphen."""
    is_prefix: bool = False


@dataclass(frozen=True)
class NewClaim(Record):
    """A claim to be made."""

    name: ProjectName
    is_prefix: Annotated[bool, "Also claim every name that begins with NAME-.", Option("prefix")] = False


@dataclass(frozen=True)
class MadeClaim(Record):
    """A claim and its author."""

    name: Annotated[str, "Normalized; a prefix is without its last hyphen."]
    is_prefix: bool
    claimed_by: str
    claimed_at: Moment


DEFAULT_INDEXES = (
    Index("pypi", "mirror", "promotion-only"),
    Index(
        "stable",
        "local",
        "promotion-only",
        bases=("pypi",),
        gates=("tests", "qa-signature", "final-version"),
        isolation="required",
    ),
    Index("testing", "local", "promotion-only", bases=("stable", "pypi"), gates=("tests",)),
    Index("unstable", "local", "uploads", bases=("testing", "stable", "pypi")),
)
"""The indexes of a new store, bases before those that build on them."""


def check_index_name(name: str) -> None:
    """Accept ``stable`` or ``risk/stable``.

    Raises:
        InvalidName: not lower case letters, digits and hyphens with at most one team prefix, too long, or a
            word that begins the store's own URLs.
    """
    parts = name.split("/")
    if len(parts) > 2 or len(name) > MAX_NAME_LENGTH or not all(_PART.fullmatch(part) for part in parts):
        raise InvalidName(
            f'"{name[: MAX_NAME_LENGTH + 1]}" cannot be the name of an index',
            hint="use lower case letters, digits and hyphens, at most one team prefix: stable, risk/stable",
        )
    taken = parts[0] in RESERVED_NAMES or (len(parts) == 2 and parts[1] in RESERVED_BELOW_A_TEAM)
    if taken:
        raise InvalidName(f'"{name}" is part of URLs of the store itself', hint="choose another name")


def team_of(name: str) -> str | None:
    """The team that an index belongs to: ``risk`` of ``risk/stable``; ``None`` if it has no team."""
    team, slash, _ = name.partition("/")
    return team if slash else None


def resolution_order(name: str, indexes: Mapping[str, Index]) -> tuple[str, ...]:
    """The index itself and every base it sees, nearest first, each once; depth first.

    Raises:
        NotFound: no index has that name.
    """
    if name not in indexes:
        raise NotFound(f'there is no index "{name}"', hint="see conveyor store index list")
    order: list[str] = []
    waiting = [name]
    while waiting:
        current = waiting.pop(0)
        if current in order:
            continue
        order.append(current)
        waiting = [*indexes[current].bases, *waiting]
    return tuple(order)


def check_new_index(index: Index, existing: Mapping[str, Index], *, known_gates: frozenset[str]) -> None:
    """Accept a new index, or name every fault of it at once.

    Raises:
        InvalidName: its name is not allowed.
        InvalidInput: a base or gate is unknown or named twice, a base leads back here or shows private
            files to everybody, or a mirror was given bases.
    """
    check_index_name(index.name)
    faults = [f'there is no index "{base}" to build on' for base in index.bases if base not in existing]
    faults += [f'there is no gate "{gate}"' for gate in index.gates if gate not in known_gates]
    faults += [f'base "{base}" is named twice' for base in _repeated(index.bases)]
    faults += [f'gate "{gate}" is named twice' for gate in _repeated(index.gates)]
    faults += _faults_of_pythons(index)
    faults += [
        f'base "{base}" leads back to "{index.name}"'
        for base in index.bases
        if base in existing and index.name in resolution_order(base, existing)
    ]
    faults += [
        f'base "{base}" is private or builds on a private index, which everybody could read through it'
        for base in index.bases
        if not index.is_private and is_any_private(base, existing)
    ]
    if index.kind == "mirror" and index.bases:
        faults.append("a mirror shows one other index and has no bases")
    if index.mode == "uploads" and index.gates:
        faults.append("gates guard promotions; an index that accepts uploads cannot have gates")
    faults += _faults_of_isolation(index)
    if faults:
        raise InvalidInput(
            f'index "{index.name}" cannot be made: {faults[0]}',
            faults=faults,
            hint=f"the gates are {', '.join(sorted(known_gates))}; see conveyor store index list",
        )


def check_settings(index: Index) -> None:
    """Accept an index with other settings than before, or name every fault of them at once.

    Raises:
        InvalidInput: a Python is named twice, or nothing is promoted into the index.
    """
    faults = [*_faults_of_pythons(index), *_faults_of_isolation(index)]
    if faults:
        raise InvalidInput(
            f'index "{index.name}" cannot be set so: {faults[0]}',
            faults=faults,
            hint="see conveyor store index list",
        )


def _faults_of_pythons(index: Index) -> list[str]:
    faults = [f"Python {python} is named twice" for python in _repeated(index.pythons)]
    if index.pythons and (index.kind == "mirror" or index.mode == "uploads"):
        faults.append("Pythons are for tests before a promotion, and nothing is promoted into it")
    return faults


def _faults_of_isolation(index: Index) -> list[str]:
    if index.isolation == "required" and (index.kind == "mirror" or index.mode == "uploads"):
        return ["isolation is asked of evidence before a promotion, and nothing is promoted into it"]
    return []


def is_any_private(name: str, indexes: Mapping[str, Index]) -> bool:
    """Whether an index or any of its bases, direct or indirect, is private; unknown names are not."""
    return name in indexes and any(indexes[seen].is_private for seen in resolution_order(name, indexes))


def is_claimed(project: NormalizedName, claims: Iterable[Claim]) -> bool:
    """Whether a project's name belongs to this store, by its own claim or that of a prefix.

    The prefix ``risk`` covers ``risk`` itself and every ``risk-…`` (PEP 752).
    """
    return any(
        project == claim.name or (claim.is_prefix and project.startswith(f"{claim.name}-"))
        for claim in claims
    )


@dataclass(frozen=True)
class IndexesNow:
    """Every index, and whether any has changed, at one moment."""

    serial: int
    indexes: Mapping[str, Index]
    """Keyed and ordered by name."""
    is_house_touched: bool
    """Whether any change since an earlier serial was not about one project (a user, a token, an index)."""


def covering_prefixes(project: NormalizedName) -> tuple[str, ...]:
    """Every prefix whose claim would cover a project's name: ``a-b-c`` → ``a``, ``a-b``, ``a-b-c``."""
    words = project.split("-")
    return tuple("-".join(words[:count]) for count in range(1, len(words) + 1))


def suppliers(
    name: str, indexes: Mapping[str, Index], *, project: NormalizedName, claims: Iterable[Claim]
) -> tuple[Index, ...]:
    """The indexes that may supply a project to the readers of index ``name``, nearest first.

    All that it sees; for a name that belongs to this store, only the local ones (rule 5).

    Raises:
        NotFound: no index has that name.
    """
    is_own_name = is_claimed(project, claims)
    seen = (indexes[found] for found in resolution_order(name, indexes))
    return tuple(index for index in seen if index.kind == "local" or not is_own_name)


class _Row(Protocol):
    @property
    def filename(self) -> str: ...
    @property
    def index(self) -> str: ...


Row = TypeVar("Row", bound=_Row)


def one_per_filename(rows: Iterable[Row], nearest_first: Sequence[Index]) -> list[Row]:
    """The rows in the order of the indexes that supply them; of equal filenames, the nearest."""
    position = {index.name: number for number, index in enumerate(nearest_first)}
    kept: dict[str, Row] = {}
    for row in sorted(rows, key=lambda row: position[row.index]):
        kept.setdefault(row.filename, row)
    return list(kept.values())


def _repeated(names: tuple[str, ...]) -> list[str]:
    return sorted({name for name in names if names.count(name) > 1})
