"""The one thread that owns the segments and the ledger: group commit.

Promises: a commit is answered after the sync that made it durable and not before; whatever the disk does, every job
that was put is answered; nothing is tried again after a sync that failed. `turn` is one round, a plain function of
the jobs, so that the tests can drive it without a thread. Not here: what a person asks (queries.py), what may be
deleted (housekeeping.py).
"""

import sqlite3
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from queue import Empty, SimpleQueue
from typing import Any, TypeVar

from attrs import frozen

from router.model import Purpose, SpoolSettings
from router.spool import decisions
from router.spool.disk.directories import Directories
from router.spool.disk.filesystem import is_for_now, is_locked
from router.spool.disk.segments import Segments
from router.spool.errors import OutOfSpace, SpoolClosed, SpoolError, SpoolFailure
from router.spool.group_commit import GroupCommit, refuse
from router.spool.housekeeping import Housekeeping
from router.spool.jobs import Ask, Commit, Fail, Job, Settle, Stop
from router.spool.ledger import backlog, queries
from router.spool.ledger import maintenance as upkeep
from router.spool.ledger.ledger import Finished, Ledger, LedgerEntry, SettledDelivery
from router.spool.values import Decision, LocatedDelivery, Place, QueueAction, Selection

T = TypeVar("T")

_TICK = 30.0
"""Seconds between two times that the counters are made durable."""
_MOST_JOBS = 4096
"""In one turn; the others wait for the next."""
_LAG = 0.02
"""Seconds that the ledger may be behind the segments, so that many messages share one transaction..."""
_MOST_BEHIND = 256
"""...and messages and outcomes."""
_NO_ROOM = 1.0
"""Seconds between two attempts to bring the ledger up to date where it had no room and no job comes..."""
_LOCKED = 0.1
"""...and where another program had locked it."""
_LAST_PATIENCE = 5000
"""Milliseconds that the end waits for such a lock: outcomes that are not written down are delivered again."""
_MOST_UNWRITTEN = 8192
"""Messages that are taken while another program locks the ledger."""


@frozen(kw_only=True)
class Changed:
    """What a step of `Writer.change` did."""

    count: int
    cursor: queries.Cursor | None
    """Where the next step goes on; None at the end."""


