"""Repositories of runs: their allowed URLs, and the rights to start a run and to see it.

What a run builds and tests are programs of its repository, on the worker's machine. So administrators say
which repository belongs to which project. A folder of the worker's own machine needs no registration when the
worker itself asks for the run: whoever holds its credentials there vouches for it.
"""

from __future__ import annotations

import shlex
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Annotated
from urllib.parse import urlsplit

from conveyor.domain.people.access import must_have, reaches_index
from conveyor.domain.runs.schedules import read_schedule
from conveyor.domain.words.addresses import is_local_name
from conveyor.domain.words.names import ProjectName
from conveyor.domain.words.notation import Moment
from conveyor.domain.words.records import NO_COLUMN, Option, Record, ShortText, Text
from conveyor.errors import Forbidden, InvalidInput

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Mapping

    from conveyor.domain.people.access import Identity
    from conveyor.domain.runs.states import Run

SCHEMES = ("https", "ssh")
"""What git speaks to repositories elsewhere: both encrypted, both know whom they talk to."""
LOCAL_SCHEMES = (*SCHEMES, "http", "file")
"""What it speaks to a repository that is registered with ``--local``, besides plain paths."""


@dataclass(frozen=True)
class NewRepository(Record):
    """A repository to be registered for a project."""

    project: ProjectName
    url: Annotated[Text, "As a worker reaches it, without credentials."]
    is_local: Annotated[bool, "Allow a path or a private address."] = False
    branch: Annotated[ShortText | None, "The branch of which the store requests runs by itself."] = None
    index: Annotated[ShortText | None, "Where these runs enter; null: the only index where they can."] = None
    schedule: Annotated[
        ShortText | None,
        'When it requests one, in UTC: "every 6h", "daily 03:00", "weekly mon 03:00", or cron.',
    ] = None
    on_release: Annotated[
        tuple[ProjectName, ...],
        Option("on-release", "PROJECT"),
        "Request one when a new release of this project can be installed, own or mirrored.",
    ] = ()


@dataclass(frozen=True)
class RepositoryRemoval(Record):
    """A registration to be removed."""

    project: ProjectName
    url: Text


@dataclass(frozen=True)
class Repository(Record):
    """A repository that administrators registered for a project."""

    project: str
    url: str
    is_local: Annotated[bool, "Whether it may be a path, or at a loopback or private address."]
    registered_by: str
    registered_at: Annotated[Moment, NO_COLUMN]
    branch: Annotated[str | None, "The branch of which the store requests runs by itself."] = None
    index: Annotated[
        str | None, NO_COLUMN, "Where these runs enter; null: the only index where they can."
    ] = None
    schedule: Annotated[str | None, "When it requests one, in UTC."] = None
    on_release: Annotated[tuple[str, ...], "Of which projects a new release requests one."] = ()
    next_run_at: Annotated[Moment | None, NO_COLUMN, "When the schedule comes next."] = None


def canonical_url(url: str) -> str:
    """The spelling in which a repository is registered and looked up: without slashes at its end."""
    return url.rstrip("/") or url


def check_triggers(asked: NewRepository) -> None:
    """Accept what is to request runs by itself; raises InvalidInput with every fault."""
    faults = []
    asks = asked.schedule is not None or bool(asked.on_release)
    if asks and asked.branch is None:
        faults.append("a schedule and releases request runs of a branch, and none is named")
    if not asks and (asked.branch is not None or asked.index is not None):
        faults.append("a branch and an index are named, and nothing requests runs")
    if asked.branch is not None and (
        asked.branch.startswith(("-", "refs/")) or not asked.branch.isprintable() or " " in asked.branch
    ):
        faults.append("the branch is not the name of one")
    if asked.project in asked.on_release:
        faults.append("a release of the project itself would request the next one without end")
    if asked.schedule is not None:
        try:
            read_schedule(asked.schedule)
        except InvalidInput as error:
            faults.append(error.message)
    if faults:
        raise InvalidInput(
            f"runs of {asked.url[:200]} cannot be requested by themselves: {faults[0]}",
            faults=faults,
            hint='name a branch and a moment: --branch main --schedule "daily 03:00"',
        )


def check_repository(url: str, *, is_local: bool) -> None:
    """Accept the URL or path of a repository; raises InvalidInput with every fault."""
    faults = []
    scheme = scheme_of(url)
    if url.startswith("-") or not url.isprintable() or "::" in url.partition("[")[0]:
        faults.append("it is neither a URL nor a path")
    elif _is_relative(url):
        faults.append("it is a relative path, which means another place in each folder")
    elif holds_credentials(url):
        faults.append("it holds credentials, which everybody who may see runs would see")
    elif scheme not in LOCAL_SCHEMES:
        faults.append(f"git reads repositories by https and ssh, not by {scheme}")
    elif not is_local and _is_local(url):
        faults.append("it is a path, or at a loopback or private address")
    elif not is_local and scheme not in SCHEMES:
        faults.append(f"{scheme} is not encrypted: others could put their code into its answers")
    if faults:
        hint = (
            "if a worker is to read it there, register it with --local"
            if faults[0].startswith("it is a path")
            else "name the whole path, from / on"
            if _is_relative(url)
            else "name it as a worker can reach it with its own keys: https://HOST/PATH, ssh://git@HOST/PATH"
        )
        raise InvalidInput(f'"{url[:200]}" cannot be registered: {faults[0]}', faults=faults, hint=hint)


