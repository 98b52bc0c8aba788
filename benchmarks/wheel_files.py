"""Wheels of a gigabyte, written in seconds: one that stores its members, two that deflate them.

The stored one holds random bytes. The deflated ones resemble a model wheel: weights of eight bits, normally
distributed, which deflate to three quarters, and text (sources of Python's standard library), which deflates
to a third.
"""

from __future__ import annotations

import hashlib
import os
import random
import statistics
import sysconfig
import zipfile
from base64 import urlsafe_b64encode
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING

from distributions_made import wheel_members

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

CHUNK_BYTES = 1_000_000
SHARDS, SHARD_CHUNKS = 8, 125
WEIGHTS, WEIGHTS_CHUNKS = 3, 100
TEXTS, TEXT_CHUNKS = 14, 50
SINGLE_CHUNKS = WEIGHTS * WEIGHTS_CHUNKS + TEXTS * TEXT_CHUNKS
DEVIATION = 12
"""Standard deviation of the weights, which range from -128 to 127."""
LEVEL = 1
"""Level of deflate: a higher one takes longer to write, and about as long to inflate."""

_random = random.Random("wheels of a gigabyte")  # noqa: S311 - no secret


def write_stored_wheel(folder: Path) -> Path:
    """1 GB in eight members."""
    shards = {f"stored/shard-{number}.bin": (SHARD_CHUNKS, _noise) for number in range(SHARDS)}
    return _write(folder, "stored", shards, zipfile.ZIP_STORED)


def write_deflated_wheel(folder: Path) -> Path:
    """0.3 GB of weights in three members and 0.7 GB of text in fourteen; 0.44 GB when deflated."""
    weights = {f"deflated/weights-{number}.bin": (WEIGHTS_CHUNKS, _weights) for number in range(WEIGHTS)}
    texts = {f"deflated/text-{number}.py": (TEXT_CHUNKS, _text) for number in range(TEXTS)}
    return _write(folder, "deflated", weights | texts, zipfile.ZIP_DEFLATED)


def write_single_member_wheel(folder: Path) -> Path:
    """The same mixture in one member, which threads cannot share."""
    return _write(folder, "single", {"single/model.bin": (SINGLE_CHUNKS, _mixture)}, zipfile.ZIP_DEFLATED)


def _write(
    folder: Path, project: str, contents: Mapping[str, tuple[int, Callable[[], bytes]]], compression: int
) -> Path:
    """Write a sound wheel: large members of the given numbers of chunks, then the members of every wheel."""
    members = wheel_members(project)
    record = f"{project}-1.0.dist-info/RECORD"
    path = folder / f"{project}-1.0-py3-none-any.whl"
    with path.open("wb") as file:
        with zipfile.ZipFile(file, "w", compression, compresslevel=LEVEL) as archive:
            for member, (chunks, make_chunk) in contents.items():
                digest = hashlib.sha256()
                with archive.open(member, "w") as target:
                    for _ in range(chunks):
                        chunk = make_chunk()
                        digest.update(chunk)
                        target.write(chunk)
                encoded = urlsafe_b64encode(digest.digest()).rstrip(b"=").decode()
                members[record] += f"{member},sha256={encoded},{chunks * CHUNK_BYTES}\n".encode()
            for member, content in members.items():
                archive.writestr(member, content)
        file.flush()
        os.fsync(file.fileno())
    return path


def _noise() -> bytes:
    return _random.randbytes(CHUNK_BYTES)


def _weights() -> bytes:
    return _noise().translate(_normal())


def _text() -> bytes:
    sources = _sources()
    start = _random.randrange(len(sources) - CHUNK_BYTES)
    return sources[start : start + CHUNK_BYTES]


def _mixture() -> bytes:
    return _weights() if _random.randrange(SINGLE_CHUNKS) < WEIGHTS * WEIGHTS_CHUNKS else _text()


@cache
def _normal() -> bytes:
    """The weight that each of 256 equally likely bytes stands for, as a signed byte."""
    normal = statistics.NormalDist(0, DEVIATION)
    return bytes(round(normal.inv_cdf((number + 0.5) / 256)) % 256 for number in range(256))


@cache
def _sources() -> bytes:
    library = Path(sysconfig.get_path("stdlib"))
    return b"".join(path.read_bytes() for path in sorted(library.glob("[a-z]*.py")))
