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

from router.messages import Purpose, SpoolSettings
from router.spool.errors import OutOfSpace, SpoolClosed, SpoolError, SpoolFailure
from router.spool.files import is_no_room
from router.spool.group_commit import GroupCommit, refuse
from router.spool.housekeeping import Housekeeping
from router.spool.jobs import Ask, Commit, Fail, Job, Settle, Stop
from router.spool.ledger import Entry, Finished, Ledger, Outcome
from router.spool.segments import Segments
from router.spool.store import Store
from router.spool.values import Row

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
"""Seconds between two attempts to bring the ledger up to date where it had no room and no job comes."""


class Writer:
    def __init__(
        self,
        *,
        store: Store,
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
        self.on_rows: Callable[[list[Row]], None] = lambda rows: None
        """Called in this thread when the ledger has new waiting deliveries."""
        self.on_answers: Callable[[list[Commit | Ask[Any]]], None] = lambda jobs: None
        """Called in this thread when jobs have their answers."""
        self._counters = store.counters_file
        self._saved = time.monotonic()
        self._stopping = False
        self._entries: list[Entry] = []
        self._outcomes: list[Outcome] = []
        self._due = 0.0
        """When what is not written down has to be."""
        self._no_room = False
        """The ledger could not be brought up to date for want of room."""

    def run(self) -> None:
        """The thread: until `Stop`, or until the disk fails, which `failure` then tells."""
        try:
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
        if self._no_room and time.monotonic() < self._due:
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
        if self.housekeeping.has_work and not self._no_room:  # it cannot begin before the ledger is up to date
            return 0.0
        return max(0.0, self._due - time.monotonic()) if self._is_behind else _TICK

    @property
    def _is_behind(self) -> bool:
        return bool(self._entries or self._outcomes)

    @property
    def _is_due(self) -> bool:
        """Whether to bring the ledger up to date now. Those that wait for an acknowledgement come first."""
        behind = len(self._entries) + len(self._outcomes)
        is_time = behind > 0 and time.monotonic() >= self._due
        return is_time or (behind >= _MOST_BEHIND and not self._no_room)

    def _save_counters(self) -> None:
        self._saved = time.monotonic()
        try:
            self._counters.save_if_room()
        except OSError as error:
            raise SpoolFailure(f"writing the counters failed: {error}") from error

    def _commit(self, commits: list[Commit]) -> None:
        """Write, sync, answer. The deliveries may begin at once: the ledger hears of the message before it hears of
        their outcomes."""
        entries: list[Entry] = []
        if (self._no_room or self._touch_the_unwritten(commits)) and not self.write_down():
            for commit in commits:
                refuse(commit, OutOfSpace("no room for the ledger"))
        else:
            entries = self.group.commit(commits)
        self.on_answers(list(commits))
        self._entries += entries
        if rows := [row for entry in entries for row in entry.rows()]:
            self.on_rows(rows)

    def _touch_the_unwritten(self, commits: list[Commit]) -> bool:
        """Whether one may be a duplicate of what the ledger does not know yet."""
        if not self._entries:
            return False
        unwritten = {entry.envelope.sop_instance_uid for entry in self._entries}
        return any(commit.envelope.sop_instance_uid in unwritten for commit in commits)

    # The ledger.

    def write_down(self) -> bool:
        """Bring the ledger up to date. False where the disk has no room for that: all is kept for the next turn."""
        entries, outcomes = self._entries, self._outcomes
        if not entries and not outcomes:
            return True
        try:
            finished, freed = self._with_reserve(self._enter)
        except sqlite3.Error as error:
            if is_no_room(error):
                self._no_room = True
                self._due = time.monotonic() + _NO_ROOM
                return False
            raise SpoolFailure(f"writing to the ledger failed: {error}") from error
        rows: list[Row] = []
        if self._no_room:  # who asked meanwhile did not hear of these
            settled = {(one.message_id, one.destination) for one in outcomes if one.purpose is Purpose.SEND}
            rows = [
                row
                for entry in entries
                for row in entry.rows()
                if (row.waiting.message_id, row.waiting.destination) not in settled
            ]
        self._entries, self._outcomes, self._no_room = [], [], False
        self.housekeeping.finished(finished)
        for destination, lane in freed:
            rows += self.ledger.waiting_in_lane(destination, lane)
        if rows:
            self.on_rows(rows)
        return True

    def _enter(self) -> tuple[list[Finished], list[tuple[str, str]]]:
        """One transaction: as `Ledger.settle`."""
        with self.ledger.transaction():
            self.ledger.add(self._entries)
            settled = self.ledger.settle(self._outcomes)
            self._know({entry.place.segment for entry in self._entries})
        return settled

    def _with_reserve(self, work: Callable[[], T]) -> T:
        """Do what needs room for the ledger; once more where the reserve gives some."""
        while True:
            try:
                return work()
            except sqlite3.Error as error:
                if not self.segments.relieve(error):
                    raise

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
            if not is_no_room(error):
                raise SpoolFailure(f"reading the ledger failed: {error}") from error
            ask.answer.refuse(OutOfSpace("no room for the ledger"))

    # The end.

    def _finish(self) -> None:
        self.write_down()
        self._save_counters()
        try:
            self.segments.seal()
        except OSError as error:
            raise SpoolFailure(f"closing the spool failed: {error}") from error

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
