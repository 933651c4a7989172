"""The transactions that the router remembers, in the services' database (`router.state_store`).

What was asked, where it is asked again and under which Transaction UID, what each archive said and when, and what the
modality was told. All functions here are work for `State.change` or `State.read`. Not here: what follows from it
(`transaction`, `actor`).
"""

import json
import time
from collections.abc import Mapping, Sequence
from enum import IntEnum
from itertools import groupby
from types import MappingProxyType
from typing import Any, Final

from attrs import evolve, frozen
from pydicom.uid import generate_uid

from router.services.commitment.transaction import (
    ArchiveReport,
    ArchiveReports,
    ArchiveResult,
    InstanceResult,
    Policy,
    Quorum,
    Reference,
    Transaction,
    TransactionOutcome,
)
from router.state_store import Counting, StateTransaction

SCHEMA: Final = """
CREATE TABLE IF NOT EXISTS commitments (
    id INTEGER PRIMARY KEY, uid TEXT NOT NULL UNIQUE, fingerprint BLOB NOT NULL, stage INTEGER NOT NULL,
    calling_ae TEXT NOT NULL, called_ae TEXT NOT NULL, address TEXT NOT NULL, reply_to TEXT NOT NULL,
    transfer_syntax TEXT NOT NULL, steps BLOB NOT NULL, received REAL NOT NULL, born REAL NOT NULL,
    grace REAL NOT NULL, deadline REAL NOT NULL, policies TEXT NOT NULL, count INTEGER NOT NULL,
    decided REAL, event_type INTEGER, failed INTEGER, decided_clock REAL
);
CREATE INDEX IF NOT EXISTS commitments_stage ON commitments (stage);
CREATE TABLE IF NOT EXISTS commitment_references (
    commitment INTEGER NOT NULL, position INTEGER NOT NULL, sop_class_uid TEXT NOT NULL, sop_instance_uid TEXT NOT NULL,
    policy INTEGER NOT NULL DEFAULT 0, reason INTEGER, retrieve_ae TEXT, PRIMARY KEY (commitment, position)
) WITHOUT ROWID;
CREATE INDEX IF NOT EXISTS commitment_references_uid ON commitment_references (sop_instance_uid);
CREATE TABLE IF NOT EXISTS commitment_messages (
    commitment INTEGER NOT NULL, position INTEGER NOT NULL, message_id INTEGER NOT NULL,
    PRIMARY KEY (commitment, position, message_id)
) WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS commitment_archives (
    commitment INTEGER NOT NULL, archive TEXT NOT NULL, position INTEGER NOT NULL, uid TEXT NOT NULL UNIQUE,
    asked REAL, answered REAL, reported REAL, refused REAL, refusal INTEGER, why TEXT NOT NULL DEFAULT '',
    PRIMARY KEY (commitment, archive)
) WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS commitment_words (
    commitment INTEGER NOT NULL, archive TEXT NOT NULL, sop_instance_uid TEXT NOT NULL, reason INTEGER NOT NULL,
    retrieve_ae TEXT NOT NULL, said REAL NOT NULL, PRIMARY KEY (commitment, archive, sop_instance_uid)
) WITHOUT ROWID;
"""
FORGOTTEN_AT_ONCE: Final = 1000
"""Transactions that one transaction of the database deletes for their age."""


class TransactionStage(IntEnum):
    """How far a transaction is."""

    TAKEN = 0
    """Persisted; who is to be asked is not known yet."""
    OPEN = 1
    """Archives are being asked, or have been."""
    DECIDED = 2
    """What the modality is told is written down and will not change."""
    FINISHED = 3
    """That is in the spool, addressed to the modality."""


@frozen(kw_only=True)
class StoredTransaction:
    """One transaction, without its references."""

    id: int = 0
    uid: str
    """The modality's Transaction UID; one of ours where the router itself asks."""
    fingerprint: bytes
    """Of what was asked: the same request has the same."""
    stage: TransactionStage
    calling_ae: str
    called_ae: str
    address: str
    reply_to: str
    """The peer that gets the report; "" where the router itself asks."""
    transfer_syntax: str
    """Of the report."""
    steps: bytes = b""
    """A data set with the Referenced Performed Procedure Step Sequence; empty without one."""
    received: float
    """Seconds since the epoch, for people."""
    accepted_at: float
    """On `Spool.clock()`."""
    grace: float
    deadline: float
    """Seconds from `born`."""
    policies: tuple[Policy, ...] = ()
    """Those that references point to; empty while they are not known."""
    count: int
    """References."""
    decided: float | None = None
    event_type: int | None = None
    failed: int | None = None


