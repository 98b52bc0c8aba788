"""Nodes: servers that share a catalogue on PostgreSQL, and how each learns of changes by the others.

A server's processes share sixteen bytes of memory (**NodeMemory**): the newest serial they know of, and until
when they may rely on it. One of them, the holder of a lock that its death releases, keeps both up to date
(**LeaseKeeper**), over a connection of its own: it listens for changes, whose transactions announce their
serials (``serials.next_serial``), acknowledges them, and renews the node's lease. A store asks
**NodeSerials**, which answers from memory while the lease lasts, else from the database. A writer, in a
server or a command, waits there until every node knows. The rules are in ``domain.care.leases``, the reasons
in decision 0027.

A lost notification only costs time: each renewal reads the newest serial too.
"""

from __future__ import annotations

import fcntl
import mmap
import os
import selectors
import struct
import threading
import time
import uuid
from contextlib import contextmanager, suppress
from functools import partial
from typing import TYPE_CHECKING, Any, TypeVar

import sqlalchemy
from sqlalchemy import bindparam, delete, func, select, true, update
from sqlalchemy.dialects import postgresql
from sqlalchemy.exc import DBAPIError, SQLAlchemyError
from sqlalchemy.pool import NullPool

from conveyor.catalog.database.serials import CHANNEL, newest_serial
from conveyor.catalog.database.statements import Statement
from conveyor.catalog.database.tables import nodes, serial
from conveyor.domain.care.leases import (
    LEASE_SECONDS,
    NO_LEASE,
    RENEWAL_SECONDS,
    NodeRow,
    Renewal,
    Wait,
)

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from sqlalchemy import Connection, Engine

Result = TypeVar("Result")

TAKEOVER_SECONDS = 0.2
"""How often a process checks whether the one that keeps the lease has ended."""
FIRST_PAUSE_SECONDS, LONGEST_PAUSE_SECONDS = 0.0005, 0.02
"""Pauses between a writer's checks of the nodes; each pause is twice as long as the one before."""
OWN_PAUSE_SECONDS = 0.01
"""How long the acknowledgement of a change that the node knows of already may wait for more of them."""
NEVER = float("inf")
LOST_MILLISECONDS = 2000
"""A keeper's connection counts as lost after this long without an acknowledgement by the network."""

_LOOK = Statement(
    select(serial.c.newest, nodes.c.id, nodes.c.renewal, nodes.c.acknowledged).select_from(
        serial.outerjoin(nodes, true())
    )
)
# The number of the newest renewal never goes down. What a keeper had sent before it was killed may come in
# after its successor's renewals; if its number were accepted, a writer that had seen it before would consider
# the node dead.
_NEWER = {
    "renewal": func.greatest(nodes.c.renewal, bindparam("number")),
    "acknowledged": func.greatest(nodes.c.acknowledged, bindparam("known")),
}
_REGISTER = Statement(
    postgresql.insert(nodes)
    .values(id=bindparam("node"), renewal=bindparam("number"), acknowledged=bindparam("known"))
    .on_conflict_do_update(index_elements=["id"], set_=_NEWER)
    .returning(nodes.c.id)
)
_RENEW = Statement(update(nodes).where(nodes.c.id == bindparam("node")).values(_NEWER).returning(nodes.c.id))
_ACKNOWLEDGE = Statement(
    update(nodes)
    .where(nodes.c.id == bindparam("node"))
    .values(acknowledged=func.greatest(nodes.c.acknowledged, bindparam("known")))
)
_REMOVE = Statement(
    delete(nodes).where(nodes.c.id == bindparam("node"), nodes.c.renewal == bindparam("number"))
)
_LEAVE = Statement(delete(nodes).where(nodes.c.id == bindparam("node")))


def _clock() -> float:
    """Seconds since the machine was started; goes on while it sleeps, and is the same in all processes."""
    return time.clock_gettime(time.CLOCK_BOOTTIME)


