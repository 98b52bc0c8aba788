"""A final release is derived from the tested candidate, and a rebuild proves it: on really built files."""

from __future__ import annotations

import base64
import csv
import hashlib
import io
import tarfile
import zipfile
from typing import TYPE_CHECKING

import pytest
from packaging.version import Version

from conveyor.domain.distributions.equivalence import (
    Versions,
    compare_sdists,
    compare_wheels,
    derive_wheel,
)
from conveyor.errors import InvalidDistribution
from distributions_made import tar_file, tar_gz_of
from pipeline.projects import (
    HATCHLING,
    HATCHLING_VERSION_FILE,
    SETUPTOOLS_SCM,
    build,
    clone_of_tag,
    git,
    make_project,
)

if TYPE_CHECKING:
    from pathlib import Path

CANDIDATE, FINAL = Version("1.2.1rc1"), Version("1.2.1")
VERSION_FILE = ("src/demo/_version.py",)
VERSIONS = Versions(CANDIDATE, FINAL, VERSION_FILE)


def built(
    tmp_path: Path, pyproject: str, files: dict[str, str] | None = None
) -> dict[str, tuple[Path, Path]]:
    """(sdist, wheel) of candidate and final, both tags on one commit, each from a clone of its own."""
    repository = make_project(tmp_path / "repository", pyproject=pyproject, files=files)
    for tag in ("v1.2.1rc1", "v1.2.1"):
        git(repository, "tag", "-a", "-m", tag, tag)
    found = {}
    for tag in ("v1.2.1rc1", "v1.2.1"):
        found[tag] = build(clone_of_tag(repository, tag, tmp_path / tag / "demo"))
    return found


def derived(wheel: Path, versions: Versions = VERSIONS) -> io.BytesIO:
    target = io.BytesIO()
    with wheel.open("rb") as stream:
        derive_wheel(stream, target, versions)
    target.seek(0)
    return target


@pytest.mark.parametrize(
    "pyproject",
    [HATCHLING, HATCHLING_VERSION_FILE, SETUPTOOLS_SCM],
    ids=["hatch-vcs", "hatch-vcs-version-file", "setuptools-scm-version-file"],
)
def test_derived_final_equals_the_rebuilt_one_byte_for_byte(tmp_path: Path, pyproject: str) -> None:
    found = built(tmp_path, pyproject, {"src/demo/data.csv": "a,b\n" * 1000})
    (candidate_sdist, candidate), (final_sdist, final) = found["v1.2.1rc1"], found["v1.2.1"]

    assert derived(candidate).getvalue() == final.read_bytes()
    assert final.read_bytes() != candidate.read_bytes()
    with candidate_sdist.open("rb") as one, final_sdist.open("rb") as other:
        assert compare_sdists(one, other, VERSIONS) == []


def test_derived_wheel_has_a_true_record_and_the_new_version_everywhere(tmp_path: Path) -> None:
    wheel = derived(built(tmp_path, HATCHLING_VERSION_FILE)["v1.2.1rc1"][1])
    with zipfile.ZipFile(wheel) as archive:
        assert archive.testzip() is None
        rows = list(csv.reader(archive.read("demo-1.2.1.dist-info/RECORD").decode().splitlines()))
        assert {row[0] for row in rows} == set(archive.namelist())
        for name, digest, size in rows:
            if digest:
                content = archive.read(name)
                raw = base64.urlsafe_b64encode(hashlib.sha256(content).digest()).rstrip(b"=").decode()
                assert (digest, int(size)) == (f"sha256={raw}", len(content))
        assert not [name for name in archive.namelist() if b"1.2.1rc1" in archive.read(name)]
        assert b"\nVersion: 1.2.1\n" in archive.read("demo-1.2.1.dist-info/METADATA")
        assert b"(1, 2, 1)" in archive.read("demo/_version.py")


