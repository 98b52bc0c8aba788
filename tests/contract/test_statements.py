"""Statements that the driver executes alone, on every database."""

from __future__ import annotations

import threading
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING

import pytest
from sqlalchemy import bindparam, delete, func, insert, select, update
from sqlalchemy.exc import IntegrityError, OperationalError, ProgrammingError, SQLAlchemyError

from conveyor.catalog.database.connection import asking, reading, writing
from conveyor.catalog.database.statements import Statement, is_among, numbered, pipelined
from conveyor.catalog.database.tables import claims, facts
from makers import make_store

if TYPE_CHECKING:
    from pathlib import Path

    from conveyor.operations.store.store import Store
    from postgres_server import PostgresServer

WRITE = Statement(insert(facts))
FIND = Statement(select(facts.c.value).where(facts.c.key == bindparam("key")))
TWO_OF = Statement(select(facts.c.key).where(is_among(facts.c.key, "key", 2)).order_by(facts.c.key))


@pytest.fixture
def store(tmp_path: Path, database_url: str) -> Store:
    return make_store(tmp_path / "store", database_url=database_url)


def write(store: Store, **values: str) -> None:
    with writing(store.catalog) as connection:
        for key, value in values.items():
            WRITE.run(connection, {"key": key, "value": value})


def test_rows_are_tuples_in_the_order_asked_for(store: Store) -> None:
    write(store, colour="blue", size="large", taste="of 100 %")
    with reading(store.catalog) as connection:
        assert FIND.all(connection, {"key": "taste"}) == [("of 100 %",)]
        assert FIND.first(connection, {"key": "colour"}) == ("blue",)
        assert FIND.scalar(connection, {"key": "size"}) == "large"
        assert TWO_OF.all(connection, numbered("key", ["size", "colour"])) == [("colour",), ("size",)]
        assert TWO_OF.all(connection, numbered("key", ["size"], 2)) == [("size",)]


@pytest.mark.parametrize("values", [[], ["a", "b", "c"]])
def test_values_that_do_not_fit_their_parameters_are_refused(values: list[str]) -> None:
    with pytest.raises(ValueError, match="values for 2 parameters key0"):
        numbered("key", values, 2)


def test_what_is_not_there_is_none(store: Store) -> None:
    with reading(store.catalog) as connection:
        assert FIND.all(connection, {"key": "nothing"}) == []
        assert FIND.first(connection, {"key": "nothing"}) is None
        assert FIND.scalar(connection, {"key": "nothing"}) is None


def test_values_that_stand_in_a_statement_are_kept_beside_those_that_are_given(store: Store) -> None:
    write(store, colour="blue")
    paint = Statement(
        update(facts).where(facts.c.key == "colour", facts.c.value == bindparam("old")).values(value="red")
    )
    with writing(store.catalog) as connection:
        paint.run(connection, {"old": "green"})
        assert FIND.scalar(connection, {"key": "colour"}) == "blue"
        paint.run(connection, {"old": "blue"})
        assert FIND.scalar(connection, {"key": "colour"}) == "red"


def test_insert_writes_the_columns_it_is_given(store: Store) -> None:
    row = {"name": "demo", "is_prefix": True, "claimed_by": "ann", "claimed_at": "now"}
    with writing(store.catalog) as connection:
        Statement(insert(claims)).run(connection, row)
        assert connection.execute(select(claims)).one()._mapping == row


def test_snapshot_stands_while_others_write(store: Store) -> None:
    write(store, colour="blue")
    with reading(store.catalog) as connection:
        assert FIND.scalar(connection, {"key": "size"}) is None
        write(store, size="large")
        assert FIND.scalar(connection, {"key": "size"}) is None


def test_errors_are_those_of_sqlalchemy(store: Store) -> None:
    write(store, colour="blue")
    with pytest.raises(IntegrityError):
        write(store, colour="red")
    with pytest.raises(SQLAlchemyError) as caught, reading(store.catalog) as connection:
        Statement(select(facts.c.value.label("x")).where(facts.c.key == bindparam("key"))).run(
            connection, {"key": object()}
        )
    assert isinstance(caught.value, ProgrammingError)
    with reading(store.catalog) as connection:
        assert FIND.scalar(connection, {"key": "colour"}) == "blue"


