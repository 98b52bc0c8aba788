"""What is unreleased becomes the section of a version, and nothing else of the file changes."""

from __future__ import annotations

from textwrap import dedent

from conveyor.domain.words.names import Version
from conveyor.project.changelog import Written, with_release

KEPT = dedent(
    """\
    # Changelog

    Introduction.

    ## [Unreleased]

    ### Added

    - One thing
      in two lines

    ### Fixed

    ## [1.0.0] - 2026-01-01

    ```
    ## Unreleased
    ```

    [unreleased]: https://code.example/compare/v1.0.0...HEAD
    [1.0.0]: https://code.example/tags/v1.0.0
    """
)


def release(
    text: str | None, version: str = "1.1.0", *, subjects: tuple[str, ...] = (), date: str = "2026-11-29"
) -> Written:
    tags = (f"v{version}", "v1.0.0")
    return with_release(text, Version(version), date=date, subjects=subjects, tags=tags)


def test_unreleased_entries_move_under_version_and_date() -> None:
    expected = KEPT.replace(
        "## [Unreleased]\n\n### Added\n\n- One thing\n  in two lines\n\n### Fixed\n",
        "## [Unreleased]\n\n## [1.1.0] - 2026-11-29\n\n### Added\n\n- One thing\n  in two lines\n",
    ).replace(
        "compare/v1.0.0...HEAD\n",
        "compare/v1.1.0...HEAD\n[1.1.0]: https://code.example/compare/v1.0.0...v1.1.0\n",
    )
    made = release(KEPT, subjects=("not this",))
    assert made.text == expected
    assert made.section == "## [1.1.0] - 2026-11-29\n\n### Added\n\n- One thing\n  in two lines\n"
    assert not made.is_from_commits


def test_second_candidate_of_an_unchanged_changelog_changes_nothing() -> None:
    first = release(KEPT)
    assert release(first.text, date="2026-12-24", subjects=("later",)).text == first.text


def test_second_candidate_adds_to_the_section_of_the_first() -> None:
    first = release(KEPT).text.replace(
        "## [Unreleased]\n", "## [Unreleased]\n\n### Added\n\n- Two\n\n### Fixed\n\n- Bug\n"
    )
    assert release(first).section == (
        "## [1.1.0] - 2026-11-29\n\n### Added\n\n- One thing\n  in two lines\n- Two\n\n### Fixed\n\n- Bug\n"
    )


def test_file_is_made_from_commits_where_there_is_none_and_grows_with_them() -> None:
    first = release(None, subjects=("Second", "First"))
    assert first.is_from_commits
    assert first.section == "## 1.1.0 - 2026-11-29\n\n- Second\n- First\n"
    assert first.text.startswith("# Changelog\n")
    again = release(first.text, subjects=("Third", "Second", "First"))
    assert again.section == "## 1.1.0 - 2026-11-29\n\n- Third\n- Second\n- First\n"
    following = release(again.text, "1.2.0", subjects=("Fourth",)).text
    assert following.index("## 1.2.0") < following.index("## 1.1.0")


def test_section_written_by_hand_stays() -> None:
    text = "# Changes\n\n## 1.1.0 - 2026-10-10\n\nWritten by hand.\n"
    assert release(text, subjects=("A commit",)).text == text
