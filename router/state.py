"""What services must remember beyond their messages: procedure steps, commitment transactions. Durable, in SQLite.

`state.sqlite` stands beside the segments, guarded by the spool's lock. Promises: a change is on the disk when
`change` returns, whole or not at all; changes come one after another. The spool keeps the messages themselves; what
both must agree on is committed to the spool first. Not here: what the tables mean (each service defines its own).
"""

import sqlite3
import time
from collections.abc import Callable, Sequence
from contextlib import closing
from pathlib import Path
from typing import Any, Final, Generic, Self, TypeVar

import structlog
import trio

from router.concurrency import STATE
from router.spool import OutOfSpace, SpoolFailure
from router.spool.files import is_no_room

T = TypeVar("T")

FILE: Final = "state.sqlite"
_CORRUPT: Final = frozenset({sqlite3.SQLITE_CORRUPT, sqlite3.SQLITE_NOTADB})

log = structlog.get_logger()


class State:
    """The open database. One router has it, from `open` to `close`."""

    def __init__(self, connection: sqlite3.Connection, reading: sqlite3.Connection, glance: sqlite3.Connection) -> None:
        """Three connections to the same database, so that what is read never waits for what is written."""
        self._connection = connection
        self._reading = reading
        self._glance = glance
        self._turn = trio.Lock()
        self._reader = trio.Lock()
        self._wanted: list[_Change[Any]] = []
        self._failed = trio.Event()
        self._failure: SpoolFailure | None = None

    @classmethod
    def open(cls, folder: Path) -> Self:
        """Open it, or make it. One that SQLite finds corrupt is set aside beside it, and reported: a router that
        forgets a transaction beats one that does not start.

        Raises:
            sqlite3.Error, OSError: the disk is at fault.
        """
        path = folder / FILE
        try:
            return cls(_connect(path), _connect(path), _connect(path))
        except sqlite3.DatabaseError as error:
            if error.sqlite_errorcode & 0xFF not in _CORRUPT:
                raise
            aside = path.with_name(f"{FILE}.damaged-{time.strftime('%Y%m%dT%H%M%S')}")
            path.rename(aside)
            for suffix in ("-wal", "-shm"):
                path.with_name(FILE + suffix).unlink(missing_ok=True)
            log.error("state set aside: SQLite cannot read it", copy=str(aside), why=str(error))
            return cls(_connect(path), _connect(path), _connect(path))

    def close(self) -> None:
        for connection in (self._glance, self._reading, self._connection):
            connection.close()

    def define(self, schema: str) -> None:
        """Make a service's tables where they are missing: statements of the kind CREATE ... IF NOT EXISTS."""
        self._connection.executescript(schema)

    async def change(self, work: Callable[[sqlite3.Connection], T]) -> T:
        """Carried out in a worker's thread, whole or not at all. It is durable when this returns; cancellation waits
        for it. Those that are wanted at the same time share one transaction, and one sync of the disk.

        Raises:
            OutOfSpace: nothing has changed.
            SpoolFailure: the disk did not keep its word; the process must stop, and does.
        """
        await trio.lowlevel.checkpoint_if_cancelled()
        change = _Change(work)
        self._wanted.append(change)
        with trio.CancelScope(shield=True):
            async with self._turn:
                if not change.done:
                    together, self._wanted = self._wanted, []
                    await trio.to_thread.run_sync(self._transact, together, limiter=STATE)
        return change.result()

    async def read(self, work: Callable[[sqlite3.Connection], T]) -> T:
        """What is there at one moment, in a worker's thread."""
        async with self._reader:
            return await trio.to_thread.run_sync(self._snapshot, work, limiter=STATE)

    def read_now(self, work: Callable[[sqlite3.Connection], T]) -> T:
        """The same in the caller's thread, for a look at a row: each statement sees what is there by then."""
        return work(self._glance)

    async def watch(self) -> None:
        """Raise what ended it: for the task tree, so that the process stops."""
        await self._failed.wait()
        assert self._failure is not None
        raise self._failure

    def _snapshot(self, work: Callable[[sqlite3.Connection], T]) -> T:
        with self._reading:
            self._reading.execute("BEGIN")
            return work(self._reading)

    def _transact(self, changes: Sequence["_Change[Any]"]) -> None:
        """In a worker's thread: all of them in one transaction. What one of them raises undoes that one alone."""
        connection = self._connection
        try:
            if self._failure is not None:
                raise self._failure
            with connection:
                connection.execute("BEGIN IMMEDIATE")
                for change in changes:
                    change.carry_out(connection)
        except sqlite3.Error as error:
            self._fail(changes, error)
        except SpoolFailure as failure:
            for change in changes:
                change.failed(failure)

    def _fail(self, changes: Sequence["_Change[Any]"], error: sqlite3.Error) -> None:
        if is_no_room(error):
            told: Exception = OutOfSpace("no room for the state of the services")
        else:
            told = self._failure = SpoolFailure(f"writing the state failed: {error}")
            trio.from_thread.run_sync(self._failed.set)
        told.__cause__ = error
        for change in changes:
            change.failed(told)


class _Change(Generic[T]):
    """What is to be done in a transaction, and what came of it."""

    def __init__(self, work: Callable[[sqlite3.Connection], T]) -> None:
        self.done = False
        self._work = work
        self._result: T
        self._error: Exception | None = None

    def carry_out(self, connection: sqlite3.Connection) -> None:
        """Raises what the database is at fault for; a broken constraint and everything else is the work's own."""
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


def look_into(folder: Path) -> "closing[sqlite3.Connection]":
    """What the router that had this folder has left, to be read: it does not run."""
    return closing(sqlite3.connect(f"{(folder / FILE).resolve().as_uri()}?mode=ro", uri=True))


def _connect(path: Path) -> sqlite3.Connection:
    path.touch(mode=0o600)
    connection = sqlite3.connect(path, isolation_level=None, check_same_thread=False)
    try:
        connection.execute("PRAGMA journal_mode = WAL")
        connection.execute("PRAGMA synchronous = FULL")
        connection.execute("SELECT count(*) FROM sqlite_schema").fetchone()
    except sqlite3.Error:
        connection.close()
        raise
    return connection
