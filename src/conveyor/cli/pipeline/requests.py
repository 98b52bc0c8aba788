"""``conveyor pipeline runs | log | cancel | retry``: runs as the store knows them.

The token is taken from ``CONVEYOR_TOKEN``.
"""

from __future__ import annotations

import json
import time
from contextlib import suppress
from typing import TYPE_CHECKING, Any

import click

from conveyor.domain.words.faults import printable
from conveyor.domain.words.records import as_json as json_of
from conveyor.errors import StepFailed, StoreUnreachable

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator

    from conveyor.client.runs import Runs
    from conveyor.domain.runs.states import OutputBatch, Run, Step

FOLLOW_SECONDS = 0.5


def _of_runs(function: Callable[..., Any]) -> Callable[..., Any]:
    """The options of the commands that look at the runs of a store."""
    for add in (
        click.option("--json", "as_json", is_flag=True, help="Write JSON."),
        click.option(
            "--store", "store_url", envvar="CONVEYOR_URL", required=True,
            help="URL of the store.  [env: CONVEYOR_URL]",
        ),
    ):  # fmt: skip
        function = add(function)
    return function


@click.command("runs")
@click.option(
    "--limit", type=click.IntRange(1, 200), default=20, show_default=True, help="How many, at most."
)
@_of_runs
def runs(limit: int, store_url: str, as_json: bool) -> None:
    """List the newest runs that you may see, newest first. The token is taken from CONVEYOR_TOKEN."""
    from conveyor.cli.store.place import given_token
    from conveyor.client.store import connect

    with connect(store_url, token=given_token()) as client:
        found = client.runs.newest(limit=limit)
    if as_json:
        click.echo(json.dumps(json_of(list(found)), indent=2))
        return
    for one in found:
        click.echo(run_line(one))
    if not found:
        click.echo("no run is here that you may see", err=True)


@click.command("log")
@click.argument("number", metavar="RUN", type=click.IntRange(1))
@click.option(
    "--follow", is_flag=True,
    help="Go on until the run has ended, with its output as it comes; exit code 8 if it failed.",
)  # fmt: skip
@click.option("--output", "with_output", is_flag=True, help="Show what its programs have written, too.")
@_of_runs
def show_log(number: int, follow: bool, with_output: bool, store_url: str, as_json: bool) -> int:
    """Show run RUN: its state, its steps, and of a step that failed the log and what to do.

    The token is taken from CONVEYOR_TOKEN.
    """
    from conveyor.cli.store.place import given_token
    from conveyor.client.store import connect

    with connect(store_url, token=given_token()) as client:
        found = client.runs.get(number)
        if follow:
            if not as_json:
                click.echo(run_line(found))
            found = _follow(client.runs, found, is_quiet=as_json)
        if as_json:
            shown = json_of(found)
            if with_output:
                shown["output"] = json_of(list(_Output(client.runs, number).more()))
            click.echo(json.dumps(shown, indent=2))
        elif not follow:
            for line in [run_line(found), *(line for step in found.steps for line in step_lines(step))]:
                click.echo(line)
            if with_output:
                _Output(client.runs, number).show()
    return 0 if not follow or found.state == "succeeded" else StepFailed.exit_code


def _follow(runs: Runs, run: Run, *, is_quiet: bool) -> Run:
    """Write each step when it begins and when it ends, and the output meanwhile; returns the run at its end.

    A store that is restarted meanwhile is waited for.
    """
    told: dict[str, Step] = {}
    output = _Output(runs, run.id)
    while True:
        if not is_quiet:
            news = [step for step in run.steps if told.get(step.name) != step]
            _write_steps(step for step in news if step.state == "running")
            with suppress(StoreUnreachable):
                output.show()
            _write_steps(step for step in news if step.state != "running")
            told |= {step.name: step for step in run.steps}
            if run.has_ended:
                click.echo(run_line(run))
        if run.has_ended:
            return run
        time.sleep(FOLLOW_SECONDS)
        with suppress(StoreUnreachable):
            run = runs.get(run.id)


