"""``conveyor pipeline``: carry a commit or a tag through packaging, testing and promotion.

``run`` does all of it now, ``trigger`` requests a run, ``worker`` carries requested runs, and ``runs`` and
``log`` say what became of them. A CI host calls ``package`` and ``test``. Exit code 4 distinguishes a release
that waits for a gate from one that failed.
"""

from __future__ import annotations

import json
import os
import shutil
import sys
import uuid
from contextlib import contextmanager
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

import click
from click.core import ParameterSource

from conveyor.cli.output import verdict_lines
from conveyor.domain.words.records import as_json as json_of
from conveyor.errors import ConveyorError, InvalidInput, PromotionRefused, StoreUnreachable

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from conveyor.domain.runs.states import Run, Step
    from conveyor.pipeline.carrying.runs import Outcome
    from conveyor.pipeline.engine.isolation import Workplace
    from conveyor.pipeline.engine.worker import Keeper

WAITING = PromotionRefused.exit_code


def _engine_url(context: click.Context, option: click.Parameter, given: str | None) -> str | None:
    """A URL of PostgreSQL; a password on the command line is refused: every user of the machine sees it."""
    if not given:
        return None
    scheme, _, rest = given.partition("://")
    if scheme.partition("+")[0] not in ("postgresql", "postgres") or not rest:
        raise InvalidInput("the engine's database is not PostgreSQL", hint="postgresql://USER@HOST/DATABASE")
    is_typed = context.get_parameter_source(str(option.name)) is ParameterSource.COMMANDLINE
    if is_typed and urlsplit(given).password is not None:
        raise InvalidInput(
            "a password on the command line is seen by everybody on this machine",
            hint="put the URL into CONVEYOR_ENGINE_URL, or the password into a file that PGPASSFILE names",
        )
    return given


def _options(*names: str) -> Callable[[Callable[..., Any]], Callable[..., Any]]:
    """The options with these names, which several commands share, in this order."""
    known = {
        "repo": click.option(
            "--repo", "repository", default=".", show_default=True, help="Path or URL of the repository."
        ),
        "ref": click.option("--ref", required=True, help="The tag, branch or commit to carry."),
        "project": click.option(
            "--project", metavar="NAME",
            help="Which of a commit's projects.  [default: the only one, or the only one that it changes]",
        ),
        "index": click.option(
            "--index", help="Where its release enters the store.  [default: the only index where it can]"
        ),
        "credentials": click.option(
            "--credentials", type=click.Path(path_type=Path, exists=True, dir_okay=False), required=True,
            envvar="CONVEYOR_WORKER_CREDENTIALS",
            help="The worker's credentials file.  [env: CONVEYOR_WORKER_CREDENTIALS]",
        ),
        "store": click.option(
            "--store", "store_url", envvar="CONVEYOR_URL", help="URL of the store.  [default: as in the file]"
        ),
        "state": click.option(
            "--state", type=click.Path(path_type=Path, file_okay=False), envvar="CONVEYOR_STATE",
            help="Folder for the engine's state, logs, caches.  [default: ~/.local/state/conveyor]",
        ),
        "engine": click.option(
            "--engine", "engine_url", metavar="URL", envvar="CONVEYOR_ENGINE_URL", callback=_engine_url,
            help="PostgreSQL database for the engine's state, which workers on several machines share; "
            "a password comes by the variable or a password file.  [default: a file in the state folder] "
            " [env: CONVEYOR_ENGINE_URL]",
        ),
        "json": click.option("--json", "as_json", is_flag=True, help="Write the outcome as a line of JSON."),
    }  # fmt: skip

    def add(function: Callable[..., Any]) -> Callable[..., Any]:
        for name in reversed(names):
            function = known[name](function)
        return function

    return add


@click.group(short_help="Carry a commit or a tag through packaging, testing and promotion.")
def command() -> None:
    """Carry a commit or a tag through packaging, testing and promotion."""


