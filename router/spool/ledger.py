"""The ledger: which message lies where, and how each of its deliveries stands.

It is an index and may be lost, all or the last moments of it, without losing a message (recovery.py). Used by the
writer's thread alone. Not here: the schema (database.py), what people ask (queries.py), moving and forgetting
(upkeep.py).
"""

import time
from collections.abc import Iterable

from attrs import frozen

from router.messages import Envelope, Result, Settlement, Waiting
from router.spool.database import DELIVERED, DISCARDED, HELD, WAITING, Database
from router.spool.values import Place, Row

_ADD_MESSAGE = "INSERT INTO messages VALUES (?,?,?,?,?,?,?,?,?,?,?,?,?,?,?,?,?,?)"
_ADD_DELIVERY = (
    "INSERT INTO deliveries (message_id, destination, lane, state, born, reason, changed) VALUES (?,?,?,?,?,?,?)"
)
PLACE = "m.segment, m.offset, m.length, m.data_length, m.data_crc, m.file"
WAITING_ROW = (
    "SELECT d.message_id, d.destination, d.lane, d.attempts, d.born, m.service, m.kind, m.abstract_syntax,"
    f" m.transfer_syntax, m.sop_instance_uid, {PLACE} FROM deliveries d JOIN messages m ON m.id = d.message_id"
)
NOT_BLOCKED = (
    f"(d.lane = '' OR NOT EXISTS (SELECT 1 FROM deliveries h WHERE h.state = {HELD}"
    " AND h.destination = d.destination AND h.lane = d.lane AND h.message_id < d.message_id))"
)
OF_INSTANCE = "(SELECT * FROM messages WHERE sop_instance_uid = ? ORDER BY id DESC LIMIT 64)"
"""The last messages of one instance: however often it came, looking is quick."""


@frozen(kw_only=True)
class Entry:
    """A message new to the ledger."""

    message_id: int
    place: Place
    envelope: Envelope
    """Its deliveries as they are to be: never empty."""
    born: float
    """On the ledger's clock."""
    hold: str = ""
    """Why all deliveries begin held; empty where they begin waiting."""

    def rows(self) -> list[Row]:
        """As the destinations' actors see it; nothing of one that is held."""
        if self.hold:
            return []
        envelope = self.envelope
        return [
            Row(
                Waiting(
                    message_id=self.message_id,
                    destination=address.destination,
                    key=address.key,
                    attempts=0,
                    born=self.born,
                    service=envelope.service,
                    kind=envelope.kind,
                    abstract_syntax=envelope.abstract_syntax,
                    transfer_syntax=envelope.transfer_syntax,
                    sop_instance_uid=envelope.sop_instance_uid,
                    data_length=self.place.data_length,
                ),
                self.place,
            )
            for address in envelope.deliveries
        ]


@frozen(kw_only=True)
class Outcome:
    """A settlement, and of what."""

    message_id: int
    destination: str
    settlement: Settlement


@frozen(kw_only=True)
class Finished:
    """A message whose last delivery is finished."""

    message_id: int
    place: Place


