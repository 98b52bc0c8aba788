"""Transactions: ``read`` for a snapshot, ``record_change`` for a change with its events and its serial.

What ``record_change`` promises when it is left without an exception: rows and events are committed and
durable, and every process of the store sees the new serial (rules 1-3 and 8 of the design). Any exception
rolls all of it back. Blobs are stored before the transaction begins, so that no row ever points at nothing.
"""

from __future__ import annotations

from contextlib import contextmanager, suppress
from typing import TYPE_CHECKING

from sqlalchemy.exc import IntegrityError, SQLAlchemyError

from conveyor.catalog.database.connection import reading, storage_error, writing
from conveyor.catalog.database.events import Change
from conveyor.domain.words.notation import utc_text
from conveyor.errors import Conflict

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from sqlalchemy import Connection

    from conveyor.operations.store.store import Store


@contextmanager
def record_change(store: Store, *, actor: str) -> Iterator[Change]:
    """A write transaction; what happens inside is one change, or none.

    Raises:
        Conflict: another process wrote the same row at the same time.
        StorageFailed: the database failed; nothing of the change is visible.
    """
    with record_changes(store) as begin:
        yield begin(actor)


@contextmanager
def record_changes(store: Store) -> Iterator[Callable[[str], Change]]:
    """One write transaction for any number of changes, one after the other: begins one for an actor.

    All of them are stored, or none. Raises as ``record_change``.
    """
    changes: list[Change] = []
    announced: int | None = None
    with database_errors("the change was not stored"):
        try:
            with writing(store.catalog) as connection:

                def begin(actor: str) -> Change:
                    changes.append(Change(connection, actor=actor, at=utc_text(store.clock())))
                    return changes[-1]

                yield begin
                serials = [change.serial for change in changes if change.serial is not None]
                if serials:
                    announced = serials[-1]
                    store.newest.announce(announced)
        except BaseException:
            if announced is not None:
                # The commit failed: without this, readers ask the database until the next change.
                with suppress(SQLAlchemyError):
                    store.newest.repair()
            raise
        if announced is not None:
            store.newest.publish(announced)


def newest_change(store: Store) -> int:
    """The serial of the newest change; may ask the database. Raises StorageFailed."""
    with database_errors("the newest serial can not be read"):
        return store.newest.read()


@contextmanager
def read(store: Store) -> Iterator[Connection]:
    """A read transaction: one snapshot for all statements inside. Raises StorageFailed."""
    with database_errors("the catalogue can not be read"), reading(store.catalog) as connection:
        yield connection


@contextmanager
def database_errors(what: str) -> Iterator[None]:
    """Turn errors of the database into ours; ``what`` says what did not happen."""
    try:
        yield
    except IntegrityError as error:
        raise Conflict(
            f"{what}: somebody else changed the same thing at the same time",
            hint="look again, then try again",
        ) from error
    except SQLAlchemyError as error:
        cause = getattr(error, "orig", None) or error
        reason = str(cause).strip().splitlines()[0] if str(cause).strip() else type(cause).__name__
        raise storage_error(what, reason, hint="look at the database, then try again") from error
