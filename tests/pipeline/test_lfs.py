"""Files of Git LFS, pushed by its own client to a host over TLS, and fetched by the keeper."""

from __future__ import annotations

import json
import os
import subprocess
from typing import TYPE_CHECKING

import pytest

from certificates import make_certificate
from conveyor.domain.runs.repositories import Reach
from conveyor.errors import Forbidden, ProjectError
from conveyor.pipeline.engine import lfs
from conveyor.pipeline.engine.isolation import Workplace
from conveyor.pipeline.engine.keyring import add_credentials
from conveyor.pipeline.jobs.sources import clone_into, resolve
from conveyor.project.git import changed_files
from git_hosts import running_git_over_https, running_sshd
from pipeline.projects import git, make_project

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from git_hosts import GitHost

WEIGHTS, TABLE = bytes(range(256)) * 4000, b"a,b\n1,2\n" * 500
SECRET = "glpat-lfs-not-in-any-log"


@pytest.fixture
def checkout(tmp_path: Path) -> Path:
    """A project with two files that Git LFS keeps, one of them executable, and a text about pointers."""
    folder = make_project(tmp_path / "demo")
    git(folder, "lfs", "install", "--local")
    git(folder, "config", "lfs.allowincompletepush", "true")  # it takes the text for a pointer as well
    git(folder, "lfs", "track", "*.bin", "*.csv")
    (folder / "src/demo/weights.bin").write_bytes(WEIGHTS)
    (folder / "tests/a [table]*.csv").write_bytes(TABLE)
    (folder / "tests/a [table]*.csv").chmod(0o755)
    (folder / "pointers.txt").write_text(
        f"version https://git-lfs.github.com/spec/v1\noid sha256:{'0' * 64}\nsize 1\n"
    )
    git(folder, "add", "--all")
    git(folder, "commit", "-q", "-m", "with large files")
    git(folder, "tag", "v1.0.0")
    return folder


