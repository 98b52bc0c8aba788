"""``conveyor store advisories``: what is known of vulnerable packages, imported as OSV publishes it."""

from __future__ import annotations

import zipfile
from pathlib import Path
from typing import TYPE_CHECKING

import click

from conveyor.cli.lazy import CONTEXT_SETTINGS
from conveyor.cli.output import counted
from conveyor.cli.store.place import on_a_store
from conveyor.domain.releases.advisories import MAX_ADVISORY_BYTES, batches, read_advisory
from conveyor.errors import ConveyorError, InvalidInput, NotFound

if TYPE_CHECKING:
    from collections.abc import Iterator

    from conveyor.cli.store.place import Place
    from conveyor.domain.releases.advisories import OsvAdvisory


@click.group("advisories", context_settings=CONTEXT_SETTINGS)
def command() -> None:
    """Import advisories about vulnerable packages."""


@command.command("import")
@click.argument("source", type=click.Path(path_type=Path, exists=True), metavar="DIR|ZIP")
@on_a_store
def import_from(source: Path, place: Place) -> None:
    """Import every OSV advisory (JSON) in a folder or a zip archive, for the gate "advisories".

    Import a feed again whenever it changes: each advisory is kept in its newest state, and one that was
    withdrawn no longer counts. Files that are not advisories are named and left out.
    """
    counts = {"new": 0, "changed": 0, "unchanged": 0}
    with place.client() as client:
        for batch in batches(_advisories(source)):
            taken = client.advisories.add(batch)
            for name in counts:
                counts[name] += getattr(taken, name)
    if not sum(counts.values()):
        raise NotFound(f"{source} holds no advisory about a Python package", hint="unpacked, it holds *.json")
    told = ", ".join(f"{number} {name}" for name, number in counts.items())
    click.echo(f"{counted(sum(counts.values()), 'advisory').replace('advisorys', 'advisories')}: {told}")


def _advisories(source: Path) -> Iterator[OsvAdvisory]:
    """The advisories about Python packages in a folder or an archive; notes each file that is none."""
    for name, content in _documents(source):
        try:
            if content is None:
                raise InvalidInput(f"{name} is larger than {MAX_ADVISORY_BYTES} bytes")
            advisory = read_advisory(content, what=name)
        except ConveyorError as error:
            click.echo(f"note: left out: {error.message}", err=True)
            continue
        if advisory is not None:
            yield advisory


def _documents(source: Path) -> Iterator[tuple[str, bytes | None]]:
    """(name, content) of each JSON file, by name; ``None``: it is too large."""
    if source.is_dir():
        for path in sorted(source.rglob("*.json")):
            yield str(path), path.read_bytes() if path.stat().st_size <= MAX_ADVISORY_BYTES else None
        return
    try:
        with zipfile.ZipFile(source) as archive:
            for member in sorted(archive.infolist(), key=lambda one: one.filename):
                if member.filename.endswith(".json"):
                    with archive.open(member) as stream:
                        content = stream.read(MAX_ADVISORY_BYTES + 1)
                    yield member.filename, content if len(content) <= MAX_ADVISORY_BYTES else None
    except (zipfile.BadZipFile, NotImplementedError, RuntimeError, OSError) as error:
        raise InvalidInput(f"{source} cannot be read as a zip archive: {error}") from error
