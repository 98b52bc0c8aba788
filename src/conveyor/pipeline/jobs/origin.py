"""Runs a test suite against an installed distribution and proves where the tested code came from.

Executed by path inside the tested environment, as ``python -I origin.py SETTINGS``: isolated mode, so neither
the working folder nor a variable adds a place to import from. It imports the standard library and pytest
only, and runs on Python 3.8. SETTINGS is JSON: ``distribution`` (its name), ``report`` (file to write),
``arguments`` (for pytest), ``watch`` (a folder, or nothing). The report is JSON: ``origin`` (the proof), and
what lies below ``watch``: ``opened`` (it was opened or listed) and ``started`` (it was named to a program
that the tests started).

How each test ended, and then the exit code of pytest, is told at once through a pipe that is open before the
suite is loaded: one line of JSON each, ``{"test": ID, "outcome": TEXT}`` and ``{"exit_code": N}``.

Another command than pytest is attended: a ``.pth`` file of the environment imports this module in every
Python process, and ``attend`` writes the proof of each when it ends. A process that ends by ``os._exit`` or a
signal writes none.

The proof is made when the tests have ended: every imported module below a top-level package of the
distribution is a file of the environment that the installed RECORD names, with the recorded hash, or one of
the interpreter or another distribution under a second name; and every other file of the distribution still
has its recorded hash. Each violation is listed under ``outside``.

Sources: PyPA recording installed projects (RECORD); pytest's import modes.
"""

from __future__ import annotations

import base64
import hashlib
import importlib.metadata
import importlib.util
import json
import os
import sys
import sysconfig
import time
from pathlib import Path

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Mapping
    from typing import Any

    import pytest


def inspect(distribution: str, modules: Mapping[str, Any]) -> dict[str, Any]:
    """Return the proof: ``modules_checked``, ``files_checked`` and the sentences in ``outside``."""
    recorded, packages = read_record(distribution)
    outside: list[str] = []
    digests: dict[str, str] = {}
    for path, (algorithm, digest, name) in recorded.items():
        digests[path] = hash_of(path, algorithm)
        if digests[path] != digest:
            outside.append(f"{name}: its content is not that of RECORD")
    checked = 0
    for name, module in sorted(modules.items()):
        if name.partition(".")[0] not in packages or is_another_name(module, packages):
            continue
        checked += 1
        file = getattr(module, "__file__", None)
        if file is None:  # a namespace package has places, not a file
            places = [os.path.realpath(place) for place in getattr(module, "__path__", [])]
            alien = [
                place for place in places if not any(path.startswith(place + os.sep) for path in recorded)
            ]
            outside += [f"{name}: {place} holds no file of the distribution" for place in alien]
        elif os.path.realpath(file) not in recorded:
            outside.append(f"{name}: imported from {file}, which the installed RECORD does not name")
    return {"modules_checked": checked, "files_checked": len(recorded), "outside": outside}


def is_another_name(module: object, packages: set[str]) -> bool:
    """Whether a module of the interpreter, or of another distribution, stands under a second name.

    Such are the modules of the standard library that ``six.moves`` offers, which keep their ``__name__`` and
    get another ``__spec__``. A module from any other place is not.
    """
    file, own = getattr(module, "__file__", None), getattr(module, "__name__", "")
    if file is None or not own or own.partition(".")[0] in packages:
        return False
    kinds = ("stdlib", "platstdlib", "purelib", "platlib")
    places = {os.path.realpath(sysconfig.get_path(kind)) for kind in kinds}
    return any(os.path.realpath(file).startswith(place + os.sep) for place in places)


def read_record(distribution: str) -> tuple[dict[str, tuple[str, str, str]], set[str]]:
    """Return a distribution's files (path → (algorithm, digest, name in RECORD)) and top-level packages."""
    recorded: dict[str, tuple[str, str, str]] = {}
    packages: set[str] = set()
    for file in importlib.metadata.distribution(distribution).files or []:
        if file.hash is not None:
            recorded[os.path.realpath(file.locate())] = (file.hash.mode, file.hash.value, str(file))
        top = file.parts[0]
        if ".dist-info" in top or top in ("..", "__pycache__") or file.suffix in (".pth", ".data"):
            continue
        packages.add(top.partition(".")[0])
    return recorded, packages


