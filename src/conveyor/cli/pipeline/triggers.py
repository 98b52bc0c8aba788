"""``conveyor pipeline trigger | hook | poll``: what requests runs, with the token in ``CONVEYOR_TOKEN``."""

from __future__ import annotations

import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING

import click

from conveyor.cli.lazy import CONTEXT_SETTINGS
from conveyor.cli.output import seen_by_worker
from conveyor.cli.pipeline.jobs import options, state_folder
from conveyor.errors import ConveyorError, InvalidInput, StoreUnreachable

if TYPE_CHECKING:
    from conveyor.pipeline.carrying.trigger import Push

LEAST_SECONDS = 5


@click.command("trigger")
@click.option("--store", "store_url", envvar="CONVEYOR_URL", required=True, help="URL of the store.")
@click.option(
    "--repo", "repository", default=".", show_default=True, help="The repository, as a worker reaches it."
)
@click.option("--ref", help="The tag, branch or commit to carry.")
@options("project", "index")
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
    from conveyor.pipeline.carrying.trigger import Push, look_closer, read_pushes

    if hook == (ref is not None):
        raise InvalidInput("a run needs one of --ref and --hook")
    if hook and project is not None:
        raise InvalidInput("--project belongs to --ref: the hook sees which projects a push changes")
    client = connect(store_url, token=given_token())
    place = seen_by_worker(repository)
    pushes = look_closer(read_pushes(sys.stdin), Path.cwd()) if hook else [Push("", ref, project=project)]
    exit_code = 0
    for push in pushes:
        if push.wanted is None:
            click.echo(f"no run for {push.ref}: {push.reason}", err=True)
            continue
        try:
            asked = client.runs.create(place, push.wanted, index=index, project=push.project or project)
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


@click.group("hook", context_settings=CONTEXT_SETTINGS)
def hook() -> None:
    """Have a bare repository of this machine request a run of what is pushed to it."""


@hook.command("install", short_help="Write the post-receive hook of a repository.")
@click.argument("repository", type=click.Path(path_type=Path, file_okay=False, exists=True), default=".")
@click.option("--store", "store_url", envvar="CONVEYOR_URL", required=True, help="URL of the store.")
@click.option("--repo", "named", help="The repository, as a worker reaches it.  [default: its path]")
@options("index")
def install_hook(repository: Path, store_url: str, named: str | None, index: str | None) -> None:
    """Write hooks/post-receive of REPOSITORY, whether pushes come over SSH, over HTTP or from this machine.

    The token is taken from CONVEYOR_TOKEN, needs the scope run and no other, and is kept beside the hook in a
    file that only its owner can read: the user as whom pushes arrive.
    """
    from conveyor.cli.store.place import given_token
    from conveyor.pipeline.carrying.trigger import write_hook

    token = given_token()
    if token is None:
        raise InvalidInput("the hook needs a token", hint="put one with the scope run into CONVEYOR_TOKEN")
    words = [sys.executable, "-m", "conveyor", "pipeline", "trigger", "--hook", "--store", store_url]
    words += ["--repo", named or str(repository.resolve()), *(["--index", index] if index else [])]
    click.echo(f"{write_hook(repository, words, token)} requests runs of what is pushed")


@click.command("poll")
@click.option("--store", "store_url", envvar="CONVEYOR_URL", required=True, help="URL of the store.")
@click.option(
    "--repo", "repositories", multiple=True, default=["."],
    help="The repository, as a worker reaches it.  [several times; default: .]",
)  # fmt: skip
@click.option(
    "--branch", "branches", multiple=True, help="Follow this branch, besides tags.  [several times]"
)
@click.option(
    "--every", type=click.IntRange(LEAST_SECONDS), default=60, show_default=True, metavar="SECONDS",
    help="How long to wait between two looks.",
)  # fmt: skip
@click.option("--once", is_flag=True, help="Look once, as a scheduler does that calls again.")
@options("index", "state")
def poll_repositories(
    store_url: str, repositories: tuple[str, ...], branches: tuple[str, ...], every: int, once: bool,
    index: str | None, state: Path | None,
) -> None:  # fmt: skip
    """Look at repositories from time to time, and request a run of each new release tag and branch's commit.

    The first look only remembers what is there. A repository that cannot be read is named, and tried again.
    """
    from conveyor.cli.store.place import given_token
    from conveyor.client.store import connect
    from conveyor.pipeline.carrying.trigger import poll

    folder, client = state_folder(state), connect(store_url, token=given_token())
    while True:
        for place in map(seen_by_worker, repositories):

            def request(push: Push, place: str = place) -> None:
                asked = client.runs.create(place, push.wanted or "", index=index)
                click.echo(f"run {asked.id} is requested: {push.ref} of {place}")

            try:
                changed = poll(place, folder, branches, request)
            except ConveyorError as error:
                if once:
                    raise
                click.echo(f"{place}: {error.message}", err=True)
                continue
            if changed is None:
                click.echo(f"{place} is followed from now on", err=True)
            for push in changed or ():
                if push.wanted is None:
                    click.echo(f"no run for {push.ref} of {place}: {push.reason}", err=True)
        if once:
            return
        time.sleep(every)
