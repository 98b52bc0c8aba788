"""``conveyor why``: one verdict per gate, and what to do now."""

from __future__ import annotations

import json
from dataclasses import asdict
from typing import TYPE_CHECKING

import click

from conveyor.cli.output import verdict_lines
from conveyor.cli.store.place import on_a_store
from conveyor.domain.releases.facts import told_by_jobs
from conveyor.domain.words import records

if TYPE_CHECKING:
    from conveyor.cli.store.place import Place


@click.command("why")
@click.argument("name")
@click.argument("version", required=False)
@click.option("--to", metavar="INDEX", help="The index it is to enter. Default: the one that follows.")
@click.option("--json", "as_json", is_flag=True, help="Write JSON.")
@on_a_store
def command(name: str, version: str | None, to: str | None, as_json: bool, place: Place) -> None:
    """Say why release VERSION of project NAME, or its newest one, is or is not yet in an index.

    One verdict for each gate, and what to do now; then what people decided about the release, for ever, and
    what jobs of CI hosts told of it, which opens no gate unless the policy says so.
    """
    with place.client() as client:
        if version is None:
            version = client.projects.get(name).releases[0].version
        release = client.releases.get(name, version)
        where = release.index
        judgement = client.releases.judgement(name, version, to=to)
    target, verdicts = judgement.target, judgement.verdicts
    told = told_by_jobs(release.evidence, {file.sha256: file.filename for file in release.files})
    if as_json:
        fields = {
            "project": name,
            "version": version,
            "index": where,
            "to": target,
            "verdicts": [asdict(verdict) for verdict in verdicts],
            "decisions": records.as_json(judgement.decisions),
            "told": told,
        }
        click.echo(json.dumps(fields, indent=2))
        return
    click.echo(f'{name} {version} is in "{where}"' + ("" if where == target else f'; to enter "{target}":'))
    for line in verdict_lines(verdicts, complete=place.completed):
        click.echo(line)
    if not verdicts:
        click.echo(f'  "{target}" has no gates')
    if where != target and all(verdict.lets_pass for verdict in verdicts):
        click.echo(
            f'  by itself the store moves what a worker tested for "{target}"; to move it now: '
            f"conveyor store promote {name} {version} --to {target}"
        )
    for decision in judgement.decisions:
        click.echo(f"  {decision.told}")
    for sentence in told:
        click.echo(f"  {sentence}")
