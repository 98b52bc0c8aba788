"""The final release is the tested release candidate: one derived from the other, and the proof.

A commit that was tagged ``1.2.1rc1`` and later ``1.2.1`` gives two wheels that differ in exactly four things:
the name of the ``.dist-info`` (and ``.data``) folder, the ``Version:`` line of METADATA, a generated version
file or the one line in which the project states its version, and RECORD. So the final wheel is *derived*:
the tested wheel, with those four rewritten and every other byte copied. Building the final again from the
commit is only the proof; a version that leaked into any other file makes it fail.

The rules here read the streams passed to them and never the disk.

Sources: PyPA binary distribution format (wheel), source distribution format, recording installed projects.
"""

from __future__ import annotations

import base64
import csv
import hashlib
import io
import re
import tarfile
import zipfile
import zlib
from collections import Counter
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, BinaryIO, Literal

from conveyor.domain.distributions.elf import explain_difference
from conveyor.domain.distributions.zip_copy import copy_archive
from conveyor.domain.words.notation import sha256_of
from conveyor.errors import InvalidDistribution

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Sequence
    from typing import IO

    from packaging.version import Version

Proof = Literal["identical", "members-identical"]
COMPILED = ".so"
"""How a compiled module's name ends; what differs in one is told by section."""
_SCM_VERSION = ".egg-info/scm_version.json"
"""The file that setuptools-scm writes into every sdist, with the tag, the commit and its date."""


@dataclass(frozen=True)
class Difference:
    """One member that differs between two distributions, and how, in a few words."""

    member: str
    change: str


@dataclass(frozen=True)
class StatedLine:
    """The one line in which a project states its version, as the candidate and the final have it."""

    path: str
    """Its file in the checkout, such as ``pyproject.toml`` or ``src/demo/__init__.py``."""
    candidate: str
    final: str


@dataclass(frozen=True)
class Versions:
    """The version of the candidate and of the final, and where a build may write the version.

    ``version_files`` are paths in the checkout, as the project declares them (``src/demo/_version.py``).
    """

    candidate: Version
    final: Version
    version_files: tuple[str, ...] = ()
    line: StatedLine | None = None
    """In its file, this line may differ and no other."""


def derive_wheel(candidate: BinaryIO, final: BinaryIO, versions: Versions) -> None:
    """Write the tested wheel ``candidate`` to ``final``, under the final version.

    Unchanged members keep their compressed bytes. For hatchling and setuptools the result equals a rebuild
    byte for byte; a backend with a compressor of its own gives the same members in another framing.

    Raises:
        InvalidDistribution: the candidate is not a wheel of the expected version.
    """
    with _wheel(candidate) as wheel:
        folder = _metadata_folder(wheel, versions.candidate)
        stem = folder.removesuffix(f"-{versions.candidate}.dist-info")
        replaced = {f"{folder}/METADATA": _with_version(wheel.read(f"{folder}/METADATA"), versions)}
        for name in _version_file_members(wheel.namelist(), versions.version_files):
            replaced[name] = _with_version_file(wheel.read(name), versions)
        if versions.line is not None:
            for name in _version_file_members(wheel.namelist(), (versions.line.path,)):
                replaced[name] = _with_line(wheel.read(name), versions.line)
        old_folders = tuple(f"{stem}-{versions.candidate}.{kind}/" for kind in ("dist-info", "data"))

        def rename(name: str) -> str:
            for old in old_folders:
                if name.startswith(old):
                    return f"{stem}-{versions.final}.{old[:-1].rpartition('.')[2]}/{name[len(old) :]}"
            return name

        new_contents = {rename(name): content for name, content in replaced.items()}
        record = f"{folder}/RECORD"
        replaced[record] = _with_record(wheel.read(record), rename, new_contents)
    copy_archive(candidate, final, rename=rename, replaced=replaced)


def compare_wheels(derived: BinaryIO, rebuilt: BinaryIO) -> list[Difference]:
    """Every member in which two wheels of one version differ: presence, order, content or mode."""
    with _wheel(derived) as left, _wheel(rebuilt) as right:
        differences = _presence(left.namelist(), right.namelist())
        if not differences and left.namelist() != right.namelist():
            differences.append(Difference("(archive)", "the members are in another order"))
        both = set(left.namelist()) & set(right.namelist())
        for name in (name for name in left.namelist() if name in both):
            with left.open(name) as one, right.open(name) as other:
                change = _change(sha256_of(one), sha256_of(other))
            if change is not None and name.endswith(COMPILED):
                change = explain_difference(left.read(name), right.read(name)) or change
            modes = [archive.getinfo(name).external_attr >> 16 for archive in (left, right)]
            if change is None and modes[0] != modes[1]:
                change = f"mode {modes[0]:o} became {modes[1]:o}"
            if change:
                differences.append(Difference(name, change))
    return differences


