"""Project pages for everybody who shows them: from the catalogue, after asking the mirrors that are due."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass
from typing import TYPE_CHECKING

from conveyor.errors import NotFound
from conveyor.operations.indexes.pages import find_page

if TYPE_CHECKING:
    from datetime import datetime

    from packaging.utils import NormalizedName

    from conveyor.operations.indexes.pages import FoundPage
    from conveyor.operations.store.store import Store
    from conveyor.server.mirror.mirroring import Mirroring


@dataclass(frozen=True, slots=True)
class FreshPage:
    """A page that was brought up to date as far as that was possible."""

    found: FoundPage
    fresh_until: datetime | None
    """When a mirror is to be asked again; ``None``: no mirror supplies the project."""


class Pages:
    """Finds project pages; one per process."""

    def __init__(self, store: Store, mirroring: Mirroring) -> None:
        self._store = store
        self._mirroring = mirroring

    async def find(self, index: str, project: NormalizedName) -> FreshPage:
        """The page of a project as readers of an index see it; that the caller is one, is checked before.

        Raises:
            NotFound: there is no such index, or no such project in sight of it.
            UpstreamFailed: a mirror was never asked for the project and can not be asked now.
        """
        found = await asyncio.to_thread(find_page, self._store, index, project)
        asked = [due for due in found.due if self._mirroring.paused_until(due.index, project) is None]
        if asked:
            await asyncio.gather(*(self._mirroring.freshen(project, due) for due in asked))
            found = await asyncio.to_thread(find_page, self._store, index, project)
        if not found.exists:
            raise NotFound(f'there is no project {project} in index "{index}"')
        if not found.due:
            return FreshPage(found, found.fresh_until)
        # What is shown is older than it should be: ask again as soon as that makes sense.
        again = [self._mirroring.paused_until(due.index, project) or self._store.clock() for due in found.due]
        return FreshPage(found, min(again))
