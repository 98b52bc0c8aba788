"""Commands on users, tokens, signers, workers, claims and promotions: on a folder and against a server."""

from __future__ import annotations

import json
import shlex
import stat
import subprocess
import sys
from dataclasses import dataclass
from typing import TYPE_CHECKING

import pytest

from conveyor.cli.release import check_key
from conveyor.client.credentials import load_credentials
from conveyor.client.store import StoreClient, connect
from conveyor.domain.indexes.definitions import NewIndex
from conveyor.domain.people.keys import NewSigner, parse_public_key
from conveyor.errors import ProjectError
from distributions_made import make_wheel
from releases_made import make_ssh_key, public_key
from running_stores import running_store, serve_environment

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path


@dataclass(frozen=True)
class Shell:
    """Calls the command as people do, with the options that say which store is meant."""

    where: tuple[str, ...]
    token: str | None
    url: str

    def __call__(self, *words: str, stdin: str = "") -> subprocess.CompletedProcess[str]:
        environment = serve_environment(**({"CONVEYOR_TOKEN": self.token} if self.token else {}))
        return subprocess.run(
            [sys.executable, "-m", "conveyor", *words, *self.where],
            env=environment,
            input=stdin,
            capture_output=True,
            text=True,
            check=False,
        )

    def succeeds(self, *words: str, stdin: str = "") -> str:
        """Standard output of a call that must succeed and say nothing on standard error."""
        done = self(*words, stdin=stdin)
        assert (done.returncode, done.stderr) == (0, "")
        return done.stdout

    def makes_token(self, *options: str) -> str:
        """A new token, as it stands alone on standard output."""
        done = self("store", "token", "create", *options)
        assert done.returncode == 0, done.stderr
        return done.stdout.removesuffix("\n")

    def admin(self) -> StoreClient:
        """An administrator's client of the same store."""
        made = self.token or self.makes_token("--user", "admin")
        return connect(self.url, token=made)


@pytest.fixture(scope="module", params=["folder", "server"])
def shell(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Shell]:
    """The same store, once by its folder and once by its server."""
    with running_store(tmp_path_factory.mktemp("cli") / "store") as served:
        on_folder = Shell(("--data", str(served.data)), None, served.url)
        if request.param == "folder":
            yield on_folder
        else:
            token = on_folder.makes_token("--user", "admin")
            yield Shell(("--url", served.url), token, served.url)


def test_token_stands_alone_on_standard_output_and_works(shell: Shell) -> None:
    token = shell.makes_token("--user", "admin", "--scope", "read")
    assert token.startswith("conveyor-")
    assert token.split() == [token]
    with connect(shell.url, token=token) as client:
        assert isinstance(client.runs.newest(), tuple)


def test_token_is_listed_and_revoked(shell: Shell) -> None:
    shell.succeeds("store", "user", "add", "robot", "--scope", "upload", "--scope", "read")
    made = shell("store", "token", "create", "--user", "robot", "--description", "for CI")
    (token,) = json.loads(shell.succeeds("store", "token", "list", "--user", "robot", "--json"))
    assert (token["scopes"], token["description"]) == (["read", "upload"], "for CI")
    assert "for CI" in shell.succeeds("store", "token", "list")
    assert made.stderr == f"this is token {token['id']} of robot\n"
    assert shell.succeeds("store", "token", "revoke", str(token["id"])).endswith("is revoked\n")
    again = shell("store", "token", "revoke", str(token["id"]))
    assert again.returncode == 5
    assert again.stderr.startswith("NotFound: ")


def test_narrowed_token_is_listed_as_such_below_aligned_headings(shell: Shell) -> None:
    shell.succeeds("store", "user", "add", "a-user-with-quite-a-long-name")
    for user, *narrowing in (
        ("a-user-with-quite-a-long-name",),
        ("admin", "--scope", "upload", "--index", "unstable", "--project", "tumor", "--project", "risk"),
    ):
        shell.makes_token("--user", user, *narrowing)
    headings, *lines = shell.succeeds("store", "token", "list").splitlines()
    whole, narrowed = lines[-2:]
    scopes, reach, state = (headings.index(heading) for heading in ("SCOPES", "ONLY FOR", "STATE"))
    assert (whole[scopes:reach].strip(), whole[reach:state].strip()) == ("read", "-")
    assert narrowed[scopes:reach].strip() == "upload"
    assert narrowed[reach:state].strip() == "index unstable; project risk,tumor"
    assert narrowed[state:].startswith("valid  ")


