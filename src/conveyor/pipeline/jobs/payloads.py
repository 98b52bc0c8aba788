"""Trained files of earlier runs: a rerun of a commit never repeats its training.

A training's files are kept on the worker until they are published; from then on the store has them. They are
found again by their commit, project and entry index, and taken only with the digests that were noted when
they were trained: in the notes beside them, or in the build evidence of a release. So a tag on a commit that
was trained before takes the same files, and its candidate is what was seen; but a run into one index takes
nothing that only readers of another may see.
"""

from __future__ import annotations

import hashlib
import json
import shutil
import tarfile
from contextlib import suppress
from pathlib import PurePosixPath
from typing import TYPE_CHECKING

from conveyor.domain.releases.facts import builds_of
from conveyor.errors import EquivalenceFailed, NotFound
from conveyor.pipeline.engine.steps import Done
from conveyor.project.archives import path_in_sdist, sha256_of_file
from conveyor.project.model import read_manifest, read_payload
from conveyor.project.taking import put_file

if TYPE_CHECKING:
    from collections.abc import Iterable
    from pathlib import Path

    from conveyor.domain.releases.standing import Release
    from conveyor.pipeline.engine.isolation import Workplace
    from conveyor.pipeline.engine.worker import Keeper
    from conveyor.pipeline.jobs.sources import Source
    from conveyor.project.model import PayloadFile
    from conveyor.project.settings import Project

NOTES = "payload.json"


def keep(
    place: Workplace, project: Project, source: Source, entry: str, payload: Iterable[PayloadFile]
) -> None:
    """Keep trained files on this worker until they are published in ``entry``; the notes come last."""
    folder = _folder(place, source, entry)
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    files = {one.path: one.sha256 for one in payload}
    for path, sha256 in files.items():
        shutil.copyfile(project.root / path, folder / sha256)
    unfinished = folder / f"{NOTES}.part"
    unfinished.write_text(json.dumps(files), encoding="utf-8")
    unfinished.replace(folder / NOTES)


def forget(place: Workplace, source: Source, entry: str) -> None:
    """Remove what was kept: a release holds it now."""
    shutil.rmtree(_folder(place, source, entry), ignore_errors=True)


def take(place: Workplace, worker: Keeper, project: Project, source: Source, entry: str) -> Done[bool]:
    """Put the files of an earlier training of this commit into the checkout; whether there were any.

    What runs of this worker trained is taken only if they, too, were to enter the index ``entry``.
    """
    folder = _folder(place, source, entry)
    with suppress(OSError, ValueError):
        files = json.loads((folder / NOTES).read_text(encoding="utf-8"))
        if set(files) == set(project.payload) and all(
            sha256_of_file(folder / sha256) == sha256 for sha256 in files.values()
        ):
            for path, sha256 in files.items():
                with (folder / sha256).open("rb") as kept:
                    put_file(project.root, path, kept)
            return _taken(project, "an earlier run on this worker")
    for release in worker.client.releases.of_commit(project.name, source.commit):
        if _take_from(place, worker, project, release):
            return _taken(project, release.version)
    return Done(False, "nothing was trained at this commit before", is_skipped=True)


def _taken(project: Project, whence: str) -> Done[bool]:
    read_manifest(project)  # a payload that contradicts its own manifest is no payload
    payload = read_payload(project)
    names = ", ".join(PurePosixPath(one.path).name for one in payload)
    facts = {"payload": {one.path: one.sha256 for one in payload}}
    return Done(True, f"{names} of {whence}, by digest; nothing is trained again", facts)


def _take_from(place: Workplace, worker: Keeper, project: Project, release: Release) -> bool:
    """Take the payload out of the sdist of a release, if its build evidence names one for these files."""
    for sdist in release.sdists:
        for facts in reversed(builds_of(release.evidence, sdist.sha256)):
            if {path for path, _ in facts.payload} != set(project.payload):
                continue
            # What is gone or not what its evidence says is trained. A store that does not answer is asked
            # again: a training may have taken hours.
            with suppress(NotFound, EquivalenceFailed):
                archive = worker.client.files.download(sdist, place.fresh("earlier"))
                unpack(archive, facts.payload, project.root)
                return True
    return False


def unpack(sdist: Path, payload: Iterable[tuple[str, str]], checkout: Path) -> None:
    """Put trained files out of an sdist into a checkout; each must have the digest that evidence names.

    Raises:
        EquivalenceFailed: the sdist lacks a file, or holds other bytes.
        StepFailed: a link of the checkout stands in a file's way.
    """
    with tarfile.open(sdist) as archive:
        members = {path_in_sdist(one.name): one for one in archive.getmembers()}
        for path, sha256 in payload:
            content = archive.extractfile(members[path]) if path in members else None
            if content is None:
                raise EquivalenceFailed(f"{sdist.name} does not hold the trained file {path}")
            put_file(checkout, path, content)
            found = sha256_of_file(checkout / path)
            if found != sha256:
                raise EquivalenceFailed(
                    f"{path} in {sdist.name} has SHA-256 {found}, its build evidence names {sha256}"
                )


def _folder(place: Workplace, source: Source, entry: str) -> Path:
    # A commit may hold several projects, each in a folder of its own.
    named = hashlib.sha256(json.dumps([source.project, entry, source.folder]).encode()).hexdigest()
    return place.cache / "payloads" / source.commit / named
