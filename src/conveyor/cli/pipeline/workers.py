"""``conveyor pipeline worker``: carries the runs that pushes and people request."""

from __future__ import annotations

from typing import TYPE_CHECKING

import click

from conveyor.cli.pipeline.options import options, state_folder

if TYPE_CHECKING:
    from pathlib import Path


@click.command("worker", short_help="Claim the requested runs and carry them.")
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

    bench = Bench(state_folder(state), credentials.absolute(), engine_url)
    carried = work(bench, store_url=store_url, most=most, keep_days=keep_days, once=once)
    click.echo(f"runs carried: {carried}", err=True)