def may_start_run(
    identity: Identity,
    repository: str,
    registered: Collection[str],
    *,
    index: str,
    project: str | None = None,
) -> None:
    """Allow starting a run into ``index``; ``registered``: the projects of its repository.

    ``project`` is the one that the run is to release; ``None`` if the caller did not say.

    Raises:
        Unauthorized, Forbidden: the scope ``run`` is missing or does not reach the index, or the repository
            is not registered for the project, or for any that the token reaches.
    """
    must_have(identity, "run", index=index)
    if identity.worker is not None and is_path(repository) and not registered:
        return
    if not registered:
        raise Forbidden(
            f"no administrator has registered the repository {repository[:200]}",
            hint="name the repository by its URL, or by its whole path"
            if _is_relative(repository)
            else f"ask an administrator: {command_to_register(repository)}",
        )
    if project is not None and project not in registered:
        raise Forbidden(
            f"no administrator has registered the repository {repository[:200]} for {project}",
            hint=f"ask an administrator: {command_to_register(repository, project)}",
        )
    reached = registered if project is None else (project,)
    if identity.projects is not None and not identity.projects.intersection(reached):
        raise Forbidden(
            f"{identity.name} may not start runs of this repository with this token: "
            "the repository is registered for other projects than the token",
            hint="use a token that is not narrowed to other projects",
        )


def command_to_register(url: str, project: str = "PROJECT") -> str:
    """The command by which an administrator lets runs of this repository release a project."""
    local = " --local" if _is_local(url) else ""
    return f"conveyor store repository add {project} {shlex.quote(url)}{local}"


def may_see_run(
    identity: Identity,
    run: Run,
    *,
    projects: Collection[str],
    reads: Callable[[str | None], bool],
) -> bool:
    """Whether a known caller may see a run: its repository may be as private as its project.

    Args:
        identity: the caller.
        run: the run.
        projects: those it releases; before a worker has reported them, those its repository is registered
            for.
        reads: whether the caller may read a project, in the index that the run enters too; ``None``:
            everything in the store.
    """
    if identity.worker is not None or run.requested_by == identity.name:
        return True
    is_within = identity.projects is None or not identity.projects.isdisjoint(projects)
    if identity.has_scope("run") and is_within and reaches_index(identity, run.index):
        return True
    return identity.has_scope("read") and all(reads(project) for project in projects or (None,))


def holds_credentials(url: str) -> bool:
    """Whether a repository's URL holds a password, or what may be a token, or cannot be read.

    A user name alone is fine for SSH, which then asks for a key; over HTTP it may be a token.
    """
    try:
        parts = urlsplit(url)
    except ValueError:
        return True
    return parts.password is not None or (parts.username is not None and parts.scheme != "ssh")


def _is_local(url: str) -> bool:
    host = _host_of(url)
    if host is None:
        return True
    return is_local_name(host)


def _is_relative(url: str) -> bool:
    return "://" not in url and not url.startswith("/") and _host_of(url) is None


@dataclass(frozen=True)
class Reach:
    """The repositories that the keeper of one run may read."""

    registered: Mapping[str, bool] = field(default_factory=dict)
    """Canonical URL → whether it may be local; those registered for the run's project."""
    folders: bool = True
    """Whether it may read folders of its machine that are not registered: a person there named one."""
    is_typed: bool = False
    """Whether a person at the worker named the URL just now, before there is a run."""

    def allows_local(self, url: str) -> bool:
        """Whether this repository may be at a private address; raises Forbidden if it may not be read."""
        known = canonical_url(url)
        if known in self.registered:
            return self.registered[known]
        if self.is_typed or (self.folders and is_path(url)):
            return True
        raise Forbidden(
            f"no administrator has registered the repository {url[:200]} for this project",
            hint=f"ask an administrator: {command_to_register(url)}",
        )


def check_protocol(url: str, *, is_local: bool) -> str:
    """The one protocol by which git may read a repository; raises InvalidInput if it may not by this one."""
    scheme = scheme_of(url)
    if scheme not in (LOCAL_SCHEMES if is_local else SCHEMES):
        raise InvalidInput(
            f"{url[:200]} cannot be read by {scheme}",
            hint="repositories elsewhere are read by https and ssh: register that address",
        )
    return scheme


def origin_of(url: str) -> tuple[str, str, int | None]:
    """Scheme, host and port (``None``: the usual one) of a URL or ``user@host:path``; no path has any."""
    if "://" not in url:
        return "ssh", str(_host_of(url)).lower(), None
    parts = urlsplit(url)
    return parts.scheme.lower(), str(parts.hostname), parts.port


def is_path(repository: str) -> bool:
    """Whether it is a folder of the machine that reads it, as a path or a ``file`` URL."""
    return scheme_of(repository) == "file"


def scheme_of(url: str) -> str:
    """The scheme by which git reaches a repository: ``ssh`` for ``user@host:path``, ``file`` for a path."""
    if "://" in url:
        return url.partition("://")[0].lower()
    return "file" if _host_of(url) is None else "ssh"


def _host_of(url: str) -> str | None:
    """The host that a URL, or ``user@host:path``, names; ``None`` for a path or a ``file`` URL."""
    if "://" in url:
        return None if url.lower().startswith("file:") else urlsplit(url).hostname
    place, colon, _ = url.partition(":")
    if not colon or "/" in place:
        return None
    return place.rpartition("@")[2]
