"""A suite that attacks its worker, carried by a real run: what it tried, and that it got nothing."""

from __future__ import annotations

import json
import random
import re
import subprocess
from http.server import BaseHTTPRequestHandler
from typing import TYPE_CHECKING

import pytest

from certificates import make_certified, serving_tls
from conveyor.domain.indexes.definitions import NewIndex
from conveyor.pipeline.jails.wall import means
from distributions_made import make_sdist
from pipeline.projects import HATCHLING, git, make_project

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from pipeline.conftest import Town

pytestmark = [pytest.mark.xdist_group("pipeline"), pytest.mark.timeout(300)]

ATTACKS = '''\
"""Each test tries one thing and fails if it succeeds."""

import json
import os
import pathlib
import re
import socket
import subprocess
import sys
import urllib.error
import urllib.request

import pytest
import vaulted

import demo.core

KNOWN = json.loads(pathlib.Path(__file__).with_name("known.json").read_text())
OWN = pathlib.Path.cwd()


@pytest.mark.parametrize("path", KNOWN["secrets"])
def test_reads_what_the_worker_keeps(path):
    with pytest.raises(OSError):
        os.listdir(path) if os.path.isdir(path) else open(path, "rb")


def test_sees_the_variables_or_the_memory_of_others():
    numbers = [int(name) for name in os.listdir("/proc") if name.isdigit()]
    assert len(numbers) < 10
    for number in set(numbers) - {os.getpid()}:
        words = pathlib.Path(f"/proc/{number}/cmdline").read_bytes()
        assert not [one for one in KNOWN["secrets"] if one.encode() in words]
    assert not [name for name in os.environ if re.search("TOKEN|CREDENTIALS|NETRC|PROXY", name.upper())]


def test_reaches_the_store_or_the_network():
    for where in (tuple(KNOWN["store"]), ("192.0.2.1", 443)):
        with pytest.raises(OSError):
            socket.create_connection(where, timeout=2)
    with pytest.raises(OSError):
        socket.getaddrinfo("store.example", 443)


@pytest.mark.parametrize("folder", [sys.prefix, "/usr/lib", "/etc", "/", str(OWN.parent)])
def test_writes_outside_of_its_folders(folder):
    with pytest.raises(OSError):
        pathlib.Path(folder, "planted").write_text("x")


def test_plants_code_in_the_environment():
    with pytest.raises(OSError):
        open(demo.core.__file__, "a")
    with pytest.raises(OSError):
        os.unlink(demo.core.__file__)


def test_gains_rights():
    with pytest.raises(OSError):
        os.setuid(0)
    with pytest.raises(OSError):
        os.chroot("/")
    with pytest.raises(OSError):
        open("/proc/sys/kernel/core_pattern", "r+")
    status = pathlib.Path("/proc/self/status").read_text()
    assert "CapEff:\\t0000000000000000" in status


def test_reads_by_the_door_what_the_run_may_read_and_nothing_else():
    """The token of the run is the keeper's: it opens the private index, and its text is nowhere."""
    assert vaulted.__file__
    page = urllib.request.urlopen("http://127.0.0.1:47301/vault/parts/simple/vaulted/")
    assert b"vaulted-1.0" in page.read()
    for path in ("/api/v1/status", "/api/v1/indexes", "/sealed/simple/vaulted/"):
        with pytest.raises(urllib.error.HTTPError) as refused:
            urllib.request.urlopen(f"http://127.0.0.1:47301{path}")
        assert refused.value.code in (403, 404)


def test_leaves_a_daemon():
    subprocess.Popen(
        ["env", "-i", "setsid", "sh", "-c", f"sleep 300; : {KNOWN['token']}"],
        stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL,
    )
'''


PARTS, END, MIDDLE, ENTRY = "vault/parts", "vault/stable", "vault/testing", "vault/unstable"


