"""``conveyor store token`` and ``publisher``: API tokens, and jobs that get some without a secret."""

from __future__ import annotations

import os
import subprocess
from contextlib import suppress
from typing import TYPE_CHECKING

import click

from conveyor.cli.lazy import CONTEXT_SETTINGS
from conveyor.cli.output import filling, show
from conveyor.cli.store.place import on_a_store
from conveyor.domain.people.access import NewToken, Token
from conveyor.domain.people.publishers import NewPublisher, Publisher
from conveyor.errors import ConveyorError, MissingTool

if TYPE_CHECKING:
    from conveyor.cli.output import Filled
    from conveyor.cli.store.place import Place


@click.group("token", context_settings=CONTEXT_SETTINGS)
def command() -> None:
    """Make, list and revoke API tokens."""


@command.command("create")
@filling(NewToken)
@on_a_store
def create(asked: Filled[NewToken], place: Place) -> None:
    """Make a token and print only the token; it cannot be shown again. Its ID goes to standard error.

    Clients send it as the password of the user __token__, or as a bearer token.
    """
    wanted = asked()
    with place.client() as client:
        token = client.tokens.add(wanted)
    click.echo(f"this is token {token.id} of {wanted.user}", err=True)
    click.echo(token.secret)


@command.command("list")
@click.option("--user", metavar="USER", help="Only those of this user.")
@click.option("--json", "as_json", is_flag=True, help="Write JSON.")
@on_a_store
def list_all(user: str | None, as_json: bool, place: Place) -> None:
    """List tokens, without their secrets."""
    with place.client() as client:
        show(client.tokens.all(user), Token, as_text=not as_json)


@command.command("revoke", short_help="Revoke the token with this ID.")
@click.argument("token_id", metavar="ID", type=click.IntRange(min=1))
@on_a_store
def revoke(token_id: int, place: Place) -> None:
    """Revoke the token with this ID; it stops working at the next request."""
    with place.client() as client:
        client.tokens.revoke(token_id)
    click.echo(f"token {token_id} is revoked")


@click.group("publisher", context_settings=CONTEXT_SETTINGS)
def publisher() -> None:
    """Register, list and remove trusted publishers: jobs of CI hosts that publish without a stored secret."""


@publisher.command("add", short_help="Let jobs of a CI host publish PROJECT into one index.")
@filling(NewPublisher, arguments=("project",))
@on_a_store
def add_publisher(asked: Filled[NewPublisher], place: Place) -> None:
    """Let jobs of a CI host publish PROJECT into one index (administrators).

    They send the ID token of their job, as "uv publish --trusted-publishing always" does, and get a token
    that ends after a quarter of an hour.
    """
    wanted = asked()
    with place.client() as client:
        made = client.publishers.add(wanted)
    click.echo(f'jobs of {made.workflow} in {made.repository} may publish {made.project} into "{made.index}"')


@publisher.command("list")
@click.option("--json", "as_json", is_flag=True, help="Write JSON.")
@on_a_store
def list_publishers(as_json: bool, place: Place) -> None:
    """List the trusted publishers, by number."""
    with place.client() as client:
        show(client.publishers.all(), Publisher, as_text=not as_json)


OF_TOOLS = {
    "CONVEYOR_TOKEN": None,
    "UV_PUBLISH_TOKEN": None,
    "TWINE_PASSWORD": "TWINE_USERNAME",
    "FLIT_PASSWORD": "FLIT_USERNAME",
    "HATCH_INDEX_AUTH": "HATCH_INDEX_USER",
    "PDM_PUBLISH_PASSWORD": "PDM_PUBLISH_USERNAME",
}
"""Variable in which a tool looks for the token → the one with its user, if it needs one."""


@publisher.command(
    "token",
    short_help="Exchange the ID token of this job for a token that publishes.",
    context_settings={"ignore_unknown_options": True, "allow_interspersed_args": False},
)
@click.option("--url", envvar="CONVEYOR_URL", required=True, help="URL of the store.  [env: CONVEYOR_URL]")
@click.argument("command", metavar="[COMMAND...]", nargs=-1, type=click.UNPROCESSED)
def publisher_token(url: str, command: tuple[str, ...]) -> int:
    """Exchange the ID token of this job for a token, and run COMMAND with it: twine or another tool.

    The command finds the token in the variables of twine, uv, flit, hatch and pdm; nothing shows it, and it
    ends with the command. Without a command, print only the token.
    """
    from conveyor.client.id_tokens import JobTokens, mint

    if not command:
        made = mint(url).secret
        if os.environ.get("GITHUB_ACTIONS") == "true":  # first: what follows may show it
            click.echo(f"::add-mask::{made}", err=True)
        click.echo(made)
        return 0
    tokens = JobTokens(url)
    told = {name: tokens() for name in OF_TOOLS}
    told |= {name: "__token__" for name in OF_TOOLS.values() if name is not None}
    try:
        return subprocess.run(command, check=False, env=os.environ | told).returncode
    except OSError as error:
        raise MissingTool(f"{command[0]} cannot be run: {error.strerror}") from error
    finally:
        with suppress(ConveyorError):  # it ends by itself soon
            tokens.burn()


@publisher.command("remove", short_help="Remove the publisher with this number.")
@click.argument("number", metavar="ID", type=click.IntRange(min=1))
@on_a_store
def remove_publisher(number: int, place: Place) -> None:
    """Remove the publisher with this number; its tokens stop working at the next request."""
    with place.client() as client:
        client.publishers.remove(number)
    click.echo(f"publisher {number} is removed")
