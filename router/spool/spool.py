"""The spool as the rest of the house sees it.

Promises: docs/spool.md, "What is promised, and when". Everything here runs in the event loop's thread and never
waits for the disk there; the work is the writer's (writer.py). Not here: the on-disk format, recovery, deletion.
"""

import sqlite3
import threading
import time
from collections import OrderedDict
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any, Self, TypeVar

import structlog
import trio
from attrs import evolve

from router.messages import Envelope, Settlement, SpoolSettings, Waiting
from router.spool import queries
from router.spool.duplicates import is_same
from router.spool.errors import DamagedMessage, OutOfSpace, SpoolClosed, SpoolFailure, SpoolUnusable, UnknownMessage
from router.spool.files import REAL, FileSystem
from router.spool.housekeeping import Housekeeping
from router.spool.incoming import Incoming, LargeFiles, Memory
from router.spool.jobs import Ask, Commit, Fail, Settle, Stop, Unsure
from router.spool.ledger import Outcome
from router.spool.read_only import Reader
from router.spool.reader import StoredMessage
from router.spool.recovery import Progress, Recovery
from router.spool.store import Store
from router.spool.values import (
    Action,
    Damage,
    MessageDetail,
    Place,
    QueueRow,
    Receipt,
    RecoveryReport,
    Row,
    Selection,
    SpoolStatistics,
    Totals,
)
from router.spool.writer import Writer

T = TypeVar("T")
OnWaiting = Callable[[str, list[Waiting]], None]

_PLACES = 8192
"""How many messages' places are kept at hand, so that opening one need not ask the writer."""
_LOOK = 1.0
"""Seconds between two looks at the free space."""
_CHANGED_AT_ONCE = 1000
"""Deliveries changed by hand in one turn of the writer."""

_log = structlog.get_logger("router.spool")


