"""What an upload costs does not grow with the project: counted in steps of SQLite, not in seconds."""

from __future__ import annotations

from contextlib import contextmanager
from typing import TYPE_CHECKING

from sqlalchemy import event

from distributions_made import make_wheel
from makers import make_store
from readers import upload

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from conveyor.operations.store.store import Store

FEW, MANY = 20, 150


def test_upload_takes_as_many_steps_into_a_project_of_many_releases(tmp_path: Path) -> None:
    store = make_store(tmp_path / "store")
    for number in range(FEW):
        upload(store, make_wheel("demo", f"1.{number}"))
    into_few = steps_of_upload(store, FEW)
    for number in range(FEW + 1, MANY):
        upload(store, make_wheel("demo", f"1.{number}"))
    into_many = steps_of_upload(store, MANY)
    assert into_many < 1.1 * into_few


def steps_of_upload(store: Store, number: int) -> int:
    made = make_wheel("demo", f"1.{number}")
    with counted_steps(store) as steps:
        upload(store, made)
    return len(steps)


@contextmanager
def counted_steps(store: Store) -> Iterator[list[None]]:
    """One element for each instruction of SQLite's virtual machine that the store executes meanwhile."""
    steps: list[None] = []

    def count(connection: object, *_: object) -> None:
        connection.set_progress_handler(lambda: steps.append(None), 1)  # type: ignore[attr-defined]

    def stop(connection: object, *_: object) -> None:
        connection.set_progress_handler(None, 1)  # type: ignore[attr-defined]

    event.listen(store.catalog, "checkout", count)
    event.listen(store.catalog, "checkin", stop)
    yield steps
    event.remove(store.catalog, "checkout", count)
    event.remove(store.catalog, "checkin", stop)
