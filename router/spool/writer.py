"""The one owner of the segments and the ledger: a thread, and for small commits on a quick disk the event loop.

Promises: a commit gets its reply after the sync that made it durable and not before; whatever the disk does, every
job that was put gets a reply; nothing is tried again after a sync that failed. `turn` is one round, a plain function
of the jobs, so that tests drive it without a thread. `commit_here` is for the event loop's thread, and everything else
for the writer's, but for `jobs`. Each holds the lock while it works, so only one of them ever does; the thread waits
for the lock, the event loop does not.
Not here: writing many commits at once (group_commit.py), what the ledger does not have yet (ledger_updates.py),
deleting (housekeeping.py).
"""

import math
import sqlite3
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from queue import Empty, SimpleQueue
from typing import assert_never

from attrs import evolve

from router.model import SpoolSettings
from router.spool.disk.directories import Directories
from router.spool.disk.filesystem import is_for_now, is_locked
from router.spool.disk.segments import Segments
from router.spool.errors import SpoolClosed, SpoolError, SpoolFailure
from router.spool.group_commit import GroupCommit, refuse
from router.spool.housekeeping import Housekeeping
from router.spool.jobs import (
    Answered,
    Asked,
    BringUpToDate,
    ChangeDeliveries,
    Commit,
    CountDeliveries,
    Fail,
    GiveUpSpare,
    Job,
    LookUpEarlier,
    LookUpPlace,
    LookUpUnfinished,
    Question,
    ReadDue,
    ReadFirstOfLanes,
    ReadFresh,
    ReadNewest,
    RemoveFile,
    SendAgain,
    SetAside,
    Stop,
    WriteSoon,
)
from router.spool.ledger.ledger import Ledger
from router.spool.ledger_updates import LedgerUpdates, ledger_refusal
from router.spool.pace import DiskPace
from router.spool.values import LocatedDelivery

