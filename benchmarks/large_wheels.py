"""One large wheel, uploaded with a token: against hashing or inflating it once, and the memory it takes.

Targets: a wheel of 1 GB whose members are stored within 2 times the time of ``sha256sum``, one whose members
are deflated within 1.3 times the time of inflating and hashing them once, both within 150 MB. The clock stops
when the answer arrives: the file is checked, durable and listed. Each upload goes into a new store.

uv names the SHA-256 of the file; twine names its MD5 and BLAKE2b too. The store computes BLAKE2b for both.
"""

from __future__ import annotations

import hashlib
import os
import tempfile
import time
import zipfile
import zlib
from contextlib import contextmanager
from dataclasses import replace
from http.client import HTTPConnection
from pathlib import Path
from statistics import median
from struct import Struct
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

from benchmarks.figures import Figure, machine, run_process
from benchmarks.load import program
from benchmarks.memory import watched_memory
from benchmarks.served import WORKERS, new_store, our_store
from benchmarks.wheel_files import write_deflated_wheel, write_single_member_wheel, write_stored_wheel
from conveyor.client.files import make_form
from makers import make_settings

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from benchmarks.memory import Memory
    from benchmarks.served import Served
    from conveyor.client.files import MultipartForm

ROUNDS = 3
"""Rounds, in turn, after one upload as a warm-up that does not count."""
BUDGET_MB = 150
TIMEOUT_SECONDS = 120
MB = 1e6
CHUNK_BYTES = 1024 * 1024

_LOCAL_HEADER = Struct("<26x2H")
"""Offset of the lengths of a member's name and extra field, which are between the header and the data."""


def measure() -> Iterator[Figure]:
    """The three wheels, as uv and as twine send them."""
    wheels = (
        (write_stored_wheel, "sha256sum", _sha256sum),
        (write_deflated_wheel, "inflating and hashing", _inflate_and_hash),
        (write_single_member_wheel, "inflating and hashing", _inflate_and_hash),
    )
    with tempfile.TemporaryDirectory(prefix="conveyor-bench-") as folder:
        for write, baseline_name, baseline in wheels:
            wheel = write(Path(folder))
            yield from _figures(wheel, baseline_name, baseline)
            wheel.unlink()


def _figures(wheel: Path, baseline_name: str, baseline: Callable[[Path], None]) -> Iterator[Figure]:
    on = (
        f"{wheel.stat().st_size / MB:,.0f} MB, median of {ROUNDS} rounds in turn, {WORKERS} workers, SQLite, "
        f"{machine()}"
    )
    forms = _forms(wheel)
    with _served_store(wheel.parent) as (server, authorization), watched_memory(server.process_ids) as seen:
        _upload(server.url, forms["twine"], authorization)  # this warms up too
    baselines: list[float] = []
    uploads: dict[str, list[float]] = {client: [] for client in forms}
    for _ in range(ROUNDS):
        began = time.perf_counter()
        baseline(wheel)
        baselines.append(time.perf_counter() - began)
        for client, form in forms.items():
            with _served_store(wheel.parent) as (server, authorization):
                uploads[client].append(_upload(server.url, form, authorization))
    for client, seconds in uploads.items():
        what = f"upload of the {wheel.name.split('-')[0]} wheel as by {client}"
        yield Figure(what, "s", median(seconds), baseline_name, median(baselines), on)
    yield from _memory(seen)


def _memory(seen: list[Memory]) -> Iterator[Figure]:
    """The peak of the process that received the upload, which is the one that grew, and of all processes."""
    processes = list(zip(*(memory.resident_bytes for memory in seen), strict=True))
    worker = max(processes, key=lambda resident: max(resident) - resident[0])
    on = f"resident set, shared pages counted too; {worker[0] / MB:.1f} MB before the upload"
    yield Figure("memory of the worker, at most", "MB", max(worker) / MB, "budget", BUDGET_MB, on)
    together = [memory.together_bytes / MB for memory in seen]
    on = f"shared pages counted once; {together[0]:.1f} MB before the upload"
    yield Figure("memory of all processes, at most", "MB", max(together), "budget", BUDGET_MB, on)


def _sha256sum(wheel: Path) -> None:
    run_process([program("sha256sum"), str(wheel)])


def _inflate_and_hash(wheel: Path) -> None:
    """Every member once, in one thread."""
    with zipfile.ZipFile(wheel) as archive, wheel.open("rb") as file:
        for member in archive.infolist():
            file.seek(member.header_offset)
            file.seek(sum(_LOCAL_HEADER.unpack(file.read(_LOCAL_HEADER.size))), os.SEEK_CUR)
            inflater, digest = zlib.decompressobj(-zlib.MAX_WBITS), hashlib.sha256()
            left = member.compress_size
            while left:
                compressed = file.read(min(left, CHUNK_BYTES))
                digest.update(inflater.decompress(compressed))
                left -= len(compressed)


def _forms(wheel: Path) -> dict[str, MultipartForm]:
    """Client → the form as that client sends it."""
    form = make_form(wheel)  # its one digest is SHA-256
    with wheel.open("rb") as file:
        md5 = hashlib.file_digest(file, "md5").hexdigest()
        file.seek(0)
        blake2 = hashlib.file_digest(file, lambda: hashlib.blake2b(digest_size=32)).hexdigest()
    head = b"".join(
        f'--{form.boundary}\r\nContent-Disposition: form-data; name="{name}"\r\n\r\n{digest}\r\n'.encode()
        for name, digest in {"md5_digest": md5, "blake2_256_digest": blake2}.items()
    )
    longer = replace(form, head=head + form.head, size_bytes=len(head) + form.size_bytes)
    return {"uv": form, "twine": longer}


@contextmanager
def _served_store(folder: Path) -> Iterator[tuple[Served, dict[str, str]]]:
    """A new store that answers, and the header of its administrator."""
    with tempfile.TemporaryDirectory(dir=folder) as data:
        settings = make_settings(Path(data))
        authorization = new_store(settings)
        with our_store(settings.data) as server:
            yield server, authorization


def _upload(url: str, form: MultipartForm, authorization: dict[str, str]) -> float:
    """Seconds from the connection to the answer; raises RuntimeError if the upload is refused."""
    parts = urlsplit(url)
    os.sync()  # earlier writes do not count
    began = time.perf_counter()
    connection = HTTPConnection(parts.hostname or "", parts.port, timeout=TIMEOUT_SECONDS)
    connection.connect()
    connection.putrequest("POST", "/unstable/legacy/")
    for name, value in {**form.headers, **authorization}.items():
        connection.putheader(name, value)
    connection.endheaders(form.head)
    with form.path.open("rb") as file:
        connection.sock.sendfile(file)
    connection.send(form.tail)
    answer = connection.getresponse()
    said = answer.read()
    connection.close()
    if answer.status != 200:
        raise RuntimeError(f"{form.path.name} was answered {answer.status}: {said[:500]!r}")
    return time.perf_counter() - began
