"""What a person asks of the ledger, and does to it: select, list, show, count, change.

Reading goes through any connection, the running router's or one of its own (`Reader`); changing is the writer's.
"""

import sqlite3
import time
from collections.abc import Sequence
from pathlib import Path

from attrs import frozen

from router.messages import DeliveryState
from router.spool.database import DISCARDED, HELD, STATES, WAITING
from router.spool.ledger import NOT_BLOCKED, WAITING_ROW, Finished, Ledger, row_of
from router.spool.values import Action, QueueRow, Row, Selection, Totals

_COLUMNS = (
    "d.message_id, d.destination, d.lane, d.state, d.attempts, d.reason, d.changed, m.kind, m.service,"
    " m.sop_class_uid, m.sop_instance_uid, m.transfer_syntax, m.calling_ae, m.called_ae, m.peer, m.received,"
    " m.data_length"
)
_FROM = "FROM deliveries d JOIN messages m ON m.id = d.message_id"
_FROM_STATES = {
    Action.HOLD: (WAITING,),
    Action.RELEASE: (HELD,),
    Action.RETRY: (WAITING, HELD),
    Action.DISCARD: (WAITING, HELD),
}
_BY_HAND = {
    Action.HOLD: "held by hand",
    Action.RELEASE: "released by hand",
    Action.RETRY: "to be tried again by hand",
    Action.DISCARD: "discarded by hand",
}

Cursor = tuple[int, str]
"""(message id, destination): rows come in this order, each page from behind the last row of the one before."""
START: Cursor = (0, "")


@frozen
class Changed:
    """What a step of `change` did."""

    count: int
    cursor: Cursor | None
    """Where the next step goes on; None at the end."""
    finished: list[Finished]
    rows: list[Row]
    """To be delivered now, or at once: changed ones and those whose lane was freed."""
    withdrawn: list[tuple[str, int]]
    """(destination, message id) of what is not to be delivered any more, for now or for ever."""


def where(selection: Selection) -> tuple[str, list[object]]:
    """The condition, and its values."""
    terms, values = ["1"], list[object]()
    if selection.message_ids:
        terms.append(f"d.message_id IN ({', '.join('?' * len(selection.message_ids))})")
        values += selection.message_ids
    if selection.states:
        states = {DeliveryState.WAITING if s is DeliveryState.IN_FLIGHT else s for s in selection.states}
        terms.append(f"d.state IN ({', '.join(str(STATES.index(state)) for state in states)})")
    for column, value in (
        ("d.destination", selection.destination),
        ("m.service", selection.service),
        ("m.sop_instance_uid", selection.sop_instance_uid),
        ("m.calling_ae", selection.calling_ae),
    ):
        if value is not None:
            terms.append(f"{column} = ?")
            values.append(value)
    return " AND ".join(terms), values


def list_rows(connection: sqlite3.Connection, selection: Selection, after: Cursor, limit: int) -> list[QueueRow]:
    condition, values = where(selection)
    rows = connection.execute(
        f"SELECT {_COLUMNS} {_FROM} WHERE {condition} AND (d.message_id, d.destination) > (?, ?)"
        " ORDER BY d.message_id, d.destination LIMIT ?",
        (*values, *after, limit),
    )
    return [_queue_row(row) for row in rows]


def totals(connection: sqlite3.Connection) -> dict[str, Totals]:
    """By destination."""
    found: dict[str, dict[str, int]] = {}
    for destination, state, count in connection.execute("SELECT destination, state, count FROM totals"):
        found.setdefault(destination, {})[STATES[state].value] = count
    return {destination: Totals(**counts) for destination, counts in found.items()}


def change(
    ledger: Ledger, selection: Selection, action: Action, target: str | None, after: Cursor, limit: int
) -> Changed:
    """One step, of at most `limit` deliveries, in one durable transaction."""
    condition, values = where(selection)
    states = ", ".join(map(str, _FROM_STATES[action]))
    found = ledger.execute(
        f"SELECT d.message_id, d.destination, d.lane, d.state, m.segment {_FROM} WHERE {condition}"
        f" AND d.state IN ({states}) AND (d.message_id, d.destination) > (?, ?)"
        " ORDER BY d.message_id, d.destination LIMIT ?",
        (*values, *after, limit),
    ).fetchall()
    cursor = (found[-1][0], found[-1][1]) if len(found) == limit else None
    changed = Changed(0, cursor, [], [], [])
    count = 0
    with ledger.transaction(durable=True):
        for message_id, destination, lane, state, _ in found:
            count += _change_one(ledger, action, target, (message_id, destination, lane, state), changed)
        if action is not Action.HOLD:
            _collect(ledger, action, target, found, changed)
    return Changed(count, cursor, changed.finished, changed.rows, changed.withdrawn)