class Spool:
    """Made by `open`. Then `run` must run while it is used, and `close` ends it."""

    recovery: RecoveryReport
    """What the start found."""

    def __init__(self, store: Store, settings: SpoolSettings, recovery: Recovery, report: RecoveryReport) -> None:
        self.recovery = report
        self._store = store
        self._settings = settings
        self._memory = Memory(settings.memory)
        self._large = LargeFiles(store.files, store.large, self._large_file_failed)
        housekeeping = Housekeeping(store, recovery.segments, recovery.ledger)
        housekeeping.look_at_all(recovery.unneeded)
        self._writer = Writer(
            store=store,
            segments=recovery.segments,
            ledger=recovery.ledger,
            housekeeping=housekeeping,
            settings=settings,
            next_id=recovery.next_id,
        )
        self._reader = Reader(store.ledger)
        self._places: OrderedDict[int, Place] = OrderedDict()
        self._subscribers: list[OnWaiting] = []
        self._error: Exception | None = None
        self._free = 0
        self._looked = float("-inf")
        self._running = False

    @classmethod
    def open(
        cls,
        directory: Path,
        settings: SpoolSettings,
        *,
        files: FileSystem = REAL,
        progress: Progress | None = None,
    ) -> Self:
        """Take the lock and recover; waits for the disk, for minutes where a big ledger must be rebuilt.

        SpoolLocked where another process has it; SpoolUnusable, in words. `progress` is called with what is being
        done, bytes done and bytes in all."""
        store = Store.open(directory, files)
        try:
            recovery = Recovery(store, settings.segment_size, progress)
            report = recovery.run()
        except (OSError, sqlite3.Error) as error:
            store.close()
            raise SpoolUnusable(f"the spool {directory} cannot be recovered: {error}") from error
        except BaseException:
            store.close()
            raise
        return cls(store, settings, recovery, report)

    async def run(self, *, task_status: trio.TaskStatus[None] = trio.TASK_STATUS_IGNORED) -> None:
        """Host the writer until cancelled. What was asked before is then still done, and answered.

        SpoolFailure where the disk did not keep its word: the process must stop."""
        if self._running or self._error is not None:
            raise RuntimeError("this spool ran already")
        self._running = True
        token = trio.lowlevel.current_trio_token()
        ended = trio.Event()

        def tell(function: Callable[..., None], *arguments: Any) -> None:
            token.run_sync_soon(function, *arguments)

        def host() -> None:
            self._writer.run()
            tell(ended.set)

        self._writer.on_rows = lambda rows: tell(self._hand_out, rows)
        self._writer.on_answers = lambda jobs: tell(self._wake, jobs)
        self._writer.housekeeping.on_moved = lambda places: tell(self._moved, places)
        self._writer.housekeeping.on_damage = lambda damage: tell(_report, damage)
        thread = threading.Thread(target=host, name="spool writer", daemon=True)
        thread.start()
        task_status.started()
        try:
            await ended.wait()
        finally:
            self._error = SpoolClosed("the spool is closed")
            self._writer.jobs.put(Stop())
            with trio.CancelScope(shield=True):
                await ended.wait()
            thread.join()
            self._error = self._writer.failure or self._error
            self._writer.refuse_the_rest()
            self._running = False
        if self._writer.failure is not None:
            raise self._writer.failure

    def close(self) -> None:
        """After `run` ended, or instead of it: give back the lock."""
        if self._running:
            raise RuntimeError("the spool is running; cancel run first")
        self._error = self._error or SpoolClosed("the spool is closed")
        self._reader.close()
        self._writer.ledger.close()
        self._store.close()

    # Coming in.

    def incoming(self) -> Incoming:
        """A data set that is going to be received."""
        return Incoming(self._memory, self._large, self._settings.large_object)

    async def commit(self, incoming: Incoming, envelope: Envelope) -> Receipt:
        """Make the message durable. From the call on the data set is the spool's, whatever comes of it.

        When it returns, the message and its deliveries survive a power cut. OutOfSpace (to a C-STORE, A700H) and
        DuplicateRefused: nothing is kept. SpoolFailure: the process must stop. Cancelled: kept whole or not at all.
        """
        incoming.hand_over()
        handed_on = False
        try:
            self._check()
            incoming.check()
            if not self.accepting:
                raise OutOfSpace("the free space is below free_space_floor")
            if incoming.file is not None:
                await trio.to_thread.run_sync(incoming.make_durable)
            compared: dict[int, bool] = {}
            while True:
                await trio.lowlevel.checkpoint_if_cancelled()
                self._check()
                commit = Commit(incoming, envelope, compared=compared)
                self._writer.jobs.put(commit)
                handed_on = True
                answer = await commit.answer.wait()
                if isinstance(answer, Receipt):
                    return answer
                handed_on = False
                await self._compare(incoming, answer, compared)
        finally:
            if not handed_on:
                await self._take_back(incoming)

    async def _compare(self, incoming: Incoming, unsure: Unsure, compared: dict[int, bool]) -> None:
        """Compare with large ones, while the writer goes on with others."""
        for message_id in unsure.candidates:
            place = await self._ask(partial(_place, message_id))
            compared[message_id] = place is not None and await trio.to_thread.run_sync(
                is_same, self._store, place, incoming
            )

    async def _take_back(self, incoming: Incoming) -> None:
        """The writer does not have it: leave no trace."""
        if incoming.file is not None:
            with trio.CancelScope(shield=True):
                await trio.to_thread.run_sync(incoming.remove_file)
        incoming.release_memory()

    @property
    def accepting(self) -> bool:
        """False below the free-space floor. Looked at once a second at most."""
        now = time.monotonic()
        if now - self._looked >= _LOOK:
            self._looked = now
            self._free = self._store.files.free(self._store.root)
        return self._free >= self._settings.free_space_floor

    # Going out.

    def subscribe(self, callback: OnWaiting) -> None:
        """Be told of deliveries that wait now: (destination, rows), in the event loop's thread, when the ledger has
        them. New ones, and those behind a held one that was delivered after all; a row may be known already. The
        callback must not raise."""
        self._subscribers.append(callback)

    async def waiting(self, destination: str, after: int, limit: int) -> list[Waiting]:
        """Deliveries that may be made now, of message ids above `after`, in their order. Not those behind a held one
        in the same lane."""
        rows = await self._ask(lambda writer: writer.ledger.waiting(destination, after, limit))
        self._keep_places(rows)
        return [row.waiting for row in rows]

    def clock(self) -> float:
        """Seconds that routers have been running with this spool, summed up over restarts: what `Waiting.born` is
        told in. The time of day has no part in it."""
        return self._writer.ledger.clock()

    def settle(self, message_id: int, destination: str, result: Settlement) -> None:
        """Say what became of an attempt. Written with the writer's next turn, before any later question is answered;
        of a delivery that is finished already, forgotten."""
        outcome = Outcome(message_id=message_id, destination=destination, settlement=result)
        if self._error is None:
            self._writer.jobs.put(Settle(outcome))

    async def open_message(self, message_id: int) -> StoredMessage:
        """Its envelope, and its data set to read. UnknownMessage; DamagedMessage."""
        place = self._places.get(message_id)
        if place is not None:
            try:
                return await self._open(message_id, place)
            except FileNotFoundError:
                self._places.pop(message_id, None)
        place = await self._ask(partial(_place, message_id))
        if place is None:
            raise UnknownMessage(f"there is no message {message_id}")
        try:
            return await self._open(message_id, place)
        except FileNotFoundError:
            self._found_damaged(message_id, "its file is gone")
            raise DamagedMessage("its file is gone") from None

    async def _open(self, message_id: int, place: Place) -> StoredMessage:
        if not place.segment:
            raise DamagedMessage("its bytes are damaged or gone")
        segment = self._writer.segments.known.get(place.segment)
        if segment is None:
            raise FileNotFoundError
        return await StoredMessage.open(
            self._store, message_id, place, segment.nonce, lambda reason: self._found_damaged(message_id, reason)
        )

    def _found_damaged(self, message_id: int, reason: str) -> None:
        self._places.pop(message_id, None)
        if self._error is None:
            self._writer.jobs.put(Ask(lambda writer: writer.housekeeping.set_aside(message_id, reason)))

    # For people.

    async def queue(self, selection: Selection | None = None, *, after: int = 0, limit: int = 100) -> list[QueueRow]:
        """Deliveries in order of their message ids, of ids above `after`: `limit`, and what the last message has
        beyond it."""
        await self._ask(lambda writer: None)  # what was settled before shall be seen
        return await self._reader.queue(selection or Selection(), after, limit)

    async def show(self, message_id: int) -> MessageDetail:
        """UnknownMessage."""
        await self._ask(lambda writer: None)
        detail = await self._reader.show(message_id)
        try:
            with await self.open_message(message_id) as message:
                return evolve(detail, envelope=message.envelope)
        except DamagedMessage:
            return detail

    async def change(self, selection: Selection, action: Action, destination: str | None = None) -> int:
        """Do what a person says to the selected deliveries; how many were changed. It is on the disk when this
        returns. `destination` is where released or retried deliveries go that no route wanted; without it they stay
        held. Subscribers are not told: whoever keeps a part of `waiting` reads it anew from the beginning."""
        count = 0
        cursor: queries.Cursor | None = queries.START
        while cursor is not None:
            step = await self._ask(partial(_change, selection, action, destination, cursor))
            count += step.count
            cursor = step.cursor
        return count

    async def totals(self) -> dict[str, Totals]:
        """By destination; "" is what no route wanted."""
        return await self._ask(lambda writer: queries.totals(writer.ledger.connection))

    def statistics(self) -> SpoolStatistics:
        writer = self._writer
        segments = list(writer.segments.known.values())
        return SpoolStatistics(
            segments=len(segments),
            bytes=sum(segment.end for segment in segments),
            unfinished=sum(segment.live for segment in segments),
            memory=self._memory.used,
            queue=writer.jobs.qsize(),
            commits=writer.commits,
            batches=writer.segments.syncs,
            largest_batch=writer.largest_batch,
            damaged=writer.housekeeping.damaged,
            accepting=self.accepting,
            free=self._free,
        )

    # Between the threads.

    def _check(self) -> None:
        if self._error is not None:
            raise self._error

    async def _ask(self, question: Callable[[Writer], T]) -> T:
        self._check()
        ask = Ask(question)
        self._writer.jobs.put(ask)
        return await ask.answer.wait()

    def _large_file_failed(self, failure: SpoolFailure) -> None:
        """In any thread."""
        self._writer.jobs.put(Fail(failure))

    def _keep_places(self, rows: list[Row]) -> None:
        for row in rows:
            self._places[row.waiting.message_id] = row.place
        while len(self._places) > _PLACES:
            self._places.popitem(last=False)

    def _moved(self, places: dict[int, Place]) -> None:
        for message_id, place in places.items():
            if message_id in self._places:
                self._places[message_id] = place

    def _hand_out(self, rows: list[Row]) -> None:
        self._keep_places(rows)
        by_destination: dict[str, list[Waiting]] = {}
        for row in rows:
            by_destination.setdefault(row.waiting.destination, []).append(row.waiting)
        for destination, waiting in by_destination.items():
            for callback in self._subscribers:
                callback(destination, waiting)

    def _wake(self, jobs: list[Commit | Ask[Any]]) -> None:
        """The writer is done with these."""
        for job in jobs:
            if isinstance(job, Commit):
                if not job.unsure:
                    job.incoming.release_memory()
                elif job.answer.abandoned:
                    job.incoming.release_memory()
                    self._writer.jobs.put(Ask(partial(_remove_file, job.incoming)))
            job.answer.wake()


def _place(message_id: int, writer: Writer) -> Place | None:
    return writer.ledger.place(message_id)


def _remove_file(incoming: Incoming, writer: Writer) -> None:
    incoming.remove_file()


def _change(
    selection: Selection, action: Action, target: str | None, after: queries.Cursor, writer: Writer
) -> queries.Changed:
    step = queries.change(writer.ledger, selection, action, target, after, _CHANGED_AT_ONCE)
    writer.housekeeping.finished(step.finished)
    return step


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
