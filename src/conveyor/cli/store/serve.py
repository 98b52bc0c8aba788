"""``conveyor store serve``: initialise a store in a folder and serve it until a signal stops it."""

from __future__ import annotations

from pathlib import Path

import click

from conveyor.settings import DEFAULT_HOST, DEFAULT_PORT, store_settings


@click.command("serve")
@click.option(
    "--data",
    type=click.Path(path_type=Path, file_okay=False),
    required=True,
    metavar="DIR",
    help="The store's folder; created and initialised if it does not exist.",
)
@click.option("--host", default=DEFAULT_HOST, show_default=True, help="Address to listen on.")
@click.option(
    "--port",
    default=DEFAULT_PORT,
    show_default=True,
    type=click.IntRange(0, 65535),
    help="Port to listen on; 0 chooses a free one.",
)
@click.option(
    "--workers", default=1, show_default=True, type=click.IntRange(1, 256), help="Processes that answer."
)
@click.option(
    "--access-log",
    type=click.Path(path_type=Path, dir_okay=False),
    metavar="FILE",
    help="Append one JSON line per request to this file.",
)
def command(data: Path, host: str, port: int, workers: int, access_log: Path | None) -> None:
    """Initialise a store in DIR if it is empty, and serve it until SIGTERM or Ctrl-C.

    Prints "serving http://HOST:PORT/" when requests are answered. The password of the user admin is written
    once to DIR/initial-admin-password, unless CONVEYOR_ADMIN_PASSWORD is set. CONVEYOR_DATABASE_URL and
    CONVEYOR_BLOBS_URL move the catalogue to PostgreSQL and the bytes elsewhere.
    """
    from conveyor.server.serve import serve

    settings = store_settings(data, host=host, port=port, workers=workers, access_log=access_log)
    serve(settings, when_ready=lambda url: click.echo(f"serving {url}"))
