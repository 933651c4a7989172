"""Read the ledger for operators and services: list, show, count, and choose the deliveries to change.

It reads through any connection: the ledger's own, or one for reading alone (`offline.Reader`). Not here: the changes
(decision_rows.py), which are the writer's.
"""

import sqlite3
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Self

from attrs import frozen

from router.model import DeliveryState, Envelope, Purpose, Recipient
from router.spool.errors import SpoolUnusable, UnknownMessage
from router.spool.ledger.rows import LOOKED_AT, cause_of
from router.spool.ledger.schema import (
    DELIVERED,
    DISCARDED,
    HELD,
    RETAIN,
    SCHEMA_VERSION,
    SEND,
    STATES,
    WAITING,
    refuse_newer,
)
from router.spool.message_id import MessageId
from router.spool.values import (
    C_STORE,
    Decision,
    InstanceDelivery,
    MessageDetail,
    QueueAction,
    QueueRow,
    Retained,
    Selection,
    Totals,
)

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
"""Another message with the same object waits for the same destination."""
_DECIDED = {
    QueueAction.HOLD: (DeliveryState.HELD, "held by hand"),
    QueueAction.RELEASE: (DeliveryState.WAITING, "released by hand"),
    QueueAction.RETRY: (DeliveryState.WAITING, "to be tried again by hand"),
    QueueAction.DISCARD: (DeliveryState.DISCARDED, "discarded by hand"),
}
"""The state of a delivery after an action, and the reason that is shown."""
_UNFINISHED_STATES = {DeliveryState.WAITING, DeliveryState.IN_FLIGHT, DeliveryState.HELD}
_UNFINISHED = " UNION ALL ".join(  # each part is a range of one index
    f"SELECT message_id FROM deliveries WHERE destination = ? AND {which}"
    for which in (
        f"state = {WAITING} AND purpose = {SEND} AND due = 0",
        f"state = {WAITING} AND purpose = {SEND} AND due > 0",
        f"state = {WAITING} AND purpose = {RETAIN}",
        f"state = {HELD}",
    )
)
"""The messages with a delivery to a destination that waits or is held."""
_SPARSE = 10_000
"""Unfinished deliveries of a destination up to which they are looked up by index. A walk through the messages in order
finds a page of more of them soon enough."""
_MOST_DELIVERIES = 10_000
"""Of one message that is shown."""

Cursor = tuple[MessageId, str, int]
"""(message id, destination, purpose): a change goes on after it, in this order."""
START: Cursor = (0, "", 0)


@frozen(kw_only=True)
class Chosen:
    """The deliveries that one step of a change is about."""

    decided: list[Decision]
    """Decisions that change the state of a delivery, or its destination."""
    tried: list[Decision]
    """Decisions about what waits already and is to be tried at once."""
    cursor: Cursor | None
    """The next step goes on after it; None at the end."""


