"""``conveyor store yank``, ``delete`` and ``status``, on a folder."""

from __future__ import annotations

import io
import json
from typing import TYPE_CHECKING

import pytest
from packaging.utils import canonicalize_name

from conveyor.cli import run
from conveyor.operations.indexes.pages import find_page
from distributions_made import make_sdist, make_wheel
from makers import make_store
from readers import upload

if TYPE_CHECKING:
    from pathlib import Path

    from conveyor.domain.indexes.simple_api import ProjectPage

WHEEL, SDIST = make_wheel(), make_sdist()


@pytest.fixture
def data(tmp_path: Path) -> str:
    store = make_store(tmp_path / "store")
    upload(store, WHEEL)
    upload(store, SDIST)
    return str(tmp_path / "store")


def page(data: Path) -> ProjectPage:
    return find_page(make_store(data), "unstable", canonicalize_name("demo")).page


def test_yank_says_what_it_did_and_can_be_taken_back(
    data: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run(["store", "yank", "demo", "1.0", "--reason", "bad", "--data", data]) == 0
    assert capsys.readouterr().out.splitlines() == [
        "demo 1.0 is yanked",
        f'  {WHEEL.filename} in "unstable"',
        f'  {SDIST.filename} in "unstable"',
    ]
    assert {file.yank_reason for file in page(tmp_path / "store").files} == {"bad"}
    undo = ["store", "yank", "demo", "1.0", "--file", WHEEL.filename, "--undo", "--json", "--data", data]
    assert run(undo) == 0
    said = json.loads(capsys.readouterr().out)
    assert (said["is_yanked"], said["files"]) == (False, [{"index": "unstable", "filename": WHEEL.filename}])
    assert [file.is_yanked for file in page(tmp_path / "store").files] == [False, True]


@pytest.mark.parametrize(
    ("arguments", "hint"),
    [
        (["9.9"], "its releases here are 1.0"),
        (["9.9", "--file", "x.whl"], "its releases here are 1.0"),
        (["1.0", "--index", "stable"], f'its files are {WHEEL.filename} in "unstable"'),
        (["1.0", "--file", "x.whl"], f'its files are {WHEEL.filename} in "unstable"'),
    ],
)
def test_yank_of_what_is_not_there_says_what_is(
    data: str, arguments: list[str], hint: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run(["store", "yank", "demo", *arguments, "--data", data]) == 5
    assert f"hint: {hint}" in capsys.readouterr().err


@pytest.mark.parametrize("stdin", [io.StringIO(""), None])
def test_delete_without_anybody_to_ask_says_that_yes_is_needed(
    stdin: io.StringIO | None, data: str, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("sys.stdin", stdin)
    assert run(["store", "delete", "demo", "1.0", "--data", data]) == 2
    assert capsys.readouterr().err.splitlines()[-2:] == [
        "InvalidInput: the deletion is not confirmed: standard input is closed",
        "hint: confirm it with --yes",
    ]


def test_delete_asks_first(
    data: str, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("sys.stdin", io.StringIO("n\n"))
    assert run(["store", "delete", "demo", "1.0", "--data", data]) == 130
    assert "Delete demo 1.0 for good?" in capsys.readouterr().err
    assert len(page(tmp_path / "store").files) == 2
    assert run(["store", "delete", "demo", "1.0", "--file", SDIST.filename, "--yes", "--data", data]) == 0
    assert capsys.readouterr().out.splitlines() == ["1 file of demo deleted", f"  {SDIST.filename}"]
    assert [file.filename for file in page(tmp_path / "store").files] == [WHEEL.filename]


def test_status_is_shown_and_set(data: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["store", "status", "demo", "--data", data]) == 0
    assert run(["store", "status", "demo", "archived", "--reason", "see other", "--data", data]) == 0
    assert run(["store", "status", "demo", "--json", "--data", data]) == 0
    first, second, *rest = capsys.readouterr().out.splitlines()
    assert (first, second) == ("demo is active", "demo is archived: see other")
    said = {"project": "demo", "status": "archived", "reason": "see other", "is_known": True}
    assert json.loads("".join(rest)) == said
    assert page(tmp_path / "store").status.name == "archived"


def test_status_of_a_name_that_nothing_is_known_of_is_set_with_a_note(
    data: str, capsys: pytest.CaptureFixture[str]
) -> None:
    for arguments in (["tpyo", "active"], ["tpyo", "quarantined"], ["tpyo"]):
        assert run(["store", "status", *arguments, "--data", data]) == 0
        assert capsys.readouterr().err == 'note: nothing of "tpyo" is here yet\n'
    assert run(["store", "status", "demo", "deprecated", "--data", data]) == 0
    assert capsys.readouterr().err == ""


@pytest.mark.parametrize(
    "arguments",
    [
        ["yank", "demo", "1.0", "--undo", "--reason", "bad"],
        ["delete", "demo", "--file", WHEEL.filename],
        ["status", "demo", "--reason", "bad"],
        ["status", "demo", "limbo"],
    ],
)
def test_options_that_contradict_each_other_are_refused(data: str, arguments: list[str]) -> None:
    assert run(["store", *arguments, "--data", data]) == 2


def test_what_is_not_there_is_one_clear_error(data: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["store", "yank", "demo", "9.9", "--data", data]) == 5
    assert run(["store", "delete", "other", "--yes", "--data", data]) == 5
    assert run(["store", "status", "other", "--data", data]) == 5
    assert capsys.readouterr().err.count("NotFound: there is no ") == 3


def test_refused_promotion_writes_its_verdicts_as_the_one_json_document(
    data: str, capsys: pytest.CaptureFixture[str]
) -> None:
    where = ["--to", "stable", "--from", "unstable", "--json", "--data", data]
    assert run(["store", "promote", "demo", "1.0", *where]) == 4
    captured = capsys.readouterr()
    said = json.loads(captured.out)
    assert (said["title"], said["status"]) == ("PromotionRefused", 403)
    assert [verdict["gate"] for verdict in said["verdicts"]] == ["tests", "qa-signature", "final-version"]
    assert captured.err.startswith("PromotionRefused: demo 1.0 may not enter")


def test_what_is_not_here_is_a_json_document_too(data: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["why", "nothing", "1.0", "--json", "--data", data]) == 5
    said = json.loads(capsys.readouterr().out)
    assert (said["title"], said["status"]) == ("NotFound", 404)


def test_rollback_says_first_what_it_does_to_whom(
    data: str, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    store = make_store(tmp_path / "store")
    for name, version, requires in (
        ("demo", "1.1", "x"),
        ("user", "1.0", "Demo>=1"),
        ("other", "2.0", "demo==1.1"),
        ("early", "1.0", "demo<1"),
    ):
        text = f"Metadata-Version: 2.1\nName: {name}\nVersion: {version}\nRequires-Dist: {requires}\n"
        upload(store, make_wheel(name, version, metadata=text.encode()))
    words = ["store", "rollback", "demo", "1.1", "--reason", "wrong figures", "--data", data]
    monkeypatch.setattr("sys.stdin", io.StringIO("n\n"))
    assert run(words) != 0
    assert not any(file.is_yanked for file in page(tmp_path / "store").files)
    capsys.readouterr()
    assert run([*words, "--yes"]) == 0
    assert capsys.readouterr().out.splitlines() == [
        "new installations get demo 1.0",
        'other 2.0 in "unstable" requires demo==1.1, and accepts no other version that is here',
        'user 1.0 in "unstable" requires Demo>=1',
        "demo 1.1 is yanked",
        '  demo-1.1-py3-none-any.whl in "unstable"',
    ]
    yanked = {file.filename for file in page(tmp_path / "store").files if file.is_yanked}
    assert yanked == {"demo-1.1-py3-none-any.whl"}
    assert run(["store", "rollback", "demo", "1.0", "--reason", "all of it", "--yes", "--data", data]) == 0
    assert capsys.readouterr().out.startswith("new installations find no demo any more\n")
