"""Incoming files: the bytes of one upload while they arrive, hashed on their way.

A small file stays in memory until it is stored; a larger one goes to a temporary file, and its digests are
computed in parallel while it is written.
"""

from __future__ import annotations

import hashlib
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from dataclasses import dataclass
from io import BytesIO
from typing import TYPE_CHECKING, BinaryIO

from conveyor.blobs.folders import storage_errors
from conveyor.domain.distributions.documentation import ArrivedArchive
from conveyor.domain.distributions.forms import Digests
from conveyor.domain.indexes.policy import UploadLimits, check_file_size

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    from conveyor.blobs import BlobStore, Temporary

CHUNK_BYTES = 1024 * 1024
MOST_IN_MEMORY_BYTES = 1024 * 1024
"""The size of a body that arrives in one piece (``server.uploads.legacy``): such files stay in memory."""
HASHERS = 2
"""SHA-256 and BLAKE2b in parallel, while the thread that brings the bytes writes them."""


@dataclass(frozen=True)
class _OnDisk:
    """Where a large file goes."""

    temporary: Temporary
    hashers: ThreadPoolExecutor


class IncomingFile:
    """The bytes of one upload; ``close`` deletes the temporary file unless it has become a blob.

    It must not be used by two threads at a time.
    """

    def __init__(
        self,
        blobs: BlobStore,
        *,
        limits: UploadLimits,
        check_size: Callable[[int, UploadLimits], None] = check_file_size,
    ) -> None:
        """``check_size`` raises TooLarge when there are more bytes than this kind of file may have."""
        self._blobs = blobs
        self._check_size = check_size
        self._limits = limits
        self._ending = ExitStack()
        self._memory = BytesIO()
        self._disk: _OnDisk | None = None
        """``None`` as long as the whole file is in memory."""
        self._sha256 = hashlib.sha256()
        self._blake2b = hashlib.blake2b(digest_size=32)
        self._md5: hashlib._Hash | None = None
        self.size_bytes = 0

    @property
    def stream(self) -> BinaryIO:
        """The bytes, open for reading and seeking, once all have been written."""
        return self._memory if self._disk is None else self._disk.temporary.file

    def expect_md5(self) -> None:
        """Compute MD5 on the way too, which few forms ask for; has no effect once bytes have come."""
        if not self.size_bytes:
            self._md5 = hashlib.md5(usedforsecurity=False)

    def write(self, chunks: Iterable[bytes]) -> None:
        """Append bytes, ideally about a mebibyte at a time.

        Raises:
            TooLarge: the file is over its limit.
            StorageFailed: the disk is full or broken.
        """
        content = b"".join(chunks)
        self.size_bytes += len(content)
        self._check_size(self.size_bytes, self._limits)
        if self._disk is None and self.size_bytes <= MOST_IN_MEMORY_BYTES:
            self._memory.write(content)
            for digest in self._digests():
                digest.update(content)
            return
        disk = self._disk = self._disk or self._move_to_disk()
        hashing = [disk.hashers.submit(digest.update, content) for digest in self._digests()]
        try:
            disk.temporary.write(content)
        finally:
            for hashed in hashing:
                hashed.result()

    def digests(self, *, with_md5: bool) -> Digests:
        """The digests of the whole file; an MD5 that was not announced is computed by reading it again."""
        if with_md5 and self._md5 is None:
            self._md5 = hashlib.md5(usedforsecurity=False)
            with storage_errors("the uploaded file cannot be read back"):
                self.stream.seek(0)
                while chunk := self.stream.read(CHUNK_BYTES):
                    self._md5.update(chunk)
        return Digests(
            sha256=self._sha256.hexdigest(),
            blake2b_256=self._blake2b.hexdigest(),
            md5=self._md5.hexdigest() if self._md5 is not None else None,
        )

    def archive(self) -> ArrivedArchive:
        """The whole file as an archive of documentation, to be examined and stored."""
        with storage_errors("the uploaded file cannot be read back"):
            self.stream.seek(0)  # also its last bytes are flushed here
        return ArrivedArchive(self.stream, self.size_bytes, self._sha256.hexdigest(), self.store)

    def store(self) -> None:
        """Make the bytes a durable blob. Raises StorageFailed."""
        sha256 = self._sha256.hexdigest()
        if self._disk is None:
            self._blobs.put(self._memory.getvalue(), sha256)
        else:
            self._blobs.adopt(self._disk.temporary, sha256)

    def close(self) -> None:
        """Release memory, threads and the temporary file; may be called again."""
        self._memory.close()
        self._ending.close()

    def _digests(self) -> list[hashlib._Hash | hashlib.blake2b]:
        return [self._sha256, self._blake2b, *([self._md5] if self._md5 is not None else [])]

    def _move_to_disk(self) -> _OnDisk:
        """Move the bytes in memory to a temporary file, and start threads for hashing."""
        hashers = self._ending.enter_context(ThreadPoolExecutor(HASHERS, thread_name_prefix="hashing"))
        temporary = self._ending.enter_context(self._blobs.new_temporary())
        temporary.write(self._memory.getvalue())
        self._memory = BytesIO()
        return _OnDisk(temporary, hashers)
