"""A changelog in the form of Keep a Changelog: what is unreleased becomes the section of a version.

Text in, text out. The section bears the number of the final release, also while its candidates are made:
candidate and final stand on one commit, so the changelog must be right for both. A later candidate adds to
the section that the first one made.

Source: Keep a Changelog 1.1.0.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from conveyor.domain.words.names import Version

FILENAME = "CHANGELOG.md"
OTHER_NAMES = (
    "CHANGES.md", "HISTORY.md", "NEWS.md", "CHANGELOG.rst", "CHANGES.rst", "HISTORY.rst", "NEWS.rst",
    "CHANGELOG", "CHANGES", "CHANGES.txt", "CHANGELOG.txt", "NEWS",
)  # fmt: skip
"""Files of other names and forms: a section is never written into them, but looked for."""

_HEADING = re.compile(r"##\s+(?P<bracket>\[)?v?(?P<name>[^\]\s]+)\]?(?P<rest>.*)")
_LINK = re.compile(r"\[(?P<name>[^\]]+)\]:\s*(?P<address>\S+)\s*")
_COMPARISON = re.compile(r"(?P<before>.*/compare/)(?P<first>.+?)\.\.\.HEAD")
_NEW = """\
# Changelog

The format is that of [Keep a Changelog](https://keepachangelog.com/en/1.1.0/).

## Unreleased
"""


@dataclass(frozen=True)
class Written:
    """A changelog with the section of a version."""

    text: str
    """The whole file."""
    section: str
    """The section: its heading and what follows it."""
    is_from_commits: bool
    """Whether the section was made from the subjects of commits, because nothing was unreleased."""


@dataclass
class _Section:
    """A heading of the second level with its body, as lines."""

    heading: str
    body: list[str]

    @property
    def name(self) -> str:
        found = _HEADING.fullmatch(self.heading)
        return found["name"].lower() if found else ""


def with_release(
    text: str | None, version: Version, *, date: str, subjects: Sequence[str], tags: tuple[str, str | None]
) -> Written:
    """The changelog in which ``version`` is released.

    Args:
        text: the file; ``None`` if there is none.
        version: the final version, also for a candidate.
        date: the day, as ``2026-11-29``.
        subjects: of the commits since the last release, newest first; used if nothing is unreleased.
        tags: of this final, and of the last one, for the links that compare them.
    """
    head, sections, links = _split(_NEW if text is None else text)
    unreleased = next((one for one in sections if one.name == "unreleased"), None)
    known = next((one for one in sections if one.name == str(version)), None)
    entries = _entries(unreleased.body) if unreleased else []
    made = [f"- {subject}" for subject in subjects] or ["- Nothing that users notice."]
    is_ours = known is not None and set(_entries(known.body)) <= set(made)  # an earlier candidate made it so
    is_from_commits = not entries and (known is None or is_ours)
    if is_from_commits:
        entries = made
    if known is None:
        bracketed = any(_is_bracketed(one) for one in sections)
        name = f"[{version}]" if bracketed else str(version)
        known = _Section(f"## {name} - {date}", ["", *entries, ""])
        sections.insert(sections.index(unreleased) + 1 if unreleased else 0, known)
        links = _linked(links, str(version), tags) if bracketed else links
    elif entries:
        known.body = ["", *(made if is_from_commits else _merged(_entries(known.body), entries)), ""]
    if unreleased:
        unreleased.body = [""]
    lines = [*head, *(line for one in sections for line in (one.heading, *one.body)), *links]
    section = "\n".join([known.heading, *known.body]).rstrip() + "\n"
    return Written("\n".join(lines).rstrip() + "\n", section, is_from_commits)


def _is_bracketed(section: _Section) -> bool:
    found = _HEADING.fullmatch(section.heading)
    return found is not None and found["bracket"] is not None


def _split(text: str) -> tuple[list[str], list[_Section], list[str]]:
    """(lines before the first section, the sections, the links at the end)."""
    lines = text.splitlines()
    end = len(lines)
    while end and (not lines[end - 1].strip() or _LINK.fullmatch(lines[end - 1])):
        end -= 1
    links = [line for line in lines[end:] if line.strip()]
    head: list[str] = []
    sections: list[_Section] = []
    for line, is_code in _with_fences(lines[:end]):
        if not is_code and _HEADING.fullmatch(line):
            sections.append(_Section(line, []))
        else:
            (sections[-1].body if sections else head).append(line)
    if head and head[-1].strip():
        head.append("")
    for one in sections:
        if not one.body or one.body[-1].strip():
            one.body.append("")
    return head, sections, links


def _with_fences(lines: list[str]) -> Iterator[tuple[str, bool]]:
    """Each line, and whether it is code between fences, where ``##`` is no heading."""
    is_code = False
    for line in lines:
        if line.lstrip().startswith("```"):
            is_code = not is_code
        yield line, is_code


def _entries(body: list[str]) -> list[str]:
    """The body without empty subsections and outer blank lines; empty if it says nothing."""
    kept: list[str] = []
    waiting: list[str] = []
    for line in body:
        if line.startswith("### "):
            waiting = [line]
        elif line.strip():
            kept += [*([""] if kept and waiting else []), *waiting, line]
            waiting = []
        elif waiting or kept:
            (waiting if waiting else kept).append(line)
    while kept and not kept[-1].strip():
        kept.pop()
    return _without_double_blanks(kept)


def _without_double_blanks(lines: list[str]) -> list[str]:
    return [line for place, line in enumerate(lines) if line.strip() or (place and lines[place - 1].strip())]


def _merged(known: list[str], added: list[str]) -> list[str]:
    """Both bodies, those under the same ``###`` together."""
    parts: dict[str, list[str]] = {}
    for lines in (known, added):
        title = ""
        for line in lines:
            if line.startswith("### "):
                title = line
                parts.setdefault(title, [])
            elif line.strip() or parts.get(title):
                parts.setdefault(title, []).append(line)
    merged: list[str] = []
    for title, lines in parts.items():
        if merged:
            merged.append("")
        merged += [*([title, ""] if title else []), *_without_gaps(lines)]
    return merged


def _without_gaps(lines: list[str]) -> list[str]:
    """Lists that came together without blank lines between their items or at the end."""
    while lines and not lines[-1].strip():
        lines.pop()
    single = _without_double_blanks(lines)
    return [
        line
        for line, after in zip(single, [*single[1:], ""], strict=True)
        if line.strip() or not after.startswith(("-", "*"))
    ]


def _linked(links: list[str], version: str, tags: tuple[str, str | None]) -> list[str]:
    """The links at the end of the file with one that compares this release with the last one."""
    found: list[str] = []
    for line in links:
        link = _LINK.fullmatch(line)
        compared = _COMPARISON.fullmatch(link["address"]) if link else None
        if link is None or link["name"].lower() != "unreleased" or compared is None:
            found.append(line)
            continue
        tag, last = tags
        found.append(f"[{link['name']}]: {compared['before']}{tag}...HEAD")
        found.append(f"[{version}]: {compared['before']}{last or compared['first']}...{tag}")
    return found
