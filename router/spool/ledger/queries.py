"""What operators ask of the ledger: select, list, show, count, choose what to change.

Reading goes through any connection, the running router's or one of its own (`Reader`). Not here: changing
(decisions.py), which is the writer's.
"""

import sqlite3
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from attrs import frozen

from router.model import DeliveryState, Purpose
from router.spool.duplicates import C_STORE
from router.spool.ledger.ledger import LOOKED_AT, cause_of
from router.spool.ledger.schema import DELIVERED, DISCARDED, HELD, RETAIN, SEND, STATES, WAITING
from router.spool.values import Decision, InstanceDelivery, QueueAction, QueueRow, Retained, Selection, Totals

_COLUMNS = (
    "d.message_id, d.destination, d.purpose, d.lane, d.state, d.attempts, d.reason, d.changed, m.kind, m.service,"
    " m.sop_class_uid, m.sop_instance_uid, m.transfer_syntax, m.calling_ae, m.called_ae, m.peer, m.received,"
    " m.data_length, d.status, d.cause, d.comment"
)
_FROM = "FROM deliveries d JOIN messages m ON m.id = d.message_id"
_FROM_STATES = {
    QueueAction.HOLD: (WAITING,),
    QueueAction.RELEASE: (HELD,),
    QueueAction.RETRY: (WAITING, HELD),
    QueueAction.DISCARD: (WAITING, HELD),
}
_UNDER_WAY = (
    "SELECT 1 FROM messages n JOIN deliveries c ON c.message_id = n.id AND c.destination = d.destination"
    f" AND c.purpose = {SEND} AND c.state = {WAITING} WHERE n.sop_instance_uid = m.sop_instance_uid"
    " AND n.data_length = m.data_length AND n.data_crc = m.data_crc AND n.id <> m.id"
)
"""The same object is on its way to the same destination once more."""
_DECIDED = {
    QueueAction.HOLD: (DeliveryState.HELD, "held by hand"),
    QueueAction.RELEASE: (DeliveryState.WAITING, "released by hand"),
    QueueAction.RETRY: (DeliveryState.WAITING, "to be tried again by hand"),
    QueueAction.DISCARD: (DeliveryState.DISCARDED, "discarded by hand"),
}
"""What becomes of a delivery, and why."""

Cursor = tuple[int, str, int]
"""(message id, destination, purpose): changes go in this order, each step from behind the last of the one before."""
START: Cursor = (0, "", 0)


@frozen(kw_only=True)
class Chosen:
    """The deliveries that a step is about."""

    decided: list[Decision]
    """What changes the state of a delivery, or its destination."""
    tried: list[Decision]
    """What waits and goes on waiting, with a fresh account of time."""
    cursor: Cursor | None
    """Where the next step goes on; None at the end."""


def where(selection: Selection) -> tuple[str, list[object]]:
    """The condition, and its values."""
    terms, values = ["1"], list[object]()
    if selection.message_ids:
        terms.append(f"d.message_id IN ({', '.join('?' * len(selection.message_ids))})")
        values += selection.message_ids
    if selection.states:
        states = {DeliveryState.WAITING if s is DeliveryState.IN_FLIGHT else s for s in selection.states}
        terms.append(f"d.state IN ({', '.join(str(STATES.index(state)) for state in states)})")
    for term, value in (
        ("d.destination = ?", selection.destination),
        ("d.purpose = ?", selection.purpose),
        ("m.service = ?", selection.service),
        ("m.sop_instance_uid = ?", selection.sop_instance_uid),
        ("m.calling_ae = ?", selection.calling_ae),
        ("m.received >= ?", selection.received_from),
        ("m.received < ?", selection.received_before),
    ):
        if value is not None:
            terms.append(term)
            values.append(value)
    return " AND ".join(terms), values


def list_rows(connection: sqlite3.Connection, selection: Selection, after: int, limit: int) -> list[QueueRow]:
    """Deliveries of messages with ids above `after`, in order of the ids: `limit`, and what the last message has
    beyond it, so that the next page can begin with the next message."""
    condition, values = where(selection)
    found = connection.execute(
        f"SELECT {_COLUMNS} {_FROM} WHERE {condition} AND d.message_id > ?"
        " ORDER BY d.message_id, d.destination, d.purpose LIMIT ?",
        (*values, after, limit),
    ).fetchall()
    if found and len(found) == limit:
        last = found[-1]
        found += connection.execute(
            f"SELECT {_COLUMNS} {_FROM} WHERE {condition} AND d.message_id = ?"
            " AND (d.destination, d.purpose) > (?, ?) ORDER BY d.destination, d.purpose",
            (*values, *last[:3]),
        )
    return [_queue_row(row) for row in found]


