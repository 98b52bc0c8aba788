from __future__ import annotations

import os
import subprocess
import sys
from dataclasses import fields
from typing import TYPE_CHECKING

import pytest

from conveyor.domain.distributions.archives import ArchiveLimits
from conveyor.domain.notices.mail import MailSettings
from conveyor.errors import InvalidInput
from conveyor.settings import (
    DEFAULT_UPSTREAM_TIMEOUT_SECONDS,
    JOB_GRANTS,
    JobGrants,
    UpstreamSettings,
    job_grants,
    pip_configuration_files,
    redacted,
    store_settings,
    upstream_of_this_machine,
)

if TYPE_CHECKING:
    from pathlib import Path

INDEX = "http://127.0.0.1:9"


@pytest.fixture
def home(tmp_path: Path) -> dict[str, str]:
    """An environment in which pip finds only what a test writes below ``tmp_path``."""
    return {"HOME": str(tmp_path / "home"), "XDG_CONFIG_DIRS": str(tmp_path / "system")}


def write(path: Path, *lines: str) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("\n".join(lines) + "\n")


def test_machine_without_configuration_uses_the_public_index(home: dict[str, str]) -> None:
    from pypi_simple import PYPI_SIMPLE_ENDPOINT

    environment = {**home, "PIP_CONFIG_FILE": os.devnull}
    assert upstream_of_this_machine(environment) == UpstreamSettings(PYPI_SIMPLE_ENDPOINT)


def test_index_url_with_its_certificate_proxy_and_timeout_is_taken_from_the_environment() -> None:
    environment = {
        "PIP_CONFIG_FILE": os.devnull,
        "PIP_INDEX_URL": f"{INDEX}/simple",
        "PIP_CERT": "/ca.pem",
        "PIP_PROXY": "http://127.0.0.1:8/",
        "PIP_DEFAULT_TIMEOUT": "40",
    }
    assert upstream_of_this_machine(environment) == UpstreamSettings(
        f"{INDEX}/simple/", cert="/ca.pem", proxy="http://127.0.0.1:8/", timeout_seconds=40.0
    )


def test_sources_win_in_the_order_that_pip_documents(home: dict[str, str], tmp_path: Path) -> None:
    chosen = tmp_path / "chosen.conf"
    sources = [
        tmp_path / "system" / "pip" / "pip.conf",
        tmp_path / "home" / ".pip" / "pip.conf",
        tmp_path / "home" / ".config" / "pip" / "pip.conf",
    ]
    for number, path in enumerate(sources):
        write(path, "[global]", f"index-url = {INDEX}/{number}/")
        assert upstream_of_this_machine(home).url == f"{INDEX}/{number}/"
    write(chosen, "[global]", f"index_url = {INDEX}/chosen/")
    home["PIP_CONFIG_FILE"] = str(chosen)
    assert upstream_of_this_machine(home).url == f"{INDEX}/chosen/"
    write(sources[0], "[install]", f"index-url = {INDEX}/install/")
    assert upstream_of_this_machine(home).url == f"{INDEX}/install/"
    home["PIP_INDEX_URL"] = f"{INDEX}/variable/"
    assert upstream_of_this_machine(home).url == f"{INDEX}/variable/"


def test_files_are_those_that_pip_itself_would_read(home: dict[str, str], tmp_path: Path) -> None:
    """Compared with what pip says of itself, in the same environment."""
    home["XDG_CONFIG_HOME"] = str(tmp_path / "xdg")
    for path in pip_configuration_files(home):
        if path.is_relative_to(tmp_path):
            write(path, "[global]", "timeout = 1")
    told = subprocess.run(
        [sys.executable, "-m", "pip", "config", "debug"],
        env={**home, "PATH": os.environ["PATH"]},
        check=True,
        capture_output=True,
        text=True,
    ).stdout
    lines = [line.strip() for line in told.splitlines() if ", exists: " in line]
    named = {line.partition(", exists: ")[0] for line in lines}
    assert named == {str(path) for path in pip_configuration_files(home)}


def test_user_files_are_left_out_when_a_file_is_named_that_exists(
    home: dict[str, str], tmp_path: Path
) -> None:
    chosen = tmp_path / "chosen.conf"
    home["PIP_CONFIG_FILE"] = str(chosen)
    assert any("home" in path.parts for path in pip_configuration_files(home))
    write(chosen, "")
    assert not any("home" in path.parts for path in pip_configuration_files(home))


