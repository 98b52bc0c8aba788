"""Collects every fault of one file, so that an upload is refused once and mended once; and notes on it."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterable

    from conveyor.errors import Rule

MOST_NAMES = 10
"""Names of one kind of fault that are spelled out; a wheel may have ten thousand wrong hashes."""

MOST_FAULTS = 100
"""Sentences kept of one file; a hostile archive must not make a long answer."""


class Faults:
    """The faults found so far, one sentence each, in the order of their finding, none twice."""

    def __init__(self) -> None:
        self._sentences: dict[str, None] = {}
        self._notes: dict[str, None] = {}

    def add(self, rule: Rule, sentence: str) -> None:
        """Keep one fault; control characters in it (from a hostile name) are shown escaped."""
        if len(self._sentences) < MOST_FAULTS:
            self._sentences[f"{printable(sentence)} [{rule}]"] = None

    def add_each(self, rule: Rule, names: Iterable[str], sentence: str) -> None:
        """Keep one fault of many names; ``sentence`` holds ``{}`` where the name goes."""
        listed = sorted(names)
        for name in listed[:MOST_NAMES]:
            self.add(rule, sentence.format(name))
        if len(listed) > MOST_NAMES:
            self.add(rule, sentence.format(f"and {len(listed) - MOST_NAMES} more"))

    def note(self, sentence: str) -> None:
        """Keep what is odd and accepted all the same: its uploader is told."""
        if len(self._notes) < MOST_NAMES:
            self._notes[printable(sentence)] = None

    @property
    def notes(self) -> tuple[str, ...]:
        """All notes, whether or not there are faults."""
        return tuple(self._notes)

    @property
    def sentences(self) -> tuple[str, ...]:
        """All faults, each with the rule that it breaks in brackets behind it."""
        return tuple(self._sentences)

    def __bool__(self) -> bool:
        return bool(self._sentences)


def printable(text: str) -> str:
    """``text`` on one line: what is not printable is written as an escape."""
    return "".join(c if c.isprintable() else c.encode("unicode_escape").decode() for c in text)