def compare_sdists(candidate: BinaryIO, final: BinaryIO, versions: Versions) -> list[Difference]:
    """Every member in which a final sdist is not its candidate, beyond what the version explains.

    The version explains the name of the top folder, the ``Version:`` line of each PKG-INFO, the declared
    version files and the line that states the version; names are reported without the top folder.
    """
    left, right = (
        _sdist_digests(candidate, versions, rewrite=True),
        _sdist_digests(final, versions, rewrite=False),
    )
    differences = _presence(left, right)
    for name in (name for name in left if name in right):
        (mode, digest), (other_mode, other_digest) = left[name], right[name]
        change = _change(digest, other_digest)
        if change is None and mode != other_mode:
            change = f"mode {mode:o} became {other_mode:o}"
        if change:
            differences.append(Difference(name, change))
    return differences


# --- members that a version may change --------------------------------------------------------------------


@contextmanager
def _wheel(stream: BinaryIO) -> Iterator[zipfile.ZipFile]:
    """The archive, open for reading; raises our error if the stream is not a wheel or lacks parts of one.

    A name that stands for two members is refused: readers differ in which of the two they take.
    """
    try:
        with zipfile.ZipFile(stream) as archive:
            _refuse_twins(archive.namelist())
            yield archive
    except (zipfile.BadZipFile, KeyError, zlib.error, EOFError, NotImplementedError) as error:
        raise InvalidDistribution(f"not a wheel: {error}") from error


def _metadata_folder(wheel: zipfile.ZipFile, version: Version) -> str:
    folders = {
        name.partition("/")[0] for name in wheel.namelist() if name.partition("/")[0].endswith(".dist-info")
    }
    if len(folders) != 1:
        raise InvalidDistribution(
            f"a wheel holds one .dist-info folder, this one {sorted(folders) or 'none'}"
        )
    folder = folders.pop()
    if not folder.endswith(f"-{version}.dist-info"):
        raise InvalidDistribution(f"{folder} is not the metadata of version {version}")
    return folder


def _with_version(metadata: bytes, versions: Versions) -> bytes:
    """Core metadata with its ``Version:`` header rewritten; the description below is left alone."""
    head, separator, description = metadata.partition(b"\n\n")
    pattern = re.compile(
        rb"^(Version: *)" + re.escape(str(versions.candidate).encode()) + rb"(\r?)$", re.MULTILINE
    )
    head, count = pattern.subn(rb"\g<1>" + str(versions.final).encode() + rb"\g<2>", head)
    if count != 1:
        raise InvalidDistribution(
            f"the metadata does not name version {versions.candidate} once, but {count} times"
        )
    return head + separator + description


def _with_version_file(content: bytes, versions: Versions) -> bytes:
    """A generated version file with the version rewritten, as text and as the tuple setuptools-scm writes."""
    old, new = str(versions.candidate).encode(), str(versions.final).encode()
    content = re.sub(rb"(?<![\w.!+-])" + re.escape(old) + rb"(?![\w.!+-])", new, content)
    return content.replace(
        repr(_as_tuple(versions.candidate)).encode(), repr(_as_tuple(versions.final)).encode()
    )


def _with_line(content: bytes, line: StatedLine) -> bytes:
    """A file with the one line as the final has it; unchanged if the candidate's is not there exactly once.

    Spaces around it are left as they are: setuptools indents ``setup.cfg`` anew.
    """
    old = line.candidate.strip().encode()
    pattern = re.compile(rb"^([ \t]*)" + re.escape(old) + rb"(?=[ \t]*\r?$)", re.MULTILINE)
    new = line.final.strip().encode()
    if len(pattern.findall(content)) != 1:
        return content
    return pattern.sub(lambda match: match[1] + new, content)


def _as_tuple(version: Version) -> tuple[int | str, ...]:
    """The ``__version_tuple__`` that setuptools-scm and hatch-vcs write for a version."""
    fields: tuple[int | str, ...] = version.release
    if version.epoch:
        fields = (f"{version.epoch}!", *fields)
    if version.pre is not None:
        fields += (f"{version.pre[0]}{version.pre[1]}",)
    if version.post is not None:
        fields += (f"post{version.post}",)
    return fields


