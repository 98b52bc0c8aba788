"""``conveyor ci``: write the file of a CI host that packages and tests this project."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, get_args

import click

from conveyor.errors import Conflict
from conveyor.project.ci import FILES, CiIdentity, ci_file

if TYPE_CHECKING:
    from conveyor.project.ci import CiHost


@click.command("ci")
@click.argument("host", type=click.Choice(list(FILES)))
@click.option("--store", "store_url", envvar="CONVEYOR_URL", required=True, help="URL of the store.")
@click.option(
    "--identity", type=click.Choice(list(get_args(CiIdentity))),
    help="Who a job is: a trusted publisher by its ID token, or a worker whose credentials the host keeps. "
    " [default: oidc; worker for Jenkins]",
)  # fmt: skip
@click.option("--audience", help="What ID tokens are made out to.  [default: the host in the store's URL]")
@click.option("--force", is_flag=True, help="Replace a file that is there already.")
@click.option("--stdout", "is_shown", is_flag=True, help="Write to standard output instead.")
def command(
    host: CiHost, store_url: str, identity: CiIdentity | None, audience: str | None, force: bool,
    is_shown: bool,
) -> None:  # fmt: skip
    """Write .gitlab-ci.yml, a workflow of GitHub or a Jenkinsfile for this project.

    It calls `conveyor pipeline package` and `conveyor pipeline test` and nothing else. The store decides what
    a release may do. Its first lines say which secret the host needs, if any.
    """
    text = ci_file(host, store_url, identity=identity, audience=audience)
    if is_shown:
        click.echo(text, nl=False)
        return
    path = Path(FILES[host])
    if path.exists() and not force and path.read_text(encoding="utf-8", errors="replace") != text:
        raise Conflict(
            f"{path} is there already", hint="replace it with --force, or look first with --stdout"
        )
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text, encoding="utf-8")
    click.echo(f"{path} is written; commit it")