def test_initial_password_goes_from_its_file_when_admin_gets_another(tmp_path: Path) -> None:
    with running_store(tmp_path / "store") as served:
        initial = served.data / "initial-admin-password"
        initial.touch()
        there = Shell(("--data", str(served.data)), None, served.url)
        there.succeeds("store", "user", "add", "max")
        there.succeeds("store", "user", "password", "max", stdin="a long enough password\n")
        assert initial.exists()
        there.succeeds("store", "user", "password", "admin", stdin="a long enough password\n")
        assert not initial.exists()


def test_user_signs_in_with_the_password_read_from_standard_input(shell: Shell) -> None:
    from urllib3 import make_headers, request

    shell.succeeds("store", "user", "add", "ada", "--with-password", stdin="a long enough password\n")
    headers = make_headers(basic_auth="ada:a long enough password")
    assert request("GET", f"{shell.url}/api/v1/runs", headers=headers).status == 200


def test_changed_password_and_disabled_user_count_from_the_next_request(shell: Shell) -> None:
    from urllib3 import make_headers, request

    def answer_to(password: str) -> int:
        headers = make_headers(basic_auth=f"eve:{password}")
        return request("GET", f"{shell.url}/api/v1/runs", headers=headers).status

    shell.succeeds("store", "user", "add", "eve", "--with-password", stdin="a long enough password\n")
    assert answer_to("a long enough password") == 200
    said = shell("store", "user", "password", "eve", stdin="another good password\n")
    assert (said.stdout.strip(), said.stderr) == (
        "eve has a new password; tokens of eve that still work: 0", "",
    )  # fmt: skip
    assert (answer_to("a long enough password"), answer_to("another good password")) == (401, 200)
    too_short = shell("store", "user", "password", "eve", stdin="short\n")
    assert too_short.returncode != 0
    assert "a password has 8 to 1024 characters" in too_short.stderr
    shell.succeeds("store", "user", "disable", "eve")
    assert answer_to("another good password") == 401
    nobody = shell("store", "user", "disable", "nobody")
    assert (nobody.returncode, nobody.stderr.split(":")[0]) == (5, "NotFound")


def test_new_password_revokes_tokens_when_asked_to(shell: Shell) -> None:
    shell.succeeds("store", "user", "add", "noa")
    assert shell("store", "token", "create", "--user", "noa").returncode == 0
    command = ("store", "user", "password", "noa")
    kept = shell(*command, stdin="a long enough password\n")
    assert kept.stdout.strip().endswith("tokens of noa that still work: 1")
    assert "conveyor store token list --user noa --" in kept.stderr
    revoked = shell(*command, "--revoke-tokens", stdin="a long enough password\n")
    assert revoked.stdout.strip().endswith("tokens of noa that still work: 0")
    assert "revoked" in shell.succeeds("store", "token", "list", "--user", "noa")


def test_signer_is_added_listed_and_revoked(shell: Shell, tmp_path: Path) -> None:
    key = make_ssh_key(tmp_path)
    public = str(key.with_suffix(".pub"))
    shell.succeeds("store", "signer", "add", "qa@team.example", "--key", public)
    assert "qa@team.example" in shell.succeeds("store", "signer", "list")
    again = shell("store", "signer", "add", "qa@team.example", "--key", public)
    assert (again.returncode, again.stderr.split(":")[0]) == (6, "Conflict")
    shell.succeeds("store", "signer", "revoke", "qa@team.example")
    listed = json.loads(shell.succeeds("store", "signer", "list", "--json"))
    assert all(signer["revoked_at"] for signer in listed)


