"""Errors of runs are kept whole: the next worker raises exactly the error that a killed one met."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from typing import TYPE_CHECKING

from conveyor.domain.releases.gates.judged import Verdict
from conveyor.errors import InvalidDistribution, PromotionRefused, UpstreamBusy

if TYPE_CHECKING:
    from pathlib import Path

PROGRAM = """
import sys
import time
from contextlib import closing
from pathlib import Path

from conveyor.client.problems import error_from
from conveyor.domain.releases.gates.judged import Verdict
from conveyor.errors import ConveyorError, InvalidDistribution, PromotionRefused, UpstreamBusy
from conveyor.pipeline.carrying.carrier import DurableSteps
from conveyor.pipeline.carrying.outcomes import failed
from conveyor.pipeline.engine import engine
from conveyor.pipeline.engine.steps import Done, Reporter

folder = Path(sys.argv[1])
ERRORS = {
    "refused": PromotionRefused("no", verdicts=[Verdict("tests", "fail", "red", "mend")], hint="ask"),
    "broken": InvalidDistribution("two faults", faults=["one", "two"], rule="record"),
    "busy": UpstreamBusy("slowly", retry_after_seconds=40),
}

def fail(name):
    with (folder / "failed").open("a") as file:
        file.write(name + "\\n")
    raise ERRORS[name]

def wait():
    (folder / "reached").touch()
    while not (folder / "open").exists():
        time.sleep(0.02)
    return Done(None)

@engine.workflow
def story():
    outcomes = []
    with closing(DurableSteps(Reporter(None, None))) as steps:
        for name in ERRORS:
            try:
                steps(name, lambda name=name: fail(name))
            except ConveyorError as error:
                outcomes.append(failed(error))
        steps("wait", wait)
    return outcomes

with engine.Engine(folder / "engine") as running:
    known = running.find("story")
    outcomes = running.follow("story", lambda _: None) if known else running.run("story", story)
for one in outcomes:
    error = error_from(one.error)
    rest = ("hint", "rule", "faults", "verdicts", "retry_after_seconds")
    print(type(error).__name__, error.message, *(repr(getattr(error, name, None)) for name in rest), sep="|")
"""


def test_errors_of_a_killed_worker_are_raised_whole_by_the_next(tmp_path: Path) -> None:
    program = tmp_path / "program.py"
    program.write_text(PROGRAM)
    command = [sys.executable, str(program), str(tmp_path)]
    with subprocess.Popen(command, stdout=subprocess.DEVNULL) as first:
        deadline = time.monotonic() + 120
        while not (tmp_path / "reached").exists():
            assert time.monotonic() < deadline, "the first worker did not come so far"
            time.sleep(0.02)
        os.kill(first.pid, signal.SIGKILL)
    (tmp_path / "open").touch()

    verdict = Verdict("tests", "fail", "red", "mend")
    wanted = [
        f"{PromotionRefused.__name__}|no|'ask'|None|None|{(verdict,)!r}|None",
        f"{InvalidDistribution.__name__}|two faults|None|'record'|('one', 'two')|None|None",
        f"{UpstreamBusy.__name__}|slowly|'try again in 40 seconds'|None|None|None|40",
    ]
    for _ in ("goes on", "asks for the outcome"):
        done = subprocess.run(command, capture_output=True, text=True, check=True, timeout=120)
        assert done.stdout.splitlines() == wanted
    assert (tmp_path / "failed").read_text().split() == ["refused", "broken", "busy"]  # once each
