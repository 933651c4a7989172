"""The spool as the rest of the house sees it.

Promises: docs/spool.md, "What is promised, and when". Everything here runs in the event loop's thread and never
waits for the disk there; the work is the writer's (writer.py). Not here: the on-disk format, recovery, deletion.
"""

import sqlite3
import threading
from collections import OrderedDict, deque
from collections.abc import Callable, Collection
from contextlib import suppress
from functools import partial
from pathlib import Path
from typing import Any, Self, TypeVar

import structlog
import trio
from attrs import evolve

from router.model import AttemptResult, Envelope, PendingDelivery, Purpose, SpoolSettings
from router.spool.disk.directories import Directories
from router.spool.disk.filesystem import REAL, FileSystem, in_words
from router.spool.disk.reserve import keep_room_in
from router.spool.errors import DamagedMessage, SpoolClosed, SpoolFailure, SpoolUnusable, UnknownMessage
from router.spool.housekeeping import Housekeeping
from router.spool.incoming import Incoming
from router.spool.intake import Intake
from router.spool.jobs import Ask, Commit, Settle, Stop
from router.spool.ledger import backlog
from router.spool.ledger import maintenance as upkeep
from router.spool.ledger.backlog import DuePart, Earlier, Part, Position
from router.spool.ledger.ledger import SettledDelivery
from router.spool.offline import Reader
from router.spool.queue import QueueAdmin
from router.spool.recovery.recovery import Progress, Recovery
from router.spool.stored_message import StoredMessage
from router.spool.values import (
    Damage,
    LocatedDelivery,
    Place,
    Receipt,
    RecoveryReport,
    SpoolStatistics,
)
from router.spool.writer import Writer

T = TypeVar("T")
OnWaiting = Callable[[str, list[PendingDelivery]], None]

_LAG = 0.02
"""Seconds that outcomes may wait for others before the writer hears of them."""
_BEHIND = 60.0
"""Seconds that the run clock may be behind without harm: a power cut takes as much."""
_PLACES = 8192
"""How many messages' places are kept at hand, so that opening one need not ask the writer."""

_log = structlog.get_logger("router.spool")


