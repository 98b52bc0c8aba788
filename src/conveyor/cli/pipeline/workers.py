"""``conveyor pipeline worker | credentials``: carries requested runs; its keys of private repositories."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import click

from conveyor.cli.lazy import CONTEXT_SETTINGS
from conveyor.cli.pipeline.jobs import options, state_folder

if TYPE_CHECKING:
    from conveyor.pipeline.engine.keyring import StatusHost
from conveyor.settings import job_grants, job_limits


@click.command("worker")
@options("credentials", "store", "state", "engine")
@click.option(
    "--runs", "most", type=click.IntRange(1, 16), default=1, show_default=True,
    help="How many runs it carries at a time.",
)  # fmt: skip
@click.option(
    "--keep-days", type=click.IntRange(1), default=30, show_default=True,
    help="Days for which logs and the engine's records of ended runs are kept.",
)  # fmt: skip
@click.option("--once", is_flag=True, help="End when no run is waiting.")
def worker(
    credentials: Path,
    store_url: str | None,
    state: Path | None,
    engine_url: str | None,
    most: int,
    keep_days: int,
    once: bool,
) -> None:
    """Claim the runs that pushes and people request, and carry them.

    It may be stopped or killed at any time: the next worker on the same state folder continues from there.
    With --engine any number of workers, on any number of machines, continue each other's runs.
    """
    from conveyor.pipeline.carrying.carrier import Bench
    from conveyor.pipeline.carrying.claims import work

    bench = Bench(state_folder(state), credentials.absolute(), engine_url, job_limits(), job_grants())
    carried = work(bench, store_url=store_url, most=most, keep_days=keep_days, once=once)
    click.echo(f"runs carried: {carried}", err=True)


@click.group(
    "credentials",
    context_settings=CONTEXT_SETTINGS,
    short_help="The worker's credentials of private repositories.",
)
def credentials() -> None:
    """Keep, list and forget the worker's credentials of private repositories: a key or a token for each.

    They lie in the worker's state folder, mode 0600; the store, the jobs and the logs have none of them.
    """


def _keyring(state: Path | None) -> Path:
    from conveyor.pipeline.engine.keyring import FOLDER

    return state_folder(state) / FOLDER


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
@options("state")
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
@options("state")
def list_credentials(state: Path | None) -> None:
    """List the repositories that the worker has credentials or tells statuses of; no secret is shown."""
    from conveyor.pipeline.engine import keyring

    for one in keyring.list_credentials(_keyring(state)):
        click.echo(f"{one.url}  {'key' if one.key is not None else f'token of {one.user}'}")
    for account in keyring.list_status_accounts(_keyring(state)):
        click.echo(f"{account.url}  commit statuses to {account.host} at {account.api}")


@credentials.command("remove")
@click.argument("url")
@options("state")
def remove_credentials(url: str, state: Path | None) -> None:
    """Forget the credentials of the repository URL."""
    from conveyor.pipeline.engine import keyring

    keyring.remove_credentials(_keyring(state), url)
    click.echo(f"the worker has no credentials of {url} any more")


@credentials.command("status", short_help="Tell the git host of the repository URL how its runs stand.")
@click.argument("url")
@click.option(
    "--host",
    type=click.Choice(["gitlab", "github", "gitea"]),
    help="What the host is; gitea: Forgejo as well.",
)
@click.option(
    "--token-file", type=click.Path(path_type=Path, dir_okay=False),
    help="A file with a token that may set commit statuses there.",
)  # fmt: skip
@click.option("--api", metavar="URL", help="Where the host has its API.  [default: as such hosts have it]")
@click.option("--remove", is_flag=True, help="Tell the host nothing any more.")
@options("state")
def tell_status(
    url: str,
    host: StatusHost | None,
    token_file: Path | None,
    api: str | None,
    remove: bool,
    state: Path | None,
) -> None:
    """Tell the git host of the repository URL how its runs stand, which it shows beside the commit.

    The worker keeps a copy of the token, which must be in a file of its owner's alone (mode 0600).
    """
    from conveyor.pipeline.engine import keyring

    if remove:
        keyring.remove_status_account(_keyring(state), url)
        click.echo(f"the host of {url} is told nothing any more")
        return
    if host is None or token_file is None:
        raise click.UsageError("give --host HOST and --token-file FILE, or --remove")
    account = keyring.add_status_account(_keyring(state), url, host=host, token_file=token_file, api=api)
    click.echo(f"the worker tells {account.host} at {account.api} how runs of {account.url} stand")
