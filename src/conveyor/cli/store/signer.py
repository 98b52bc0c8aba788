"""``conveyor store signer``: people whose signatures on tags count."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import click

from conveyor.cli.lazy import CONTEXT_SETTINGS
from conveyor.cli.output import filling, show
from conveyor.cli.store.place import on_a_store
from conveyor.domain.people.keys import NewSigner, Signer, fingerprint

if TYPE_CHECKING:
    from conveyor.cli.output import Filled
    from conveyor.cli.store.place import Place

_KEY_FILE = click.Path(path_type=Path, exists=True, dir_okay=False)


@click.group("signer", context_settings=CONTEXT_SETTINGS)
def command() -> None:
    """Register, list and revoke the keys of QA signers."""


@command.command("add", short_help="Accept signatures of PRINCIPAL as QA's.")
@filling(NewSigner, arguments=("principal",), without=("public_key", "role"))
@click.option(
    "--key", "key_file", required=True, type=_KEY_FILE, metavar="FILE",
    help="Their public key: SSH (.pub), or OpenPGP as gpg --armor --export writes it.",
)  # fmt: skip
@on_a_store
def add(asked: Filled[NewSigner], key_file: Path, place: Place) -> None:
    """Accept signatures of PRINCIPAL (an e-mail address, say) as QA's.

    Compare the fingerprint with what its owner says. Registering an OpenPGP key again renews it, after its
    owner has extended it or added a subkey.
    """
    signer = asked(public_key=key_file.read_text(encoding="utf-8", errors="replace"))
    with place.client() as client:
        added = client.signers.add(signer)
    until = f" until {added.valid_until}" if added.valid_until else ""
    click.echo(f"{added.principal} may sign releases with {fingerprint(added.public_key)}{until}")


@command.command("list")
@click.option("--json", "as_json", is_flag=True, help="Write JSON.")
@on_a_store
def list_all(as_json: bool, place: Place) -> None:
    """List signers and their keys, revoked ones too."""
    with place.client() as client:
        show(client.signers.all(), Signer, as_text=not as_json)


@command.command("revoke", short_help="Revoke the key of PRINCIPAL.")
@click.argument("principal")
@on_a_store
def revoke(principal: str, place: Place) -> None:
    """Revoke the key of PRINCIPAL: its signatures no longer count, earlier ones included."""
    with place.client() as client:
        client.signers.revoke(principal)
    click.echo(f"signatures of {principal} no longer count")
