"""Plans a release: its version and why, what the changelog will say, the tag, and every fault at once.

A release is made in two steps. ``rc``, ``patch``, ``minor`` and ``major`` make a candidate: the changelog is
committed, and the tag stands on that commit. ``final`` makes no commit: it tags that of the newest candidate,
so that what was tested and what is released are one tree. No number is written into any other file.

Everything is checked before anything is written: ``plan_release`` only reads, here and on the remote. How
the version follows from the difference of two public APIs is said in ``proposals``; ``tagging.carry_out``
does what the plan says.
"""

from __future__ import annotations

import shlex
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

from conveyor.domain.releases.tags import is_signed, tag_for
from conveyor.domain.words.names import Version, final_of, is_final, version_or_none
from conveyor.errors import ConveyorError, InvalidInput, ProjectError
from conveyor.project.changelog import FILENAME, OTHER_NAMES, Written, with_release
from conveyor.project.clones import tag_object
from conveyor.project.git import said
from conveyor.project.proposals import (
    FIRST,
    ApiChange,
    Level,
    check_level,
    check_named,
    differences,
    needed_level,
    next_candidate,
    next_version,
)
from conveyor.project.repository import (
    Hindrance,
    api_of_commit,
    next_tag,
    read_repository,
    refuse,
    tag_of,
)
from conveyor.project.tagging import SUBJECT, Plan, rehearse_push, signing_options
from conveyor.project.version_lines import version_line
from conveyor.project.versions import refuse_twins

if TYPE_CHECKING:
    from conveyor.project.repository import RepositoryState
    from conveyor.project.settings import Project

Word = Literal["rc", "patch", "minor", "major", "final"]


@dataclass(frozen=True)
class Asked:
    """What the caller wants."""

    word: Word
    named: str | None = None
    """The final version, if the caller names it: for versions that follow no word, such as dates."""
    although: str | None = None
    """Why a release may be less than the API asks for."""
    without_candidate: bool = False
    """Whether a final may be made of the checked-out commit, which no candidate stands on."""
    pushes: bool = True
    remote: str = "origin"
    sign_key: str | None = None
    """A key other than the configured one: a file or an SSH key, or the name of an OpenPGP key."""
    writes_changelog: bool = True

    @property
    def level(self) -> Level | None:
        """The word, if it names a level; else the public API decides."""
        return None if self.word == "rc" or self.word == "final" else self.word

    @property
    def is_of_candidate(self) -> bool:
        """Whether the final of a candidate is wanted, for which nothing is committed."""
        return self.word == "final" and not self.without_candidate


def plan_release(project: Project, asked: Asked, *, date: str) -> Plan:
    """Decide what to release; reads the checkout and the remote, and writes nothing.

    Args:
        project: the project to release.
        asked: what the caller wants.
        date: today, as ``2026-11-29``, for the changelog.

    Raises:
        ProjectError: the checkout, the tags, the remote or the word of the release do not allow it; names
            every fault that can be known before the version is.
        InvalidVersion: a version cannot be proposed, the named one is none, or two tags spell the last one.
        MissingTool: git is not installed.
    """
    found = read_repository(
        project, remote=asked.remote if asked.pushes else None, makes_commit=not asked.is_of_candidate
    )
    if found.last is not None:
        refuse_twins(found.last, found.releases)
    unpushed = _unpushed(found, asked)
    if unpushed is not None:
        return _only_push(project, asked, found, unpushed)
    if asked.is_of_candidate:
        return _plan_final(project, asked, found)
    return _plan_commit(project, asked, found, date=date)


def _unpushed(found: RepositoryState, asked: Asked) -> str | None:
    """The tag that an earlier call of this command made and could not push."""
    if not asked.pushes or not found.reached:
        return None
    tag, version = max(found.reached.items(), key=lambda one: one[1])
    if tag in found.remote_tags or is_final(version) != (asked.word == "final" or asked.without_candidate):
        return None
    return tag if asked.is_of_candidate or found.tags[tag] == found.head else None


