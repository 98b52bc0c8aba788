"""Real clients upload, and real installers install what was uploaded: twine, uv, pip."""

from __future__ import annotations

import os
import re
import subprocess
import sys
import venv
from typing import TYPE_CHECKING

import pytest

from distributions_made import Made, core_metadata, make_sdist, make_wheel
from makers import ADMIN_PASSWORD
from running_stores import RunningStore, running_store

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

pytestmark = [pytest.mark.slow, pytest.mark.xdist_group("upload-clients")]

CREDENTIALS = ("--username", "admin", "--password", ADMIN_PASSWORD)


@pytest.fixture(scope="module")
def store(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RunningStore]:
    with running_store(tmp_path_factory.mktemp("clients") / "store") as running:
        yield running


def call(*command: str | Path, home: Path) -> subprocess.CompletedProcess[str]:
    """A client in a clean environment, its output without colours and with its lines joined."""
    environment = {
        "PATH": os.environ["PATH"],
        "HOME": str(home),
        "PIP_CONFIG_FILE": os.devnull,
        "PYTHON_KEYRING_BACKEND": "keyring.backends.null.Keyring",
        "NO_COLOR": "1",
        "COLUMNS": "400",
    }
    done = subprocess.run(command, env=environment, cwd=home, capture_output=True, text=True, timeout=300)
    text = re.sub(r"\s+", " ", done.stdout + done.stderr)
    return subprocess.CompletedProcess(done.args, done.returncode, text)


def twine(
    store: RunningStore, *files: Path, home: Path, index: str = "unstable"
) -> subprocess.CompletedProcess[str]:
    command = (sys.executable, "-m", "twine", "upload", "--verbose", "--non-interactive")
    url = f"{store.url}/{index}/legacy/"
    options = ("--disable-progress-bar", *CREDENTIALS, "--repository-url", url)
    return call(*command, *options, *files, home=home)


def uv_publish(
    store: RunningStore, *files: Path, home: Path, index: str = "unstable"
) -> subprocess.CompletedProcess[str]:
    command = (sys.executable, "-m", "uv", "--no-config", "publish")
    url = f"{store.url}/{index}/legacy/"
    return call(*command, *CREDENTIALS, "--publish-url", url, *files, home=home)


CLIENTS = {"twine": twine, "uv": uv_publish}


def release(name: str) -> list[Made]:
    metadata = core_metadata(
        name,
        requires_python=">=3.9",
        fields=[
            ("Summary", "Made for  a test"),
            ("Author-email", "Team Ä <team@example.com>, Two <two@example.com>"),
            ("Keywords", "a,b c"),
            ("Project-URL", "Home, https://example.com/x"),
            ("Classifier", "Programming Language :: Python :: 3"),
            ("License-Expression", "MIT"),
        ],
        description="# Title\n\nText with ü.\n",
    )
    return [make_wheel(name, metadata=metadata), make_sdist(name, metadata=metadata)]


@pytest.mark.parametrize("client", CLIENTS)
def test_client_uploads_a_release_and_again(store: RunningStore, tmp_path: Path, client: str) -> None:
    files = [made.write(tmp_path / "dist") for made in release(f"by-{client}")]
    for _ in range(2):
        done = CLIENTS[client](store, *files, home=tmp_path)
        assert done.returncode == 0, done.stdout
    page = store.get(f"/unstable/simple/by-{client}/", Accept="application/vnd.pypi.simple.v1+json").json()
    assert [file["filename"] for file in page["files"]] == [path.name for path in files]


@pytest.mark.parametrize("client", CLIENTS)
def test_client_shows_every_fault_of_a_refused_file(store: RunningStore, tmp_path: Path, client: str) -> None:
    made = make_wheel(
        f"bad-{client}", replace={f"bad_{client}/__init__.py": b"changed", "stray.py": b"", "WHEEL": None}
    )
    done = CLIENTS[client](store, made.write(tmp_path / "dist"), home=tmp_path)
    assert done.returncode != 0
    assert "400 Bad Request" in done.stdout
    for fault in (
        f"{made.filename} is refused for 5 faults",
        f"the wheel has no bad_{client}-1.0.dist-info/WHEEL",
        "RECORD does not list stray.py",
        f"RECORD gives another hash than that of bad_{client}/__init__.py",
    ):
        assert fault in done.stdout


@pytest.mark.parametrize("client", CLIENTS)
def test_client_shows_why_an_index_or_a_file_was_refused(
    store: RunningStore, tmp_path: Path, client: str
) -> None:
    upload, made = CLIENTS[client], make_wheel(f"why-{client}")
    refused = upload(store, made.write(tmp_path / "first"), home=tmp_path, index="stable")
    assert refused.returncode != 0
    assert 'index "stable" is promotion-only: it accepts no upload, from nobody' in refused.stdout
    assert 'hint: upload to "unstable" and promote from there' in refused.stdout
    assert upload(store, made.write(tmp_path / "first"), home=tmp_path).returncode == 0
    other = make_wheel(f"why-{client}", extra={"more.py": b""})
    refused = upload(store, other.write(tmp_path / "second"), home=tmp_path)
    assert refused.returncode != 0
    assert f'{made.filename} already exists in index "unstable" with other content' in refused.stdout


@pytest.mark.parametrize("kind", ["wheel", "sdist"])
@pytest.mark.parametrize("installer", ["pip", "uv"])
def test_what_was_uploaded_is_installed(
    store: RunningStore, tmp_path: Path, installer: str, kind: str
) -> None:
    name = f"installed-{installer}-{kind}"
    wheel, sdist = release(name)
    made = wheel if kind == "wheel" else sdist
    assert twine(store, made.write(tmp_path / "dist"), home=tmp_path).returncode == 0
    python = tmp_path / "venv" / "bin" / "python"
    index = f"{store.url}/unstable/simple/"
    if installer == "pip":
        venv.create(tmp_path / "venv", with_pip=True)
        pip = (python, "-m", "pip", "install", "--disable-pip-version-check", "--no-cache-dir")
        done = call(*pip, "--index-url", index, name, home=tmp_path)
    else:
        venv.create(tmp_path / "venv")
        uv = (sys.executable, "-m", "uv", "--no-config", "pip", "install", "--no-cache", "--python", python)
        done = call(*uv, "--index-url", index, name, home=tmp_path)
    assert done.returncode == 0, done.stdout
    module = name.replace("-", "_")
    script = f"import {module}, importlib.metadata as m; print(m.version('{name}'), {module}.__file__)"
    said = call(python, "-c", script, home=tmp_path).stdout
    assert said.startswith(f"1.0 {tmp_path}")
    assert made.filename in [line["path"].rpartition("/")[2] for line in store.logged()]
