"""``conveyor release``: decide the next version and say why, write the changelog, make and push the tag."""

from __future__ import annotations

import os
from datetime import UTC, datetime
from typing import TYPE_CHECKING, get_args

import click

from conveyor.cli.output import of_project
from conveyor.domain.people.keys import fingerprint
from conveyor.domain.people.openpgp import stored_certificate
from conveyor.domain.words.names import is_final
from conveyor.errors import ConveyorError, ProjectError
from conveyor.project.backend import ask_backend
from conveyor.project.release import Asked, Word, plan_release
from conveyor.project.settings import find_project
from conveyor.project.tagging import carry_out

if TYPE_CHECKING:
    from pathlib import Path

    from conveyor.domain.people.keys import Signer
    from conveyor.project.tagging import Plan

_MOST = 20


@click.command()
@click.argument("word", metavar="rc|patch|minor|major|final", type=click.Choice(get_args(Word)))
@of_project
@click.option("--dry-run", is_flag=True, help="Only say what would be done, and why.")
@click.option(
    "--push/--no-push", "pushes", default=True, help="Push the tag and the branch, or keep them here."
)
@click.option("--remote", default="origin", show_default=True, help="Where to push.")
@click.option("--sign-key", metavar="KEY", help="Sign with this key: an SSH key's file, or an OpenPGP key.")
@click.option("--as", "named", metavar="VERSION", help="The final version, where versions follow no word.")
@click.option("--although", metavar="REASON", help="Release less than the API asks for; the tag says why.")
@click.option("--without-candidate", is_flag=True, help="Make a final of this commit, which nobody tested.")
@click.option(
    "--no-changelog", "writes_changelog", flag_value=False, default=True, help="Leave the changelog."
)
def command(
    word: Word,
    folder: Path,
    dry_run: bool,
    pushes: bool,
    remote: str,
    sign_key: str | None,
    named: str | None,
    although: str | None,
    without_candidate: bool,
    writes_changelog: bool,
) -> None:
    """Release this project: its next candidate, or the final of its newest candidate.

    rc makes the next release candidate; its version is what the difference of the public API since the last
    release asks for. patch, minor and major make a candidate of that release, unless the API asks for more.
    The section of the changelog is committed first. final tags the commit of the newest candidate, unchanged
    and signed; the store that CONVEYOR_URL names is asked whether it counts the key. No version is written
    into any file but the changelog. Everything is checked first; after a failed push the same command goes
    on.
    """
    if although is not None and (word == "final" or (word == "rc" and named is None)):
        raise click.UsageError(
            "--although belongs to patch, minor, major or --as: rc takes what the API asks"
        )
    if although is not None and not although.strip():
        raise click.UsageError("--although needs a reason")
    asked = Asked(word, named, although, without_candidate, pushes, remote, sign_key, writes_changelog)
    plan = plan_release(
        find_project(folder, ask=ask_backend), asked, date=datetime.now(UTC).date().isoformat()
    )
    _explain(plan)
    if dry_run:
        for line in plan.commands:
            click.echo(f"would: {line}", err=True)
    else:
        carry_out(
            plan,
            tell=lambda line: click.echo(line, err=True),
            check_key=check_key if is_final(plan.version) else None,
        )
    click.echo(plan.tag)


def check_key(key: str) -> str:
    """Ask the store of CONVEYOR_URL whether the key of a signature is registered there, if it may be asked.

    Returns a line for people; raises ProjectError if the store does not count the key.
    """
    from conveyor.cli.store.place import given_token
    from conveyor.client.store import connect

    url, named = os.environ.get("CONVEYOR_URL"), fingerprint(key)
    register = "conveyor store signer add NAME --key FILE"
    unknown = f"whether a store knows the key {named} was not checked"
    if not url:
        return f"{unknown}: CONVEYOR_URL names none; an administrator registers it by: {register}"
    try:
        with connect(url, token=given_token()) as client:
            signers = client.signers.all()
    except ConveyorError as error:
        return f"{unknown} ({error.message}); an administrator registers it by: {register} --url {url}"
    known = next((one for one in signers if _holds(one, key)), None)
    if known is None or known.revoked_at is not None:
        state = "is not registered" if known is None else f"of {known.principal} was revoked"
        raise ProjectError(
            f"the key {named} that signed the tag {state} at {url}, so its signature would not count; "
            "the tag was removed again",
            hint=f"name a registered key with --sign-key, or have it registered: {register} --url {url}",
        )
    return f"{url} knows the key {named}, of {known.principal}"


def _holds(signer: Signer, key: str) -> bool:
    """Whether a key is a signer's own, or a subkey of it."""
    if signer.certificate is None:
        return signer.public_key == key
    return fingerprint(key) in stored_certificate(signer.certificate).keys


def _explain(plan: Plan) -> None:
    click.echo(f"{plan.project.display_name} {plan.version}", err=True)
    for reason in plan.reasons:
        click.echo(f"  {reason}", err=True)
    for one in plan.changes[:_MOST]:
        click.echo(f"    {one.level}: {one.said}", err=True)
    if len(plan.changes) > _MOST:
        click.echo(f"    and {len(plan.changes) - _MOST} further changes", err=True)
    if plan.changelog is not None:
        click.echo("  the changelog:", err=True)
        for line in plan.changelog.section.splitlines():
            click.echo(f"    {line}".rstrip(), err=True)
