"""Bytes by digest: a blob is stored once, under its SHA-256, and never changes.

``BlobStore`` is all that the rest of the product knows. What it promises: when ``adopt`` or ``put`` has
returned, the bytes are durable and every process sees them; doing it again with the same bytes succeeds. Only
``StorageFailed`` and ``NotFound`` leave it.
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Protocol
from urllib.parse import unquote, urlsplit

from conveyor.errors import InvalidInput

if TYPE_CHECKING:
    from contextlib import AbstractContextManager
    from typing import BinaryIO


class Temporary(Protocol):
    """A file being written, on the same disk as the blobs; gone on leaving unless it was adopted."""

    @property
    def path(self) -> Path:
        """Where it is now."""

    @property
    def file(self) -> BinaryIO:
        """The open file, to seek in and read from."""

    def write(self, chunk: bytes) -> None:
        """Append a chunk; raises StorageFailed, as when the disk is full."""


class BlobStore(Protocol):
    """Bytes by SHA-256 (lower case hex)."""

    def new_temporary(self) -> AbstractContextManager[Temporary]:
        """A fresh file to stream an upload or a download into; removed on leaving unless adopted."""

    def adding(self) -> AbstractContextManager[None]:
        """No blob is removed while inside.

        To be held from before bytes are stored until the row that names them is committed: in between they
        look like garbage. Raises StorageFailed.
        """

    def adopt(self, temporary: Temporary, sha256: str) -> None:
        """Make the temporary's bytes the blob ``sha256``; the caller has hashed them while streaming."""

    def put(self, content: bytes, sha256: str | None = None) -> str:
        """Store a small content; returns its SHA-256, which may be handed in by who has computed it."""

    def open(self, sha256: str) -> BinaryIO:
        """The bytes, as a seekable stream; raises NotFound."""

    def size(self, sha256: str) -> int:
        """How many bytes the blob has; raises NotFound."""

    def has(self, sha256: str) -> bool:
        """Whether the blob is here."""

    def path(self, sha256: str) -> Path | None:
        """Where the bytes lie on this machine, for the server to send from; ``None``: not on a local disk.

        The path is computed, not looked up: the blob may not be there.
        """

    def remove_leftovers(self) -> list[int]:
        """Remove temporaries that crashed processes left behind; the size of each, in bytes."""


def open_blobs(url: str) -> BlobStore:
    """The blob store at ``file:///FOLDER``; raises as ``blobs_folder``, and StorageFailed."""
    from conveyor.blobs.filesystem import FilesystemBlobs

    return FilesystemBlobs(blobs_folder(url))


def blobs_folder(url: str) -> Path:
    """The folder that a URL of blobs names; raises InvalidInput for a URL of another kind."""
    parts = urlsplit(url)
    if parts.scheme == "file" and parts.netloc in ("", "localhost") and parts.path:
        return Path(unquote(parts.path))
    raise InvalidInput(f'blobs cannot live at a "{parts.scheme}" URL', hint="use file:///FOLDER")
