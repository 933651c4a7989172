"""The ledger: the place of every message, and the state of each of its deliveries.

It is an index: all of it, or its last moments, may be lost without losing a message (recovery/). These verbs are all
that the rest of the spool knows of it, and this package holds all of its SQL; another database can stand behind the
same verbs. `sqlite3.Error` comes out of any of them: the disk is full or at fault, or another program has locked the
file. Changes are made inside `transaction`. Writer thread only, but for recovery, which runs before it.
"""

import time
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager
from itertools import chain, groupby
from operator import attrgetter
from pathlib import Path
from types import MappingProxyType
from typing import Any, Final, Self

from router.model import AttemptResult, Cause, Result
from router.spool.disk.counters import Counters
from router.spool.disk.filesystem import FileSystem
from router.spool.disk.reserve import keep_room_in
from router.spool.ledger.database import Database
from router.spool.ledger.decision_rows import DecisionRows
from router.spool.ledger.finish import finish
from router.spool.ledger.maintenance import Maintenance
from router.spool.ledger.queries import QueueQueries
from router.spool.ledger.rows import (
    LOOKED_AT,
    PLACE,
    DeliveryKey,
    EarlierMessage,
    Finished,
    LedgerEntry,
    SettledDelivery,
    place_of,
    sent_as_text,
)
from router.spool.ledger.schema import DELIVERED, HELD, WAITING
from router.spool.ledger.waiting_rows import WaitingRows
from router.spool.message_id import MessageId
from router.spool.values import Place

_BATCHES: Final = (1, 2, 4, 8, 16, 32, 64)
"""Rows of one statement. One statement for many rows lets the event loop run meanwhile, where one for each row would
stop it each time; with few different sizes, SQLite has compiled them all already."""
_ADD_MESSAGES: Final = "INSERT INTO messages VALUES"
_ADD_DELIVERIES: Final = (
    "INSERT INTO deliveries (message_id, destination, purpose, lane, born, sent_as, state, attempts, reason, changed,"
    " due, status, cause, comment, crashes, unanswered) VALUES"
)
_UNTRIED: Final = (0.0, None, "", "", False, 0)
"""The columns from `due` to `unanswered` of a delivery that was never attempted."""
_UNFINISHED: Final = f"destination = ? AND purpose = ? AND state IN ({WAITING}, {HELD}) AND message_id IN"
_STATES_AFTER: Final = {Result.DELIVERED: DELIVERED, Result.HELD: HELD, Result.RETRY: None}


