"""``conveyor approve``: sign the files of a release as they are, and hand the signature to the store."""

from __future__ import annotations

from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

import click

from conveyor.cli.store.place import on_a_store
from conveyor.errors import InvalidInput

if TYPE_CHECKING:
    from conveyor.cli.store.place import Place


@click.command("approve")
@click.argument("name")
@click.argument("version")
@click.option(
    "--key", type=click.Path(path_type=Path, exists=True, dir_okay=False), metavar="FILE",
    help="Your SSH key; of a key in an agent, the file that ends in .pub.",
)  # fmt: skip
@click.option("--openpgp", metavar="KEY", help="Your OpenPGP key, by its fingerprint or address.")
@on_a_store
def command(name: str, version: str, key: Path | None, openpgp: str | None, place: Place) -> None:
    """Approve release VERSION of project NAME: sign the digests of its files, and hand that to the store.

    It counts like a signed tag if an administrator has registered your key (conveyor store signer add), and
    for these files of this store only. Look at what you sign: it is shown before.
    """
    from conveyor.client.approvals import approve, sign_with_openpgp, sign_with_ssh

    if key is not None and openpgp is None:
        sign = partial(sign_with_ssh, key=key)
    elif openpgp is not None and key is None:
        sign = partial(sign_with_openpgp, key=openpgp)
    else:
        raise InvalidInput("an approval needs one of --key and --openpgp")
    with place.client() as client:
        taken = approve(client, name, version, sign=sign, tell=partial(click.echo, err=True))
        where = client.releases.get(name, version).index
    click.echo(f'{taken.principal} approved {taken.project} {taken.version}, which is in "{where}"')
