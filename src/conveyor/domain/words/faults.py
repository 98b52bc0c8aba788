"""Collects every fault of one file, so that an upload is refused once and fixed once; and notes on it."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterable

    from conveyor.errors import Rule

MOST_NAMES = 10
"""Names of one kind of fault that are spelled out; a wheel may have ten thousand wrong hashes."""

MOST_FAULTS = 100
"""Sentences kept for one file; a hostile archive must not cause a long answer."""


class Faults:
    """The faults found so far, one sentence each, in the order found, without duplicates."""

    def __init__(self) -> None:
        self._sentences: dict[str, None] = {}
        self._notes: dict[str, None] = {}

    def add(self, rule: Rule, sentence: str) -> None:
        """Keep one fault; control characters in it (from a hostile name) are shown escaped."""
        if len(self._sentences) < MOST_FAULTS:
            self._sentences[f"{printable(sentence)} [{rule}]"] = None

    def add_each(self, rule: Rule, names: Iterable[str], sentence: str) -> None:
        """Keep one fault for many names; ``sentence`` has ``{}`` in place of the name."""
        listed = sorted(names)
        for name in listed[:MOST_NAMES]:
            self.add(rule, sentence.format(name))
        if len(listed) > MOST_NAMES:
            self.add(rule, sentence.format(f"and {len(listed) - MOST_NAMES} more"))

    def note(self, sentence: str) -> None:
        """Keep a note on something odd that is accepted nonetheless; the uploader is told."""
        if len(self._notes) < MOST_NAMES:
            self._notes[printable(sentence)] = None

    @property
    def notes(self) -> tuple[str, ...]:
        """All notes, whether or not there are faults."""
        return tuple(self._notes)

    @property
    def sentences(self) -> tuple[str, ...]:
        """All faults, each followed by the rule that it breaks in brackets."""
        return tuple(self._sentences)

    def __bool__(self) -> bool:
        return bool(self._sentences)


def printable(text: str) -> str:
    """``text`` on one line, with unprintable characters escaped."""
    return "".join(c if c.isprintable() else c.encode("unicode_escape").decode() for c in text)
