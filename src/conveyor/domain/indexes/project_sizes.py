"""Sizes of projects: how many bytes one has, and how many it may have."""

from __future__ import annotations

from dataclasses import dataclass

from conveyor.errors import TooLarge


@dataclass(frozen=True)
class ProjectSize:
    """How large a project is, and may become."""

    stored_bytes: int
    limit_bytes: int | None
    """Its own limit; ``None``: that of the store holds."""


def check_project_size(
    size_bytes: int, project: ProjectSize, *, name: str, store_limit_bytes: int | None
) -> None:
    """Raise TooLarge when a project with one more file is over its own limit, or else over the store's.

    ``name`` is the project's; ``store_limit_bytes`` is what the store allows every project (``None``: as much
    as the disk has).
    """
    limit_bytes = store_limit_bytes if project.limit_bytes is None else project.limit_bytes
    if limit_bytes is not None and project.stored_bytes + size_bytes > limit_bytes:
        raise TooLarge(
            f"{name} has {project.stored_bytes:,} bytes, and with the {size_bytes:,} of this file "
            f"it would have more than {limit_bytes:,}",
            hint=f"an administrator can give it a higher limit: conveyor store limit {name} BYTES --data DIR",
        )
