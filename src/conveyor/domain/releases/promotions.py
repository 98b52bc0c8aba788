"""Promotions: which way a release goes from one index to another, and which gates stand on that way.

A release moves down a chain of bases: ``unstable`` shows ``testing``, which shows ``stable``; so what could
be installed through an index before a promotion can be installed through it afterwards.

**Skipping a station is judged by every station.** Asked to go from ``unstable`` straight to ``stable``, a
release is judged by the gates of every index that lies between, then by those of the target, each gate once.
It arrives only if it could have gone step by step, so there is nothing to gain by skipping, and nobody is
sent to the store twice for what one answer can say. Refusing instead would hide, behind a complaint about
the way, what the release still lacks.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from conveyor.errors import Conflict, NotFound

if TYPE_CHECKING:
    from collections.abc import Collection, Mapping

    from conveyor.domain.indexes.definitions import Index
    from conveyor.domain.releases.gates.judged import Verdict


@dataclass(frozen=True)
class Promotion:
    """A release that is in the target now, and what the gates said."""

    project: str
    version: str
    source: str | None
    """The index it left; ``None``: it was in the target already and nothing moved."""
    target: str
    files: tuple[str, ...]
    """Filenames of the whole release in the target."""
    verdicts: tuple[Verdict, ...]


@dataclass(frozen=True)
class Way:
    """From one index to another, through the indexes between them."""

    source: str
    stations: tuple[str, ...]
    """The indexes passed, nearest to the source first, the target last."""
    gates: tuple[str, ...]
    """Every gate on the way, each once, in the order it is met."""

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
        Conflict: the target is a mirror, is the source itself, or is no base of it, direct or indirect.
    """
    for name in (source, target):
        if name not in indexes:
            raise NotFound(f'there is no index "{name}"', hint="see conveyor store index list")
    if indexes[target].kind != "local":
        raise Conflict(
            f'"{target}" is a mirror and holds no files of this store', hint="promote into a local index"
        )
    stations = _stations(source, target, indexes)
    if source == target or not stations:
        raise Conflict(
            f'a release in "{source}" cannot move to "{target}", which is no base of it',
            hint=f'what can be installed through "{source}" must stay installable: its bases are '
            + (", ".join(indexes[source].bases) or "none"),
        )
    gates = dict.fromkeys(gate for station in stations for gate in indexes[station].gates)
    return Way(source=source, stations=stations, gates=tuple(gates))


def choose_source(
    present: Collection[str], target: str, *, wanted: str | None, indexes: Mapping[str, Index]
) -> str | None:
    """The index that a release is to leave; ``None`` when it is in the target already and nowhere before it.

    ``present`` are the indexes the release is in, ``wanted`` the one that the caller named, if any.

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
        raise Conflict(
            f'the release is in several indexes that lead to "{target}": {", ".join(leading)}',
            hint="say which one it leaves: --from INDEX",
        )
    if target in present:
        return None
    if not present:
        raise NotFound("the release is in no index", hint="upload it first")
    raise Conflict(f'no index that the release is in leads to "{target}"', hint=_present_hint(present))


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
    # What lies farther from the target reaches more of the others: that puts the stations in their order.
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


def next_station(current: str, indexes: Mapping[str, Index]) -> str:
    """Where a release in ``current`` goes next: the nearest local base, itself at the end of the chain."""
    bases = indexes[current].bases if current in indexes else ()
    return next((name for name in bases if name in indexes and indexes[name].kind == "local"), current)
