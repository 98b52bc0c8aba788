"""Which git tags are releases of a project, and what a commit between them is called.

A tag is a release if it spells a version of two to four numbers (``1.2``, ``v1.2.3``, ``2024.10.1``), with an
optional pre-release (``a1``, ``b1``, ``rc1``) or post-release (``.post1``). In a repository of several
projects it names its project too: ``demo/v1.2.0`` or ``demo-v1.2.0``; a project may declare another prefix
(``tag_prefix`` under ``[tool.conveyor]``). No other tag counts: moving tags (``v1``, ``latest``), experiment
tags (``model-churn-7``), tags of other projects. The build bears the canonical spelling (PEP 440) whatever
the tag's own spelling is, so two tags may not spell one version.

A commit without a release tag has a development version: one more than the highest release in its history,
the number of commits since, and the commit itself: ``1.2.4.dev5+g1a2b3c4d5``. It is computed here and forced
on the build backend (``forced_version``), because backends ask ``git describe``, which knows none of these
rules. The globs that generated projects pass to it (``templates/common/pyproject.toml.jinja``) lead to the
same releases, and in a plain history of three-number releases to the same versions in between;
``tests/project/test_versions.py`` compares the two.

In this room are the rules; ``trees`` asks git and the project, ``version_lines`` reads and sets versions that
a project states in a file.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import TYPE_CHECKING

from packaging.utils import canonicalize_name

from conveyor.domain.words.names import Version, version_or_none
from conveyor.errors import ConveyorError, InvalidVersion, ProjectError
from conveyor.project.settings import table_in
from conveyor.project.taking import own_file

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

    from conveyor.domain.words.names import NormalizedName
    from conveyor.project.settings import Project

_HINT = "name a release as in v1.2.0, v1.2.0rc1, 1.2.0.post1 or 2024.10.1"
FIRST = Version("0.0.1")
"""What a project without any release leads to."""


@dataclass(frozen=True)
class TagRules:
    """How one project's release tags are told from all other tags of its repository."""

    project: NormalizedName
    prefix: str | None = None
    """What each release tag begins with, as the project declares it; ``None`` if it declares nothing."""
    is_alone: bool = True
    """Whether the project is the top of its repository. Below the top, a tag must name the project."""


def version_of_release_tag(tag: str, rules: TagRules) -> Version:
    """The version that a tag releases, such as ``Version("1.2.1rc1")`` for ``v1.2.1rc1``.

    Raises:
        InvalidVersion: the tag is not a release of this project; the message says why.
    """
    text = _without_prefix(tag, rules)
    bare = text if (rules.prefix or "").endswith("v") else text.removeprefix("v")
    # Python's own readers of numbers and spaces take those of every script; git lets a tag hold them.
    version = version_or_none(bare) if re.fullmatch(r"[0-9][!-~]*", bare) else None
    if version is None:
        raise InvalidVersion(f'tag "{tag}" is not a release: "{text}" is not a version (PEP 440)', hint=_HINT)
    if version.epoch or not 2 <= len(version.release) <= 4:
        raise InvalidVersion(
            f'tag "{tag}" is not a release: a release has two to four numbers, such as 1.2.0', hint=_HINT
        )
    if version.local is not None or version.dev is not None:
        raise InvalidVersion(
            f'tag "{tag}" names a development version; those belong to commits without a tag', hint=_HINT
        )
    if version.post is not None and "post" not in bare.lower():
        raise InvalidVersion(
            f'tag "{tag}" is not a release: "{bare}" could mean {version} or something else', hint=_HINT
        )
    return version


def is_release_tag(tag: str, rules: TagRules) -> bool:
    """Whether a tag names a release of this project; moving and experiment tags do not."""
    try:
        version_of_release_tag(tag, rules)
    except InvalidVersion:
        return False
    return True


def _without_prefix(tag: str, rules: TagRules) -> str:
    if rules.prefix is not None:
        if not tag.startswith(rules.prefix):
            raise InvalidVersion(
                f'tag "{tag}" is not a release: it does not begin with tag_prefix, "{rules.prefix}"',
                hint=f"name a release as in {rules.prefix}1.2.0",
            )
        return tag[len(rules.prefix) :]
    for match in re.finditer(r"[/-]", tag):
        if canonicalize_name(tag[: match.start()]) == rules.project:
            return tag[match.end() :]
    if "/" in tag or not rules.is_alone:
        raise InvalidVersion(
            f'tag "{tag}" does not name the project {rules.project}',
            hint=f"name a release as in {rules.project}/v1.2.0, or declare what the tags begin with: "
            "tag_prefix under [tool.conveyor] in pyproject.toml",
        )
    return tag


