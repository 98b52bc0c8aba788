from __future__ import annotations

import json
import stat
import subprocess
import sys
from dataclasses import replace
from typing import TYPE_CHECKING

import pytest

from conveyor.client.credentials import (
    WorkerCredentials,
    load_credentials,
    make_key_pair,
    reserve_credentials,
    save_credentials,
    sign_statement,
)
from conveyor.domain.people.keys import key_id, read_public_key
from conveyor.domain.words.notation import PAYLOAD_TYPE
from conveyor.errors import Conflict, InvalidInput, StorageFailed

if TYPE_CHECKING:
    from pathlib import Path


def make_credentials() -> WorkerCredentials:
    return WorkerCredentials("http://127.0.0.1:1", "worker-1", "conveyor-x", make_key_pair().private_pem)


def test_credentials_are_loaded_as_they_were_saved(tmp_path: Path) -> None:
    for credentials in (make_credentials(), WorkerCredentials(None, 'odd "name"', "t\\n", "line\nline\n")):
        save_credentials(tmp_path / "worker.toml", credentials)
        assert load_credentials(tmp_path / "worker.toml") == credentials


def test_file_is_readable_by_its_owner_alone(tmp_path: Path) -> None:
    path = tmp_path / "worker.toml"
    path.write_text("")
    path.chmod(0o644)
    save_credentials(path, make_credentials())
    assert stat.S_IMODE(path.stat().st_mode) == 0o600


def test_existing_file_is_not_written_over(tmp_path: Path) -> None:
    path = tmp_path / "worker.toml"
    path.write_text("precious")
    with pytest.raises(Conflict):
        reserve_credentials(path)
    assert path.read_text() == "precious"
    with pytest.raises(StorageFailed):
        reserve_credentials(tmp_path / "no" / "folder")


def test_room_is_reserved_for_the_credentials_before_a_key_is_registered(tmp_path: Path) -> None:
    program = (
        "import resource, sys; from pathlib import Path; from conveyor.client import credentials\n"
        "resource.setrlimit(resource.RLIMIT_FSIZE, (100, 100))\n"
        "credentials.reserve_credentials(Path(sys.argv[1]))"
    )
    path = tmp_path / "worker.toml"
    called = subprocess.run([sys.executable, "-c", program, str(path)], capture_output=True, text=True)
    assert f"StorageFailed: {path} cannot be written: File too large\nhint: " in called.stderr
    assert not path.exists()
    reserve_credentials(path)
    save_credentials(path, make_credentials())
    assert path.stat().st_size < 4096
    assert load_credentials(path).name == "worker-1"


def test_secrets_are_not_in_the_representation() -> None:
    credentials = make_credentials()
    assert "conveyor-x" not in repr(credentials)
    assert "PRIVATE" not in repr(credentials)
    assert "PRIVATE" not in repr(make_key_pair())


def test_token_is_loaded_without_white_space_and_a_broken_one_is_not_repeated(tmp_path: Path) -> None:
    path = tmp_path / "worker.toml"
    save_credentials(path, replace(make_credentials(), token=" conveyor-x\r\n"))
    assert load_credentials(path).token == "conveyor-x"
    save_credentials(path, replace(make_credentials(), token="hunter2\nhunter3"))
    with pytest.raises(InvalidInput) as caught:
        load_credentials(path)
    assert str(path) in caught.value.message
    assert "hunter" not in str(caught.value)


@pytest.mark.parametrize("text", ["", "name = 1", "not toml at all [", 'name = "x"\ntoken = "y"'])
def test_file_that_holds_no_credentials_is_refused_with_what_to_do(tmp_path: Path, text: str) -> None:
    path = tmp_path / "worker.toml"
    path.write_text(text)
    with pytest.raises(InvalidInput) as caught:
        load_credentials(path)
    assert "conveyor store worker add" in (caught.value.hint or "")
    with pytest.raises(InvalidInput):
        load_credentials(tmp_path / "gone.toml")


def test_envelope_names_the_key_by_the_digest_of_its_public_half() -> None:
    pair = make_key_pair()
    credentials = WorkerCredentials(None, "worker-1", "", pair.private_pem)
    envelope = json.loads(sign_statement(b"{}", credentials))
    assert envelope["payloadType"] == PAYLOAD_TYPE
    assert [one["keyid"] for one in envelope["signatures"]] == [key_id(read_public_key(pair.public_pem))]


def test_same_statement_gives_the_same_envelope() -> None:
    credentials = make_credentials()
    assert sign_statement(b"{}", credentials) == sign_statement(b"{}", credentials)
    assert sign_statement(b"{}", credentials) != sign_statement(b"{ }", credentials)


def test_key_that_is_no_ed25519_key_is_refused() -> None:
    with pytest.raises(InvalidInput):
        sign_statement(b"{}", WorkerCredentials(None, "worker-1", "", "nonsense"))
