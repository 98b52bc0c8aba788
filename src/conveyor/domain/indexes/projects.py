"""Projects as a whole: their status (PEP 792), their size and its limit.

The words of a status and their meanings are those of the standard ("Project Status Markers"). Administrators
set the status here; a mirrored project may also have one from upstream.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Annotated, Literal, get_args

from conveyor.domain.words.notation import Reason
from conveyor.domain.words.records import Count, Record
from conveyor.errors import Forbidden, TooLarge

if TYPE_CHECKING:
    from collections.abc import Iterable

StatusName = Literal["active", "archived", "deprecated", "quarantined"]
STATUS_NAMES: tuple[StatusName, ...] = get_args(StatusName)


@dataclass(frozen=True, slots=True)
class ProjectStatus:
    """The status of a project, and its reason."""

    name: StatusName = "active"
    reason: str | None = None
    """For people; ``None`` if no reason was given."""

    @property
    def accepts_uploads(self) -> bool:
        """Whether new files may be added."""
        return self.name in ("active", "deprecated")

    @property
    def offers_files(self) -> bool:
        """Whether existing files may be downloaded."""
        return self.name != "quarantined"


ACTIVE = ProjectStatus()


def status_from(word: str | None, reason: str | None) -> ProjectStatus:
    """The status that a row or an upstream names; active for ``None`` and for an unknown word."""
    known = (ProjectStatus(name, reason) for name in STATUS_NAMES if name == word)
    return next(known, ACTIVE)


def shown_status(own: ProjectStatus, mirrored: Iterable[ProjectStatus]) -> ProjectStatus:
    """The status that readers see: this store's decision, else that of the nearest upstream that made one."""
    return next((status for status in (own, *mirrored) if status.name != "active"), own)


def must_accept_uploads(project: str, status: ProjectStatus) -> None:
    """Allow adding a file to a project; raises Forbidden, with the reason of the status."""
    if not status.accepts_uploads:
        raise Forbidden(
            f"{project} {_is(status)} and takes no new files",
            hint=f"an administrator can set it active again: conveyor store status {project} active",
            rule="project-closed",
        )


def must_offer_files(project: str, status: ProjectStatus) -> None:
    """Allow handing out a file of a project, or promoting it; raises Forbidden, with the status's reason."""
    if not status.offers_files:
        raise Forbidden(
            f"{project} {_is(status)}: none of its files is served or promoted",
            hint=f"use another project; see why: conveyor store status {project}",
        )


def _is(status: ProjectStatus) -> str:
    return f"is {status.name}" + (f" ({status.reason})" if status.reason else "")


@dataclass(frozen=True)
class ProjectSize:
    """The size of a project and its limit."""

    stored_bytes: int
    limit_bytes: int | None
    """Its own limit; ``None``: the store's limit applies."""


def check_project_size(
    size_bytes: int, project: ProjectSize, *, name: str, store_limit_bytes: int | None
) -> None:
    """Raise TooLarge if one more file takes a project over its own limit or, without one, over the store's.

    ``name`` is the project's; ``store_limit_bytes`` is what the store allows every project (``None``:
    unlimited).
    """
    limit_bytes = store_limit_bytes if project.limit_bytes is None else project.limit_bytes
    if limit_bytes is not None and project.stored_bytes + size_bytes > limit_bytes:
        raise TooLarge(
            f"{name} has {project.stored_bytes:,} bytes, and with the {size_bytes:,} of this file "
            f"it would have more than {limit_bytes:,}",
            hint=f"an administrator can give it a higher limit: conveyor store limit {name} BYTES",
            rule="project-size",
        )


# --- projects as they cross the wire -----------------------------------------------------------------------


@dataclass(frozen=True)
class NewStatus(Record):
    """A status to be given to a project."""

    status: StatusName
    reason: Annotated[Reason | None, "What installers and pages tell people."] = None


@dataclass(frozen=True)
class StatusOfProject(Record):
    """The status that readers of a project's pages see; it can be set before the first file."""

    project: str
    status: StatusName
    reason: str | None
    is_known: Annotated[bool, "Whether the project is here, from upstream or claimed; else perhaps mistyped."]


@dataclass(frozen=True)
class NewLimit(Record):
    """A limit to be given to a project."""

    limit_bytes: Annotated[Count | None, "null: the store's limit applies."]


@dataclass(frozen=True)
class SizeOfProject(Record):
    """The size of a project and its limit, which can be set before the first file."""

    project: str
    stored_bytes: Annotated[Count, "Size of all its files."]
    limit_bytes: Annotated[Count | None, "Its own limit; null: the store's limit applies."]
    is_known: Annotated[bool, "Whether the project is here, from upstream or claimed; else perhaps mistyped."]
