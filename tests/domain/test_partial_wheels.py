from __future__ import annotations

import contextlib
import io
import zipfile

import pytest
from hypothesis import given
from hypothesis import strategies as st

from conveyor.domain.distributions.partial_wheels import MissingPart, PartialFile, read_wheel_metadata
from conveyor.errors import InvalidDistribution
from distributions_made import core_metadata, make_wheel, wheel_members, zip_of

FILENAME = "demo-1.0-py3-none-any.whl"


def read_by_parts(content: bytes, *, tail: int) -> tuple[bytes, int]:
    """The metadata, and how many bytes had to be fetched."""
    partial = PartialFile(len(content))
    start = max(0, len(content) - tail)
    partial.add(start, content[start:])
    fetched = len(content) - start
    while True:
        try:
            return read_wheel_metadata(partial, filename=FILENAME), fetched
        except MissingPart as missing:
            start, end = missing.start, missing.end
        assert start < end <= len(content)
        partial.add(start, content[start:end])
        fetched += end - start


@pytest.mark.parametrize("tail", [1, 22, 100, 4096, 10**9])
@pytest.mark.parametrize("compression", [zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED])
def test_metadata_is_found_whatever_the_first_part_holds(tail: int, compression: int) -> None:
    metadata = core_metadata(description="text " * 5000)
    wheel = make_wheel(metadata=metadata, extra={"demo/x.bin": bytes(100_000)}, compression=compression)
    assert read_by_parts(wheel.content, tail=tail)[0] == metadata


def test_few_bytes_of_a_large_wheel_are_fetched() -> None:
    wheel = make_wheel(extra={f"demo/{n}.bin": bytes(100_000) for n in range(50)}, compression=0)
    _, fetched = read_by_parts(wheel.content, tail=64 * 1024)
    assert fetched == 64 * 1024


@pytest.mark.parametrize(
    "members",
    [
        {"demo/__init__.py": b""},
        {"other-1.0.dist-info/METADATA": b"Name: other\n"},
        {"demo/demo-1.0.dist-info/METADATA": b"Name: demo\n"},
        {"demo-1.0.dist-info/METADATA": b"1", "demo-2.0.dist-info/METADATA": b"2"},
    ],
    ids=["none", "of another project", "too deep", "two"],
)
def test_wheel_without_exactly_one_metadata_of_its_project_is_refused(members: dict[str, bytes]) -> None:
    with pytest.raises(InvalidDistribution, match="METADATA"):
        read_wheel_metadata(io.BytesIO(zip_of(members)), filename=FILENAME)


def test_metadata_folder_may_spell_the_name_in_another_way() -> None:
    content = zip_of({"Demo-1.0.dist-info/METADATA": b"Name: Demo\n"})
    assert read_wheel_metadata(io.BytesIO(content), filename=FILENAME) == b"Name: Demo\n"


def test_metadata_that_inflates_without_bound_is_refused() -> None:
    content = zip_of({"demo-1.0.dist-info/METADATA": bytes(9 * 1024 * 1024)})
    with pytest.raises(InvalidDistribution, match="bytes"):
        read_wheel_metadata(io.BytesIO(content), filename=FILENAME)


def test_directory_that_would_begin_before_the_file_is_refused() -> None:
    """Found by the fuzzer below: zipfile raises a bare ValueError."""
    content = bytearray(zip_of(wheel_members()))
    content[-22 + 12 : -22 + 16] = len(content).to_bytes(4, "little")
    with pytest.raises(InvalidDistribution, match="cannot be read"):
        read_wheel_metadata(io.BytesIO(bytes(content)), filename=FILENAME)


def test_member_that_would_begin_before_the_file_is_refused() -> None:
    """Found by a fuzzer: zipfile gives it a place before the first byte, which was asked of upstream."""
    content = bytearray(zip_of(wheel_members()))
    content[-22 + 16 : -22 + 20] = (len(content) + 200).to_bytes(4, "little")
    partial = PartialFile(len(content))
    partial.add(0, bytes(content))
    with pytest.raises(InvalidDistribution, match="cannot be read"):
        read_wheel_metadata(partial, filename=FILENAME)


@given(st.data())
def test_damaged_wheel_is_refused_or_read_but_breaks_nothing(data: st.DataObject) -> None:
    content = bytearray(zip_of(wheel_members()))
    for _ in range(data.draw(st.integers(1, 8))):
        position = data.draw(st.integers(0, len(content) - 1))
        content[position] = data.draw(st.integers(0, 255))
    with contextlib.suppress(InvalidDistribution):
        read_wheel_metadata(io.BytesIO(bytes(content)), filename=FILENAME)