@command.command(short_help="Carry a commit or a tag as far as its evidence allows.")
@_options("repo", "ref", "project", "index", "credentials", "store", "state", "engine", "json")
def run(
    repository: str, ref: str, project: str | None, index: str | None, credentials: Path,
    store_url: str | None, state: Path | None, engine_url: str | None, as_json: bool,
) -> int:  # fmt: skip
    """Carry a commit or a tag as far as its evidence allows, on this machine, now.

    Build, publish to an index such as "unstable", install and test the published file, promote to the index
    that follows, "testing"; a final release that QA signed continues to "stable". The store says which index
    follows which: the nearest of its bases. Each step is kept: after a crash the same command continues where
    it stopped. Exit code 4: the run is complete, and the release waits for a gate.
    """
    from conveyor.pipeline.carrying.settled import recall

    _stop_like_a_crash()
    folder, credentials, repository = _state(state), credentials.absolute(), _repository(repository)
    outcome = recall(
        folder, credentials, store_url=store_url, repository=repository, ref=ref, index=index, project=project
    )
    if outcome is None:
        from conveyor.pipeline.carrying.carrier import Bench, run_here  # with the engine: it takes a second

        outcome = run_here(
            Bench(folder, credentials, engine_url), store_url=store_url, repository=repository, ref=ref,
            index=index, project=project,
        )  # fmt: skip
    return _render(outcome, as_json=as_json)


@command.command(short_help="The packaging job alone, for a CI host.")
@_options("repo", "ref", "project", "index", "credentials", "store", "state", "json")
def package(
    repository: str, ref: str, project: str | None, index: str | None, credentials: Path,
    store_url: str | None, state: Path | None, as_json: bool,
) -> None:  # fmt: skip
    """The packaging job alone, for a CI host: build, check and publish to an index, with evidence."""
    from conveyor.pipeline.carrying.runs import begun, find_way
    from conveyor.pipeline.engine.worker import open_worker
    from conveyor.pipeline.jobs.packaging import package as package_ref

    known, where = open_worker(credentials, store_url=store_url), _repository(repository)
    with (
        begun(known, repository=where, ref=ref, index=index, project=project) as (steps, worker),
        _workplace(_state(state), "package", credentials, worker) as place,
    ):
        way = steps("way", lambda: find_way(worker, index))
        packaged = package_ref(
            steps, place, worker, repository=where, ref=ref, way=way, project=project
        )  # fmt: skip
        if packaged is None:
            click.echo("nothing to do: the commit carries a release tag", err=True)
            return
        where = worker.client.releases.get(packaged.project, packaged.version).index
    facts = {"project": packaged.project, "version": packaged.version, "index": where} | asdict(
        packaged.source
    )
    click.echo(json.dumps(facts) if as_json else f'{packaged.project} {packaged.version} is in "{where}"')


