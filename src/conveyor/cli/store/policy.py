"""``conveyor store policy``: the rules by which releases are promoted, as a versioned file."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING

import click

from conveyor.cli.lazy import CONTEXT_SETTINGS
from conveyor.cli.output import counted, show
from conveyor.cli.store.place import on_a_store
from conveyor.domain.releases.policy import PolicyVersion, read_policy
from conveyor.domain.words.records import as_json
from conveyor.errors import InvalidInput

if TYPE_CHECKING:
    from conveyor.cli.store.place import Place
    from conveyor.domain.releases.policy import JudgedOtherwise

_FILE = click.argument("file", type=click.Path(path_type=Path, dir_okay=False, exists=True), metavar="FILE")


@click.group("policy", context_settings=CONTEXT_SETTINGS)
def command() -> None:
    """Check, compare, apply and show the rules by which releases are promoted."""


@command.command("check")
@_FILE
def check(file: Path) -> None:
    """Check FILE without a store, and name every fault with its line."""
    policy = read_policy(_content(file))
    click.echo(f"{file} is a policy with {counted(len(policy.sections), 'section')}")


@command.command("diff")
@_FILE
@click.option("--json", "as_json_text", is_flag=True, help="Write JSON.")
@on_a_store
def diff(file: Path, as_json_text: bool, place: Place) -> None:
    """List the releases that the policy in FILE would judge otherwise than the one that holds."""
    with place.client() as client:
        found = client.policies.compare(_content(file))
    if as_json_text:
        click.echo(json.dumps(as_json(found), indent=2))
        return
    for one in found:
        for line in _difference_lines(one):
            click.echo(line)
    if not found:
        click.echo("no release would be judged otherwise")


@command.command("apply")
@click.argument(
    "file", type=click.Path(path_type=Path, dir_okay=False, exists=True), metavar="[FILE]", required=False
)
@click.option("--version", type=int, metavar="N", help="Apply this earlier version again, in place of FILE.")
@click.option("--reason", required=True, metavar="TEXT", help="Why, for the history.")
@on_a_store
def apply(file: Path | None, version: int | None, reason: str, place: Place) -> None:
    """Make the policy in FILE, or that of an earlier version, the one that holds."""
    if (file is None) == (version is None):
        raise click.UsageError("give either FILE or --version N")
    with place.client() as client:
        content = client.policies.get(version).content if file is None else _content(file)
        applied = client.policies.apply(content, reason=reason)
    click.echo(f"version {applied.version} of the policy holds")


@command.command("history")
@click.option("--json", "as_json_text", is_flag=True, help="Write JSON.")
@on_a_store
def history(as_json_text: bool, place: Place) -> None:
    """List the versions of the policy: when, by whom and why each was applied, newest first."""
    with place.client() as client:
        show(client.policies.history(), PolicyVersion, as_text=not as_json_text)


@command.command("show")
@click.option("--version", type=int, metavar="N", help="This version; by default the one that holds.")
@on_a_store
def show_file(version: int | None, place: Place) -> None:
    """Write the policy as it was applied, so that it can be edited and applied again."""
    with place.client() as client:
        click.echo(client.policies.get(version).content, nl=False)


def _content(file: Path) -> str:
    try:
        return file.read_bytes().decode()
    except UnicodeDecodeError as error:
        raise InvalidInput(f"{file} is not text in UTF-8", hint="save it as UTF-8") from error


def _difference_lines(one: JudgedOtherwise) -> list[str]:
    """The release and, below it, each gate whose verdict would differ."""
    outcomes = [
        {verdict.gate: verdict.outcome for verdict in verdicts} for verdicts in (one.before, one.after)
    ]
    where = "in" if one.is_inside else "to enter"
    lines = [f'{one.project} {one.version}, {where} "{one.index}"']
    for gate in {**outcomes[0], **outcomes[1]}:
        before, after = (outcome.get(gate, "not asked") for outcome in outcomes)
        lines.append(f"  {gate}: {before} → {after}")
        lines += [f"    {verdict.reason}" for verdict in one.after if verdict.gate == gate]
    return lines
