from __future__ import annotations

import pytest

from conveyor.domain.indexes.projects import ProjectSize, check_project_size
from conveyor.errors import TooLarge


def test_project_over_the_limit_of_the_store_is_refused() -> None:
    check_project_size(10, ProjectSize(5, None), name="demo", store_limit_bytes=15)
    with pytest.raises(
        TooLarge, match="demo has 6 bytes, and with the 10 of this file it would have more than 15"
    ) as raised:
        check_project_size(10, ProjectSize(6, None), name="demo", store_limit_bytes=15)
    assert raised.value.hint == (
        "an administrator can give it a higher limit: conveyor store limit demo BYTES"
    )


@pytest.mark.parametrize("of_the_store", [None, 1, 1000])
def test_limit_of_a_project_counts_before_that_of_the_store(of_the_store: int | None) -> None:
    check_project_size(10, ProjectSize(5, 15), name="demo", store_limit_bytes=of_the_store)
    with pytest.raises(TooLarge, match="more than 15"):
        check_project_size(10, ProjectSize(6, 15), name="demo", store_limit_bytes=of_the_store)


def test_project_without_any_limit_takes_everything() -> None:
    check_project_size(10**12, ProjectSize(10**12, None), name="demo", store_limit_bytes=None)