def _with_record(record: bytes, rename: Callable[[str], str], contents: dict[str, bytes]) -> bytes:
    """RECORD with the new names, and new hashes and sizes for the members in ``contents`` (by new name)."""
    lines: list[str] = []
    for line in record.decode().splitlines(keepends=True):
        ending = line[len(line.rstrip("\r\n")) :]
        name, digest, size = (*next(csv.reader([line.rstrip("\r\n")])), "", "", "")[:3]
        name = rename(name)
        if digest and name in contents:
            algorithm = digest.partition("=")[0]
            raw = hashlib.new(algorithm, contents[name]).digest()
            digest = f"{algorithm}={base64.urlsafe_b64encode(raw).rstrip(b'=').decode()}"
            size = str(len(contents[name]))
        written = io.StringIO()
        csv.writer(written, lineterminator=ending).writerow([name, digest, size])
        lines.append(written.getvalue())
    return "".join(lines).encode()


def _version_file_members(names: Iterable[str], declared: Sequence[str]) -> list[str]:
    """Members that are a declared version file: ``src/demo/_version.py`` is there as ``demo/_version.py``."""
    known = set(names)
    found = []
    for path in declared:
        parts = path.strip("/").split("/")
        candidates = ("/".join(parts[index:]) for index in range(len(parts)))
        found += [name for name in candidates if name in known][:1]
    return found


# --- comparing ---------------------------------------------------------------------------------------------


def _sdist_digests(stream: BinaryIO, versions: Versions, *, rewrite: bool) -> dict[str, tuple[int, str]]:
    """Mode and SHA-256 of every file, by its path below the top folder; a symlink's digest is its target.

    With ``rewrite`` the candidate's version is rewritten where a version may stand.
    """
    version = versions.candidate if rewrite else versions.final
    digests: dict[str, tuple[int, str]] = {}
    for member, content in _tar_members(stream):
        top, _, name = member.name.partition("/")
        _refuse_twins([*digests, name] if name in digests else ())
        if not top.endswith(f"-{version}"):
            raise InvalidDistribution(f"{member.name}: not below the folder of version {version}")
        if content is None:
            digests[name] = (member.mode, f"{member.type!r} {member.linkname}")
        elif rewrite and (name == "PKG-INFO" or name.endswith(".egg-info/PKG-INFO")):
            digests[name] = (member.mode, hashlib.sha256(_with_version(content.read(), versions)).hexdigest())
        elif rewrite and (name in versions.version_files or name.endswith(_SCM_VERSION)):
            digests[name] = (
                member.mode,
                hashlib.sha256(_with_version_file(content.read(), versions)).hexdigest(),
            )
        elif rewrite and versions.line is not None and name == versions.line.path:
            digests[name] = (
                member.mode,
                hashlib.sha256(_with_line(content.read(), versions.line)).hexdigest(),
            )
        else:
            digests[name] = (member.mode, sha256_of(content))
    return digests


def _tar_members(stream: BinaryIO) -> Iterator[tuple[tarfile.TarInfo, IO[bytes] | None]]:
    try:
        with tarfile.open(fileobj=stream, mode="r:*") as archive:
            for member in archive:
                if not member.isdir():
                    # A hard link is the file that it names: whether there is one depends on the build alone.
                    is_file = member.isreg() or member.islnk()
                    yield member, archive.extractfile(member) if is_file else None
    except (tarfile.TarError, EOFError, OSError, KeyError) as error:
        raise InvalidDistribution(f"not a tar archive: {error}") from error


def _refuse_twins(names: Iterable[str]) -> None:
    twins = sorted(name for name, count in Counter(names).items() if count > 1)
    if twins:
        raise InvalidDistribution(f"{', '.join(twins[:5])}: more than one member of that name")


def _presence(left: Iterable[str], right: Iterable[str]) -> list[Difference]:
    one, other = set(left), set(right)
    gone = [Difference(name, "missing in the rebuilt file") for name in sorted(one - other)]
    return gone + [Difference(name, "only in the rebuilt file") for name in sorted(other - one)]


def _change(digest: str, other: str) -> str | None:
    return None if digest == other else f"content differs: {digest[:16]}… became {other[:16]}…"
