"""Uploads of distributions to a store, and downloads from it.

Uploads use the legacy API, as twine does, and are streamed: memory does not grow with the size of a wheel.
"""

from __future__ import annotations

import hashlib
import os
import secrets
from dataclasses import dataclass
from typing import TYPE_CHECKING
from urllib.parse import quote

from packaging.utils import (
    InvalidSdistFilename,
    InvalidWheelFilename,
    parse_sdist_filename,
    parse_wheel_filename,
)

from conveyor.client.connection import CHUNK_BYTES, Request
from conveyor.errors import InvalidDistribution, InvalidInput, StorageFailed, StoreUnreachable

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence
    from pathlib import Path

    from conveyor.client.connection import Connection
    from conveyor.domain.releases.standing import ReleaseFile


@dataclass(frozen=True)
class StoreFiles:
    """The distributions of a store."""

    connection: Connection

    def upload(self, index: str, path: Path, *, is_open: bool = False) -> None:
        """Upload a wheel or sdist; it is a success if the identical file is there already.

        With ``is_open`` nobody sees it before ``StoreClient.releases.publish`` names all files of its
        release.

        Raises:
            InvalidDistribution: its filename is not that of a wheel or an sdist.
            InvalidInput: the file cannot be read.
        """
        from conveyor.domain.distributions.forms import FILE_OPEN  # with all rules of metadata

        form = make_form(path, action=FILE_OPEN if is_open else "file_upload")
        self.connection.send(
            Request("POST", f"/{quote(index)}/legacy/", body=form, headers=form.headers, may_repeat=True)
        )

    def upload_docs(self, index: str, project: str, version: str, path: Path) -> None:
        """Give a release its documentation, a zip or tar.gz, in place of an earlier one.

        Raises:
            InvalidInput: the file cannot be read.
            InvalidDistribution: the archive has faults.
            Conflict: the release was promoted.
        """
        from conveyor.domain.distributions.documentation import DOC_UPLOAD

        form = _form(path, {":action": DOC_UPLOAD, "name": project, "version": version})
        self.connection.send(
            Request("POST", f"/{quote(index)}/legacy/", body=form, headers=form.headers, may_repeat=True)
        )

    def download(self, file: ReleaseFile, folder: Path) -> Path:
        """Fetch a file into a folder and return its path; its bytes are checked against the digest.

        Raises:
            StoreUnreachable: the connection broke off, or other bytes came.
            StorageFailed: the file cannot be written.
        """
        if file.filename != os.path.basename(file.filename) or file.filename in ("", ".", ".."):  # noqa: PTH119 - a string, not a path
            raise InvalidInput(f'"{file.filename}" is not a filename')
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
            raise StorageFailed(f"{target} cannot be written: {error.strerror or error}") from error
        return target

    def _fetch(self, file: ReleaseFile, path: Path) -> None:
        """Write the file's bytes to ``path``, checked against digest and size."""
        digest, size = hashlib.sha256(), 0
        with self.connection.receive(file.url) as chunks, path.open("wb") as target:
            for chunk in chunks:
                size += len(chunk)
                if size > file.size_bytes:  # do not fill the disk with wrong bytes
                    break
                digest.update(chunk)
                target.write(chunk)
        if size != file.size_bytes or digest.hexdigest() != file.sha256:
            raise StoreUnreachable(
                f"{file.filename} came with other bytes than {file.sha256}",
                hint="is there a proxy in between?",
            )


@dataclass(frozen=True)
class MultipartForm:
    """A multipart form around one file."""

    path: Path
    head: bytes
    tail: bytes
    boundary: str
    size_bytes: int
    """The size of the whole form, in bytes."""

    @property
    def headers(self) -> dict[str, str]:
        """The headers that describe the form."""
        return {
            "Content-Type": f"multipart/form-data; boundary={self.boundary}",
            "Content-Length": str(self.size_bytes),
        }

    def __iter__(self) -> Iterator[bytes]:
        """The bytes of the form; can be read again from the beginning."""
        yield self.head
        with self.path.open("rb") as file:
            while chunk := file.read(CHUNK_BYTES):
                yield chunk
        yield self.tail


def make_form(
    path: Path, *, action: str = "file_upload", fields: Sequence[tuple[str, str]] = ()
) -> MultipartForm:
    """Make the form that uploads a wheel or sdist; ``fields``: further ones, some of them several times.

    Raises:
        InvalidDistribution: its filename is not that of a wheel or an sdist.
        InvalidInput: the file cannot be read.
    """
    return _form(path, {":action": action, **_fields(path)}, fields)


def _form(path: Path, fields: dict[str, str], more: Sequence[tuple[str, str]] = ()) -> MultipartForm:
    """A form with these fields, the digest of the file, and the file; raises InvalidInput."""
    try:
        with path.open("rb") as file:
            fields["sha256_digest"] = hashlib.file_digest(file, "sha256").hexdigest()
        file_size = path.stat().st_size
    except OSError as error:
        raise InvalidInput(f"{path} cannot be read: {error.strerror}") from error
    boundary = secrets.token_hex(16)
    parts = [
        f'--{boundary}\r\nContent-Disposition: form-data; name="{name}"\r\n\r\n{value}\r\n'
        for name, value in (*fields.items(), *more)
    ]
    parts.append(
        f'--{boundary}\r\nContent-Disposition: form-data; name="content"; filename="{path.name}"\r\n'
        "Content-Type: application/octet-stream\r\n\r\n"
    )
    head, tail = "".join(parts).encode(), f"\r\n--{boundary}--\r\n".encode()
    return MultipartForm(path, head, tail, boundary, len(head) + file_size + len(tail))


def _fields(path: Path) -> dict[str, str]:
    try:
        if path.name.endswith(".whl"):
            name, version, _, _ = parse_wheel_filename(path.name)
            kind, python = "bdist_wheel", path.name.removesuffix(".whl").split("-")[-3]
        else:
            name, version = parse_sdist_filename(path.name)
            kind, python = "sdist", "source"
    except (InvalidWheelFilename, InvalidSdistFilename) as error:
        raise InvalidDistribution(f"{path.name} is neither a wheel nor an sdist: {error}") from error
    return {
        "protocol_version": "1",
        "name": name,
        "version": str(version),
        "filetype": kind,
        "pyversion": python,
    }