def test_extra_indexes_are_ignored(home: dict[str, str], tmp_path: Path) -> None:
    write(
        tmp_path / "home" / ".pip" / "pip.conf",
        "[global]",
        f"index-url = {INDEX}/one/",
        f"extra-index-url = {INDEX}/two/",
        f"    {INDEX}/three/",
    )
    assert upstream_of_this_machine(home).url == f"{INDEX}/one/"


@pytest.mark.parametrize("url", ["file:///somewhere", "ftp://127.0.0.1/", "simple", "http://"])
def test_index_that_is_no_web_address_is_refused(url: str) -> None:
    with pytest.raises(InvalidInput, match="cannot be mirrored"):
        upstream_of_this_machine({"PIP_CONFIG_FILE": os.devnull, "PIP_INDEX_URL": url})


def test_credentials_of_a_refused_index_are_not_shown() -> None:
    with pytest.raises(InvalidInput) as raised:
        upstream_of_this_machine(
            {"PIP_CONFIG_FILE": os.devnull, "PIP_INDEX_URL": "ftp://me:secret@127.0.0.1/"}
        )
    assert "secret" not in str(raised.value)


def test_timeout_that_is_no_number_and_file_that_is_no_configuration_are_refused(
    home: dict[str, str], tmp_path: Path
) -> None:
    with pytest.raises(InvalidInput, match="soon"):
        upstream_of_this_machine({"PIP_CONFIG_FILE": os.devnull, "PIP_TIMEOUT": "soon"})
    write(tmp_path / "home" / ".pip" / "pip.conf", "no section")
    with pytest.raises(InvalidInput, match=r"pip\.conf"):
        upstream_of_this_machine(home)


def test_upstream_survives_being_stored_and_hides_its_password_when_shown() -> None:
    upstream = UpstreamSettings("https://me:secret@127.0.0.1/simple/", cert="/ca.pem", timeout_seconds=3.0)
    assert UpstreamSettings.from_json(upstream.to_json()) == upstream
    assert "secret" not in repr(upstream)
    assert upstream.redacted_url == "https://****@127.0.0.1/simple/"
    assert redacted("https://127.0.0.1/simple/") == "https://127.0.0.1/simple/"
    assert UpstreamSettings("https://127.0.0.1/").timeout_seconds == DEFAULT_UPSTREAM_TIMEOUT_SECONDS


def test_store_lives_in_its_folder_unless_the_environment_moves_it(tmp_path: Path) -> None:
    plain = store_settings(tmp_path / "my store", environment={})
    assert plain.database_url == f"sqlite:///{tmp_path / 'my store' / 'catalog.sqlite'}"
    assert plain.blobs_url == f"file://{tmp_path}/my%20store/blobs"
    assert (plain.admin_password, plain.upstream, plain.access_log) == (None, None, None)
    moved = store_settings(
        tmp_path,
        environment={
            "CONVEYOR_DATABASE_URL": "postgresql+psycopg://127.0.0.1/conveyor",
            "CONVEYOR_BLOBS_URL": "file:///elsewhere",
            "CONVEYOR_ADMIN_PASSWORD": "secret",
        },
    )
    assert (moved.database_url, moved.blobs_url) == (
        "postgresql+psycopg://127.0.0.1/conveyor",
        "file:///elsewhere",
    )
    assert moved.admin_password == "secret"
    assert "secret" not in repr(moved)


def test_database_password_is_not_in_the_settings_as_shown(tmp_path: Path) -> None:
    settings = store_settings(
        tmp_path, environment={"CONVEYOR_DATABASE_URL": "postgresql+psycopg://me:secret@127.0.0.1/x"}
    )
    assert "secret" not in repr(settings)


def test_limits_of_uploads_are_read_from_the_environment(tmp_path: Path) -> None:
    settings = store_settings(
        tmp_path,
        environment={
            "CONVEYOR_FILE_LIMIT_BYTES": "10",
            "CONVEYOR_PROJECT_LIMIT_BYTES": "20",
            "CONVEYOR_UNPACKED_LIMIT_BYTES": "30",
            "CONVEYOR_UNPACKED_LIMIT_RATIO": "4",
            "CONVEYOR_UNPACKED_LIMIT_MEMBERS": "5",
        },
    )
    assert (settings.file_limit_bytes, settings.project_limit_bytes) == (10, 20)
    limits = settings.archive_limits
    assert (limits.expanded_bytes, limits.ratio, limits.members) == (30, 4, 5)


def test_without_limits_in_the_environment_those_of_the_program_hold(tmp_path: Path) -> None:
    settings = store_settings(tmp_path, environment={"CONVEYOR_PROJECT_LIMIT_BYTES": ""})
    assert settings.archive_limits == ArchiveLimits()
    assert settings.project_limit_bytes is None


