"""A checkout with its projects: what it is called, and which of its projects a tag means.

Most repositories hold one project, at their top. In others, projects lie in folders, and a release tag names
its project (``versions``). Git is asked here; the rules are in ``versions``.
"""

from __future__ import annotations

import tempfile
from contextlib import contextmanager
from email.parser import HeaderParser
from pathlib import Path
from typing import TYPE_CHECKING

from packaging.utils import canonicalize_name

from conveyor.domain.releases.tags import tag_for
from conveyor.errors import InvalidVersion, ProjectError
from conveyor.project.archive_rules import is_egg_info
from conveyor.project.clones import look_at
from conveyor.project.contract import built_before
from conveyor.project.git import (
    changed_files,
    commits_since,
    files_changed,
    head_commit,
    repository_top,
    tags_here,
    tags_in_reach,
    tracked_entries,
    tracked_files,
)
from conveyor.project.settings import PROJECT_FILES, read_project
from conveyor.project.version_lines import version_line
from conveyor.project.versions import (
    TOOLS_WITHOUT_VARIABLE,
    History,
    TagRules,
    TreeVersion,
    is_release_tag,
    refuse_changes,
    releases_among,
    version_of_release_tag,
    version_of_tree,
    version_tools,
)

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Sequence

    from conveyor.domain.words.names import Version
    from conveyor.project.settings import Asking, Project

COMMIT_DIGITS = 9
"""How much of a commit's id is in a version; git's own abbreviations differ from clone to clone."""


def rules_of(project: Project) -> TagRules:
    """Which tags are releases of a project in a checkout.

    Raises:
        ProjectError: it belongs to no repository; the hint says where an unpacked sdist comes from.
    """
    try:
        is_alone = repository_top(project.root) == project.root
    except ProjectError as error:
        raise _without_git(project, error) from error
    return TagRules(project.name, project.declared.tag_prefix, is_alone)


def version_of_checkout(project: Project, *, out: Path | None = None) -> TreeVersion:
    """What the checked-out commit of a project is called, and why.

    Args:
        project: the project.
        out: where builds are put; files of earlier builds there are no changes.

    Raises:
        ProjectError: it belongs to no repository, or to one that does not track it or has no commit.
    """
    rules = rules_of(project)
    root = project.root
    entries = tracked_entries(root)
    if not any(entry.path in PROJECT_FILES for entry in entries):
        raise ProjectError(
            f"git tracks no project in {root}: "
            + ("nothing is committed" if rules.is_alone else f"it only lies inside {repository_top(root)}"),
            hint=f"commit it: {project.git()} add . && {project.git()} commit"
            if rules.is_alone
            else "build it in a clone of its own repository",
        )
    reach = tags_in_reach(root)
    releases = releases_among(reach, rules)
    highest = next(reversed(releases), None)
    line = version_line(project)
    since, is_cut_off = commits_since(root, highest)
    history = History(
        commit=head_commit(root)[:COMMIT_DIGITS],
        tags_here=tags_here(root),
        tags_in_reach=reach,
        commits_since=since,
        is_cut_off=is_cut_off,
        changed=changes(project, out if out is not None else root / "dist"),
        hidden=tuple(entry.path for entry in entries if entry.is_hidden),
    )
    return version_of_tree(history, rules, static=line.version if line else None, git=project.git())


def tag_to_make(project: Project, planned: Version) -> str | None:
    """The tag that a clone needs so that a tool which takes no variable gives a development version.

    It is spelled as the last release, since such a tool expects a beginning of its own; ``None`` if the tool
    takes a variable, or the version is that of a tag.
    """
    if not planned.is_devrelease or not version_tools(project) & TOOLS_WITHOUT_VARIABLE:
        return None
    releases = releases_among(tags_in_reach(project.root), rules_of(project))
    last = next(reversed(releases), None)
    return tag_for(planned, like=last) if last is not None else str(planned)


def changes(project: Project, out: Path) -> tuple[str, ...]:
    """Files that differ from the commit, except what earlier builds left in ``out`` or beside the code."""
    built = built_before(project, out)
    changed = [path for path in changed_files(project.root) if path not in built]
    if any(is_egg_info(path) for path in changed):
        tracked = set(tracked_files(project.root))
        changed = [path for path in changed if path in tracked or not is_egg_info(path)]
    return tuple(changed)


def refuse_differences(project: Project, out: Path) -> None:
    """Refuse a checkout that is not its commit, or in which git was told not to look; ``out`` as above.

    Raises:
        ProjectError: all such files are named.
    """
    hidden = [entry.path for entry in tracked_entries(project.root) if entry.is_hidden]
    refuse_changes(changes(project, out), hidden, git=project.git())


