"""Which version the next release gets: judged by the difference of two public APIs, and why.

What is judged: names, kinds, parameters and bases, as ``api`` reads them. Types, default values and behaviour
are not: whoever changes those says so in the word of the release.

Under 1.0 anything may change (Semantic Versioning, item 4); by the convention of all resolvers that read
``^0.3`` an incompatible change raises the second number there, and everything else the third.

Source: Semantic Versioning 2.0.0, items 4 and 6 to 8; PEP 440.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

from conveyor.domain.words.names import Version
from conveyor.errors import InvalidVersion, ProjectError
from conveyor.project.api import ORDERED

if TYPE_CHECKING:
    from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence

    from conveyor.project.api import Parameter, Thing

Level = Literal["patch", "minor", "major"]
LEVELS: tuple[Level, ...] = ("patch", "minor", "major")
"""In rising order."""
FIRST: Mapping[Level, str] = {"patch": "0.0.1", "minor": "0.1.0", "major": "1.0.0"}
"""The first release of a project, by the word for it."""
_EARLIEST_YEAR = 1990


@dataclass(frozen=True)
class ApiChange:
    """One difference between two APIs."""

    level: Level
    said: str
    """A sentence without its full stop."""


def differences(before: Mapping[str, Thing], after: Mapping[str, Thing]) -> tuple[ApiChange, ...]:
    """What changed, the gravest first; of a module or class that came or went only itself is named."""
    lost, new = before.keys() - after.keys(), after.keys() - before.keys()
    found = [
        ApiChange("major", f"{before[name].kind} {_bare(name)} was removed")
        for name in sorted(lost)
        if not _parent_in(name, lost)
    ]
    for name in sorted(before.keys() & after.keys()):
        found += _changes(_bare(name), before[name], after[name])
    found += [
        ApiChange("minor", f"{after[name].kind} {_bare(name)} is new")
        for name in sorted(new)
        if not _parent_in(name, new)
    ]
    return tuple(sorted(found, key=lambda one: -LEVELS.index(one.level)))


def gravest(found: Iterable[ApiChange]) -> Level:
    """What a set of differences asks for; ``patch`` if there are none."""
    return max((one.level for one in found), key=LEVELS.index, default="patch")


def needed_level(found: Iterable[ApiChange], *, last: Version) -> Level:
    """The least word that a release with these differences after ``last`` may be called by."""
    level = gravest(found)
    if last.major > 0:
        return level
    return "minor" if level == "major" else "patch"


def next_version(last: Version, level: Level) -> Version:
    """The final version that follows ``last`` at a level, with as many numbers, or three for a patch.

    Raises:
        InvalidVersion: the versions are dates, which no word raises.
    """
    if last.major >= _EARLIEST_YEAR:
        raise InvalidVersion(
            f"the versions of this project are dates, as in {last}, which follow no word",
            hint="name the version: --as YYYY.MM.N",
        )
    place = {"major": 0, "minor": 1, "patch": 2}[level]
    count = max(len(last.release), place + 1)
    numbers = [*last.release, 0, 0, 0]
    raised = [*numbers[:place], numbers[place] + 1, 0, 0, 0, 0]
    return Version(".".join(map(str, raised[:count])))


def next_candidate(final: Version, known: Collection[Version]) -> Version:
    """The release candidate of a final version that follows the known ones: 1.2.0rc2 after 1.2.0rc1."""
    pre = [one.pre for one in known if one.pre is not None and one.release == final.release]
    numbers = [number for kind, number in pre if kind == "rc"]
    return Version(f"{final}rc{max(numbers, default=0) + 1}")


def check_level(asked: Level, found: Sequence[ApiChange], *, last: Version) -> None:
    """Accept the word of a release.

    Raises:
        ProjectError: the API needs a graver one; every difference that needs it is named.
    """
    needed = needed_level(found, last=last)
    if LEVELS.index(asked) < LEVELS.index(needed):
        raise _too_little(f"{next_version(last, asked)} would be a {asked} release", needed, found, last=last)


def check_named(named: Version, found: Sequence[ApiChange], *, last: Version) -> None:
    """Accept a version that the caller names; of versions that are dates nothing is asked.

    Raises:
        ProjectError: it is too low for what the API needs; every difference that needs more is named.
    """
    needed = needed_level(found, last=last)
    if last.major < _EARLIEST_YEAR and named < next_version(last, needed):
        raise _too_little(f"{named} is too low", needed, found, last=last)


def _too_little(said: str, needed: Level, found: Sequence[ApiChange], *, last: Version) -> ProjectError:
    grave = [one.said for one in found if LEVELS.index(one.level) >= LEVELS.index(gravest(found))]
    listed = "".join(f"\n- {one}" for one in grave)
    return ProjectError(
        f"{said}, but the public API changed since {last} as only a {needed} release may:{listed}",
        hint=f"conveyor release {needed}; or undo these changes; or add why users will not mind: "
        '--although "REASON"',
    )


def _bare(name: str) -> str:
    return name.rpartition(" ")[2]


def _parent_in(name: str, names: Collection[str]) -> bool:
    parent = name.rpartition(".")[0]
    return bool(parent) and (parent in names or _parent_in(parent, names))


def _changes(name: str, before: Thing, after: Thing) -> Iterator[ApiChange]:
    if before.kind != after.kind:
        yield ApiChange("major", f"{name} was a {before.kind} and is a {after.kind}")
        return
    for lost in sorted(before.bases - after.bases):
        yield ApiChange("major", f"class {name} no longer derives from {lost}")
    if before.parameters is not None and after.parameters is not None:
        yield from _changes_by_position(name, before.parameters, after.parameters)
        yield from _changes_by_name(name, before.parameters, after.parameters)
        yield from _new_parameters(name, before.parameters, after.parameters)


def _changes_by_position(
    name: str, before: Sequence[Parameter], after: Sequence[Parameter]
) -> Iterator[ApiChange]:
    """What breaks calls that give arguments by position."""
    if any(one.kind == "*" for one in after):
        return
    new = {one.name: one for one in after}
    places = [one for one in after if one.kind in ORDERED]
    for place, one in enumerate(two for two in before if two.kind in ORDERED):
        there = places[place] if place < len(places) else None
        if one.kind == "positional-only":
            if there is None:
                yield ApiChange("major", f"{name}() no longer takes {place + 1} arguments by position")
        elif one.name in new and new[one.name].kind == "keyword-only":
            yield ApiChange("major", f"parameter {one.name} of {name}() can no longer be given by position")
        elif one.name in new and there is not None and there.name != one.name:
            yield ApiChange("major", f"parameter {one.name} of {name}() has another position")
    if any(one.kind == "*" for one in before):
        yield ApiChange("major", f"{name}() no longer takes any number of arguments")


def _changes_by_name(
    name: str, before: Sequence[Parameter], after: Sequence[Parameter]
) -> Iterator[ApiChange]:
    """What breaks calls that give arguments by name, or not at all."""
    new = {one.name: one for one in after if "*" not in one.kind}
    takes_any_name = any(one.kind == "**" for one in after)
    takes_any_place = any(one.kind == "*" for one in after)
    for one in before:
        known = new.get(one.name)
        if one.kind == "**":
            if not takes_any_name:
                yield ApiChange("major", f"{name}() no longer takes any keyword")
        elif one.kind in ("*", "positional-only"):
            continue
        elif known is None:
            if not (takes_any_name and (one.kind == "keyword-only" or takes_any_place)):
                yield ApiChange("major", f"parameter {one.name} of {name}() was removed")
        elif known.kind == "positional-only" and not takes_any_name:
            yield ApiChange("major", f"parameter {one.name} of {name}() can no longer be given by name")
        elif known.is_required and not one.is_required:
            yield ApiChange("major", f"parameter {one.name} of {name}() must be given now")


def _new_parameters(
    name: str, before: Sequence[Parameter], after: Sequence[Parameter]
) -> Iterator[ApiChange]:
    old = {one.name for one in before if "*" not in one.kind}
    stars = {one.kind for one in before}
    unnamed = sum(one.kind == "positional-only" for one in before)
    for place, one in enumerate(after):
        if one.kind in ("*", "**"):
            if one.kind not in stars:
                yield ApiChange("minor", f"{name}() takes further arguments as {one.kind}{one.name}")
        elif one.name in old or (one.kind == "positional-only" and place < unnamed):
            continue
        elif one.is_required:
            yield ApiChange("major", f"parameter {one.name} of {name}() is new and must be given")
        else:
            yield ApiChange("minor", f"parameter {one.name} of {name}() is new")
