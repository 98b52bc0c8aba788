"""Files on their way: distributions to a store, and from it."""

from __future__ import annotations

import hashlib
import os
from dataclasses import dataclass
from typing import TYPE_CHECKING
from urllib.parse import quote

from conveyor.client.connection import Request
from conveyor.client.uploads import make_form
from conveyor.errors import InvalidInput, StorageFailed, StoreUnreachable

if TYPE_CHECKING:
    from pathlib import Path

    from conveyor.client.answers import ReleaseFile
    from conveyor.client.connection import Connection


@dataclass(frozen=True)
class Files:
    """The distributions of a store."""

    connection: Connection

    def upload(self, index: str, path: Path) -> None:
        """Upload a wheel or sdist; an identical file that is there already is a success.

        Raises:
            InvalidDistribution: its filename is neither a wheel's nor an sdist's.
            InvalidInput: the file can not be read.
        """
        form = make_form(path)
        self.connection.send(
            Request("POST", f"/{quote(index)}/legacy/", body=form, headers=form.headers, may_repeat=True)
        )

    def download(self, file: ReleaseFile, folder: Path) -> Path:
        """Fetch a file into a folder and return its path; its bytes are those of the digest.

        Raises:
            StoreUnreachable: the connection broke off, or other bytes came.
            StorageFailed: the file can not be written.
        """
        if file.filename != os.path.basename(file.filename) or file.filename in ("", ".", ".."):  # noqa: PTH119 - text, no path
            raise InvalidInput(f'"{file.filename}" is no filename')
        target = folder / file.filename
        unfinished = folder / f".{file.filename}.{os.getpid()}.part"
        try:
            folder.mkdir(parents=True, exist_ok=True)
            try:
                self._fetch(file, unfinished)
                unfinished.replace(target)
            finally:
                unfinished.unlink(missing_ok=True)
        except OSError as error:
            raise StorageFailed(f"{target} can not be written: {error.strerror or error}") from error
        return target

    def _fetch(self, file: ReleaseFile, path: Path) -> None:
        """Write the file's bytes to ``path``, compared with digest and size."""
        digest, size = hashlib.sha256(), 0
        with self.connection.receive(file.url) as chunks, path.open("wb") as target:
            for chunk in chunks:
                size += len(chunk)
                if size > file.size_bytes:  # do not fill the disk with what is wrong already
                    break
                digest.update(chunk)
                target.write(chunk)
        if size != file.size_bytes or digest.hexdigest() != file.sha256:
            raise StoreUnreachable(
                f"{file.filename} came with other bytes than {file.sha256}",
                hint="is there a proxy in between?",
            )