@command.command(short_help="The testing job alone, for a CI host.")
@click.argument("project")
@click.argument("version")
@click.option("--to", help="The index it is to enter.  [default: the one that follows]")
@click.option("--repo", "repository", help="Where its tests are.  [default: where it was built from]")
@click.option(
    "--ref", help="The tag, branch or commit there.  [default: that of the build; without one, the sdist]"
)
@click.option(
    "--python", "pythons", multiple=True, metavar="VERSION",
    help="Test on this Python too, besides those of the project.  [several times]",
)  # fmt: skip
@click.option("--junit", type=click.Path(path_type=Path), help="Write the JUnit report there.")
@_options("credentials", "store", "state", "json")
def test(
    project: str, version: str, to: str | None, repository: str | None, ref: str | None,
    pythons: tuple[str, ...], junit: Path | None,
    credentials: Path, store_url: str | None, state: Path | None, as_json: bool,
) -> int:  # fmt: skip
    """The testing job alone, for a CI host: install the published file, test it, promote it.

    Exit code 4: it was tested, and the index's gates ask for more.
    """
    from conveyor.pipeline.carrying.runs import AS_BUILT, begun, next_index
    from conveyor.pipeline.engine.worker import open_worker
    from conveyor.pipeline.jobs.promotion import promote
    from conveyor.pipeline.jobs.testing import run_testing_job

    known = open_worker(credentials, store_url=store_url)
    where_tests_are = _repository(repository) if repository else None
    with (
        begun(
            known, repository=where_tests_are or AS_BUILT, ref=ref or version, project=project,
            version=version, index=known.client.releases.get(project, version).index,
        ) as (steps, worker),
        _workplace(_state(state), "test", credentials, worker) as place,
    ):  # fmt: skip
        goal = to or next_index(worker, project, version)
        try:
            steps(
                f"test for {goal}",
                lambda: run_testing_job(
                    place, worker, project=project, version=version, index=goal,
                    repository=where_tests_are, ref=ref, pythons=pythons,
                ),
            )  # fmt: skip
        finally:
            report = place.report(f"test for {goal} junit.xml")
            if junit is not None and report.is_file():
                shutil.copyfile(report, junit)
        where = steps(f"promote to {goal}", lambda: promote(worker, project, version, to=goal))
    facts = {"project": project, "version": version} | asdict(where)
    click.echo(json.dumps(facts) if as_json else f'{project} {version} is in "{where.index}"')
    return WAITING if where.verdicts else 0


@command.command(short_help="Claim the requested runs and carry them.")
@_options("credentials", "store", "state", "engine")
@click.option(
    "--runs", "most", type=click.IntRange(1, 16), default=1, show_default=True,
    help="How many runs it carries at a time.",
)  # fmt: skip
@click.option("--once", is_flag=True, help="End when no run is waiting.")
def worker(
    credentials: Path,
    store_url: str | None,
    state: Path | None,
    engine_url: str | None,
    most: int,
    once: bool,
) -> None:
    """Claim the runs that pushes and people request, and carry them.

    It may be stopped or killed at any time: the next worker on the same state folder continues from there.
    With --engine any number of workers, on any number of machines, continue each other's runs.
    """
    from conveyor.pipeline.carrying.carrier import Bench
    from conveyor.pipeline.carrying.claims import work

    bench = Bench(_state(state), credentials.absolute(), engine_url)
    carried = work(bench, store_url=store_url, most=most, once=once)
    click.echo(f"runs carried: {carried}", err=True)


@command.command()
@click.option("--store", "store_url", envvar="CONVEYOR_URL", required=True, help="URL of the store.")
@click.option(
    "--repo", "repository", default=".", show_default=True, help="The repository, as a worker reaches it."
)
@click.option("--ref", help="The tag, branch or commit to carry.")
@_options("project", "index")
@click.option(
    "--hook", is_flag=True, help="Read what was pushed from standard input, as post-receive gets it."
)
def trigger(
    store_url: str, repository: str, ref: str | None, project: str | None, index: str | None, hook: bool
) -> int:
    """Request a run; a worker claims it. The token is taken from CONVEYOR_TOKEN.

    A bare repository's hooks/post-receive ends in
    exec conveyor pipeline trigger --store URL --repo "$PWD" --hook
    It runs in that repository, whose projects say which tags are releases and what a branch changes. A ref
    whose run the store refuses is named, and the others go on.
    """
    from conveyor.cli.store.place import given_token
    from conveyor.client.runs import log_command
    from conveyor.client.store import connect
    from conveyor.pipeline.carrying.trigger import Push, look_closer, read_pushes, request_run

    if hook == (ref is not None):
        raise InvalidInput("a run needs one of --ref and --hook")
    if hook and project is not None:
        raise InvalidInput("--project belongs to --ref: the hook sees which projects a push changes")
    client = connect(store_url, token=given_token())
    place = _repository(repository)
    pushes = look_closer(read_pushes(sys.stdin), Path.cwd()) if hook else [Push("", ref, project=project)]
    exit_code = 0
    for push in pushes:
        if push.wanted is None:
            click.echo(f"no run for {push.ref}: {push.reason}", err=True)
            continue
        try:
            asked = request_run(
                client, repository=place, ref=push.wanted, index=index, project=push.project or project
            )
        except ConveyorError as error:
            if not hook or isinstance(error, StoreUnreachable):
                raise
            which = f" of {push.project}" if push.project is not None else ""
            hint = f"\nhint: {error.hint}" if error.hint else ""
            click.echo(f"no run for {push.ref}{which}: {error.message}{hint}", err=True)
            exit_code = exit_code or error.exit_code
            continue
        which = f" of {asked.project}" if asked.project is not None else ""
        see = log_command(asked.id, store_url)
        click.echo(f"run {asked.id} is requested: {push.wanted}{which}; to see it: {see}")
    return exit_code