class Ledger:
    """The verbs of the writer's turn, and in its parts those of single uses."""

    def __init__(self, database: Database) -> None:
        self.database = database
        """For this package and for tests."""
        self.backlog = WaitingRows(database)
        self.decisions = DecisionRows(database)
        self.maintenance = Maintenance(database)
        self.queue = QueueQueries(database.connection)
        self._execute = database.execute
        self._deltas = database.deltas

    @classmethod
    def open(cls, files: FileSystem, path: Path, counters: Counters) -> Self:
        """Open the ledger, create it if it is missing, and bring an older schema up to date in place.

        Raises:
            LedgerUnusable: it must be rebuilt.
            SpoolUnusable: a later version of the router wrote it; nothing was changed.
            OSError, sqlite3.Error: the disk is at fault.
        """
        return cls(Database.open(files, path, counters))

    def close(self) -> None:
        self.database.close()

    def clock(self) -> float:
        """Return the run clock, in seconds."""
        return self.database.clock()

    def transaction(self, *, durable: bool = False) -> AbstractContextManager[None]:
        """Do all that is done inside, or nothing.

        A durable transaction survives a power cut from its end on. Any other may be lost, together with those after
        it, until the next durable one.
        """
        return self.database.transaction(durable=durable)

    def wait_for_locks(self, milliseconds: int) -> None:
        """Set how long each statement waits for another program's lock."""
        self._execute(f"PRAGMA busy_timeout = {milliseconds:d}")

    def keep_room(self, reserve: int) -> None:
        """Allocate a part of `reserve`, in bytes, so that the ledger can be written on a full disk."""
        keep_room_in(self.database.connection, reserve)

    def enter(
        self, entries: Iterable[LedgerEntry], delivered: Mapping[DeliveryKey, AttemptResult] = MappingProxyType({})
    ) -> list[Finished]:
        """Enter messages with their deliveries.

        `delivered`: results of deliveries that the first attempt has made already; they are entered as `settle` would
        leave them. Returns the messages that are finished by them.
        """
        messages: list[tuple[object, ...]] = []
        deliveries: list[tuple[object, ...]] = []
        finished: list[Place] = []
        now = time.time()
        for entry in entries:
            e, p = entry.envelope, entry.place
            unfinished = len(e.deliveries)
            state = HELD if entry.hold else WAITING
            for address in e.deliveries:
                to = (address.destination, int(address.purpose))
                result = delivered.get((entry.message_id, *to)) if delivered else None
                what = (entry.message_id, *to, address.key, entry.born, sent_as_text(address.sent_as))
                if result is None:
                    deliveries.append((*what, state, 0, entry.hold, now, *_UNTRIED))
                    self._deltas[*to, state] += 1
                else:
                    unfinished -= 1
                    deliveries.append((*what, DELIVERED, 1, result.reason, now, *_detail(result)))
                    self._deltas[*to, DELIVERED] += 1
            location = (p.segment, p.offset, p.length, p.data_length, p.data_crc, p.file)
            kind = (e.kind, e.service, e.abstract_syntax, e.transfer_syntax, e.sop_class_uid, e.sop_instance_uid)
            origin = (e.calling_ae, e.called_ae, e.peer, e.received)
            messages.append((entry.message_id, *location, unfinished, *kind, *origin))
            if not unfinished:
                finished.append(entry.place)
        self._insert(_ADD_MESSAGES, messages)
        self._insert(_ADD_DELIVERIES, deliveries)
        return _finished_in(finished)

    def _insert(self, statement: str, rows: Sequence[tuple[Any, ...]]) -> None:
        at = 0
        for size in reversed(_BATCHES):
            while len(rows) - at >= size:
                marks = f"({','.join('?' * len(rows[at]))})"
                some = rows[at : at + size]
                self._execute(f"{statement} {','.join([marks] * size)}", tuple(chain.from_iterable(some)))
                at += size

    def settle(self, outcomes: Iterable[SettledDelivery]) -> tuple[list[Finished], list[tuple[str, str]]]:
        """Write the results of attempts.

        Returns the messages that are finished by them, and the lanes (destination, ordering key) that a held delivery
        no longer blocks. The result for a delivery that is finished or gone changes nothing.
        """
        finished: list[Finished] = []
        freed: list[tuple[str, str]] = []
        for (destination, purpose, result), message_ids in _runs(outcomes):
            some = _padded(message_ids)
            condition, values = f"{_UNFINISHED} ({','.join('?' * len(some))})", (destination, purpose, *some)
            before = dict(
                self._execute(f"SELECT state, count(*) FROM deliveries WHERE {condition} GROUP BY state", values)
            )
            after = _STATES_AFTER[result.result]
            if after == DELIVERED and before:
                if HELD in before:
                    lanes = self._execute(
                        f"SELECT DISTINCT lane FROM deliveries WHERE {condition} AND state = {HELD} AND lane <> ''",
                        values,
                    )
                    freed += [(destination, lane) for (lane,) in lanes]
                finished += finish(self.database, f"SELECT message_id FROM deliveries WHERE {condition}", values)
            self._execute(
                "UPDATE deliveries SET state = coalesce(?, state), attempts = attempts + 1, reason = ?, changed = ?,"
                " due = ?, status = ?, cause = ?, comment = ?, crashes = crashes + ?, unanswered = unanswered + ?"
                f" WHERE {condition}",
                (after, result.reason, time.time(), *_detail(result), *values),
            )
            for state, count in before.items():
                self.database.count(destination, purpose, state, state if after is None else after, count)
        return finished, freed

    def know(self, number: int, nonce: bytes, known: int) -> None:
        """Note that all records of a segment before the offset `known` are in the ledger."""
        self._execute(
            "INSERT INTO segments (number, nonce, known) VALUES (?,?,?)"
            " ON CONFLICT (number) DO UPDATE SET nonce = excluded.nonce, known = excluded.known,"
            " dropped = 0, gone = NULL",
            (number, nonce, known),
        )

    def place(self, message_id: MessageId) -> Place | None:
        """Look up where a message lies; None if it is not in the ledger."""
        row = self._execute(f"SELECT {PLACE} FROM messages m WHERE m.id = ?", (message_id,)).fetchone()
        return place_of(row) if row else None

    def unfinished_of(self, uids: Sequence[str], kind: str) -> dict[str, list[EarlierMessage]]:
        """Look up the unfinished messages of a kind, by SOP Instance UID, the newest first."""
        found: dict[str, list[EarlierMessage]] = {}
        for some in _cut(uids):
            values = _padded(some)
            marks = ",".join(["(?)"] * len(values))
            rows = self._execute(
                f"SELECT m.sop_instance_uid, m.id, {PLACE} FROM (VALUES {marks}) AS u CROSS JOIN messages m ON m.id IN"
                f" (SELECT id FROM messages WHERE sop_instance_uid = u.column1 ORDER BY id DESC LIMIT {LOOKED_AT})"
                " WHERE m.unfinished > 0 AND m.kind = ? ORDER BY m.id DESC",
                (*values, kind),
            )
            for row in rows:
                found.setdefault(row[0], []).append(EarlierMessage(message_id=row[1], place=place_of(row[2:])))
        return found

    def unfinished_deliveries(self, message_id: MessageId) -> set[tuple[str, int]]:
        """Look up (destination, purpose) of the deliveries of a message that wait or are held."""
        rows = self._execute(
            f"SELECT destination, purpose FROM deliveries WHERE message_id = ? AND state IN ({WAITING}, {HELD})",
            (message_id,),
        )
        return set(rows)


