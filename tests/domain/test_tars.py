from __future__ import annotations

import gzip
import io
import tarfile
import tracemalloc
import zlib

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from conveyor.domain.distributions.archives import ArchiveLimits
from conveyor.domain.distributions.tars import TarArchive, read_tar_gz
from conveyor.domain.words.faults import Faults
from distributions_made import tar_file, tar_gz_of
from fuzz.archive_readers import check_tar

FORMATS = [tarfile.USTAR_FORMAT, tarfile.GNU_FORMAT, tarfile.PAX_FORMAT]
LONG = "demo-1.0/" + "/".join(["folder"] * 40) + "/file.py"


def read(
    content: bytes, limits: ArchiveLimits | None = None, *, wanted_limit_bytes: int = 1024 * 1024
) -> tuple[TarArchive | None, str]:
    """What was read, every content kept, and the faults."""
    faults = Faults()
    archive = read_tar_gz(
        io.BytesIO(content),
        size_bytes=len(content),
        limits=limits or ArchiveLimits(),
        faults=faults,
        wanted=lambda path: True,
        wanted_limit_bytes=wanted_limit_bytes,
    )
    return archive, "; ".join(faults.sentences)


def header(
    path: str = "demo-1.0/a", *, size: int = 0, kind: bytes = b"0", magic: bytes = b"ustar\x0000"
) -> bytes:
    """One header block, with a right checksum."""
    block = bytearray(512)
    block[0:100] = path.encode().ljust(100, b"\0")
    block[100:108] = b"0000644\0"
    block[124:136] = f"{size:011o}\0".encode()
    block[136:148] = b"00000000000\0"
    block[156:157] = kind
    block[257:265] = magic
    block[148:156] = b" " * 8
    block[148:156] = f"{sum(block):06o}\0 ".encode()
    return bytes(block)


def padded(content: bytes) -> bytes:
    return content + bytes(-len(content) % 512)


def pax(records: dict[str, str], *, kind: bytes = b"x") -> bytes:
    """A pax header with its records."""
    body = b""
    for key, value in records.items():
        rest = f" {key}={value}\n".encode()
        length = next(n for n in range(len(rest), len(rest) + 9) if len(str(n)) + len(rest) == n)
        body += str(length).encode() + rest
    return header("pax", size=len(body), kind=kind) + padded(body)


END = bytes(1024)


def faults_of(*parts: bytes) -> str:
    return read(gzip.compress(b"".join(parts)))[1]


@pytest.mark.parametrize("tar_format", FORMATS)
def test_members_of_every_format_are_read(tar_format: int) -> None:
    content = tar_gz_of(
        [
            (tar_file("demo-1.0", kind=tarfile.DIRTYPE), b""),
            (tar_file("demo-1.0/a.py"), b"x" * 5000),
            (tar_file("demo-1.0/empty"), b""),
            (tar_file("demo-1.0/ü.py"), b"1"),
        ],
        tar_format=tar_format,
    )
    archive, faults = read(content)
    assert faults == ""
    assert archive is not None
    assert archive.contents == {"demo-1.0/a.py": b"x" * 5000, "demo-1.0/empty": b"", "demo-1.0/ü.py": b"1"}
    assert [member.kind for member in archive.members] == ["folder", "file", "file", "file"]


@pytest.mark.parametrize("tar_format", [tarfile.GNU_FORMAT, tarfile.PAX_FORMAT])
def test_long_paths_and_link_targets_are_read(tar_format: int) -> None:
    target = LONG.removeprefix("demo-1.0/")
    members = [(tar_file(LONG), b"1"), (tar_file("demo-1.0/l", kind=tarfile.SYMTYPE, target=target), b"")]
    archive, faults = read(tar_gz_of(members, tar_format=tar_format))
    assert faults == ""
    assert archive is not None
    assert [(member.path, member.target) for member in archive.members] == [
        (LONG, ""),
        ("demo-1.0/l", target),
    ]


@pytest.mark.parametrize(
    ("path", "fault"),
    [
        ("../x", "has '..' in its path"),
        ("demo-1.0/../../x", "has '..' in its path"),
        ("/etc/x", "has an absolute path"),
        ("demo-1.0\\x", "has a backslash in its path"),
        ("./demo-1.0/x", "empty or '.' part"),
        ("demo-1.0/a\x07", "control character"),
    ],
)
def test_paths_that_leave_or_differ_are_refused(path: str, fault: str) -> None:
    assert fault in faults_of(header(path), END)


@pytest.mark.parametrize("kind", [tarfile.CHRTYPE, tarfile.BLKTYPE, tarfile.FIFOTYPE, b"S", b"7", b"V", b"M"])
def test_special_members_are_refused(kind: bytes) -> None:
    assert "is not a file, folder or link" in faults_of(header(kind=kind), END)