@pytest.mark.parametrize("text", ["0", "-1", "4 GiB", "1e9", "9" * 30, "9" * 5000, "٣"])
def test_limit_that_is_no_number_is_refused_by_its_name(tmp_path: Path, text: str) -> None:
    with pytest.raises(InvalidInput, match="CONVEYOR_PROJECT_LIMIT_BYTES is not a whole number above 0"):
        store_settings(tmp_path, environment={"CONVEYOR_PROJECT_LIMIT_BYTES": text})


def test_public_url_is_the_one_that_was_set_and_ends_with_a_slash(tmp_path: Path) -> None:
    given = {"CONVEYOR_PUBLIC_URL": "https://packages.example/store"}
    assert store_settings(tmp_path, environment=given).public_url == "https://packages.example/store/"
    assert store_settings(tmp_path, environment={}).public_url is None
    assert store_settings(tmp_path, host="::1", port=81, environment={}).served_url == "http://[::1]:81/"


@pytest.mark.parametrize(
    "url", ["packages.example", "ftp://packages.example/", "https://", "https://a:secret@b/", "http://b/?x=1"]
)
def test_public_url_that_is_none_is_refused_without_showing_a_password(tmp_path: Path, url: str) -> None:
    with pytest.raises(InvalidInput, match="CONVEYOR_PUBLIC_URL is not the URL of a store") as refused:
        store_settings(tmp_path, environment={"CONVEYOR_PUBLIC_URL": url})
    assert "secret" not in str(refused.value)


def test_trusted_proxies_are_addresses_and_networks(tmp_path: Path) -> None:
    given = {"CONVEYOR_TRUSTED_PROXIES": "127.0.0.1, 10.0.0.0/8,::1"}
    trusted = store_settings(tmp_path, environment=given).trusted_proxies
    assert [str(one) for one in trusted] == ["127.0.0.1/32", "10.0.0.0/8", "::1/128"]
    assert store_settings(tmp_path, environment={}).trusted_proxies == ()
    with pytest.raises(InvalidInput, match="CONVEYOR_TRUSTED_PROXIES is not a list"):
        store_settings(tmp_path, environment={"CONVEYOR_TRUSTED_PROXIES": "proxy.example"})


def test_mail_server_is_named_by_a_url_and_its_password_by_a_file(tmp_path: Path) -> None:
    assert store_settings(tmp_path, environment={}).mail is None
    (tmp_path / "password").write_text("secret\n")
    given = {
        "CONVEYOR_SMTP_URL": "smtp://store%40team.example@mail.example",
        "CONVEYOR_SMTP_PASSWORD_FILE": str(tmp_path / "password"),
        "CONVEYOR_MAIL_FROM": "store@team.example",
    }
    mail = store_settings(tmp_path, environment=given).mail
    assert mail == MailSettings(
        "mail.example", 587, "store@team.example", False, "store@team.example", "secret"
    )
    assert "secret" not in repr(mail)
    given = {"CONVEYOR_SMTP_URL": "smtps://127.0.0.1", "CONVEYOR_MAIL_FROM": "store@team.example"}
    mail = store_settings(tmp_path, environment=given).mail
    assert mail == MailSettings("127.0.0.1", 465, "store@team.example", True)


def test_mail_server_that_cannot_be_used_is_refused_with_every_fault(tmp_path: Path) -> None:
    given = {"CONVEYOR_SMTP_URL": "http://user:secret@mail.example", "CONVEYOR_MAIL_FROM": "nobody"}
    given["CONVEYOR_SMTP_PASSWORD_FILE"] = str(tmp_path / "missing")
    with pytest.raises(InvalidInput) as refused:
        store_settings(tmp_path, environment=given)
    assert len(refused.value.faults) == 4
    assert "secret" not in str(refused.value.faults)
    given = {"CONVEYOR_SMTP_URL": "smtp://user@mail.example", "CONVEYOR_MAIL_FROM": "store@team.example"}
    with pytest.raises(InvalidInput, match="belong together"):
        store_settings(tmp_path, environment=given)


def test_worker_gives_no_variables_of_its_own_to_training() -> None:
    assert job_grants({}) == JobGrants()
    given = {"CONVEYOR_JOB_TRAIN_ENV": "REGION  LANG"}
    assert job_grants(given) == JobGrants(train_env=frozenset({"REGION", "LANG"}))
    assert set(JOB_GRANTS) == {one.name for one in fields(JobGrants)}
    with pytest.raises(InvalidInput, match="names CONVEYOR_STORE_URL, which no training may see"):
        job_grants({"CONVEYOR_JOB_TRAIN_ENV": "REGION CONVEYOR_STORE_URL"})