def _finished_in(places: Sequence[Place]) -> list[Finished]:
    """Count finished messages by segment."""
    by_segment: dict[int, list[Place]] = {}
    for place in places:
        by_segment.setdefault(place.segment, []).append(place)
    return [
        Finished(
            segment=segment,
            count=len(some),
            length=sum(place.length for place in some),
            files=tuple(place.file for place in some if place.file),
        )
        for segment, some in by_segment.items()
    ]


def _runs(outcomes: Iterable[SettledDelivery]) -> Iterator[tuple[tuple[str, int, AttemptResult], list[int]]]:
    """Group the ids of messages with an equal result at one destination, in their order there.

    No id comes twice in a run, and no run is longer than one statement can be.
    """
    by_destination = sorted(outcomes, key=attrgetter("destination"))
    for key, run in groupby(by_destination, key=attrgetter("destination", "purpose", "result")):
        ids: dict[int, None] = {}
        for outcome in run:
            if len(ids) == _BATCHES[-1] or outcome.message_id in ids:
                yield key, list(ids)
                ids.clear()
            ids[outcome.message_id] = None
        yield key, list(ids)


def _cut(values: Sequence[str]) -> Iterator[Sequence[str]]:
    """Cut values into parts, each no longer than one statement can be."""
    for at in range(0, len(values), _BATCHES[-1]):
        yield values[at : at + _BATCHES[-1]]


def _padded(values: Sequence[object]) -> list[object]:
    """Fill up to one of the sizes of statements, with NULLs, which equal nothing."""
    size = next(size for size in _BATCHES if size >= len(values))
    return [*values, *[None] * (size - len(values))]


def _detail(result: AttemptResult) -> tuple[object, ...]:
    """Return the columns from `due` to `unanswered`."""
    crashed = result.cause is Cause.CRASHED
    return result.due, result.status, result.cause.value, result.comment, crashed, result.unanswered