@pytest.mark.parametrize(
    ("path", "target"),
    [
        ("demo-1.0/l", "/etc/passwd"),
        ("demo-1.0/l", "../other"),
        ("demo-1.0/l", ""),
        ("demo-1.0/l", "a\\b"),
        ("demo-1.0/sub/l", "../../x"),
        ("l", "demo-1.0/x"),
    ],
)
def test_symbolic_links_that_leave_the_archive_are_refused(path: str, target: str) -> None:
    content = tar_gz_of([(tar_file(path, kind=tarfile.SYMTYPE, target=target), b"")])
    assert "may leave the archive" in read(content)[1]


def test_symbolic_link_by_way_of_another_is_refused() -> None:
    content = tar_gz_of(
        [
            (tar_file("demo-1.0/a/b/up", kind=tarfile.SYMTYPE, target="../.."), b""),
            (tar_file("demo-1.0/a/b/out", kind=tarfile.SYMTYPE, target="up/../x"), b""),
        ]
    )
    assert "demo-1.0/a/b/out is a symbolic link that may leave" in read(content)[1]


def test_file_below_a_symbolic_link_is_refused() -> None:
    content = tar_gz_of(
        [
            (tar_file("demo-1.0/a", kind=tarfile.SYMTYPE, target="b"), b""),
            (tar_file("demo-1.0/a/x"), b"1"),
        ]
    )
    assert "both as a file and as a folder" in read(content)[1]


def test_links_inside_the_archive_are_welcome() -> None:
    content = tar_gz_of(
        [
            (tar_file("demo-1.0/a"), b"1"),
            (tar_file("demo-1.0/sub/l", kind=tarfile.SYMTYPE, target="../a"), b""),
            (tar_file("demo-1.0/h", kind=tarfile.LNKTYPE, target="demo-1.0/a"), b""),
        ]
    )
    assert read(content)[1] == ""


def test_hard_link_to_nothing_before_it_is_refused() -> None:
    content = tar_gz_of([(tar_file("demo-1.0/h", kind=tarfile.LNKTYPE, target="/etc/passwd"), b"")])
    assert "which is not a file before it" in read(content)[1]


def test_path_twice_is_refused() -> None:
    assert "has demo-1.0/a twice" in faults_of(header(), header(), END)


@pytest.mark.parametrize(
    ("parts", "fault"),
    [
        ((pax({"size": "5"}), header(size=3), padded(b"abc"), END), "one size in its header and another"),
        ((pax({"size": "x"}), header(), END), "malformed size"),
        ((pax({"path": "demo-1.0/b"}, kind=b"g"), header(), END), "rename or resize all members"),
        (
            (header("L", size=1, kind=b"L"), padded(b"a"), pax({"path": "b"}), header(), END),
            "announces the path or size of a member twice",
        ),
        ((pax({"path": "a"}), pax({"mtime": "1"}), header(), END), "in a way that not every tool reads"),
        ((pax({"path": "a"}), pax({"comment": "x"}, kind=b"g"), header(), END), "in a way that not every"),
        ((header("L", size=1, kind=b"L"), padded(b"ab"), header(), END), "continues after its end"),
        (
            (header("pax", size=9, kind=b"x"), padded(b"9 mtime=1" + b"\n9 path=b\n"), header(), END),
            "continues after its end",
        ),
        ((pax({"mtime": "soon"}), header(), END), "malformed number: mtime"),
        ((pax({"uid": ""}), header(), END), "malformed number: uid"),
        ((pax({"GNU.sparse.major": "1"}), header(), END), "one not every tool reads"),
        ((pax({"hdrcharset": "BINARY"}), header(), END), "one not every tool reads"),
        ((header("pax", size=9, kind=b"x"), padded(b"nonsense\n"), header(), END), "malformed pax records"),
        ((header("pax", size=3, kind=b"x"), padded(b"9 a"), header(), END), "malformed pax records"),
        ((pax({"path": "a"}), END), "ends after a header that announces"),
        ((header("L", size=300_000, kind=b"L"), bytes(300_032), END), "has a header of 300,000 bytes"),
        ((header(size=10), padded(b"x" * 10)), "is cut off, or lacks its end mark"),
        ((header(size=10), b"x" * 10), "is cut off in demo-1.0/a"),
        ((header(), bytes(512)), "only half an end mark"),
        ((header(), bytes(512), header(), END), "data after its end mark"),
        ((header(), END, b"tail"), "data after its end mark"),
        ((header(magic=b"\0" * 8), END), "old tar format"),
        ((b"x" * 512, END), "damaged header, or is not a tar"),
        ((header(kind=b"5", size=1), padded(b"1"), END), "is a folder, but has a size"),
        ((header("demo-1.0/x/"), END), "its path ends with a slash"),
        ((b"PK\x03\x04",), "is cut off"),
    ],
)
def test_structures_that_readers_see_differently_are_refused(parts: tuple[bytes, ...], fault: str) -> None:
    assert fault in faults_of(*parts)


