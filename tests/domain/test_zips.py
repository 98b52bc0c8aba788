from __future__ import annotations

import io
import struct
import tracemalloc
import zipfile
import zlib
from typing import TYPE_CHECKING

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from conveyor.domain.distributions.archives import ArchiveLimits, Unreadable
from conveyor.domain.distributions.zips import ZipArchive
from conveyor.domain.words.faults import Faults
from distributions_made import zip_of
from domain.archives_made import ZipEntry, ZipFileMade
from fuzz.archive_readers import check_zip

if TYPE_CHECKING:
    import random


def read(content: bytes, limits: ArchiveLimits | None = None) -> tuple[dict[str, bytes], tuple[str, ...]]:
    """All readable members and all faults."""
    faults = Faults()
    archive = ZipArchive.of(
        io.BytesIO(content), size_bytes=len(content), limits=limits or ArchiveLimits(), faults=faults
    )
    found = {}
    for path, member in archive.members.items() if archive else ():
        try:
            found[path] = b"".join(archive.chunks(member)) if archive else b""
        except Unreadable as unreadable:
            unreadable.add_to(faults, otherwise="zip-structure")
    return found, faults.sentences


def faults_of(*entries: ZipEntry, **arguments: object) -> str:
    """The faults of an archive of these entries."""
    return "; ".join(read(ZipFileMade(list(entries), **arguments).written())[1])  # type: ignore[arg-type]  # one test each


def test_stored_and_deflated_members_are_read() -> None:
    members = {"a/b.txt": b"x" * 100_000, "a/c": b"", "ü.py": b"print()\n"}
    for compression in (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED):
        assert read(zip_of(members, compression=compression)) == (members, ())


def test_folders_are_members_without_content() -> None:
    entries = [ZipEntry(b"a/", attributes=0o40755 << 16), ZipEntry(b"a/b", b"1")]
    assert read(ZipFileMade(entries).written()) == ({"a/b": b"1"}, ())


@pytest.mark.parametrize("is_zip64", [False, True])
@pytest.mark.parametrize("comment", [b"zip-rs", b"x" * 0xFFFF])
def test_comment_of_the_archive_is_passed_over(comment: bytes, is_zip64: bool) -> None:
    content = ZipFileMade([ZipEntry(b"a", b"123")], comment=comment, zip64=is_zip64).written()
    assert read(content) == ({"a": b"123"}, ())
    assert check_zip(content)


def test_zip64_records_that_agree_are_read() -> None:
    wide = struct.pack("<2H2Q", 1, 16, 3, 3)
    entries = [ZipEntry(b"a", b"123", local_size=0xFFFFFFFF, local_extra=wide)]
    assert read(ZipFileMade([ZipEntry(b"a", b"123")], zip64=True).written()) == ({"a": b"123"}, ())
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as archive, archive.open("a", "w", force_zip64=True) as member:
        member.write(b"123")
    assert read(buffer.getvalue()) == ({"a": b"123"}, ())
    assert "ZIP64" in faults_of(*entries) or faults_of(*entries) == ""


def test_empty_archive_has_no_members() -> None:
    assert read(zip_of({})) == ({}, ())