@pytest.fixture(scope="module")
def vault(town: Town, tmp_path_factory: pytest.TempPathFactory) -> None:
    """A private way through the store, and beside it an index that its runs may not read.

    What their project requires is private too, and an sdist alone: the keeper fetches it to have it built.
    """
    below = (PARTS, "pypi")
    for asked in (
        NewIndex(PARTS, mode="uploads", is_private=True),
        NewIndex("sealed", mode="uploads", is_private=True),
        NewIndex(END, mode="promotion-only", bases=below, gates=("tests",), is_private=True),
        NewIndex(MIDDLE, mode="promotion-only", bases=(END, *below), gates=("tests",), is_private=True),
        NewIndex(ENTRY, mode="uploads", bases=(MIDDLE, END, *below), is_private=True),
    ):
        town.client.indexes.add(asked)
    made = make_sdist("vaulted", "1.0")
    path = tmp_path_factory.mktemp("vault") / made.filename
    path.write_bytes(made.content)
    town.claim("vaulted")
    town.client.files.upload(PARTS, path)


def test_a_hostile_suite_gets_nothing(town: Town, vault: None, tmp_path: Path) -> None:
    assert means().kind == "jail", means().lacking
    town.claim("hostile")
    state = tmp_path / "state"
    token = f"hostile-{random.getrandbits(64):x}"
    host, _, port = town.url.removeprefix("http://").partition(":")
    secrets = (town.credentials, town.data, state / "cache", state / "engine")
    known = {
        "secrets": [str(one) for one in secrets],
        "store": [host, int(port)],
        "token": token,
    }
    files = {"tests/test_attacks.py": ATTACKS, "tests/known.json": json.dumps(known)}
    pyproject = HATCHLING.replace("dynamic =", 'dependencies = ["vaulted"]\ndynamic =')
    repository = make_project(tmp_path / "repository", name="hostile", pyproject=pyproject, files=files)
    git(repository, "tag", "v1.0.0rc1")
    outcome = town.run(repository, "v1.0.0rc1", index=ENTRY, state=state)
    assert (outcome["state"], outcome["index"]) == ("succeeded", MIDDLE)
    for file in (one for one in (state / "work").rglob("*") if one.is_file()):
        assert not re.search(rb"conveyor-[\w-]{40}", file.read_bytes()), file  # a token
    # What its environments were filled from is for no run into another index.
    assert {one.name for one in (state / "cache").glob("uv*")} == {"uv-vault+unstable"}
    running = subprocess.run(["ps", "-eo", "args"], capture_output=True, text=True, check=True).stdout
    assert token not in running


EVERYWHERE = '''\
"""Tries what a backend, a training or documentation could gain, and fails if one thing succeeds."""

import json
import os
import pathlib
import socket
import ssl
import subprocess
import urllib.error
import urllib.request

HERE = pathlib.Path(__file__).parent
KNOWN = json.loads((HERE / "known.json").read_text())
TRUST = ssl.create_default_context()
TRUST.verify_flags &= ~ssl.VERIFY_X509_STRICT  # the certificates of the tests are plain ones


def attack(where):
    gained = []
    for path in KNOWN["secrets"]:
        try:
            gained.append((path, os.listdir(path) if os.path.isdir(path) else open(path, "rb").read()))
        except OSError:
            pass
    try:
        named = urllib.request.urlopen(KNOWN["named"], timeout=5, context=TRUST).read()
    except OSError:
        named = None
    if (named is not None) != (where == "the backend"):
        gained.append((KNOWN["named"], named))
    try:
        gained.append(urllib.request.urlopen("https://other.example/", timeout=5).read())
    except OSError:
        pass
    for target in (tuple(KNOWN["store"]), ("192.0.2.1", 443)):
        try:
            socket.create_connection(target, timeout=2)
            gained.append(target)
        except OSError:
            pass
    for path in ("/api/v1/runs", "/api/v1/projects", "/unstable/legacy/"):
        try:
            gained.append(urllib.request.urlopen(f"http://127.0.0.1:47301{path}").read())
        except urllib.error.HTTPError as error:
            if error.code != 403:
                gained.append((path, error.code))
    for folder in ("/usr/lib", "/etc", "/"):
        try:
            pathlib.Path(folder, "planted").write_text("x")
            gained.append(folder)
        except OSError:
            pass
    if os.geteuid() == 0 or any(name.startswith("CONVEYOR_W") for name in os.environ):
        gained.append("rights")
    # What git would start for whoever runs it in this tree afterwards.
    config = HERE / ".git" / "config"
    if config.is_file():
        with config.open("a") as file:
            file.write(f"[core]\\n\\tfsmonitor = touch {KNOWN['marker']}; false\\n")
    subprocess.Popen(
        ["env", "-i", "setsid", "sh", "-c", f"sleep 300; : {KNOWN['token']}"],
        stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL,
    )
    if gained:
        raise SystemExit(f"{where} gained {gained}")
    print(f"{where} attacked in vain", flush=True)
'''
BACKEND = """\
from hatchling.build import *

import attacks

attacks.attack("the backend")
"""
TRAINING = """\
import pathlib

import attacks

attacks.attack("the training")
model = pathlib.Path("src/demo/model")
model.mkdir(exist_ok=True)
(model / "weights.bin").write_bytes(b"weights")
"""
DOCS = """\
import pathlib
import sys

sys.path.insert(0, str(pathlib.Path(__file__).parent.parent))
import attacks

attacks.attack("the documentation")
pages = pathlib.Path("docs/html")
pages.mkdir()
(pages / "index.html").write_text("demo")
"""