def changed(block: bytes, at: int, value: bytes) -> bytes:
    """The header with other bytes somewhere, its checksum right again."""
    content = bytearray(block)
    content[at : at + len(value)] = value
    content[148:156] = b" " * 8
    content[148:156] = f"{sum(content):06o}\0 ".encode()
    return bytes(content)


def test_bytes_that_are_not_utf8_are_refused() -> None:
    assert "is not UTF-8" in faults_of(changed(header(), 0, b"\xff"), END)


@pytest.mark.parametrize("at", [100, 108, 116, 136, 329, 337])
def test_number_that_ends_the_archive_for_other_readers_is_refused(at: int) -> None:
    """Found by the fuzzer: tarfile silently stops at such a header, so that the file after it is hidden."""
    hiding = changed(header("demo-1.0/b"), at, b"soon")
    assert "malformed number" in faults_of(header(), hiding, header("demo-1.0/c"), END)
    assert faults_of(changed(header(), at, b"\x80\0\0\0\0\0\0\x01"), END) == "", "a large number of GNU tar"


def test_path_where_only_some_readers_look_for_it_is_refused() -> None:
    """Found by the fuzzer: tarfile puts the prefix before the path of a GNU header too, GNU tar does not."""
    odd = changed(header(magic=b"ustar  \0"), 345, b"../..")
    assert "a GNU header with times or a path that not every tool reads" in faults_of(odd, END)


def test_file_that_only_its_short_path_makes_a_folder_is_refused() -> None:
    """Found by the fuzzer: tarfile looks at the slash before a long path replaces the short one."""
    odd = header("demo-1.0/", kind=b"\0")
    assert "folder of the old tar format" in faults_of(pax({"path": "demo-1.0/a"}), odd, END)


def test_gzip_stream_must_be_one_and_whole() -> None:
    good = tar_gz_of([(tar_file("demo-1.0/a"), b"1")])
    assert "continues after its gzip stream" in read(good + good)[1]
    assert "continues after its gzip stream" in read(good + b"tail")[1]
    assert "gzip stream is cut off" in read(good[:-4])[1]
    assert "damaged" in read(good[:-8] + b"\0\0\0\0" + good[-4:])[1]
    assert "not a gzip stream" in read(b"PK\x03\x04 and so on")[1]
    assert "cut off" in read(b"")[1]
    assert "not a gzip stream" in read(zlib.compress(b"x"))[1]


def test_bomb_is_inflated_no_further_than_its_limit() -> None:
    bomb = gzip.compress(header(size=300 * 1024 * 1024) + bytes(300 * 1024 * 1024) + END)
    tracemalloc.start()
    faults = read(bomb, wanted_limit_bytes=400 * 1024 * 1024)[1]
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert "over 50 times" in faults
    assert peak < 150 * 1024 * 1024


def test_limits_of_members_and_wanted_files() -> None:
    content = tar_gz_of([(tar_file(f"demo-1.0/{n}"), b"123") for n in range(5)])
    assert "more than 3 members" in read(content, ArchiveLimits(members=3))[1]
    assert "more than 2" in read(content, wanted_limit_bytes=2)[1]
    assert "expands to more than 600 bytes" in read(content, ArchiveLimits(expanded_bytes=600))[1]


_PARTS = st.sampled_from(
    [
        header("demo-1.0", kind=b"5"),
        header("demo-1.0/a", size=3) + padded(b"abc"),
        header("demo-1.0/b"),
        header("demo-1.0/c/"),
        pax({"path": "demo-1.0/long"}),
        pax({"size": "3"}),
        pax({"comment": "x"}, kind=b"g"),
        header("L", size=5, kind=b"L") + padded(b"demo\0"),
        header("demo-1.0/l", kind=b"2"),
        END,
    ]
)


@settings(deadline=None)
@given(st.lists(_PARTS, max_size=6), st.lists(st.tuples(st.integers(0), st.integers(0, 255)), max_size=4))
def test_damaged_archives_are_refused_or_read_as_everybody_reads_them(
    parts: list[bytes], damages: list[tuple[int, int]]
) -> None:
    content = bytearray(b"".join(parts) + END)
    for position, value in damages:
        content[position % len(content)] = value
    check_tar(gzip.compress(bytes(content), 1))


@given(st.binary(max_size=200))
def test_any_bytes_are_refused_without_a_crash(content: bytes) -> None:
    for candidate in (content, gzip.compress(content)):
        archive, faults = read(candidate)
        assert archive is None or archive.members == () or faults == ""
