"""What is owed about the instances of steps, as rows: one for each peer that waits for a notice, one for each instance
that is not known to be there. All functions are work for `State.change` or `State.read`. Not here: when it is paid
(`notices`)."""

from collections.abc import Collection, Sequence
from typing import Final

from attrs import frozen

from router.state_store import StateTransaction

SCHEMA: Final = """
CREATE TABLE IF NOT EXISTS availability_notices (
    uid TEXT NOT NULL, destination TEXT NOT NULL, due REAL NOT NULL, missing TEXT NOT NULL,
    told INTEGER NOT NULL DEFAULT 0, PRIMARY KEY (uid, destination)
) WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS availability_missing (
    instance TEXT NOT NULL, uid TEXT NOT NULL, PRIMARY KEY (instance, uid)
) WITHOUT ROWID;
CREATE INDEX IF NOT EXISTS availability_missing_uid ON availability_missing (uid);
"""


@frozen(kw_only=True)
class PendingNotification:
    """What one peer is owed about one step."""

    uid: str
    destination: str
    due: float
    """On `Spool.clock()`."""
    missing: str
    """As in the route: "omit" or "unavailable"."""
    partial_sent: bool
    """Of what was there when its patience ended."""


def add(
    connection: StateTransaction, uid: str, notices: Sequence[PendingNotification], instances: Sequence[str]
) -> None:
    """All that is owed about a step, when it ends."""
    rows = [(uid, notice.destination, notice.due, notice.missing, notice.partial_sent) for notice in notices]
    connection.executemany("REPLACE INTO availability_notices VALUES (?, ?, ?, ?, ?)", rows)
    missing = [(instance, uid) for instance in instances]
    connection.executemany("REPLACE INTO availability_missing VALUES (?, ?)", missing)


def load_missing(connection: StateTransaction) -> list[tuple[str, str]]:
    """(instance, step)."""
    return connection.execute("SELECT instance, uid FROM availability_missing").fetchall()


def steps_with_notifications(connection: StateTransaction) -> set[str]:
    """Those that somebody waits to hear of."""
    return {uid for (uid,) in connection.execute("SELECT DISTINCT uid FROM availability_notices")}


def load_missing_of(
    connection: StateTransaction, delivered: Collection[str], steps: Collection[str]
) -> list[tuple[str, str]]:
    """(instance, step) that are missing, of these instances and of these steps."""
    found: list[tuple[str, str]] = []
    for column, values in (("instance", delivered), ("uid", steps)):
        for value in values:
            query = f"SELECT instance, uid FROM availability_missing WHERE {column} = ?"
            found += connection.execute(query, (value,))
    return found


def remove_instances(connection: StateTransaction, instances: Sequence[str]) -> None:
    """These are missing no more, in whatever steps."""
    connection.executemany("DELETE FROM availability_missing WHERE instance = ?", [(uid,) for uid in instances])


def has_missing(connection: StateTransaction, uid: str) -> bool:
    return connection.execute("SELECT 1 FROM availability_missing WHERE uid = ? LIMIT 1", (uid,)).fetchone() is not None


_NOTICE: Final = "SELECT uid, destination, due, missing, told FROM availability_notices WHERE"


def load_pending(connection: StateTransaction, uid: str) -> list[PendingNotification]:
    """What is owed about a step."""
    return [_notice(row) for row in connection.execute(f"{_NOTICE} uid = ?", (uid,))]


def load_overdue(connection: StateTransaction, now: float) -> list[PendingNotification]:
    """Those whose patience has ended, step by step."""
    return [_notice(row) for row in connection.execute(f"{_NOTICE} due <= ? AND NOT told ORDER BY uid", (now,))]


def _notice(row: tuple[str, str, float, str, int]) -> PendingNotification:
    return PendingNotification(uid=row[0], destination=row[1], due=row[2], missing=row[3], partial_sent=bool(row[4]))


def count_and_next_due(connection: StateTransaction) -> tuple[int, float]:
    """How many notices are owed, and when the next patience ends."""
    count, due = connection.execute("SELECT count(*), min(iif(told, NULL, due)) FROM availability_notices").fetchone()
    return count, float("inf") if due is None else due


def mark_partial_sent(connection: StateTransaction, uid: str, destinations: Sequence[str]) -> None:
    """These have been told of a part."""
    rows = [(uid, name) for name in destinations]
    connection.executemany("UPDATE availability_notices SET told = 1 WHERE uid = ? AND destination = ?", rows)


def remove_step(connection: StateTransaction, uid: str) -> None:
    """Everybody has been told of everything."""
    remove(connection, [uid])


def remove(connection: StateTransaction, uids: Sequence[str]) -> None:
    """Delete all that is owed about steps."""
    for table in ("availability_notices", "availability_missing"):
        connection.executemany(f"DELETE FROM {table} WHERE uid = ?", [(uid,) for uid in uids])
