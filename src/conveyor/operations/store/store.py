"""A store: all of it as one value that every operation is handed."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from conveyor.operations.store.descriptions import DescriptionRenderer
from conveyor.operations.store.waiting import Waiting

if TYPE_CHECKING:
    from collections.abc import Callable
    from datetime import datetime
    from pathlib import Path

    from sqlalchemy import Engine

    from conveyor.blobs import BlobStore
    from conveyor.catalog.database.serials import NewestSerial

ADMIN = "admin"
"""The user that every store has: an administrator."""


@dataclass(frozen=True)
class Store:
    """All that an operation needs; made by ``open_store``, ended by ``close_store``."""

    data: Path
    """The store's folder; catalogue and blobs may lie elsewhere."""
    catalog: Engine
    blobs: BlobStore
    newest: NewestSerial
    clock: Callable[[], datetime]
    descriptions: DescriptionRenderer = field(default_factory=DescriptionRenderer)
    waiting: Waiting = field(default_factory=Waiting)
    """Who waits for a change of this process; see ``operations.store.shared_commits``."""