class NodeMemory:
    """What the processes of one server share; made before they are forked.

    Two words: the newest serial they know of, and until when they may rely on it. Each is eight aligned
    bytes, read and written as one.
    """

    def __init__(self) -> None:
        self.node = uuid.uuid4().hex
        self._file = os.memfd_create("conveyor-node")
        os.write(self._file, struct.pack("qd", 0, NO_LEASE))
        self._map = mmap.mmap(self._file, 16)
        self._published = memoryview(self._map)[:8].cast("q")
        self._lease_until = memoryview(self._map)[8:].cast("d")
        self._threads = threading.Lock()

    @property
    def published(self) -> int:
        """The newest serial that the processes know of."""
        return self._published[0]

    def peek(self) -> int | None:
        """The newest serial; ``None`` without a lease. No system call."""
        # In this order: a process that is stopped in between, for however long, then takes what is in memory
        # later than the moment at which it knew that memory was right.
        return self._published[0] if _clock() < self._lease_until[0] else None

    def raise_to(self, newest: int) -> None:
        """Tell all processes of a serial; it never decreases, in whatever order they call."""
        if newest <= self._published[0]:
            return
        with self._threads, self._locked(0):
            self._published[0] = max(newest, self._published[0])

    def lease(self, until: float) -> None:
        """Set until when the memory may be relied on."""
        self._lease_until[0] = until

    @contextmanager
    def keeping(self) -> Iterator[bool]:
        """Whether this process is the keeper; if so, no other becomes one until this or the process ends."""
        try:
            fcntl.lockf(self._file, fcntl.LOCK_EX | fcntl.LOCK_NB, 1, 1)
        except OSError:
            yield False
            return
        try:
            yield True
        finally:
            fcntl.lockf(self._file, fcntl.LOCK_UN, 1, 1)

    @contextmanager
    def _locked(self, byte: int) -> Iterator[None]:
        # A lock of the process, not of the open file, which all processes inherit from their parent.
        fcntl.lockf(self._file, fcntl.LOCK_EX, 1, byte)
        try:
            yield
        finally:
            fcntl.lockf(self._file, fcntl.LOCK_UN, 1, byte)


class NodeSerials:
    """The newest serial of a catalogue that nodes share; see the module."""

    def __init__(self, engine: Engine, memory: NodeMemory | None) -> None:
        """``memory``: that of the server that this process belongs to; ``None`` in a command."""
        # Without a transaction around it, a question is one round trip instead of three.
        self._engine = engine.execution_options(isolation_level="AUTOCOMMIT")
        self._connection: Connection | None = None
        self._turn = threading.Lock()
        self._memory = memory
        self._begun = 0
        """How many checks of the nodes have begun."""
        self._seen: tuple[int, int, list[NodeRow]] = (0, 0, [])
        """The newest check that has ended: its number and its result."""
        self._keeper = LeaseKeeper(engine, memory) if memory else None

    def peek(self) -> int | None:
        """The newest serial, while this node's lease lasts."""
        return self._memory.peek() if self._memory else None

    def read(self) -> int:
        """The newest serial: from memory, else by one short query."""
        known = self.peek()
        if known is not None:
            return known
        with self._turn:
            return self._ask(newest_serial)

    def announce(self, newest: int) -> None:
        """Nothing to do: the transaction notifies all listeners of the serial."""

    def publish(self, newest: int) -> None:
        """Tell this node of a committed serial, and wait until every other node knows or has no lease."""
        self._wait(newest)

    def settle(self) -> None:
        """Wait until every node knows of everything committed before this call."""
        self._wait(None)

    def repair(self) -> None:
        """Nothing to repair: a keeper reads the database's serial with each renewal."""

    def close(self) -> None:
        """Stop the keeper and return the connection."""
        if self._keeper is not None:
            self._keeper.end()
        with self._turn:
            self._let_go()

    def _wait(self, newest: int | None) -> None:
        began = time.monotonic()
        if newest is not None and self._memory is not None:
            self._memory.raise_to(newest)
        try:
            committed, rows = self._look()
            if self._memory is not None:
                self._memory.raise_to(committed)
            own = self._memory.node if self._memory else None
            wait = Wait.begin(newest or committed, rows, own=own, now=time.monotonic())
            pause = FIRST_PAUSE_SECONDS
            while not wait.is_over(time.monotonic()):
                time.sleep(pause)
                pause = min(2 * pause, LONGEST_PAUSE_SECONDS)
                _, rows = self._look()
                wait = wait.look(rows)
            for row in wait.dead(rows):
                values = {"node": row.id, "number": row.renewal}
                with self._turn:
                    self._ask(partial(_REMOVE.run, values=values))
        except SQLAlchemyError:
            # The change is committed. The nodes cannot be looked up; after a lease, each of them knows.
            time.sleep(max(0.0, began + LEASE_SECONDS - time.monotonic()))

    def _look(self) -> tuple[int, list[NodeRow]]:
        """The newest serial, and the nodes; of threads that check at the same time, one does it for all.

        A thread never gets the result of a query that began before this call.
        """
        arrived = self._begun
        with self._turn:
            number, newest, rows = self._seen
            if number <= arrived:
                self._begun += 1
                number = self._begun
                found = self._ask(_LOOK.all)
                newest = found[0][0]
                rows = [NodeRow(*row[1:]) for row in found if row[1] is not None]
                self._seen = number, newest, rows
            return newest, rows

    def _ask(self, question: Callable[[Connection], Result]) -> Result:
        """Query over the connection that is kept open; the caller holds the turn."""
        try:
            return question(self._connected())
        except DBAPIError as error:
            self._let_go()
            if not error.connection_invalidated:
                raise
            return question(self._connected())  # the database was restarted: only the connection was broken

    def _connected(self) -> Connection:
        if self._connection is None:
            self._connection = self._engine.connect()
        return self._connection

    def _let_go(self) -> None:
        if self._connection is not None:
            self._connection.close()
            self._connection = None