class Ledger(Database):
    """The statements of the writer's turn."""

    def add(self, entries: Iterable[Entry]) -> None:
        messages, deliveries = [], []
        now = time.time()
        for entry in entries:
            e, p = entry.envelope, entry.place
            state = HELD if entry.hold else WAITING
            location = (p.segment, p.offset, p.length, p.data_length, p.data_crc, p.file)
            kind = (e.kind, e.service, e.abstract_syntax, e.transfer_syntax, e.sop_class_uid, e.sop_instance_uid)
            origin = (e.calling_ae, e.called_ae, e.peer, e.received)
            messages.append((entry.message_id, *location, len(e.deliveries), *kind, *origin))
            for address in e.deliveries:
                deliveries.append(
                    (entry.message_id, address.destination, address.key, state, entry.born, entry.hold, now)
                )
                self.deltas[address.destination, state] += 1
        self.connection.executemany(_ADD_MESSAGE, messages)
        self.connection.executemany(_ADD_DELIVERY, deliveries)

    def settle(self, outcomes: Iterable[Outcome]) -> tuple[list[Finished], list[tuple[str, str]]]:
        """Write outcomes down. Returns the messages that are finished by it, and the lanes (destination, key) that
        a held delivery no longer blocks. An outcome of what is finished or gone already changes nothing."""
        finished: list[Finished] = []
        freed: list[tuple[str, str]] = []
        now = time.time()
        for outcome in outcomes:
            message_id, destination, settlement = outcome.message_id, outcome.destination, outcome.settlement
            row = self.execute(
                "SELECT state, lane FROM deliveries WHERE message_id = ? AND destination = ?",
                (message_id, destination),
            ).fetchone()
            if row is None or row[0] in (DELIVERED, DISCARDED):
                continue
            before, lane = row
            after = {Result.DELIVERED: DELIVERED, Result.HELD: HELD, Result.RETRY: before}[settlement.result]
            self.execute(
                "UPDATE deliveries SET state = ?, attempts = attempts + 1, reason = ?,"
                " changed = ? WHERE message_id = ? AND destination = ?",
                (after, settlement.reason, now, message_id, destination),
            )
            self.count(destination, before, after)
            if before == HELD and after == DELIVERED and lane:
                freed.append((destination, lane))
            if after == DELIVERED:
                finished += self.finish_one(message_id)
        return finished, freed

    def finish_one(self, message_id: int) -> list[Finished]:
        """One delivery of the message is finished; the message, if it was the last."""
        row = self.execute(
            "UPDATE messages SET unfinished = unfinished - 1 WHERE id = ?"
            " RETURNING unfinished, segment, offset, length, data_length, data_crc, file",
            (message_id,),
        ).fetchone()
        if row[0] > 0:
            return []
        return [Finished(message_id=message_id, place=place_of(row[1:]))]

    def know(self, number: int, nonce: bytes, known: int) -> None:
        """All records of a segment before the offset `known` are in the ledger."""
        self.execute(
            "INSERT INTO segments (number, nonce, known) VALUES (?,?,?)"
            " ON CONFLICT (number) DO UPDATE SET nonce = excluded.nonce, known = excluded.known,"
            " dropped = 0, gone = NULL",
            (number, nonce, known),
        )

    def reserve(self, next_id: int) -> None:
        """Message ids below this one are taken."""
        self.execute("UPDATE facts SET next_id = max(next_id, ?)", (next_id,))

    def waiting(self, destination: str, after: int, limit: int) -> list[Row]:
        rows = self.execute(
            f"{WAITING_ROW} WHERE d.state = {WAITING} AND d.destination = ? AND d.message_id > ?"
            f" AND {NOT_BLOCKED} ORDER BY d.message_id LIMIT ?",
            (destination, after, limit),
        )
        return [row_of(row) for row in rows]

    def waiting_in_lane(self, destination: str, lane: str) -> list[Row]:
        """What of a lane may go now, at most 1000."""
        rows = self.execute(
            f"{WAITING_ROW} WHERE d.state = {WAITING} AND d.destination = ? AND d.lane = ?"
            f" AND {NOT_BLOCKED} ORDER BY d.message_id LIMIT 1000",
            (destination, lane),
        )
        return [row_of(row) for row in rows]

    def place(self, message_id: int) -> Place | None:
        row = self.execute(f"SELECT {PLACE} FROM messages m WHERE m.id = ?", (message_id,)).fetchone()
        return place_of(row) if row else None

    def alike(self, uid: str, length: int, crc: int, kind: str) -> list[tuple[int, Place]]:
        """Unfinished messages that may be the same object: same kind, UID, length and CRC. At most 16."""
        rows = self.execute(
            f"SELECT m.id, {PLACE} FROM {OF_INSTANCE} m WHERE m.unfinished > 0"
            " AND m.data_length = ? AND m.data_crc = ? AND m.kind = ? ORDER BY m.id DESC LIMIT 16",
            (uid, length, crc, kind),
        )
        return [(row[0], place_of(row[1:])) for row in rows]

    def has_other_bytes(self, uid: str, length: int, crc: int, kind: str) -> bool:
        """Whether an unfinished message has the UID and certainly other bytes."""
        row = self.execute(
            f"SELECT 1 FROM {OF_INSTANCE} WHERE unfinished > 0"
            " AND (data_length <> ? OR data_crc <> ?) AND kind = ? LIMIT 1",
            (uid, length, crc, kind),
        ).fetchone()
        return row is not None

    def unfinished_destinations(self, message_id: int) -> set[str]:
        rows = self.execute(
            f"SELECT destination FROM deliveries WHERE message_id = ? AND state IN ({WAITING}, {HELD})",
            (message_id,),
        )
        return {row[0] for row in rows}


def place_of(row: tuple[int, int, int, int, int, str]) -> Place:
    """From the columns of `PLACE`."""
    segment, offset, length, data_length, data_crc, file = row
    return Place(segment=segment, offset=offset, length=length, data_length=data_length, data_crc=data_crc, file=file)


def row_of(row: tuple[int, str, str, int, float, str, str, str, str, str, int, int, int, int, int, str]) -> Row:
    """From the columns of `WAITING_ROW`."""
    waiting = Waiting(
        message_id=row[0],
        destination=row[1],
        key=row[2],
        attempts=row[3],
        born=row[4],
        service=row[5],
        kind=row[6],
        abstract_syntax=row[7],
        transfer_syntax=row[8],
        sop_instance_uid=row[9],
        data_length=row[13],
    )
    return Row(waiting, place_of(row[10:]))
