"""What starts a run: a call, or a push, told by git's post-receive hook line by line (``old new ref``).

A run asked for by a push names its tag by full ref, and a branch by the commit that was pushed: by the time a
worker claims it the branch may be further on. A tag that is no release and a deleted ref ask for nothing.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from conveyor.project.versions import is_release_tag

if TYPE_CHECKING:
    from collections.abc import Iterable

    from conveyor.client.store import StoreClient
    from conveyor.domain.runs.states import Run


@dataclass(frozen=True)
class Push:
    """One line of a push: what a run is asked for, or why none is."""

    ref: str
    """As it was pushed, such as ``refs/tags/v1.0``."""
    wanted: str | None
    """The ref of the run; ``None`` when there is none."""
    reason: str = ""


def read_pushes(lines: Iterable[str]) -> list[Push]:
    """What the lines of a post-receive hook ask for; lines of another form are left out."""
    pushes = []
    for line in lines:
        words = line.split()
        if len(words) != 3:
            continue
        _old, new, ref = words
        kind, _, name = ref.removeprefix("refs/").partition("/")
        if not new.strip("0"):
            pushes.append(Push(ref, None, "deleted"))
        elif kind == "tags":
            is_release = is_release_tag(name)
            pushes.append(Push(ref, ref, "") if is_release else Push(ref, None, "no release tag"))
        elif kind == "heads":
            pushes.append(Push(ref, new))
        else:
            pushes.append(Push(ref, None, "neither a branch nor a tag"))
    return pushes


def request_run(client: StoreClient, *, repository: str, ref: str, index: str | None = None) -> Run:
    """Ask the store for a run into an index, or the only one that it can enter; a worker claims it."""
    return client.runs.create(repository, ref, index=index)
