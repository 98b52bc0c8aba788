"""``conveyor store token``: API tokens, which clients send instead of a user's password."""

from __future__ import annotations

from typing import TYPE_CHECKING

import click

from conveyor.cli.lazy import CONTEXT_SETTINGS
from conveyor.cli.output import filling, show
from conveyor.cli.store.place import on_a_store
from conveyor.domain.people.access import NewToken, Token

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
