"""Reading repositories as the keeper does: real git over https and ssh, credentials of one repository."""

from __future__ import annotations

import os
import stat
import subprocess
from typing import TYPE_CHECKING

import pytest

from certificates import make_certificate
from conveyor.domain.runs.repositories import Reach
from conveyor.errors import Conflict, Forbidden, InvalidInput, NotFound, ProjectError
from conveyor.pipeline.engine import remotes
from conveyor.pipeline.engine.isolation import Workplace
from conveyor.pipeline.engine.keyring import add_credentials, list_credentials, remove_credentials
from conveyor.pipeline.jobs.sources import clone_into, resolve
from conveyor.project.clones import clone_tag
from conveyor.project.git import all_tags, changed_files, resolve_commit
from git_hosts import running_git_over_https, running_sshd
from pipeline.projects import git, make_project

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from git_hosts import GitHost

LOCAL = True
SECRET = "glpat-5b1e-not-in-any-log"


@pytest.fixture
def hosted(tmp_path: Path) -> Path:
    """A folder with the bare repositories ``demo`` and ``other``, each tagged v1.0.0."""
    root = tmp_path / "srv"
    root.mkdir()
    for name in ("demo", "other"):
        made = make_project(tmp_path / name, name=name)
        git(made, "tag", "v1.0.0")
        git(root, "clone", "-q", "--bare", str(made), name)
    return root


