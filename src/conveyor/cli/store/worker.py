"""``conveyor store worker``: pipeline workers, whose evidence counts."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import click

from conveyor.cli.lazy import CONTEXT_SETTINGS
from conveyor.cli.output import show
from conveyor.cli.store.place import on_a_store
from conveyor.domain.people.keys import Worker

if TYPE_CHECKING:
    from conveyor.cli.store.place import Place


@click.group("worker", context_settings=CONTEXT_SETTINGS)
def command() -> None:
    """Register, list and revoke pipeline workers."""


@command.command("add", short_help="Register the worker NAME and write its credentials.")
@click.argument("name")
@click.option(
    "--credentials",
    required=True,
    type=click.Path(path_type=Path, dir_okay=False),
    metavar="FILE",
    help="Where to write its key and token; must not exist.",
)
@click.option(
    "--store",
    "store_url",
    metavar="URL",
    help="The store as the worker reaches it.  [default: --url; with --data, where it was served last]",
)
@on_a_store
def add(name: str, credentials: Path, store_url: str | None, place: Place) -> None:
    """Register the worker NAME with a new key and write its credentials to FILE.

    The private key is made here and never leaves FILE.
    """
    from conveyor.client.credentials import (
        WorkerCredentials,
        make_key_pair,
        reserve_credentials,
        save_credentials,
    )

    url = store_url or place.address()
    reserve_credentials(credentials)  # first, so that no key is registered that cannot be kept
    try:
        pair = make_key_pair()
        with place.client() as client:
            issued = client.workers.add(name, pair.public_pem)
        save_credentials(credentials, WorkerCredentials(url, name, issued.token, pair.private_pem))
    except BaseException:
        credentials.unlink(missing_ok=True)
        raise
    where = f", for the store at {url}" if url else ""
    click.echo(
        f"{name} is registered with the key {issued.key_id[:16]}…; "
        f"its credentials are in {credentials}{where}"
    )
    if url is None:
        click.echo(
            "they name no URL, because this store was never served: give the worker --store URL", err=True
        )


@command.command("list")
@click.option("--json", "as_json", is_flag=True, help="Write JSON.")
@on_a_store
def list_all(as_json: bool, place: Place) -> None:
    """List workers, revoked ones too."""
    with place.client() as client:
        show(client.workers.all(), Worker, as_text=not as_json)


@command.command("revoke", short_help="Revoke the worker NAME.")
@click.argument("name")
@on_a_store
def revoke(name: str, place: Place) -> None:
    """Revoke the worker NAME: its evidence no longer counts, and its tokens stop working."""
    with place.client() as client:
        client.workers.revoke(name)
    click.echo(f"evidence of {name} no longer counts")
