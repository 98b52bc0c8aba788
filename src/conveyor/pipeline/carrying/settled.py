"""Runs that have nothing left to do, recognised without the engine, which takes a second to start.

When a run has succeeded, its outcome is kept in the state folder, under everything that the run depends on:
the store, the repository, the project, the ref, its commit or tag object, and the index. Called again, it is
settled if the store still says the same: the release is where the run left it, and the gates ahead, if there
are any, still wait. In every other case the run is carried out again, which repeats nothing that is done.
"""

from __future__ import annotations

import hashlib
import json
import os
import tempfile
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING

from conveyor.domain.runs.repositories import Reach
from conveyor.domain.words.records import as_json, read_record
from conveyor.errors import ConveyorError, InvalidInput
from conveyor.pipeline.carrying.outcomes import Outcome, arrived
from conveyor.pipeline.engine import keyring
from conveyor.pipeline.engine.remotes import remote
from conveyor.pipeline.engine.worker import open_worker
from conveyor.pipeline.jobs.promotion import Standing
from conveyor.project.git import object_of

if TYPE_CHECKING:
    from conveyor.pipeline.engine.worker import Keeper

FOLDER = "settled"


def run_key(
    store_url: str, repository: str, ref: str, found: str, index: str | None, project: str | None
) -> str:
    """What runs with the same arguments have in common, where ``ref`` names the same object."""
    words = (store_url, repository, ref, found, index or "", project or "")
    return hashlib.sha256("\0".join(words).encode()).hexdigest()[:16]


def remember(state: Path, key: str, outcome: Outcome) -> None:
    """Keep the outcome of a run that has succeeded; a folder that takes no more files costs only time."""
    folder = state / FOLDER
    with suppress(OSError):
        folder.mkdir(parents=True, exist_ok=True)
        descriptor, name = tempfile.mkstemp(dir=folder)
        with os.fdopen(descriptor, "w", encoding="utf-8") as file:
            json.dump(as_json(outcome), file)
        Path(name).replace(folder / f"{key}.json")


def recall(
    state: Path, credentials: Path, *, store_url: str | None, repository: str, ref: str, index: str | None,
    project: str | None = None,
) -> Outcome | None:  # fmt: skip
    """The outcome of a run that has nothing left to do; ``None`` if it must be carried out, or cannot tell.

    Arguments as for ``carrier.run_here``.
    """
    if not (state / FOLDER).is_dir():
        return None
    try:
        worker = open_worker(credentials, store_url=store_url)
        found = object_of(remote(repository, Reach(is_typed=True), state / keyring.FOLDER), ref)
        before = _read(state, run_key(worker.store_url, repository, ref, found, index, project))
        return _confirmed(worker, before) if before is not None else None
    except ConveyorError:
        return None  # the run itself tells what is wrong


def _read(state: Path, key: str) -> Outcome | None:
    try:
        written = json.loads((state / FOLDER / f"{key}.json").read_text(encoding="utf-8"))
        return read_record(Outcome, written, what="the outcome")
    except (OSError, ValueError, InvalidInput):
        return None


def _confirmed(worker: Keeper, before: Outcome) -> Outcome | None:
    """The outcome as of now, if the release is where it was and nothing lets it pass further."""
    if before.project is None or before.version is None:
        return before  # nothing to do: the commit carries a release tag
    releases = worker.client.releases
    index = releases.get(before.project, before.version).index
    if index != before.index:
        return None
    if not before.is_waiting:
        return before
    verdicts = releases.judgement(before.project, before.version).verdicts
    if any(one.outcome == "fail" for one in verdicts) or all(one.lets_pass for one in verdicts):
        return None
    return arrived(before.project, before.version, Standing(index, verdicts))