_TICK = 30.0
"""Seconds between two times that the counters are made durable."""
_MOST_JOBS = 4096
"""Jobs in one turn."""
_SMALL = 256 << 10
"""Bytes of a batch above which the thread commits it: the event loop goes on while it is written."""
_AROUND = 2048
"""Bytes of a record beside command set and data set, at most, but for unusual ones."""
_READ_BUSY = 0.2
"""Seconds between two steps that build the filter of instances, while jobs wait."""
_READ_LATER = 1.0
"""Seconds before the next step after the ledger could not be read or written."""
_LAST_PATIENCE = 5000
"""Milliseconds that the end waits for another program's lock: outcomes that are not written are delivered again."""


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
        """Put from any thread."""
        self.segments = segments
        self.ledger = ledger
        self.housekeeping = housekeeping
        self.updates = LedgerUpdates(segments, ledger, housekeeping)
        self.group = GroupCommit(store, segments, ledger, settings)
        self.failure: SpoolFailure | None = None
        """Why the thread has ended; None unless the disk failed."""
        self.on_replies: Callable[[Sequence[Answered]], None] = lambda jobs: None
        """Called in this thread when jobs have their replies."""
        self.pace = DiskPace()
        self._lock = threading.Lock()
        """Held by the thread that works with the segments and the ledger."""
        self._counters = store.counters_file
        self._saved = time.monotonic()
        self._read_at = 0.0
        """When the next step builds the filter of instances, on the monotonic clock."""
        self._stopping = False

    def run(self) -> None:
        """Work until `Stop`, or until the disk fails, which `failure` then tells."""
        try:
            with self._lock:
                self.ledger.wait_for_locks(0)  # a sender that waits for an acknowledgement must not wait for a lock
                patience = self._patience()
            while not self._stopping:
                jobs = self._next_jobs(patience)
                with self._lock:
                    self.turn(jobs)
                    patience = self._patience()
            with self._lock:
                self._finish()
        except BaseException as error:  # whatever it is: every job gets its reply, and the process must stop
            self.failure = _as_failure(error)
        finally:
            self.refuse_the_rest()
            with suppress(sqlite3.Error):
                self.ledger.close()

    def commit_here(self, commits: Sequence[Commit]) -> list[LocatedDelivery] | None:
        """Commit in the event loop's thread: write, sync, reply.

        Returns the deliveries that may begin now. None, with nothing done, where it might hold up the event loop: then
        put the commits. After a sync that failed the commits have got the failure, and the thread ends with it.
        """
        if not self._lock.acquire(blocking=False):
            return None
        try:
            if not self._may_commit_here(commits):
                return None
            was_behind, began = self.updates.is_behind, self.pace.clock()
            try:
                entries = self.group.commit(commits)
            except Exception as error:
                self.failure = _as_failure(error)
                for commit in commits:
                    commit.reply.refuse(self.failure)
                self.jobs.put(Fail(self.failure))
                return []
            self.pace.measure(began)
            rows = self.updates.add(entries)
        finally:
            self._lock.release()
        if not was_behind:
            self.jobs.put(WriteSoon())
        return rows

    def _may_commit_here(self, commits: Sequence[Commit]) -> bool:
        """Return whether the commits need one short write and one sync, and nothing else, and the disk is quick."""
        updates, segment = self.updates, self.segments.current
        if self.failure is not None or self._stopping or segment is None or not self.pace.is_quick:
            return False
        if updates.is_put_off or updates.is_far_behind:
            return False
        size = 0
        for commit in commits:
            if commit.incoming.file is not None or self.group.may_repeat(commit):
                return False
            size += commit.incoming.size + len(commit.envelope.command) + _AROUND
        return size <= _SMALL and segment.end + size <= segment.size

    def turn(self, jobs: Sequence[Job]) -> None:
        """Do one round of jobs.

        Raises:
            SpoolFailure: the disk failed. Jobs of this turn have got it as their reply.
        """
        commits: list[Commit] = []
        asked: list[Asked] = []
        failure: Exception | None = self.failure
        with self._answered(commits, asked):
            for job in jobs:
                match job:
                    case Commit():
                        commits.append(job)
                    case Question():
                        asked.append(job)
                    case WriteSoon():
                        self.updates.begin_lag()
                    case Fail():
                        failure = failure or job.error
                    case Stop():
                        self._stopping = True
                    case _:
                        assert_never(job)
            if failure is not None:  # only now: the jobs after it in this turn get a reply too
                raise failure
            if commits:
                self._commit(commits)
            if asked or self._stopping or self.updates.is_due:
                self.write_down()
            for question in asked:
                self._reply(question)
        if self._is_time_to_tidy and self.write_down():
            self.housekeeping.step()  # it moves and deletes by what the ledger has: that must be all
        if self._is_time_to_read:
            self._read_instances()
        if time.monotonic() - self._saved >= _TICK:
            self._save_counters()

    def write_down(self) -> bool:
        """Bring the ledger up to date, as `LedgerUpdates.write_down`."""
        return self.updates.write_down()

    @property
    def _is_time_to_tidy(self) -> bool:
        if self.updates.is_put_off and time.monotonic() < self.updates.due:
            return False
        return self.housekeeping.is_time(busy=not self.jobs.empty())

    @property
    def _is_time_to_read(self) -> bool:
        return self.group.instances.has_work and time.monotonic() >= self._read_at

    def _read_instances(self) -> None:
        """Read the next instances for the filter; others that wait come first, but not always."""
        instances = self.group.instances
        self._read_at = time.monotonic() + (0.0 if self.jobs.empty() else _READ_BUSY)
        try:
            if instances.is_building or self.write_down():
                instances.read_more()
            else:
                self._read_at += _READ_LATER
        except sqlite3.Error as error:
            if not is_for_now(error):
                raise SpoolFailure(f"reading the ledger failed: {error}") from error
            self._read_at += _READ_LATER

    @contextmanager
    def _answered(self, commits: list[Commit], asked: list[Asked]) -> Iterator[None]:
        """Announce the replies to questions; if the turn fails, fail its jobs too."""
        try:
            yield
        except BaseException as error:
            failure = _as_failure(error)
            jobs: list[Answered] = [*commits, *asked]
            for job in jobs:
                job.reply.refuse(failure)
            self.on_replies(jobs)
            raise
        if asked:
            self.on_replies(asked)

    def _next_jobs(self, patience: float) -> list[Job]:
        """Return the jobs that wait, at most `_MOST_JOBS`; without any, wait for one for at most `patience` seconds."""
        jobs: list[Job] = []
        with suppress(Empty):
            jobs.append(self.jobs.get(block=patience > 0, timeout=patience))
            while len(jobs) < _MOST_JOBS:
                jobs.append(self.jobs.get_nowait())
        return jobs

    def _patience(self) -> float:
        """Return for how many seconds there is nothing to do but jobs."""
        updates = self.updates
        if self.housekeeping.has_work and not updates.is_put_off:  # it needs a ledger that is up to date
            return 0.0
        at = updates.due if updates.is_behind else math.inf
        if self.group.instances.has_work:
            at = min(at, self._read_at)
        return min(max(0.0, at - time.monotonic()), _TICK)

    def _save_counters(self) -> None:
        self._saved = time.monotonic()
        try:
            self._counters.save_if_room()
        except OSError as error:
            raise SpoolFailure(f"writing the counters failed: {error}") from error

    def _commit(self, commits: list[Commit]) -> None:
        """Write, sync, reply."""
        refused = set(self.updates.not_for_now(commits))
        for commit in refused:
            refuse(commit, self.updates.refusal())
        entries = self.group.commit([commit for commit in commits if commit not in refused])
        self.on_replies(commits)
        if rows := self.updates.add(entries):
            self.updates.on_rows(rows)

    def _reply(self, question: Asked) -> None:
        try:
            self.updates.with_reserve(lambda: self._do(question))
        except SpoolFailure:
            raise
        except (SpoolError, ValueError) as error:
            question.reply.refuse(error)
        except sqlite3.Error as error:
            if not is_for_now(error):
                raise SpoolFailure(f"reading the ledger failed: {error}") from error
            question.reply.refuse(ledger_refusal(is_locked(error)))

    def _do(self, job: Asked) -> None:
        backlog, updates = self.ledger.backlog, self.updates
        match job:
            case BringUpToDate():
                job.reply.give(None)
            case ReadFresh():
                job.reply.give(updates.read_fresh(job))
            case ReadNewest():
                job.reply.give(updates.unsettled(backlog.newest(job.destination, job.limit)))
            case ReadDue():
                due = backlog.due(job.destination, job.after, job.limit)
                job.reply.give(evolve(due, rows=updates.unsettled(due.rows)))
            case ReadFirstOfLanes():
                job.reply.give(updates.unsettled(backlog.first_of_lanes(job.destination, job.lanes)))
            case LookUpEarlier():
                job.reply.give(backlog.delivered_before(job.message_id, job.destination))
            case LookUpPlace():
                job.reply.give(updates.place(job.message_id))
            case LookUpUnfinished():
                job.reply.give(self.ledger.unfinished_deliveries(job.message_id))
            case CountDeliveries():
                job.reply.give(self.ledger.queue.totals(job.purpose))
            case ChangeDeliveries():
                job.reply.give(updates.change(job))
            case SendAgain():
                job.reply.give(updates.send_again(job))
            case SetAside():
                self.housekeeping.set_aside(job.message_id, job.reason)
                job.reply.give(None)
            case GiveUpSpare():
                self.segments.give_up_spare()
                job.reply.give(None)
            case RemoveFile():
                job.incoming.remove_file()
                job.reply.give(None)
            case _:
                assert_never(job)

    # The end.

    def _finish(self) -> None:
        self.ledger.wait_for_locks(_LAST_PATIENCE)  # no sender waits any more
        self.write_down()
        self._save_counters()
        try:
            self.segments.seal()
        except OSError as error:
            raise SpoolFailure(f"closing the spool failed: {error}") from error
        self.updates.end_use()

    def refuse_the_rest(self) -> None:
        """Refuse the jobs that were put after the end. Call it once more when no more can be put."""
        refused: list[Answered] = []
        error = self.failure or SpoolClosed("the spool is closed")
        with suppress(Empty):
            while True:
                job = self.jobs.get_nowait()
                if isinstance(job, Commit):
                    refuse(job, error)
                    refused.append(job)
                elif isinstance(job, Question):
                    job.reply.refuse(error)
                    refused.append(job)
        if refused:
            self.on_replies(refused)


def _as_failure(error: BaseException) -> SpoolFailure:
    if isinstance(error, SpoolFailure):
        return error
    failure = SpoolFailure(f"the spool's writer failed: {error!r}")
    failure.__cause__ = error
    return failure