@pytest.mark.parametrize(
    ("entry", "fault"),
    [
        (ZipEntry(b"../a"), "has '..' in its path"),
        (ZipEntry(b"a/../../b"), "has '..' in its path"),
        (ZipEntry(b"/etc/x"), "has an absolute path"),
        (ZipEntry(b"C:/x"), "has an absolute path"),
        (ZipEntry(b"a\\b"), "has a backslash in its path"),
        (ZipEntry(b"a//b"), "empty or '.' part"),
        (ZipEntry(b"./b"), "empty or '.' part"),
        (ZipEntry(b"a\nb"), "control character"),
        (ZipEntry(b"a\x00b"), "control character"),
        (ZipEntry(b""), "empty path"),
        (ZipEntry(b"\xff\xfe"), "not marked as UTF-8"),
        (ZipEntry(b"\xff\xfe", flags=0x800), "is not UTF-8"),
        (ZipEntry("ü".encode()), "not marked as UTF-8"),
        (ZipEntry(b"a", attributes=0o120777 << 16, content=b"/etc/passwd"), "is a symbolic link"),
        (ZipEntry(b"a", attributes=0o020666 << 16), "is not a plain file"),
        (ZipEntry(b"a", flags=1), "is encrypted"),
        (ZipEntry(b"a", flags=8), "has a data descriptor"),
        (ZipEntry(b"a", flags=0x20), "zip features"),
        (ZipEntry(b"a", b"12", method=12), "compressed by method 12"),
        (ZipEntry(b"a", b"12", method=14), "compressed by method 14"),
        (ZipEntry(b"a", b"12", comment=b"hello"), "has a comment"),
        (ZipEntry(b"a/", b"12"), "is a folder, but holds data"),
        (ZipEntry(b"a/", crc32=1), "is a folder, but holds data"),
        (ZipEntry(b"a/", method=8, data=b"\x01\x00"), "is a folder, but holds data"),
        (ZipEntry(b"a", needed=64), "zip features that not every installer reads"),
        (ZipEntry(b"a", local_needed=255), "zip features that not every installer reads"),
        (ZipEntry(b"a", b"1", extra=struct.pack("<2H2Q", 1, 16, 9, 9)), "ZIP64 field that disagrees"),
        (ZipEntry(b"a", b"12", local_name=b"b"), "local header that disagrees"),
        (ZipEntry(b"a", b"12", local_flags=0x800), "local header that disagrees"),
        (ZipEntry(b"a", b"12", local_size=3), "local header that disagrees"),
        (ZipEntry(b"a", b"12", crc32=1), "CRC-32 is not the one listed"),
        (ZipEntry(b"a", b"12", size=3), "its two sizes differ"),
        (ZipEntry(b"a", b"12" * 99, method=8, size=3), "is listed with 3"),
        (ZipEntry(b"a", b"12", method=8, size=30), "is listed with 30"),
        (ZipEntry(b"a", b"12", method=8, data=b"\xff\xff\xff"), "deflate stream is broken"),
        (ZipEntry(b"a", b"", method=8, data=b"\x03\x00tail"), "after the end of its deflate stream"),
        (ZipEntry(b"a", b"12", before=b"hidden"), "hidden or overlapping data"),
        (ZipEntry(b"a", b"12", after=b"hidden"), "between its last member and its directory"),
        (ZipEntry(b"a", b"12", offset=1), "hidden or overlapping data"),
        (ZipEntry(b"a", b"12", extra=b"\x01"), "malformed extra field"),
        (ZipEntry(b"a", b"12", extra=struct.pack("<2H", 9, 0) * 2), "repeated extra field"),
        (ZipEntry(b"a", extra=struct.pack("<2HBL", 0x7075, 6, 1, 0) + b"b"), "second path"),
    ],
)
def test_members_that_readers_see_differently_are_refused(entry: ZipEntry, fault: str) -> None:
    assert fault in faults_of(entry)


@pytest.mark.parametrize(
    ("entries", "fault"),
    [
        ([ZipEntry(b"a", b"1"), ZipEntry(b"a", b"2")], "has a twice"),
        ([ZipEntry(b"a", b"1"), ZipEntry(b"a/b", b"2")], "both as a file and as a folder"),
        ([ZipEntry(b"a/b", b"2"), ZipEntry(b"a", b"1")], "both as a file and as a folder"),
        ([ZipEntry(b"a", b"1"), ZipEntry(b"a/", attributes=0o40755 << 16)], "has a twice"),
        (
            [ZipEntry("\u00e9".encode(), flags=0x800), ZipEntry("e\u0301".encode(), flags=0x800)],
            "twice",
        ),
    ],
)
def test_paths_that_cannot_all_be_unpacked_are_refused(entries: list[ZipEntry], fault: str) -> None:
    assert fault in faults_of(*entries)


