from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime, timedelta

import pytest
from packaging.utils import canonicalize_name

from conveyor.domain.indexes.mirror import (
    ABSENT_FOR,
    FRESH_FOR,
    FileChanges,
    FileFacts,
    MirroredFile,
    MirroredProject,
    UpstreamFile,
    is_due,
    is_sound_filename,
    merge,
    page_file,
    unsized,
    with_facts,
)
from conveyor.domain.words.notation import utc_text

NOW = datetime(2026, 11, 21, 8, 0, tzinfo=UTC)
DEMO = canonicalize_name("demo")
OFFERED = UpstreamFile("demo-1.0-py3-none-any.whl", "http://files/demo", "ab" * 32)


def merged(known: list[MirroredFile], offered: list[UpstreamFile], *, at: datetime = NOW) -> FileChanges:
    rows = {file.filename: file for file in known}
    return merge(rows, offered, index="pypi", project=DEMO, now=at)


def first(offered: UpstreamFile = OFFERED) -> MirroredFile:
    (row,) = merged([], [offered]).added
    return row


def test_same_page_changes_nothing() -> None:
    assert merged([first()], [OFFERED], at=NOW + timedelta(days=1)).is_empty


def test_time_that_upstream_names_later_replaces_the_first_seen_one() -> None:
    (after,) = merged([first()], [replace(OFFERED, upload_time="2020-01-01T00:00:00.000000Z")]).changed
    assert (after.upload_time, after.is_upload_time_first_seen) == ("2020-01-01T00:00:00.000000Z", False)


def test_what_was_filled_in_stays_as_long_as_the_bytes_are_the_same() -> None:
    known = replace(first(), size_bytes=5, metadata_sha256="cd" * 32, is_stored=True)
    (after,) = merged([known], [replace(OFFERED, is_yanked=True)], at=NOW + timedelta(days=1)).changed
    assert after == replace(known, is_yanked=True)


def test_other_bytes_under_the_same_name_begin_anew() -> None:
    known = replace(first(), size_bytes=5, metadata_sha256="cd" * 32, is_stored=True)
    later = NOW + timedelta(days=1)
    (after,) = merged([known], [replace(OFFERED, sha256="ef" * 32)], at=later).changed
    assert (after.size_bytes, after.metadata_sha256, after.is_stored) == (None, None, False)
    assert after.upload_time == utc_text(later)


def test_of_a_filename_named_twice_the_first_counts() -> None:
    change = merged([], [OFFERED, replace(OFFERED, sha256="ef" * 32)])
    assert [file.sha256 for file in change.added] == ["ab" * 32]


def test_facts_of_other_bytes_are_not_taken() -> None:
    facts = FileFacts(OFFERED.filename, "ef" * 32, 10, None)
    assert with_facts(first(), facts) == first()


def test_upstreams_own_size_and_time_are_kept() -> None:
    known = first(replace(OFFERED, size_bytes=5, upload_time="2020-01-01T00:00:00.000000Z"))
    facts = FileFacts(OFFERED.filename, "ab" * 32, 10, "2021-01-01T00:00:00.000000Z")
    assert with_facts(known, facts) == known


@pytest.mark.parametrize(("is_present", "lasts"), [(True, FRESH_FOR), (False, ABSENT_FOR)])
def test_page_is_asked_for_again_after_its_time(is_present: bool, lasts: timedelta) -> None:
    known = MirroredProject("pypi", "demo", is_present, None, utc_text(NOW))
    assert is_due(None, NOW)
    assert not is_due(known, NOW + lasts - timedelta(microseconds=1))
    assert is_due(known, NOW + lasts)


def test_sizes_of_the_newest_versions_are_asked_for_first() -> None:
    names = ["demo-1.9.tar.gz", "demo-1.10.tar.gz", "demo.exe", "demo-1.2.tar.gz"]
    files = [first(replace(OFFERED, filename=name)) for name in names]
    known = replace(files[0], filename="demo-3.tar.gz", size_bytes=1)
    assert [file.filename for file in unsized([*files, known])] == [
        "demo-1.10.tar.gz",
        "demo-1.9.tar.gz",
        "demo-1.2.tar.gz",
        "demo.exe",
    ]


def test_metadata_of_a_wheel_is_always_promised_of_an_sdist_only_when_upstream_has_it() -> None:
    sdist = replace(OFFERED, filename="demo-1.0.tar.gz")
    assert page_file(first()).has_metadata
    assert not page_file(first(sdist)).has_metadata
    assert page_file(first(replace(sdist, has_metadata=True))).has_metadata


@pytest.mark.parametrize("name", ["demo-1.0.tar.gz", "Démo-1.0.zip", "demo 1.0.zip"])
def test_foreign_filename_is_taken(name: str) -> None:
    assert is_sound_filename(name)


@pytest.mark.parametrize("name", ["", ".", "../x", "a/b", "a\\b", "a\nb", "a\x00b", "\ud800.whl", "x" * 513])
def test_foreign_filename_is_refused(name: str) -> None:
    assert not is_sound_filename(name)


def test_metadata_that_cannot_be_read_stays_so_until_the_bytes_or_what_is_beside_them_change() -> None:
    known = replace(first(), is_metadata_unreadable=True)
    assert not page_file(known).has_metadata
    (yanked,) = merged([known], [replace(OFFERED, is_yanked=True)]).changed
    assert not yanked.has_metadata
    for news in (
        replace(OFFERED, sha256="ef" * 32),
        replace(OFFERED, has_metadata=True),
        replace(OFFERED, has_metadata=True, metadata_sha256="cd" * 32),
    ):
        (after,) = merged([known], [news]).changed
        assert after.has_metadata


def test_provenance_that_was_fetched_stays_as_long_as_its_address_does() -> None:
    offered = replace(OFFERED, provenance_url="http://files/demo.provenance")
    known = replace(first(offered), provenance_sha256="cd" * 32)
    (same,) = merged([known], [replace(offered, is_yanked=True)]).changed
    assert same.provenance_sha256 == "cd" * 32
    (moved,) = merged([known], [replace(offered, provenance_url="http://files/new")]).changed
    assert moved.provenance_sha256 is None
    (gone,) = merged([known], [OFFERED]).changed
    assert (page_file(known).has_provenance, page_file(gone).has_provenance) == (True, False)


def test_sdist_offers_metadata_when_some_was_read_out_of_it() -> None:
    sdist = first(replace(OFFERED, filename="demo-1.0.tar.gz"))
    assert not page_file(sdist).has_metadata
    read = page_file(replace(sdist, metadata_sha256="cd" * 32))
    assert (read.has_metadata, read.metadata_sha256) == (True, "cd" * 32)
