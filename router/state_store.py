"""What services must remember beyond their messages: procedure steps, commitment transactions. Durable, in SQLite.

`state.sqlite` stands beside the segments, guarded by the spool's lock. Promises: a change is on the disk when
`change` returns, whole or not at all; changes come one after another. The spool keeps the messages themselves; what
both must agree on is committed to the spool first. Not here: what the tables mean (each service defines its own),
and the file at a start (state_file.py).
"""

import sqlite3
from collections.abc import Callable, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any, Final, Generic, Protocol, Self, TypeVar

import structlog
import trio

from router.concurrency import STATE
from router.spool import OutOfSpace, SpoolFailure, SpoolUnusable
from router.spool.disk.filesystem import is_locked, is_no_room
from router.spool.disk.reserve import keep_room_in
from router.state_file import Connections, is_corrupt, mark_corrupt, open_state

T = TypeVar("T")

_COUNTERS: Final = """
CREATE TABLE IF NOT EXISTS counters (row INTEGER PRIMARY KEY, clock REAL NOT NULL, next_id INTEGER NOT NULL);
"""

log = structlog.get_logger()


class Counting(Protocol):
    """The run clock and the message ids of the spool, by which services date and name what they remember."""

    @property
    def next_id(self) -> int:
        """Lowest message id that was never given out."""
        ...

    def clock(self) -> float:
        """Seconds that routers have run with this spool."""
        ...

    def advance(self, *, clock: float, next_id: int) -> None:
        """Be no lower than this."""
        ...


Migration = Callable[[sqlite3.Connection, Counting], bool]
"""Brings a service's tables of an earlier version up to date, if there are any; whether there were."""


