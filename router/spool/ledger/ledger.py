"""The ledger: which message lies where, and how each of its deliveries stands.

It is an index and may be lost, all or the last moments of it, without losing a message (recovery.py). Used by the
writer's thread alone. Not here: the schema (database.py), what people ask (queries.py), moving and forgetting
(upkeep.py).
"""

import json
import time
from collections.abc import Iterable, Iterator, Sequence
from itertools import chain, groupby
from operator import attrgetter
from typing import Any, Final

from attrs import frozen

from router.model import AS_STORED, AttemptResult, Cause, Envelope, PendingDelivery, Purpose, Result, SentAs
from router.spool.ledger.database import Database
from router.spool.ledger.schema import DELIVERED, HELD, WAITING
from router.spool.values import LocatedDelivery, Place

_AT_ONCE: Final = (1, 8, 64)
"""How many rows a statement is for. One statement for many rows lets the event loop run beside it, where one for each
would stop it each time; and of few sizes, SQLite has compiled them all already."""
_ADD_MESSAGES = "INSERT INTO messages VALUES"
_ADD_DELIVERIES = (
    "INSERT INTO deliveries (message_id, destination, purpose, lane, state, born, reason, changed, sent_as) VALUES"
)
_UNFINISHED = f"destination = ? AND purpose = ? AND state IN ({WAITING}, {HELD}) AND message_id IN"
PLACE = "m.segment, m.offset, m.length, m.data_length, m.data_crc, m.file"
WAITING_ROW = (
    "d.message_id, d.destination, d.lane, d.attempts, d.born, m.service, m.kind, m.abstract_syntax,"
    f" m.transfer_syntax, m.sop_instance_uid, {PLACE}, m.calling_ae, d.due, d.cause, d.crashes, d.unanswered, d.sent_as"
)
_CAUSES: Final = {cause.value: cause for cause in Cause}
LOOKED_AT: Final = 64
"""The last messages of one instance: however often it came, looking is quick."""


@frozen(kw_only=True)
class LedgerEntry:
    """A message new to the ledger."""

    message_id: int
    place: Place
    envelope: Envelope
    """Its deliveries as they are to be: never empty."""
    born: float
    """On the ledger's clock."""
    hold: str = ""
    """Why all deliveries begin held; empty where they begin waiting."""

    def rows(self) -> list[LocatedDelivery]:
        """As the destinations' actors see it; nothing of one that is held, nor of what is only retained."""
        if self.hold:
            return []
        envelope = self.envelope
        return [
            LocatedDelivery(
                PendingDelivery(
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
                    calling_ae=envelope.calling_ae,
                    data_length=self.place.data_length,
                    sent_as=address.sent_as,
                ),
                self.place,
            )
            for address in envelope.deliveries
            if address.purpose is Purpose.SEND
        ]


@frozen(kw_only=True)
class SettledDelivery:
    """What became of an attempt, and of which."""

    message_id: int
    destination: str
    purpose: Purpose = Purpose.SEND
    result: AttemptResult


@frozen(kw_only=True)
class Finished:
    """Messages of one segment whose last delivery is finished."""

    segment: int
    count: int
    length: int
    """Bytes of their records."""
    files: tuple[str, ...]
    """In `large/`."""


@frozen(kw_only=True)
class EarlierMessage:
    """An unfinished message of an instance that has come again."""

    message_id: int
    place: Place


