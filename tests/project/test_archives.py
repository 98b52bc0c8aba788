"""Unpacking: what may come out of an archive, on every Python, with or without filters of ``tarfile``."""

import io
import tarfile
from pathlib import Path

import pytest

from conveyor.domain.distributions.archives import ArchiveLimits
from conveyor.errors import ProjectError
from conveyor.project.archives import unpack_sdist


def packed(folder: Path, *members: tuple[str, bytes, str]) -> Path:
    """An sdist of members: (name, type, content or where a link leads)."""
    path = folder / "demo-1.0.tar.gz"
    with tarfile.open(path, "w:gz") as archive:
        for name, kind, content in members:
            member = tarfile.TarInfo(name)
            member.type, member.mode, member.mtime, member.uid = kind, 0o4777, 1_700_000_000, 4711
            if kind == tarfile.REGTYPE:
                member.size = len(content)
            else:
                member.linkname = content
            archive.addfile(member, io.BytesIO(content.encode()))
    return path


def test_files_folders_and_links_inside_come_out_without_their_owner(tmp_path: Path) -> None:
    sdist = packed(
        tmp_path,
        ("demo-1.0/src/demo/run.py", tarfile.REGTYPE, "print()"),
        ("demo-1.0/docs", tarfile.DIRTYPE, ""),
        ("demo-1.0/docs/run.py", tarfile.SYMTYPE, "../src/demo/run.py"),
        ("demo-1.0/again.py", tarfile.LNKTYPE, "demo-1.0/src/demo/run.py"),
        ("demo-1.0/src/demo/run.py", tarfile.REGTYPE, "print(1)"),
    )
    unpack_sdist(sdist, tmp_path / "into")
    found = tmp_path / "into/src/demo/run.py"
    assert (found.read_text(), (tmp_path / "into/again.py").read_text()) == ("print(1)", "print()")
    assert (tmp_path / "into/docs/run.py").read_text() == "print(1)"
    facts = found.stat()
    assert (facts.st_mode & 0o7777, facts.st_mtime, facts.st_uid == 4711) == (0o755, 1_700_000_000, False)


@pytest.mark.parametrize(
    ("members", "fault"),
    [
        ([("demo-1.0/../../out", tarfile.REGTYPE, "x")], "leads out"),
        ([("/demo-1.0/out", tarfile.REGTYPE, "x")], "leads out"),
        ([("demo-1.0/link", tarfile.SYMTYPE, "../../out")], "leads out"),
        ([("demo-1.0/link", tarfile.SYMTYPE, "/etc")], "leads out"),
        ([("demo-1.0/link", tarfile.LNKTYPE, "../out")], "leads out"),
        (
            [("demo-1.0/a", tarfile.SYMTYPE, "."), ("demo-1.0/a/b", tarfile.SYMTYPE, "../../out")],
            "leads out",
        ),
        ([("demo-1.0/pipe", tarfile.FIFOTYPE, "")], "neither a file"),
        ([("demo-1.0/device", tarfile.CHRTYPE, "")], "neither a file"),
        ([("demo-1.0/a", tarfile.LNKTYPE, "demo-1.0/absent")], "cannot be unpacked"),
        ([("one/a", tarfile.REGTYPE, ""), ("two/a", tarfile.REGTYPE, "")], "one, two at its top"),
    ],
)
def test_what_leads_out_or_is_no_file_is_refused(
    tmp_path: Path, members: list[tuple[str, bytes, str]], fault: str
) -> None:
    (tmp_path / "out").write_text("mine")
    with pytest.raises(ProjectError, match=fault):
        unpack_sdist(packed(tmp_path, *members), tmp_path / "into")
    assert (tmp_path / "out").read_text() == "mine"


def test_archive_of_more_than_a_store_accepts_is_not_unpacked(tmp_path: Path) -> None:
    members = [(f"demo-1.0/{name}", tarfile.REGTYPE, "x" * 100) for name in "abc"]
    sdist = packed(tmp_path, *members)
    for limits, fault in (
        (ArchiveLimits(members=2), "has more than 2 members"),
        (ArchiveLimits(expanded_bytes=299), "expands to more than 299 bytes"),
        (ArchiveLimits(ratio=1, ratio_free_bytes=99), None),
    ):
        large = packed(tmp_path, ("demo-1.0/a", tarfile.REGTYPE, "x" * 10_000)) if fault is None else sdist
        with pytest.raises(ProjectError, match=fault or "over 1 times its own"):
            unpack_sdist(large, tmp_path / "into", limits=limits)
        assert not (tmp_path / "into.part/demo-1.0/c").exists()
        assert not (tmp_path / "into").exists()
    unpack_sdist(packed(tmp_path, *members), tmp_path / "into", limits=ArchiveLimits(members=3))
    assert len(list((tmp_path / "into").iterdir())) == 3
