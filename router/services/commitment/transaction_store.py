"""The transactions that the router remembers, in the services' database (router/state_store.py).

Three tables, whose SQL is here alone: the transactions, their instances with the outcome of each, and the messages
that the router's own transactions are about. All functions are work for `StateStore.change` or `StateStore.read`;
`number` is the id of a transaction. Not here: the archives' part (archive_store.py), and what follows from all of it
(transaction.py, transaction_actor.py).
"""

import json
import time
from collections.abc import Mapping, Sequence
from types import MappingProxyType
from typing import Any, Final

from attrs import evolve

from router.services.commitment import archive_store
from router.services.commitment.stored_transaction import StoredTransaction, TransactionStage
from router.services.commitment.transaction import (
    InstanceResult,
    Policy,
    Quorum,
    Reference,
    Transaction,
    TransactionOutcome,
)
from router.state_store import Counting, StateTransaction

SCHEMA: Final = (
    """
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
"""
    + archive_store.SCHEMA
)
REMOVED_AT_ONCE: Final = 1000
"""Transactions that `remove_finished` removes in one transaction of the database."""

_COLUMNS: Final = (
    "id, uid, fingerprint, stage, calling_ae, called_ae, address, reply_to, transfer_syntax, steps, received, born,"
    " grace, deadline, policies, count, decided, event_type, failed"
)
_SELECT: Final = f"SELECT {_COLUMNS} FROM commitments"


def migrate(state: StateTransaction, counters: Counting) -> bool:
    """Bring the tables of an earlier version up to date, and return whether there were any.

    Transactions decided by the time of day count as decided at the present moment of the run clock, which is first
    advanced to the latest time in the tables.
    """
    columns = {row[1] for row in state.execute("PRAGMA table_info(commitments)")}
    if not columns or "decided_clock" in columns:
        return False
    (latest,) = state.execute("SELECT coalesce(max(born), 0) FROM commitments").fetchone()
    counters.advance(clock=latest, next_id=1)
    state.execute("ALTER TABLE commitments ADD COLUMN decided_clock REAL")
    state.execute("UPDATE commitments SET decided_clock = ? WHERE decided IS NOT NULL", (counters.clock(),))
    return True


def add(
    state: StateTransaction,
    transaction: StoredTransaction,
    references: Sequence[Reference],
    archives: Sequence[str],
    messages: Mapping[Reference, Sequence[int]] = MappingProxyType({}),
) -> tuple[StoredTransaction, bool]:
    """Insert a transaction; return the one that is stored under its UID, and whether it is new.

    `archives` is empty while they are not chosen. `messages` has the ids of the stored messages of each reference.
    """
    if (known := load(state, uid=transaction.uid)) is not None:
        return known, False
    t = transaction
    (number,) = state.execute(
        f"INSERT INTO commitments ({_COLUMNS}) VALUES ({', '.join('?' * 19)}) RETURNING id",
        (
            *(None, t.uid, t.fingerprint, t.stage, t.calling_ae, t.called_ae, t.address, t.reply_to, t.transfer_syntax),
            *(t.steps, t.received, t.accepted_at, t.grace, t.deadline, _policies_as_text(t.policies)),
            *(len(references), None, None, None),
        ),
    ).fetchone()
    state.executemany(
        "INSERT INTO commitment_references (commitment, position, sop_class_uid, sop_instance_uid) VALUES (?,?,?,?)",
        [(number, n, one.sop_class_uid, one.sop_instance_uid) for n, one in enumerate(references)],
    )
    state.executemany(
        "INSERT INTO commitment_messages VALUES (?,?,?)",
        [(number, n, message_id) for n, one in enumerate(references) for message_id in messages.get(one, ())],
    )
    archive_store.add(state, number, archives)
    return evolve(transaction, id=number), True


def set_policies(
    state: StateTransaction,
    number: int,
    policies: Sequence[Policy],
    policy_of: Sequence[int],
    archives: Sequence[str],
) -> None:
    """Store the policies and the archives of a transaction, and open it.

    `policy_of` has the index of the policy of each reference.
    """
    state.execute(
        "UPDATE commitments SET policies = ?, stage = ? WHERE id = ?",
        (_policies_as_text(policies), TransactionStage.OPEN, number),
    )
    state.executemany(
        "UPDATE commitment_references SET policy = ? WHERE commitment = ? AND position = ?",
        [(policy, number, position) for position, policy in enumerate(policy_of)],
    )
    archive_store.add(state, number, archives)


def set_stage(state: StateTransaction, number: int, stage: TransactionStage) -> None:
    """Store the stage of a transaction."""
    state.execute("UPDATE commitments SET stage = ? WHERE id = ?", (stage, number))


def save_outcome(state: StateTransaction, number: int, outcome: TransactionOutcome, clock: float) -> None:
    """Store the outcome of a transaction, once; it was decided at `clock`, in seconds on `Spool.clock()`."""
    state.executemany(
        "UPDATE commitment_references SET reason = ?, retrieve_ae = ? WHERE commitment = ? AND position = ?",
        [(result.reason, result.retrieve_ae, number, n) for n, result in enumerate(outcome.results)],
    )
    decided = TransactionStage.DECIDED
    state.execute(
        "UPDATE commitments SET stage = ?, decided = ?, decided_clock = ?, event_type = ?, failed = ?"
        " WHERE id = ? AND stage < ?",
        (decided, time.time(), clock, outcome.event_type, len(outcome.failed), number, decided),
    )


def load(state: StateTransaction, *, uid: str) -> StoredTransaction | None:
    """Return a transaction by the Transaction UID of the modality."""
    row = state.execute(f"{_SELECT} WHERE uid = ?", (uid,)).fetchone()
    return _transaction(row) if row else None


