"""The ledger's database: SQLite, one connection, its schema and its transactions.

Promises: every change is part of a transaction, and `totals` agrees with the rows after each of them. Not here: the
statements (ledger.py, upkeep.py, queries.py).
"""

import contextlib
import sqlite3
import time
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Self

from router.messages import DeliveryState
from router.spool.files import FileSystem

SCHEMA_VERSION = 2
STATES = (DeliveryState.WAITING, DeliveryState.DELIVERED, DeliveryState.HELD, DeliveryState.DISCARDED)
"""A state is stored as its index here."""
WAITING, DELIVERED, HELD, DISCARDED = range(4)

_SCHEMA = f"""
CREATE TABLE facts (next_id INTEGER NOT NULL, synced INTEGER NOT NULL, clock REAL NOT NULL);
INSERT INTO facts VALUES (1, 0, 0);
CREATE TABLE segments (
    number INTEGER PRIMARY KEY, nonce BLOB NOT NULL, known INTEGER NOT NULL, dropped INTEGER NOT NULL DEFAULT 0,
    gone REAL
);
CREATE TABLE messages (
    id INTEGER PRIMARY KEY, segment INTEGER NOT NULL, offset INTEGER NOT NULL, length INTEGER NOT NULL,
    data_length INTEGER NOT NULL, data_crc INTEGER NOT NULL, file TEXT NOT NULL, unfinished INTEGER NOT NULL,
    kind TEXT NOT NULL, service TEXT NOT NULL, abstract_syntax TEXT NOT NULL, transfer_syntax TEXT NOT NULL,
    sop_class_uid TEXT NOT NULL, sop_instance_uid TEXT NOT NULL,
    calling_ae TEXT NOT NULL, called_ae TEXT NOT NULL, peer TEXT NOT NULL, received REAL NOT NULL
);
CREATE INDEX messages_segment ON messages (segment);
CREATE INDEX messages_instance ON messages (sop_instance_uid);
CREATE INDEX messages_file ON messages (file) WHERE file <> '';
CREATE TABLE deliveries (
    message_id INTEGER NOT NULL, destination TEXT NOT NULL, lane TEXT NOT NULL,
    state INTEGER NOT NULL CHECK (state BETWEEN 0 AND 3), attempts INTEGER NOT NULL DEFAULT 0,
    born REAL NOT NULL DEFAULT 0, reason TEXT NOT NULL DEFAULT '', changed REAL NOT NULL,
    PRIMARY KEY (message_id, destination)
) WITHOUT ROWID;
CREATE INDEX deliveries_waiting ON deliveries (destination, message_id) WHERE state = {WAITING};
CREATE INDEX deliveries_held ON deliveries (destination, lane, message_id) WHERE state = {HELD};
CREATE TABLE totals (
    destination TEXT NOT NULL, state INTEGER NOT NULL, count INTEGER NOT NULL,
    PRIMARY KEY (destination, state)
) WITHOUT ROWID;
PRAGMA user_version = {SCHEMA_VERSION};
"""

_COUNT = (
    "INSERT INTO totals VALUES (?,?,?) ON CONFLICT (destination, state) DO UPDATE SET count = count + excluded.count"
)


class LedgerUnusable(Exception):
    """The ledger must be rebuilt; in words, why."""


class Database:
    """The connection, its transactions, and the totals that each of them keeps."""

    def __init__(self, connection: sqlite3.Connection) -> None:
        self.connection = connection
        self.execute = connection.execute
        self.deltas: Counter[tuple[str, int]] = Counter()
        ran: float = connection.execute("SELECT clock FROM facts").fetchone()[0]
        self._clock_offset = ran - time.monotonic()

    @classmethod
    def open(cls, files: FileSystem, path: Path) -> Self:
        """Open it, or make it. LedgerUnusable where it cannot be trusted; OSError or sqlite3.Error where the disk
        is at fault."""
        connection = files.connect(path)
        try:
            connection.execute("PRAGMA journal_mode = WAL")
            connection.execute("PRAGMA synchronous = NORMAL")
            version = connection.execute("PRAGMA user_version").fetchone()[0]
            empty = connection.execute("SELECT count(*) FROM sqlite_schema").fetchone()[0] == 0
            if version == 0 and empty:
                connection.execute("BEGIN IMMEDIATE")
                for statement in _SCHEMA.split(";"):
                    connection.execute(statement)
                connection.commit()
            elif version != SCHEMA_VERSION:
                raise LedgerUnusable(f"its schema is number {version}, not {SCHEMA_VERSION}")
            found = connection.execute("PRAGMA quick_check(1)").fetchone()[0]
            if found != "ok":
                raise LedgerUnusable(f"SQLite finds it corrupt: {found}")
        except LedgerUnusable:
            connection.close()
            raise
        except sqlite3.DatabaseError as error:
            connection.close()
            if error.sqlite_errorcode & 0xFF in (sqlite3.SQLITE_CORRUPT, sqlite3.SQLITE_NOTADB, sqlite3.SQLITE_ERROR):
                raise LedgerUnusable(f"SQLite cannot read it: {error}") from error
            raise
        return cls(connection)

    @contextlib.contextmanager
    def transaction(self, *, durable: bool = False) -> Iterator[None]:
        """All that is done inside, or nothing. Survives a power cut from its end on where it is `durable`; else it
        may be lost, together with those after it, until the next durable one."""
        if durable:
            self.execute("PRAGMA synchronous = FULL")
        try:
            self.execute("BEGIN IMMEDIATE")
            try:
                yield
                if durable:  # what was committed before is synced with it, but only if there is something to write
                    self.execute("UPDATE facts SET synced = synced + 1")
                self.execute("UPDATE facts SET clock = ?", (self.clock(),))
                if self.deltas:
                    counts = [(name, state, count) for (name, state), count in self.deltas.items() if count]
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

    def clock(self) -> float:
        """Seconds that routers have been running with this ledger. From any thread."""
        return self._clock_offset + time.monotonic()

    def close(self) -> None:
        self.connection.close()

    def count(self, destination: str, before: int, after: int, count: int = 1) -> None:
        """So many deliveries went from one state to another."""
        if before != after:
            self.deltas[destination, before] -= count
            self.deltas[destination, after] += count
