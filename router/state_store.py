"""Keep what services must remember beyond their messages: procedure steps, commitment transactions.

`state.sqlite` lies beside the segments and is guarded by the spool's lock. Promises: a change is on the disk when
`change` returns, whole or not at all; changes are made one after the other. The spool keeps the messages themselves;
what both must agree on is written to the spool first. SQL for a service's tables stands in the service's own store
module and nowhere else: it is given a `StateTransaction`. Not here: what the tables mean, and the file at a start
(state_file.py).
"""

import sqlite3
from collections.abc import Callable, Iterable, Iterator, Sequence
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


class Rows(Protocol):
    """The result of a statement."""

    @property
    def rowcount(self) -> int:
        """Rows that the statement has changed."""
        ...

    def fetchone(self) -> Any:
        """Return the next row; None after the last."""
        ...

    def fetchall(self) -> list[Any]: ...

    def __iter__(self) -> Iterator[Any]: ...


class StateTransaction(Protocol):
    """A transaction of the database, handed to a service's store for the time of one call.

    All that a store may use of the database: there is nothing in it to begin, commit or keep.
    """

    def execute(self, statement: str, values: Sequence[Any] = (), /) -> Rows: ...

    def executemany(self, statement: str, rows: Iterable[Sequence[Any]], /) -> object: ...


class Counting(Protocol):
    """The run clock and the message ids of the spool. Services date and name their records by them."""

    @property
    def next_id(self) -> int:
        """Lowest message id that was never assigned."""
        ...

    def clock(self) -> float:
        """Return the run clock, in seconds."""
        ...

    def advance(self, *, clock: float, next_id: int) -> None:
        """Raise both to at least these values."""
        ...


Migration = Callable[[StateTransaction, Counting], bool]
"""Bring a service's tables of an earlier version up to date; return whether there were any."""


