"""``conveyor restore``: the environment of a release, as it was tested, on this machine."""

from __future__ import annotations

import json
import time
from pathlib import Path
from typing import TYPE_CHECKING, cast

import click

from conveyor.cli.output import tell_line
from conveyor.cli.store.place import given_token
from conveyor.errors import InvalidInput

if TYPE_CHECKING:
    from conveyor.project.restore import Tool


@click.command()
@click.argument("release", metavar="NAME==VERSION")
@click.argument("folder", metavar="[DIR]", required=False, type=click.Path(path_type=Path))
@click.option("--store", "url", metavar="URL", required=True, help="The store that has the release.")
@click.option("--index", metavar="INDEX", help="As tested for this index.  [default: the most mature one]")
@click.option("--python", metavar="VERSION", help="As tested on this Python, as 3.12.  [default: newest]")
@click.option("--tool", type=click.Choice(["uv", "pip"]), default="uv", help="What installs.  [default: uv]")
@click.option("--other-patch", is_flag=True, help="Take another patch release of that Python if need be.")
@click.option("--token", metavar="TOKEN", help="Token for the store; better in CONVEYOR_TOKEN or netrc.")
@click.option("--json", "as_json", is_flag=True, help="Write JSON.")
@click.option("--verbose", "-v", is_flag=True, help="Show what uv or pip prints.")
def command(
    release: str,
    folder: Path | None,
    url: str,
    index: str | None,
    python: str | None,
    tool: str,
    other_patch: bool,
    token: str | None,
    as_json: bool,
    verbose: bool,
) -> None:
    """Rebuild the environment in which release NAME==VERSION passed its tests, in DIR.

    The store keeps the lock of each test (pylock.toml) and the files that it names, also those that their
    upstream has removed since. DIR is NAME-VERSION unless it is given; it must be new or empty. The Python
    must be exactly the one of the test; if this machine does not have it, the error names those that it has.
    """
    from conveyor.project.restore import restore_release

    name, separator, version = release.partition("==")
    if not (name.strip() and separator and version.strip()):
        raise InvalidInput(f'"{release}" is not NAME==VERSION', hint="such as demo==1.2.0")
    name, version = name.strip(), version.strip()

    started = time.monotonic()
    done = restore_release(
        url,
        name,
        version,
        folder or Path(f"{name}-{version}"),
        index=index,
        python=python,
        tool=cast("Tool", tool),
        is_other_patch_allowed=other_patch,
        token=given_token(token),
        on_line=tell_line if verbose else None,
    )
    seconds = time.monotonic() - started
    if as_json:
        facts = {"folder": str(done.folder), "python": done.python, "packages": done.packages}
        click.echo(json.dumps(facts))
        return
    click.echo(done.folder)
    click.echo(
        f"restored {name} {version}: {done.packages} packages on Python {done.python} in {seconds:.1f} s",
        err=True,
    )
