"""The distributions of a release on this machine: built, opened, and published whole with their evidence.

Both steps may run twice: building empties the folder it writes to, and the store accepts the same file and
the same fact again.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from conveyor.client.elsewhere import publish_elsewhere
from conveyor.domain.releases.evidence import BuiltOn, FactsOfBuild, SetLine, TrainedFile, statement
from conveyor.domain.words.records import as_json
from conveyor.errors import StepFailed
from conveyor.pipeline.engine.steps import Done
from conveyor.pipeline.jobs.documentation import ARCHIVE
from conveyor.pipeline.jobs.sources import clone_into, read_clone
from conveyor.project.archives import open_sdist, open_wheel, sha256_of_file
from conveyor.project.backend import read_build_system
from conveyor.project.build import build_distributions
from conveyor.project.git import commit_time, run_git
from conveyor.project.interpreters import python_of
from conveyor.project.model import read_payload
from conveyor.project.taking import put_file

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping
    from pathlib import Path

    from conveyor.client.elsewhere import Elsewhere
    from conveyor.domain.releases.evidence import FactsOfEquivalence, Making
    from conveyor.pipeline.engine.isolation import Workplace
    from conveyor.pipeline.engine.worker import Keeper
    from conveyor.pipeline.jobs.sources import Source
    from conveyor.project.build import BuiltFiles


@dataclass(frozen=True)
class BuiltRelease:
    """The files of a release on this machine, by name, with the facts for their evidence."""

    project: str
    version: str
    sdist: str
    wheel: str
    source_date_epoch: int
    payload: tuple[tuple[str, str], ...]
    """(path, SHA-256) of each file that was trained."""
    python: str
    """The Python that built them."""
    platform: str
    derived_from: str | None = None
    """SHA-256 of the tested candidate's wheel."""
    version_line: SetLine | None = None
    """The line of a file that was set to the version."""
    made: Making | None = None
    """When and how isolated they were built: kept with the step, and so said again in the same words."""
    author: str | None = None
    """E-mail address of the commit's author."""


def build(place: Workplace, worker: Keeper, source: Source, entry: str) -> Done[BuiltRelease]:
    """Step 5 of the packaging job: sdist and wheel from a clone that no test touched, payload copied in.

    The build's requirements come from the index ``entry``.
    """
    checkout = place.folder / "checkout" / source.folder
    trained = read_payload(read_clone(place, source))
    clean = clone_into(place, source, "source") / source.folder
    for file in trained:
        with (checkout / file.path).open("rb") as payload:
            put_file(clean, file.path, payload)
    project = read_clone(place, source, "source")
    if read_payload(project) != trained:
        raise StepFailed("the payload changed while it was copied for the build")
    python = python_of(project)
    with place.log("build") as write:
        files: BuiltFiles = build_distributions(
            clean, place.fresh("dist"), version=source.version, python=str(python.path), is_clone=True,
            repository=place.remote(source.repository), around=place.around(worker.index_url(entry), write),
        )  # fmt: skip
        for note in files.notes:
            write(f"note: {note}")
    built = BuiltRelease(
        project=project.name,
        version=str(files.version),
        sdist=files.sdist.name,
        wheel=files.wheel.name,
        source_date_epoch=commit_time(clean),
        payload=tuple((file.path, file.sha256) for file in trained),
        python=python.name,
        platform=python.platform,
        version_line=_line_fact(files),
        made=place.making(),
        author=_author_of(clean),
    )
    more = f"; {len(files.notes)} notes in build.log" if files.notes else ""
    summary = f"{built.sdist}, {built.wheel}{more}"
    return Done(built, summary, {"version": built.version, "notes": list(files.notes)})


def publish(
    place: Workplace, worker: Keeper, source: Source, entry: str, built: BuiltRelease,
    proofs: dict[str, FactsOfEquivalence], *, has_docs: bool,
) -> Done[str]:  # fmt: skip
    """Step 8 of the packaging job: files, evidence and documentation, and only then the release is visible.

    ``proofs`` are by filename; ``has_docs`` says whether documentation was built.
    """
    folder = place.folder / "dist"
    digests = {name: sha256_of_file(folder / name) for name in (built.sdist, built.wheel)}
    for name in digests:
        worker.client.files.upload(entry, folder / name, is_open=True)
    for said in _statements_of_build(place, source, built, digests):
        worker.testify(said)
    for name, proof in proofs.items():
        predicate = as_json(replace(proof, made=built.made))
        worker.testify(statement("equivalence", filename=name, sha256=digests[name], predicate=predicate))
    if has_docs:
        worker.client.files.upload_docs(entry, built.project, built.version, place.folder / ARCHIVE)
    worker.client.releases.publish(built.project, built.version, index=entry, digests=digests)
    return Done(built.version, f'{built.project} {built.version} in "{entry}"', {"files": digests})


def publish_to(
    place: Workplace, worker: Keeper, source: Source, built: BuiltRelease, target: Elsewhere, mirror: str
) -> Done[str]:
    """Step 8 for a team whose store is another one: files there, evidence on them here.

    ``mirror`` is the index of the worker's store whose upstream that store is.
    """
    folder = place.folder / "dist"
    opened = {built.wheel: open_wheel(folder / built.wheel), built.sdist: open_sdist(folder / built.sdist)}
    publish_elsewhere(target, [(folder / name, one.metadata) for name, one in opened.items()])
    digests = {name: sha256_of_file(folder / name) for name in (built.sdist, built.wheel)}
    for said in _statements_of_build(place, source, built, digests):
        worker.testify(said, mirror=mirror)
    where = f'{target.url}; its evidence is here, for what "{mirror}" shows of it'
    return Done(built.version, f"{built.project} {built.version} at {where}", {"files": digests})


def _statements_of_build(
    place: Workplace, source: Source, built: BuiltRelease, digests: Mapping[str, str]
) -> Iterator[bytes]:
    """What each file was built from."""
    document = read_clone(place, source, "source").document
    backend = read_build_system(document, where="pyproject.toml").backend
    for name, sha256 in digests.items():
        is_wheel = name == built.wheel
        facts = FactsOfBuild(
            project=built.project,
            version=built.version,
            commit=source.commit,
            tag=source.tag,
            repository=source.repository,
            folder=source.folder,
            version_line=built.version_line,
            filename=name,
            built_from=digests[built.sdist] if is_wheel else None,
            trained=tuple(TrainedFile(path, digest) for path, digest in built.payload),
            source_date_epoch=built.source_date_epoch,
            on=BuiltOn(built.python, built.platform, backend),
            derived_from=built.derived_from if is_wheel else None,
            made=built.made,
            author=built.author,
        )
        yield statement("build", filename=name, sha256=sha256, predicate=as_json(facts))


def _author_of(checkout: Path) -> str | None:
    """The e-mail address of the commit's author, as the commit has it; ``None`` if it is empty."""
    words = ["-c", "log.showSignature=false", "log", "-1", "--no-mailmap", "--format=%ae", "HEAD"]
    return run_git(words, folder=checkout).decode(errors="replace").strip() or None


def _line_fact(files: BuiltFiles) -> SetLine | None:
    line = files.line
    if line is None:
        return None
    return SetLine(line.path, line.number, line.text, line.stating(files.version))
