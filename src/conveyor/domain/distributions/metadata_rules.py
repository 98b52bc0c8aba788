"""Rules of an index for core metadata beyond its syntax: links, addresses, references, classifiers.

Each rule yields sentences; ``domain.distributions.metadata`` puts the name of the file before them. The
number and length of the values have been limited before. The classifier ``Private :: …`` is accepted whatever
follows: it is not in the list, so that the public index refuses it, and a house puts it on packages that must
never leave.

Parsing requirements took most of the time of an upload, and the files of a release name the same ones, so the
results for the latest texts are cached.

Sources: core metadata specification 2.6, PEP 508 (dependency specifiers), PEP 639 (License and
License-Expression), PEP 643 (Dynamic); what the public index asks, so that a release that passes here can go
there; the list of classifiers is that of the package trove-classifiers.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from difflib import get_close_matches
from email.utils import getaddresses
from functools import lru_cache
from typing import TYPE_CHECKING

from packaging.requirements import Requirement
from trove_classifiers import classifiers as known
from trove_classifiers import deprecated_classifiers as deprecated

from conveyor.domain.words.faults import MOST_NAMES

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from packaging.metadata import RawMetadata

    from conveyor.errors import Rule

_LONGEST_SUMMARY = 512
_LONGEST_LABEL = 32


def rule_faults(raw: RawMetadata) -> Iterator[tuple[Rule, str]]:
    """A rule and a sentence for each fault of the metadata."""
    yield from _requirement_faults(raw)
    yield from _address_faults(raw)
    yield from _link_faults(raw)
    for fault in classifier_faults(raw.get("classifiers", ())):
        yield "classifiers", fault
    if len(raw.get("summary", "")) > _LONGEST_SUMMARY:
        yield "summary", f"the summary is longer than {_LONGEST_SUMMARY} characters"
    if "dynamic" in (field.lower() for field in raw.get("dynamic", ())):
        yield "dynamic", "'dynamic' is not a valid dynamic field"
    if raw.get("license") and raw.get("license_expression"):
        yield "licence-fields", "there are both 'license' and 'license-expression': keep the second only"


def _requirement_faults(raw: RawMetadata) -> Iterator[tuple[Rule, str]]:
    for field, texts in (
        ("requires-dist", raw.get("requires_dist", ())),
        ("provides-dist", raw.get("provides_dist", ())),
        ("obsoletes-dist", raw.get("obsoletes_dist", ())),
    ):
        for text in texts:
            requirement = read_requirement(text)
            if requirement is None:
                yield "requirements", f"{text!r} is invalid for {field!r}"
            elif requirement.has_url:
                advice = "upload that dependency and name its version"
                yield (
                    "requirement-urls",
                    f"{text!r} depends on a URL, which no index can check or keep; {advice}",
                )


def _address_faults(raw: RawMetadata) -> Iterator[tuple[Rule, str]]:
    for field, addresses in (
        ("author-email", raw.get("author_email")),
        ("maintainer-email", raw.get("maintainer_email")),
    ):
        found = [address for _, address in getaddresses([addresses or ""])]
        # The public index does not check several addresses, or ones that cannot be told apart.
        if len(found) == 1 and found[0] and not _is_address(found[0]):
            yield "addresses", f"{addresses!r} is invalid for {field!r}: not a mail address"


def _link_faults(raw: RawMetadata) -> Iterator[tuple[Rule, str]]:
    links = [("home-page", raw.get("home_page")), ("download-url", raw.get("download_url"))]
    for label, url in raw.get("project_urls", {}).items():
        links.append(("project-url", url or "(nothing)"))
        if not label or len(label) > _LONGEST_LABEL:
            yield (
                "link-labels",
                f"the label {label!r} of a 'project-url' must have 1 to {_LONGEST_LABEL} characters",
            )
    for field, link in links:
        if link and re.match("https?:", link, re.IGNORECASE) is None:
            yield "links", f"{link!r} is invalid for {field!r}: not an http or https URL"


def _is_address(text: str) -> bool:
    return re.fullmatch(r"[^@\s]+@[^@\s]+", text) is not None


PRIVATE = "Private :: "
_LONGEST_GUESSED = 100
"""Characters. The search for a similar classifier takes 10 ms, and longer for longer texts."""
_BY_LOWER_CASE = {one.lower(): one for one in sorted(known)}


def classifier_faults(texts: Iterable[str]) -> Iterator[str]:
    """A sentence for each classifier that is unknown or deprecated; at most the first few."""
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


@dataclass(frozen=True, slots=True)
class ReadRequirement:
    """The parts of a requirement that are compared or judged."""

    canonical: str
    """In its canonical spelling."""
    has_url: bool


@lru_cache(maxsize=1024)
def read_requirement(text: str) -> ReadRequirement | None:
    """The requirement in ``text``; ``None`` if it cannot be parsed."""
    try:
        requirement = Requirement(text)
    except (ValueError, RecursionError):  # the first also for versions with thousands of digits
        return None
    return ReadRequirement(str(requirement), requirement.url is not None)
