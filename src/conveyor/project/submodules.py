"""Submodules of a clone: each at the commit that the superproject names, fetched only from where it may be.

``git submodule update`` is not called: it would follow whatever ``.gitmodules`` says, by any protocol, with
the credentials of whoever calls it. Here each URL is asked about first, and what may not be read stays away,
with a note that says why: many projects name submodules that their builds do not need.
"""

from __future__ import annotations

import posixpath
from contextlib import suppress
from typing import TYPE_CHECKING
from urllib.parse import urlsplit, urlunsplit

from conveyor.errors import ConveyorError, ProjectError
from conveyor.project.clones import clone_object
from conveyor.project.git import gitlinks, settings_of_file

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

    from conveyor.project.git import Remote

    Reaching = Callable[[str, str], Remote]
    """(URL, URL of the superproject) → how it is reached; raises Forbidden if it may not be read."""

DEEPEST = 5
MOST = 200
"""Submodules of one clone, those of submodules included."""


def bring_submodules(clone: Path, url: str, reach: Reaching) -> list[str]:
    """Fetch the submodules of a fresh clone, and theirs; returns a note about each that is left out.

    Args:
        clone: the clone; its submodules are empty folders.
        url: where it was cloned from; relative URLs count from there.
        reach: asked about each URL, with that of the repository that names it.
    """
    notes: list[str] = []
    brought = 0
    waiting = [(clone, url, "", 0)]
    while waiting:
        folder, home, below, depth = waiting.pop()
        for path, commit, wanted in _submodules(folder):
            named = f"{below}{path}"
            if wanted is None:
                notes.append(f"{named}: .gitmodules names no URL for it")
            elif depth >= DEEPEST or brought >= MOST:
                notes.append(f"{named}: it lies too deep, or there are too many")
            else:
                brought += 1
                address = absolute_url(wanted, home)
                try:
                    clone_object(reach(address, home), commit, _place_for(folder, path))
                except ConveyorError as error:
                    notes.append(f"{named}: {error.message}")
                else:
                    waiting.append((folder / path, address, f"{named}/", depth + 1))
    return notes


def absolute_url(url: str, home: str) -> str:
    """The URL of a submodule, which may be relative to that of its superproject, as git resolves it."""
    if not url.startswith(("./", "../")):
        return url
    base = home.rstrip("/")
    if "://" in base:
        parts = urlsplit(base)
        return urlunsplit(parts._replace(path=posixpath.normpath(posixpath.join(parts.path or "/", url))))
    place, colon, path = base.partition(":")
    if colon and "/" not in place:  # user@host:path
        return f"{place}:{posixpath.normpath(posixpath.join(path, url))}"
    return posixpath.normpath(posixpath.join(base, url))


def _submodules(folder: Path) -> Iterator[tuple[str, str, str | None]]:
    """(path, commit, URL or ``None``) of each submodule that git tracks there."""
    links = gitlinks(folder)
    listed = folder / ".gitmodules"
    if not links:
        return
    settings: dict[str, str] = {}
    if listed.is_file() and not listed.is_symlink():
        with suppress(ProjectError):  # it is not a file of settings
            settings = settings_of_file(listed)
    names = {
        value: name.removesuffix(".path")
        for name, value in settings.items()
        if name.startswith("submodule.") and name.endswith(".path")
    }
    for path, commit in links:
        yield path, commit, settings.get(f"{names[path]}.url") if path in names else None


def _place_for(folder: Path, path: str) -> Path:
    """Where the submodule goes; raises ProjectError unless it is an empty folder inside the clone."""
    place = folder / path
    inside = place.resolve().is_relative_to(folder.resolve())
    if place.is_symlink() or not inside or (place.exists() and any(place.iterdir())):
        raise ProjectError("its place is taken")
    return place
