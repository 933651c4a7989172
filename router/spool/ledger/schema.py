"""The ledger's schema, and the steps that bring an older one up to date.

A ledger that is rebuilt has forgotten what was finished, held and discarded, so an upgrade never rebuilds it: each
schema knows how to become the next. Not here: the connection and its transactions (database.py).
"""

import sqlite3
from pathlib import Path

from router.model import DeliveryState, Purpose
from router.spool.errors import SpoolUnusable

SCHEMA_VERSION = 3
OLDEST_VERSION = 2
"""The oldest schema that can be brought up to date."""
STATES = (DeliveryState.WAITING, DeliveryState.DELIVERED, DeliveryState.HELD, DeliveryState.DISCARDED)
"""A state is stored as its index here."""
WAITING, DELIVERED, HELD, DISCARDED = range(4)
SEND, RETAIN = (int(purpose) for purpose in Purpose)

_DELIVERIES = f"""
CREATE TABLE deliveries (
    message_id INTEGER NOT NULL, destination TEXT NOT NULL, purpose INTEGER NOT NULL DEFAULT 0, lane TEXT NOT NULL,
    state INTEGER NOT NULL CHECK (state BETWEEN 0 AND 3), attempts INTEGER NOT NULL DEFAULT 0,
    born REAL NOT NULL DEFAULT 0, reason TEXT NOT NULL DEFAULT '', changed REAL NOT NULL,
    due REAL NOT NULL DEFAULT 0, status INTEGER, cause TEXT NOT NULL DEFAULT '', comment TEXT NOT NULL DEFAULT '',
    crashes INTEGER NOT NULL DEFAULT 0, unanswered INTEGER NOT NULL DEFAULT 0, decided INTEGER NOT NULL DEFAULT 0,
    sent_as TEXT NOT NULL DEFAULT '',
    PRIMARY KEY (message_id, destination, purpose)
) WITHOUT ROWID;
CREATE INDEX deliveries_fresh ON deliveries (destination, message_id)
    WHERE state = {WAITING} AND purpose = {SEND} AND due = 0;
CREATE INDEX deliveries_due ON deliveries (destination, due, message_id)
    WHERE state = {WAITING} AND purpose = {SEND} AND due > 0;
CREATE INDEX deliveries_lane ON deliveries (destination, lane, message_id)
    WHERE lane <> '' AND state IN ({WAITING}, {HELD});
CREATE INDEX deliveries_retained ON deliveries (destination, due, message_id)
    WHERE state = {WAITING} AND purpose = {RETAIN};
CREATE INDEX deliveries_decided ON deliveries (decided) WHERE decided <> 0;
CREATE INDEX deliveries_held ON deliveries (destination, lane, message_id) WHERE state = {HELD};
CREATE TABLE totals (
    destination TEXT NOT NULL, purpose INTEGER NOT NULL, state INTEGER NOT NULL, count INTEGER NOT NULL,
    PRIMARY KEY (destination, purpose, state)
) WITHOUT ROWID;
"""
"""`purpose` is that of `router.model.Purpose`; `due` is on the run clock, 0 for at once; `status` is the last
DIMSE status, NULL where no response came, and `comment` the peer's Error Comment; `crashes` and `unanswered` count
attempts that ended in an exception of our own, and those that ended without a response after the data set had been
sent; `decided` is the segment with the last decision of an operator, 0 where there is none, `EARLIER` where it is in
no segment yet; `sent_as` is the JSON of [transform, version, transfer syntaxes], '' as stored."""
EARLIER = -1
"""In place of a segment: a router of schema 2 wrote the decision to the ledger alone."""
SCHEMA = f"""
CREATE TABLE facts (
    next_id INTEGER NOT NULL, synced INTEGER NOT NULL, clock REAL NOT NULL,
    is_open INTEGER NOT NULL DEFAULT 1, cut_off REAL NOT NULL DEFAULT 0
);
INSERT INTO facts (next_id, synced, clock) VALUES (1, 0, 0);
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
{_DELIVERIES}
PRAGMA user_version = {SCHEMA_VERSION};
"""
"""Of `facts`: `is_open` says that the spool is in use, or that its last use did not end as it should; `cut_off` is when
the last use that ended so was found, on the run clock: outcomes of deliveries born before may be lost."""

_SUFFIX = " (commitment)"
"""Schema 2 appended this to the name of a peer that a message is retained for."""
_IS_RETAINED = f"destination LIKE '%{_SUFFIX}'"
_PEER = f"iif({_IS_RETAINED}, substr(destination, 1, length(destination) - {len(_SUFFIX)}), destination)"
_FROM_2_TO_3 = f"""
ALTER TABLE facts ADD COLUMN is_open INTEGER NOT NULL DEFAULT 1;
ALTER TABLE facts ADD COLUMN cut_off REAL NOT NULL DEFAULT 0;
DROP INDEX deliveries_waiting;
DROP INDEX deliveries_held;
ALTER TABLE deliveries RENAME TO old_deliveries;
ALTER TABLE totals RENAME TO old_totals;
{_DELIVERIES}
INSERT INTO deliveries
    (message_id, destination, purpose, lane, state, attempts, born, reason, changed, decided)
    SELECT message_id, {_PEER}, {_IS_RETAINED}, lane, state, attempts, born, reason, changed,
    iif(state IN ({HELD}, {DISCARDED}) AND reason IN ('held by hand', 'discarded by hand'), {EARLIER}, 0)
    FROM old_deliveries;
INSERT INTO totals SELECT {_PEER}, {_IS_RETAINED}, state, count FROM old_totals;
DROP TABLE old_deliveries;
DROP TABLE old_totals;
PRAGMA user_version = 3;
"""
_MIGRATIONS = {2: _FROM_2_TO_3}
"""Steps by the version that each starts from."""


def make(connection: sqlite3.Connection) -> None:
    """Create the tables of a new ledger, all or none."""
    _run(connection, SCHEMA)


def migrate(connection: sqlite3.Connection, version: int) -> None:
    """Bring a ledger of an older schema up to date, one version in one transaction.

    A crash leaves a ledger of one schema or the next, whole.
    """
    for older in range(version, SCHEMA_VERSION):
        _run(connection, _MIGRATIONS[older])


def refuse_newer(path: Path, version: int) -> None:
    """Refuse a ledger that a later version of the router wrote.

    Raises:
        SpoolUnusable: it did; the message says what to do.
    """
    if version > SCHEMA_VERSION:
        raise SpoolUnusable(
            f"{path} was written by a later version of the router: its schema is number {version}, this version"
            f" reads up to {SCHEMA_VERSION}. Nothing was changed. Start the later version again, or let it deliver"
            " what waits and use an empty spool"
        )


def _run(connection: sqlite3.Connection, statements: str) -> None:
    connection.execute("BEGIN IMMEDIATE")
    try:
        for statement in statements.split(";"):
            connection.execute(statement)
        connection.commit()
    except sqlite3.Error:
        if connection.in_transaction:
            connection.rollback()
        raise
