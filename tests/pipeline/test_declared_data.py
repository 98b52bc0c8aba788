"""Data that a project declares comes into a run by its digest, and nothing else that git does not hold."""

from __future__ import annotations

import hashlib
import json
import socket
import subprocess
import time
from contextlib import closing, contextmanager, suppress
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

import pytest
import urllib3

from conveyor.errors import Forbidden
from conveyor.pipeline.engine.remotes import addresses_of_data
from flows.clients import shared_client
from pipeline.projects import HATCHLING, MODEL, MODEL_TESTS, git, make_project
from pipeline.test_flow import claimed, facts_of, steps_of
from upstreams import Served, running_upstream

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from flows.clients import Client
    from pipeline.conftest import Town
    from upstreams import RunningUpstream

pytestmark = [pytest.mark.xdist_group("pipeline"), pytest.mark.timeout(300)]

ROWS = bytes(range(64))
DIGEST = hashlib.sha256(ROWS).hexdigest()
BUCKETS = ROWS[::-1]  # other bytes: what one run has brought is in the worker's cache
BUCKETS_DIGEST = hashlib.sha256(BUCKETS).hexdigest()
READS = """\
import shutil
from pathlib import Path

folder = Path(__file__).parent / "model"
folder.mkdir(exist_ok=True)
shutil.copyfile("data/rows.csv", folder / "weights.bin")
"""
FILES = {"src/demo/training.py": READS, "tests/test_model.py": MODEL_TESTS}


def declared(url: str, sha256: str = DIGEST) -> str:
    return f'{MODEL}[tool.conveyor.data.rows]\npath = "data/rows.csv"\nurl = "{url}"\nsha256 = "{sha256}"\n'


def reaching(host: RunningUpstream) -> dict[str, str]:
    """The variables of a worker whose operator lets it fetch data from this host."""
    return {"SSL_CERT_FILE": str(host.cert), "CONVEYOR_JOB_DATA_HOSTS": urlsplit(host.root).netloc}


def repository_of(town: Town, folder: Path, name: str, declaration: str) -> Path:
    """A model whose training copies ``data/rows.csv``, which git ignores; tagged v1.0.0rc1."""
    root = make_project(folder, name=claimed(town, name), pyproject=HATCHLING + declaration, files=FILES)
    with (root / ".gitignore").open("a") as ignored:
        ignored.write("/data/\n")
    git(root, "commit", "-q", "-a", "-m", "Ignore the data")
    git(root, "tag", "v1.0.0rc1")
    return root


def test_data_of_another_digest_is_refused_before_training(town: Town, tmp_path: Path) -> None:
    with running_upstream(tls_folder=tmp_path / "tls") as host:
        host.paths["/rows.csv"] = Served(b"others")
        root = repository_of(town, tmp_path / "root", "draco", declared(f"{host.root}/rows.csv"))
        outcome = town.run(root, "v1.0.0rc1", expected=8, variables=reaching(host))
    assert f"rows.csv has another SHA-256, but data.rows declares {DIGEST}" in outcome["error"]["detail"]
    assert hashlib.sha256(b"others").hexdigest() not in json.dumps(outcome)
    assert list(steps_of(town, "v1.0.0rc1"))[-1] == "data"


def test_worker_asks_public_addresses_for_data_and_those_that_its_operator_names() -> None:
    with pytest.raises(Forbidden, match=r"leads to 127\.0\.0\.1, a loopback address") as refused:
        addresses_of_data("https://127.0.0.1:9/rows.csv", {"127.0.0.1:10"})
    assert refused.value.hint is not None
    assert refused.value.hint.endswith("their operator names it: CONVEYOR_JOB_DATA_HOSTS=127.0.0.1")
    assert addresses_of_data("https://127.0.0.1:9/rows.csv", {"127.0.0.1:9"}) == ()
    assert addresses_of_data("https://127.0.0.1:9/rows.csv", {"127.0.0.1"}) == ()
    assert addresses_of_data("https://8.8.8.8/rows.csv", ()) == ("8.8.8.8",)


@pytest.mark.torture
def test_declared_data_is_what_training_reads(town: Town, tmp_path: Path) -> None:
    with running_upstream(tls_folder=tmp_path / "tls") as host:
        host.paths["/rows.csv"] = Served(ROWS)
        root = repository_of(town, tmp_path / "root", "dorado", declared(f"{host.root}/rows.csv"))
        outcome = town.run(root, "v1.0.0rc1", variables=reaching(host))
    assert outcome["index"] == "testing"
    assert trained_on(town, "dorado") == {DIGEST}


