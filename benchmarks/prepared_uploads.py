"""Uploads made beforehand: wheels of 20 KB, with their forms as twine sends them."""

from __future__ import annotations

import hashlib
import random
from dataclasses import dataclass

from urllib3.filepost import encode_multipart_formdata

from distributions_made import core_metadata, make_wheel

PAYLOAD_BYTES = 18_500
"""Incompressible; with metadata and the zip around it a wheel has about 20 KB."""

BOUNDARY = "a-boundary-of-the-benchmarks"
CONTENT_TYPE = f"multipart/form-data; boundary={BOUNDARY}"

_SUMMARY = "A synthetic package with a summary of the usual length, made to measure uploads with"
_FIELDS = [
    ("Summary", _SUMMARY),
    ("License-Expression", "MIT"),
    ("Keywords", "measuring,uploads"),
    ("Classifier", "Development Status :: 5 - Production/Stable"),
    ("Classifier", "Programming Language :: Python :: 3"),
    ("Project-URL", "Homepage, https://example.org/"),
    ("Description-Content-Type", "text/markdown"),
]
_REQUIRES = [f"dependency-{number}>=1.{number}" for number in range(6)]
_DESCRIPTION = "# Synthetic\n\n" + "A paragraph of a readme, as long as such paragraphs are.\n\n" * 40


@dataclass(frozen=True)
class Upload:
    """One wheel, ready to be sent."""

    project: str
    filename: str
    sha256: str
    body: bytes


def make_uploads(project: str, count: int) -> list[Upload]:
    """Wheels of a project's releases, one each; the same arguments make the same bytes."""
    return [_upload(project, f"{number // 100}.{number % 100}.0") for number in range(count)]


def _upload(project: str, version: str) -> Upload:
    metadata = core_metadata(
        project,
        version,
        requires_python=">=3.9",
        requires=_REQUIRES,
        fields=_FIELDS,
        description=_DESCRIPTION,
    )
    payload = random.Random(f"{project} {version}").randbytes(PAYLOAD_BYTES)  # noqa: S311 - no secret
    made = make_wheel(project, version, metadata=metadata, extra={"payload/data.bin": payload})
    fields = {
        **made.form,
        "metadata_version": ["2.4"],
        "summary": [_SUMMARY],
        "requires_python": [">=3.9"],
        "requires_dist": _REQUIRES,
        "description": [_DESCRIPTION],
        "description_content_type": ["text/markdown"],
        "blake2_256_digest": [hashlib.blake2b(made.content, digest_size=32).hexdigest()],
    }
    body, _ = encode_multipart_formdata(
        [
            *((name, value) for name, values in fields.items() for value in values),
            ("content", (made.filename, made.content, "application/octet-stream")),
        ],
        boundary=BOUNDARY,
    )
    return Upload(project, made.filename, made.sha256, body)
