"""The release before: what its wheel held, and what git tracked at its commit.

A build is compared with it, because a file that git ignores can be lost without a trace: a compiled
catalogue, a bundled front end, whatever a script makes before the author builds and no clone has. The wheel
comes from the index by uv, like every other file: credentials, certificates and caches are those of uv.

If no index is named, only one that the user or the project has configured is asked, and only for a release
that is tagged here: the names of private projects are told to nobody else. What it has may be of a stranger,
so a missing file is a note then.
"""

from __future__ import annotations

import csv
import io
import os
import re
import sys
import tempfile
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING

from conveyor.domain.words.names import is_final, parse_version
from conveyor.errors import ProjectError
from conveyor.project.foreign import Surroundings
from conveyor.project.git import all_tags, files_of_tag
from conveyor.project.settings import read_toml, table_in
from conveyor.project.trees import rules_of
from conveyor.project.uv import run_uv
from conveyor.project.versions import releases_among

if TYPE_CHECKING:
    from collections.abc import Callable

    from conveyor.domain.words.names import Version
    from conveyor.project.git import Repository
    from conveyor.project.settings import Project

LONGEST_SECONDS = 300.0
"""How long the index may take for one wheel."""

_NONE = re.compile(
    r"was not found in the |\bonly .+ (?:is|are) available|there (?:is|are) no versions? of", re.DOTALL
)
_REFUSED = re.compile(r"could not be queried|403 Forbidden|no usable wheels|no wheels with")


def _nothing() -> frozenset[str]:
    return frozenset()


@dataclass(frozen=True)
class PreviousRelease:
    """What the release before held."""

    version: str
    members: frozenset[str]
    """The files of its wheel, where they were installed, without its metadata."""
    tracked: Callable[[], frozenset[str]] = field(default=_nothing, compare=False)
    """Gives the files that git tracked at its commit, none if unknown; called only if it matters."""
    is_certain: bool = True
    """Whether the index that has it was named; else it may be another project of that name."""


def find_previous(
    project: Project,
    version: Version,
    *,
    repository: Repository,
    python: str | None = None,
    around: Surroundings | None = None,
) -> PreviousRelease | None:
    """The newest release of a project on an index that is older than a version; ``None`` if there is none.

    Args:
        project: the project.
        version: finals are preferred to candidates; those of the same release do not count (PEP 440).
        repository: where its tag is looked for, to tell what git tracked.
        python: path or version of the interpreter whose wheel is read; ``None`` means the one that runs now.
        around: names the only index; without one, those that are configured for uv are asked, if any are.

    Raises:
        ProjectError: the index did not say which releases there are, or the wheel of that one cannot be had.
    """
    around = replace(around or Surroundings(), on_line=None)
    wanted = f"{project.name}<{version}"
    if around.index_url is None:
        released = _released_before(project, version, repository) if _has_index(project) else None
        if released is None:
            return None
        wanted = f"{project.name}=={released}"
    with tempfile.TemporaryDirectory(prefix="conveyor-previous-") as scratch:
        words = ["pip", "install", "--quiet", "--no-deps", "--only-binary=:all:", "--target", scratch]
        words += ["--python", python or sys.executable, wanted]
        try:
            run_uv(words, around, timeout_seconds=LONGEST_SECONDS)
        except ProjectError as error:
            if says_there_is_none(error.message):
                return None
            raise
        records = list(Path(scratch).glob("*.dist-info/RECORD"))
        if len(records) != 1:
            raise ProjectError("its wheel has no RECORD")
        text = records[0].read_text(encoding="utf-8", errors="replace")
        before = records[0].parent.name.removesuffix(".dist-info").rpartition("-")[2]
    paths = (line[0] for line in csv.reader(io.StringIO(text)) if line)
    members = frozenset(
        path for path in paths if not path.startswith(("..", "/", "bin/")) and ".dist-info/" not in path
    )
    return PreviousRelease(
        before,
        members,
        lambda: tracked_at(project, before, repository),
        is_certain=around.index_url is not None,
    )


def _released_before(project: Project, version: Version, repository: Repository) -> Version | None:
    """The newest release below a version that has a tag; a final, if there is one."""
    below = [one for one in releases_among(all_tags(repository), rules_of(project)).values() if one < version]
    return max(below, key=lambda one: (is_final(one), one), default=None)


def _has_index(project: Project) -> bool:
    """Whether an index is configured for uv: by variables, in the project, or in the user's file."""
    names = ("UV_DEFAULT_INDEX", "UV_INDEX", "UV_INDEX_URL", "UV_FIND_LINKS")
    if any(os.environ.get(name) for name in names):
        return True
    if "index" in table_in(project.document, "tool", "uv"):
        return True
    home = Path(os.environ.get("XDG_CONFIG_HOME") or Path.home() / ".config")
    try:
        return bool({"index", "index-url"} & set(read_toml(home / "uv" / "uv.toml")))
    except (OSError, ProjectError):  # uv itself says what is wrong with it
        return False


def says_there_is_none(message: str) -> bool:
    """Whether uv failed because an index has no such release, not because the index or a wheel failed.

    uv calls every unsatisfied requirement by one name, even if the index refused to answer.
    """
    return _NONE.search(message) is not None and _REFUSED.search(message) is None


def tracked_at(project: Project, version: str, repository: Repository) -> frozenset[str]:
    """The files that git tracked at a release; none if no tag of the repository names it."""
    try:
        released = releases_among(all_tags(repository), rules_of(project))
    except ProjectError:
        return frozenset()
    tag = next((tag for tag, one in released.items() if one == parse_version(version)), None)
    return frozenset(files_of_tag(repository, tag, project.root)) if tag is not None else frozenset()
