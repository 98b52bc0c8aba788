"""``conveyor store user``: people and machines that may sign in."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING

import click

from conveyor.cli.lazy import CONTEXT_SETTINGS
from conveyor.cli.output import filling
from conveyor.cli.store.place import on_a_store
from conveyor.domain.people.passwords import NewUser

if TYPE_CHECKING:
    from conveyor.cli.output import Filled
    from conveyor.cli.store.place import Place


@click.group("user", context_settings=CONTEXT_SETTINGS)
def command() -> None:
    """Make users, change their passwords, disable them."""


@command.command("add")
@filling(NewUser, arguments=("name",), without=("password",))
@click.option(
    "--with-password",
    is_flag=True,
    help="Ask for a password, or read it as one line from standard input. Without: tokens only.",
)
@on_a_store
def add(asked: Filled[NewUser], with_password: bool, place: Place) -> None:
    """Make the user NAME."""
    user = asked(password=_read_password() if with_password else None)
    with place.client() as client:
        client.users.add(user)
    click.echo(f"{user.name} may {', '.join(user.scopes)}")


@command.command("password", short_help="Give the user NAME a new password.")
@click.argument("name")
@click.option("--revoke-tokens", is_flag=True, help="Revoke all tokens of the user too.")
@on_a_store
def password(name: str, revoke_tokens: bool, place: Place) -> None:
    """Give the user NAME a new password, asked for or read as one line from standard input.

    The old one stops working at the next request. Tokens keep working unless --revoke-tokens is given; their
    number is printed. With --data, the file initial-admin-password is removed if NAME is admin.
    """
    from conveyor.operations.care.initialisation import forget_initial_password
    from conveyor.operations.store.store import ADMIN

    new = _read_password()
    with place.client() as client:
        working = client.users.set_password(name, new, revoke_tokens=revoke_tokens).working_tokens
    if name == ADMIN and place.data is not None:
        forget_initial_password(place.data)
    click.echo(f"{name} has a new password; tokens of {name} that still work: {working}")
    if working:
        listing = place.completed(f"conveyor store token list --user {name}")
        click.echo(f"note: to see them: {listing}; --revoke-tokens revokes them all", err=True)


@command.command("disable", short_help="Disable the user NAME for good.")
@click.argument("name")
@on_a_store
def disable(name: str, place: Place) -> None:
    """Disable the user NAME for good: its password and its tokens stop working at the next request.

    The name stays taken, because what the user did stays in the log.
    """
    with place.client() as client:
        client.users.disable(name)
    click.echo(f"{name} is disabled")


def _read_password() -> str:
    if sys.stdin.isatty():
        return str(click.prompt("Password", hide_input=True, confirmation_prompt=True, err=True))
    return sys.stdin.readline().rstrip("\r\n")
