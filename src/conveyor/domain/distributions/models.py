"""The manifest ``model.json``: the description of the model that a model wheel carries.

The manifest is beside the payload and is itself a payload file. It never holds the version: a final
release carries the same bytes as the release candidate that was tested, and ``info()`` of the model reads
the version from the installed metadata. Nor does it hold a time or a machine: training twice gives the
same bytes.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import Any

from conveyor.domain.words.notation import is_sha256
from conveyor.errors import InvalidInput

MANIFEST_NAME = "model.json"
FORMAT = 1


@dataclass(frozen=True)
class ManifestFile:
    """A file that the manifest vouches for; its path is relative to the manifest."""

    path: str
    sha256: str


@dataclass(frozen=True)
class ModelManifest:
    """The part of ``model.json`` that is read by others than the model itself; unknown keys are ignored."""

    files: tuple[ManifestFile, ...]
    schema_sha256: str
    """Digest of the input and output schema; a change of it may break callers."""
    libraries: dict[str, str]
    """Library → the version the model was trained with, to return to if another gives wrong results."""
    metrics: dict[str, float]
    """Name of a metric → its value on rows that were not used in training."""
    split: str
    """One sentence: the rows on which the metrics were measured."""


def parse_manifest(content: bytes) -> ModelManifest:
    """The manifest that ``model.json`` holds.

    Raises:
        InvalidInput: it is not a manifest of format 1; all faults are named.
    """
    try:
        document = json.loads(content)
    except (ValueError, RecursionError) as error:
        raise InvalidInput(
            f"{MANIFEST_NAME} ({len(content)} bytes) is cut off or damaged: it is not JSON ({error})"
        ) from error
    faults = _faults_of(document)
    if faults:
        raise InvalidInput(f"{MANIFEST_NAME} is not a manifest: {'; '.join(faults)}", faults=faults)
    return ModelManifest(
        files=tuple(ManifestFile(entry["path"], entry["sha256"]) for entry in document["files"]),
        schema_sha256=document["schema_sha256"],
        libraries=dict(document["libraries"]),
        metrics={name: float(value) for name, value in document["metrics"].items()},
        split=document["split"],
    )


def _faults_of(document: Any) -> list[str]:  # noqa: ANN401 - what a parser gives
    if not isinstance(document, dict):
        return ["it is not an object"]
    if document.get("format") != FORMAT:
        return [f"format is {document.get('format')!r}, known is {FORMAT}"]
    faults = []
    if "version" in document:
        faults.append("it holds the version, so that a release candidate and its final would differ")
    files = document.get("files")
    if not isinstance(files, list) or not files or not all(_is_file(entry) for entry in files):
        faults.append("files is not a list of path and sha256")
    if not _is_digest(document.get("schema_sha256")):
        faults.append("schema_sha256 is not a SHA-256 digest")
    libraries, metrics = document.get("libraries"), document.get("metrics")
    if not isinstance(libraries, dict) or not all(isinstance(value, str) for value in libraries.values()):
        faults.append("libraries is not a table of versions")
    if not isinstance(metrics, dict) or not all(_is_number(value) for value in metrics.values()):
        faults.append("metrics is not a table of numbers")
    if not isinstance(document.get("split"), str):
        faults.append("split does not say on which rows the metrics were taken")
    return faults


def _is_file(entry: object) -> bool:
    if not isinstance(entry, dict) or not _is_digest(entry.get("sha256")):
        return False
    path = entry.get("path")
    return isinstance(path, str) and bool(path) and not path.startswith("/") and ".." not in path.split("/")


def _is_digest(value: object) -> bool:
    return isinstance(value, str) and is_sha256(value)


def _is_number(value: object) -> bool:
    # The comparison refuses NaN and infinity, which JSON in Python reads, too.
    return isinstance(value, int | float) and not isinstance(value, bool) and -1e300 < value < 1e300