def _write_steps(steps: Iterable[Step]) -> None:
    for step in steps:
        for line in step_lines(step):
            click.echo(line)


class _Output:
    """The output of a run, and how much of it was seen."""

    def __init__(self, runs: Runs, run_id: int) -> None:
        self._runs = runs
        self._run_id = run_id
        self._seen = 0
        self._log = ""

    def more(self) -> Iterator[OutputBatch]:
        """What has come since; raises StoreUnreachable."""
        while batches := self._runs.output(self._run_id, after=self._seen):
            for batch in batches:
                self._seen = batch.number
                yield batch

    def show(self) -> None:
        """Write what has come since, each log under its name."""
        for part in (part for batch in self.more() for part in batch.parts):
            if part.log != self._log:
                self._log = part.log
                click.echo(f"  > {printable(part.log)}")
            for line in part.text.splitlines():
                click.echo(shown_line(line))


def shown_line(line: str) -> str:
    """A line that a program of a run wrote, without what would command the terminal."""
    return f"    | {printable(line.expandtabs())}".rstrip()


def _order(function: Callable[..., Any]) -> Callable[..., Any]:
    """The arguments of a command about one run."""
    for add in (
        click.option(
            "--store", "store_url", envvar="CONVEYOR_URL", required=True,
            help="URL of the store.  [env: CONVEYOR_URL]",
        ),
        click.option("--reason", help="Why, in a sentence that is shown with the run."),
        click.argument("number", metavar="RUN", type=click.IntRange(1)),
    ):  # fmt: skip
        function = add(function)
    return function


@click.command("cancel")
@_order
def cancel(number: int, reason: str | None, store_url: str) -> None:
    """End run RUN, whether it waits or is under way; its worker ends all that it has started.

    What it has published stays. The token is taken from CONVEYOR_TOKEN.
    """
    from conveyor.cli.store.place import given_token
    from conveyor.client.store import connect

    with connect(store_url, token=given_token()) as client:
        click.echo(run_line(client.runs.cancel(number, reason)))


@click.command("retry")
@_order
def retry(number: int, reason: str | None, store_url: str) -> None:
    """Request what run RUN was to do once more, as a new run; what it has done is not done again.

    The token is taken from CONVEYOR_TOKEN.
    """
    from conveyor.cli.store.place import given_token
    from conveyor.client.runs import log_command
    from conveyor.client.store import connect

    with connect(store_url, token=given_token()) as client:
        asked = client.runs.retry(number, reason)
    click.echo(f"run {asked.id} is requested; to see it: {log_command(asked.id, store_url)}")


def run_line(run: Run) -> str:
    """One line about a run: its number, state, release, ref, time and, once it has ended, how."""
    what = " ".join(filter(None, (run.project, run.version))) or run.repository
    end = run.detail if run.has_ended and run.detail else f"by {run.worker}" if run.worker else ""
    if run.retry_of is not None:
        end = f"{end} (again for run {run.retry_of}{f': {run.reason}' if run.reason else ''})".strip()
    elif run.reason and run.state != "cancelled":  # else its detail says it
        end = f"{end} ({run.reason})".strip()
    said = f"  {end.splitlines()[0]}" if end else ""
    return f"{run.id:>6}  {run.state:<9}  {run.requested_at}  {what}  {run.ref}{said}"


def step_lines(step: Step) -> list[str]:
    """The lines about a step: its state and summary; if it failed, its log, its message and the next step."""
    from conveyor.pipeline.engine.steps import step_line

    if step.state == "running":
        return [f"…          {step.name:<20} since {step.started_at}"]
    lines = [step_line(step.name, step.state, step.seconds, step.summary)]
    if step.state == "failed":
        lines += [shown_line(line) for line in str(step.detail.get("log") or "").splitlines()]
        told = f"{step.detail.get('error') or 'failed'}: {step.detail.get('message') or step.summary}"
        lines += [f"    {line}" for line in told.splitlines()]
        if hint := step.detail.get("hint"):
            lines.append(f"    hint: {hint}")
    return lines
