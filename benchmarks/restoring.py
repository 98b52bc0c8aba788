"""Restoring a release of 60 distributions against a fresh resolution, by the same installer, caches warm.

Targets: with uv at most half the time of a fresh resolution, with pip no more than it.
"""

from __future__ import annotations

import hashlib
import os
import shutil
import sys
import tempfile
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

from benchmarks.figures import Figure, machine, run_process, seconds_in_turn
from conveyor.operations.releases.locks import add_lock
from conveyor.pipeline.jobs.locks import EnvironmentLock, LockedPackage
from conveyor.project.environment import find_uv
from conveyor.project.interpreters import running_interpreter
from distributions_made import core_metadata, make_wheel
from makers import close_stores, make_store
from releases_made import ADMIN, hand_in, make_worker, predicate_of_tests, publish
from running_stores import running_store, serve_environment

if TYPE_CHECKING:
    from collections.abc import Iterator

    from distributions_made import Made

PACKAGES = 60
MODULES = 40
RUNS = 7


def measure() -> Iterator[Figure]:
    """Each installer twice in turn: from the lock, and resolving afresh against the index."""
    with tempfile.TemporaryDirectory(prefix="conveyor-bench-") as name:
        folder = Path(name)
        _prepare(folder / "store")
        os.environ["XDG_CACHE_HOME"] = str(folder / "cache")
        with running_store(folder / "store", environment=serve_environment()) as store:
            for tool, fresh in (("uv", _fresh_by_uv), ("pip", _fresh_by_pip)):
                target = folder / tool
                ours, baseline = seconds_in_turn(
                    RUNS, partial(_restore, store.url, tool, target), partial(fresh, store.url, target)
                )
                on = f"{PACKAGES} distributions, median of {RUNS}, warm caches, {machine()}"
                yield Figure(f"restore by {tool}", "s", ours, "a fresh resolution", baseline, on)


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
    metadata = core_metadata("demo", requires=names)
    demo = make_wheel("demo", metadata=metadata)
    for made in (*parts, demo):
        publish(store, made)
    here = running_interpreter()
    packages = tuple(map(_locked, ["demo", *names], [demo, *parts]))
    lock = EnvironmentLock(packages, f">={here.version}", here.name, here.platform).document().encode()
    add_lock(store, ADMIN, "demo", "1.0", lock, keep=lambda _: None)
    facts = predicate_of_tests(index="unstable")
    facts["environment"] |= {"lock_sha256": hashlib.sha256(lock).hexdigest(), "python": here.name}
    hand_in(store, worker, "tests", demo, facts)
    close_stores()


def _locked(name: str, made: Made) -> LockedPackage:
    url = f"http://store.example/packages/{made.sha256}/{made.filename}"
    file = {"url": url, "size": len(made.content), "hashes": {"sha256": made.sha256}}
    return LockedPackage(name, "1.0", "wheels", file)


def _restore(url: str, tool: str, target: Path) -> None:
    shutil.rmtree(target, ignore_errors=True)
    words = ("restore", "demo==1.0", str(target), "--store", url, "--tool", tool)
    run_process([sys.executable, "-m", "conveyor", *words])


def _fresh_by_uv(url: str, target: Path) -> None:
    shutil.rmtree(target, ignore_errors=True)
    run_process([find_uv(), "venv", "--no-config", "--python", sys.executable, str(target)])
    words = ("pip", "install", "--no-config", "--python", str(target / "bin" / "python"), "demo==1.0")
    run_process([find_uv(), *words, "--default-index", f"{url}/unstable/simple/"])


def _fresh_by_pip(url: str, target: Path) -> None:
    shutil.rmtree(target, ignore_errors=True)
    run_process([sys.executable, "-m", "venv", str(target)])
    pip = (str(target / "bin" / "python"), "-I", "-m", "pip", "--isolated", "install")
    run_process([*pip, "--index-url", f"{url}/unstable/simple/", "demo==1.0"])
