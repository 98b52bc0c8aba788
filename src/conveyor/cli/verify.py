"""``conveyor verify``: prove a file or a release, from a bundle and without its store."""

from __future__ import annotations

import json
import re
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING

import click

from conveyor.cli.store.place import Place, completed_hints, given_token
from conveyor.domain.distributions.filenames import distribution_filename
from conveyor.domain.releases.bundles import MAX_BUNDLE_BYTES, read_trust, trust_lines
from conveyor.errors import ChainBroken, InvalidInput
from conveyor.operations.releases.verification import (
    check_keys,
    read_bundle,
    verify_file,
    verify_release,
    write_bundle,
)

if TYPE_CHECKING:
    from conveyor.domain.releases.bundles import Bundle, Chain

_FILE = click.Path(path_type=Path, exists=True, dir_okay=False)
_PINNED = re.compile(r"(?P<name>[A-Za-z0-9][A-Za-z0-9._-]*)\s*==\s*(?P<version>\S+)")


@click.command()
@click.argument("what", metavar="FILE|NAME==VERSION")
@click.option("--bundle", "bundle_file", type=_FILE, metavar="FILE", help="Verify offline, from this bundle.")
@click.option("--store", "url", metavar="URL", help="Fetch the bundle from the store at this URL.")
@click.option(
    "--data", type=click.Path(path_type=Path, file_okay=False, exists=True), metavar="DIR",
    help="Take the bundle from the store in this folder.",
)  # fmt: skip
@click.option(
    "--export", type=click.Path(path_type=Path, dir_okay=False), metavar="BUNDLE", help="Write the bundle."
)
@click.option("--trust", type=_FILE, metavar="FILE", help="Only the keys in this file count.")
@click.option(
    "--keys", "shows_keys", is_flag=True, help="Write the keys as lines for --trust, and verify nothing."
)
@click.option("--unsigned", is_flag=True, help="Accept a release that nobody signed, such as a candidate.")
@click.option("--json", "as_json", is_flag=True, help="Write JSON.")
def command(
    what: str,
    bundle_file: Path | None,
    url: str | None,
    data: Path | None,
    export: Path | None,
    trust: Path | None,
    shows_keys: bool,
    unsigned: bool,
    as_json: bool,
) -> None:
    """Prove FILE, or all files of release NAME==VERSION.

    Four links are checked: the bytes are those of the release; they were tested as published; they were built
    from a commit; a signer signed that commit as this version. The bundle holds what workers and signers
    signed, and their public keys. With --bundle no network is used.

    Without --trust the keys are those that the bundle names: compare their fingerprints with what their
    owners say, or write them down once with --keys.
    """
    if [bundle_file, url, data].count(None) != 2:
        raise click.UsageError("give one of --bundle FILE, --store URL and --data DIR")
    path, name, version = _named(what)
    bundle = _bundle_of(bundle_file, url, data, name, version)
    if (bundle.project, bundle.version) != (name, version):
        raise InvalidInput(f"the bundle is one of {bundle.project} {bundle.version}, not of {name} {version}")
    if export is not None:
        partial = export.with_name(f".{export.name}.part")
        partial.write_bytes(write_bundle(bundle))
        partial.replace(export)
        click.echo(
            f"{export} holds {len(bundle.evidence)} signed statements on {len(bundle.files)} files", err=True
        )
    if shows_keys:
        for line in trust_lines(bundle):
            click.echo(line)
        return
    pins = None if trust is None else read_trust(trust.read_text(encoding="utf-8", errors="replace"))
    chains = verify_release(bundle, pins=pins) if path is None else (verify_file(bundle, path, pins=pins),)
    _show(bundle, chains, is_pinned=pins is not None, as_json=as_json)
    _require_whole(chains, accepts_unsigned=unsigned)


def _named(what: str) -> tuple[Path | None, str, str]:
    """(the file, if it is one; its project and version)."""
    found = _PINNED.fullmatch(what.strip())
    if found is not None:
        from conveyor.domain.words.names import canonical_version, project_name

        return None, project_name(found["name"]), canonical_version(found["version"])
    path = Path(what)
    if not path.is_file():
        raise InvalidInput(f'"{what}" is neither a file here nor NAME==VERSION')
    about = distribution_filename(path.name)
    return path, about.project, str(about.version)


def _bundle_of(file: Path | None, url: str | None, data: Path | None, name: str, version: str) -> Bundle:
    if file is not None:
        with file.open("rb") as stream:
            return read_bundle(stream.read(MAX_BUNDLE_BYTES + 1))
    place = Place(data, url, None if url is None else given_token())
    with completed_hints(place), place.client() as client:
        bundle = client.releases.bundle(name, version)
    check_keys(bundle)
    return bundle


def _show(bundle: Bundle, chains: tuple[Chain, ...], *, is_pinned: bool, as_json: bool) -> None:
    if as_json:
        fields = {
            "project": bundle.project,
            "version": bundle.version,
            "keys_are_pinned": is_pinned,
            "keys": trust_lines(bundle),
            "files": [asdict(chain) for chain in chains],
        }
        click.echo(json.dumps(fields, indent=2))
        return
    click.echo(f"{bundle.project} {bundle.version}, as its store knew it at {bundle.exported_at}")
    for chain in chains:
        click.echo(chain.filename)
        for link in chain.links:
            click.echo(f"  {link.state:<9} {link.name:<7} {link.detail}")
    if not is_pinned:
        click.echo(
            "the keys are those that the bundle names; compare them, or pin them with --trust:", err=True
        )
        for line in trust_lines(bundle):
            click.echo(f"  {line}", err=True)


def _require_whole(chains: tuple[Chain, ...], *, accepts_unsigned: bool) -> None:
    """Raise ChainBroken that names every link which is missing or wrong."""
    if not chains:
        raise ChainBroken("the bundle names no file, so it proves nothing")
    broken = [
        f"{link.name} is {link.state} for {chain.filename}"
        for chain in chains
        for link in chain.broken
        if not (accepts_unsigned and (link.name, link.state) == ("signed", "missing"))
    ]
    if broken:
        raise ChainBroken(f"the chain is broken: {'; '.join(broken)}")
