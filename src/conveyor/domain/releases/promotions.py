"""Promotions: the way of a release from one index to another, and the gates on that way.

A release moves down a chain of bases: ``unstable`` shows ``testing``, which shows ``stable``; so what could
be installed through an index before a promotion can be installed through it afterwards.

**Skipping a station is judged by every station.** Asked to go from ``unstable`` straight to ``stable``, a
release is judged by the gates of every index that lies between, then by those of the target, each gate once.
It arrives only if it could have gone step by step, so skipping gains nothing, and one answer names everything
that is missing. A refusal because of the way would hide what the release still lacks.

**Which index follows which is read from the bases** (decision 0024): the nearest local base follows. An index
of a team is followed by indexes of that team; where it has none of these, an index that accepts uploads may
lead out of the team, and one that accepts only promotions ends the way. A pipeline run goes this way and no
other; people may promote into any base.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Annotated, Literal

from conveyor.domain.indexes.definitions import IndexName, team_of
from conveyor.domain.indexes.policy import readable_indexes
from conveyor.domain.people.access import reaches_index
from conveyor.domain.releases.decisions import PersonalDecision
from conveyor.domain.releases.gates.judged import Verdict
from conveyor.domain.words.names import ProjectName, VersionNumber, is_final, parse_version
from conveyor.domain.words.records import Named, Record
from conveyor.errors import Conflict, NotFound

if TYPE_CHECKING:
    from collections.abc import Collection, Mapping

    from conveyor.domain.indexes.definitions import Index
    from conveyor.domain.people.access import Identity

SEE_INDEXES = "see conveyor store index list"


@dataclass(frozen=True)
class NewPromotion(Record):
    """A request for a promotion."""

    project: ProjectName
    version: VersionNumber
    target: Annotated[IndexName, Named("to"), "The index it enters."]
    source: Annotated[
        IndexName | None, Named("from"), "The index it leaves; null: the one that leads to the other."
    ] = None


@dataclass(frozen=True)
class Promotion(Record):
    """A release that is now in the target, and the verdicts of the gates."""

    project: str
    version: str
    source: Annotated[
        str | None, Named("from"), "The index it left; null: it was in the target already and nothing moved."
    ]
    target: Annotated[str, Named("to")]
    files: Annotated[tuple[str, ...], "Filenames of the whole release in the target."]
    verdicts: tuple[Verdict, ...]


@dataclass(frozen=True)
class Judgement(Record):
    """The current verdicts of the gates on the way of a release to an index."""

    project: str
    version: str
    target: Annotated[str, Named("to")]
    verdicts: Annotated[tuple[Verdict, ...], "One for each gate."]
    decisions: Annotated[
        tuple[PersonalDecision, ...],
        "What people decided about it, oldest first; overrides that have ended too.",
    ] = ()
    index: Annotated[str | None, "Where it is now; null: the store only looked at the verdicts."] = None
    has_arrived: Annotated[bool, "Whether it can be installed through that index now."] = False


@dataclass(frozen=True)
class RunWay(Record):
    """The way that a pipeline run takes with a release."""

    indexes: Annotated[tuple[str, ...], "From its entry to the last."]


@dataclass(frozen=True)
class Way:
    """From one index to another, through the indexes between them."""

    source: str
    stations: tuple[str, ...]
    """The indexes passed, nearest to the source first, the target last."""

    @property
    def target(self) -> str:
        """Where it ends."""
        return self.stations[-1]

    @property
    def passed_through(self) -> tuple[str, ...]:
        """The stations before the target."""
        return self.stations[:-1]


def plan_way(source: str, target: str, indexes: Mapping[str, Index]) -> Way:
    """The way from ``source`` to ``target``.

    Raises:
        NotFound: there is no such index.
        Conflict: the target is a mirror, is the source itself, or is not a base of it, direct or indirect.
    """
    for name in (source, target):
        if name not in indexes:
            raise NotFound(f'there is no index "{name}"', hint=SEE_INDEXES)
    if indexes[target].kind != "local":
        raise Conflict(
            f'"{target}" is a mirror and holds no files of this store',
            hint="promote into a local index: see conveyor store index list",
        )
    stations = _stations(source, target, indexes)
    if source == target or not stations:
        raise Conflict(
            f'a release in "{source}" cannot move to "{target}", which is not a base of it',
            hint=f'what can be installed through "{source}" must stay installable: its bases are '
            + (", ".join(indexes[source].bases) or "none"),
        )
    return Way(source=source, stations=stations)


def choose_source(
    present: Collection[str],
    target: str,
    *,
    wanted: str | None,
    indexes: Mapping[str, Index],
    release: tuple[str, str] = ("NAME", "VERSION"),
) -> str | None:
    """The index that a release is to leave; ``None`` if it is in the target already and nowhere before it.

    ``present`` are the indexes the release is in, ``wanted`` the one that the caller named, if any;
    ``release`` is its project and version, for advice.

    Raises:
        NotFound: the release is in no index, or not in the wanted one.
        Conflict: it is in several indexes that lead to the target and none was named, or in none that does.
    """
    if wanted is not None:
        if wanted in present and wanted != target:
            return wanted
        if target in present:
            return None
        raise NotFound(f'the release is not in "{wanted}"', hint=_present_hint(present))
    leading = [name for name in sorted(present) if name != target and _stations(name, target, indexes)]
    if len(leading) == 1:
        return leading[0]
    if leading:
        name, version = release
        raise Conflict(
            f'the release is in several indexes that lead to "{target}": {", ".join(leading)}',
            hint="say which one it leaves: "
            f"conveyor store promote {name} {version} --to {target} --from {leading[0]}",
        )
    if target in present:
        return None
    if not present:
        raise NotFound("the release is in no index", hint="upload it first")
    raise Conflict(
        f'no index that the release is in leads to "{target}"',
        hint="; ".join(_way_hint(name, indexes) for name in sorted(present)),
    )


def _way_hint(name: str, indexes: Mapping[str, Index]) -> str:
    way = _way_from(name, indexes)
    return f"it is in {name}" + (
        f"; from there the way is {' → '.join(way)}" if len(way) > 1 else ", where its way ends"
    )


def _present_hint(present: Collection[str]) -> str:
    return f"it is in {', '.join(sorted(present))}" if present else "it is in no index"


def _stations(source: str, target: str, indexes: Mapping[str, Index]) -> tuple[str, ...]:
    """The local indexes after ``source`` up to ``target``, farthest from the target first; empty: no way."""
    below = _reach(source, indexes)
    if target not in below:
        return ()
    between = [
        name
        for name in below
        if name != source and indexes[name].kind == "local" and target in _reach(name, indexes)
    ]
    # An index farther from the target reaches more of the others, which gives the order of the stations.
    return tuple(sorted(between, key=lambda name: (-len(_reach(name, indexes) & set(between)), name)))


def _reach(name: str, indexes: Mapping[str, Index]) -> frozenset[str]:
    """The index and all its bases, direct or indirect."""
    found: set[str] = set()
    waiting = [name]
    while waiting:
        current = waiting.pop()
        if current in found or current not in indexes:
            continue
        found.add(current)
        waiting += indexes[current].bases
    return frozenset(found)


def successors(name: str, indexes: Mapping[str, Index]) -> tuple[str, ...]:
    """The indexes that follow one on the way of a release, nearest first.

    Empty at the end of the way, several at a fork. A base that is reached through another one does not follow
    here, and a mirror never does.
    """
    index = indexes[name]
    local = [base for base in index.bases if base in indexes and indexes[base].kind == "local"]
    team = team_of(name)
    if team is not None:
        own = [base for base in local if team_of(base) == team]
        local = own if own or index.mode == "promotion-only" else local
    return tuple(
        base for base in local if not any(base in _reach(other, indexes) for other in local if other != base)
    )


def route_to(target: str, source: str | None, indexes: Mapping[str, Index]) -> tuple[str, ...]:
    """The indexes whose tests count for a release that enters ``target``, by name.

    These are all from which a run goes on to the target, and those between ``source`` and the target: tests
    against an index beyond it, or against one of another team, say nothing about it.
    """
    found = {
        name
        for name, index in indexes.items()
        if index.kind == "local" and target in _way_from(name, indexes)
    }
    if source is not None:
        found |= {source, *_stations(source, target, indexes)}
    return tuple(sorted(found))


def own_moves(present: Collection[str], version: str, indexes: Mapping[str, Index]) -> list[tuple[str, str]]:
    """(index that a release leaves, index that it enters) of the moves that the store makes by itself.

    A final goes the whole way; any other version into the index that follows where it was uploaded, as a run
    carries it. At a fork only a person decides.
    """
    leaving = [
        name
        for name in sorted(present)
        if indexes[name].mode == "uploads" or is_final(parse_version(version))
    ]
    ways = ((name, successors(name, indexes)) for name in leaving)
    return [(name, following[0]) for name, following in ways if len(following) == 1]


BROUGHT_BY_RUNS = frozenset({"tests", "dependants", "docs"})
"""Gates whose evidence the run of a release brings; while one of them waits, nobody is asked for anything."""


def standstill(shut: Mapping[str, str]) -> Literal["hold", "refuse"] | None:
    """Whether a release stands still before the gates that are shut, each with its outcome.

    ``refuse``: a gate fails it; ``hold``: it waits for people or for time; ``None``: its run goes on, or no
    gate is shut.
    """
    if "fail" in shut.values():
        return "refuse"
    return "hold" if shut and not BROUGHT_BY_RUNS & shut.keys() else None


def has_arrived(present: Collection[str], target: str, indexes: Mapping[str, Index]) -> bool:
    """Whether a release in these indexes is in the target or has passed it, and is installable through it."""
    return any(name in _reach(target, indexes) for name in present)


def next_station(current: str, indexes: Mapping[str, Index]) -> str:
    """The next index of a release in ``current``; ``current`` itself at the end of the way.

    Raises:
        Conflict: several indexes follow.
    """
    following = successors(current, indexes)
    if len(following) > 1:
        named = " or ".join(f"--to {name}" for name in following)
        raise Conflict(_fork(current, following), hint=f"name the one that it is to enter: {named}")
    return following[0] if following else current


def way_of_run(identity: Identity, entry: str | None, indexes: Mapping[str, Index]) -> tuple[str, ...]:
    """The indexes that a pipeline run may carry a release through, from the one that it enters to the last.

    ``entry`` names the first index; ``None``: the one that this caller's runs can enter, if there is only
    one; private ones count only where no public one is. At least two indexes. The list of indexes tells the
    bases of each index that the caller reads; so errors name them too.

    Raises:
        NotFound: there is no such index, or none that the caller may read.
        Conflict: no run can go anywhere from there (a mirror, no uploads, no index follows, several follow
            it or one of the next), or no single entry is left.
    """
    choices = _choices(identity, indexes)
    hint = (
        f"name the index where it enters: {', '.join(choices)}"
        if choices
        else "an administrator makes a way, its last index first: "
        "conveyor store index create NAME --mode promotion-only"
    )
    if entry is None:
        if len(choices) != 1:
            found = "at several indexes" if choices else "at no index"
            raise Conflict(f"releases enter {found} of this store", hint=hint)
        entry = choices[0]
    elif entry not in indexes or not _sees(identity, indexes[entry]):
        raise NotFound(f'there is no index "{entry}"', hint=hint)
    fault = _fault_of_way(entry, indexes)
    if fault is not None:
        raise Conflict(f'a run cannot enter "{entry}": {fault}', hint=hint)
    return _way_from(entry, indexes)


def entry_to_name(index: str, identity: Identity, indexes: Mapping[str, Index]) -> str | None:
    """The entry to name to a run that carries a release in ``index``; ``None`` if none need be named.

    That is the nearest index where it can enter; ``None`` if there is only one choice, or no way leads there.
    """
    entry = entry_of(index, identity, indexes)
    return None if _choices(identity, indexes) == [entry] else entry


def entry_of(index: str, identity: Identity, indexes: Mapping[str, Index]) -> str | None:
    """The nearest index from which a run of this caller leads to ``index``; ``None`` if none does."""
    leading = [name for name in _entries(identity, indexes) if index in _way_from(name, indexes)]
    return min(leading, key=lambda name: _way_from(name, indexes).index(index), default=None)


def _entries(identity: Identity, indexes: Mapping[str, Index]) -> list[str]:
    """The indexes where runs of this caller can enter, by name."""
    return [
        name
        for name, index in sorted(indexes.items())
        if _sees(identity, index) and reaches_index(identity, name) and _fault_of_way(name, indexes) is None
    ]


def _choices(identity: Identity, indexes: Mapping[str, Index]) -> list[str]:
    """The entries that are chosen from if none is named: what is private is released there on purpose."""
    entries = _entries(identity, indexes)
    return [name for name in entries if not indexes[name].is_private] or entries


def _fault_of_way(entry: str, indexes: Mapping[str, Index]) -> str | None:
    """The reason why runs cannot enter there; ``None`` if they can."""
    index = indexes[entry]
    if index.kind == "mirror":
        return "it is a mirror and holds no files of this store"
    if index.mode != "uploads":
        return "it is promotion-only and accepts no upload"
    way = _way_from(entry, indexes)
    following = successors(way[-1], indexes)
    if following:
        return _fork(way[-1], following)
    if len(way) == 1:
        return "no index follows it; " + (
            f"its bases are {', '.join(index.bases)}" if index.bases else "it has no bases"
        )
    return None


def _way_from(name: str, indexes: Mapping[str, Index]) -> tuple[str, ...]:
    """The index and those that follow it one by one, up to the end of the way or a fork."""
    way = [name]
    while len(following := successors(way[-1], indexes)) == 1:
        way += following
    return tuple(way)


def _fork(name: str, following: tuple[str, ...]) -> str:
    return f'"{name}" is followed by several indexes, {" and ".join(following)}'


def _sees(identity: Identity, index: Index) -> bool:
    return bool(readable_indexes({index.name: index}, identity))