@pytest.mark.parametrize(
    ("arguments", "fault"),
    [
        ({"comment": b"a PK\x03\x04"}, "has a comment that may be taken for a part of it"),
        ({"end": b"tail"}, "has 4 bytes after its end, and a comment of 0"),
        ({"comment": b"hello", "end": b"!"}, "has 6 bytes after its end, and a comment of 5"),
        ({"before_end": b"gap"}, "between its directory and its end"),
        ({"count": 0}, "holds more than the number of members"),
        ({"count": 2}, "directory is cut off"),
        ({"directory": []}, "between its last member and its directory"),
    ],
)
def test_archives_with_bytes_that_nobody_lists_are_refused(arguments: dict[str, object], fault: str) -> None:
    assert fault in faults_of(ZipEntry(b"a", b"1"), **arguments)


def test_one_member_listed_twice_is_refused() -> None:
    entry = ZipEntry(b"a", b"1")
    assert "overlapping" in faults_of(entry, directory=[entry, entry])


def test_zip64_locator_that_points_elsewhere_is_refused() -> None:
    content = bytearray(ZipFileMade([ZipEntry(b"a", b"1")], zip64=True).written())
    content[-34] ^= 1
    assert "ZIP64 locator" in "; ".join(read(bytes(content))[1])


def test_what_is_no_zip_is_refused() -> None:
    for content in (b"", b"x" * 10, b"x" * 1000, zip_of({"a": b"1"})[:-1], zip_of({"a": b"1"})[1:]):
        found, faults = read(content)
        assert found == {}
        assert len(faults) == 1


def test_bomb_is_refused_by_what_it_announces() -> None:
    content = zip_of({f"{n}": bytes(1024 * 1024) for n in range(65)})
    assert "over 50 times" in "; ".join(read(content)[1])
    assert read(content, ArchiveLimits(ratio=2000))[1] == ()
    assert "more than 1,000 bytes" in "; ".join(read(content, ArchiveLimits(expanded_bytes=1000))[1])
    assert "65 members, more than 10" in "; ".join(read(content, ArchiveLimits(members=10))[1])


def test_bomb_that_lies_about_its_size_is_inflated_no_further_than_one_chunk() -> None:
    compressor = zlib.compressobj(9, zlib.DEFLATED, -15)
    data = b"".join(compressor.compress(bytes(1024 * 1024)) for _ in range(200)) + compressor.flush()
    content = ZipFileMade([ZipEntry(b"a", b"12", method=8, data=data)]).written()
    tracemalloc.start()
    faults = read(content)[1]
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert "is listed with 2" in "; ".join(faults)
    assert peak < 16 * 1024 * 1024


_NAMES = st.sampled_from([b"a", b"a/b", b"a/b/", b"\xc3\xbc", b"../x", b"x", b"demo/__init__.py"])
_ENTRIES = st.builds(
    ZipEntry,
    name=_NAMES,
    content=st.binary(max_size=40),
    method=st.sampled_from([0, 8]),
    flags=st.sampled_from([0, 0x800, 8]),
    attributes=st.sampled_from([0o100644 << 16, 0]),
)


@settings(deadline=None)
@given(st.lists(_ENTRIES, max_size=4), st.lists(st.tuples(st.integers(0), st.integers(0, 255)), max_size=6))
def test_damaged_archives_are_refused_or_read_as_everybody_reads_them(
    entries: list[ZipEntry], damages: list[tuple[int, int]]
) -> None:
    content = bytearray(ZipFileMade(entries).written())
    for position, value in damages:
        content[position % len(content)] = value
    check_zip(bytes(content))


@settings(deadline=None)
@given(st.randoms(use_true_random=False), st.sampled_from(["cut", "insert", "repeat", "swap"]))
def test_archives_cut_and_glued_are_refused_or_read_as_everybody_reads_them(
    chance: random.Random, how: str
) -> None:
    content = zip_of({"demo/__init__.py": b"1" * 50, "demo/b.py": b"2", "demo-1.dist-info/RECORD": b"3" * 9})
    first, second = sorted(chance.sample(range(len(content)), 2))
    glued = {
        "cut": content[:first] + content[second:],
        "insert": content[:first] + chance.randbytes(9) + content[first:],
        "repeat": content[:second] + content[first:],
        "swap": content[second:] + content[first:second] + content[:first],
    }[how]
    check_zip(glued)


@given(st.binary(max_size=300))
def test_any_bytes_are_refused_without_a_crash(content: bytes) -> None:
    check_zip(content)