def _only_push(project: Project, asked: Asked, found: RepositoryState, tag: str) -> Plan:
    reason = f"{tag} is made already, and not at {asked.remote} yet"
    return Plan(
        project=project, version=found.releases[tag], tag=tag, commit=found.tags[tag], reasons=(reason,),
        changes=(), changelog=None, message="", signing=None, is_made=True, remote=asked.remote,
        branch=None if asked.is_of_candidate else found.remote_branch,
    )  # fmt: skip


# --- a final of a candidate ---------------------------------------------------------------------------------


def _may_become_final(version: Version) -> bool:
    """Whether a version is a candidate that a final may follow: ``1.2.0rc1``."""
    return version.pre is not None and version.pre[0] == "rc" and version.post is None


def _plan_final(project: Project, asked: Asked, found: RepositoryState) -> Plan:
    last = found.last
    if asked.named is not None:
        raise ProjectError("the final has its candidate's version", hint="omit --as")
    reach = found.reached
    open_ones = [
        version
        for version in reach.values()
        if _may_become_final(version) and (last is None or version > last)
    ]
    if not open_ones:
        _refuse_unsigned(project, found, remote=asked.remote)
        since = "" if last is None else f" since {last}"
        raise ProjectError(
            f"no candidate was tagged in this history{since}, so nothing was tested that could become final",
            hint="conveyor release rc; or release this very commit untested: conveyor release final "
            "--without-candidate",
        )
    candidate = max(open_ones)
    of = tag_of(candidate, reach)
    version = final_of(candidate)
    tag = tag_for(version, like=of)
    faults = _taken(tag, version, found, remote=asked.remote)
    if asked.pushes and of not in found.remote_tags:
        untested = f"the candidate {of} is not at {asked.remote}, so nobody tested it"
        faults.append(Hindrance(untested, f"{project.command('release')} rc"))
    reasons = [f"{of} is the newest candidate in this history; {version} is its final, on the same commit"]
    later = said(project.root, "rev-list", "--count", f"{found.tags[of]}..HEAD")
    if later not in (None, "0"):
        reasons.append(f"{later} later commits are not part of it")
    signing = _signing(project, asked, faults)
    refuse(faults)
    plan = Plan(
        project=project, version=version, tag=tag, commit=found.tags[of], reasons=tuple(reasons), changes=(),
        changelog=None, message=_message(project, version, asked), signing=signing, is_made=False,
        remote=asked.remote if asked.pushes else None, branch=None,
    )  # fmt: skip
    rehearse_push(plan)
    return plan


def _signing(project: Project, asked: Asked, faults: list[Hindrance]) -> tuple[str, ...] | None:
    """The options of git that sign; adds to the faults if it cannot."""
    try:
        return signing_options(project, asked.sign_key)
    except ProjectError as error:
        faults.append(Hindrance(error.message, error.hint or ""))
        return None


def _refuse_unsigned(project: Project, found: RepositoryState, *, remote: str) -> None:
    """Say of a last final without a signature that it is there, and how to make it anew."""
    if found.last is None:
        return
    tag = tag_of(found.last, found.reached)
    raw = tag_object(project.root, tag)
    if raw is not None and is_signed(raw):
        return
    git, word = project.git(), shlex.quote(tag)
    is_pushed = tag in found.remote_tags
    has_candidate = any(
        _may_become_final(one) and final_of(one) == found.last for one in found.reached.values()
    )
    again = project.command("release") + " final" + ("" if has_candidate else " --without-candidate")
    raise ProjectError(
        f"{found.last} is tagged already, as {tag} on {found.tags[tag][:12]}, and not signed: its gate waits "
        "for a signature",
        hint=f"make the tag anew, signed: {git} tag -d {word} && "
        + (f"{git} push {remote} :refs/tags/{word} && " if is_pushed else "")
        + again,
    )