class LeaseKeeper:
    """Keeps the lease of a node, in a thread; only one process of the node does so at a time."""

    def __init__(self, engine: Engine, memory: NodeMemory) -> None:
        self._engine = sqlalchemy.create_engine(
            engine.url,
            isolation_level="AUTOCOMMIT",
            poolclass=NullPool,
            connect_args={
                "connect_timeout": 2,
                "keepalives_idle": 1,
                "keepalives_interval": 1,
                "tcp_user_timeout": LOST_MILLISECONDS,
                "application_name": "conveyor-node",
            },
        )
        self._memory = memory
        self._wake = os.eventfd(0)
        self._is_ending = threading.Event()
        self._thread = threading.Thread(target=self._run, name="node-lease", daemon=True)
        self._thread.start()

    def end(self) -> None:
        """End, and return the lease if this process keeps it; does not wait for a database that hangs."""
        self._is_ending.set()
        os.eventfd_write(self._wake, 1)
        self._thread.join(2 * LEASE_SECONDS)
        if not self._thread.is_alive():
            os.close(self._wake)

    def _run(self) -> None:
        while not self._is_ending.is_set():
            with self._memory.keeping() as is_keeper:
                if is_keeper:
                    with suppress(*self._errors):  # the lease runs out unless the next try succeeds in time
                        self._keep()
            self._is_ending.wait(TAKEOVER_SECONDS)

    @property
    def _errors(self) -> tuple[type[Exception], ...]:
        return (SQLAlchemyError, self._engine.dialect.loaded_dbapi.Error, OSError)

    def _keep(self) -> None:
        """Register, then listen, acknowledge and renew, until the row is gone or ``end`` is called."""
        memory = self._memory
        with self._engine.connect() as connection, selectors.DefaultSelector() as selector:
            driver: Any = connection.connection.driver_connection
            # 1. listen before the newest serial is read, so that none is missed
            connection.exec_driver_sql(f'listen "{connection.scalar(select(CHANNEL))}"')
            # 2. the row outlives a crash of the database, as a lease does; later writes need not
            if not self._renew(connection, _REGISTER):
                return
            connection.exec_driver_sql("set synchronous_commit to off")
            selector.register(driver.fileno(), selectors.EVENT_READ)
            selector.register(self._wake, selectors.EVENT_READ)
            renew_at = time.monotonic() + RENEWAL_SECONDS
            known, acknowledge_at = 0, NEVER
            while not self._is_ending.is_set():
                # 3. renew
                if time.monotonic() >= renew_at:
                    if not self._renew(connection, _RENEW):
                        return
                    renew_at = time.monotonic() + RENEWAL_SECONDS
                # 4. acknowledge: changes by other nodes at once, because their writers wait. What this node
                # knew before was mostly its own change; of those, several are acknowledged together.
                if told := max((int(said.payload) for said in driver.notifies(timeout=0)), default=0):
                    pause = OWN_PAUSE_SECONDS if told <= memory.published else 0.0
                    acknowledge_at = min(acknowledge_at, time.monotonic() + pause)
                    memory.raise_to(told)
                    known = max(known, told)
                if time.monotonic() >= acknowledge_at:
                    _ACKNOWLEDGE.run(connection, {"node": memory.node, "known": known})
                    acknowledge_at = NEVER
                    continue  # what came with the answer does not make the socket readable
                # 5. listen
                selector.select(max(0.0, min(renew_at, acknowledge_at) - time.monotonic()))
            # 6. nobody has to wait for a node that ends; another process of it begins anew
            memory.lease(NO_LEASE)
            _LEAVE.run(connection, {"node": memory.node})

    def _renew(self, connection: Connection, statement: Statement) -> bool:
        """Renew the lease; returns false when the row is gone: a writer gave up waiting for this node."""
        memory = self._memory
        renewal = Renewal(_clock(), memory.published)
        said = {"node": memory.node, "number": renewal.number, "known": renewal.published}
        if statement.scalar(connection, said) is None:
            memory.lease(NO_LEASE)
            return False
        newest = newest_serial(connection)
        memory.raise_to(newest)
        memory.lease(renewal.lease_until(newest))
        if newest > renewal.published:
            _ACKNOWLEDGE.run(connection, {"node": memory.node, "known": newest})
        return True
