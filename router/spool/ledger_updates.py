"""Keep what is durable in the segments and not yet in the ledger, and bring the ledger up to date.

Promises: nothing that is kept here is lost when the ledger has no room or another program has locked it; it is tried
again. Messages come before their outcomes, and an operator's decisions before the outcomes that came after them. Writer
thread only. Not here: when (writer.py).
"""

import math
import sqlite3
import time
from collections import deque
from collections.abc import Callable, Sequence
from contextlib import suppress
from typing import TypeVar

from router.model import AttemptResult, DeliveryState, Purpose, Result
from router.spool import decision_records
from router.spool.disk.filesystem import is_for_now, is_locked
from router.spool.disk.segments import Segments
from router.spool.errors import OutOfSpace, SpoolFailure
from router.spool.housekeeping import Housekeeping
from router.spool.jobs import Changed, ChangeDeliveries, Commit, ReadFresh, SendAgain
from router.spool.ledger.ledger import Ledger
from router.spool.ledger.rows import DeliveryKey, Finished, LedgerEntry, SettledDelivery
from router.spool.ledger.waiting_rows import Part
from router.spool.message_id import MessageId
from router.spool.values import Decision, LocatedDelivery, Place

T = TypeVar("T")

_LAG = 0.02
"""Seconds that the ledger may be behind the segments, so that many messages share one transaction."""
_MOST_BEHIND = 256
"""Messages and outcomes that the ledger may be behind."""
_NO_ROOM = 1.0
"""Seconds between two attempts while the ledger has no room and no job comes."""
_LOCKED = 0.1
"""Seconds between two attempts while another program has locked the ledger and no job comes."""
_MOST_UNWRITTEN = 8192
"""Messages that are accepted while another program locks the ledger."""