def releases_among(tags: Iterable[str], rules: TagRules) -> dict[str, Version]:
    """The tags that are releases, each with its version, lowest version first."""
    found = {tag: version_of_release_tag(tag, rules) for tag in sorted(tags) if is_release_tag(tag, rules)}
    return dict(sorted(found.items(), key=lambda one: one[1]))


def refuse_twins(version: Version, releases: Mapping[str, Version]) -> None:
    """Refuse two tags that spell one version: nobody could say which of them a build is of.

    Raises:
        InvalidVersion: there are several; all are named.
    """
    twins = [tag for tag, other in releases.items() if other == version]
    if len(twins) > 1:
        named = " and ".join(f'"{tag}"' for tag in twins)
        raise InvalidVersion(
            f"the tags {named} both name the version {version}",
            hint="delete all but one of them, here and where they were pushed: "
            f"git tag -d {twins[-1]} && git push origin :refs/tags/{twins[-1]}",
        )


@dataclass(frozen=True)
class History:
    """What git says about the commit that is checked out."""

    commit: str
    """Its abbreviated id."""
    tags_here: tuple[str, ...]
    """All tags on this very commit."""
    tags_in_reach: tuple[str, ...]
    """All tags on this commit and its ancestors, newest last."""
    commits_since: int
    """Commits since the highest release in reach; since the beginning of history if there is none."""
    is_cut_off: bool = False
    """Whether commits since the highest release may be missing, because the clone is shallow."""
    changed: tuple[str, ...] = ()
    """Files that differ from the commit."""
    hidden: tuple[str, ...] = ()
    """Tracked files at which git was told not to look."""


@dataclass(frozen=True)
class VersionFault:
    """A reason why a version would lie, and what to do."""

    message: str
    hint: str
    error: type[ConveyorError] = ProjectError
    """What it is raised as."""


@dataclass(frozen=True)
class TreeVersion:
    """What a tree would be called, and why."""

    version: Version
    reasons: tuple[str, ...]
    """Sentences, in the order in which they decided."""
    faults: tuple[VersionFault, ...] = ()
    """If there are any, a build of this tree would bear a version that names something else."""

    def checked(self) -> Version:
        """The version.

        Raises:
            InvalidVersion: all that is wrong is that two tags spell it.
            ProjectError: it would lie for another reason; names all of them.
        """
        if len(self.faults) > 1:
            listed = "".join(f"\n- {fault.message}" for fault in self.faults)
            raise ProjectError(
                f"this tree would be called {self.version}, but that would lie:{listed}",
                hint="; ".join(fault.hint for fault in self.faults),
            )
        for fault in self.faults:
            raise fault.error(fault.message, hint=fault.hint)
        return self.version


def version_of_tree(history: History, rules: TagRules, *, static: Version | None, git: str) -> TreeVersion:
    """What the checked-out commit would be called.

    Args:
        history: what git says of it.
        rules: which tags count.
        static: the version that a file of the project states, if the project has no version from git.
        git: how to call git there, for advice.
    """
    reasons = _passed_over(history, rules)
    faults = _faults(history, rules, git=git)
    here = releases_among(history.tags_here, rules)
    if here:
        *others, (tag, version) = here.items()
        reasons.append(f'the commit carries the release tag "{tag}"')
        if str(version) != _without_prefix(tag, rules).removeprefix("v"):
            reasons.append(f"{version} is its canonical spelling")
        reasons += [
            f'"{other}" on the same commit names {one}, ' + ("too" if one == version else "which is lower")
            for other, one in others
        ]
        top = max(releases_among(history.tags_in_reach, rules).values(), default=version)
        if top > version:
            reasons.append(f"it sorts below {top}, a release that it contains")
        faults += _twin_faults(version, releases_among({*history.tags_here, *history.tags_in_reach}, rules))
        if static is not None and not builds_static(static, version):
            faults.append(static_fault(static, version))
        return TreeVersion(version, tuple(reasons), tuple(faults))
    reach = releases_among(history.tags_in_reach, rules)
    highest = max(reach.values(), default=None)
    if highest is None:
        coming = FIRST if static is None else static
        why = "" if static is None else ", and the project states it"
        where = "what is here of its history" if history.is_cut_off else "its history"
        reasons.append(f"no release is in {where}, so {coming.base_version} is to come{why}")
    else:
        tag = next(tag for tag, version in reach.items() if version == highest)
        coming = next_release(highest)
        reasons.append(f'"{tag}" is the highest release in its history, so {coming} is to come')
        faults += _twin_faults(highest, reach)
        if static is not None and Version(static.base_version) > Version(highest.base_version):
            coming = Version(static.base_version)
            reasons.append(f"the project states {static}, so {coming} is to come")
    one = "1 commit" if history.commits_since == 1 else f"{history.commits_since} commits"
    since = "since then" if highest is not None else "so far"
    known = ", as far as history is here" if history.is_cut_off else ""
    reasons.append(f"{one} {since}{known}, and {history.commit} is this one")
    version = Version(f"{coming.base_version}.dev{history.commits_since}+g{history.commit}")
    return TreeVersion(version, tuple(reasons), tuple(faults))