def test_key_of_a_final_is_asked_of_the_store_where_that_is_allowed(
    shell: Shell, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    public = public_key(make_ssh_key(tmp_path))
    key = parse_public_key(public)
    monkeypatch.delenv("CONVEYOR_URL", raising=False)
    monkeypatch.delenv("CONVEYOR_TOKEN", raising=False)
    assert "was not checked: CONVEYOR_URL names none" in check_key(key)
    monkeypatch.setenv("CONVEYOR_URL", shell.url)
    assert "was not checked (" in check_key(key)
    monkeypatch.setenv("CONVEYOR_TOKEN", shell.token or shell.makes_token("--user", "admin"))
    with pytest.raises(ProjectError, match=r"SHA256:\S+ that signed the tag is not registered at http"):
        check_key(key)
    admin = shell.admin()
    admin.signers.add(NewSigner("final@localhost", public_key=public))
    assert check_key(key).endswith(", of final@localhost")
    admin.signers.revoke("final@localhost")
    with pytest.raises(ProjectError, match=r"of final@localhost was revoked at http"):
        check_key(key)


def test_private_key_is_never_taken_for_a_signers(shell: Shell, tmp_path: Path) -> None:
    refused = shell("store", "signer", "add", "x@team.example", "--key", str(make_ssh_key(tmp_path)))
    assert refused.returncode == 2
    assert "private key" in refused.stderr
    assert "BEGIN" not in refused.stderr


def test_worker_gets_credentials_that_the_store_knows(shell: Shell, tmp_path: Path) -> None:
    path = tmp_path / "worker.toml"
    shell.succeeds("store", "worker", "add", "worker-1", "--credentials", str(path))
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    credentials = load_credentials(path)
    assert credentials.name == "worker-1"
    assert (credentials.store_url or "").rstrip("/") == shell.url
    with connect(shell.url, token=credentials.token) as client:
        assert client.runs.claim("worker-1") is None
    assert "worker-1" in shell.succeeds("store", "worker", "list")


def test_worker_is_told_of_another_url_of_the_store(shell: Shell, tmp_path: Path) -> None:
    path = tmp_path / "worker.toml"
    url = "https://store.team.example/"
    assert url in shell.succeeds("store", "worker", "add", "far", "--credentials", str(path), "--store", url)
    assert load_credentials(path).store_url == url


def test_credentials_of_a_store_that_was_never_served_name_none_and_say_so(tmp_path: Path) -> None:
    with running_store(tmp_path / "store"):
        pass
    (tmp_path / "store" / "served-at").unlink()
    path = tmp_path / "worker.toml"
    done = Shell(("--data", str(tmp_path / "store")), None, "")(
        "store", "worker", "add", "early", "--credentials", str(path)
    )
    assert done.returncode == 0
    assert (
        done.stderr == "they name no URL, because this store was never served: give the worker --store URL\n"
    )
    assert load_credentials(path).store_url is None


def test_command_in_a_hint_works_when_copied(shell: Shell) -> None:
    missing = shell("store", "token", "create", "--user", "later")
    hint = missing.stderr.rstrip().rpartition("hint: ")[2]
    assert hint == f"make it first: conveyor store user add later {' '.join(shell.where)}"
    command = shlex.split(hint.partition(": conveyor ")[2])
    assert Shell((), shell.token, shell.url)(*command).returncode == 0
    assert shell("store", "token", "create", "--user", "later").returncode == 0


def test_stranger_is_told_where_a_token_comes_from(shell: Shell) -> None:
    refused = Shell(("--url", shell.url), None, shell.url)("store", "user", "add", "stranger")
    assert refused.returncode == 3
    assert "hint: put a token into CONVEYOR_TOKEN; " in refused.stderr
    assert refused.stderr.endswith("conveyor store token create --user NAME --data DIR\n")


def test_worker_that_is_refused_leaves_no_file(shell: Shell, tmp_path: Path) -> None:
    path = tmp_path / "worker.toml"
    refused = shell("store", "worker", "add", "admin", "--credentials", str(path))
    assert refused.returncode == 6
    assert not path.exists()


def test_credentials_are_not_written_over(shell: Shell, tmp_path: Path) -> None:
    path = tmp_path / "worker.toml"
    path.write_text("precious")
    refused = shell("store", "worker", "add", "worker-9", "--credentials", str(path))
    assert refused.returncode == 6
    assert path.read_text() == "precious"
    assert "worker-9" not in shell.succeeds("store", "worker", "list")


def test_claim_is_made_once(shell: Shell) -> None:
    assert shell.succeeds("store", "claim", "tumor") == "tumor is claimed\n"
    assert shell.succeeds("store", "claim", "tumor") == "tumor was already claimed\n"
    assert shell.succeeds("store", "claim", "risk", "--prefix") == "risk is claimed\n"


def test_refused_promotion_shows_one_verdict_per_gate_and_ends_with_4(shell: Shell, tmp_path: Path) -> None:
    with shell.admin() as client:
        client.files.upload("unstable", make_wheel().write(tmp_path))
    refused = shell("store", "promote", "demo", "1.0", "--to", "stable", "--from", "unstable")
    assert (refused.returncode, refused.stdout) == (4, "")
    lines = refused.stderr.splitlines()
    assert lines[0].startswith("PromotionRefused: demo 1.0 may not enter")
    assert [line.split()[:2] for line in lines if line[:3] == "  w" or line[:3] == "  p"] == [
        ["waiting", "tests:"],
        ["waiting", "qa-signature:"],
        ["pass", "final-version:"],
    ]
    assert "Traceback" not in refused.stderr


def test_promotion_prints_what_moved(shell: Shell, tmp_path: Path) -> None:
    with shell.admin() as client:
        client.indexes.add(NewIndex("shared", mode="promotion-only"))
        client.indexes.add(NewIndex("dev", mode="uploads", bases=("shared",)))
        client.files.upload("dev", make_wheel("moving").write(tmp_path))
    moved = shell.succeeds("store", "promote", "moving", "1.0", "--to", "shared")
    assert moved == 'moving 1.0 moved from "dev" to "shared"\n  moving-1.0-py3-none-any.whl\n'
    again = json.loads(shell.succeeds("store", "promote", "moving", "1.0", "--to", "shared", "--json"))
    assert (again["from"], again["to"], again["files"]) == (None, "shared", ["moving-1.0-py3-none-any.whl"])


def test_why_says_what_each_gate_says_and_what_to_do(shell: Shell, tmp_path: Path) -> None:
    with shell.admin() as client:
        client.files.upload("unstable", make_wheel("asking", "1.0rc1").write(tmp_path))
    output = shell.succeeds("why", "asking", "1.0rc1")
    assert output.startswith('asking 1.0rc1 is in "unstable"; to enter "testing":\n')
    assert "waiting    tests: no tests evidence for asking-1.0rc1-py3-none-any.whl" in output
    assert "→ run the testing job: conveyor pipeline test asking 1.0rc1" in output
    found = json.loads(shell.succeeds("why", "asking", "1.0rc1", "--to", "stable", "--json"))
    assert {verdict["gate"]: verdict["outcome"] for verdict in found["verdicts"]} == {
        "tests": "waiting",
        "qa-signature": "waiting",
        "final-version": "fail",
    }


def test_why_of_nothing_is_not_found(shell: Shell) -> None:
    missing = shell("why", "nothing", "1.0")
    assert (missing.returncode, missing.stdout) == (5, "")
    assert missing.stderr.startswith("NotFound: there is no nothing 1.0")


def test_why_of_another_version_names_those_that_are_there(shell: Shell, tmp_path: Path) -> None:
    with shell.admin() as client:
        for version in ("1.9", "1.10"):
            client.files.upload("unstable", make_wheel("misspelt", version).write(tmp_path))
    missing = shell("why", "misspelt", "2.0")
    assert missing.returncode == 5
    assert missing.stderr.endswith("hint: its releases here are 1.10, 1.9\n")


def test_command_wants_one_store(shell: Shell, tmp_path: Path) -> None:
    nowhere = Shell((), None, shell.url)
    both = Shell(("--data", str(tmp_path), "--url", shell.url), None, shell.url)
    for one in (nowhere, both):
        done = one("store", "claim", "x")
        assert done.returncode == 2
        assert "either --data DIR or --url URL" in done.stderr


def test_server_that_is_not_there_is_told_without_a_traceback() -> None:
    done = Shell(("--url", "http://127.0.0.1:9"), "conveyor-x", "")("store", "claim", "x")
    assert done.returncode == 7
    assert done.stderr.startswith("StoreUnreachable: http://127.0.0.1:9 does not answer")
    assert "Traceback" not in done.stderr
