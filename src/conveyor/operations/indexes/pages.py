"""Pages of the simple API: their content, their readers, their freshness, and which changes touch them."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from conveyor.catalog.database.serials import newest_serial
from conveyor.catalog.indexes.definitions import all_indexes, claims_on
from conveyor.catalog.indexes.mirrored import mirrored_page_files, mirrored_projects_of
from conveyor.catalog.indexes.pages import (
    actions_since,
    last_change,
    own_page_files,
    project_names,
)
from conveyor.catalog.releases.projects import status_of
from conveyor.domain.indexes.definitions import one_per_filename, resolution_order, suppliers
from conveyor.domain.indexes.mirror import due_at, is_due, page_file
from conveyor.domain.indexes.policy import readable_indexes
from conveyor.domain.indexes.projects import shown_status
from conveyor.domain.indexes.simple_api import ProjectPage
from conveyor.domain.people.access import ANONYMOUS
from conveyor.operations.store.store import read

if TYPE_CHECKING:
    from datetime import datetime

    from packaging.utils import NormalizedName

    from conveyor.domain.indexes.definitions import Index
    from conveyor.domain.indexes.mirror import MirroredProject
    from conveyor.domain.people.access import Identity
    from conveyor.operations.store.store import Store

ACTIONS_WITHOUT_PAGES = frozenset({"mirror-file", "mirror-provenance", "add-evidence"})
"""Actions on a project that change nothing that a page shows."""

NOUNS_WITHOUT_PAGES = frozenset({"user", "token", "signer", "worker", "run", "blobs"})
"""Nouns of actions without a project that leave every page as it is, such as ``revoke-token``."""


@dataclass(frozen=True, slots=True)
class DueMirror:
    """A mirror that must be asked for a project now."""

    index: str
    known: MirroredProject | None
    """The mirror's row of the project; ``None`` if it was never asked."""


@dataclass(frozen=True, slots=True)
class FoundPage:
    """A project page and the facts that a cache needs."""

    page: ProjectPage
    index: Index
    exists: bool
    """False if no visible index has such a project."""
    supplied_by: str | None
    """Name of the index from which its first file comes."""
    serial: int
    """The catalogue's serial when the page was read; it shows every change up to that serial."""
    due: tuple[DueMirror, ...]
    fresh_until: datetime | None
    """When a mirror must be asked again; ``None`` if no mirror supplies the project."""


@dataclass(frozen=True, slots=True)
class FoundList:
    """The projects of an index."""

    projects: tuple[str, ...]
    index: Index
    serial: int


@dataclass(frozen=True, slots=True)
class Touched:
    """The pages that have changed since some serial."""

    serial: int
    """The newest serial seen."""
    projects: dict[str, int]
    """Project → serial of its newest change."""
    everything: int
    """Serial of the newest change that may touch every page; 0 if there was no such change."""


def find_page(
    store: Store, index_name: str, project: NormalizedName, reader: Identity | None = None
) -> FoundPage:
    """The page of a project as readers of an index see it, from one snapshot of the catalogue.

    ``reader`` is a caller who may not read the whole index: they see only files from bases that they may
    read. ``None`` stands for all other readers.

    Raises:
        NotFound: there is no such index.
    """
    with read(store) as connection:
        serial = newest_serial(connection)
        indexes = all_indexes(connection)
        # 1. the suppliers: own names never come from a mirror
        nearest_first = suppliers(index_name, indexes, project=project, claims=claims_on(connection, project))
        if reader is not None:
            seen = readable_indexes(indexes, reader, project=project)
            nearest_first = tuple(index for index in nearest_first if index.name in seen)
        local = [index.name for index in nearest_first if index.kind == "local"]
        mirrors = [index.name for index in nearest_first if index.kind == "mirror"]
        # 2. the files
        rows = own_page_files(connection, project, local) if local else []
        known: dict[str, MirroredProject] = {}
        if mirrors:
            known = mirrored_projects_of(connection, project, mirrors)
            present = [name for name, state in known.items() if state.is_present]
            rows += [page_file(file) for file in mirrored_page_files(connection, project, present)]
        files = one_per_filename(rows, nearest_first)
        changed = last_change(connection, project, without=ACTIONS_WITHOUT_PAGES) if files else 0
        status = shown_status(
            status_of(connection, project), (known[name].status for name in mirrors if name in known)
        )
    # 3. the questions for upstream
    now = store.clock()
    return FoundPage(
        page=ProjectPage(
            project=project,
            files=tuple(files) if status.offers_files else (),
            serial=changed,
            status=status,
        ),
        index=indexes[index_name],
        exists=bool(files) or any(state.is_present for state in known.values()),
        supplied_by=files[0].index if files else next(iter(mirrors), None),
        serial=serial,
        due=tuple(DueMirror(name, known.get(name)) for name in mirrors if is_due(known.get(name), now)),
        fresh_until=min((due_at(state) for state in known.values()), default=None),
    )


def find_list(store: Store, index_name: str, reader: Identity | None = None) -> FoundList:
    """The projects that readers of an index see; from mirrors, those that somebody has asked for.

    ``reader`` is a caller who may not read the whole index; ``None`` stands for all other readers.

    Raises:
        NotFound: there is no such index.
    """
    with read(store) as connection:
        indexes = all_indexes(connection)
        order = resolution_order(index_name, indexes)
        names = project_names(connection, order)
        if reader is not None:
            public = readable_indexes(indexes, ANONYMOUS)
            shown = [name for name in order if name in public]
            told = {*project_names(connection, shown), *(reader.projects or ())}
            names = [name for name in names if name in told]
        return FoundList(
            projects=tuple(names),
            index=indexes[index_name],
            serial=newest_serial(connection),
        )


def touched_since(store: Store, serial: int) -> Touched:
    """The pages that the changes after ``serial`` touch.

    A change of a project touches its pages in every index; a change of indexes, or of a claim on a prefix,
    touches all pages; users, tokens, evidence and runs appear on none.
    """
    projects: dict[str, int] = {}
    newest, everything = serial, 0
    with read(store) as connection:
        for number, action, project in actions_since(connection, serial):
            newest = number
            if project is not None:
                if action not in ACTIONS_WITHOUT_PAGES:
                    projects[project] = number
            elif not NOUNS_WITHOUT_PAGES.intersection(action.split("-")):
                everything = number
    return Touched(serial=newest, projects=projects, everything=everything)
