"""A suite that attacks its worker, carried by a real run: what it tried, and that it got nothing."""

from __future__ import annotations

import json
import random
import subprocess
from typing import TYPE_CHECKING

import pytest

from conveyor.pipeline.jails.wall import why_not
from pipeline.projects import HATCHLING, git, make_project

if TYPE_CHECKING:
    from pathlib import Path

    from pipeline.conftest import Town

pytestmark = [pytest.mark.xdist_group("pipeline"), pytest.mark.timeout(300)]

ATTACKS = '''\
"""Each test tries one thing and fails if it succeeds."""

import json
import os
import pathlib
import socket
import subprocess
import sys

import pytest

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
    assert not [name for name in os.environ if "TOKEN" in name or "CREDENTIALS" in name]


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


def test_leaves_a_daemon():
    subprocess.Popen(
        ["env", "-i", "setsid", "sh", "-c", f"sleep 300; : {KNOWN['token']}"],
        stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL,
    )
'''


def test_a_hostile_suite_gets_nothing(town: Town, tmp_path: Path) -> None:
    if why_not() is not None:
        pytest.fail(f"this machine cannot isolate: {why_not()}")
    town.claim("hostile")
    token = f"hostile-{random.getrandbits(64):x}"
    host, _, port = town.url.removeprefix("http://").partition(":")
    secrets = (town.credentials, town.data, town.state / "cache", town.state / "engine")
    known = {
        "secrets": [str(one) for one in secrets],
        "store": [host, int(port)],
        "token": token,
    }
    files = {"tests/test_attacks.py": ATTACKS, "tests/known.json": json.dumps(known)}
    repository = make_project(tmp_path / "repository", name="hostile", files=files)
    git(repository, "tag", "v1.0.0rc1")
    outcome = town.run(repository, "v1.0.0rc1")
    assert (outcome["state"], outcome["index"]) == ("succeeded", "testing")
    running = subprocess.run(["ps", "-eo", "args"], capture_output=True, text=True, check=True).stdout
    assert token not in running


EVERYWHERE = '''\
"""Tries what a backend, a training or documentation could gain, and fails if one thing succeeds."""

import json
import os
import pathlib
import socket
import subprocess
import urllib.error
import urllib.request

HERE = pathlib.Path(__file__).parent
KNOWN = json.loads((HERE / "known.json").read_text())


def attack(where):
    gained = []
    for path in KNOWN["secrets"]:
        try:
            gained.append((path, os.listdir(path) if os.path.isdir(path) else open(path, "rb").read()))
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


def test_hostile_backend_training_and_documentation_get_nothing(town: Town, tmp_path: Path) -> None:
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
    outcome = town.run(repository, "v1.0.0rc1")
    assert (outcome["state"], outcome["index"]) == ("succeeded", "testing")
    written = "".join(path.read_text() for path in (town.state / "work").glob("*/logs/*.log"))
    for one in ("the backend", "the training", "the documentation"):
        assert f"{one} attacked in vain" in written
    assert not marker.exists()
    running = subprocess.run(["ps", "-eo", "args"], capture_output=True, text=True, check=True).stdout
    assert token not in running
