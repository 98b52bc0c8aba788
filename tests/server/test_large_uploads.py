"""A wheel of any size takes no more memory than a small one. The wheels are files with a hole."""

from __future__ import annotations

import hashlib
import io
import zipfile
from base64 import b64encode, urlsafe_b64encode
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
import urllib3

from conveyor.client.files import make_form
from distributions_made import make_wheel, wheel_members
from makers import ADMIN_PASSWORD
from running_stores import RunningStore, children_of, running_store

if TYPE_CHECKING:
    from collections.abc import Iterator

MEBIBYTE = 1024 * 1024
GROWTH_BYTES = 24 * MEBIBYTE
"""How much more a process may hold at once for the large wheel: a few buffers of 1 MiB. Measured: 2.3 MB."""


class FileWithHole(io.FileIO):
    """A file that skips what is zero instead of writing it."""

    def write(self, data: object) -> int:
        chunk = bytes(data)  # type: ignore[call-overload] # any buffer
        if len(chunk) < MEBIBYTE or chunk.count(0) < len(chunk):
            return super().write(chunk)
        self.seek(len(chunk), io.SEEK_CUR)
        return len(chunk)


def write_large_wheel(folder: Path, name: str, size_bytes: int, compression: int) -> Path:
    """A sound wheel with one member of so many zeros."""
    digest, zeros = hashlib.sha256(), bytes(MEBIBYTE)
    for _ in range(size_bytes // MEBIBYTE):
        digest.update(zeros)
    members = wheel_members(name)
    record = f"{name}-1.0.dist-info/RECORD"
    encoded = urlsafe_b64encode(digest.digest()).rstrip(b"=").decode()
    members[record] += f"{name}/zeros.bin,sha256={encoded},{size_bytes}\n".encode()
    path = folder / f"{name}-1.0-py3-none-any.whl"
    with FileWithHole(path, "w") as file, zipfile.ZipFile(file, "w") as archive:
        for member, content in members.items():
            archive.writestr(member, content)
        info = zipfile.ZipInfo(f"{name}/zeros.bin")
        info.compress_type, info.file_size = compression, size_bytes
        with archive.open(info, "w", force_zip64=False) as target:
            for _ in range(size_bytes // MEBIBYTE):
                target.write(zeros)
    return path


def upload(store: RunningStore, path: Path) -> None:
    form = make_form(path)
    credentials = b64encode(f"admin:{ADMIN_PASSWORD}".encode()).decode()
    headers = {**form.headers, "Authorization": f"Basic {credentials}"}
    with urllib3.PoolManager(retries=False, timeout=300) as pool:
        answer = pool.request("POST", f"{store.url}/unstable/legacy/", body=form, headers=headers)
    assert answer.status == 200, answer.data


def peaks(store: RunningStore, *, is_reset: bool = False) -> dict[int, int]:
    """The most memory that each process of the server held, in bytes, since the last call with a reset."""
    found = {}
    for pid in (store.process.pid, *children_of(store.process)):
        process = Path(f"/proc/{pid}")
        if is_reset:
            (process / "clear_refs").write_text("5")
        status = (process / "status").read_text(encoding="utf-8")
        (line,) = (line for line in status.splitlines() if line.startswith("VmHWM:"))
        found[pid] = int(line.split()[1]) * 1024
    return found


@pytest.fixture
def store(tmp_path: Path) -> Iterator[RunningStore]:
    with running_store(tmp_path / "store") as running:
        yield running


def check_memory_is_constant(store: RunningStore, path: Path) -> None:
    upload(store, make_wheel("small").write(path.parent))
    before = peaks(store, is_reset=True)
    upload(store, path)
    grown = {pid: peak - before[pid] for pid, peak in peaks(store).items()}
    assert max(grown.values()) < GROWTH_BYTES, grown
    sha256 = hashlib.sha256()
    with path.open("rb") as file:
        while chunk := file.read(MEBIBYTE):
            sha256.update(chunk)
    head = store.request("HEAD", f"/packages/{sha256.hexdigest()}/{path.name}")
    assert (head.status, head.headers["content-length"]) == (200, str(path.stat().st_size))


@pytest.mark.slow
def test_large_wheel_is_taken_in_constant_memory(store: RunningStore, tmp_path: Path) -> None:
    path = write_large_wheel(tmp_path, "large", 300 * MEBIBYTE, zipfile.ZIP_STORED)
    check_memory_is_constant(store, path)


@pytest.mark.torture
def test_wheel_of_two_gigabytes_is_taken_in_constant_memory(store: RunningStore, tmp_path: Path) -> None:
    path = write_large_wheel(tmp_path, "huge", 2000 * MEBIBYTE, zipfile.ZIP_STORED)
    check_memory_is_constant(store, path)


@pytest.mark.slow
def test_large_deflated_member_is_inflated_in_constant_memory(tmp_path: Path, store: RunningStore) -> None:
    """Below 64 MiB no ratio makes a bomb."""
    path = write_large_wheel(tmp_path, "inflated", 60 * MEBIBYTE, zipfile.ZIP_DEFLATED)
    check_memory_is_constant(store, path)