@command.group(short_help="The worker's credentials of private repositories.")
def credentials() -> None:
    """Keep, list and forget the worker's credentials of private repositories: a key or a token for each.

    They lie in the worker's state folder, mode 0600; the store, the jobs and the logs have none of them.
    """


def _keyring(state: Path | None) -> Path:
    from conveyor.pipeline.engine.keyring import FOLDER

    return _state(state) / FOLDER


@credentials.command("add", short_help="Keep a deploy key or a token of the repository URL.")
@click.argument("url")
@click.option("--key", type=click.Path(path_type=Path, dir_okay=False), help="A private SSH key.")
@click.option(
    "--known-hosts", type=click.Path(path_type=Path, dir_okay=False),
    help="The keys of its host, as ssh-keyscan writes them.  [default: those that the user knows]",
)  # fmt: skip
@click.option(
    "--token-file", type=click.Path(path_type=Path, dir_okay=False), help="A file with a token, for https."
)
@click.option("--user", default="git", show_default=True, help="The name that goes with the token.")
@_options("state")
def add_credentials(
    url: str, key: Path | None, known_hosts: Path | None, token_file: Path | None, user: str,
    state: Path | None,
) -> None:  # fmt: skip
    """Keep a copy of a deploy key or of a token, with which the worker reads the repository URL and no other.

    The file must be its owner's alone (mode 0600); remove it afterwards.
    """
    from conveyor.pipeline.engine import keyring

    keyring.add_credentials(
        _keyring(state), url, key=key, known_hosts=known_hosts, token_file=token_file, user=user
    )
    click.echo(f"the worker reads {url} with {'this key' if key is not None else 'this token'}")


@credentials.command("list")
@_options("state")
def list_credentials(state: Path | None) -> None:
    """List the repositories that the worker has credentials of; no secret is shown."""
    from conveyor.pipeline.engine import keyring

    for one in keyring.list_credentials(_keyring(state)):
        click.echo(f"{one.url}  {'key' if one.key is not None else f'token of {one.user}'}")


@credentials.command("remove")
@click.argument("url")
@_options("state")
def remove_credentials(url: str, state: Path | None) -> None:
    """Forget the credentials of the repository URL."""
    from conveyor.pipeline.engine import keyring

    keyring.remove_credentials(_keyring(state), url)
    click.echo(f"the worker has no credentials of {url} any more")


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


@command.command(short_help="List the newest runs of a store, and how each ended.")
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


@command.command("log", short_help="Show one run: its steps, and why it failed.")
@click.argument("number", metavar="RUN", type=click.IntRange(1))
@_of_runs
def show_log(number: int, store_url: str, as_json: bool) -> None:
    """Show run RUN: its state, its steps, and of a step that failed the log and what to do.

    The token is taken from CONVEYOR_TOKEN.
    """
    from conveyor.cli.store.place import given_token
    from conveyor.client.store import connect

    with connect(store_url, token=given_token()) as client:
        found = client.runs.get(number)
    if as_json:
        click.echo(json.dumps(json_of(found), indent=2))
        return
    for line in [run_line(found), *(line for step in found.steps for line in step_lines(step))]:
        click.echo(line)