def test_error_takes_the_whole_change_back(store: Store) -> None:
    with pytest.raises(IntegrityError):
        write(store, size="large", **{"store-id": "mine"})
    with reading(store.catalog) as connection:
        assert FIND.scalar(connection, {"key": "size"}) is None


def test_statements_in_a_pipeline_are_done_in_their_order(store: Store) -> None:
    with writing(store.catalog) as connection:
        with pipelined(connection):
            WRITE.run(connection, {"key": "colour", "value": "blue"})
            assert FIND.scalar(connection, {"key": "colour"}) == "blue"
            WRITE.run(connection, {"key": "size", "value": "large"})
        assert FIND.scalar(connection, {"key": "size"}) == "large"


@pytest.mark.parametrize("is_last", [True, False])
def test_error_in_a_pipeline_is_told_and_takes_the_whole_change_back(store: Store, is_last: bool) -> None:
    def write_twice() -> None:
        with writing(store.catalog) as connection, pipelined(connection):
            WRITE.run(connection, {"key": "colour", "value": "blue"})
            WRITE.run(connection, {"key": "colour", "value": "red"})
            if not is_last:
                FIND.scalar(connection, {"key": "colour"})

    with pytest.raises(IntegrityError):
        write_twice()
    write(store, size="large")
    with reading(store.catalog) as connection:
        assert FIND.scalar(connection, {"key": "colour"}) is None


def test_question_needs_no_transaction_and_sees_what_is_committed(store: Store) -> None:
    for size in ("large", "small"):
        with writing(store.catalog) as connection:
            connection.execute(delete(facts).where(facts.c.key == "size"))
            WRITE.run(connection, {"key": "size", "value": size})
        with asking(store.catalog) as connection:
            assert FIND.scalar(connection, {"key": "size"}) == size


def test_idle_connections_that_the_server_has_ended_are_replaced_unseen(
    tmp_path: Path, postgres: PostgresServer
) -> None:
    store = make_store(tmp_path / "store", database_url=postgres.new_database())
    with reading(store.catalog) as first, reading(store.catalog) as second:
        ended = [int(connection.scalar(select(func.pg_backend_pid())) or 0) for connection in (first, second)]
    with writing(store.catalog) as connection:
        mine = connection.scalar(select(func.pg_backend_pid()))
        for process in {*ended} - {mine}:
            assert connection.scalar(select(func.pg_terminate_backend(process, 5000)))
    for _ in range(4):
        with asking(store.catalog) as connection:
            assert FIND.scalar(connection, {"key": "store-id"})


def test_connection_that_the_database_has_closed_is_told_and_not_used_again(
    tmp_path: Path, postgres: PostgresServer
) -> None:
    store = make_store(tmp_path / "store", database_url=postgres.new_database())
    own = Statement(select(func.pg_backend_pid()))

    def write_on_a_lost_connection() -> None:
        with writing(store.catalog) as connection:
            WRITE.run(connection, {"key": "colour", "value": "blue"})
            with store.catalog.connect() as other:
                other.execute(select(func.pg_terminate_backend(own.scalar(connection))))
            WRITE.run(connection, {"key": "size", "value": "large"})

    with pytest.raises(OperationalError) as caught:
        write_on_a_lost_connection()
    assert caught.value.connection_invalidated
    write(store, taste="sweet")
    with reading(store.catalog) as connection:
        assert TWO_OF.all(connection, numbered("key", ["colour", "size"])) == []
        assert FIND.scalar(connection, {"key": "taste"}) == "sweet"


def test_statement_is_compiled_by_threads_that_use_it_for_the_first_time_at_once(store: Store) -> None:
    fresh = Statement(select(facts.c.value).where(facts.c.key == bindparam("key")))
    write(store, **{str(number): str(number) for number in range(8)})
    together = threading.Barrier(8)

    def find(number: int) -> object:
        with reading(store.catalog) as connection:
            together.wait(timeout=30)
            return fresh.scalar(connection, {"key": str(number)})

    with ThreadPoolExecutor(8) as pool:
        assert list(pool.map(find, range(8))) == [str(number) for number in range(8)]