class Writer:
    def __init__(
        self,
        *,
        store: Directories,
        segments: Segments,
        ledger: Ledger,
        housekeeping: Housekeeping,
        settings: SpoolSettings,
    ) -> None:
        self.jobs: SimpleQueue[Job] = SimpleQueue()
        self.segments = segments
        self.ledger = ledger
        self.housekeeping = housekeeping
        self.group = GroupCommit(store, segments, ledger, settings)
        self.failure: SpoolFailure | None = None
        self.on_rows: Callable[[list[LocatedDelivery]], None] = lambda rows: None
        """Called in this thread when the ledger has new waiting deliveries."""
        self.on_answers: Callable[[list[Commit | Ask[Any]]], None] = lambda jobs: None
        """Called in this thread when jobs have their answers."""
        self.on_lock: Callable[[bool], None] = lambda locked: None
        """Called in this thread when another program has locked the ledger, and when it can be written again."""
        self.on_caught_up: Callable[[], None] = lambda: None
        """Called in this thread when the ledger is up to date after it could not be brought so for a while."""
        self._counters = store.counters_file
        self._saved = time.monotonic()
        self._stopping = False
        self._entries: list[LedgerEntry] = []
        self._unwritten: set[str] = set()
        """Their SOP Instance UIDs."""
        self._outcomes: list[SettledDelivery] = []
        self._decided: list[tuple[Decision, int]] = []
        """What operators decided, and the segment that has it, where the ledger had no room after all."""
        self._due = 0.0
        """When what is not written down has to be."""
        self._no_room = False
        """The ledger could not be brought up to date for want of room."""
        self._locked = False
        """The ledger could not be brought up to date for another program's lock."""

    def run(self) -> None:
        """The thread: until `Stop`, or until the disk fails, which `failure` then tells."""
        try:
            self.ledger.execute("PRAGMA busy_timeout = 0")  # who waits for an acknowledgement waits for no lock
            while not self._stopping:
                self.turn(self._take())
            self._finish()
        except BaseException as error:  # whatever it is: nobody is left waiting, and the process must stop
            self._fail(error)
        finally:
            self.refuse_the_rest()
            with suppress(sqlite3.Error):
                self.ledger.close()

    def turn(self, jobs: list[Job]) -> None:
        """One round. Raises SpoolFailure; whoever has no answer by then gets it too (`run`)."""
        commits: list[Commit] = []
        asks: list[Ask[Any]] = []
        failure: Exception | None = None
        if not self._is_behind:
            self._due = time.monotonic() + _LAG
        with self._answered(commits, asks):
            for job in jobs:
                match job:
                    case Commit():
                        commits.append(job)
                    case Settle():
                        self._outcomes.append(job.outcome)
                    case Ask():
                        asks.append(job)
                    case Fail():
                        failure = failure or job.error
                    case Stop():
                        self._stopping = True
            if failure is not None:  # only now: the jobs behind it in this turn are answered too
                raise failure
            if commits:
                self._commit(commits)
            if asks or self._stopping or self._is_due:
                self.write_down()
            for ask in asks:
                self._reply(ask)
        if self._is_time_to_tidy and self.write_down():
            self.housekeeping.step()  # it moves and deletes by what the ledger knows: that has to be all
        if time.monotonic() - self._saved >= _TICK:
            self._save_counters()

    @property
    def _is_time_to_tidy(self) -> bool:
        if self._is_put_off and time.monotonic() < self._due:
            return False
        return self.housekeeping.is_time(busy=not self.jobs.empty())

    @contextmanager
    def _answered(self, commits: list[Commit], asks: list[Ask[Any]]) -> Iterator[None]:
        """Should the turn fail, its jobs fail with it."""
        try:
            yield
        except BaseException as error:
            failure = error if isinstance(error, SpoolFailure) else SpoolFailure(f"the spool failed: {error}")
            if failure is not error:
                failure.__cause__ = error
            jobs: list[Commit | Ask[Any]] = [*commits, *asks]
            for job in jobs:
                job.answer.refuse(failure)
            self.on_answers(jobs)
            raise
        if asks:
            self.on_answers(list(asks))

    def _take(self) -> list[Job]:
        """All that waits; or, with no work of its own to do, the next job to come, and those with it."""
        jobs: list[Job] = []
        patience = self._patience()
        with suppress(Empty):
            jobs.append(self.jobs.get(block=patience > 0, timeout=patience))
            while len(jobs) < _MOST_JOBS:
                jobs.append(self.jobs.get_nowait())
        return jobs

    def _patience(self) -> float:
        """Seconds for which there is nothing to do but jobs."""
        if self.housekeeping.has_work and not self._is_put_off:  # it cannot begin before the ledger is up to date
            return 0.0
        return max(0.0, self._due - time.monotonic()) if self._is_behind else _TICK

    @property
    def _is_behind(self) -> bool:
        return bool(self._entries or self._outcomes or self._decided)

    @property
    def _is_put_off(self) -> bool:
        """The ledger could not be brought up to date when it was tried last."""
        return self._no_room or self._locked

    @property
    def _is_due(self) -> bool:
        """Whether to bring the ledger up to date now. Those that wait for an acknowledgement come first."""
        behind = len(self._entries) + len(self._outcomes) + len(self._decided)
        is_time = behind > 0 and time.monotonic() >= self._due
        return is_time or (behind >= _MOST_BEHIND and not self._is_put_off)

    def _save_counters(self) -> None:
        self._saved = time.monotonic()
        try:
            self._counters.save_if_room()
        except OSError as error:
            raise SpoolFailure(f"writing the counters failed: {error}") from error

    def _commit(self, commits: list[Commit]) -> None:
        """Write, sync, answer. The deliveries may begin at once: the ledger hears of the message before it hears of
        their outcomes."""
        refused = set(self._not_for_now(commits))
        for commit in refused:
            refuse(commit, _refusal(self._locked))
        entries = self.group.commit([commit for commit in commits if commit not in refused])
        self.on_answers(list(commits))
        self._entries += entries
        self._unwritten.update(entry.envelope.sop_instance_uid for entry in entries)
        if rows := [row for entry in entries for row in entry.rows()]:
            self.on_rows(rows)

    def _not_for_now(self, commits: list[Commit]) -> list[Commit]:
        """Those that cannot be taken as long as the ledger is not brought up to date: all where it has no room, or too
        many wait for another program's lock to end; else what may be a duplicate of one that it does not know yet."""
        is_full = self._no_room or len(self._entries) >= _MOST_UNWRITTEN
        unsure = [commit for commit in commits if commit.envelope.sop_instance_uid in self._unwritten]
        if not (is_full or unsure) or self.write_down():
            return []
        return commits if is_full or self._no_room else unsure

    # The ledger.

    def write_down(self) -> bool:
        """Bring the ledger up to date. False where the disk has no room for that, or another program has
        locked it: all is kept for a later turn."""
        if not self._is_behind:
            return True
        try:
            finished, by_hand, freed = self._with_reserve(self._enter)
        except sqlite3.Error as error:
            if is_for_now(error):
                self._put_off(is_locked(error))
                return False
            raise SpoolFailure(f"writing to the ledger failed: {error}") from error
        rows: list[LocatedDelivery] = []
        if self._is_put_off:  # who asked meanwhile did not hear of these
            rows = self.unsettled([row for entry in self._entries for row in entry.rows()])
        self._entries, self._outcomes, self._decided, self._unwritten = [], [], [], set()
        was_put_off, self._no_room = self._is_put_off, False
        self._tell_of_lock(False)
        self.housekeeping.finished(finished)
        self.housekeeping.finished(by_hand, by_hand=True)
        for destination, lane in freed:
            rows += backlog.first_of_lanes(self.ledger, destination, [lane])
        if rows:
            self.on_rows(rows)
        if was_put_off:
            self.on_caught_up()
        return True

    def _enter(self) -> tuple[list[Finished], list[Finished], list[tuple[str, str]]]:
        """One transaction: what is finished by outcomes and by hand, and the lanes as of `Ledger.settle`."""
        by_hand: list[Finished] = []
        with self.ledger.transaction():
            self.ledger.add(self._entries)
            finished, freed = self.ledger.settle(self._outcomes)
            for decision, segment in self._decided:
                by_hand += decisions.apply(self.ledger, [decision], segment)
            segments = {entry.place.segment for entry in self._entries}
            self._know(segments | {segment for _, segment in self._decided})
        return finished, by_hand, freed

    def change(
        self, selection: Selection, action: QueueAction, target: str | None, after: queries.Cursor, limit: int
    ) -> Changed:
        """One step of what an operator asks for, of at most `limit` deliveries: durable in a segment, then in the
        ledger.

        Raises:
            OutOfSpace: the disk is full, or another program has locked the ledger; nothing is changed.
            sqlite3.Error: likewise.
            SpoolFailure: the disk did not do as it said.
        """
        if not self.write_down():
            raise _refusal(self._locked)
        chosen = queries.choose(self.ledger.connection, selection, action, target, after, limit)
        changed = Changed(count=len(chosen.decided) + len(chosen.tried), cursor=chosen.cursor)
        if not changed.count:
            return changed
        segment = 0
        try:
            with self.ledger.transaction(durable=True):  # begun first: another program may have locked it
                if chosen.decided:
                    segment = decisions.append(self.segments, chosen.decided)
                finished = decisions.apply(self.ledger, chosen.decided, segment)
                finished += decisions.apply(self.ledger, chosen.tried, 0)
                self._know({segment} - {0})
        except sqlite3.Error as error:
            if not (segment and is_for_now(error)):
                raise
            self._decided += [
                (decision, segment) for decision in chosen.decided
            ]  # it counts, with or without the ledger
            self.write_down()
        else:
            self.housekeeping.finished(finished, by_hand=True)
        return changed

    def _with_reserve(self, work: Callable[[], T]) -> T:
        """Do what needs room for the ledger; once more where the reserve gives some."""
        while True:
            try:
                return work()
            except sqlite3.Error as error:
                if not self.segments.relieve(error):
                    raise

    def unsettled(self, rows: list[LocatedDelivery]) -> list[LocatedDelivery]:
        """Those of which no outcome is known that the ledger could not take yet: they do not wait as it says."""
        known = {(one.message_id, one.destination) for one in self._outcomes if one.purpose is Purpose.SEND}
        if not known:
            return rows
        return [row for row in rows if (row.waiting.message_id, row.waiting.destination) not in known]

    def place(self, message_id: int) -> Place | None:
        """Where a message lies, though the ledger may not know it yet."""
        places = (entry.place for entry in self._entries if entry.message_id == message_id)
        return self.ledger.place(message_id) or next(places, None)

    def _put_off(self, locked: bool) -> None:
        self._no_room = not locked
        self._due = time.monotonic() + (_LOCKED if locked else _NO_ROOM)
        self._tell_of_lock(locked)

    def _tell_of_lock(self, locked: bool) -> None:
        if locked != self._locked:
            self._locked = locked
            self.on_lock(locked)

    def _know(self, numbers: set[int]) -> None:
        for number in numbers:
            segment = self.segments.known[number]
            self.ledger.know(number, segment.nonce, segment.end)

    def _reply(self, ask: Ask[Any]) -> None:
        try:
            ask.answer.give(self._with_reserve(lambda: ask.question(self)))
        except SpoolFailure:
            raise
        except (SpoolError, ValueError) as error:
            ask.answer.refuse(error)
        except sqlite3.Error as error:
            if not is_for_now(error):
                raise SpoolFailure(f"reading the ledger failed: {error}") from error
            ask.answer.refuse(_refusal(is_locked(error)))

    # The end.

    def _finish(self) -> None:
        self.ledger.execute(f"PRAGMA busy_timeout = {_LAST_PATIENCE}")  # nobody waits behind it any more
        self.write_down()
        self._save_counters()
        try:
            self.segments.seal()
        except OSError as error:
            raise SpoolFailure(f"closing the spool failed: {error}") from error
        if not self._is_behind:
            with suppress(sqlite3.Error):  # then the next start takes more outcomes for lost than are
                upkeep.end_use(self.ledger)

    def _fail(self, error: BaseException) -> None:
        if isinstance(error, SpoolFailure):
            self.failure = error
        else:
            self.failure = SpoolFailure(f"the spool's writer ended: {error!r}")
            self.failure.__cause__ = error

    def refuse_the_rest(self) -> None:
        """Answer what was put after the end. Called once more when nobody can put anything any more."""
        refused: list[Commit | Ask[Any]] = []
        error = self.failure or SpoolClosed("the spool is closed")
        with suppress(Empty):
            while True:
                job = self.jobs.get_nowait()
                if isinstance(job, Commit):
                    refuse(job, error)
                    refused.append(job)
                elif isinstance(job, Ask):
                    job.answer.refuse(error)
                    refused.append(job)
        if refused:
            self.on_answers(refused)


def _refusal(locked: bool) -> OutOfSpace:
    return OutOfSpace("another program has locked the ledger" if locked else "no room for the ledger")
