"""What services must remember beyond their messages: procedure steps, commitment transactions. Durable, in SQLite.

`state.sqlite` stands beside the segments, guarded by the spool's lock. Promises: a change is on the disk when
`change` returns, whole or not at all; changes come one after another. The spool keeps the messages themselves; what
both must agree on is committed to the spool first. Not here: what the tables mean (each service defines its own).
"""

import sqlite3
import time
from collections.abc import Callable
from pathlib import Path
from typing import Final, Self, TypeVar

import structlog
import trio

from router.spool import OutOfSpace, SpoolFailure
from router.spool.files import is_no_room

T = TypeVar("T")

FILE: Final = "state.sqlite"
_CORRUPT: Final = frozenset({sqlite3.SQLITE_CORRUPT, sqlite3.SQLITE_NOTADB})

log = structlog.get_logger()


class State:
    """The open database. One router has it, from `open` to `close`."""

    def __init__(self, connection: sqlite3.Connection) -> None:
        self._connection = connection
        self._turn = trio.Lock()
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
            return cls(_connect(path))
        except sqlite3.DatabaseError as error:
            if error.sqlite_errorcode & 0xFF not in _CORRUPT:
                raise
            aside = path.with_name(f"{FILE}.damaged-{time.strftime('%Y%m%dT%H%M%S')}")
            path.rename(aside)
            for suffix in ("-wal", "-shm"):
                path.with_name(FILE + suffix).unlink(missing_ok=True)
            log.error("state set aside: SQLite cannot read it", copy=str(aside), why=str(error))
            return cls(_connect(path))

    def close(self) -> None:
        self._connection.close()

    def define(self, schema: str) -> None:
        """Make a service's tables where they are missing: statements of the kind CREATE ... IF NOT EXISTS."""
        self._connection.executescript(schema)

    async def change(self, work: Callable[[sqlite3.Connection], T]) -> T:
        """One transaction, in a worker's thread. It is durable when this returns; cancellation waits for it.

        Raises:
            OutOfSpace: nothing has changed.
            SpoolFailure: the disk did not keep its word; the process must stop, and does.
        """
        async with self._turn:
            return await trio.to_thread.run_sync(self._transact, work)

    async def read(self, work: Callable[[sqlite3.Connection], T]) -> T:
        """What is there, in a worker's thread."""
        async with self._turn:
            return await trio.to_thread.run_sync(self.read_now, work)

    def read_now(self, work: Callable[[sqlite3.Connection], T]) -> T:
        """The same in the caller's thread: at the start, before anything runs."""
        return work(self._connection)

    async def watch(self) -> None:
        """Raise what ended it: for the task tree, so that the process stops."""
        await self._failed.wait()
        assert self._failure is not None
        raise self._failure

    def _transact(self, work: Callable[[sqlite3.Connection], T]) -> T:
        if self._failure is not None:
            raise self._failure
        connection = self._connection
        try:
            with connection:
                connection.execute("BEGIN IMMEDIATE")
                return work(connection)
        except sqlite3.IntegrityError:
            raise
        except sqlite3.Error as error:
            if is_no_room(error):
                raise OutOfSpace("no room for the state of the services") from error
            self._failure = SpoolFailure(f"writing the state failed: {error}")
            trio.from_thread.run_sync(self._failed.set)
            raise self._failure from error


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