def _change_one(
    ledger: Ledger, action: Action, target: str | None, row: tuple[int, str, str, int], changed: Changed
) -> int:
    """1 where something was changed. What no route wanted has nowhere to go, unless somebody says where."""
    message_id, destination, lane, state = row
    after = {Action.HOLD: HELD, Action.DISCARD: DISCARDED}.get(action, WAITING)
    now = time.time()
    if destination == "" and after == WAITING:
        if not target:
            return 0
        return _reroute(ledger, message_id, lane, target, now, changed)
    born = f", born = {ledger.clock()}" if after == WAITING else ""  # it is owed as if it had just come
    ledger.execute(
        f"UPDATE deliveries SET state = ?, reason = ?, changed = ?{born} WHERE message_id = ? AND destination = ?",
        (after, _BY_HAND[action], now, message_id, destination),
    )
    ledger.count(destination, state, after)
    if after == DISCARDED:
        changed.finished.extend(ledger.finish_one(message_id))
    if after != WAITING:
        changed.withdrawn.append((destination, message_id))
    return 1


def _reroute(ledger: Ledger, message_id: int, lane: str, target: str, now: float, changed: Changed) -> int:
    """The delivery to nowhere becomes one to the target, unless that has one already."""
    ledger.execute("DELETE FROM deliveries WHERE message_id = ? AND destination = ''", (message_id,))
    ledger.count_out("", HELD)
    added = ledger.execute(
        "INSERT OR IGNORE INTO deliveries (message_id, destination, lane, state, reason, changed) VALUES (?,?,?,?,?,?)",
        (message_id, target, lane, WAITING, _BY_HAND[Action.RELEASE], now),
    ).rowcount
    if added:
        ledger.count_in(target, WAITING)
    else:
        changed.finished.extend(ledger.finish_one(message_id))
    return 1


def _collect(
    ledger: Ledger,
    action: Action,
    target: str | None,
    found: Sequence[tuple[int, str, str, int, int]],
    changed: Changed,
) -> None:
    """The rows that may go now: the changed ones that nothing blocks, and the lanes they leave free."""
    lanes: set[tuple[str, str]] = set()
    for message_id, destination, lane, state, _ in found:
        destination = destination or target or ""
        if lane and state == HELD:
            lanes.add((destination, lane))
        elif action is not Action.DISCARD:
            rows = ledger.execute(
                f"{WAITING_ROW} WHERE d.message_id = ? AND d.destination = ? AND d.state = {WAITING} AND {NOT_BLOCKED}",
                (message_id, destination),
            )
            changed.rows.extend(row_of(row) for row in rows)
    for destination, lane in sorted(lanes):
        changed.rows.extend(ledger.waiting_in_lane(destination, lane))


def _queue_row(
    row: tuple[int, str, str, int, int, str, float, str, str, str, str, str, str, str, str, float, int],
) -> QueueRow:
    return QueueRow(
        message_id=row[0],
        destination=row[1],
        key=row[2],
        state=STATES[row[3]],
        attempts=row[4],
        reason=row[5],
        changed=row[6],
        kind=row[7],
        service=row[8],
        sop_class_uid=row[9],
        sop_instance_uid=row[10],
        transfer_syntax=row[11],
        calling_ae=row[12],
        called_ae=row[13],
        peer=row[14],
        received=row[15],
        data_length=row[16],
    )


def connect_read_only(path: Path) -> sqlite3.Connection:
    """The ledger at a path, to look only. SpoolUnusable is the caller's to raise."""
    uri = path.resolve().as_uri()
    return sqlite3.connect(f"{uri}?mode=ro", uri=True, isolation_level=None, check_same_thread=False)
