"""Makers of wheels and sdists: sound ones, and ones that are broken in exactly one way.

Everything is built in memory; ``Made.write`` puts it into a folder. ``wheel_of`` and ``sdist_of`` pack given
members as they are, for tests that need full control.
"""

from __future__ import annotations

import base64
import gzip
import hashlib
import io
import tarfile
import zipfile
from dataclasses import dataclass
from typing import TYPE_CHECKING

from packaging.tags import parse_tag

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from pathlib import Path

WHEN = (2026, 11, 21, 8, 0, 0)


@dataclass(frozen=True)
class Made:
    """A file that was made: its name and its bytes."""

    filename: str
    content: bytes

    @property
    def sha256(self) -> str:
        return hashlib.sha256(self.content).hexdigest()

    @property
    def stream(self) -> io.BytesIO:
        return io.BytesIO(self.content)

    @property
    def form(self) -> dict[str, list[str]]:
        """What an honest client puts into the upload form."""
        is_wheel = self.filename.endswith(".whl")
        stem = self.filename.removesuffix(".whl").removesuffix(".tar.gz")
        name, version = stem.split("-")[:2]
        return {
            ":action": ["file_upload"],
            "protocol_version": ["1"],
            "filetype": ["bdist_wheel" if is_wheel else "sdist"],
            "pyversion": [stem.split("-")[-3] if is_wheel else "source"],
            "name": [name],
            "version": [version],
            "sha256_digest": [self.sha256],
        }

    def write(self, folder: Path) -> Path:
        folder.mkdir(parents=True, exist_ok=True)
        path = folder / self.filename
        path.write_bytes(self.content)
        return path


def core_metadata(
    name: str = "demo",
    version: str = "1.0",
    *,
    metadata_version: str = "2.4",
    requires_python: str | None = None,
    requires: Sequence[str] = (),
    fields: Sequence[tuple[str, str]] = (),
    description: str = "",
) -> bytes:
    """A METADATA or PKG-INFO file; ``fields`` are added as they are."""
    lines = [("Metadata-Version", metadata_version), ("Name", name), ("Version", version)]
    if requires_python is not None:
        lines.append(("Requires-Python", requires_python))
    lines += [("Requires-Dist", requirement) for requirement in requires]
    lines += fields
    return ("".join(f"{field}: {value}\n" for field, value in lines) + f"\n{description}").encode()


def record_of(members: Mapping[str, bytes], record_path: str) -> bytes:
    """The RECORD that lists these members rightly, itself without a hash."""
    lines = []
    for path, content in members.items():
        digest = base64.urlsafe_b64encode(hashlib.sha256(content).digest()).rstrip(b"=").decode()
        quoted = f'"{path}"' if "," in path else path
        lines.append(f"{quoted},sha256={digest},{len(content)}\n")
    return ("".join(lines) + f"{record_path},,\n").encode()


def wheel_members(
    name: str = "demo",
    version: str = "1.0",
    *,
    tag: str = "py3-none-any",
    metadata: bytes | None = None,
    extra: Mapping[str, bytes] | None = None,
) -> dict[str, bytes]:
    """The members of a sound wheel, RECORD last."""
    folder = f"{name.replace('-', '_').lower()}-{version}.dist-info"
    package = name.replace("-", "_").lower()
    tags = "".join(f"Tag: {each}\n" for each in sorted(map(str, parse_tag(tag))))
    wheel = f"Wheel-Version: 1.0\nGenerator: tests\nRoot-Is-Purelib: true\n{tags}".encode()
    members = {f"{package}/__init__.py": f'__version__ = "{version}"\n'.encode(), **(extra or {})}
    members[f"{folder}/METADATA"] = core_metadata(name, version) if metadata is None else metadata
    members[f"{folder}/WHEEL"] = wheel
    members[f"{folder}/RECORD"] = record_of(members, f"{folder}/RECORD")
    return members


def zip_of(members: Mapping[str, bytes], *, compression: int = zipfile.ZIP_DEFLATED) -> bytes:
    """A zip of these members, in their order."""
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", compression) as archive:
        for path, content in members.items():
            info = zipfile.ZipInfo(path, WHEN)
            info.compress_type = compression
            info.external_attr = 0o100644 << 16
            archive.writestr(info, content)
    return buffer.getvalue()