@pytest.fixture
def host(hosted: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[GitHost]:
    certificate = make_certificate(tmp_path / "tls")
    monkeypatch.setenv("GIT_SSL_CAINFO", certificate[0])
    monkeypatch.setenv("GIT_CONFIG_GLOBAL", os.devnull)
    with running_git_over_https(hosted, certificate) as host:
        yield host


def secret_file(path: Path, text: str, mode: int = 0o600) -> Path:
    path.write_text(text)
    path.chmod(mode)
    return path


def place_for(folder: Path, *urls: str) -> Workplace:
    reach = Reach(dict.fromkeys(urls, LOCAL), folders=False)
    return Workplace(folder / "run", cache=folder / "cache", reach=reach, keyring=folder / "repositories")


def test_token_opens_its_repository_and_no_other_and_goes_to_no_other_address(
    host: GitHost, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    private, other = f"{host.url}/demo", f"{host.url}/other"
    host.passwords = {"demo": f"ci:{SECRET}", "other": f"ci:{SECRET}"}
    place = place_for(tmp_path, private, other)
    with pytest.raises(ProjectError) as refused:
        resolve_commit(place.remote(private), "v1.0.0")
    assert "conveyor pipeline credentials add URL" in str(refused.value.hint)
    token = secret_file(tmp_path / "token", f"{SECRET}\n")
    add_credentials(tmp_path / "repositories", f"{private}/", token_file=token, user="ci")
    # 1. Its own repository, by every question that a run asks.
    where = place.remote(private)
    assert all_tags(where) == ("v1.0.0",)
    clone_tag(where, "v1.0.0", place.fresh("checkout"))
    assert (place.folder / "checkout" / "pyproject.toml").is_file()
    # 2. No trace of it: not in the clone, in what is said of the repository, or in what is written.
    for file in (one for one in place.folder.rglob("*") if one.is_file()):
        assert SECRET.encode() not in file.read_bytes(), file
    assert SECRET not in f"{where}{where!r}{capfd.readouterr()}"
    # 3. Not for another repository of the same host, and not where the host redirects to.
    del host.asked[:]
    with pytest.raises(ProjectError):
        resolve_commit(place.remote(other), "v1.0.0")
    host.redirects = {"demo": other}
    with pytest.raises(ProjectError) as moved:
        resolve_commit(place.remote(private), "v1.0.0")
    assert "under the address it has now" in str(moved.value.hint)
    assert {path.split("/")[1] for path, given in host.asked if given} == {"demo"}


def test_deploy_key_opens_its_repository_over_ssh(hosted: Path, tmp_path: Path) -> None:
    with running_sshd(tmp_path / "ssh") as server:
        url = f"ssh://127.0.0.1:{server.port}{hosted}/demo"
        place = place_for(tmp_path, url)
        keyring = tmp_path / "repositories"
        stranger = secret_file(tmp_path / "strangers", f"[127.0.0.1]:{server.port} {_another_key(tmp_path)}")
        add_credentials(keyring, url, key=server.key, known_hosts=stranger)
        with pytest.raises(ProjectError) as unknown:  # a host that shows another key is not talked to
            resolve_commit(place.remote(url), "v1.0.0")
        assert "--known-hosts FILE" in str(unknown.value.hint)
        remove_credentials(keyring, url)
        add_credentials(keyring, url, key=server.key, known_hosts=server.known_hosts)
        clone_tag(place.remote(url), "v1.0.0", place.fresh("checkout"))
        assert (place.folder / "checkout" / "pyproject.toml").is_file()


def _another_key(folder: Path) -> str:
    made = ["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", str(folder / "another")]
    subprocess.run(made, check=True)
    return (folder / "another.pub").read_text()


@pytest.mark.parametrize(
    ("spoil", "said"),
    [
        (lambda folder: (folder / "token").chmod(0o640), "has mode 0640"),
        (lambda folder: folder.chmod(0o755), "has mode 0755"),
        (lambda folder: (folder / "token").unlink(), "neither a key nor a token"),
        (lambda folder: os.chown(folder / "token", 4711, -1), "belongs to user 4711"),
    ],
)
def test_credentials_that_lie_open_are_refused(tmp_path: Path, spoil: object, said: str) -> None:
    url, keyring = "https://git.example.org/demo", tmp_path / "repositories"
    add_credentials(keyring, url, token_file=secret_file(tmp_path / "token", SECRET))
    (folder,) = keyring.iterdir()
    assert {stat.S_IMODE(one.stat().st_mode) for one in folder.iterdir()} == {0o600}
    assert [one.url for one in list_credentials(keyring)] == [url]
    assert SECRET not in repr(list_credentials(keyring))
    if "4711" in said and os.geteuid() != 0:
        pytest.skip("only root can give a file away")
    assert callable(spoil)
    spoil(folder)
    with pytest.raises(InvalidInput, match=said):
        list_credentials(keyring)
    remove_credentials(keyring, url)
    with pytest.raises(NotFound):
        remove_credentials(keyring, url)


def test_credentials_that_cannot_be_kept_are_refused_with_every_fault(tmp_path: Path) -> None:
    keyring, token = tmp_path / "repositories", secret_file(tmp_path / "token", "two words", 0o644)
    with pytest.raises(InvalidInput) as refused:
        add_credentials(keyring, "ssh://git@example.org/demo", token_file=token, user="a:b")
    said = "\n".join(refused.value.faults)
    for fault in ("a token is for https", "has mode 0644", "the user is not one"):
        assert fault in said
    with pytest.raises(InvalidInput, match="holds credentials"):
        add_credentials(keyring, f"https://x:{SECRET}@example.org/demo", token_file=token)
    key = secret_file(tmp_path / "key", "ssh-ed25519 AAAA")
    with pytest.raises(InvalidInput, match="is not a private SSH key"):
        add_credentials(keyring, "git@example.org:demo", key=key)
    token = secret_file(tmp_path / "token", SECRET)
    add_credentials(keyring, "https://example.org/demo", token_file=token)
    with pytest.raises(Conflict, match="already"):
        add_credentials(keyring, "https://example.org/demo/", token_file=token)


def test_repository_is_read_only_as_it_is_registered(
    hosted: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    public = "https://git.example.org/demo"
    registered = Reach({public: False, "/srv/known": True}, folders=False)
    for url, said in (
        ("https://git.example.org/other", "no administrator has registered"),
        (str(hosted / "demo"), "no administrator has registered"),
    ):
        with pytest.raises(Forbidden, match=said):
            remotes.remote(url, registered, None)
    assert remotes.remote("/srv/known", registered, None).variables == {"GIT_ALLOW_PROTOCOL": "file"}
    assert remotes.remote(str(hosted / "demo"), Reach(), None).url == str(hosted / "demo")
    # A name that leads to this machine, as a resolver may say at any time.
    monkeypatch.setattr(remotes, "getproxies", dict)
    local = Reach({"https://localhost/demo": False})
    with pytest.raises(Forbidden, match="a loopback address"):
        remotes.remote("https://localhost/demo", local, None)
    # By no other protocol, whatever the user's settings make of an address.
    settings = {"GIT_CONFIG_COUNT": "1", "GIT_CONFIG_KEY_0": "url.http://127.0.0.1:9/.insteadOf",
                "GIT_CONFIG_VALUE_0": "/srv/known"}  # fmt: skip
    for name, value in settings.items():
        monkeypatch.setenv(name, value)
    with pytest.raises(ProjectError, match="transport 'http' not allowed"):
        all_tags(remotes.remote("/srv/known", registered, None))


def test_submodules_come_only_from_where_the_run_may_read(host: GitHost, tmp_path: Path) -> None:
    """The registered one with its credentials; not those of other projects, nor folders of the worker."""
    wanted = {
        "libs/other": "../other",
        "libs/secret": "../secret",
        "vendor/here": str(host.root / "secret"),
        "vendor/ssh": "ssh://git@localhost/other",
        "vendor/elsewhere": "https://git.example.org/lib",
        "vendor/ext": "ext::true",
    }
    commit = git(tmp_path / "other", "rev-parse", "HEAD")
    (tmp_path / "demo" / ".gitmodules").write_text(
        "".join(f'[submodule "{path}"]\n\tpath = {path}\n\turl = {url}\n' for path, url in wanted.items())
    )
    for path in (*wanted, "vendor/unnamed"):
        git(tmp_path / "demo", "update-index", "--add", "--cacheinfo", f"160000,{commit},{path}")
    git(tmp_path / "demo", "add", ".gitmodules")
    git(tmp_path / "demo", "commit", "-q", "-m", "with submodules")
    git(host.root / "demo", "fetch", "-q", str(tmp_path / "demo"), "+main:main")
    git(host.root, "clone", "-q", "--bare", str(host.root / "other"), "secret")
    host.passwords = {"other": f"ci:{SECRET}", "secret": f"ci:{SECRET}"}
    place = place_for(tmp_path, f"{host.url}/demo", f"{host.url}/other")
    token = secret_file(tmp_path / "token", SECRET)
    for name in ("other", "secret"):  # that of another project is known to this worker too
        add_credentials(tmp_path / "repositories", f"{host.url}/{name}", token_file=token, user="ci")
    source = resolve(place.remote(f"{host.url}/demo"), "main").value
    checkout = clone_into(place, source, "checkout")
    # 1. The registered one is there, at its commit, and the clone counts as unchanged.
    assert git(checkout / "libs/other", "rev-parse", "HEAD") == commit
    assert (checkout / "libs/other/pyproject.toml").is_file()
    assert changed_files(checkout) == ()
    # 2. Each of the others is an empty folder, and the log says why.
    said = place.read_log("checkout submodules")
    for path in set(wanted) - {"libs/other"}:
        assert list((checkout / path).iterdir()) == []
        assert f"left out: {path}: " in said
    assert "vendor/unnamed: .gitmodules names no URL" in said
    assert {path.split("/")[1] for path, given in host.asked if given} == {"other"}
