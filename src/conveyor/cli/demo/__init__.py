"""``conveyor demo``: the whole story once, on this machine, with real parts.

In this room: the command, the story (``story``), the people and machines that act in it (``cast``), the proof
that the consumer installed the tested files (``proof``), and the output (``screen``). The demo uses only the
product's own commands and HTTP interface, as a team would; nothing here reaches behind them.
"""

from __future__ import annotations

from pathlib import Path

import click

from conveyor.cli.demo.screen import make_screen
from conveyor.cli.demo.story import play


@click.command()
@click.option("--keep", is_flag=True, help="Leave the store running and the files in place, to look around.")
@click.option(
    "--folder",
    type=click.Path(path_type=Path, file_okay=False),
    help="Where the demo works; it must be empty. Default: a temporary folder, removed at the end.",
)
def command(*, keep: bool, folder: Path | None) -> None:
    """Play the whole story once: commit, tag, test, sign, install, predict."""
    with make_screen() as screen:
        play(screen, keep=keep, folder=folder)
