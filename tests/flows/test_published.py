"""Published files of 2008 to 2026, sent unchanged: accepted, or refused by the rules that are expected."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

import pytest
import urllib3
from urllib3.filepost import encode_multipart_formdata

from flows.published import ACCEPTED, Published, fetch, published_files, upload_fields
from running_stores import running_store
from upload_streams import AUTHORIZATION, WAIT_SECONDS

if TYPE_CHECKING:
    from pathlib import Path

    from figures import Figures

FILES = published_files()


@pytest.mark.timeout(900)
@pytest.mark.parametrize(
    "count",
    [
        pytest.param(sum(file.is_in_make_test for file in FILES), id="those of make test"),
        pytest.param(len(FILES), id="all", marks=pytest.mark.torture),
    ],
)
def test_published_files_are_accepted_or_refused_by_the_expected_rule(
    count: int, tmp_path: Path, figures: Figures
) -> None:
    files = FILES if count == len(FILES) else [file for file in FILES if file.is_in_make_test]
    contents = fetch(files)
    with (
        running_store(tmp_path / "data") as store,
        urllib3.PoolManager(retries=False, timeout=WAIT_SECONDS) as pool,
    ):
        found = {file.filename: _outcome(pool, store.url, file, contents[file.filename]) for file in files}
    expected = {file.filename: file.outcome for file in files}
    assert {name: said for name, said in found.items() if said != expected[name]} == {}
    accepted = sum(said == ACCEPTED for said in found.values())
    figures("published files sent", accepted=accepted, refused=len(found) - accepted)


def _outcome(pool: urllib3.PoolManager, url: str, file: Published, content: bytes) -> str:
    body, content_type = encode_multipart_formdata(
        [*upload_fields(file, content), ("content", (file.filename, content, "application/octet-stream"))]
    )
    headers = {**AUTHORIZATION, "Content-Type": content_type}
    answer = pool.request("POST", f"{url}/unstable/legacy/", body=body, headers=headers)
    if answer.status == 200:
        return ACCEPTED
    rules = re.findall(r"\[([a-z-]+)\]$", answer.data.decode(), flags=re.MULTILINE)
    return "+".join(sorted(set(rules))) or answer.data.decode()


def test_the_table_is_large_and_covers_the_years() -> None:
    assert len(FILES) >= 300
    assert len({file.filename for file in FILES}) == len(FILES)
    assert len({file.project for file in FILES}) >= 20
    assert sum(file.is_in_make_test for file in FILES) == 40
    assert any(file.outcome != ACCEPTED for file in FILES if file.is_in_make_test)
