"""Incoming files: the bytes of one upload while they arrive, on disk and hashed."""

from __future__ import annotations

import hashlib
from contextlib import ExitStack
from typing import TYPE_CHECKING

from conveyor.blobs.errors import storage_errors
from conveyor.domain.forms import Digests
from conveyor.domain.policy import UploadLimits, check_file_size

if TYPE_CHECKING:
    from collections.abc import Iterable

    from conveyor.blobs import BlobStore, Temporary

CHUNK_BYTES = 1024 * 1024


class IncomingFile:
    """The bytes of one upload: written to a temporary file and hashed on their way.

    The temporary is made with the first bytes and is gone after ``close`` unless its bytes became a blob. Not
    for two threads at a time.
    """

    def __init__(self, blobs: BlobStore, *, limits: UploadLimits) -> None:
        self._blobs = blobs
        self._limits = limits
        self._ending = ExitStack()
        self._sha256 = hashlib.sha256()
        self._blake2b = hashlib.blake2b(digest_size=32)
        self._temporary: Temporary | None = None
        self.size_bytes = 0

    @property
    def temporary(self) -> Temporary:
        """The file on disk."""
        if self._temporary is None:
            self._temporary = self._ending.enter_context(self._blobs.new_temporary())
        return self._temporary

    def write(self, chunks: Iterable[bytes]) -> None:
        """Append bytes.

        Raises:
            TooLarge: the file is over its limit.
            StorageFailed: the disk is full or broken.
        """
        for chunk in chunks:
            self.size_bytes += len(chunk)
            check_file_size(self.size_bytes, self._limits)
            self.temporary.write(chunk)
            self._sha256.update(chunk)
            self._blake2b.update(chunk)

    def digests(self, *, with_md5: bool) -> Digests:
        """The digests of all that was written; MD5, which few clients send, is read from the file again."""
        md5 = None
        if with_md5:
            with storage_errors("the uploaded file can not be read back"):
                self.temporary.file.seek(0)
                md5_hash = hashlib.md5(usedforsecurity=False)
                while chunk := self.temporary.file.read(CHUNK_BYTES):
                    md5_hash.update(chunk)
                md5 = md5_hash.hexdigest()
        return Digests(sha256=self._sha256.hexdigest(), blake2b_256=self._blake2b.hexdigest(), md5=md5)

    def close(self) -> None:
        """Remove the temporary; doing it again does nothing."""
        self._ending.close()
