from __future__ import annotations

import pytest

from conveyor.domain.indexes.projects import (
    ACTIVE,
    STATUS_NAMES,
    ProjectStatus,
    must_accept_uploads,
    must_offer_files,
    shown_status,
    status_from,
)
from conveyor.errors import Forbidden


def test_each_status_allows_what_the_standard_says() -> None:
    allowed = {
        name: (ProjectStatus(name).accepts_uploads, ProjectStatus(name).offers_files) for name in STATUS_NAMES
    }
    assert allowed == {
        "active": (True, True),
        "archived": (False, True),
        "deprecated": (True, True),
        "quarantined": (False, False),
    }


def test_refusal_names_the_status_and_its_reason() -> None:
    with pytest.raises(Forbidden, match=r"demo is archived \(see demo2\) and takes no new files"):
        must_accept_uploads("demo", ProjectStatus("archived", "see demo2"))
    with pytest.raises(Forbidden, match="demo is quarantined: none of its files"):
        must_offer_files("demo", ProjectStatus("quarantined"))


@pytest.mark.parametrize("word", [None, "", "limbo", "Archived"])
def test_word_that_no_standard_knows_counts_as_active(word: str | None) -> None:
    assert status_from(word, "why") == ACTIVE


def test_decision_of_the_store_is_shown_before_that_of_an_upstream() -> None:
    archived, deprecated = ProjectStatus("archived"), ProjectStatus("deprecated")
    assert shown_status(deprecated, [archived]) == deprecated
    assert shown_status(ACTIVE, [ACTIVE, archived, deprecated]) == archived
    assert shown_status(ACTIVE, []) == ACTIVE
