"""The event loop's end of the writer: start its thread, put jobs, commit without the thread, wait for replies.

Promises: the event loop is woken once for all that the writer has to tell by then; a job that is put before `run` ends
is done, one that is put later gets the error that ended it. Event loop only. Not here: the jobs (jobs.py), doing them
(writer.py).
"""

import threading
from collections import deque
from collections.abc import Callable, Sequence
from functools import partial
from typing import Any, TypeVar, cast

import structlog
import trio

from router.spool.errors import SpoolClosed
from router.spool.jobs import Answered, Commit, Fail, Job, Question, Stop, Unsure, WriteSoon
from router.spool.ledger.rows import SettledDelivery
from router.spool.values import Damage, LocatedDelivery, Place, Receipt
from router.spool.writer import Writer

T = TypeVar("T")

_log = structlog.get_logger("router.spool")


class WriterClient:
    def __init__(self, writer: Writer) -> None:
        self.on_rows: Callable[[list[LocatedDelivery]], None] = lambda rows: None
        """Called with deliveries that wait now."""
        self.on_caught_up: Callable[[], None] = lambda: None
        """Called when the ledger is up to date after it could not be for a while."""
        self.on_moved: Callable[[dict[int, Place]], None] = lambda places: None
        """Called with the new places of messages, by id."""
        self.on_commit: Callable[[Commit], None] = lambda commit: None
        """Called when a commit has its reply, before its task is woken."""
        self.running = False
        self._writer = writer
        self._error: Exception | None = None
        self._gathered: list[Commit] = []
        """Commits of this turn of the scheduler."""

    async def run(self, *, task_status: trio.TaskStatus[None] = trio.TASK_STATUS_IGNORED) -> None:
        """Run the writer's thread until cancelled; what was put before is then still done.

        Raises:
            SpoolFailure: the disk failed; the process must stop.
        """
        if self.running or self._error is not None:
            raise RuntimeError("this spool ran already")
        self.running = True
        ended = trio.Event()
        tell = _teller()

        def work() -> None:
            self._writer.run()
            tell(ended.set)

        writer = self._writer
        writer.updates.on_rows = lambda rows: tell(self.on_rows, rows)
        writer.updates.on_caught_up = lambda: tell(self.on_caught_up)
        writer.updates.on_lock = lambda locked: tell(_report_lock, locked)
        writer.on_replies = lambda jobs: tell(self._wake, jobs)
        writer.housekeeping.on_moved = lambda places: tell(self.on_moved, places)
        writer.housekeeping.on_damage = lambda damage: tell(_report, damage)
        thread = threading.Thread(target=work, name="spool writer", daemon=True)
        thread.start()
        task_status.started()
        try:
            await ended.wait()
        finally:
            self._error = SpoolClosed("the spool is closed")
            self._put_commits(self._gathered)
            self._gathered = []
            writer.jobs.put(Stop())
            with trio.CancelScope(shield=True):
                await ended.wait()
            thread.join()
            self._error = writer.failure or self._error
            writer.refuse_the_rest()
            self.running = False
        if writer.failure is not None:
            raise writer.failure

    def close(self) -> None:
        """Refuse everything from now on, after `run` ended or instead of it."""
        if self.running:
            raise RuntimeError("the spool is running; cancel run first")
        self._error = self._error or SpoolClosed("the spool is closed")

    def check(self) -> None:
        """Raise the error that ended the spool, if it has ended.

        Raises:
            SpoolClosed, SpoolFailure: it has ended.
        """
        if self._error is not None:
            raise self._error

    async def ask(self, question: Question[T]) -> T:
        """Put a question and wait for its reply. What was settled before is written before it is answered.

        Raises:
            SpoolClosed, SpoolFailure: the spool has ended.
            SpoolError, ValueError: as the question says.
        """
        self.check()
        self._put(question)
        return await question.reply.wait()

    def tell(self, question: Question[T]) -> None:
        """Put a question whose reply does not matter; it is dropped if the spool has ended."""
        if self._error is None:
            self._put(question)

    async def commit(self, commit: Commit) -> Receipt | Unsure:
        """Commit, and wait for the reply. If cancelled, the commit goes on.

        What is committed in one turn of the scheduler shares a sync: the first of these tasks commits for all of them
        in the next turn, at once if the disk is quick, or else through the thread.

        Raises:
            As the reply says.
        """
        if not self._writer.pace.is_quick or self._error is not None or not self.running:
            self._writer.jobs.put(commit)
            return await commit.reply.wait()
        self._gathered.append(commit)
        if len(self._gathered) == 1:
            try:
                await trio.lowlevel.cancel_shielded_checkpoint()
            finally:
                self._commit_gathered()
        return await commit.reply.wait()

    def _commit_gathered(self) -> None:
        commits, self._gathered = self._gathered, []
        rows = self._writer.commit_here(commits) if commits else []
        if rows is None:
            self._put_commits(commits)
            return
        self._wake(commits)
        if rows:
            self.on_rows(rows)

    def _put_commits(self, commits: Sequence[Commit]) -> None:
        for commit in commits:
            self._writer.jobs.put(commit)

    def fail(self, error: Exception) -> None:
        """Have the writer end with an error. From any thread."""
        self._writer.jobs.put(Fail(error))

    def settle(self, outcome: SettledDelivery) -> None:
        """Have the result of an attempt written, together with those that come soon after it."""
        if self._error is None and self._writer.updates.add_outcome(outcome):
            self._writer.jobs.put(WriteSoon())

    def _put(self, question: Question[Any]) -> None:
        self._writer.jobs.put(cast("Job", question))  # `jobs.Asked` lists every class of Question

    def _wake(self, jobs: Sequence[Answered]) -> None:
        for job in jobs:
            if isinstance(job, Commit):
                self.on_commit(job)
            job.reply.wake()


def _teller() -> Callable[..., None]:
    """Return a function for the writer's thread that has another one called in the event loop's.

    The event loop is woken once for all calls that it has not made yet.
    """
    token = trio.lowlevel.current_trio_token()
    told: deque[Callable[[], None]] = deque()

    def call_all() -> None:
        while told:
            told.popleft()()

    def tell(function: Callable[..., None], *arguments: Any) -> None:
        told.append(partial(function, *arguments))
        if len(told) == 1:
            token.run_sync_soon(call_all)

    return tell


def _report_lock(locked: bool) -> None:
    if locked:
        _log.warning("another program has locked the ledger: end it", file="ledger.sqlite")
    else:
        _log.info("the ledger can be written again")


def _report(damage: Damage) -> None:
    _log.error(
        "damaged message set aside",
        message_id=damage.message_id,
        where=damage.where,
        offset=damage.offset,
        bytes=damage.length,
        reason=damage.reason,
        copy=str(damage.set_aside) if damage.set_aside else None,
    )
