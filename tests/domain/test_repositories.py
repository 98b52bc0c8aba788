"""Which repositories runs may be asked for."""

from __future__ import annotations

import pytest

from conveyor.domain.people.access import Identity
from conveyor.domain.runs.repositories import canonical_url, check_repository, may_start_run
from conveyor.errors import Forbidden, InvalidInput


@pytest.mark.parametrize(
    "url",
    [
        "https://git.example.org/team/demo.git",
        "ssh://git@git.example.org/demo.git",
        "git@git.example.org:demo.git",
        "https://93.184.216.34/demo.git",
    ],
)
def test_public_repository_is_accepted(url: str) -> None:
    check_repository(url, is_local=False)


@pytest.mark.parametrize(
    "url",
    [
        "/srv/demo.git",
        "file:///srv/demo.git",
        "http://127.0.0.1/demo.git",
        "http://127.1/demo.git",
        "http://2130706433/demo.git",
        "http://localhost/demo.git",
        "http://localhost./demo.git",
        "http://gitlab/demo.git",
        "http://[::1]/demo.git",
        "http://[::ffff:10.0.0.1]/demo.git",
        "ssh://git@192.168.1.2/demo.git",
        "git@10.0.0.1:demo.git",
        "http://169.254.169.254/latest",
    ],
)
def test_local_repository_is_accepted_only_as_local(url: str) -> None:
    with pytest.raises(InvalidInput, match="loopback or private") as caught:
        check_repository(url, is_local=False)
    assert "--local" in str(caught.value.hint)
    check_repository(url, is_local=True)


@pytest.mark.parametrize(
    "url",
    [
        "https://user:secret@git.example.org/demo.git",
        "https://ghp_token@git.example.org/demo.git",
        "ssh://git:secret@git.example.org/demo.git",
        "ext::sh -c id",
        "--upload-pack=id",
        "https://[broken",
        "https://git.example.org/\n",
    ],
)
def test_credentials_and_what_git_would_run_are_refused_local_or_not(url: str) -> None:
    for is_local in (False, True):
        with pytest.raises(InvalidInput, match="cannot be registered"):
            check_repository(url, is_local=is_local)


@pytest.mark.parametrize("url", ["demo.git", "../demo", "./a:b", "~/demo"])
def test_relative_path_is_refused_local_or_not(url: str) -> None:
    for is_local in (False, True):
        with pytest.raises(InvalidInput, match="relative path") as caught:
            check_repository(url, is_local=is_local)
        assert caught.value.hint == "name the whole path, from / on"
    with pytest.raises(Forbidden) as refused:
        may_start_run(Identity("ci", frozenset({"run"})), url, (), index="unstable")
    assert refused.value.hint == "name the repository by its URL, or by its whole path"


def test_slashes_at_the_end_name_the_same_repository() -> None:
    assert canonical_url("https://git.example.org/demo/") == "https://git.example.org/demo"