class StateStore:
    """The open database. One router has it, from `open` to `close`."""

    def __init__(self, folder: Path, connections: Connections, counters: Counting) -> None:
        """Three connections to the same database, so that what is read never waits for what is written."""
        self._folder = folder
        self._connection, self._reading, self._glance = connections
        self._counters = counters
        self._turn = trio.Lock()
        self._reader = trio.Lock()
        self._wanted: list[_Change[Any]] = []
        self._is_locked = False
        self._failed = trio.Event()
        self._failure: SpoolFailure | None = None
        self._relieve: Callable[[BaseException], bool] = lambda error: False

    @classmethod
    def open(cls, folder: Path, counters: Counting) -> Self:
        """Open it, or make it, and bring the counters up to what it has of them. One that SQLite finds corrupt is set
        aside, and reported.

        Raises:
            SpoolUnusable: it cannot be opened.
        """
        state = cls(folder, open_state(folder), counters)
        state.define(_COUNTERS)
        for clock, next_id in state._glance.execute("SELECT clock, next_id FROM counters"):
            counters.advance(clock=clock, next_id=next_id)
        return state

    def close(self) -> None:
        for connection in (self._glance, self._reading, self._connection):
            connection.close()

    def keep_room(self, reserve: int, relieve: Callable[[BaseException], bool]) -> None:
        """Go on where other programs fill the disk: with a part of the spool's `reserve`, in bytes, in the database,
        and with `Spool.relieve`, which is called in a worker's thread."""
        keep_room_in(self._connection, reserve)
        self._relieve = relieve

    def define(self, schema: str, migrate: Migration = lambda connection, counters: False) -> None:
        """Bring a service's tables up to date, then make them where they are missing: statements of the kind
        CREATE ... IF NOT EXISTS. Before the router runs.

        Raises:
            SpoolUnusable: SQLite cannot do it.
        """
        try:
            with self._connection:
                self._connection.execute("BEGIN")
                if migrate(self._connection, self._counters):
                    self._keep_counters()
            self._connection.executescript(schema)
        except sqlite3.Error as error:
            self._meant_by(error)  # what is corrupt is marked
            raise SpoolUnusable(f"the services' state cannot be brought up to date: {error}") from error

    async def change(self, work: Callable[[sqlite3.Connection], T]) -> T:
        """Carried out in a worker's thread, whole or not at all. It is durable when this returns; cancellation waits
        for it. Those that are wanted at the same time share one transaction, and one sync of the disk.

        Raises:
            OutOfSpace: nothing has changed: the disk is full, or another program has locked the state for too long.
            SpoolFailure: the disk did not keep its word; the process must stop, and does.
        """
        await trio.lowlevel.checkpoint_if_cancelled()
        change = _Change(work)
        self._wanted.append(change)
        with trio.CancelScope(shield=True):
            async with self._turn:
                if not change.done:
                    together, self._wanted = self._wanted, []
                    await self._carry_out(together)
        return change.result()

    async def read(self, work: Callable[[sqlite3.Connection], T]) -> T:
        """What is there at one moment, in a worker's thread. Raises as `change`."""
        async with self._reader:
            try:
                return await trio.to_thread.run_sync(self._snapshot, work, limiter=STATE)
            except sqlite3.Error as error:
                self._raise_meant_by(error)
                raise

    def read_now(self, work: Callable[[sqlite3.Connection], T]) -> T:
        """The same in the caller's thread, for a look at a row: each statement sees what is there by then."""
        try:
            return work(self._glance)
        except sqlite3.Error as error:
            self._raise_meant_by(error)
            raise

    async def watch(self) -> None:
        """Raise what ended it: for the task tree, so that the process stops."""
        await self._failed.wait()
        assert self._failure is not None
        raise self._failure

    async def _carry_out(self, changes: Sequence["_Change[Any]"]) -> None:
        told: Exception | None = self._failure
        if told is None:
            try:
                await trio.to_thread.run_sync(self._transact, changes, limiter=STATE)
            except sqlite3.Error as error:
                told = self._meant_by(error) or self._fail(error)
                told.__cause__ = error
        if told is None:
            self._is_locked = False
            return
        for change in changes:
            change.failed(told)

    def _snapshot(self, work: Callable[[sqlite3.Connection], T]) -> T:
        with self._reading:
            self._reading.execute("BEGIN")
            return work(self._reading)

    def _transact(self, changes: Sequence["_Change[Any]"]) -> None:
        """In a worker's thread: all of them in one transaction. What one of them raises undoes that one alone."""
        while True:
            try:
                with self._connection as connection:
                    connection.execute("BEGIN IMMEDIATE")
                    for change in changes:
                        change.carry_out(connection)
                    self._keep_counters()
                return
            except sqlite3.Error as error:
                if not self._relieve(error):
                    raise

    def _keep_counters(self) -> None:
        """With what is measured by them, and after it."""
        values = self._counters.clock(), self._counters.next_id
        self._connection.execute("REPLACE INTO counters VALUES (1, ?, ?)", values)

    def _raise_meant_by(self, error: sqlite3.Error) -> None:
        if (meant := self._meant_by(error)) is not None:
            raise meant from error

    def _meant_by(self, error: sqlite3.Error) -> Exception | None:
        """What an error of SQLite's means to who asked; None where it means nothing but a fault of our own."""
        if is_no_room(error):
            return OutOfSpace("no room for the state of the services")
        if is_locked(error):
            if not self._is_locked:
                log.warning("another program has locked the services' state: end it", file=str(self._folder))
            self._is_locked = True
            return OutOfSpace("another program has locked the state of the services")
        if is_corrupt(error):
            with suppress(OSError):  # then the next start finds it by itself, or not before it is read
                mark_corrupt(self._folder)
            return self._fail(error)
        return None

    def _fail(self, error: sqlite3.Error) -> SpoolFailure:
        self._failure = self._failure or SpoolFailure(f"the services' state failed: {error}")
        self._failed.set()
        return self._failure


class _Change(Generic[T]):
    """What is to be done in a transaction, and what came of it."""

    def __init__(self, work: Callable[[sqlite3.Connection], T]) -> None:
        self.done = False
        self._work = work
        self._result: T
        self._error: Exception | None = None

    def carry_out(self, connection: sqlite3.Connection) -> None:
        """Raises what the database is at fault for; a broken constraint and everything else is the work's own."""
        self._error = None
        connection.execute("SAVEPOINT change")
        try:
            self._result = self._work(connection)
        except sqlite3.IntegrityError as error:
            self._undo(connection, error)
        except sqlite3.Error:
            raise
        except Exception as error:
            self._undo(connection, error)
        connection.execute("RELEASE change")
        self.done = True

    def _undo(self, connection: sqlite3.Connection, error: Exception) -> None:
        connection.execute("ROLLBACK TO change")
        self._error = error

    def failed(self, error: Exception) -> None:
        self._error = error
        self.done = True

    def result(self) -> T:
        if self._error is not None:
            raise self._error
        return self._result
