"""Triggers of a run: a call, or a push, which git's post-receive hook reports line by line (``old new ref``).

A run that a push requests names its tag by full ref, and a branch by the commit that was pushed: when a
worker claims it, the branch may have moved. A tag that is not a release and a deleted ref request nothing.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from conveyor.domain.releases.tags import could_be_release

if TYPE_CHECKING:
    from collections.abc import Iterable

    from conveyor.client.store import StoreClient
    from conveyor.domain.runs.states import Run


@dataclass(frozen=True)
class Push:
    """One line of a push: the ref to request a run for, or the reason not to."""

    ref: str
    """The ref as it was pushed, such as ``refs/tags/v1.0``."""
    wanted: str | None
    """The ref of the run; ``None`` if no run is requested."""
    reason: str = ""


def read_pushes(lines: Iterable[str]) -> list[Push]:
    """Read the lines of a post-receive hook; lines of another form are skipped."""
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
            is_release = could_be_release(name)
            pushes.append(Push(ref, ref, "") if is_release else Push(ref, None, "not a release tag"))
        elif kind == "heads":
            pushes.append(Push(ref, new))
        else:
            pushes.append(Push(ref, None, "neither a branch nor a tag"))
    return pushes


def request_run(client: StoreClient, *, repository: str, ref: str, index: str | None = None) -> Run:
    """Request a run into an index, or into the only one that it can enter; a worker claims it."""
    return client.runs.create(repository, ref, index=index)