@pytest.mark.torture
def test_training_that_reads_an_ignored_file_stops_the_run_and_says_how_to_declare_it(
    town: Town, tmp_path: Path
) -> None:
    root = repository_of(town, tmp_path / "root", "lepus", MODEL)
    (root / "data").mkdir()
    (root / "data/rows.csv").write_bytes(ROWS)  # it is there, on the machine of who forgot it
    outcome = town.run(root, "v1.0.0rc1", expected=9)
    assert "training read data/rows.csv, which git ignores and nothing declares" in outcome["error"]["detail"]
    assert outcome["error"]["hint"] == (
        "declare it in the project, so that others get it too: "
        "conveyor data add rows --path data/rows.csv --url URL"
    )
    # The hint works, in the checkout.
    with running_upstream(tls_folder=tmp_path / "tls") as host:
        host.paths["/rows.csv"] = Served(ROWS)
        added = ("data", "add", "rows", "--path", "data/rows.csv", "--url", f"{host.root}/rows.csv")
        town.conveyor(*added, "--project", root, SSL_CERT_FILE=str(host.cert))
        git(root, "commit", "-q", "-a", "-m", "Declare the data")
        git(root, "tag", "v1.0.0rc2")
        outcome = town.run(root, "v1.0.0rc2", variables=reaching(host))
    assert outcome["index"] == "testing"
    assert trained_on(town, "lepus", "1.0.0rc2") == {DIGEST}


@pytest.mark.torture
def test_data_of_a_bucket_comes_with_the_keys_of_the_worker(town: Town, tmp_path: Path) -> None:
    """The bucket is on a real S3 server, which answers nobody without its keys."""
    seaweedfs = shared_client("seaweedfs", shared=tmp_path, home=tmp_path)
    with running_s3(seaweedfs, tmp_path / "s3", {"bucket/rows.csv": BUCKETS}) as place:
        declaration = declared("s3://bucket/rows.csv", BUCKETS_DIGEST)
        root = repository_of(town, tmp_path / "root", "lacerta", declaration)
        without = place | {"AWS_ACCESS_KEY_ID": ""}
        stranger = town.run(root, "v1.0.0rc1", expected=7, variables=without)
        assert "the server answers 403" in stranger["error"]["detail"]
        outcome = town.run(root, "v1.0.0rc1", variables=place)
    assert outcome["index"] == "testing"
    assert trained_on(town, "lacerta") == {BUCKETS_DIGEST}


def trained_on(town: Town, project: str, version: str = "1.0.0rc1") -> set[str]:
    """The digests of the weights, which are those of the data that training copied."""
    facts = facts_of(town.client.releases.get(project, version), "build")
    return {fact["payload"][0]["sha256"] for fact in facts}  # type: ignore[index]


KEY, SECRET = "who", "what"
IDENTITIES = (
    f'{{"identities": [{{"name": "ci", "credentials": [{{"accessKey": "{KEY}", "secretKey": "{SECRET}"}}],'
    '"actions": ["Admin", "Read", "Write", "List", "Tagging"]}]}'
)


@contextmanager
def running_s3(seaweedfs: Client, folder: Path, objects: dict[str, bytes]) -> Iterator[dict[str, str]]:
    """A real S3 server on loopback with objects (``BUCKET/KEY``); the variables by which it is reached."""
    folder.mkdir()
    (folder / "s3.json").write_text(IDENTITIES)
    master, volume, filer, s3 = (free_pair() for _ in range(4))
    command: list[str | Path] = [
        *(seaweedfs.environment.path / "bin" / "weed", f"-logdir={folder}", "server", f"-dir={folder}"),
        *("-ip=127.0.0.1", "-ip.bind=127.0.0.1", f"-master.port={master}", f"-volume.port={volume}"),
        *(f"-filer.port={filer}", "-s3", f"-s3.port={s3}", f"-s3.config={folder / 's3.json'}"),
        *("-volume.max=8", "-master.volumeSizeLimitMB=16", "-master.telemetry=false"),
    ]
    with (folder / "log").open("w") as log:
        server = subprocess.Popen(command, stdout=log, stderr=log, cwd=folder)
    try:
        for name, content in objects.items():
            at = f"http://127.0.0.1:{filer}/buckets/{name}"
            ask("PUT", at, expected=201, body=content, log=folder / "log")
            ask("GET", f"http://127.0.0.1:{s3}/{name}", expected=403, log=folder / "log")
        yield {
            "AWS_ENDPOINT_URL_S3": f"http://127.0.0.1:{s3}",
            "AWS_ACCESS_KEY_ID": KEY,
            "AWS_SECRET_ACCESS_KEY": SECRET,
        }
    finally:
        server.terminate()
        server.wait(timeout=60)


def ask(method: str, url: str, *, expected: int, body: bytes | None = None, log: Path) -> None:
    """Ask a server until it answers as expected, for a minute at most."""
    deadline = time.monotonic() + 60
    with urllib3.PoolManager(retries=False, timeout=10) as pool:
        while True:
            with suppress(urllib3.exceptions.HTTPError):
                if pool.request(method, url, body=body).status == expected:
                    return
            assert time.monotonic() < deadline, log.read_text()[-2000:]
            time.sleep(0.2)


def free_pair() -> int:
    """A free port of loopback of which the port 10000 above is free too: a server of SeaweedFS takes both."""
    while True:
        with closing(socket.socket()) as one, closing(socket.socket()) as other:
            one.bind(("127.0.0.1", 0))
            port: int = one.getsockname()[1]
            with suppress(OSError, OverflowError):
                other.bind(("127.0.0.1", port + 10_000))
                return port