def next_release(version: Version) -> Version:
    """The lowest release above a release or candidate that has as many numbers: 1.2.4 above 1.2.3rc1 too.

    A candidate's own final is not the next one: it may be released from the candidate's commit at any time,
    and a later commit must not sort below it.
    """
    *first, last = version.release
    return Version(".".join(map(str, (*first, last + 1))))


def builds_static(static: Version, version: Version) -> bool:
    """Whether a project that states ``static`` is built as ``version``: as itself, or as its candidate."""
    return version == static or (version.is_prerelease and version.base_version == static.base_version)


def _passed_over(history: History, rules: TagRules) -> list[str]:
    """Which tags do not count, as sentences; the newest twenty are enough."""
    said = []
    for tag in history.tags_in_reach[-20:]:
        try:
            version_of_release_tag(tag, rules)
        except InvalidVersion as error:
            said.append(f"does not count: {error.message}")
    return said


def _faults(history: History, rules: TagRules, *, git: str) -> list[VersionFault]:
    faults = []
    if history.changed:
        faults.append(_change_fault(history.changed))
    if history.hidden:
        faults.append(_hidden_fault(history.hidden, git=git))
    if history.is_cut_off and not releases_among(history.tags_here, rules):
        faults.append(
            VersionFault(
                "history is cut off before the last release, so the commits since then cannot be counted",
                f"fetch all of it: {git} fetch --unshallow --tags",
            )
        )
    if not rules.is_alone and rules.prefix is None and not releases_among(history.tags_in_reach, rules):
        faults.append(
            VersionFault(
                f"the project {rules.project} lies inside a larger repository, "
                "and no tag in its history names it",
                f"tag its last release as {rules.project}/vX.Y.Z; or, for a project without a release, "
                f'declare under [tool.conveyor] in pyproject.toml: tag_prefix = "{rules.project}/v"',
            )
        )
    return faults


def _change_fault(changed: Sequence[str]) -> VersionFault:
    return VersionFault(
        f"the tree differs from its commit, so no version would name this build:{_listed(changed)}",
        advice_on_changes(changed),
    )


def advice_on_changes(changed: Sequence[str]) -> str:
    """What to do with files that differ from the commit; nobody is told to commit what was built."""
    if all(path.endswith(_ARCHIVES) for path in changed):
        return "remove these archives, or name their folder in .gitignore"
    return "commit these files, or name those that do not belong to the project in .gitignore"


_ARCHIVES = (".whl", ".tar.gz", ".zip")


def _hidden_fault(hidden: Sequence[str], *, git: str) -> VersionFault:
    return VersionFault(
        "git was told not to look at these files, so nobody knows whether they are as in the commit:"
        + _listed(hidden),
        f"have git look: {git} sparse-checkout disable; or, for single files, "
        f"{git} update-index --no-assume-unchanged --no-skip-worktree FILE",
    )


def _listed(paths: Sequence[str]) -> str:
    more = f"\n  and {len(paths) - 20} more" if len(paths) > 20 else ""
    return "".join(f"\n  - {path}" for path in paths[:20]) + more


def refuse_changes(changed: Sequence[str], hidden: Sequence[str], *, git: str = "git") -> None:
    """Raise ProjectError if files differ from the commit that a build is to name, or if git cannot tell."""
    faults = [_change_fault(changed)] if changed else []
    faults += [_hidden_fault(hidden, git=git)] if hidden else []
    if faults:
        raise ProjectError(
            "\n".join(fault.message for fault in faults), hint="; ".join(fault.hint for fault in faults)
        )


def _twin_faults(version: Version, releases: Mapping[str, Version]) -> list[VersionFault]:
    try:
        refuse_twins(version, releases)
    except InvalidVersion as error:
        return [VersionFault(error.message, error.hint or _HINT, InvalidVersion)]
    return []


def static_fault(static: Version, version: Version) -> VersionFault:
    """Why a project that states ``static`` cannot be built as ``version``."""
    return VersionFault(
        f"the tag names {version}, but the project states the version {static}",
        f"state {version.base_version} in the project, commit that, and tag the new commit",
    )


# --- handing a version to the build backend ----------------------------------------------------------------