def test_version_that_leaks_into_an_undeclared_file_is_found(tmp_path: Path) -> None:
    hook = "from hatchling.builders.hooks.plugin.interface import BuildHookInterface\n\n\n"
    hook += "class Leak(BuildHookInterface):\n    def initialize(self, version, build_data):\n"
    hook += "        with open('src/demo/about.txt', 'w') as file:\n"
    hook += "            file.write(self.metadata.version)\n"
    found = built(
        tmp_path,
        HATCHLING + "[tool.hatch.build.hooks.custom]\n",
        {"hatch_build.py": hook, "src/demo/keep": ""},
    )
    with found["v1.2.1"][1].open("rb") as rebuilt:
        members = {
            difference.member for difference in compare_wheels(derived(found["v1.2.1rc1"][1]), rebuilt)
        }
    assert members == {"demo/about.txt", "demo-1.2.1.dist-info/RECORD"}
    with found["v1.2.1rc1"][0].open("rb") as one, found["v1.2.1"][0].open("rb") as other:
        assert [difference.member for difference in compare_sdists(one, other, VERSIONS)] == [
            "src/demo/about.txt"
        ]


def test_description_that_names_the_candidate_is_not_rewritten(tmp_path: Path) -> None:
    pyproject = HATCHLING.replace("requires-python", 'readme = "README.md"\nrequires-python')
    found = built(tmp_path, pyproject, {"README.md": "# demo\n\nVersion: 1.2.1rc1\nVersion: 1.2.1rc1\n"})
    assert derived(found["v1.2.1rc1"][1]).getvalue() == found["v1.2.1"][1].read_bytes()


def test_each_kind_of_difference_between_wheels_is_named() -> None:
    def wheel(members: dict[str, bytes], mode: int = 0o644) -> io.BytesIO:
        stream = io.BytesIO()
        with zipfile.ZipFile(stream, "w") as archive:
            for name, content in members.items():
                info = zipfile.ZipInfo(name)
                info.external_attr = mode << 16
                archive.writestr(info, content)
        return stream

    one = wheel({"a": b"1", "b": b"2"})
    assert compare_wheels(one, one) == []
    changes = {d.member: d.change for d in compare_wheels(one, wheel({"a": b"x", "c": b"3"}))}
    assert set(changes) == {"a", "b", "c"}
    assert changes["b"] == "missing in the rebuilt file"
    assert changes["c"] == "only in the rebuilt file"
    assert changes["a"].startswith("content differs")
    assert [d.change for d in compare_wheels(one, wheel({"a": b"1", "b": b"2"}, 0o755))] == [
        "mode 644 became 755"
    ] * 2
    assert [d.member for d in compare_wheels(one, wheel({"b": b"2", "a": b"1"}))] == ["(archive)"]


def test_unchanged_members_keep_their_compressed_bytes_and_stored_ones_stay_stored(tmp_path: Path) -> None:
    path = tmp_path / "demo-1.2.1rc1-py3-none-any.whl"
    payload = bytes(range(256)) * 4096
    metadata = b"Metadata-Version: 2.4\nName: demo\nVersion: 1.2.1rc1\n"
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED, compresslevel=1) as archive:
        archive.writestr("demo/model.bin", payload)
        archive.writestr(zipfile.ZipInfo("demo/stored.bin"), payload)
        archive.writestr("demo-1.2.1rc1.data/scripts/run", b"#!python\n")
        archive.writestr("demo-1.2.1rc1.dist-info/METADATA", metadata)
        archive.writestr(
            "demo-1.2.1rc1.dist-info/RECORD", b'"demo/a,b",,\r\ndemo-1.2.1rc1.dist-info/RECORD,,\r\n'
        )
    with zipfile.ZipFile(path) as before, zipfile.ZipFile(derived(path)) as after:
        assert after.testzip() is None
        assert after.read("demo/model.bin") == payload
        for name in ("demo/model.bin", "demo/stored.bin"):
            assert after.getinfo(name).compress_size == before.getinfo(name).compress_size
            assert after.getinfo(name).compress_type == before.getinfo(name).compress_type
        assert after.read("demo-1.2.1.data/scripts/run") == b"#!python\n"
        assert (
            after.read("demo-1.2.1.dist-info/RECORD") == b'"demo/a,b",,\r\ndemo-1.2.1.dist-info/RECORD,,\r\n'
        )


