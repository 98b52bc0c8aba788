"""Published files of 2008 to 2026, pinned in ``published.csv``: fetched once a machine, sent as they are.

They come from the index that pip on this machine installs from, by the addresses on its project pages, into a
folder of the user's cache. pip itself cannot fetch them: it builds an old sdist to read its metadata.
"""

from __future__ import annotations

import csv
import hashlib
import io
import os
import tarfile
import zipfile
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import requests
from packaging.metadata import parse_email
from pypi_simple import PyPISimple

from conveyor.settings import upstream_of_this_machine

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

TABLE = Path(__file__).with_name("published.csv")
ACCEPTED = "accepted"
FETCHERS = 8
TRIES = 3


@dataclass(frozen=True)
class Published:
    """A file on the public index, and what the store must say to it."""

    project: str
    version: str
    filename: str
    sha256: str
    outcome: str
    """``accepted``, or the rules that refuse it, in the order of the alphabet, with ``+`` between them."""
    is_in_make_test: bool


def published_files() -> list[Published]:
    """The table, row by row."""
    with TABLE.open(encoding="utf-8", newline="") as file:
        return [
            Published(
                project=row["project"],
                version=row["version"],
                filename=row["filename"],
                sha256=row["sha256"],
                outcome=row["outcome"],
                is_in_make_test=row["make test"] == "yes",
            )
            for row in csv.DictReader(file)
        ]


def fetch(files: Iterable[Published]) -> dict[str, bytes]:
    """The content of each file by its name, from the cache or from the index.

    Raises:
        AssertionError: one of them cannot be had, or has other bytes.
    """
    by_project: dict[str, list[Published]] = {}
    for file in files:
        by_project.setdefault(file.project, []).append(file)
    with ThreadPoolExecutor(FETCHERS) as fetchers:
        found: dict[str, bytes] = {}
        for some in fetchers.map(_fetch_project, by_project.values()):
            found.update(some)
        return found


def upload_fields(file: Published, content: bytes) -> Iterator[tuple[str, str]]:
    """The form that a client sends with a file: all of its metadata, unchanged and unchecked."""
    is_wheel = file.filename.endswith(".whl")
    yield ":action", "file_upload"
    yield "protocol_version", "1"
    yield "filetype", "bdist_wheel" if is_wheel else "sdist"
    yield "pyversion", file.filename.removesuffix(".whl").split("-")[-3] if is_wheel else "source"
    yield "sha256_digest", file.sha256
    metadata = _metadata_in(file.filename, content)
    if not metadata:
        yield from (("name", file.project), ("version", file.version))
        return
    raw, _ = parse_email(metadata)
    for key, value in raw.items():
        field = _FIELDS.get(key, key)
        if isinstance(value, dict):
            yield from ((field, f"{label}, {url}") for label, url in value.items())
        elif key == "keywords" and isinstance(value, list):
            yield field, ",".join(value)
        elif isinstance(value, list):
            yield from ((field, one) for one in value)
        else:
            yield field, str(value)


_FIELDS = {
    "platforms": "platform",
    "supported_platforms": "supported_platform",
    "license_files": "license_file",
    "import_names": "import_name",
    "import_namespaces": "import_namespace",
}
"""Fields of which packaging has the plural."""


def _metadata_in(filename: str, content: bytes) -> bytes:
    """METADATA or PKG-INFO; empty of a file of another kind, and of an sdist that has none."""
    if filename.endswith(".whl"):
        with zipfile.ZipFile(io.BytesIO(content)) as wheel:
            return wheel.read(next(one for one in wheel.namelist() if one.endswith(".dist-info/METADATA")))
    if filename.endswith(".tar.gz"):
        with tarfile.open(fileobj=io.BytesIO(content)) as sdist:
            for member in sdist:
                if member.name.count("/") == 1 and member.name.endswith("/PKG-INFO"):
                    file = sdist.extractfile(member)
                    return file.read() if file is not None else b""
    return b""


def _cache() -> Path:
    base = os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache"
    return Path(base, "conveyor-tests", "published")


def _fetch_project(files: list[Published]) -> dict[str, bytes]:
    missing = [file for file in files if not _cached(file).exists()]
    if missing:
        machine = upstream_of_this_machine()
        with requests.Session() as session:
            session.verify = machine.cert or True
            if machine.proxy:
                session.proxies = {"http": machine.proxy, "https": machine.proxy}
            _download(missing, session, machine.url)
    contents = {file.filename: _cached(file).read_bytes() for file in files}
    for file in files:
        assert hashlib.sha256(contents[file.filename]).hexdigest() == file.sha256, file.filename
    return contents


def _download(files: list[Published], session: requests.Session, index_url: str) -> None:
    index = PyPISimple(index_url, session=session)
    page = index.get_project_page(files[0].project, timeout=60)
    urls = {package.filename: package.url for package in page.packages}
    for file in files:
        assert file.filename in urls, f"the index of this machine does not have {file.filename}"
        answer = session.get(urls[file.filename], timeout=60)
        assert answer.ok, f"{file.filename} cannot be fetched: {answer.status_code} {answer.reason}"
        digest = hashlib.sha256(answer.content).hexdigest()
        assert digest == file.sha256, f"{file.filename} came with other bytes"
        place = _cached(file)
        place.parent.mkdir(parents=True, exist_ok=True)
        partial = place.with_name(f"{place.name}.{os.getpid()}")
        partial.write_bytes(answer.content)
        partial.rename(place)


def _cached(file: Published) -> Path:
    return _cache() / file.sha256 / file.filename
