"""Bytes by digest: a blob is stored once, under its SHA-256, and never changes.

``BlobStore`` is the only interface that the rest of the product uses. It promises that once ``adopt`` or
``put`` has returned, the bytes are durable and every process sees them; storing the same bytes again
succeeds. It raises only ``StorageFailed`` and ``NotFound``.
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
    """A file being written, on the same disk as the blobs; removed on leaving unless adopted."""

    @property
    def path(self) -> Path:
        """Its current path."""

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
        """While inside, no blob is removed.

        Hold it from before bytes are stored until the row that names them is committed: in between, they look
        like garbage. Raises StorageFailed.
        """

    def adopt(self, temporary: Temporary, sha256: str) -> None:
        """Make the temporary's bytes the blob ``sha256``; the caller has hashed them while streaming."""

    def put(self, content: bytes, sha256: str | None = None) -> str:
        """Store small content; returns its SHA-256, which a caller that has computed it may pass in."""

    def open(self, sha256: str) -> BinaryIO:
        """The bytes, as a seekable stream; raises NotFound."""

    def size(self, sha256: str) -> int:
        """The size of the blob in bytes; raises NotFound."""

    def has(self, sha256: str) -> bool:
        """Whether the blob exists."""

    def path(self, sha256: str) -> Path | None:
        """The path of the bytes, for the server to send from; ``None`` if they are not on a local disk.

        The path is computed, not looked up: the blob may be missing.
        """

    def remove_leftovers(self) -> list[int]:
        """Remove temporaries that crashed processes left behind; returns the size of each, in bytes."""


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
