"""The demo's proof of origin: what pip installed, held against what the store's log says it served."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

import pytest

from conveyor.cli.demo import story
from conveyor.cli.demo.proof import prove_origin, read_pip_report, read_served_files
from conveyor.client.store import StoreClient
from conveyor.errors import StepFailed
from conveyor.server.api.direct import DirectConnection
from distributions_made import make_wheel
from makers import make_store
from readers import upload
from releases_made import ADMIN

if TYPE_CHECKING:
    from pathlib import Path

OWN, OTHER = "a" * 64, "b" * 64


def write_report(folder: Path, *items: tuple[str, str]) -> Path:
    """A pip installation report of (project, digest)."""
    path = folder / "report.json"
    install = [
        {
            "metadata": {"name": name, "version": "1.0"},
            "download_info": {
                "url": f"http://127.0.0.1:1/packages/{digest}/{name}-1.0-py3-none-any.whl",
                "archive_info": {"hashes": {"sha256": digest}},
            },
        }
        for name, digest in items
    ]
    path.write_text(json.dumps({"install": install}), encoding="utf-8")
    return path


def write_log(folder: Path, *items: tuple[str, str], agent: str = "pip/26.3", status: int = 200) -> Path:
    """An access log of files served: (digest, index that supplied it)."""
    path = folder / "access.log"
    lines = [
        {
            "time": "2026-11-21T08:00:00.000000Z",
            "method": "GET",
            "path": f"/packages/{digest}/some-1.0-py3-none-any.whl",
            "status": status,
            "bytes": 1,
            "agent": agent,
            "supplied_by": index,
            "user": None,
        }
        for digest, index in items
    ]
    path.write_text("".join(json.dumps(line) + "\n" for line in lines), encoding="utf-8")
    return path


def prove(folder: Path, log: Path, *installed: tuple[str, str]) -> dict[str, int]:
    files = read_pip_report(write_report(folder, *installed))
    served = read_served_files(log, agent="pip/")
    return dict(prove_origin(files, served, own="tumor", stage="stable", mirror="pypi"))


def test_files_that_the_store_served_are_counted_by_the_index_that_supplied_them(tmp_path: Path) -> None:
    log = write_log(tmp_path, (OWN, "stable"), (OTHER, "pypi"))
    assert prove(tmp_path, log, ("tumor", OWN), ("numpy", OTHER)) == {"stable": 1, "pypi": 1}


def test_an_installed_file_that_the_store_never_served_fails_the_proof(tmp_path: Path) -> None:
    log = write_log(tmp_path, (OWN, "stable"))
    with pytest.raises(StepFailed, match=r"numpy-1\.0-py3-none-any\.whl was installed, but"):
        prove(tmp_path, log, ("tumor", OWN), ("numpy", OTHER))


def test_a_file_served_to_another_client_proves_nothing_for_pip(tmp_path: Path) -> None:
    log = write_log(tmp_path, (OWN, "stable"), agent="uv/0.13.8")
    with pytest.raises(StepFailed, match="was installed, but"):
        prove(tmp_path, log, ("tumor", OWN))


def test_an_own_file_supplied_by_another_index_fails_the_proof(tmp_path: Path) -> None:
    log = write_log(tmp_path, (OWN, "unstable"))
    with pytest.raises(StepFailed, match="was supplied by unstable, not by stable"):
        prove(tmp_path, log, ("tumor", OWN))


def test_a_consumer_without_the_project_fails_the_proof(tmp_path: Path) -> None:
    log = write_log(tmp_path, (OTHER, "pypi"))
    with pytest.raises(StepFailed, match="tumor was not installed at all"):
        prove(tmp_path, log, ("numpy", OTHER))


def test_release_that_did_not_arrive_is_not_looked_for_on_a_server_that_has_ended(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The story ends its store before anybody reads the hint."""
    store = make_store(tmp_path)
    upload(store, make_wheel("tumor", "0.1.0"))
    client = StoreClient(DirectConnection(store, ADMIN, name="here"))
    monkeypatch.setattr(story, "connect", lambda *_, **__: client)
    with pytest.raises(StepFailed) as caught:
        story.expect_index("http://127.0.0.1:9", "token", "0.1.0", "stable")
    assert "127.0.0.1" not in (caught.value.hint or "")
    assert (caught.value.hint or "").endswith("conveyor why tumor 0.1.0 --data FOLDER/store")