class LedgerUpdates:
    def __init__(self, segments: Segments, ledger: Ledger, housekeeping: Housekeeping) -> None:
        self.on_rows: Callable[[list[LocatedDelivery]], None] = lambda rows: None
        """Called in the writer's thread with deliveries that wait now."""
        self.on_lock: Callable[[bool], None] = lambda locked: None
        """Called in the writer's thread when another program locks the ledger, and when it can be written again."""
        self.on_caught_up: Callable[[], None] = lambda: None
        """Called in the writer's thread when the ledger is up to date after it could not be for a while."""
        self.due = math.inf
        """When the ledger must be brought up to date, on the monotonic clock; infinite if it is."""
        self._segments = segments
        self._ledger = ledger
        self._housekeeping = housekeeping
        self._entries: list[LedgerEntry] = []
        self._unwritten: set[str] = set()
        """SOP Instance UIDs of `_entries`."""
        self._news: deque[SettledDelivery] = deque()
        """Outcomes that the event loop has added since the last look."""
        self._outcomes: list[SettledDelivery] = []
        self._decided: list[tuple[Decision, int]] = []
        """Decisions that the ledger had no room for, with the segment that holds them."""
        self._no_room = False
        """The last attempt failed for want of room."""
        self._locked = False
        """The last attempt failed for another program's lock."""

    @property
    def is_behind(self) -> bool:
        return bool(self._entries or self._outcomes or self._news or self._decided)

    @property
    def is_put_off(self) -> bool:
        """The last attempt to bring the ledger up to date failed."""
        return self._no_room or self._locked

    @property
    def is_due(self) -> bool:
        """Whether to bring the ledger up to date now. Those that wait for an acknowledgement come first."""
        return self.is_behind and (time.monotonic() >= self.due or (self.is_far_behind and not self.is_put_off))

    @property
    def is_far_behind(self) -> bool:
        """Whether so much waits for the ledger that nothing should be added before it is up to date."""
        return len(self._entries) + len(self._outcomes) + len(self._news) + len(self._decided) >= _MOST_BEHIND

    def add(self, entries: Sequence[LedgerEntry]) -> list[LocatedDelivery]:
        """Add messages that are durable.

        Returns their deliveries that may begin at once: outcomes are written after the messages.
        """
        self.begin_lag()
        self._entries += entries
        self._unwritten.update([entry.envelope.sop_instance_uid for entry in entries])
        return [row for entry in entries for row in entry.rows()]

    def add_outcome(self, outcome: SettledDelivery) -> bool:
        """Add the result of an attempt. From the event loop's thread, at any time.

        Returns whether the writer's thread must be told (`WriteSoon`): it has seen all that was added before.
        """
        self._news.append(outcome)
        return len(self._news) == 1

    def _look_at_news(self) -> None:
        with suppress(IndexError):
            while True:
                self._outcomes.append(self._news.popleft())

    def begin_lag(self) -> None:
        """Give what is added from now on `_LAG` seconds, if nothing waits yet."""
        if self.due == math.inf:
            self.due = time.monotonic() + _LAG

    def write_down(self) -> bool:
        """Bring the ledger up to date.

        Returns False if the disk has no room, or another program has locked the ledger; all is then kept for later.

        Raises:
            SpoolFailure: the disk failed.
        """
        self._look_at_news()
        if not self.is_behind:
            self.due = math.inf
            return True
        try:
            finished, by_hand, freed = self.with_reserve(self._enter)
        except sqlite3.Error as error:
            if is_for_now(error):
                self._put_off(is_locked(error))
                return False
            raise SpoolFailure(f"writing to the ledger failed: {error}") from error
        rows: list[LocatedDelivery] = []
        if self.is_put_off:  # those who asked meanwhile did not hear of these
            rows = self.unsettled([row for entry in self._entries for row in entry.rows()])
        self._entries, self._outcomes, self._decided, self._unwritten = [], [], [], set()
        self.due = math.inf
        was_put_off, self._no_room = self.is_put_off, False
        self._report_lock(False)
        self._housekeeping.finished(finished)
        self._housekeeping.finished(by_hand, by_hand=True)
        for destination, lane in freed:
            rows += self._ledger.backlog.first_of_lanes(destination, [lane])
        if rows:
            self.on_rows(rows)
        if was_put_off:
            self.on_caught_up()
        return True

    def _enter(self) -> tuple[list[Finished], list[Finished], list[tuple[str, str]]]:
        """Write all in one transaction. Returns what attempts finished, what operators finished, and freed lanes."""
        by_hand: list[Finished] = []
        with self._ledger.transaction():
            delivered, outcomes = self._delivered_at_once()
            finished = self._ledger.enter(self._entries, delivered)
            for decision, segment in self._decided:
                by_hand += self._ledger.decisions.apply([decision], segment)
            settled, freed = self._ledger.settle(outcomes)
            segments = {entry.place.segment for entry in self._entries}
            self._know(segments | {segment for _, segment in self._decided})
        return finished + settled, by_hand, freed

    def _delivered_at_once(self) -> tuple[dict[DeliveryKey, AttemptResult], Sequence[SettledDelivery]]:
        """Find the deliveries that can be entered together with their outcome; return the other outcomes too.

        Those are messages that the ledger does not have yet, delivered at the first attempt: most, on a quick network.
        """
        delivered: dict[DeliveryKey, AttemptResult] = {}
        if self._decided or not (self._entries and self._outcomes):
            return delivered, self._outcomes
        new = {
            (entry.message_id, address.destination, int(address.purpose))
            for entry in self._entries
            if not entry.hold
            for address in entry.envelope.deliveries
        }
        others: list[SettledDelivery] = []
        for outcome in self._outcomes:
            key = (outcome.message_id, outcome.destination, int(outcome.purpose))
            if key in new and outcome.result.result is Result.DELIVERED:
                delivered[key] = outcome.result
            else:
                others.append(outcome)
            new.discard(key)
        return delivered, others

    def with_reserve(self, work: Callable[[], T]) -> T:
        """Do what needs room for the ledger; do it again as long as the reserve gives some."""
        while True:
            try:
                return work()
            except sqlite3.Error as error:
                if not self._segments.relieve(error):
                    raise

    def not_for_now(self, commits: list[Commit]) -> list[Commit]:
        """Return the commits to refuse because the ledger cannot be brought up to date.

        All of them if it has no room, or too many messages wait for another program's lock; else those that may be
        duplicates of messages that it does not have yet.
        """
        is_full = self._no_room or len(self._entries) >= _MOST_UNWRITTEN
        unsure = [commit for commit in commits if commit.envelope.sop_instance_uid in self._unwritten]
        if not (is_full or unsure) or self.write_down():
            return []
        return commits if is_full or self._no_room else unsure

    def refusal(self) -> OutOfSpace:
        """Build the error for what the ledger cannot take for now."""
        return ledger_refusal(self._locked)

    # What the ledger says, and what is known beyond it.

    def unsettled(self, rows: list[LocatedDelivery]) -> list[LocatedDelivery]:
        """Leave out deliveries with an outcome that the ledger does not have yet."""
        self._look_at_news()
        known = {(one.message_id, one.destination) for one in self._outcomes if one.purpose is Purpose.SEND}
        if not known:
            return rows
        return [row for row in rows if (row.waiting.message_id, row.waiting.destination) not in known]

    def read_fresh(self, job: ReadFresh) -> Part:
        """Read deliveries that have not failed, also of messages that the ledger does not have yet.

        Those with an ordering key wait for the ledger, which knows what comes before them.
        """
        part = self._ledger.backlog.fresh(job.destination, job.after, job.limit)
        rows, last, is_end = part.rows, part.last, part.is_end
        if is_end and self._entries:
            unwritten = [
                row
                for entry in self._entries
                for row in entry.rows()
                if row.waiting.destination == job.destination
                and row.waiting.message_id > job.after
                and not row.waiting.key
            ]
            room = job.limit - len(rows)
            rows, is_end = rows + unwritten[:room], len(unwritten) < room
            last = rows[-1].waiting.message_id if unwritten[:room] else last
        return Part(self.unsettled(rows), last, is_end)

    def place(self, message_id: MessageId) -> Place | None:
        """Look up where a message lies, even if the ledger does not have it yet."""
        places = (entry.place for entry in self._entries if entry.message_id == message_id)
        return self._ledger.place(message_id) or next(places, None)

    # Changes of deliveries, other than by attempts.

    def change(self, job: ChangeDeliveries) -> Changed:
        """Do one step of a change: durable in a segment, then in the ledger.

        Raises:
            OutOfSpace: the disk is full, or another program has locked the ledger; nothing is changed.
            sqlite3.Error: likewise.
            SpoolFailure: the disk failed.
        """
        if not self.write_down():
            raise self.refusal()
        chosen = self._ledger.queue.choose(job.selection, job.action, job.target, job.after, job.limit)
        changed = Changed(count=len(chosen.decided) + len(chosen.tried), cursor=chosen.cursor)
        if changed.count:
            self._decide(chosen.decided, chosen.tried)
        return changed

    def send_again(self, job: SendAgain) -> bool:
        """Set a delivery that was made back to waiting; return whether it was made and the message is retained.

        Raises:
            As `change`.
        """
        if not self.write_down():
            raise self.refusal()
        if not self._ledger.decisions.is_retained(job.message_id, job.destination):
            return False
        decision = Decision(
            message_id=job.message_id,
            destination=job.destination,
            purpose=Purpose.SEND,
            state=DeliveryState.WAITING,
            reason=job.reason,
        )
        self._decide([decision], [])
        if rows := self._ledger.backlog.pending(job.message_id, job.destination):
            self.on_rows(rows)
        return True

    def _decide(self, decided: list[Decision], tried: list[Decision]) -> None:
        segment = 0
        try:
            with self._ledger.transaction(durable=True):  # begun first: another program may have locked it
                if decided:
                    segment = decision_records.append(self._segments, decided)
                finished = self._ledger.decisions.apply(decided, segment)
                finished += self._ledger.decisions.apply(tried, 0)
                self._know({segment} - {0})
        except sqlite3.Error as error:
            if not (segment and is_for_now(error)):
                raise
            self._decided += [(decision, segment) for decision in decided]  # durable, with or without the ledger
            self.write_down()
        else:
            self._housekeeping.finished(finished, by_hand=True)

    def _put_off(self, locked: bool) -> None:
        self._no_room = not locked
        self.due = time.monotonic() + (_LOCKED if locked else _NO_ROOM)
        self._report_lock(locked)

    def _report_lock(self, locked: bool) -> None:
        if locked != self._locked:
            self._locked = locked
            self.on_lock(locked)

    def _know(self, numbers: set[int]) -> None:
        for number in numbers:
            segment = self._segments.known[number]
            self._ledger.know(number, segment.nonce, segment.end)

    def end_use(self) -> None:
        """Note in the ledger that the spool was closed with everything written."""
        if not self.is_behind:
            with suppress(sqlite3.Error):  # then the next start counts more outcomes as lost than are
                self._ledger.maintenance.end_use()


def ledger_refusal(locked: bool) -> OutOfSpace:
    return OutOfSpace("another program has locked the ledger" if locked else "no room for the ledger")
