"""What a push asks for."""

from __future__ import annotations

from conveyor.pipeline.carrying.trigger import Push, read_pushes

OLD, NEW, ZERO = "a" * 40, "b" * 40, "0" * 40


def test_pushed_tag_is_asked_for_by_its_full_name() -> None:
    assert read_pushes([f"{ZERO} {NEW} refs/tags/v1.0.0rc1\n"]) == [
        Push("refs/tags/v1.0.0rc1", "refs/tags/v1.0.0rc1")
    ]


def test_pushed_tag_of_a_project_in_a_folder_is_asked_for() -> None:
    ref = "refs/tags/demo/v1.0.0"
    assert read_pushes([f"{ZERO} {NEW} {ref}\n"]) == [Push(ref, ref)]


def test_pushed_branch_is_asked_for_by_its_commit() -> None:
    assert read_pushes([f"{OLD} {NEW} refs/heads/team/main\n"]) == [Push("refs/heads/team/main", NEW)]


def test_deleted_refs_and_tags_that_are_no_releases_ask_for_nothing() -> None:
    lines = [
        f"{OLD} {ZERO} refs/tags/v1.0.0",
        f"{OLD} {'0' * 64} refs/heads/main",
        f"{ZERO} {NEW} refs/tags/latest",
        f"{ZERO} {NEW} refs/tags/model-churn-7",
        f"{ZERO} {NEW} refs/notes/commits",
        "not a line of git",
        "",
    ]
    assert [(push.wanted, push.reason) for push in read_pushes(lines)] == [
        (None, "deleted"),
        (None, "deleted"),
        (None, "not a release tag"),
        (None, "not a release tag"),
        (None, "neither a branch nor a tag"),
    ]