class StateStore:
    """The open database. One router holds it, from `open` to `close`."""

    def __init__(self, folder: Path, connections: Connections, counters: Counting) -> None:
        """Use three connections to the same database, so that reading never waits for writing."""
        self._folder = folder
        self._connection, self._reading, self._reading_now = connections
        self._counters = counters
        self._change_lock = trio.Lock()
        self._read_lock = trio.Lock()
        self._wanted: list[_Change[Any]] = []
        self._is_locked = False
        self._failed = trio.Event()
        self._failure: SpoolFailure | None = None
        self._relieve: Callable[[BaseException], bool] = lambda error: False

    @classmethod
    def open(cls, folder: Path, counters: Counting) -> Self:
        """Open or create the database, and raise the counters to the values stored in it.

        A database that SQLite finds corrupt is set aside and reported.

        Raises:
            SpoolUnusable: it cannot be opened.
        """
        state = cls(folder, open_state(folder), counters)
        state.define(_COUNTERS)
        for clock, next_id in state._reading_now.execute("SELECT clock, next_id FROM counters"):
            counters.advance(clock=clock, next_id=next_id)
        return state

    def close(self) -> None:
        for connection in (self._reading_now, self._reading, self._connection):
            connection.close()

    def keep_room(self, reserve: int, relieve: Callable[[BaseException], bool]) -> None:
        """Prepare to go on when other programs fill the disk.

        `reserve` is that of the spool, in bytes: a part of it is allocated in the database now. `relieve` is
        `Spool.relieve`; it is called in a worker thread.
        """
        keep_room_in(self._connection, reserve)
        self._relieve = relieve

    def define(self, schema: str, migrate: Migration = lambda transaction, counters: False) -> None:
        """Bring a service's tables up to date, then create those that are missing. Call it before the router runs.

        `schema` consists of statements CREATE ... IF NOT EXISTS.

        Raises:
            SpoolUnusable: SQLite cannot do it.
        """
        try:
            with self._connection:
                self._connection.execute("BEGIN")
                if migrate(self._connection, self._counters):
                    self._save_counters()
            self._connection.executescript(schema)
        except sqlite3.Error as error:
            self._translate(error)  # marks a corrupt database
            raise SpoolUnusable(f"the services' state cannot be brought up to date: {error}") from error

    async def change(self, work: Callable[[StateTransaction], T]) -> T:
        """Run `work` in a transaction on a worker thread and return its result.

        Durable on return. Concurrent calls share one transaction and one sync; an exception of `work` undoes this
        change alone. Cancellation is delayed until the commit is done.

        Raises:
            OutOfSpace: the disk is full, or another program has locked the database for too long; nothing changed.
            SpoolFailure: the disk failed; the process must stop, and does.
        """
        await trio.lowlevel.checkpoint_if_cancelled()
        change = _Change(work)
        self._wanted.append(change)
        with trio.CancelScope(shield=True):
            async with self._change_lock:
                if not change.done:
                    together, self._wanted = self._wanted, []
                    await self._commit(together)
        return change.result()

    async def read(self, work: Callable[[StateTransaction], T]) -> T:
        """Run `work` on a read snapshot, in a worker thread, and return its result.

        Raises:
            OutOfSpace, SpoolFailure: as `change`.
        """
        async with self._read_lock:
            try:
                return await trio.to_thread.run_sync(self._snapshot, work, limiter=STATE)
            except sqlite3.Error as error:
                self._raise_translated(error)
                raise

    def read_now(self, work: Callable[[StateTransaction], T]) -> T:
        """Run `work` in the caller's thread and return its result: for one row that an index finds.

        It is not a snapshot: each statement sees what is committed by then.

        Raises:
            OutOfSpace, SpoolFailure: as `change`.
        """
        try:
            return work(self._reading_now)
        except sqlite3.Error as error:
            self._raise_translated(error)
            raise

    async def watch(self) -> None:
        """Wait until the database fails, and raise its failure, so that the process stops.

        Raises:
            SpoolFailure: the disk failed, or SQLite found the database corrupt.
        """
        await self._failed.wait()
        assert self._failure is not None
        raise self._failure

    async def _commit(self, changes: Sequence["_Change[Any]"]) -> None:
        told: Exception | None = self._failure
        if told is None:
            try:
                await trio.to_thread.run_sync(self._transact, changes, limiter=STATE)
            except sqlite3.Error as error:
                told = self._translate(error) or self._fail(error)
                told.__cause__ = error
        if told is None:
            self._is_locked = False
            return
        for change in changes:
            change.fail(told)

    def _snapshot(self, work: Callable[[StateTransaction], T]) -> T:
        with self._reading:
            self._reading.execute("BEGIN")
            return work(self._reading)

    def _transact(self, changes: Sequence["_Change[Any]"]) -> None:
        """Run all changes in one transaction, in a worker thread."""
        while True:
            try:
                with self._connection as connection:
                    connection.execute("BEGIN IMMEDIATE")
                    for change in changes:
                        change.run(connection)
                    self._save_counters()
                return
            except sqlite3.Error as error:
                if not self._relieve(error):
                    raise

    def _save_counters(self) -> None:
        """Write the counters in the transaction of what is dated by them, after it."""
        values = self._counters.clock(), self._counters.next_id
        self._connection.execute("REPLACE INTO counters VALUES (1, ?, ?)", values)

    def _raise_translated(self, error: sqlite3.Error) -> None:
        if (translated := self._translate(error)) is not None:
            raise translated from error

    def _translate(self, error: sqlite3.Error) -> Exception | None:
        """Return what an error of SQLite means to the caller; None if it is an error in our own statements."""
        if is_no_room(error):
            return OutOfSpace("no room for the state of the services")
        if is_locked(error):
            if not self._is_locked:
                log.warning("another program has locked the services' state: end it", file=str(self._folder))
            self._is_locked = True
            return OutOfSpace("another program has locked the state of the services")
        if is_corrupt(error):
            with suppress(OSError):  # without the mark, the next start finds it by itself or when it is read
                mark_corrupt(self._folder)
            return self._fail(error)
        return None

    def _fail(self, error: sqlite3.Error) -> SpoolFailure:
        self._failure = self._failure or SpoolFailure(f"the services' state failed: {error}")
        self._failed.set()
        return self._failure


class _Change(Generic[T]):
    """Work for a transaction, and its result."""

    def __init__(self, work: Callable[[StateTransaction], T]) -> None:
        self.done = False
        self._work = work
        self._result: T
        self._error: Exception | None = None

    def run(self, connection: sqlite3.Connection) -> None:
        """Run the work in a savepoint; an exception of its own, or a broken constraint, is its result.

        Raises:
            sqlite3.Error: the database is at fault.
        """
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

    def fail(self, error: Exception) -> None:
        self._error = error
        self.done = True

    def result(self) -> T:
        if self._error is not None:
            raise self._error
        return self._result