@pytest.fixture
def host(checkout: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[GitHost]:
    """A host to which they were pushed by git and git-lfs."""
    certificate = make_certificate(tmp_path / "tls")
    monkeypatch.setenv("GIT_SSL_CAINFO", certificate[0])
    monkeypatch.setenv("GIT_CONFIG_GLOBAL", os.devnull)
    (tmp_path / "srv").mkdir()
    git(tmp_path / "srv", "init", "-q", "--bare", "-b", "main", "demo")
    git(tmp_path / "srv" / "demo", "config", "http.receivepack", "true")
    with running_git_over_https(tmp_path / "srv", certificate) as host:
        git(checkout, "push", "-q", f"{host.url}/demo", "main", "v1.0.0")
        assert sorted(host.objects.values()) == sorted([WEIGHTS, TABLE])
        del host.asked[:]
        yield host


def place_for(folder: Path, *urls: str, is_local: bool = True) -> Workplace:
    reach = Reach(dict.fromkeys(urls, is_local), folders=True)
    return Workplace(folder / "run", cache=folder / "cache", reach=reach, keyring=folder / "repositories")


def cloned(place: Workplace, repository: str) -> Path:
    source = resolve(place.remote(repository), "v1.0.0").value
    return clone_into(place, source, "checkout")


def is_whole(clone: Path) -> bool:
    assert (clone / "pointers.txt").read_text().startswith("version")
    return (clone / "src/demo/weights.bin").read_bytes() == WEIGHTS


def test_clone_holds_the_files_and_counts_as_unchanged(host: GitHost, tmp_path: Path) -> None:
    url = f"{host.url}/demo"
    host.passwords = {"demo": f"ci:{SECRET}"}
    token = tmp_path / "token"
    token.write_text(SECRET)
    token.chmod(0o600)
    add_credentials(tmp_path / "repositories", url, token_file=token, user="ci")
    clone = cloned(place_for(tmp_path, url), url)
    assert is_whole(clone)
    assert (clone / "tests/a [table]*.csv").read_bytes() == TABLE
    assert (clone / "tests/a [table]*.csv").stat().st_mode & 0o777 == 0o755
    assert changed_files(clone) == ()
    # Also in a copy, whose files git looks into again, and where one of them differs.
    subprocess.run(["cp", "-r", clone, tmp_path / "copy"], check=True)
    assert changed_files(tmp_path / "copy") == ()
    (tmp_path / "copy/src/demo/weights.bin").write_bytes(WEIGHTS + b"x")
    assert changed_files(tmp_path / "copy") == ("src/demo/weights.bin",)
    # The token went to the repository's own server alone, and is nowhere in the clone.
    assert {path.split("/")[1] for path, given in host.asked if given} == {"demo", "demo.git"}
    assert {path.split("/")[1] for path, _ in host.asked} == {"demo", "demo.git", "objects"}
    assert not [one for one in clone.rglob("*") if one.is_file() and SECRET.encode() in one.read_bytes()]


def test_host_says_over_ssh_where_they_are(host: GitHost, tmp_path: Path) -> None:
    with running_sshd(tmp_path / "ssh") as server:
        gate, told = tmp_path / "ssh" / "gate", tmp_path / "ssh" / "told"
        told.write_text(json.dumps({"href": f"{host.url}/demo.git/info/lfs", "header": {"X-Ticket": "1"}}))
        gate.write_text(
            f'#!/bin/sh\ncase "$SSH_ORIGINAL_COMMAND" in git-lfs-authenticate*) exec cat {told};; esac\n'
            'exec sh -c "$SSH_ORIGINAL_COMMAND"\n'
        )
        gate.chmod(0o755)
        allowed = tmp_path / "ssh" / "authorized"
        allowed.write_text(allowed.read_text().replace("restrict ", f'restrict,command="{gate}" '))
        url = f"ssh://127.0.0.1:{server.port}{host.root}/demo"
        keyring = tmp_path / "repositories"
        add_credentials(keyring, url, key=server.key, known_hosts=server.known_hosts)
        clone = cloned(place_for(tmp_path, url), url)
    assert is_whole(clone)
    assert {path.split("/")[1] for path, _ in host.asked} == {"demo.git", "objects"}


def test_folder_of_this_machine_gives_what_its_own_client_has_fetched(checkout: Path, tmp_path: Path) -> None:
    clone = cloned(place_for(tmp_path), str(checkout))
    assert is_whole(clone)
    assert changed_files(clone) == ()


@pytest.mark.parametrize("spoiled", ["gone", "other bytes", "elsewhere", "no server"])
def test_file_that_cannot_be_had_stays_a_pointer_and_the_log_says_why(
    host: GitHost, tmp_path: Path, spoiled: str
) -> None:
    url = f"{host.url}/demo"
    (oid,) = (one for one, content in host.objects.items() if content == WEIGHTS)
    said = {
        "gone": "the server says: it was never pushed",
        "other bytes": "the server gives other bytes than the commit names",
        "elsewhere": "127.0.0.1 cannot be asked for files of Git LFS",
        "no server": "/demo.git/info/lfs answers 404 to a question for files of Git LFS",
    }[spoiled]
    if spoiled == "gone":
        del host.objects[oid]
    elif spoiled == "other bytes":
        host.objects[oid] = WEIGHTS[:-1] + b"x"
    elif spoiled == "elsewhere":
        host.objects_url = "https://127.0.0.1:9"
    else:
        host.is_without_lfs = True
    place = place_for(tmp_path, url)
    clone = cloned(place, url)
    assert (clone / "src/demo/weights.bin").read_bytes().startswith(b"version https://git-lfs")
    assert changed_files(clone) == ()
    assert f"left out: src/demo/weights.bin: {said}" in place.read_log("checkout lfs").replace(host.url, "")


def test_server_leads_to_no_private_address_and_off_https_nowhere(
    host: GitHost, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(lfs, "getproxies", dict)
    monkeypatch.setattr("conveyor.pipeline.engine.remotes.getproxies", dict)
    public = lfs.Server("https://git.example.org/demo.git/info/lfs", {}, is_local=False)
    wanted = lfs.Pointer("0" * 64, 1)
    for href, refused in (
        (f"{host.url}/objects/{wanted.sha256}", "localhost.*a loopback address"),
        ("https://169.254.169.254/latest", "a link-local address"),
        ("http://git.example.org/x", "not asked by http"),
        ("file:///etc/passwd", "not asked by file"),
    ):
        told = {"actions": {"download": {"href": href}}}
        with pytest.raises((Forbidden, ProjectError), match=refused):
            lfs._download(public, told, wanted, tmp_path / "target")
    assert host.asked == []
