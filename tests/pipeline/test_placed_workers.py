"""Hostile programs in jails of a root's worker, of a user's and of one in a container: what they got.

The table is that of ``docs/explanation/the-wall.md``, which is held to it.
"""

from __future__ import annotations

import json
import os
import random
import re
import shutil
import subprocess
import sys
import tempfile
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from conveyor.pipeline.jails.limits import exceeded
from docs.markdown import page
from pipeline import attacks
from pipeline.placed import CONTAINER, NOBODYS, PLACES, ROOT, USER, bundle, folder_in, give, words_for
from pipeline.projects import git, make_project
from pipeline.test_jails import BOUNDS, EXCEEDING, processes_with

if TYPE_CHECKING:
    from collections.abc import Iterator

    from pipeline.conftest import Town

KEEPER = """
import json, os, signal, socket, sys
from pathlib import Path

from conveyor.pipeline.jails.door import Door
from conveyor.pipeline.jails.hosts import HostsDoor
from conveyor.pipeline.jails.wall import FIRST_USER, Bubblewrap, means
from conveyor.project.foreign import Sight, run_foreign
from conveyor.project.taking import take_file
from conveyor.errors import StepFailed

folder, script, store, mark = Path(sys.argv[1]), Path(sys.argv[2]), sys.argv[3], sys.argv[4]
own = folder / "job"
for name in ("job", "cache", "other run", "way"):
    (folder / name).mkdir()
(folder / "credentials.toml").write_text("key")
(folder / "way" / "netrc").write_text("token")
heard = socket.socket(socket.AF_UNIX)
heard.bind(str(folder / "worker.sock"))
heard.listen()
abstract = socket.socket(socket.AF_UNIX)
abstract.bind("\\0" + mark)
abstract.listen()
found = means()
signals = []
signal.signal(signal.SIGWINCH, lambda number, frame: signals.append(number))
known = {
    "secrets": [str(folder / "credentials.toml"), str(folder / "way" / "netrc")],
    "folders": [str(folder / "cache"), str(folder / "other run")],
    "worker": str(os.getpid()), "port": int(store.rpartition(":")[2]), "mark": mark,
    "socket": str(folder / "worker.sock"), "abstract": mark,
}
(folder / "known.json").write_text(json.dumps(known))
with Door(folder / "way", store, token="t0k3n") as door, HostsDoor(folder / "way", str) as hosts:
    hosts.hosts = ("packages.example",)
    wall = Bubblewrap(
        folder / "jails", user=FIRST_USER + 4001 if os.geteuid() == 0 else None, door=door.path, hosts=hosts,
        store_url=store, secrets=(folder / "cache", *map(Path, known["secrets"])), kind=found.kind,
    )
    (folder / "jails").mkdir()
    python = os.path.realpath(sys.executable)
    sight = Sight({"PATH": os.defpath}, reads=(script, folder / "known.json"), wall=wall)
    done = run_foreign([python, "-I", "-S", str(script), str(folder / "known.json")], sight, folder=own)
if done.return_code:
    sys.exit(done.output)
table = json.loads(done.output)
if signals:
    table = [[what, "signalled it" if "send a signal" in what else got] for what, got in table]
try:
    take_file(own, "result.xml", folder / "taken")
    table[-1][1] = "the worker took it"
except StepFailed:
    pass
print(json.dumps({"kind": found.kind, "table": table}))
"""


class _Pages(BaseHTTPRequestHandler):
    """A store that would answer anything."""

    def do_GET(self) -> None:
        self.send_response(200)
        self.send_header("Content-Length", "3")
        self.end_headers()
        self.wfile.write(b"all")

    do_POST = do_GET  # noqa: N815 - named by the base class

    def log_request(self, code: object = "-", size: object = "-") -> None:
        pass


@pytest.fixture(scope="module")
def store() -> Iterator[str]:
    with ThreadingHTTPServer(("127.0.0.1", 0), _Pages) as server:
        threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.05}).start()
        yield f"http://127.0.0.1:{server.server_port}"
        server.shutdown()


KINDS = {ROOT: "jail", USER: "jail", CONTAINER: "shared-proc"}


def attacked(place: str, store: str, *, is_of_runc: bool = False) -> dict[str, Any]:
    """The kind of jail that a worker has in a place, and what a hostile program got in it."""
    mark = f"placed-{random.getrandbits(64):x}"
    with folder_in(place) as folder, tempfile.TemporaryDirectory(prefix="conveyor-container-") as container:
        script = folder / "attacks.py"
        shutil.copy(attacks.__file__, script)
        script.chmod(0o644)
        words = [sys.executable, "-c", KEEPER, str(folder), str(script), store, mark]
        placed = bundle(Path(container, mark), words, NOBODYS) if is_of_runc else [*words_for(place), *words]
        done = subprocess.run(
            placed, capture_output=True, text=True, cwd="/", env={"PATH": os.environ["PATH"]}, check=False
        )
    assert done.returncode == 0, done.stdout + done.stderr
    assert processes_with(mark) == []
    return dict(json.loads(done.stdout))


