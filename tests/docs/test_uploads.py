"""The page on uploads says what the code does."""

from __future__ import annotations

from conveyor.domain.archives import GIBIBYTE, MEBIBYTE, ArchiveLimits
from conveyor.domain.metadata import NEWEST_METADATA_VERSION
from docs.markdown import page

PAGE = "docs/reference/uploads.md"


def test_limits_on_the_page_are_those_of_the_code() -> None:
    limits, text = ArchiveLimits(), page(PAGE).text
    assert f"at most {limits.members:,} members" in text
    unpacked = f"{limits.expanded_bytes // GIBIBYTE} GiB or, above {limits.ratio_free_bytes // MEBIBYTE} MiB"
    assert f"not over {unpacked}, {limits.ratio} times its own size" in text
    assert f"up to version {NEWEST_METADATA_VERSION}" in text