def test_members_with_64_bit_headers_are_copied(tmp_path: Path) -> None:
    path, target = tmp_path / "large.whl", tmp_path / "derived.whl"
    with path.open("wb") as file, zipfile.ZipFile(file, "w") as archive:
        info = zipfile.ZipInfo("demo/model.bin")
        with archive.open(info, "w", force_zip64=True) as member:
            member.write(b"begin")
            block = b"\0" * (1 << 20)
            for _ in range(3):
                member.write(block)
        archive.writestr("demo-1.2.1rc1.dist-info/METADATA", b"Name: demo\nVersion: 1.2.1rc1\n")
        archive.writestr("demo-1.2.1rc1.dist-info/RECORD", b"demo-1.2.1rc1.dist-info/RECORD,,\n")
    with path.open("rb") as source, target.open("w+b") as sink:
        derive_wheel(source, sink, VERSIONS)
        with zipfile.ZipFile(sink) as archive:
            assert archive.testzip() is None
            assert archive.getinfo("demo/model.bin").file_size == 5 + 3 * (1 << 20)


@pytest.mark.parametrize(
    ("prefix", "cut_bytes", "folder", "version", "message"),
    [
        (b"#!/bin/sh", 0, "demo-1.2.1rc1.dist-info", "1.2.1rc1", "not plain"),
        (b"", 30, "demo-1.2.1rc1.dist-info", "1.2.1rc1", "not a wheel"),
        (b"", 0, "demo-1.2.9rc1.dist-info", "1.2.1rc1", "not the metadata of version"),
        (b"", 0, "demo-1.2.1rc1.dist-info", "1.2.9rc1", "does not name version"),
        (b"", 0, "demo", "1.2.1rc1", "holds one .dist-info folder"),
    ],
)
def test_what_is_not_a_wheel_of_the_candidate_is_refused(
    tmp_path: Path, prefix: bytes, cut_bytes: int, folder: str, version: str, message: str
) -> None:
    path = tmp_path / "demo.whl"
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr(f"{folder}/METADATA", f"Name: demo\nVersion: {version}\n")
        archive.writestr(f"{folder}/RECORD", b"")
    data = prefix + path.read_bytes()
    path.write_bytes(data[: len(data) - cut_bytes])
    with pytest.raises(InvalidDistribution, match=message):
        derived(path)


def test_sdist_of_another_version_is_refused() -> None:
    stream = io.BytesIO()
    with tarfile.open(fileobj=stream, mode="w:gz") as archive:
        archive.addfile(tarfile.TarInfo("demo-9.9/PKG-INFO"), io.BytesIO(b""))
    stream.seek(0)
    with pytest.raises(InvalidDistribution, match="not below the folder of version"):
        compare_sdists(stream, stream, VERSIONS)


def linked(version: Version, *, kind: bytes) -> io.BytesIO:
    """An sdist that holds a file twice: again, or as a hard link to the first."""
    top = f"demo-{version}"
    info = f"Metadata-Version: 2.4\nName: demo\nVersion: {version}\n\n".encode()
    again = tar_file(f"{top}/again.txt", kind=kind, target=f"{top}/a.txt")
    content = b"" if kind == tarfile.LNKTYPE else b"a"
    members = [(tar_file(f"{top}/PKG-INFO"), info), (tar_file(f"{top}/a.txt"), b"a"), (again, content)]
    return io.BytesIO(tar_gz_of(members))


@pytest.mark.parametrize("kind", [tarfile.LNKTYPE, tarfile.REGTYPE])
def test_hard_link_in_an_sdist_is_the_file_that_it_names(kind: bytes) -> None:
    candidate = linked(CANDIDATE, kind=tarfile.LNKTYPE)
    assert compare_sdists(candidate, linked(FINAL, kind=kind), VERSIONS) == []


@pytest.mark.filterwarnings("ignore:Duplicate name")
def test_name_of_two_members_is_refused() -> None:
    wheel, sdist = io.BytesIO(), io.BytesIO()
    with zipfile.ZipFile(wheel, "w") as archive:
        for content in (b"one", b"other"):
            archive.writestr("demo/core.py", content)
    with pytest.raises(InvalidDistribution, match=r"demo/core\.py: more than one member"):
        compare_wheels(wheel, wheel)
    twins = [(tar_file("demo-1.2.1rc1/a.txt"), content) for content in (b"one", b"other")]
    sdist.write(tar_gz_of(twins))
    sdist.seek(0)
    with pytest.raises(InvalidDistribution, match=r"a\.txt: more than one member"):
        compare_sdists(sdist, linked(FINAL, kind=tarfile.REGTYPE), VERSIONS)