@pytest.fixture(scope="module")
def found(store: str) -> dict[str, dict[str, Any]]:
    return {place: attacked(place, store) for place in PLACES}


def rows_of(heading: str) -> list[list[str]]:
    """The rows of the first table below a heading of the page about the wall."""
    text = page("docs/explanation/the-wall.md").text.partition(f"\n## {heading}\n")[2]
    lines = re.search(r"(?:^\|.*\n)+", text, re.MULTILINE)
    assert lines is not None, heading
    return [[cell.strip() for cell in line.strip("|").split(" | ")] for line in lines[0].splitlines()[2:]]


def test_page_says_what_hostile_programs_get(found: dict[str, dict[str, Any]]) -> None:
    assert {place: got["kind"] for place, got in found.items()} == {one: KINDS[one] for one in PLACES}
    columns = [dict(found[place]["table"]) for place in PLACES]
    table = [[what, *(column[what] for column in columns)] for what in attacks.ATTACKS]
    said = [[row[0], *(row[1 + (ROOT, USER, CONTAINER).index(place)] for place in PLACES)]
            for row in rows_of("What hostile programs got")]  # fmt: skip
    assert said == table, "\n".join(f"| {' | '.join(row)} |" for row in table)


@pytest.mark.torture
@pytest.mark.skipif(os.geteuid() != 0, reason="runc of an ordinary user needs a systemd of its own")
def test_container_of_runc_is_as_the_page_says(found: dict[str, dict[str, Any]], store: str) -> None:
    assert attacked(CONTAINER, store, is_of_runc=True) == found[CONTAINER]
    with tempfile.TemporaryDirectory(prefix="conveyor-container-") as name:
        code = "from conveyor.pipeline.jails.wall import means; print(means())"
        words = bundle(Path(name, "conveyor-of-root"), [sys.executable, "-c", code], 0)
        done = subprocess.run(words, capture_output=True, text=True, check=True)
    assert done.stdout.startswith("Means(kind='degraded', lacking='root may not do here what jails take")


def test_page_says_what_exceeds_limits_and_how_it_ends() -> None:
    table = [[what, exceeded(limit, BOUNDS)] for what, (limit, _) in EXCEEDING.items()]
    assert rows_of("What hostile programs used up") == table, "\n".join(
        f"| {' | '.join(row)} |" for row in table
    )


SUITE = """
import json
import pathlib

import attacks
import pytest

HERE = pathlib.Path(__file__).parent
KNOWN = json.loads((HERE / "known.json").read_text())


@pytest.mark.parametrize(("what", "got"), KNOWN["expected"])
def test_it_gets_no_more_than_the_page_says(what, got):
    try:
        assert attacks.ATTACKS[what](KNOWN) == got
    except OSError as error:
        assert str(error.strerror or error) == got
"""
LEFT_OUT = ("environment", "behind that", "link to", "door", "way of builds", "command line")
"""What is another matter in a run: its variables are many, its door leads to a whole store."""


@pytest.mark.torture
@pytest.mark.xdist_group("pipeline")
@pytest.mark.timeout(600)
@pytest.mark.parametrize("place", [one for one in PLACES if one != ROOT])
def test_a_whole_run_of_a_worker_in_a_place(town: Town, found: dict[str, dict[str, Any]], place: str) -> None:
    name = f"placed{PLACES.index(place)}"
    town.claim(name)
    with folder_in(place) as folder:
        credentials = folder / "worker.toml"
        shutil.copy(town.credentials, credentials)
        expected = [row for row in found[place]["table"] if not any(one in row[0] for one in LEFT_OUT)]
        known = {
            "expected": expected, "secrets": [str(credentials)],
            "worker": "1" if place == CONTAINER else str(2**22 + 1),  # no process has that number
            "folders": [str(folder / "state" / "cache"), str(folder / "state" / "engine")],
            "port": int(town.url.rpartition(":")[2]), "socket": str(folder / "none"), "abstract": "none",
        }  # fmt: skip
        files = {
            "tests/test_attacks.py": SUITE, "tests/known.json": json.dumps(known),
            "tests/attacks.py": Path(attacks.__file__).read_text(),
        }  # fmt: skip
        repository = make_project(folder / "repository", name=name, files=files)
        git(repository, "tag", "v1.0.0rc1")
        if os.geteuid() == 0:
            give(folder)
        words = [*words_for(place), sys.executable, "-m", "conveyor", "pipeline", "run", "--json"]
        words += ["--repo", str(repository), "--ref", "v1.0.0rc1", "--store", town.url]
        words += ["--credentials", str(credentials), "--state", str(folder / "state")]
        done = subprocess.run(
            words, capture_output=True, text=True, env=town.variables() | {"HOME": str(folder)}, cwd=folder
        )
        assert done.returncode == 0, done.stdout + done.stderr
    release = town.client.releases.get(name, "1.0.0rc1")
    made = {one.predicate["made"]["isolation"] for one in release.evidence if "made" in one.predicate}
    assert (release.index, made) == ("testing", {KINDS[place]})
