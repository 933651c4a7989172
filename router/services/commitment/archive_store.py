"""The archives of each transaction: the request to each, and the results that it reported. In the services' database.

Two tables, whose SQL is here alone. All functions are work for `StateStore.change` or `StateStore.read`; `number` is
the id of a transaction. Not here: the transactions themselves (transaction_store.py).
"""

import time
from collections.abc import Mapping, Sequence
from itertools import groupby
from typing import Final

from attrs import frozen
from pydicom.uid import generate_uid

from router.services.commitment.transaction import ArchiveReport, ArchiveReports, ArchiveResult
from router.state_store import StateTransaction

SCHEMA: Final = """
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


@frozen(kw_only=True)
class ArchiveRequest:
    """The request of a transaction to one archive. Times are seconds since the epoch; None: not yet."""

    archive: str
    uid: str
    """The Transaction UID of the request to this archive."""
    asked: float | None = None
    """When its N-ACTION was committed to the spool."""
    answered: float | None = None
    """When the archive accepted the N-ACTION."""
    reported: float | None = None
    """When its last N-EVENT-REPORT came."""
    refused: float | None = None
    """When the N-ACTION was given up or refused."""
    refusal: int | None = None
    """The Failure Reason that follows from that."""
    why: str = ""
    """Why it was given up or refused."""


@frozen
class DatedResult:
    """The result of one archive for one instance, with the time of the report."""

    archive: str
    sop_instance_uid: str
    reason: int
    """`COMMITTED`, or a Failure Reason."""
    retrieve_ae: str
    reported: float
    """Seconds since the epoch."""


def add(state: StateTransaction, number: int, archives: Sequence[str]) -> None:
    """Insert the archives of a transaction, each with a new Transaction UID."""
    state.executemany(
        "INSERT INTO commitment_archives (commitment, archive, position, uid) VALUES (?,?,?,?)",
        [(number, archive, n, str(generate_uid(prefix=None))) for n, archive in enumerate(archives)],
    )


def load(state: StateTransaction, number: int) -> list[ArchiveRequest]:
    """Return the requests of a transaction, in the order in which its archives were added."""
    rows = state.execute(
        "SELECT archive, uid, asked, answered, reported, refused, refusal, why FROM commitment_archives"
        " WHERE commitment = ? ORDER BY position",
        (number,),
    )
    names = ("archive", "uid", "asked", "answered", "reported", "refused", "refusal", "why")
    return [ArchiveRequest(**dict(zip(names, row, strict=True))) for row in rows]


def find(state: StateTransaction, uid: str) -> tuple[int, str] | None:
    """Return the transaction and the archive of a request, by the Transaction UID of that request."""
    row = state.execute("SELECT commitment, archive FROM commitment_archives WHERE uid = ?", (uid,)).fetchone()
    return (row[0], row[1]) if row else None


def mark_asked(state: StateTransaction, number: int, archive: str) -> None:
    """Note that the N-ACTION to an archive is in the spool."""
    _set_time(state, "asked", number, archive)


def mark_answered(state: StateTransaction, number: int, archive: str) -> None:
    """Note that an archive has accepted its N-ACTION."""
    _set_time(state, "answered", number, archive)


def _set_time(state: StateTransaction, column: str, number: int, archive: str) -> None:
    state.execute(
        f"UPDATE commitment_archives SET {column} = ? WHERE commitment = ? AND archive = ?",
        (time.time(), number, archive),
    )


def add_report(state: StateTransaction, number: int, report: ArchiveReport, why: str = "") -> None:
    """Add a report of an archive. Its last result for an instance replaces the one before.

    `why` explains a refusal, for operators.
    """
    now = time.time()
    state.executemany(
        "INSERT OR REPLACE INTO commitment_words VALUES (?,?,?,?,?,?)",
        [(number, report.archive, uid, one.reason, one.retrieve_ae, now) for uid, one in report.results.items()],
    )
    of_archive = "WHERE commitment = ? AND archive = ?"
    if report.refusal is None:
        statement = f"UPDATE commitment_archives SET reported = ? {of_archive}"
        state.execute(statement, (now, number, report.archive))
    else:
        statement = f"UPDATE commitment_archives SET refused = ?, refusal = ?, why = ? {of_archive}"
        state.execute(statement, (now, report.refusal, why, number, report.archive))


def load_reports(state: StateTransaction, number: int) -> Mapping[str, ArchiveReports]:
    """Return the merged reports of each archive of a transaction."""
    results = {
        archive: {one.sop_instance_uid: ArchiveResult(one.reason, one.retrieve_ae) for one in group}
        for archive, group in groupby(load_results(state, number), key=lambda one: one.archive)
    }
    return {
        one.archive: ArchiveReports(results=results.get(one.archive, {}), refusal=one.refusal)
        for one in load(state, number)
    }


def load_results(state: StateTransaction, number: int) -> list[DatedResult]:
    """Return all results of a transaction, archive by archive."""
    rows = state.execute(
        "SELECT archive, sop_instance_uid, reason, retrieve_ae, said FROM commitment_words WHERE commitment = ?"
        " ORDER BY archive",
        (number,),
    )
    return [DatedResult(*row) for row in rows]


def load_results_of(state: StateTransaction, number: int, uid: str) -> list[DatedResult]:
    """Return the results of one instance of a transaction."""
    rows = state.execute(
        "SELECT w.archive, w.sop_instance_uid, w.reason, w.retrieve_ae, w.said FROM commitment_archives a"
        " JOIN commitment_words w ON w.commitment = a.commitment AND w.archive = a.archive AND w.sop_instance_uid = ?"
        " WHERE a.commitment = ?",
        (uid, number),
    )
    return [DatedResult(*row) for row in rows]


def remove(state: StateTransaction, numbers: Sequence[int]) -> None:
    """Remove the archives of transactions, and their results."""
    for table in ("archives", "words"):
        state.executemany(f"DELETE FROM commitment_{table} WHERE commitment = ?", [(number,) for number in numbers])
