"""Paths that lead nowhere, and which real one was most likely meant.

People mistype a word or leave a part out, and their installer shows them the hint of the 404. A shape is a
path with names in place of what differs: ``/INDEX/simple/PROJECT/``, ``/projects/{project}``.
"""

from __future__ import annotations

from difflib import get_close_matches
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterable

PROJECT_PAGE = "/INDEX/simple/PROJECT/"
SHAPES = (
    PROJECT_PAGE,
    "/INDEX/legacy/",
    "/INDEX/pypi/PROJECT/json",
    "/packages/SHA256/FILENAME",
    "/healthz",
    "/readyz",
)
HINT_OF_UPLOADS = "uploads go to /INDEX/legacy/, such as /unstable/legacy/"
_MOST_PARTS, _LONGEST_PART = 8, 40
"""What is compared of a path; comparing takes time that grows with it."""
_LEAST_SCORE = 0.6


def hint_of_path(path: str) -> str:
    """What to ask for instead of a path at which there is nothing, in one line."""
    shape = nearest_shape(path, SHAPES)
    meant = f"a project's page is {PROJECT_PAGE}" if shape is None else f"did you mean {shape}"
    return f"{meant}; / lists the indexes of this store"


def nearest_shape(path: str, shapes: Iterable[str]) -> str | None:
    """The shape whose words stand in the path, or nearly so, and that is about as long; ``None``: none."""
    parts = [part[:_LONGEST_PART] for part in path.strip("/").split("/", _MOST_PARTS)[:_MOST_PARTS]]
    scores = {shape: _score(parts, shape) for shape in shapes}
    # Of equals the last of the alphabet: shapes may come as a set, and the answer is the same in any order.
    nearest = max(scores, key=lambda shape: (scores[shape], shape))
    return nearest if scores[nearest] >= _LEAST_SCORE else None


def _score(parts: list[str], shape: str) -> float:
    wanted = shape.strip("/").split("/")
    words = [word for word in wanted if not (word.isupper() or word.startswith("{"))]
    # A shape without words, such as "/", is nothing that a path resembles.
    found = sum(_found(word, parts) for word in words) / len(words) if words else 0.0
    return found - 0.1 * abs(len(wanted) - len(parts))


def _found(word: str, parts: list[str]) -> float:
    if word in parts:
        return 1.0
    return 0.9 if get_close_matches(word, parts, n=1, cutoff=0.7) else 0.0
