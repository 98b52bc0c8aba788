"""The payload of a model in a checkout: the declared files, the files on disk, and the manifest.

``contract.py`` answers the same questions for the wheel.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import PurePosixPath
from typing import TYPE_CHECKING

from conveyor.domain.distributions.models import MANIFEST_NAME, ModelManifest, parse_manifest
from conveyor.errors import InvalidInput, ProjectError
from conveyor.project.archives import sha256_of_file

if TYPE_CHECKING:
    from conveyor.project.settings import Project


@dataclass(frozen=True)
class PayloadFile:
    """A file that training wrote and the wheel must carry."""

    path: str
    """Relative to the checkout, such as ``src/tumor/model/model.joblib``."""
    sha256: str
    size_bytes: int


def missing_payload(project: Project) -> tuple[str, ...]:
    """The declared payload files that do not exist."""
    return tuple(path for path in project.payload if not (project.root / path).is_file())


def read_payload(project: Project) -> tuple[PayloadFile, ...]:
    """Digest and size of every declared payload file, in the order of the declaration.

    Raises:
        ProjectError: a file is missing; the hint says how to get it.
    """
    missing = missing_payload(project)
    if missing:
        raise ProjectError(
            f"the model of {project.display_name} is missing: {', '.join(missing)}",
            hint=f"train it: {project.command('train')}",
        )
    files = []
    for path in project.payload:
        file = project.root / path
        files.append(PayloadFile(path, sha256_of_file(file), file.stat().st_size))
    return tuple(files)


def manifest_path(project: Project) -> str | None:
    """The path of the model's manifest in the checkout; ``None`` if the payload has no manifest."""
    return next((path for path in project.payload if PurePosixPath(path).name == MANIFEST_NAME), None)


def read_manifest(project: Project) -> ModelManifest | None:
    """Read the manifest of the trained model; ``None`` if the payload has no manifest.

    Raises:
        ProjectError: it is not a manifest, or vouches for other bytes than those on disk.
    """
    path = manifest_path(project)
    if path is None:
        return None
    try:
        manifest = parse_manifest((project.root / path).read_bytes())
    except InvalidInput as error:
        hint = f"train again: {project.command('train')}"
        raise ProjectError(f"{path}: {error.message}", hint=hint) from error
    there = {file.path: file.sha256 for file in read_payload(project)}
    for file in manifest.files:
        named = str(PurePosixPath(path).parent / file.path)
        if there.get(named) != file.sha256:
            raise ProjectError(
                f"{path} vouches for {named} with SHA-256 {file.sha256[:12]}…, but "
                + (f"it has {there[named][:12]}…" if named in there else "it is not a declared payload file"),
                hint=f"train again: {project.command('train')}",
            )
    return manifest


def payload_stamps(project: Project) -> dict[str, tuple[int, int]]:
    """File number and time of change of every payload file on disk, to detect files that were rewritten."""
    stamps = {}
    for path in project.payload:
        if (project.root / path).is_file():
            status = (project.root / path).stat()
            stamps[path] = (status.st_ino, status.st_mtime_ns)
    return stamps