@frozen(kw_only=True)
class ArchiveRequest:
    """One archive's part in a transaction."""

    archive: str
    uid: str
    """The Transaction UID that we ask under."""
    asked: float | None = None
    """When its N-ACTION went to the spool; this and the others in seconds since the epoch."""
    answered: float | None = None
    reported: float | None = None
    refused: float | None = None
    refusal: int | None = None
    why: str = ""
    """What became of the N-ACTION, in words."""


_COLUMNS: Final = (
    "id, uid, fingerprint, stage, calling_ae, called_ae, address, reply_to, transfer_syntax, steps, received, born,"
    " grace, deadline, policies, count, decided, event_type, failed"
)


def migrate(connection: StateTransaction, counters: Counting) -> bool:
    """Bring the tables of an earlier version up to date: what was decided by the time of day was decided now, on the
    run clock, which is first brought up to what was measured by it."""
    columns = {row[1] for row in connection.execute("PRAGMA table_info(commitments)")}
    if not columns or "decided_clock" in columns:
        return False
    (born,) = connection.execute("SELECT coalesce(max(born), 0) FROM commitments").fetchone()
    counters.advance(clock=born, next_id=1)
    connection.execute("ALTER TABLE commitments ADD COLUMN decided_clock REAL")
    connection.execute("UPDATE commitments SET decided_clock = ? WHERE decided IS NOT NULL", (counters.clock(),))
    return True


def add(
    connection: StateTransaction,
    commitment: StoredTransaction,
    references: Sequence[Reference],
    archives: Sequence[str],
    messages: Mapping[Reference, Sequence[int]] = MappingProxyType({}),
) -> tuple[StoredTransaction, bool]:
    """Write a new transaction down, with the archives where they are known. Gives what stands there under its UID,
    and whether that is new. `messages`: the ids of the messages of ours that a reference is about."""
    if (known := load(connection, uid=commitment.uid)) is not None:
        return known, False
    c = commitment
    row = connection.execute(
        f"INSERT INTO commitments ({_COLUMNS}) VALUES ({', '.join('?' * 19)}) RETURNING id",
        (
            *(None, c.uid, c.fingerprint, c.stage, c.calling_ae, c.called_ae, c.address, c.reply_to, c.transfer_syntax),
            *(
                c.steps,
                c.received,
                c.accepted_at,
                c.grace,
                c.deadline,
                _packed(c.policies),
                len(references),
                None,
                None,
                None,
            ),
        ),
    ).fetchone()
    connection.executemany(
        "INSERT INTO commitment_references (commitment, position, sop_class_uid, sop_instance_uid) VALUES (?,?,?,?)",
        [(row[0], n, one.sop_class_uid, one.sop_instance_uid) for n, one in enumerate(references)],
    )
    connection.executemany(
        "INSERT INTO commitment_messages VALUES (?,?,?)",
        [(row[0], n, message_id) for n, one in enumerate(references) for message_id in messages.get(one, ())],
    )
    _add_archives(connection, row[0], archives)
    return evolve(commitment, id=row[0]), True


def _add_archives(connection: StateTransaction, number: int, archives: Sequence[str]) -> None:
    connection.executemany(
        "INSERT INTO commitment_archives (commitment, archive, position, uid) VALUES (?,?,?,?)",
        [(number, archive, n, str(generate_uid(prefix=None))) for n, archive in enumerate(archives)],
    )


def set_policies(
    connection: StateTransaction,
    number: int,
    policies: Sequence[Policy],
    policy_of: Sequence[int],
    archives: Sequence[str],
) -> None:
    """Who is to promise what is known now: for each reference, the number of its policy."""
    connection.execute(
        "UPDATE commitments SET policies = ?, stage = ? WHERE id = ?",
        (_packed(policies), TransactionStage.OPEN, number),
    )
    connection.executemany(
        "UPDATE commitment_references SET policy = ? WHERE commitment = ? AND position = ?",
        [(policy, number, position) for position, policy in enumerate(policy_of)],
    )
    _add_archives(connection, number, archives)


