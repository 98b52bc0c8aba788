"""Receivers and triggers on the command line."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

import pytest

from conveyor.cli import run
from makers import copy_prepared_store

if TYPE_CHECKING:
    from pathlib import Path

URL = "https://hooks.example.org/room"


@pytest.fixture
def data(tmp_path: Path) -> str:
    copy_prepared_store(tmp_path / "store")
    return str(tmp_path / "store")


def test_secret_is_printed_once_and_a_receiver_can_be_listed_tried_and_removed(
    data: str, capsys: pytest.CaptureFixture[str]
) -> None:
    words = ["--event", "release.promoted", "--index", "stable", "--project", "tumor*"]
    assert run(["store", "notify", "add", URL, *words, "--data", data]) == 0
    receiver, secret = capsys.readouterr().out.splitlines()
    assert secret.startswith("its secret: whsec_")
    assert run(["store", "notify", "list", "--data", data]) == 0
    told = capsys.readouterr().out
    assert "whsec_" not in told
    assert told.splitlines()[1].split()[:5] == [receiver, URL, "release.promoted", "stable", "tumor*"]
    assert run(["store", "notify", "test", receiver, "--data", data]) == 0
    message = capsys.readouterr().out.strip()
    assert run(["store", "notify", "deliveries", "--receiver", receiver, "--json", "--data", data]) == 0
    (sent,) = json.loads(capsys.readouterr().out)
    assert (sent["id"], sent["type"], sent["state"], sent["attempts"]) == (message, "ping", "waiting", 0)
    assert run(["store", "notify", "redeliver", message, "--data", data]) == 6
    assert "was not sent yet" in capsys.readouterr().err
    assert run(["store", "notify", "remove", receiver, "--data", data]) == 0
    assert run(["store", "notify", "remove", receiver, "--data", data]) == 5
    assert f"conveyor store notify list --data {data}" in capsys.readouterr().err


def test_address_that_is_refused_names_every_fault(data: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["store", "notify", "add", "http://10.0.0.1/", "--json", "--data", data]) == 2
    problem = json.loads(capsys.readouterr().out)
    assert len(problem["faults"]) == 2
    assert run(["store", "notify", "add", "mailto:qa@team.example", "--json", "--data", data]) == 0
    made = json.loads(capsys.readouterr().out)
    assert (made["secret"], made["receiver"]["url"]) == (None, "mailto:qa@team.example")


def test_repository_says_what_requests_runs_of_it(data: str, capsys: pytest.CaptureFixture[str]) -> None:
    words = ["store", "repository", "add", "lung", "https://git.example.org/lung.git", "--branch", "main"]
    more = ["--schedule", "weekly mon 03:00", "--on-release", "numpy", "--on-release", "tumor"]
    assert run([*words, *more, "--data", data]) == 0
    capsys.readouterr()
    assert run(["store", "repository", "list", "--json", "--data", data]) == 0
    (told,) = json.loads(capsys.readouterr().out)
    assert (told["schedule"], told["on_release"]) == ("weekly mon 03:00", ["numpy", "tumor"])
    assert told["next_run_at"].endswith("T03:00:00.000000Z")
    assert run([*words, "--schedule", "at tea", "--data", data]) == 2
    assert "no schedule" in capsys.readouterr().err