class QueueQueries:
    """The queries on one connection. It is used by one thread at a time."""

    def __init__(self, connection: sqlite3.Connection) -> None:
        self._connection = connection
        self._execute = connection.execute

    @classmethod
    def open_read_only(cls, path: Path) -> Self:
        """Open the ledger at a path through a connection of its own.

        Raises:
            SpoolUnusable: it cannot be read, or another version of the router wrote it.
        """
        uri = path.resolve().as_uri()
        try:
            connection = sqlite3.connect(f"{uri}?mode=ro", uri=True, isolation_level=None, check_same_thread=False)
            (version,) = connection.execute("PRAGMA user_version").fetchone()
        except sqlite3.Error as error:
            raise SpoolUnusable(f"{path} cannot be read: {error}") from error
        if version != SCHEMA_VERSION:
            connection.close()
            refuse_newer(path, version)
            raise SpoolUnusable(
                f"{path} was written by an earlier version of the router (schema number {version}, this version"
                f" reads {SCHEMA_VERSION}): start the router, which brings it up to date"
            )
        return cls(connection)

    def close(self) -> None:
        self._connection.close()

    def list_deliveries(self, selection: Selection, after: MessageId = 0, limit: int = 100) -> list[QueueRow]:
        """List deliveries of messages with ids above `after`, in order of the ids.

        All deliveries of the last message are in the list, even if they are more than `limit`: the next page can
        begin with the next message.
        """
        condition, values = _where(selection)
        if self._is_sparse(selection):
            condition, values = (
                f"{condition} AND d.message_id IN ({_UNFINISHED})",
                [*values, *[selection.destination] * 4],
            )
        found = self._execute(
            f"SELECT {_COLUMNS} {_FROM} WHERE {condition} AND d.message_id > ?"
            " ORDER BY d.message_id, d.destination, d.purpose LIMIT ?",
            (*values, after, limit),
        ).fetchall()
        if found and len(found) == limit:
            last = found[-1]
            found += self._execute(
                f"SELECT {_COLUMNS} {_FROM} WHERE {condition} AND d.message_id = ?"
                " AND (d.destination, d.purpose) > (?, ?) ORDER BY d.destination, d.purpose",
                (*values, *last[:3]),
            )
        return [_queue_row(row) for row in found]

    def _is_sparse(self, selection: Selection) -> bool:
        """Return whether an index finds the few deliveries of a selection sooner than a walk through all messages."""
        if selection.destination is None or not selection.states or not selection.states <= _UNFINISHED_STATES:
            return False
        (count,) = self._execute(
            f"SELECT coalesce(sum(count), 0) FROM totals WHERE destination = ? AND state IN ({WAITING}, {HELD})",
            (selection.destination,),
        ).fetchone()
        return bool(count <= _SPARSE)

    def show(self, message_id: MessageId) -> MessageDetail:
        """Return one message with its deliveries; the envelope has no command set.

        Raises:
            UnknownMessage: the ledger has no such id.
        """
        row = self._execute(
            "SELECT kind, service, abstract_syntax, transfer_syntax, sop_class_uid, sop_instance_uid, calling_ae,"
            " called_ae, peer, received, data_length, segment, offset, file, unfinished FROM messages WHERE id = ?",
            (message_id,),
        ).fetchone()
        if row is None:
            raise UnknownMessage(f"there is no message {message_id}")
        deliveries = tuple(self.list_deliveries(Selection(message_ids=(message_id,)), limit=_MOST_DELIVERIES))
        *names, received, data_length, segment, offset, file, unfinished = row
        envelope = Envelope(
            kind=names[0],
            command=b"",
            service=names[1],
            abstract_syntax=names[2],
            transfer_syntax=names[3],
            sop_class_uid=names[4],
            sop_instance_uid=names[5],
            calling_ae=names[6],
            called_ae=names[7],
            peer=names[8],
            received=received,
            deliveries=tuple(
                Recipient(destination=row.destination, key=row.key, purpose=row.purpose) for row in deliveries
            ),
        )
        where = f"large/{file}" if file else f"segments/{segment:08d} at {offset}" if segment else "damaged or gone"
        if unfinished <= 0 and (file or not self._is_there(segment)):
            where = "gone: delivered or discarded"
        return MessageDetail(
            message_id=message_id, envelope=envelope, deliveries=deliveries, data_length=data_length, where=where
        )

    def _is_there(self, segment: int) -> bool:
        found = self._execute("SELECT 1 FROM segments WHERE number = ? AND gone IS NULL", (segment,))
        return found.fetchone() is not None

    def instances(self, uids: Sequence[str]) -> dict[str, list[InstanceDelivery]]:
        """Look up C-STORE deliveries by SOP Instance UID: the newest to each destination.

        Only the last messages of an instance are looked at. An instance that is not known has no key.
        """
        statement = (
            "SELECT d.message_id, d.destination, d.state, d.reason, d.changed, m.service, m.kind, m.sop_class_uid,"
            " m.calling_ae, m.received, d.status, d.cause FROM"
            f" (SELECT * FROM messages WHERE sop_instance_uid = ? ORDER BY id DESC LIMIT {LOOKED_AT}) m"
            " JOIN deliveries d ON d.message_id = m.id"
            f" WHERE m.kind = ? AND d.purpose = {SEND} ORDER BY m.id"
        )
        found = {}
        for uid in uids:
            newest = {row[1]: _instance_delivery(row) for row in self._execute(statement, (uid, C_STORE))}
            if newest:
                found[uid] = list(newest.values())
        return found

    def retained(self, destination: str, clock: float, limit: int) -> list[Retained]:
        """Read what is retained for a destination, is due at `clock`, and was delivered to it or discarded.

        Those that the destination was never asked about come first. `clock` is in seconds on the run clock.
        """
        rows = self._execute(
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

    def totals(self, purpose: Purpose = Purpose.SEND) -> dict[str, Totals]:
        """Count the deliveries of one purpose, by destination and state."""
        found: dict[str, dict[str, int]] = {}
        rows = self._execute("SELECT destination, state, count FROM totals WHERE purpose = ?", (purpose,))
        for destination, state, count in rows:
            found.setdefault(destination, {})[STATES[state].value] = count
        return {destination: Totals(**counts) for destination, counts in found.items()}

    def choose(
        self, selection: Selection, action: QueueAction, target: str | None, after: Cursor, limit: int
    ) -> Chosen:
        """Choose up to `limit` deliveries for one step of a change.

        `target` is the destination for messages that no route wanted; without it they cannot be released.
        """
        condition, values = _where(selection)
        states = ", ".join(map(str, _FROM_STATES[action]))
        found = self._execute(
            f"SELECT d.message_id, d.destination, d.purpose, d.state {_FROM} WHERE {condition}"
            f" AND d.state IN ({states}) AND (d.message_id, d.destination, d.purpose) > (?, ?, ?)"
            " ORDER BY d.message_id, d.destination, d.purpose LIMIT ?",
            (*values, *after, limit),
        ).fetchall()
        state, reason = _DECIDED[action]
        decided: list[Decision] = []
        tried: list[Decision] = []
        for message_id, destination, purpose, before in found:
            to = destination or (target if state is DeliveryState.WAITING else "")
            if to is None:
                continue
            one = Decision(message_id=message_id, destination=to, purpose=Purpose(purpose), state=state, reason=reason)
            (tried if STATES[before] is state and to == destination else decided).append(one)
        return Chosen(decided=decided, tried=tried, cursor=found[-1][:3] if len(found) == limit else None)


def _where(selection: Selection) -> tuple[str, list[object]]:
    """Return the condition of a selection, and its parameters."""
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


def _instance_delivery(row: Sequence[Any]) -> InstanceDelivery:
    return InstanceDelivery(
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


def _queue_row(row: Sequence[Any]) -> QueueRow:
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
