"""Restoring a release of 60 distributions against a fresh resolution, by the same installer, caches warm.

The baseline is what a user would do without a lock: an empty environment, and ``install demo==1.0`` from the
same index of the same store, resolution included. Its requirements are ranges, and every project has a
history of 21 versions. ``uv pip sync`` of the same lock without us shows what of a restore is uv's own.

Targets: with uv at most half the time of a fresh resolution, with pip no more than it.
"""

from __future__ import annotations

import hashlib
import os
import resource
import shutil
import statistics
import sys
import tempfile
import time
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

from benchmarks.figures import Figure, machine, run_process
from conveyor.client.store import connect
from conveyor.operations.releases.locks import add_lock
from conveyor.project.interpreters import running_interpreter
from conveyor.project.resolution import EnvironmentLock, LockedPackage
from conveyor.project.uv import PYLOCK, find_uv
from distributions_made import core_metadata, make_wheel
from makers import close_stores, make_store
from releases_made import ADMIN, hand_in, make_worker, predicate_of_tests, publish
from running_stores import running_store, serve_environment

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from distributions_made import Made

PACKAGES = 60
MODULES = 40
OLDER = 20
"""Versions of each project before the one that is installed."""
RUNS = 7
MADE_AT = "http://store.example"
"""The store's public address when the lock was made."""


@dataclass(frozen=True)
class Taken:
    """What one call took."""

    seconds: float
    cpu_seconds: float


def measure() -> Iterator[Figure]:
    """Each installer in turn: from the lock by ``conveyor restore`` and alone, and resolving afresh."""
    with tempfile.TemporaryDirectory(prefix="conveyor-bench-") as name:
        folder = Path(name)
        _prepare(folder / "store")
        os.environ["XDG_CACHE_HOME"] = str(folder / "cache")
        with running_store(folder / "store", environment=serve_environment()) as store:
            for tool, fresh in (("uv", _fresh_by_uv), ("pip", _fresh_by_pip)):
                target = folder / tool
                actions = [partial(_restore, store.url, tool, target), partial(fresh, store.url, target)]
                if tool == "uv":
                    actions.append(partial(_sync_by_uv, _lock_of(store.url, folder), target))
                ours, afresh, *alone = _in_turn(target, *actions)
                on = f"{PACKAGES} distributions, median of {RUNS}, warm caches, {machine()}"
                what, other = f"restore by {tool}", "a fresh resolution"
                yield Figure(what, "s", ours.seconds, other, afresh.seconds, on)
                yield Figure(what, "CPU s", ours.cpu_seconds, other, afresh.cpu_seconds, on)
                for taken in alone:
                    yield Figure("uv pip sync alone", "s", taken.seconds, other, afresh.seconds, on)
                    yield Figure(
                        "uv pip sync alone", "CPU s", taken.cpu_seconds, other, afresh.cpu_seconds, on
                    )


def _in_turn(target: Path, *actions: Callable[[], None]) -> list[Taken]:
    """The medians of each action; they take turns, and the first round warms the caches."""
    taken: list[list[Taken]] = [[] for _ in actions]
    for _ in range(RUNS + 1):
        for found, action in zip(taken, actions, strict=True):
            shutil.rmtree(target, ignore_errors=True)
            used, started = _cpu_seconds(), time.perf_counter()
            action()
            found.append(Taken(time.perf_counter() - started, _cpu_seconds() - used))
    return [
        Taken(
            statistics.median(one.seconds for one in found[1:]),
            statistics.median(one.cpu_seconds for one in found[1:]),
        )
        for found in taken
    ]


def _cpu_seconds() -> float:
    """Processor time of all children that have ended."""
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    return used.ru_utime + used.ru_stime


def _prepare(data: Path) -> None:
    """A store with a release, its requirements and the lock of its test."""
    store = make_store(data)
    worker = make_worker(store)
    names = [f"part{number}" for number in range(PACKAGES - 1)]
    modules = {f"part/module{number}.py": b"value = 1\n" * 200 for number in range(MODULES)}
    parts = [
        make_wheel(name, extra={path.replace("part/", f"{name}/"): code for path, code in modules.items()})
        for name in names
    ]
    metadata = core_metadata("demo", requires=[f"{name}>=0.5" for name in names])
    demo = make_wheel("demo", metadata=metadata)
    older = [make_wheel(name, f"0.{number}") for name in names for number in range(1, OLDER + 1)]
    for made in (*older, *parts, demo):
        publish(store, made)
    here = running_interpreter()
    packages = tuple(map(_locked, ["demo", *names], [demo, *parts]))
    index = f"{MADE_AT}/unstable/simple/"
    lock = EnvironmentLock(packages, f">={here.version}", here.name, here.platform, index).document().encode()
    add_lock(store, ADMIN, "demo", "1.0", lock, keep=lambda _: None)
    facts = predicate_of_tests(index="unstable")
    facts["environment"] |= {"lock_sha256": hashlib.sha256(lock).hexdigest(), "python": here.name}
    hand_in(store, worker, "tests", demo, facts)
    close_stores()


def _locked(name: str, made: Made) -> LockedPackage:
    url = f"{MADE_AT}/packages/{made.sha256}/{made.filename}"
    file = {"url": url, "size": len(made.content), "hashes": {"sha256": made.sha256}}
    return LockedPackage(name, "1.0", "wheels", file)


def _restore(url: str, tool: str, target: Path) -> None:
    words = ("restore", "demo==1.0", str(target), "--store", url, "--tool", tool)
    run_process([sys.executable, "-m", "conveyor", *words])


def _fresh_by_uv(url: str, target: Path) -> None:
    run_process([find_uv(), "venv", "--no-config", "--python", sys.executable, str(target)])
    words = ("pip", "install", "--no-config", "--python", str(target / "bin" / "python"), "demo==1.0")
    run_process([find_uv(), *words, "--default-index", f"{url}/unstable/simple/"])


def _fresh_by_pip(url: str, target: Path) -> None:
    run_process([sys.executable, "-m", "venv", str(target)])
    pip = (str(target / "bin" / "python"), "-I", "-m", "pip", "--isolated", "install")
    run_process([*pip, "--index-url", f"{url}/unstable/simple/", "demo==1.0"])


def _lock_of(url: str, folder: Path) -> Path:
    """The lock with the address at which the store is now."""
    with connect(url) as client:
        content = client.releases.lock("demo", "1.0").decode()
    path = folder / PYLOCK
    path.write_text(content.replace(MADE_AT, url), encoding="utf-8")
    return path


def _sync_by_uv(lock: Path, target: Path) -> None:
    run_process([find_uv(), "venv", "--no-config", "--python", sys.executable, str(target)])
    words = ("--preview-features", "pylock", "pip", "sync", "--python", str(target / "bin" / "python"))
    run_process([find_uv(), "--no-config", *words, str(lock)])