def run_line(run: Run) -> str:
    """One line about a run: its number, state, release, ref, time and, once it has ended, how."""
    what = " ".join(filter(None, (run.project, run.version))) or run.repository
    end = run.detail if run.has_ended and run.detail else f"by {run.worker}" if run.worker else ""
    said = f"  {end.splitlines()[0]}" if end else ""
    return f"{run.id:>6}  {run.state:<9}  {run.requested_at}  {what}  {run.ref}{said}"


def step_lines(step: Step) -> list[str]:
    """The lines about a step: its state and summary; if it failed, its log, its message and the next step."""
    from conveyor.pipeline.engine.steps import step_line

    if step.state == "running":
        return [f"…          {step.name:<20} since {step.started_at}"]
    lines = [step_line(step.name, step.state, step.seconds, step.summary)]
    if step.state == "failed":
        lines += [f"    | {line}" for line in str(step.detail.get("log") or "").splitlines()]
        told = f"{step.detail.get('error') or 'failed'}: {step.detail.get('message') or step.summary}"
        lines += [f"    {line}" for line in told.splitlines()]
        if hint := step.detail.get("hint"):
            lines.append(f"    hint: {hint}")
    return lines


def _render(outcome: Outcome, *, as_json: bool) -> int:
    """Write where the release is now and return the exit code."""
    from conveyor.client.problems import error_from

    if as_json:
        click.echo(json.dumps(json_of(outcome)))
    if outcome.error is not None:
        error = error_from(outcome.error)
        if as_json:
            return error.exit_code
        if outcome.error.log:
            click.echo(outcome.error.log.rstrip(), err=True)
        raise error
    if not as_json:
        where = f'{outcome.project} {outcome.version} is in "{outcome.index}"'
        click.echo(where if outcome.index else outcome.detail)
        for line in verdict_lines(outcome.verdicts):
            click.echo(line, err=True)
    return WAITING if outcome.is_waiting else 0


def _state(given: Path | None) -> Path:
    if given is not None:
        return given.absolute()
    base = os.environ.get("XDG_STATE_HOME") or str(Path.home() / ".local" / "state")
    return Path(base).absolute() / "conveyor"


def _repository(given: str) -> str:
    """A path as a worker elsewhere in the file system finds it; a URL as it is."""
    return str(Path(given).resolve()) if Path(given).exists() else given


@contextmanager
def _workplace(state: Path, job: str, credentials: Path, worker: Keeper) -> Iterator[Workplace]:
    """A workplace for one job without an engine; it is removed if the job succeeds."""
    from conveyor.pipeline.engine import keyring
    from conveyor.pipeline.engine.isolation import Workplace, isolated, watched
    from conveyor.pipeline.engine.steps import say_to_stderr

    mark, keys = f"{job}-{uuid.uuid4().hex[:12]}", state / keyring.FOLDER
    place = Workplace(
        state / "work" / mark, cache=state / "cache", executor=mark, run=worker.run, reach=worker.reach,
        keyring=keys,
    )  # fmt: skip
    place.folder.mkdir(parents=True)
    with watched(mark), isolated(place, [credentials.absolute(), keys], say_to_stderr) as walled:
        yield walled
    shutil.rmtree(place.folder, ignore_errors=True)


def _stop_like_a_crash() -> None:
    """Let Ctrl-C and SIGTERM end the process at once: the engine continues from there when called again."""
    import signal

    def stop(number: int, frame: object) -> None:
        del frame
        sys.stderr.write("stopped; the same command continues from here\n")
        sys.stderr.flush()
        os._exit(128 + number)

    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, stop)