class NamedHost(BaseHTTPRequestHandler):
    """The host that the policy names for builds of one project."""

    def do_GET(self) -> None:
        self.send_response(200)
        self.send_header("Content-Length", "2")
        self.end_headers()
        self.wfile.write(b"ok")

    def log_request(self, code: object = "-", size: object = "-") -> None:
        pass


@pytest.fixture
def named(town: Town, tmp_path: Path) -> Iterator[tuple[str, str]]:
    """The URL of a host that the policy names for builds of ``perfidy``, and the authority that it needs."""
    authority, certificate = make_certified(tmp_path / "tls")
    with serving_tls(NamedHost, certificate) as server:
        host = f"localhost:{server.server_port}"
        content = f'schema = 1\n[index.unstable.project.perfidy]\nhosts = ["{host}"]\n'
        town.client.policies.apply(content, reason="a registry of tests")
        yield f"https://{host}/", authority
        town.client.policies.apply("schema = 1\n", reason="the tests are over")


def test_hostile_backend_training_and_documentation_get_nothing(
    town: Town, named: tuple[str, str], tmp_path: Path
) -> None:
    town.conveyor("store", "claim", "perfidy", "--data", town.data)
    token = f"perfidy-{random.getrandbits(64):x}"
    host, _, port = town.url.removeprefix("http://").partition(":")
    secrets = (town.credentials, town.data, town.state / "cache", town.state / "engine")
    marker = tmp_path / "marker"
    known = {
        "secrets": [str(one) for one in secrets],
        "store": [host, int(port)],
        "token": token,
        "marker": str(marker),
        "named": named[0],
    }
    backend = HATCHLING.replace(
        'build-backend = "hatchling.build"', 'build-backend = "own"\nbackend-path = ["."]'
    )
    declared = (
        '[tool.hatch.build]\nartifacts = ["src/demo/model/*"]\n'
        '[tool.conveyor]\ntrain = ["python", "train.py"]\npayload = ["src/demo/model/weights.bin"]\n'
        '[tool.conveyor.docs]\ncommand = ["python", "docs/make.py"]\noutput = "docs/html"\n'
    )
    files = {
        "attacks.py": EVERYWHERE,
        "known.json": json.dumps(known),
        "own.py": BACKEND,
        "train.py": TRAINING,
        "docs/make.py": DOCS,
    }
    repository = make_project(
        tmp_path / "repository", name="perfidy", pyproject=backend + declared, files=files
    )
    git(repository, "tag", "v1.0.0rc1")
    outcome = town.run(repository, "v1.0.0rc1", variables={"SSL_CERT_FILE": named[1]})
    assert (outcome["state"], outcome["index"]) == ("succeeded", "testing")
    written = "".join(path.read_text() for path in (town.state / "work").glob("*/logs/*.log"))
    for one in ("the backend", "the training", "the documentation"):
        assert f"{one} attacked in vain" in written
    asked = "".join(path.read_text() for path in (town.state / "work").glob("*/logs/hosts.log"))
    assert f"opened {named[0].split('/')[2]}" in asked
    assert "refused other.example:443: the policy names no host" in asked
    assert not marker.exists()
    running = subprocess.run(["ps", "-eo", "args"], capture_output=True, text=True, check=True).stdout
    assert token not in running