class Ledger(Database):
    """The statements of the writer's turn."""

    def add(self, entries: Iterable[LedgerEntry]) -> None:
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
                to = (address.destination, int(address.purpose))
                standing = (address.key, state, entry.born, entry.hold, now)
                deliveries.append((entry.message_id, *to, *standing, _sent_as_text(address.sent_as)))
                self.deltas[*to, state] += 1
        self._insert(_ADD_MESSAGES, messages)
        self._insert(_ADD_DELIVERIES, deliveries)

    def _insert(self, statement: str, rows: Sequence[tuple[Any, ...]]) -> None:
        at = 0
        for size in reversed(_AT_ONCE):
            while len(rows) - at >= size:
                marks = f"({','.join('?' * len(rows[at]))})"
                some = rows[at : at + size]
                self.execute(f"{statement} {','.join([marks] * size)}", tuple(chain.from_iterable(some)))
                at += size

    def settle(self, outcomes: Iterable[SettledDelivery]) -> tuple[list[Finished], list[tuple[str, str]]]:
        """Write outcomes down. Returns the messages that are finished by it, and the lanes (destination, key) that
        a held delivery no longer blocks. An outcome of what is finished or gone already changes nothing."""
        finished: list[Finished] = []
        freed: list[tuple[str, str]] = []
        for (destination, purpose, result), message_ids in _runs(outcomes):
            some = _padded(message_ids)
            condition, values = f"{_UNFINISHED} ({','.join('?' * len(some))})", (destination, purpose, *some)
            before = dict(
                self.execute(f"SELECT state, count(*) FROM deliveries WHERE {condition} GROUP BY state", values)
            )
            after = {Result.DELIVERED: DELIVERED, Result.HELD: HELD, Result.RETRY: None}[result.result]
            if after == DELIVERED and before:
                if HELD in before:
                    lanes = self.execute(
                        f"SELECT DISTINCT lane FROM deliveries WHERE {condition} AND state = {HELD} AND lane <> ''",
                        values,
                    )
                    freed += [(destination, lane) for (lane,) in lanes]
                finished += self.finish(f"SELECT message_id FROM deliveries WHERE {condition}", values)
            self.execute(
                "UPDATE deliveries SET state = coalesce(?, state), attempts = attempts + 1, reason = ?, changed = ?,"
                " due = ?, status = ?, cause = ?, comment = ?, crashes = crashes + ?, unanswered = unanswered + ?"
                f" WHERE {condition}",
                (after, result.reason, time.time(), *_detail(result), *values),
            )
            for state, count in before.items():
                self.count(destination, purpose, state, state if after is None else after, count)
        return finished, freed

    def finish(self, which: str, values: Sequence[object]) -> list[Finished]:
        """One delivery of each of the messages is finished; those for which it was the last. `which`: a query for
        their ids."""
        self.execute(f"UPDATE messages SET unfinished = unfinished - 1 WHERE id IN ({which})", values)
        rows = self.execute(
            "SELECT segment, count(*), sum(length), group_concat(nullif(file, '')) FROM messages"
            f" WHERE id IN ({which}) AND unfinished <= 0 GROUP BY segment",
            values,
        )
        return [
            Finished(segment=segment, count=count, length=length, files=tuple(files.split(",")) if files else ())
            for segment, count, length, files in rows
        ]

    def know(self, number: int, nonce: bytes, known: int) -> None:
        """All records of a segment before the offset `known` are in the ledger."""
        self.execute(
            "INSERT INTO segments (number, nonce, known) VALUES (?,?,?)"
            " ON CONFLICT (number) DO UPDATE SET nonce = excluded.nonce, known = excluded.known,"
            " dropped = 0, gone = NULL",
            (number, nonce, known),
        )

    def place(self, message_id: int) -> Place | None:
        row = self.execute(f"SELECT {PLACE} FROM messages m WHERE m.id = ?", (message_id,)).fetchone()
        return place_of(row) if row else None

    def unfinished_of(self, uids: Sequence[str], kind: str) -> dict[str, list[EarlierMessage]]:
        """By SOP Instance UID: its unfinished messages of that kind, the newest first."""
        found: dict[str, list[EarlierMessage]] = {}
        for some in _cut(uids):
            values = _padded(some)
            marks = ",".join(["(?)"] * len(values))
            rows = self.execute(
                f"SELECT m.sop_instance_uid, m.id, {PLACE} FROM (VALUES {marks}) AS u CROSS JOIN messages m ON m.id IN"
                f" (SELECT id FROM messages WHERE sop_instance_uid = u.column1 ORDER BY id DESC LIMIT {LOOKED_AT})"
                " WHERE m.unfinished > 0 AND m.kind = ? ORDER BY m.id DESC",
                (*values, kind),
            )
            for row in rows:
                found.setdefault(row[0], []).append(EarlierMessage(message_id=row[1], place=place_of(row[2:])))
        return found

    def unfinished_deliveries(self, message_id: int) -> set[tuple[str, int]]:
        """Destinations and purposes of what of a message waits or is held."""
        rows = self.execute(
            f"SELECT destination, purpose FROM deliveries WHERE message_id = ? AND state IN ({WAITING}, {HELD})",
            (message_id,),
        )
        return set(rows)


def _runs(outcomes: Iterable[SettledDelivery]) -> Iterator[tuple[tuple[str, int, AttemptResult], list[int]]]:
    """The ids of messages that came to the same at the same destination, in order there; none twice in a run, and no
    more than one statement takes."""
    by_destination = sorted(outcomes, key=attrgetter("destination"))
    for key, run in groupby(by_destination, key=attrgetter("destination", "purpose", "result")):
        ids: dict[int, None] = {}
        for outcome in run:
            if len(ids) == _AT_ONCE[-1] or outcome.message_id in ids:
                yield key, list(ids)
                ids.clear()
            ids[outcome.message_id] = None
        yield key, list(ids)


def _cut(values: Sequence[str]) -> Iterator[Sequence[str]]:
    """In parts, each no more than one statement takes."""
    for at in range(0, len(values), _AT_ONCE[-1]):
        yield values[at : at + _AT_ONCE[-1]]


def _padded(values: Sequence[object]) -> list[object]:
    """As many as one of the statements is for, with NULLs, which are equal to nothing."""
    size = next(size for size in _AT_ONCE if size >= len(values))
    return [*values, *[None] * (size - len(values))]


def place_of(row: Sequence[Any]) -> Place:
    """From the columns of `PLACE`."""
    segment, offset, length, data_length, data_crc, file = row
    return Place(segment=segment, offset=offset, length=length, data_length=data_length, data_crc=data_crc, file=file)


def _detail(result: AttemptResult) -> tuple[object, ...]:
    """From `due` to `unanswered`."""
    crashed = result.cause is Cause.CRASHED
    return result.due, result.status, result.cause.value, result.comment, crashed, result.unanswered


def cause_of(text: str) -> Cause:
    """From the column `cause`; NONE for one that a later version of the router wrote."""
    return _CAUSES.get(text, Cause.NONE)


def _sent_as_text(sent_as: SentAs) -> str:
    """Build the column `sent_as`; empty for AS_STORED."""
    if sent_as is AS_STORED or sent_as == AS_STORED:
        return ""
    return json.dumps([sent_as.transform, sent_as.version, sent_as.transfer_syntaxes])


def _sent_as_of(text: str) -> SentAs:
    """Build from the column `sent_as`, which is not empty."""
    transform, version, transfer_syntaxes = json.loads(text)
    return SentAs(transform=transform, version=version, transfer_syntaxes=tuple(transfer_syntaxes))


def row_of(row: Sequence[Any]) -> LocatedDelivery:
    """From the columns of `WAITING_ROW`."""
    waiting = PendingDelivery(
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
        calling_ae=row[16],
        due=row[17],
        cause=cause_of(row[18]),
        crashes=row[19],
        unanswered=row[20],
        sent_as=_sent_as_of(row[21]) if row[21] else AS_STORED,
    )
    return LocatedDelivery(waiting, place_of(row[10:16]))