def instances(connection: sqlite3.Connection, uids: Sequence[str]) -> dict[str, list[InstanceDelivery]]:
    """By SOP Instance UID, the newest C-STORE delivery to each destination, of the last messages of the instance."""
    statement = (
        "SELECT d.message_id, d.destination, d.state, d.reason, d.changed, m.service, m.kind, m.sop_class_uid,"
        " m.calling_ae, m.received, d.status, d.cause FROM"
        f" (SELECT * FROM messages WHERE sop_instance_uid = ? ORDER BY id DESC LIMIT {LOOKED_AT}) m"
        " JOIN deliveries d ON d.message_id = m.id"
        f" WHERE m.kind = ? AND d.purpose = {SEND} ORDER BY m.id"
    )
    found = {}
    for uid in uids:
        newest = {
            row[1]: InstanceDelivery(
                message_id=row[0],
                destination=row[1],
                state=STATES[row[2]],
                reason=row[3],
                changed=row[4],
                service=row[5],
                kind=row[6],
                sop_class_uid=row[7],
                calling_ae=row[8],
                received=row[9],
                status=row[10],
                cause=cause_of(row[11]),
            )
            for row in connection.execute(statement, (uid, C_STORE))
        }
        if newest:
            found[uid] = list(newest.values())
    return found


def retained(connection: sqlite3.Connection, destination: str, clock: float, limit: int) -> list[Retained]:
    """Of what is retained for a destination, what may be asked for at a time on the ledger's clock, or let go: what
    is due, and whose own delivery there is delivered or discarded. Those that were never asked for come first."""
    rows = connection.execute(
        "SELECT d.message_id, m.sop_class_uid, m.sop_instance_uid, s.state"
        " FROM deliveries d JOIN messages m ON m.id = d.message_id LEFT JOIN deliveries s"
        f" ON s.message_id = d.message_id AND s.destination = d.destination AND s.purpose = {SEND}"
        f" WHERE d.state = {WAITING} AND d.purpose = {RETAIN} AND d.destination = ? AND d.due <= ?"
        f" AND coalesce(s.state, {DELIVERED}) IN ({DELIVERED}, {DISCARDED}) AND NOT EXISTS ({_UNDER_WAY})"
        " ORDER BY d.due, d.message_id LIMIT ?",
        (destination, clock, limit),
    )
    return [
        Retained(message_id=row[0], sop_class_uid=row[1], sop_instance_uid=row[2], abandoned=row[3] == DISCARDED)
        for row in rows
    ]


def totals(connection: sqlite3.Connection, purpose: Purpose = Purpose.SEND) -> dict[str, Totals]:
    """By destination, of one purpose."""
    found: dict[str, dict[str, int]] = {}
    rows = connection.execute("SELECT destination, state, count FROM totals WHERE purpose = ?", (purpose,))
    for destination, state, count in rows:
        found.setdefault(destination, {})[STATES[state].value] = count
    return {destination: Totals(**counts) for destination, counts in found.items()}


def choose(
    connection: sqlite3.Connection,
    selection: Selection,
    action: QueueAction,
    target: str | None,
    after: Cursor,
    limit: int,
) -> Chosen:
    """One step of a change, of at most `limit` deliveries. `target`: where what no route wanted is sent; without it
    there is nowhere to release it to."""
    condition, values = where(selection)
    states = ", ".join(map(str, _FROM_STATES[action]))
    found = connection.execute(
        f"SELECT d.message_id, d.destination, d.purpose, d.state {_FROM} WHERE {condition}"
        f" AND d.state IN ({states}) AND (d.message_id, d.destination, d.purpose) > (?, ?, ?)"
        " ORDER BY d.message_id, d.destination, d.purpose LIMIT ?",
        (*values, *after, limit),
    ).fetchall()
    state, reason = _DECIDED[action]
    decided: list[Decision] = []
    tried: list[Decision] = []
    for message_id, destination, purpose, before in found:
        goes = destination or (target if state is DeliveryState.WAITING else "")
        if goes is None:
            continue
        one = Decision(message_id=message_id, destination=goes, purpose=Purpose(purpose), state=state, reason=reason)
        (tried if STATES[before] is state and goes == destination else decided).append(one)
    return Chosen(decided=decided, tried=tried, cursor=found[-1][:3] if len(found) == limit else None)


def _queue_row(
    row: Sequence[Any],
) -> QueueRow:
    return QueueRow(
        message_id=row[0],
        destination=row[1],
        purpose=Purpose(row[2]),
        key=row[3],
        state=STATES[row[4]],
        attempts=row[5],
        reason=row[6],
        changed=row[7],
        kind=row[8],
        service=row[9],
        sop_class_uid=row[10],
        sop_instance_uid=row[11],
        transfer_syntax=row[12],
        calling_ae=row[13],
        called_ae=row[14],
        peer=row[15],
        received=row[16],
        data_length=row[17],
        status=row[18],
        cause=cause_of(row[19]),
        comment=row[20],
    )


def connect_read_only(path: Path) -> sqlite3.Connection:
    """The ledger at a path, to look only. SpoolUnusable is the caller's to raise."""
    uri = path.resolve().as_uri()
    return sqlite3.connect(f"{uri}?mode=ro", uri=True, isolation_level=None, check_same_thread=False)
