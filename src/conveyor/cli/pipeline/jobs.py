"""``conveyor pipeline run | package | test``: a job here and now; the last two are what a CI host calls.

Exit code 4 distinguishes a release that waits for a gate from one that failed. The options that the commands
of the pipeline share are here as well.
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

from conveyor.cli.output import seen_by_worker, verdict_lines
from conveyor.domain.words.records import as_json as json_of
from conveyor.errors import InvalidInput, PromotionRefused
from conveyor.settings import job_grants, job_limits

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from conveyor.client.elsewhere import Elsewhere
    from conveyor.pipeline.carrying.outcomes import Outcome
    from conveyor.pipeline.engine.isolation import Workplace
    from conveyor.pipeline.engine.steps import DirectSteps
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


def options(*names: str) -> Callable[[Callable[..., Any]], Callable[..., Any]]:
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
        "identity": click.option(
            "--credentials", type=click.Path(path_type=Path, exists=True, dir_okay=False),
            envvar="CONVEYOR_WORKER_CREDENTIALS",
            help="The worker's credentials file.  [default: none, as the job of a CI host that is a trusted "
            "publisher]  [env: CONVEYOR_WORKER_CREDENTIALS]",
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


def state_folder(given: Path | None) -> Path:
    """The worker's state folder: the one given, or that of this user."""
    if given is not None:
        return given.resolve()  # uv writes paths without "..", and files outside of the run are refused
    base = os.environ.get("XDG_STATE_HOME") or str(Path.home() / ".local" / "state")
    return Path(base).absolute() / "conveyor"


@click.command("run")
@options("repo", "ref", "project", "index", "credentials", "store", "state", "engine", "json")
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
    folder, credentials, repository = state_folder(state), credentials.absolute(), seen_by_worker(repository)
    outcome = recall(
        folder, credentials, store_url=store_url, repository=repository, ref=ref, index=index, project=project
    )
    if outcome is None:
        from conveyor.pipeline.carrying.carrier import Bench, run_here  # with the engine: it takes a second

        outcome = run_here(
            Bench(folder, credentials, engine_url, job_limits(), job_grants()), store_url=store_url,
            repository=repository, ref=ref, index=index, project=project,
        )  # fmt: skip
    return _render(outcome, as_json=as_json)


@click.command("package")
@options("repo", "ref", "project", "index", "identity", "store", "state", "json")
@click.option(
    "--publish-to", "publish_to", metavar="URL",
    help="Publish to another store, such as devpi or Nexus, at this address for uploads.",
)  # fmt: skip
@click.option("--mirror", metavar="INDEX", help="The mirror of that store here.  [default: the only one]")
def package(
    repository: str, ref: str, project: str | None, index: str | None, credentials: Path | None,
    store_url: str | None, state: Path | None, as_json: bool, publish_to: str | None, mirror: str | None,
) -> None:  # fmt: skip
    """The packaging job alone, for a CI host: build, check and publish to an index, with evidence.

    With a worker's credentials the evidence counts. Without any, the job's own ID token says which trusted
    publisher it is; what it tells is kept with its name, and opens no gate unless the policy says so.

    With --publish-to the files go to another store, with the user and password in CONVEYOR_PUBLISH_USER and
    CONVEYOR_PUBLISH_PASSWORD; the evidence on them comes here, for what a mirror of that store shows.
    """
    from conveyor.pipeline.carrying.runs import begun, find_way
    from conveyor.pipeline.jobs.packaging import package as package_ref

    known, where = _who(credentials, store_url), seen_by_worker(repository)
    target = _target(known, publish_to, mirror)
    with (
        begun(known, repository=where, ref=ref, index=index, project=project) as (steps, worker),
        _workplace(state_folder(state), "package", credentials, worker, steps) as place,
    ):
        way = steps("way", lambda: find_way(worker, index))
        packaged = package_ref(
            steps, place, worker, repository=where, ref=ref, way=way, project=project, target=target
        )  # fmt: skip
        if packaged is None:
            click.echo("nothing to do: the commit carries a release tag", err=True)
            return
        if target is not None:
            where = target[1]
        else:
            where = worker.client.releases.get(packaged.project, packaged.version).index
    facts = {"project": packaged.project, "version": packaged.version, "index": where} | asdict(
        packaged.source
    )
    click.echo(json.dumps(facts) if as_json else f'{packaged.project} {packaged.version} is in "{where}"')


