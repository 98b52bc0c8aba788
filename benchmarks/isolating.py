"""One testing job behind the wall against the same job without it: a tiny package, and one of some 100 MB.

Both resolve against a store, make the environment, install and run one test; only the wall differs. What it
costs is the difference. Targets, in CPU time: 0.15 s a job for the tiny package, 0.8 s for 100 MB of
environment. The environment is made of ten wheels of many small files and a few large ones, as numeric
libraries are; caches are warm.

``python -m benchmarks.isolating URL STATE PROJECT jail|bare`` is one such job, in a process of its own.
"""

from __future__ import annotations

import json
import os
import resource
import statistics
import subprocess
import sys
import tempfile
import time
from contextlib import ExitStack
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING

from benchmarks.figures import Figure, machine
from benchmarks.load import adopt_orphans, children, cpu_seconds_of_orphans
from conveyor.client.store import connect
from conveyor.pipeline.engine.isolation import Workplace
from conveyor.pipeline.jails.door import Door
from conveyor.pipeline.jails.wall import Bubblewrap, means, run_user
from conveyor.pipeline.jobs.suite import Subject, run_tests
from distributions_made import core_metadata, make_sdist, make_wheel
from pipeline.conftest import running_town

if TYPE_CHECKING:
    from collections.abc import Iterator

    from pipeline.conftest import Town

ROUNDS = 7
PARTS = 10
SMALL, LARGE = 300, 2
"""Files of each part: of 4 kB each, and of 4 MB each."""


@dataclass(frozen=True)
class Taken:
    """What one job took."""

    seconds: float
    cpu_seconds: float


def measure() -> Iterator[Figure]:
    """Each package, with the wall and without it, in turn."""
    found = means()
    if found.kind != "jail":
        raise SystemExit(f"this machine cannot isolate: {found.lacking}")
    adopt_orphans()
    with tempfile.TemporaryDirectory(prefix="conveyor-bench-") as name, running_town(Path(name)) as town:
        folder = Path(name)
        _publish(town, folder / "files")
        for project, what in (("tiny", "tiny package"), ("large", "100 MB of environment")):
            taken: dict[str, list[Taken]] = {"jail": [], "bare": []}
            for _ in range(1 + ROUNDS):
                for how, found_ in taken.items():
                    found_.append(_job(town.url, folder / how, project, how))
            ours, bare = (_median(one) for one in taken.values())
            on = f"median of {ROUNDS}, {machine()}"
            yield Figure(f"{what}, in a jail", "CPU s", ours.cpu_seconds, "bare", bare.cpu_seconds, on)
            yield Figure(f"{what}, in a jail", "s", ours.seconds, "bare", bare.seconds, on)
            cost = ours.cpu_seconds - bare.cpu_seconds
            limit = 0.15 if project == "tiny" else 0.8
            yield Figure(f"{what}, what the jail costs", "CPU s", cost, "target", limit, on)


def _median(taken: list[Taken]) -> Taken:
    counting = taken[1:]  # the first round warms the caches
    return Taken(
        statistics.median(one.seconds for one in counting),
        statistics.median(one.cpu_seconds for one in counting),
    )


def _job(url: str, state: Path, project: str, how: str) -> Taken:
    own, before, started = children(), _cpu_seconds(), time.perf_counter()
    command = [sys.executable, "-m", "benchmarks.isolating", url, str(state), project, how]
    subprocess.run(command, check=True, stdout=subprocess.DEVNULL)
    seconds = time.perf_counter() - started
    cpu_seconds_of_orphans(own)  # waited for, they count below
    return Taken(seconds, _cpu_seconds() - before)


def _cpu_seconds() -> float:
    """Processor time of all children that were waited for."""
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    return used.ru_utime + used.ru_stime


def _publish(town: Town, folder: Path) -> None:
    """Two projects, whose sdists hold their tests; one requires the parts."""
    folder.mkdir()
    small, large = os.urandom(4096), os.urandom(4 * 2**20)
    parts = []
    for number in range(PARTS):
        files = {f"part{number}/small{at}.bin": small for at in range(SMALL)}
        files |= {f"part{number}/large{at}.bin": large for at in range(LARGE)}
        parts.append(make_wheel(f"part{number}", extra=files))
    for name, requires in (("tiny", []), ("large", [f"part{number}" for number in range(PARTS)])):
        metadata = core_metadata(
            name, requires=[*requires, 'pytest; extra == "test"'], fields=[("Provides-Extra", "test")]
        )
        pyproject = (
            f'[project]\nname = "{name}"\nversion = "1.0"\ndependencies = {json.dumps(requires)}\n'
            '[project.optional-dependencies]\ntest = ["pytest"]\n'
        )
        tests = f"import {name}\n\n\ndef test_it():\n    assert {name}.__file__\n"
        extra = {"pyproject.toml": pyproject.encode(), "tests/test_it.py": tests.encode()}
        parts += [make_wheel(name, metadata=metadata), make_sdist(name, metadata=metadata, extra=extra)]
        town.claim(name)
    for number in range(PARTS):
        town.claim(f"part{number}")
    for made in parts:
        path = folder / made.filename
        path.write_bytes(made.content)
        town.client.files.upload("unstable", path)


def work(url: str, state: Path, project: str, how: str) -> None:
    """One testing job."""
    with connect(url) as client, ExitStack() as stack:
        release = client.releases.get(project, "1.0")
        wheel, sdist = release.wheels[0], release.sdists[0]
        place = Workplace(state / project, cache=state / "cache")
        there = client.files.download(sdist, place.fresh("sdist"))
        if how == "jail":
            user = stack.enter_context(run_user(state / "users"))
            folder = Path(stack.enter_context(tempfile.TemporaryDirectory()))
            door = stack.enter_context(Door(folder, url))
            wall = Bubblewrap(
                place.folder / "jails", user=user, door=door.path, store_url=url, secrets=(place.cache,)
            )
            place = replace(place, wall=wall)
        subject = Subject(
            project, "1.0", wheel.filename, wheel.sha256, f"{url}{wheel.url}", wheel.size_bytes, sdist=there
        )
        facts = run_tests(
            place, subject, index="unstable", index_url=f"{url}/unstable/simple/", name="test for unstable"
        )
        if facts.passed != 1:
            raise SystemExit(f"{project} was not tested: {facts}")


if __name__ == "__main__":
    os.umask(0o022)
    work(sys.argv[1], Path(sys.argv[2]), sys.argv[3], sys.argv[4])