def project_of_tag(top: Path, tag: str, *, ask: Asking | None = None) -> tuple[Project, Version]:
    """The project of a checkout that a release tag means, and the version that it releases.

    Args:
        top: the top of the checkout, or the folder of a project in it.
        tag: the tag.
        ask: as for ``read_project``.

    Raises:
        InvalidVersion: it is a release of no project here; the message says why.
        ProjectError: there is no project, or the tag names several.
    """
    first = _read_or_error(top, ask)
    # A declared beginning could be the name of another project here, whose signed tags would then count.
    if not isinstance(first, ProjectError) and first.declared.tag_prefix is None:
        rules = rules_of(first)
        if is_release_tag(tag, rules):
            return first, version_of_release_tag(tag, rules)
    found = projects_below(repository_top(top), ask=ask)
    meant = [project for project in found if is_release_tag(tag, rules_of(project))]
    if len({project.name for project in meant}) < 2:  # of several folders with one name, the outermost
        nearest = min((len(project.root.parts) for project in meant), default=0)
        meant = [project for project in meant if len(project.root.parts) == nearest]
    if len(meant) == 1:
        return meant[0], version_of_release_tag(tag, rules_of(meant[0]))
    if meant:
        listed = " and ".join(str(project.root.relative_to(repository_top(top))) for project in meant)
        raise ProjectError(
            f'tag "{tag}" could mean the projects in {listed}',
            hint="declare what the tags of each begin with: tag_prefix under [tool.conveyor]",
        )
    if not isinstance(first, ProjectError):
        return first, version_of_release_tag(tag, rules_of(first))  # raises, and says why
    if len(found) == 1:
        return found[0], version_of_release_tag(tag, rules_of(found[0]))
    if found:
        raise InvalidVersion(
            f'tag "{tag}" is a release of no project here', hint=f"name a release as in {_examples(found)}"
        )
    raise first


def project_of_commit(top: Path, *, name: str | None = None, ask: Asking | None = None) -> Project:
    """The project of a checkout for which no tag is given.

    The one of that name; else the one at the top, the only one below it, or the only one that the commit
    changes, compared with its first parent.

    Args:
        top: the top of the checkout.
        name: the project that is meant; ``None`` if nobody said.
        ask: as for ``read_project``.

    Raises:
        ProjectError: there is none, or several could be meant; all are named.
    """
    first = _read_or_error(top, ask)
    if name is None and not isinstance(first, ProjectError):
        return first
    found = projects_below(top, ask=ask)
    if not found and isinstance(first, ProjectError):
        raise first
    named = [project for project in found if name is not None and project.name == canonicalize_name(name)]
    if named:
        return min(named, key=lambda project: len(project.root.parts))
    found = outermost(found)
    listed = ", ".join(project.display_name for project in found)
    if name is not None:
        raise ProjectError(
            f'there is no project "{name}" at commit {head_commit(top)[:12]}', hint=f"it holds {listed}"
        )
    changed = found if len(found) == 1 else changed_among(found, top, files_changed(top, head_commit(top)))
    if len(changed) == 1:
        return changed[0]
    several = " and ".join(project.display_name for project in changed) if changed else "none of them"
    raise ProjectError(
        f"the repository holds several projects ({listed}), "
        f"and commit {head_commit(top)[:12]} changes {several}",
        hint=f"say which is meant: --project {(changed or found)[0].name}",
    )


def outermost(projects: Sequence[Project]) -> list[Project]:
    """Those that do not lie in the folder of another; the others are examples, or data of its tests."""
    return [
        project
        for project in projects
        if not any(project.root != one.root and project.root.is_relative_to(one.root) for one in projects)
    ]


def changed_among(projects: Sequence[Project], top: Path, files: Iterable[str]) -> list[Project]:
    """The projects in whose folders at least one of the files lies, which are relative to ``top``."""
    folders = {parent for path in files for parent in (top.resolve() / path).parents}
    return [project for project in projects if project.root in folders]


@contextmanager
def tree_of(repository: Path, commit: str) -> Iterator[Path]:
    """The files that say which projects a commit of a repository has, in a folder as of a checkout.

    For a look that costs little, in a bare repository too; nothing else is checked out.

    Raises:
        ProjectError: there is no such repository or commit on this machine.
    """
    with tempfile.TemporaryDirectory(prefix="conveyor-tree-") as scratch:
        top = Path(scratch).resolve() / "tree"
        look_at(repository, commit, top, (*PROJECT_FILES, "setup.cfg"))
        yield top


def projects_below(top: Path, *, ask: Asking | None = None) -> list[Project]:
    """Every project that git tracks at or below a folder, sorted by folder; what is none is left out."""
    folders = {
        path.rpartition("/")[0] for path in tracked_files(top) if path.rpartition("/")[2] in PROJECT_FILES
    }
    read = (_read_or_error(top / folder, ask) for folder in sorted(folders))
    return [one for one in read if not isinstance(one, ProjectError)]


def _read_or_error(folder: Path, ask: Asking | None) -> Project | ProjectError:
    try:
        return read_project(folder, ask=ask)
    except ProjectError as error:
        return error


def _examples(projects: list[Project]) -> str:
    prefixes = [
        f"{project.name}/v" if project.declared.tag_prefix is None else project.declared.tag_prefix
        for project in projects[:3]
    ]
    return ", ".join(f"{prefix}1.2.0" for prefix in prefixes)


def _without_git(project: Project, error: ProjectError) -> ProjectError:
    """The error for a project outside git: an archive or an unpacked sdist says what it is."""
    if "not a git repository" not in error.message:
        return error
    root = project.root
    if (root / "PKG-INFO").is_file():
        info = HeaderParser().parsestr((root / "PKG-INFO").read_text(encoding="utf-8", errors="replace"))
        what = f"it is the unpacked sdist of {info['Name']} {info['Version']}"
        hint = "that version is built already; build another one in a clone of its repository"
    elif (root / ".git_archival.txt").is_file():
        what = "it is an archive of a commit, which does not say which of the commit's tags was meant"
        hint = "build in a clone of its repository"
    else:
        what = "no commit and no tag say what it is"
        hint = f"clone its repository; or, for a new project: {project.git()} init, add and commit"
    return ProjectError(f"{root} is not in a git repository: {what}", hint=hint)