def make_wheel(
    name: str = "demo",
    version: str = "1.0",
    *,
    tag: str = "py3-none-any",
    build: str | None = None,
    filename: str | None = None,
    metadata: bytes | None = None,
    extra: Mapping[str, bytes] | None = None,
    replace: Mapping[str, bytes | None] | None = None,
    compression: int = zipfile.ZIP_DEFLATED,
) -> Made:
    """A wheel.

    Args:
        name: of the project.
        version: in its canonical spelling.
        tag: Python, ABI and platform.
        build: build tag.
        filename: another one than the right one.
        metadata: METADATA, else a small one with name and version.
        extra: more members, listed in RECORD.
        replace: members put in (or taken out: ``None``) after RECORD was written; ``RECORD``, ``METADATA``
            and ``WHEEL`` stand for those of the ``.dist-info`` folder.
        compression: of every member.
    """
    members = wheel_members(name, version, tag=tag, metadata=metadata, extra=extra)
    folder = f"{name.replace('-', '_').lower()}-{version}.dist-info"
    for path, content in (replace or {}).items():
        full = f"{folder}/{path}" if path in ("RECORD", "METADATA", "WHEEL") else path
        members.pop(full, None)
        if content is not None:
            members[full] = content
    parts = [name.replace("-", "_").lower(), version, *([build] if build else []), tag]
    return Made(filename or f"{'-'.join(parts)}.whl", zip_of(members, compression=compression))


def tar_gz_of(
    members: Sequence[tuple[tarfile.TarInfo, bytes]], *, tar_format: int = tarfile.PAX_FORMAT
) -> bytes:
    """A gzipped tar of these members, in their order."""
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w", format=tar_format) as archive:
        for info, content in members:
            info.size = len(content)
            archive.addfile(info, io.BytesIO(content))
    return gzip.compress(buffer.getvalue(), mtime=0)


def tar_file(path: str, *, kind: bytes = tarfile.REGTYPE, target: str = "") -> tarfile.TarInfo:
    """The header of one member."""
    info = tarfile.TarInfo(path)
    info.type, info.linkname, info.mode = kind, target, 0o644
    return info


BACKEND = """\
import zipfile
from base64 import urlsafe_b64encode
from hashlib import sha256
from pathlib import Path

NAME, STEM = "{name}", "{name}-{version}"
WHEEL = b"Wheel-Version: 1.0\\nGenerator: tests\\nRoot-Is-Purelib: true\\nTag: py3-none-any\\n"


def build_wheel(wheel_directory, config_settings=None, metadata_directory=None):
    files = {{
        f"{{NAME}}/__init__.py": Path(NAME, "__init__.py").read_bytes(),
        f"{{STEM}}.dist-info/METADATA": Path("PKG-INFO").read_bytes(),
        f"{{STEM}}.dist-info/WHEEL": WHEEL,
    }}
    record = f"{{STEM}}.dist-info/RECORD"
    lines = [f"{{path}},sha256={{digest(content)}},{{len(content)}}" for path, content in files.items()]
    files[record] = "\\n".join([*lines, f"{{record}},,", ""]).encode()
    filename = f"{{STEM}}-py3-none-any.whl"
    with zipfile.ZipFile(Path(wheel_directory, filename), "w") as archive:
        for path, content in files.items():
            archive.writestr(path, content)
    return filename


def digest(content):
    return urlsafe_b64encode(sha256(content).digest()).rstrip(b"=").decode()
"""
"""A build backend inside the sdist, so that it builds without anything from an index."""


def make_sdist(
    name: str = "demo",
    version: str = "1.0",
    *,
    filename: str | None = None,
    top: str | None = None,
    metadata: bytes | None = None,
    extra: Mapping[str, bytes] | None = None,
    more: Sequence[tuple[tarfile.TarInfo, bytes]] = (),
    tar_format: int = tarfile.PAX_FORMAT,
) -> Made:
    """An sdist that pip can build and install; arguments as of ``make_wheel``; ``more`` is added as it is."""
    stem = f"{name.replace('-', '_').lower()}-{version}"
    folder = stem if top is None else top
    package = name.replace("-", "_").lower()
    files = {
        "PKG-INFO": core_metadata(name, version) if metadata is None else metadata,
        "pyproject.toml": b'[build-system]\nrequires = []\nbuild-backend = "backend"\nbackend-path = ["."]\n',
        "backend.py": BACKEND.format(name=package, version=version).encode(),
        f"{package}/__init__.py": b'"""Made for a test."""\n',
        **(extra or {}),
    }
    members = [(tar_file(f"{folder}/{path}"), content) for path, content in files.items()]
    return Made(filename or f"{stem}.tar.gz", tar_gz_of([*members, *more], tar_format=tar_format))