# --- a commit with its changelog: a candidate, or a final without one ---------------------------------------


def _plan_commit(project: Project, asked: Asked, found: RepositoryState, *, date: str) -> Plan:
    last, releases = found.last, found.releases
    last_tag = None if last is None else tag_of(last, found.reached)
    changes, reasons = _compared(project, asked, found, last_tag)
    if last_tag is not None and found.tags[last_tag] == found.head:
        raise ProjectError(f"nothing was committed since {last_tag}", hint="commit what is to be released")
    final = _target(project, asked, found, changes, reasons)
    version = final if asked.without_candidate else next_candidate(final, list(releases.values()))
    tag = next_tag(project, version, found)
    faults = _taken(tag, version, found, remote=asked.remote)
    if version != final and final in releases.values():
        faults.append(Hindrance(f"{final} is released already, as {tag_of(final, releases)}"))
    here = [one for one, commit in found.tags.items() if commit == found.head and one in releases]
    if version != final and any(final_of(releases[one]) == final for one in here):
        remedy = f"make it final ({project.command('release')} final), or commit what is to be tested next"
        faults.append(Hindrance(f"this commit is {here[-1]} already", remedy))
    is_signed_tag = version == final or asked.sign_key is not None
    signing = _signing(project, asked, faults) if is_signed_tag else None
    refuse(faults)
    final_tag = tag_for(final, like=tag)
    changelog = _planned_changelog(project, asked, found, final, date=date, tags=(final_tag, last_tag))
    if changelog is not None and changelog.is_from_commits:
        reasons.append("the changelog has nothing unreleased, so its section is made from the commits")
    plan = Plan(
        project=project, version=version, tag=tag, commit=found.head, reasons=tuple(reasons), changes=changes,
        changelog=changelog, message=_message(project, version, asked), signing=signing, is_made=False,
        remote=asked.remote if asked.pushes else None, branch=found.remote_branch,
    )  # fmt: skip
    rehearse_push(plan)
    return plan


def _compared(
    project: Project, asked: Asked, found: RepositoryState, last_tag: str | None
) -> tuple[tuple[ApiChange, ...], list[str]]:
    """The differences of the public API since the last release, and the sentence that begins the reasons."""
    if last_tag is None:
        return (), ["no release is in this history yet"]
    try:
        before = api_of_commit(project, found.tags[last_tag])
        after = api_of_commit(project, found.head)
    except ConveyorError as error:
        if asked.word == "rc" and asked.named is None:
            raise ProjectError(
                f"the public API cannot be compared with that of {last_tag}: {error.message}",
                hint="say which level it has, as in: conveyor release minor",
            ) from error
        return (), [f"the public API cannot be compared with that of {last_tag}: {error.message}"]
    return differences(before, after), [f"the last release in this history is {last_tag}"]


def _target(
    project: Project, asked: Asked, found: RepositoryState, changes: tuple[ApiChange, ...], reasons: list[str]
) -> Version:
    """The final version that this release leads to; adds to the reasons."""
    line = version_line(project)
    stated = None if line is None else line.version
    last = found.last
    target = _wanted(asked, last, changes, reasons)
    is_free = asked.level is None and asked.named is None
    if is_free and stated is None:
        reached = found.reached.values()
        opened = [one for one in reached if one.is_prerelease and (last is None or one > last)]
        coming = final_of(max(opened)) if opened else target
        if coming > target:
            reasons.append(f"{max(opened)} is a candidate in this history, so {coming} is to come")
            target = coming
        elif opened and coming < target:
            reasons.append(f"the candidate {max(opened)} in this history asked for less: {coming}")
    if line is None or stated is None:
        return target
    if is_free and stated > target:
        reasons.append(f"the project states {stated}")
        return stated
    if stated != target:
        raise ProjectError(
            f"the project states the version {stated}, but this release leads to {target}",
            hint=f"state {target} in {line.path}, line {line.number}, commit that, and call this again; "
            "no file of a project is changed here but its changelog",
        )
    return target


