"""The ledger's database: SQLite, one connection and its transactions.

Promises: every change is part of a transaction, and `totals` agrees with the rows after each of them. Not here: the
schema (schema.py) and the statements (the other modules of this package).
"""

import contextlib
import sqlite3
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Self

from router.spool.disk.counters import Counters
from router.spool.disk.filesystem import FileSystem
from router.spool.errors import SpoolUnusable
from router.spool.ledger import schema
from router.spool.message_id import sequence_of

_COUNT = (
    "INSERT INTO totals VALUES (?,?,?,?)"
    " ON CONFLICT (destination, purpose, state) DO UPDATE SET count = count + excluded.count"
)
_COUNTERS = "SELECT clock, next_id, (SELECT coalesce(max(id), 0) FROM messages) FROM facts"
WAL_KEPT = 64 << 20
"""Bytes of SQLite's log that stay allocated when it begins again. It cannot while another program reads, and grows."""


class LedgerUnusable(Exception):
    """The ledger must be rebuilt; the message says why."""


class Database:
    """The connection, its transactions, and the totals that each of them keeps."""

    def __init__(self, connection: sqlite3.Connection, counters: Counters) -> None:
        """Raise the counters to what the ledger says of them."""
        self.connection = connection
        self.execute = connection.execute
        self.deltas: Counter[tuple[str, int, int]] = Counter()
        self.clock = counters.clock
        self._counters = counters
        clock, next_id, last_id = connection.execute(_COUNTERS).fetchone()
        counters.advance(clock=clock, next_id=max(next_id, sequence_of(last_id) + 1))

    @classmethod
    def open(cls, files: FileSystem, path: Path, counters: Counters) -> Self:
        """Open the ledger, make it where it is missing, and bring an older schema up to date in place.

        Raises:
            LedgerUnusable: It cannot be trusted.
            SpoolUnusable: A later version of the router wrote it; nothing was changed.
            OSError, sqlite3.Error: The disk is at fault.
        """
        connection = files.connect(path)
        try:
            version = connection.execute("PRAGMA user_version").fetchone()[0]
            schema.refuse_newer(path, version)
            connection.execute("PRAGMA journal_mode = WAL")
            connection.execute("PRAGMA synchronous = NORMAL")
            connection.execute(f"PRAGMA journal_size_limit = {WAL_KEPT}")
            empty = connection.execute("SELECT count(*) FROM sqlite_schema").fetchone()[0] == 0
            found = connection.execute("PRAGMA quick_check(1)").fetchone()[0]
            if found != "ok":
                raise LedgerUnusable(f"SQLite finds it corrupt: {found}")
            if version == 0 and empty:
                schema.make(connection)
            elif version < schema.OLDEST_VERSION:
                raise LedgerUnusable(f"its schema is number {version}, older than {schema.OLDEST_VERSION}")
            else:
                schema.migrate(connection, version)
        except (LedgerUnusable, SpoolUnusable):
            connection.close()
            raise
        except sqlite3.DatabaseError as error:
            connection.close()
            if error.sqlite_errorcode & 0xFF in (sqlite3.SQLITE_CORRUPT, sqlite3.SQLITE_NOTADB, sqlite3.SQLITE_ERROR):
                raise LedgerUnusable(f"SQLite cannot read it: {error}") from error
            raise
        return cls(connection, counters)

    @contextlib.contextmanager
    def transaction(self, *, durable: bool = False) -> Iterator[None]:
        """Do all that is done inside, or nothing.

        A durable transaction survives a power cut from its end on. Any other may be lost, together with those after
        it, until the next durable one.
        """
        if durable:
            self.execute("PRAGMA synchronous = FULL")
        try:
            self.execute("BEGIN IMMEDIATE")
            try:
                yield
                if durable:  # what was committed before is synced with it, but only if there is something to write
                    self.execute("UPDATE facts SET synced = synced + 1")
                self.execute("UPDATE facts SET clock = ?, next_id = ?", (self.clock(), self._counters.next_id))
                if self.deltas:
                    counts = [(*key, count) for key, count in self.deltas.items() if count]
                    self.connection.executemany(_COUNT, counts)
                self.connection.commit()
            except BaseException:
                with contextlib.suppress(sqlite3.Error):
                    self.connection.rollback()
                raise
        finally:
            self.deltas.clear()
            if durable:
                self.execute("PRAGMA synchronous = NORMAL")

    def close(self) -> None:
        self.connection.close()

    def count(self, destination: str, purpose: int, before: int, after: int, count: int = 1) -> None:
        """Note for `totals` that `count` deliveries went from one state to another."""
        if before != after:
            self.deltas[destination, purpose, before] -= count
            self.deltas[destination, purpose, after] += count
