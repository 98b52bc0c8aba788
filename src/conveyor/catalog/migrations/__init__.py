"""Migrations of the catalogue: ``versions/NNNN_name.py``, each with ``upgrade()``, run in order of number.

They are Alembic operations, driven without Alembic's own version table: the number is in ``facts`` with the
other properties of the store. A migration cannot be undone; restore a backup instead.
"""

from __future__ import annotations

import importlib
import pkgutil
from typing import TYPE_CHECKING

from alembic.migration import MigrationContext
from alembic.operations import Operations

from conveyor.catalog.migrations import versions

if TYPE_CHECKING:
    from sqlalchemy import Connection


def migrate(connection: Connection, *, since: int) -> int:
    """Run every migration after number ``since`` in this transaction; returns the number of the last."""
    newest = since
    for number, name in sorted(
        (int(found.name.partition("_")[0]), found.name) for found in pkgutil.iter_modules(versions.__path__)
    ):
        if number <= since:
            continue
        module = importlib.import_module(f"{versions.__name__}.{name}")
        with Operations.context(MigrationContext.configure(connection)):
            module.upgrade()
        newest = number
    return newest