def hash_of(path: str, algorithm: str) -> str:
    """The hash of a file in the form that RECORD uses; empty if the file is gone."""
    hasher = hashlib.new(algorithm)
    try:
        with Path(path).open("rb") as file:
            while chunk := file.read(1 << 20):
                hasher.update(chunk)
    except OSError:
        return ""
    return base64.urlsafe_b64encode(hasher.digest()).rstrip(b"=").decode()


class Teller:
    """A pytest plugin that tells how each test ended; a test that failed outside its body is an error."""

    def __init__(self, told: int) -> None:
        self._told, self._write, self._dump = told, os.write, json.dumps
        os.set_inheritable(told, False)

    def tell(self, **line: object) -> None:
        """Tell one line, whole."""
        left = self._dump(line).encode() + b"\n"
        while left:
            left = left[self._write(self._told, left) :]

    def pytest_collectreport(self, report: pytest.CollectReport) -> None:
        """Tell of a module that could not be collected."""
        if report.failed:
            self.tell(test=report.nodeid[:LONGEST_ID], outcome="errors")

    def pytest_runtest_logreport(self, report: pytest.TestReport) -> None:
        """Tell of the body of a test, or of a failure in its setup or teardown."""
        outcome: str | None = None
        if report.when == "call":  # "rerun" of pytest-rerunfailures is no end
            outcome = report.outcome if report.outcome in ("passed", "failed", "skipped") else None
        elif report.failed:
            outcome = "errors"
        elif report.skipped:
            outcome = "skipped"
        if outcome is not None:
            self.tell(test=report.nodeid[:LONGEST_ID], outcome=outcome)


def watch(folder: str) -> dict[str, set[str]]:
    """The paths, relative to a folder, that this process opens, lists or hands to a program; it grows."""
    found: dict[str, set[str]] = {"opened": set(), "started": set()}
    root = os.path.abspath(folder) + os.sep  # noqa: PTH100 - links are not followed: git tracks them

    def note(kind: str, path: object, beside: str = "") -> None:
        if isinstance(path, bytes):
            path = os.fsdecode(path)
        if isinstance(path, (str, os.PathLike)):  # not an open file, or the current folder
            place = os.path.abspath(os.path.join(beside, path))  # noqa: PTH100, PTH118
            if place.startswith(root) and len(found[kind]) < MOST_OPENED:
                found[kind].add(place[len(root) :])

    def hook(event: str, arguments: tuple[Any, ...]) -> None:
        if event in ("open", "os.listdir", "os.scandir") and arguments:
            note("opened", arguments[0])
        elif event == "subprocess.Popen":
            _program, words, beside, _variables = arguments
            for word in words.split() if isinstance(words, str) else words:
                note("started", word, os.fsdecode(beside) if beside is not None else "")

    sys.addaudithook(hook)
    return found


MOST_OPENED = 20_000
LONGEST_ID = 1000


def attend(distribution: str, folder: str) -> None:
    """Write the proof of this process into a folder when it ends, if it imported the distribution."""
    import atexit

    def write() -> None:
        if not any(name.partition(".")[0] in read_record(distribution)[1] for name in list(sys.modules)):
            return
        found = inspect(distribution, dict(sys.modules))
        target = Path(folder, f"{os.getpid()}-{time.monotonic_ns()}.json")
        target.write_text(json.dumps(found), encoding="utf-8")

    atexit.register(write)


def main(settings: dict[str, Any]) -> int:
    """Run pytest, tell each result, write the proof, and return pytest's exit code."""
    import pytest  # here, because RECORD can be read without it

    teller = Teller(int(os.environ.pop("_CONVEYOR_HANDED")))
    seen = watch(settings["watch"]) if settings.get("watch") else {}
    modules, dump, target = sys.modules, json.dumps, Path(settings["report"])
    arguments = list(settings["arguments"])
    if importlib.util.find_spec("xdist") is not None and "no:xdist" not in arguments:
        arguments.append("-n0")  # modules imported in other processes cannot be inspected
    code = int(pytest.main(arguments, plugins=[teller]))
    found: dict[str, Any] = {"origin": inspect(settings["distribution"], dict(modules))}
    found.update((kind, sorted(paths)) for kind, paths in seen.items())
    target.write_text(dump(found), encoding="utf-8")
    teller.tell(exit_code=code)
    return code


if __name__ == "__main__":
    sys.exit(main(json.loads(sys.argv[1])))
