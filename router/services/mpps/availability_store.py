"""Pending availability notifications, in the services' database (router/state_store.py).

Two tables, whose SQL is here alone: one row for each peer that waits for a notification about a step, and one for each
instance of a step that its archives have not confirmed. All functions are work for `StateStore.change` or
`StateStore.read`. Not here: when a notification is sent (availability_notifier.py).
"""

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

Missing = tuple[str, str]
"""SOP Instance UID of an instance that is not confirmed, and that of its step."""
FIRST: Final[Missing] = ("", "")
"""Before every `Missing`."""


@frozen(kw_only=True)
class PendingNotification:
    """A notification that one peer waits for, about one step."""

    uid: str
    """SOP Instance UID of the step."""
    destination: str
    due: float
    """When it gets a partial one, in seconds on `Spool.clock()`."""
    missing: str
    """As in the route: "omit" or "unavailable"."""
    partial_sent: bool
    """It has got a partial one."""


def add(
    state: StateTransaction, uid: str, notifications: Sequence[PendingNotification], instances: Sequence[str]
) -> None:
    """Insert the notifications about a step that has ended, and its instances, all unconfirmed."""
    rows = [(uid, one.destination, one.due, one.missing, one.partial_sent) for one in notifications]
    state.executemany("REPLACE INTO availability_notices VALUES (?, ?, ?, ?, ?)", rows)
    missing = [(instance, uid) for instance in instances]
    state.executemany("REPLACE INTO availability_missing VALUES (?, ?)", missing)


def load_missing_page(state: StateTransaction, after: Missing, limit: int) -> list[Missing]:
    """Return the unconfirmed instances that follow on `after`, in order; the first page follows on `FIRST`."""
    query = (
        "SELECT instance, uid FROM availability_missing WHERE (instance, uid) > (?, ?) ORDER BY instance, uid LIMIT ?"
    )
    return state.execute(query, (*after, limit)).fetchall()


def load_missing(state: StateTransaction, instances: Collection[str], steps: Collection[str]) -> list[Missing]:
    """Return the unconfirmed ones among these instances, and among those of these steps."""
    found: list[Missing] = []
    for column, values in (("instance", instances), ("uid", steps)):
        for value in values:
            query = f"SELECT instance, uid FROM availability_missing WHERE {column} = ?"
            found += state.execute(query, (value,))
    return found


def has_missing(state: StateTransaction, uid: str) -> bool:
    """Return whether a step has unconfirmed instances."""
    return state.execute("SELECT 1 FROM availability_missing WHERE uid = ? LIMIT 1", (uid,)).fetchone() is not None


def remove_instances(state: StateTransaction, instances: Sequence[str]) -> None:
    """Remove instances that are confirmed, from all steps."""
    state.executemany("DELETE FROM availability_missing WHERE instance = ?", [(uid,) for uid in instances])


_SELECT: Final = "SELECT uid, destination, due, missing, told FROM availability_notices WHERE"


def load_pending(state: StateTransaction, uid: str) -> list[PendingNotification]:
    """Return the pending notifications about a step."""
    return [_notification(row) for row in state.execute(f"{_SELECT} uid = ?", (uid,))]


def load_overdue(state: StateTransaction, now: float) -> list[PendingNotification]:
    """Return those whose time for a partial notification has come, step by step."""
    return [_notification(row) for row in state.execute(f"{_SELECT} due <= ? AND NOT told ORDER BY uid", (now,))]


def _notification(row: tuple[str, str, float, str, int]) -> PendingNotification:
    return PendingNotification(uid=row[0], destination=row[1], due=row[2], missing=row[3], partial_sent=bool(row[4]))


def load_steps(state: StateTransaction) -> set[str]:
    """Return the SOP Instance UIDs of the steps that have pending notifications."""
    return {uid for (uid,) in state.execute("SELECT DISTINCT uid FROM availability_notices")}


def count_and_next_due(state: StateTransaction) -> tuple[int, float]:
    """Return how many notifications are pending, and when the next partial one is due; infinity if none is."""
    count, due = state.execute("SELECT count(*), min(iif(told, NULL, due)) FROM availability_notices").fetchone()
    return count, float("inf") if due is None else due


def mark_partial_sent(state: StateTransaction, uid: str, destinations: Sequence[str]) -> None:
    """Note that these peers have got a partial notification about a step."""
    rows = [(uid, name) for name in destinations]
    state.executemany("UPDATE availability_notices SET told = 1 WHERE uid = ? AND destination = ?", rows)


def remove(state: StateTransaction, uids: Sequence[str]) -> None:
    """Remove the notifications about steps, and their unconfirmed instances."""
    for table in ("availability_notices", "availability_missing"):
        state.executemany(f"DELETE FROM {table} WHERE uid = ?", [(uid,) for uid in uids])
