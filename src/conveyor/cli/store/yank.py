"""``conveyor store yank`` and ``rollback``: make new installations skip a release."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

import click

from conveyor.cli.store.place import on_a_store
from conveyor.domain.words import records
from conveyor.domain.words.names import is_final, parse_version

if TYPE_CHECKING:
    from conveyor.cli.store.place import Place
    from conveyor.domain.indexes.withdrawals import Yank
    from conveyor.domain.releases.dependants import Dependants


@click.command("yank")
@click.argument("name")
@click.argument("version")
@click.option("--file", "filename", metavar="FILENAME", help="Only this file of the release.")
@click.option("--index", metavar="INDEX", help="Only in this index. Default: wherever it is.")
@click.option("--reason", metavar="TEXT", help="What installers and pages tell people.")
@click.option("--undo", is_flag=True, help="Undo the yank.")
@click.option("--json", "as_json", is_flag=True, help="Write JSON.")
@on_a_store
def command(
    name: str,
    version: str,
    filename: str | None,
    index: str | None,
    reason: str | None,
    undo: bool,
    as_json: bool,
    place: Place,
) -> None:
    """Yank release VERSION of project NAME: new installations skip it, lock files still get it.

    You need the right to upload the project or, in a promotion-only index, to promote it there.
    """
    if undo and reason is not None:
        raise click.UsageError("--undo takes no --reason")
    with place.client() as client:
        if undo:
            yank = client.releases.unyank(name, version, index=index, filename=filename)
        else:
            yank = client.releases.yank(name, version, index=index, filename=filename, reason=reason)
    if as_json:
        click.echo(json.dumps(records.as_json(yank), indent=2))
        return
    _show(yank)


@click.command("rollback")
@click.argument("name")
@click.argument("version")
@click.option("--index", metavar="INDEX", help="Only in this index. Default: wherever it is.")
@click.option("--reason", metavar="TEXT", required=True, help="What installers and pages tell people.")
@click.option("--yes", is_flag=True, help="Do not ask.")
@on_a_store
def rollback(name: str, version: str, index: str | None, reason: str, yes: bool, place: Place) -> None:
    """Withdraw release VERSION of project NAME: new installations get the release before it.

    It says first which version they get, and which releases in the store's indexes depend on this one; then
    it asks, and yanks the release. What a lock file names can still be installed. "conveyor store yank NAME
    VERSION --undo" takes it back.
    """
    with place.client() as client:
        for line in _effect_lines(client.releases.dependants(name, version)):
            click.echo(line)
        if not yes:
            click.confirm(f"withdraw {name} {version}?", abort=True, err=True)
        _show(client.releases.yank(name, version, index=index, reason=reason))


def _effect_lines(found: Dependants) -> list[str]:
    """What a withdrawal would do, and to whom."""
    finals = [one for one in found.remaining if is_final(parse_version(one))]
    instead = next(iter([*finals, *found.remaining]), None)
    lines = [
        f"new installations get {found.project} {instead}"
        if instead
        else f"new installations find no {found.project} any more"
    ]
    accepting = [one for one in found.dependants if one.accepts]
    if not accepting:
        lines.append(f"nothing in this store requires {found.project} {found.version}")
    for one in accepting:
        left = ", and accepts no other version that is here" if found.without_another(one) else ""
        lines.append(f'{one.project} {one.version} in "{one.index}" requires {one.requires}{left}')
    return lines


def _show(yank: Yank) -> None:
    click.echo(f"{yank.project} {yank.version} is {'yanked' if yank.is_yanked else 'not yanked'}")
    for file in yank.files:
        click.echo(f'  {file.filename} in "{file.index}"')