class Spool(QueueAdmin):
    """Made by `open`. Then `run` must run while it is used, and `close` ends it."""

    recovery: RecoveryReport
    """What the start found."""

    def __init__(self, store: Directories, settings: SpoolSettings, recovery: Recovery) -> None:
        self.recovery = recovery.report
        self._store = store
        housekeeping = Housekeeping(store, recovery.segments, recovery.ledger, settings)
        housekeeping.look_at_all(recovery.unneeded)
        self._writer = Writer(
            store=store,
            segments=recovery.segments,
            ledger=recovery.ledger,
            housekeeping=housekeeping,
            settings=settings,
        )
        self._admission = Intake(store, settings, self._writer, self._check)
        self._reader = Reader(store.ledger)
        self._places: OrderedDict[int, Place] = OrderedDict()
        self._subscribers: list[OnWaiting] = []
        self._when_caught_up: list[Callable[[], None]] = []
        self._error: Exception | None = None
        self._running = False
        self._settled: list[Settle] = []
        self._news = trio.Event()

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
        store = Directories.open(directory, files, settings.reserve)
        try:
            recovery = _recovered(store, settings, progress)
            with suppress(sqlite3.Error):  # a full disk is no reason not to start
                upkeep.begin_use(recovery.ledger)
        except (OSError, sqlite3.Error) as error:
            store.close()
            raise SpoolUnusable(f"the spool {directory} cannot be opened: {in_words(error)}") from error
        except BaseException:
            store.close()
            raise
        return cls(store, settings, recovery)

    async def run(self, *, task_status: trio.TaskStatus[None] = trio.TASK_STATUS_IGNORED) -> None:
        """Host the writer until cancelled. What was asked before is then still done, and answered.

        SpoolFailure where the disk did not keep its word: the process must stop."""
        if self._running or self._error is not None:
            raise RuntimeError("this spool ran already")
        self._running = True
        token = trio.lowlevel.current_trio_token()
        ended = trio.Event()

        told: deque[Callable[[], None]] = deque()

        def tell(function: Callable[..., None], *arguments: Any) -> None:
            """Have it called in the event loop's thread, which is woken once for all that it has not heard of yet."""
            told.append(partial(function, *arguments))
            if len(told) == 1:
                token.run_sync_soon(hear)

        def hear() -> None:
            while told:
                told.popleft()()

        def host() -> None:
            self._writer.run()
            tell(ended.set)

        self._writer.on_rows = lambda rows: tell(self._hand_out, rows)
        self._writer.on_answers = lambda jobs: tell(self._wake, jobs)
        self._writer.on_caught_up = lambda: tell(self._caught_up)
        self._writer.on_lock = lambda locked: tell(_report_lock, locked)
        self._writer.housekeeping.on_moved = lambda places: tell(self._moved, places)
        self._writer.housekeeping.on_damage = lambda damage: tell(_report, damage)
        thread = threading.Thread(target=host, name="spool writer", daemon=True)
        thread.start()
        task_status.started()
        try:
            async with trio.open_nursery() as nursery:
                nursery.start_soon(self._hand_over_now_and_then)
                await ended.wait()
                nursery.cancel_scope.cancel()
        finally:
            self._error = SpoolClosed("the spool is closed")
            self._hand_over()
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

    def incoming(self, *, largest: int | None = None, from_reserve: bool = False) -> Incoming:
        """A data set that is going to be received, of at most `largest` bytes. `from_reserve`: it is small, and helps
        to empty the spool, so that it is taken below the floor too."""
        return self._admission.incoming(largest, from_reserve)

    async def commit(self, incoming: Incoming, envelope: Envelope) -> Receipt:
        """Make the message durable. From the call on the data set is the spool's, whatever comes of it.

        When it returns, the message and its deliveries survive a power cut. OutOfSpace (to a C-STORE, A700H) and
        DuplicateRefused: nothing is kept. SpoolFailure: the process must stop. Cancelled: kept whole or not at all.
        """
        return await self._admission.commit(incoming, envelope)

    async def commit_bytes(self, data: bytes, envelope: Envelope) -> Receipt:
        """`commit` of a message of the router's own, which is taken below the floor too."""
        async with self.incoming(from_reserve=True) as incoming:
            await incoming.write(data)
            return await self.commit(incoming, envelope)

    @property
    def accepting(self) -> bool:
        """False below the free-space floor: then only what the reserve is for is taken."""
        return self._admission.space.is_above_floor

    def relieve(self, error: BaseException) -> bool:
        """Give back a part of the reserve where the error says that the disk is full. True: what failed is worth
        another attempt. From any thread."""
        return self._store.reserve.relieve(error)

    # Going out.

    def subscribe(self, callback: OnWaiting) -> None:
        """Be told of deliveries that wait now: (destination, rows), in the event loop's thread, when the ledger has
        them. New ones, and those behind a held one that was delivered after all; a row may be known already. The
        callback must not raise."""
        self._subscribers.append(callback)

    def when_caught_up(self, callback: Callable[[], None]) -> None:
        """Be told that the ledger is up to date, after a full disk or another program's lock kept it from that: what
        was read meanwhile missed what had been settled and not written down. As `subscribe`."""
        self._when_caught_up.append(callback)

    async def fresh(self, destination: str, after: int, limit: int) -> Part:
        """Read what waits and has not failed, of message ids above `after`: at most `limit` rows are looked at."""
        part = await self._ask(partial(_fresh, destination, after, limit))
        self._keep_places(part.rows)
        return part

    async def newest(self, destination: str, limit: int) -> list[LocatedDelivery]:
        """Read what waits, has not failed and has come in last."""
        return await self._rows(lambda writer: backlog.newest(writer.ledger, destination, limit))

    async def due(self, destination: str, after: Position, limit: int) -> DuePart:
        """Read what has failed and is due again, and when the next will be."""
        part = await self._ask(partial(_due, destination, after, limit))
        self._keep_places(part.rows)
        return part

    async def first_of_lanes(self, destination: str, lanes: Collection[str]) -> list[LocatedDelivery]:
        """Read the first delivery of each lane, where it may travel now."""
        return await self._rows(lambda writer: backlog.first_of_lanes(writer.ledger, destination, lanes))

    async def delivered_before(self, message_id: int, destination: str) -> Earlier:
        """What is known about earlier deliveries of the message's instance to a destination."""
        return await self._ask(lambda writer: backlog.delivered_before(writer.ledger, message_id, destination))

    async def _rows(self, question: Callable[[Writer], list[LocatedDelivery]]) -> list[LocatedDelivery]:
        rows = await self._ask(lambda writer: writer.unsettled(question(writer)))
        self._keep_places(rows)
        return rows

    def clock(self) -> float:
        """Return the run clock: seconds that routers have been running with this spool, over all restarts.

        `PendingDelivery.born` is on it. The time of day has no part in it.
        """
        return self._store.counters.clock()

    @property
    def next_id(self) -> int:
        """Lowest message id that was never given out."""
        return self._store.counters.next_id

    def advance(self, *, clock: float, next_id: int) -> None:
        """Before `run`: be no lower than what services measured and wrote down. Deliveries keep their age.

        Raises:
            SpoolFailure: the ledger cannot be written.
        """
        behind = clock - self.clock()
        self._store.counters.advance(clock=clock, next_id=next_id)
        if behind > _BEHIND:  # the ledger was lost, and what it has now is dated by a clock that began again
            try:
                upkeep.postdate(self._writer.ledger, behind)
            except sqlite3.Error as error:
                raise SpoolFailure(f"writing to the ledger failed: {error}") from error

    def settle(
        self, message_id: int, destination: str, result: AttemptResult, *, purpose: Purpose = Purpose.SEND
    ) -> None:
        """Say what became of an attempt. Written a little later, and before any later question is answered;
        of a delivery that is finished already, forgotten."""
        outcome = SettledDelivery(message_id=message_id, destination=destination, purpose=purpose, result=result)
        if self._error is None:
            self._settled.append(Settle(outcome))
            self._news.set()

    def _hand_over(self) -> None:
        """What was settled, to the writer: many at a time, so that it is not woken for each."""
        settled, self._settled = self._settled, []
        for job in settled:
            self._writer.jobs.put(job)

    async def _hand_over_now_and_then(self) -> None:
        while True:
            await self._news.wait()
            self._news = trio.Event()
            await trio.sleep(_LAG)
            self._hand_over()

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
            if not await self._ask(partial(_unfinished, message_id)):
                raise UnknownMessage(f"message {message_id} is finished and its bytes are deleted") from None
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

    def statistics(self) -> SpoolStatistics:
        writer = self._writer
        segments = list(writer.segments.known.values())
        return SpoolStatistics(
            segments=len(segments),
            bytes=sum(segment.end for segment in segments),
            unfinished=sum(segment.live for segment in segments),
            memory=self._admission.memory.used,
            queue=writer.jobs.qsize(),
            commits=writer.group.commits,
            batches=writer.segments.syncs,
            largest_batch=writer.group.largest,
            damaged=writer.housekeeping.damaged,
            accepting=self.accepting,
            free=self._admission.space.free,
            reserve=self._store.reserve.left,
        )

    # Between the threads.

    def _check(self) -> None:
        if self._error is not None:
            raise self._error

    def _keep_places(self, rows: list[LocatedDelivery]) -> None:
        for row in rows:
            self._places[row.waiting.message_id] = row.place
        while len(self._places) > _PLACES:
            self._places.popitem(last=False)

    def _moved(self, places: dict[int, Place]) -> None:
        for message_id, place in places.items():
            if message_id in self._places:
                self._places[message_id] = place

    def _hand_out(self, rows: list[LocatedDelivery]) -> None:
        self._keep_places(rows)
        by_destination: dict[str, list[PendingDelivery]] = {}
        for row in rows:
            by_destination.setdefault(row.waiting.destination, []).append(row.waiting)
        for destination, waiting in by_destination.items():
            for callback in self._subscribers:
                callback(destination, waiting)

    def _caught_up(self) -> None:
        for callback in self._when_caught_up:
            callback()

    def _wake(self, jobs: list[Commit | Ask[Any]]) -> None:
        """The writer is done with these."""
        for job in jobs:
            if isinstance(job, Commit):
                self._admission.done(job)
            job.answer.wake()


def _recovered(store: Directories, settings: SpoolSettings, progress: Progress | None) -> Recovery:
    """One that a full disk cuts short begins again with a part of the reserve."""
    while True:
        try:
            recovery = Recovery(store, settings, progress)
        except (OSError, sqlite3.Error) as error:
            if not store.reserve.relieve(error):
                raise
        else:
            room = store.files.free(store.root) - settings.free_space_floor
            store.reserve.restore(room)
            keep_room_in(recovery.ledger.connection, settings.reserve if room > 0 else 0)
            return recovery


def _fresh(destination: str, after: int, limit: int, writer: Writer) -> Part:
    part = backlog.fresh(writer.ledger, destination, after, limit)
    return evolve(part, rows=writer.unsettled(part.rows))


def _due(destination: str, after: Position, limit: int, writer: Writer) -> DuePart:
    part = backlog.due(writer.ledger, destination, after, limit)
    return evolve(part, rows=writer.unsettled(part.rows))


def _place(message_id: int, writer: Writer) -> Place | None:
    return writer.place(message_id)


def _unfinished(message_id: int, writer: Writer) -> set[tuple[str, int]]:
    return writer.ledger.unfinished_deliveries(message_id)


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