_VARIABLES = {
    # hatch-vcs 0.5 ignores the variable that names the project, unless the project sets dist_name.
    "hatch-vcs": "SETUPTOOLS_SCM_PRETEND_VERSION",
    "pdm-backend": "PDM_BUILD_SCM_VERSION",
    "uv-dynamic-versioning": "UV_DYNAMIC_VERSIONING_BYPASS",
    "poetry-dynamic-versioning": "POETRY_DYNAMIC_VERSIONING_BYPASS",
    "pbr": "PBR_VERSION",
}
"""Tool that asks git for the version → the variable that gives it one, whatever the project is called."""

_SETTINGS = {
    "versioningit": "[tool.versioningit] takes the version from git alone, by its tag2version and format",
    "versioneer": "versioneer takes the version from git alone, by tag_prefix and style in its section of "
    "pyproject.toml or setup.cfg",
    "setuptools-git-versioning": "[tool.setuptools-git-versioning] takes the version from git alone, by its "
    "template and dev_template",
    "setuptools-scm": "see [tool.setuptools_scm]: without that table setuptools-scm does nothing, and its "
    "dist_name must be the project's name",
    "hatch-vcs": "see [tool.hatch.version]: dist_name under raw-options must be the project's name",
    "pdm-backend": "see [tool.pdm.version]",
    "uv-dynamic-versioning": "see [tool.uv-dynamic-versioning]",
    "poetry-dynamic-versioning": "see [tool.poetry-dynamic-versioning]: enable must be true",
    "pbr": "pbr takes PBR_VERSION only if pbr=True is in setup.py",
}
"""Tool → where the project says how the version comes about."""
TOOLS_WITHOUT_VARIABLE = frozenset({"versioningit", "versioneer", "setuptools-git-versioning"})
"""Tools that believe tags alone: for a development version their clone gets a tag of that name."""
_KNOWN_TOOLS = (*_SETTINGS, "vcs-versioning")
_IN_SETUP_PY = {
    "setuptools-scm": r"\buse_scm_version\b",
    "pbr": r"\bpbr\s*=\s*True\b",
    "versioneer": r"\bversioneer\.get_version\b",
    "setuptools-git-versioning": r"\bsetuptools_git_versioning\s*=",
}
"""Tool → how ``setup.py`` uses it, whatever it requires."""


def version_tools(project: Project) -> frozenset[str]:
    """The known tools that give the project its version at build time, such as ``{"hatch-vcs"}``."""
    requires = table_in(project.document, "build-system").get("requires", [])
    words = [word for word in requires if isinstance(word, str)] if isinstance(requires, list) else []
    found = {canonicalize_name(match[0]) for word in words if (match := re.match(r"[\w.-]+", word.strip()))}
    script = project.root / "setup.py"
    if project.backend == "setuptools" and script.is_file():
        text = own_file(script).read_text(encoding="utf-8", errors="replace")
        found |= {canonicalize_name(tool) for tool, use in _IN_SETUP_PY.items() if re.search(use, text)}
    return frozenset(tool for tool in _KNOWN_TOOLS if canonicalize_name(tool) in found)


def forced_version(project: Project, version: Version) -> dict[str, str]:
    """The variables that make the project's backend build this version instead of asking git.

    Set them for the project's own hooks only: those that name no project would leak into other source builds.
    A backend without such a variable is not listed; a version that a file states is set there
    (``version_lines``).
    """
    variables = named_version(project, version)
    for tool in version_tools(project):
        if tool in _VARIABLES and not (tool == "hatch-vcs" and _names_itself(project)):
            variables[_VARIABLES[tool]] = str(version)
    return variables


def named_version(project: Project, version: Version) -> dict[str, str]:
    """Those of these variables that name the project, so that they may reach other builds."""
    named = canonicalize_name(project.name).replace("-", "_").upper()
    return {
        f"{tool}_PRETEND_VERSION_FOR_{named}": str(version) for tool in ("SETUPTOOLS_SCM", "VCS_VERSIONING")
    }


def _names_itself(project: Project) -> bool:
    """Whether a project that uses hatch-vcs tells it the project's name."""
    named = table_in(project.document, "tool", "hatch", "version", "raw-options").get("dist_name")
    return isinstance(named, str) and canonicalize_name(named) == project.name


def refuse_other_version(project: Project, *, planned: Version, built: Version) -> None:
    """Refuse a built file whose version is not the planned one; nobody would know what it is.

    Raises:
        ProjectError: they differ; names the setting of the tool that the version came from.
    """
    if built == planned:
        return
    settings = [_SETTINGS[tool] for tool in sorted(version_tools(project)) if tool in _SETTINGS]
    raise ProjectError(
        f"the project was to be built as {planned}, but {project.backend} built {built}",
        hint="; ".join(settings)
        or "let the backend take its version from git by a tool that can be told it "
        "(setuptools-scm, hatch-vcs, pdm-backend), or state it as text, such as version under [project]",
    )