def _wanted(
    asked: Asked, last: Version | None, changes: tuple[ApiChange, ...], reasons: list[str]
) -> Version:
    """The final version that the word asks for, or that the public API does; adds to the reasons."""
    if asked.named is not None:
        named = version_or_none(asked.named)
        if named is None or not is_final(named):
            raise InvalidInput(f'"{asked.named}" is not a final version (PEP 440)')
        if last is not None and named <= last:
            raise ProjectError(f"{named} is not after {last}, the last release in this history")
        if last is not None and asked.although is None:
            check_named(named, changes, last=last)
        reasons.append(f"{named} was asked for")
        return named
    if last is None:
        return Version(FIRST[asked.level or "minor"])
    level = asked.level
    if level is None:
        level = needed_level(changes, last=last)
        gravest = f"the gravest change of it is {changes[0].level}" if changes else "it is the same"
        reasons.append(f"the public API was compared: {gravest}, so a {level} release is to come")
    else:
        if asked.although is None:
            check_level(level, changes, last=last)
        reasons.append(f"a {level} release was asked for")
    if last.major == 0 and changes and changes[0].level != level:
        reasons.append(
            "below 1.0 an incompatible change asks for a minor release and everything else for a patch "
            "(Semantic Versioning, item 4)"
        )
    return next_version(last, level)


def _taken(tag: str, version: Version, found: RepositoryState, *, remote: str) -> list[Hindrance]:
    """Why the version cannot be given: it is given already, or a later one of its series is."""
    releases = found.releases
    same = [one for one, other in releases.items() if other == version]
    if tag in found.tags or tag in found.remote_tags or same:
        named = same[0] if same else tag
        commit = found.tags.get(named) or found.remote_tags[named]
        where = "on another branch" if named in found.tags else f"at {remote}"
        where = "in this history" if named in found.reached else where
        remedy = "" if named in found.tags else f"fetch it, and call this again: git fetch {remote} --tags"
        return [Hindrance(f"{version} is taken: {named} stands on {commit[:12]}, {where}", remedy)]
    series = [
        (one, other)
        for one, other in releases.items()
        if other.release[:2] == version.release[:2] and is_final(other) and other > version
    ]
    if not series:
        return []
    return [Hindrance(f"{version} would come after {series[-1][0]}, a later release of its series")]


def _planned_changelog(
    project: Project,
    asked: Asked,
    found: RepositoryState,
    final: Version,
    *,
    date: str,
    tags: tuple[str, str | None],
) -> Written | None:
    path = project.root / FILENAME
    other = [name for name in OTHER_NAMES if (project.root / name).is_file()]
    if not asked.writes_changelog:
        return None
    if not path.is_file() and other:
        text = (project.root / other[0]).read_text(encoding="utf-8", errors="replace")
        if str(final) in text:
            return None
        raise ProjectError(
            f"{other[0]} does not mention {final}, and only {FILENAME} is written here",
            hint=f"write its section into {other[0]} and commit that, or leave it out: --no-changelog",
        )
    since = [] if tags[1] is None else [f"^{found.tags[tags[1]]}"]
    log = said(project.root, "log", "--no-merges", "--format=%s", "HEAD", *since, "--", ".") or ""
    subjects = [one for one in log.splitlines() if not one.startswith(SUBJECT)]
    try:
        text_now = path.read_text(encoding="utf-8") if path.is_file() else None
    except UnicodeDecodeError as error:
        raise ProjectError(f"{path} is not text in UTF-8", hint="save it as UTF-8 and commit that") from error
    written = with_release(text_now, final, date=date, subjects=subjects, tags=tags)
    return None if written.text == text_now else written


def _message(project: Project, version: Version, asked: Asked) -> str:
    reason = (
        "" if asked.although is None else f"\n\nLess than the public API asks for, because: {asked.although}"
    )
    return f"{project.display_name} {version}{reason}\n"