@click.command("test")
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
@options("identity", "store", "state", "json")
def test(
    project: str, version: str, to: str | None, repository: str | None, ref: str | None,
    pythons: tuple[str, ...], junit: Path | None,
    credentials: Path | None, store_url: str | None, state: Path | None, as_json: bool,
) -> int:  # fmt: skip
    """The testing job alone, for a CI host: install the published file and test it; the store promotes it.

    Exit code 4: it was tested, and the index's gates ask for more. Whose evidence it is: as for package.
    """
    from conveyor.domain.runs.states import AS_BUILT
    from conveyor.pipeline.carrying.runs import begun, dependants_job, next_index
    from conveyor.pipeline.jobs.promotion import ask_for_promotion
    from conveyor.pipeline.jobs.testing import run_testing_job

    known = _who(credentials, store_url)
    where_tests_are = seen_by_worker(repository) if repository else None
    with (
        begun(
            known, repository=where_tests_are or AS_BUILT, ref=ref or version, project=project,
            version=version, index=known.client.releases.get(project, version).index,
        ) as (steps, worker),
        _workplace(state_folder(state), "test", credentials, worker, steps) as place,
    ):  # fmt: skip
        goal = to or next_index(worker, project, version)
        try:
            asks_dependants = steps(
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
        if asks_dependants:
            dependants_job(steps, place, worker, project, version, goal)
        where = steps(f"promote to {goal}", lambda: ask_for_promotion(worker, project, version, to=goal))
    facts = {"project": project, "version": version} | asdict(where)
    click.echo(json.dumps(facts) if as_json else f'{project} {version} is in "{where.index}"')
    return WAITING if where.verdicts else 0


@click.command("test-dependants")
@click.argument("project")
@click.argument("version")
@click.option("--to", required=True, metavar="INDEX", help="The index whose releases are tested with it.")
@options("credentials", "store", "state")
def test_dependants(
    project: str, version: str, to: str, credentials: Path, store_url: str | None, state: Path | None
) -> None:
    """Run the tests of every release in an index that requires release VERSION of PROJECT, with it installed.

    What fails then is tried again with the release that the index has; only what fails anew counts. The gate
    "dependants" judges by the results. Where an index has that gate, its testing job does this by itself.
    """
    from conveyor.domain.runs.states import AS_BUILT
    from conveyor.pipeline.carrying.runs import begun, dependants_job
    from conveyor.pipeline.engine.worker import open_worker

    known = open_worker(credentials, store_url=store_url)
    where = known.client.releases.get(project, version).index
    with (
        begun(
            known, repository=AS_BUILT, ref=version, project=project, version=version, index=where
        ) as (steps, worker),
        _workplace(state_folder(state), "test", credentials, worker, steps) as place,
    ):  # fmt: skip
        dependants_job(steps, place, worker, project, version, to)


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


def _target(known: Keeper, url: str | None, mirror: str | None) -> tuple[Elsewhere, str] | None:
    """Another store that gets the files, and the mirror of it here; ``None``: none is named."""
    from conveyor.client.elsewhere import elsewhere

    if url is None:
        if mirror is not None:
            raise InvalidInput("--mirror belongs to --publish-to")
        return None
    if known.job is not None:
        raise InvalidInput(
            "what is published elsewhere needs the evidence of a worker",
            hint="give the worker's credentials: --credentials FILE",
        )
    target = elsewhere(url)
    mirrors = [one.name for one in known.client.indexes.all() if one.kind == "mirror"]
    if mirror is None and len(mirrors) != 1:
        raise InvalidInput(f"this store has {len(mirrors)} mirrors", hint="name that store's: --mirror INDEX")
    return target, mirror or mirrors[0]


def _who(credentials: Path | None, store_url: str | None) -> Keeper:
    """The worker of these credentials, else the job of a CI host."""
    from conveyor.pipeline.engine.worker import open_job, open_worker

    if credentials is not None:
        return open_worker(credentials, store_url=store_url)
    return open_job(store_url=store_url)


@contextmanager
def _workplace(
    state: Path, job: str, credentials: Path | None, worker: Keeper, steps: DirectSteps
) -> Iterator[Workplace]:
    """A workplace for one job without an engine; it is removed if the job succeeds."""
    from conveyor.pipeline.engine import keyring
    from conveyor.pipeline.engine.isolation import Workplace, isolated, watched
    from conveyor.pipeline.engine.steps import say_to_stderr

    mark, keys = f"{job}-{uuid.uuid4().hex[:12]}", state / keyring.FOLDER
    place = Workplace(
        state / "work" / mark, cache=state / "cache", executor=mark, run=worker.run, reach=worker.reach,
        keyring=keys, told=worker.told, store=worker.public_url, output=steps.reporter.output,
        grants=job_grants(),
    )  # fmt: skip
    steps.reporter.mark = mark
    place.folder.mkdir(parents=True)
    secrets = [*keyring.folders_of_secrets(state)]
    secrets += [credentials.absolute()] if credentials is not None else []
    with watched(mark), isolated(place, worker, secrets, say_to_stderr, job_limits()) as walled:
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