def load(connection: StateTransaction, *, uid: str) -> StoredTransaction | None:
    row = connection.execute(f"SELECT {_COLUMNS} FROM commitments WHERE uid = ?", (uid,)).fetchone()
    return _commitment(row) if row else None


def load_by_id(connection: StateTransaction, number: int) -> StoredTransaction | None:
    row = connection.execute(f"SELECT {_COLUMNS} FROM commitments WHERE id = ?", (number,)).fetchone()
    return _commitment(row) if row else None


def load_unfinished(connection: StateTransaction) -> list[StoredTransaction]:
    rows = connection.execute(
        f"SELECT {_COLUMNS} FROM commitments WHERE stage < ? ORDER BY id", (TransactionStage.FINISHED,)
    )
    return [_commitment(row) for row in rows]


def archives_of_own_transactions(connection: StateTransaction) -> list[str]:
    """Those that the router itself has asked, and whose transaction is not finished."""
    rows = connection.execute(
        "SELECT a.archive FROM commitments c JOIN commitment_archives a ON a.commitment = c.id"
        " WHERE c.stage < ? AND c.reply_to = ''",
        (TransactionStage.FINISHED,),
    )
    return [row[0] for row in rows]


def load_page(connection: StateTransaction, limit: int, *, before: int = 1 << 62) -> list[StoredTransaction]:
    """The last ones first."""
    rows = connection.execute(
        f"SELECT {_COLUMNS} FROM commitments WHERE id < ? ORDER BY id DESC LIMIT ?", (before, limit)
    )
    return [_commitment(row) for row in rows]


def load_references(connection: StateTransaction, number: int) -> tuple[Reference, ...]:
    rows = connection.execute(
        "SELECT sop_class_uid, sop_instance_uid FROM commitment_references WHERE commitment = ? ORDER BY position",
        (number,),
    )
    return tuple(Reference(*row) for row in rows)


def load_message_ids(connection: StateTransaction, number: int) -> list[tuple[int, int]]:
    """Positions of references, and the ids of the messages of ours that they are about."""
    return connection.execute(
        "SELECT position, message_id FROM commitment_messages WHERE commitment = ? ORDER BY position, message_id",
        (number,),
    ).fetchall()


def load_archive_requests(connection: StateTransaction, number: int) -> list[ArchiveRequest]:
    """In the order in which the archives are named."""
    rows = connection.execute(
        "SELECT archive, uid, asked, answered, reported, refused, refusal, why FROM commitment_archives"
        " WHERE commitment = ? ORDER BY position",
        (number,),
    )
    names = ("archive", "uid", "asked", "answered", "reported", "refused", "refusal", "why")
    return [ArchiveRequest(**dict(zip(names, row, strict=True))) for row in rows]


def find_archive_request(connection: StateTransaction, uid: str) -> tuple[int, str] | None:
    """Whose Transaction UID this is that we asked under: commitment and archive."""
    row = connection.execute("SELECT commitment, archive FROM commitment_archives WHERE uid = ?", (uid,)).fetchone()
    return (row[0], row[1]) if row else None


def positions_to_request(connection: StateTransaction, commitment: StoredTransaction, archive: str) -> list[int]:
    """The positions of the references that an archive is asked for: those that some policy wants its word on; all of
    them where its word is wanted on nothing, and heard all the same."""
    wanted = [
        number
        for number, policy in enumerate(commitment.policies)
        if any(archive in clause.archives for clause in policy)
    ]
    rows = connection.execute(
        "SELECT position, policy FROM commitment_references WHERE commitment = ? ORDER BY position", (commitment.id,)
    )
    return [position for position, policy in rows if not wanted or policy in wanted]


def load_transaction(connection: StateTransaction, commitment: StoredTransaction) -> Transaction:
    """All that was said so far. The commitment is planned."""
    rows = connection.execute(
        "SELECT sop_class_uid, sop_instance_uid, policy FROM commitment_references WHERE commitment = ?"
        " ORDER BY position",
        (commitment.id,),
    ).fetchall()
    words = {
        archive: {row[1]: ArchiveResult(row[2], row[3]) for row in said}
        for archive, said in groupby(
            connection.execute(
                "SELECT archive, sop_instance_uid, reason, retrieve_ae FROM commitment_words WHERE commitment = ?"
                " ORDER BY archive",
                (commitment.id,),
            ),
            key=lambda row: str(row[0]),
        )
    }
    return Transaction(
        references=tuple(Reference(row[0], row[1]) for row in rows),
        policies=tuple(commitment.policies[row[2]] if commitment.policies else () for row in rows),
        reports={
            one.archive: ArchiveReports(results=words.get(one.archive, {}), refusal=one.refusal)
            for one in load_archive_requests(connection, commitment.id)
        },
    )


