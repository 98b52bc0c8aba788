"""Classifiers: the known ones, and what takes the place of those that are deprecated.

``Private :: …`` is welcome whatever follows: it is in no list, so that the public index refuses it, and a
house puts it on what must never leave.

Sources: core metadata specification (Classifier); the list is that of the package trove-classifiers.
"""

from __future__ import annotations

from difflib import get_close_matches
from typing import TYPE_CHECKING

from trove_classifiers import classifiers as known
from trove_classifiers import deprecated_classifiers as deprecated

from conveyor.domain.words.faults import MOST_NAMES

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

PRIVATE = "Private :: "
_LONGEST_GUESSED = 100
"""Characters. Looking for a similar one takes 10 ms, and grows with the text."""
_BY_LOWER_CASE = {one.lower(): one for one in sorted(known)}


def classifier_faults(texts: Iterable[str]) -> Iterator[str]:
    """A sentence for each classifier that is unknown or deprecated; of very many only the first."""
    wrong = sorted({text for text in texts if text not in known and not text.startswith(PRIVATE)})
    for text in wrong[:MOST_NAMES]:
        if text in deprecated:
            yield f"the classifier {text!r} is deprecated: {_replacement(deprecated[text])}"
        else:
            yield f"the classifier {text!r} is unknown: {_guess(text)}"
    if len(wrong) > MOST_NAMES:
        yield f"{len(wrong) - MOST_NAMES} more classifiers are unknown or deprecated"


def _replacement(others: list[str]) -> str:
    return f"use {' or '.join(map(repr, others))}" if others else "take it out"


def _guess(text: str) -> str:
    if len(text) <= _LONGEST_GUESSED:
        similar = get_close_matches(text.lower(), _BY_LOWER_CASE, n=1, cutoff=0.8)
        if similar:
            return f"did you mean {_BY_LOWER_CASE[similar[0]]!r}?"
    return f"take it out, or begin it with {PRIVATE!r}"
