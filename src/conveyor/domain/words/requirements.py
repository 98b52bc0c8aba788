"""Requirements (``six[a]>=1; python_version < "4"``) as metadata and forms write them.

Parsing is what most of the time of an upload went to, and the files of a release name the same ones: what was
found of the latest texts is remembered.

Source: dependency specifiers (PEP 508).
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache

from packaging.requirements import InvalidRequirement, Requirement


@dataclass(frozen=True, slots=True)
class ReadRequirement:
    """What a requirement says, as far as it is compared or judged."""

    canonical: str
    """In one spelling."""
    has_url: bool


@lru_cache(maxsize=1024)
def read_requirement(text: str) -> ReadRequirement | None:
    """What ``text`` requires; ``None`` when it can not be parsed."""
    try:
        requirement = Requirement(text)
    except (InvalidRequirement, RecursionError):
        return None
    return ReadRequirement(str(requirement), requirement.url is not None)