def add_report(connection: StateTransaction, number: int, report: ArchiveReport, why: str = "") -> None:
    """Write down what an archive says; its last word on an instance replaces the one before."""
    now = time.time()
    connection.executemany(
        "INSERT OR REPLACE INTO commitment_words VALUES (?,?,?,?,?,?)",
        [(number, report.archive, uid, word.reason, word.retrieve_ae, now) for uid, word in report.results.items()],
    )
    of_archive = "WHERE commitment = ? AND archive = ?"
    if report.refusal is None:
        statement = f"UPDATE commitment_archives SET reported = ? {of_archive}"
        connection.execute(statement, (now, number, report.archive))
    else:
        statement = f"UPDATE commitment_archives SET refused = ?, refusal = ?, why = ? {of_archive}"
        connection.execute(statement, (now, report.refusal, why, number, report.archive))


def mark(connection: StateTransaction, number: int, archive: str, moment: str) -> None:
    """`moment`: "asked" or "answered"."""
    assert moment in ("asked", "answered")
    connection.execute(
        f"UPDATE commitment_archives SET {moment} = ? WHERE commitment = ? AND archive = ?",
        (time.time(), number, archive),
    )


def save_outcome(connection: StateTransaction, number: int, outcome: TransactionOutcome, clock: float) -> None:
    """What the modality is told, once and for all; decided at a time on `Spool.clock()`."""
    connection.executemany(
        "UPDATE commitment_references SET reason = ?, retrieve_ae = ? WHERE commitment = ? AND position = ?",
        [(result.reason, result.retrieve_ae, number, n) for n, result in enumerate(outcome.results)],
    )
    connection.execute(
        "UPDATE commitments SET stage = ?, decided = ?, decided_clock = ?, event_type = ?, failed = ?"
        " WHERE id = ? AND stage < ?",
        (
            TransactionStage.DECIDED,
            time.time(),
            clock,
            outcome.event_type,
            len(outcome.failed),
            number,
            TransactionStage.DECIDED,
        ),
    )


def load_outcome(connection: StateTransaction, number: int) -> TransactionOutcome:
    """What `conclude` wrote down."""
    rows = connection.execute(
        "SELECT sop_class_uid, sop_instance_uid, reason, retrieve_ae FROM commitment_references WHERE commitment = ?"
        " ORDER BY position",
        (number,),
    )
    return TransactionOutcome(tuple(InstanceResult(Reference(row[0], row[1]), row[2], row[3]) for row in rows))


def set_stage(connection: StateTransaction, number: int, stage: TransactionStage) -> None:
    connection.execute("UPDATE commitments SET stage = ? WHERE id = ?", (stage, number))


def remove_expired(connection: StateTransaction, before: float) -> int:
    """Delete up to `FORGOTTEN_AT_ONCE` transactions that are finished and were decided before a time on
    `Spool.clock()`; return how many were."""
    found = connection.execute(
        f"SELECT id FROM commitments WHERE stage = ? AND decided_clock < ? LIMIT {FORGOTTEN_AT_ONCE}",
        (TransactionStage.FINISHED, before),
    ).fetchall()
    for table in ("references", "messages", "archives", "words"):
        connection.executemany(f"DELETE FROM commitment_{table} WHERE commitment = ?", found)
    connection.executemany("DELETE FROM commitments WHERE id = ?", found)
    return len(found)


def _commitment(row: tuple[Any, ...]) -> StoredTransaction:
    values = dict(zip(_COLUMNS.split(", "), row, strict=True))
    values["accepted_at"] = values.pop("born")
    return StoredTransaction(
        **{**values, "stage": TransactionStage(values["stage"]), "policies": _unpacked(values["policies"])}
    )


def _packed(policies: Sequence[Policy]) -> str:
    return json.dumps([[[clause.archives, clause.at_least] for clause in policy] for policy in policies])


def _unpacked(text: str) -> tuple[Policy, ...]:
    return tuple(tuple(Quorum(tuple(names), at_least) for names, at_least in policy) for policy in json.loads(text))
