"""``conveyor store token``: API tokens, which stand for a user's password."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import click

from conveyor.cli.lazy import CONTEXT_SETTINGS
from conveyor.cli.store.place import on_a_store
from conveyor.domain.people.access import SCOPES

if TYPE_CHECKING:
    from conveyor.cli.store.place import Place


@click.group("token", context_settings=CONTEXT_SETTINGS)
def command() -> None:
    """Make, list and revoke API tokens."""


@command.command("create")
@click.option("--user", required=True, metavar="USER", help="Whose token it is.")
@click.option(
    "--scope",
    "scopes",
    multiple=True,
    type=click.Choice(SCOPES),
    help="What it may do; may be given several times. Default: all that the user may do.",
)
@click.option("--index", "indexes", multiple=True, metavar="INDEX", help="Only in this index; several times.")
@click.option(
    "--project", "projects", multiple=True, metavar="PROJECT", help="Only this project; several times."
)
@click.option("--expires-at", metavar="TIME", help="When it ends, such as 2030-12-31T00:00:00Z.")
@click.option("--description", default="", help="What it is for.")
@on_a_store
def create(
    user: str,
    scopes: tuple[str, ...],
    indexes: tuple[str, ...],
    projects: tuple[str, ...],
    expires_at: str | None,
    description: str,
    place: Place,
) -> None:
    """Make a token and print it, alone; it cannot be shown again. Its ID goes to standard error.

    Clients send it as password of the user __token__, or as bearer token.
    """
    with place.client() as client:
        token = client.tokens.add(
            user,
            scopes=scopes or None,
            indexes=indexes or None,
            projects=projects or None,
            expires_at=expires_at,
            description=description,
        )
    click.echo(f"this is token {token.id} of {user}", err=True)
    click.echo(token.secret)


@command.command("list")
@click.option("--user", metavar="USER", help="Only those of this user.")
@click.option("--json", "as_json", is_flag=True, help="Write JSON.")
@on_a_store
def list_all(user: str | None, as_json: bool, place: Place) -> None:
    """List tokens, without their secrets."""
    with place.client() as client:
        found = client.tokens.all(user)
    if as_json:
        click.echo(json.dumps(found, indent=2))
        return
    if not found:
        return
    table = [_HEADINGS, *(_cells(token) for token in found)]
    widths = [max(map(len, column)) for column in zip(*table, strict=True)]
    for row in table:
        cells = (cell.ljust(width) for cell, width in zip(row, widths, strict=True))
        click.echo("  ".join(cells).rstrip())


_HEADINGS = ("ID", "USER", "SCOPES", "ONLY FOR", "STATE", "LAST USED", "DESCRIPTION")


def _cells(token: dict[str, Any]) -> tuple[str, ...]:
    """A token as a row below the headings."""
    state = "valid"
    if token["revoked_at"]:
        state = f"revoked {token['revoked_at']}"
    elif token["expires_at"]:
        state = f"until {token['expires_at']}"
    return (
        str(token["id"]),
        token["user"],
        ",".join(token["scopes"]),
        _reach(token),
        state,
        token["last_used_at"] or "never",
        token["description"],
    )


def _reach(token: dict[str, Any]) -> str:
    """Which indexes and projects a token is narrowed to; ``-``: none. An empty list opens nothing."""
    narrowings = [
        f"{noun} {','.join(token[key]) or 'none'}"
        for noun, key in (("index", "indexes"), ("project", "projects"))
        if token[key] is not None
    ]
    return "; ".join(narrowings) or "-"


@command.command("revoke", short_help="Revoke the token with this ID.")
@click.argument("token_id", metavar="ID", type=click.IntRange(min=1))
@on_a_store
def revoke(token_id: int, place: Place) -> None:
    """Revoke the token with this ID; it stops working at the next request."""
    with place.client() as client:
        client.tokens.revoke(token_id)
    click.echo(f"token {token_id} is revoked")