def load_by_id(state: StateTransaction, number: int) -> StoredTransaction | None:
    """Return a transaction by its id."""
    row = state.execute(f"{_SELECT} WHERE id = ?", (number,)).fetchone()
    return _transaction(row) if row else None


def load_unfinished(state: StateTransaction) -> list[StoredTransaction]:
    """Return the transactions whose report is not in the spool yet, the oldest first."""
    rows = state.execute(f"{_SELECT} WHERE stage < ? ORDER BY id", (TransactionStage.FINISHED,))
    return [_transaction(row) for row in rows]


def load_page(state: StateTransaction, limit: int, *, before: int = 1 << 62) -> list[StoredTransaction]:
    """Return transactions with an id below `before`, the newest first."""
    rows = state.execute(f"{_SELECT} WHERE id < ? ORDER BY id DESC LIMIT ?", (before, limit))
    return [_transaction(row) for row in rows]


def archives_of_own_transactions(state: StateTransaction) -> list[str]:
    """Return the archives of the router's own transactions that are not finished."""
    own = [one.id for one in load_unfinished(state) if not one.reply_to]
    return [request.archive for number in own for request in archive_store.load(state, number)]


def load_references(state: StateTransaction, number: int) -> tuple[Reference, ...]:
    """Return the instances of a transaction."""
    return tuple(Reference(sop_class, uid) for sop_class, uid, _ in load_results(state, number))


def load_results(state: StateTransaction, number: int) -> list[tuple[str, str, int | None]]:
    """Return (SOP class, SOP instance, reason) of each instance; the reason is None until it is decided."""
    return state.execute(
        "SELECT sop_class_uid, sop_instance_uid, reason FROM commitment_references WHERE commitment = ?"
        " ORDER BY position",
        (number,),
    ).fetchall()


def load_message_ids(state: StateTransaction, number: int) -> list[tuple[int, int]]:
    """Return (position, message id) of the stored messages that the references are about."""
    return state.execute(
        "SELECT position, message_id FROM commitment_messages WHERE commitment = ? ORDER BY position, message_id",
        (number,),
    ).fetchall()


def transactions_with(state: StateTransaction, sop_instance_uid: str) -> list[int]:
    """Return the ids of the transactions that an instance is in."""
    query = "SELECT DISTINCT commitment FROM commitment_references WHERE sop_instance_uid = ?"
    return [number for (number,) in state.execute(query, (sop_instance_uid,))]


def positions_to_request(state: StateTransaction, transaction: StoredTransaction, archive: str) -> list[int]:
    """Return the positions of the references to request from an archive: those whose policy names it.

    All of them if no policy names it: a route asks it, but does not require it.
    """
    wanted = [
        index
        for index, policy in enumerate(transaction.policies)
        if any(archive in quorum.archives for quorum in policy)
    ]
    query = "SELECT position, policy FROM commitment_references WHERE commitment = ? ORDER BY position"
    rows = state.execute(query, (transaction.id,))
    return [position for position, policy in rows if not wanted or policy in wanted]


def load_transaction(state: StateTransaction, transaction: StoredTransaction) -> Transaction:
    """Return a transaction whose policies are known, with all reports so far."""
    policies = transaction.policies
    rows = state.execute(
        "SELECT sop_class_uid, sop_instance_uid, policy FROM commitment_references WHERE commitment = ?"
        " ORDER BY position",
        (transaction.id,),
    ).fetchall()
    return Transaction(
        references=tuple(Reference(row[0], row[1]) for row in rows),
        policies=tuple(policies[row[2]] if policies else () for row in rows),
        reports=archive_store.load_reports(state, transaction.id),
    )


def load_outcome(state: StateTransaction, number: int) -> TransactionOutcome:
    """Return the outcome that `save_outcome` stored."""
    rows = state.execute(
        "SELECT sop_class_uid, sop_instance_uid, reason, retrieve_ae FROM commitment_references WHERE commitment = ?"
        " ORDER BY position",
        (number,),
    )
    return TransactionOutcome(tuple(InstanceResult(Reference(row[0], row[1]), row[2], row[3]) for row in rows))


def remove_finished(state: StateTransaction, before: float) -> int:
    """Remove finished transactions that were decided before a time on `Spool.clock()`, up to `REMOVED_AT_ONCE`.

    Return how many were removed.
    """
    rows = state.execute(
        f"SELECT id FROM commitments WHERE stage = ? AND decided_clock < ? LIMIT {REMOVED_AT_ONCE}",
        (TransactionStage.FINISHED, before),
    ).fetchall()
    for table in ("references", "messages"):
        state.executemany(f"DELETE FROM commitment_{table} WHERE commitment = ?", rows)
    archive_store.remove(state, [number for (number,) in rows])
    state.executemany("DELETE FROM commitments WHERE id = ?", rows)
    return len(rows)


def _transaction(row: tuple[Any, ...]) -> StoredTransaction:
    values = dict(zip(_COLUMNS.split(", "), row, strict=True))
    accepted_at, policies = values.pop("born"), _policies_from_text(values["policies"])
    stage = TransactionStage(values["stage"])
    return StoredTransaction(**{**values, "stage": stage, "policies": policies, "accepted_at": accepted_at})


def _policies_as_text(policies: Sequence[Policy]) -> str:
    return json.dumps([[[quorum.archives, quorum.at_least] for quorum in policy] for policy in policies])


def _policies_from_text(text: str) -> tuple[Policy, ...]:
    return tuple(tuple(Quorum(tuple(names), at_least) for names, at_least in policy) for policy in json.loads(text))
