"""``conveyor store signer``: people whose SSH signatures on tags count."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING

import click

from conveyor.cli.lazy import CONTEXT_SETTINGS
from conveyor.cli.store.place import on_a_store

if TYPE_CHECKING:
    from conveyor.cli.store.place import Place

_KEY_FILE = click.Path(path_type=Path, exists=True, dir_okay=False)


@click.group("signer", context_settings=CONTEXT_SETTINGS)
def command() -> None:
    """Register, list and revoke the keys of QA signers."""


@command.command("add", short_help="Accept signatures of PRINCIPAL as QA's.")
@click.argument("principal")
@click.option(
    "--key", "key_file", required=True, type=_KEY_FILE, metavar="FILE.pub", help="Their public SSH key."
)
@click.option("--valid-until", metavar="TIME", help="When it ends, such as 2030-12-31T00:00:00Z.")
@on_a_store
def add(principal: str, key_file: Path, valid_until: str | None, place: Place) -> None:
    """Accept signatures of PRINCIPAL (an e-mail address, say) as QA's."""
    public_key = key_file.read_text(encoding="utf-8", errors="replace")
    with place.client() as client:
        client.signers.add(principal, public_key, valid_until=valid_until)
    click.echo(f"{principal} may sign releases")


@command.command("list")
@click.option("--json", "as_json", is_flag=True, help="Write JSON.")
@on_a_store
def list_all(as_json: bool, place: Place) -> None:
    """List signers and their keys, revoked ones too."""
    from conveyor.domain.people.keys import fingerprint

    with place.client() as client:
        found = client.signers.all()
    if as_json:
        click.echo(json.dumps(found, indent=2))
        return
    for signer in found:
        state = f"revoked {signer['revoked_at']}" if signer["revoked_at"] else "valid"
        if signer["valid_until"] and not signer["revoked_at"]:
            state = f"until {signer['valid_until']}"
        click.echo(
            f"{signer['principal']:<30} {signer['role']:<4} {fingerprint(signer['public_key'])} {state}"
        )


@command.command("revoke", short_help="Revoke the key of PRINCIPAL.")
@click.argument("principal")
@on_a_store
def revoke(principal: str, place: Place) -> None:
    """Revoke the key of PRINCIPAL: none of its signatures counts any longer, earlier ones included."""
    with place.client() as client:
        client.signers.revoke(principal)
    click.echo(f"signatures of {principal} no longer count")
