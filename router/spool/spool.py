"""The spool as the rest of the router sees it: its parts, and reading the deliveries to make.

Promises: docs/spool.md, "What is promised, and when". Event loop only, and it never waits for the disk there, but for
`open`, `advance`, and small commits on a quick disk (writer.py). Not here: the on-disk format, recovery, deletion.
"""

import sqlite3
from collections.abc import Callable, Collection, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Self

import trio

from router.model import AttemptResult, PendingDelivery, Purpose, SpoolSettings
from router.spool.disk.directories import Directories
from router.spool.disk.filesystem import REAL, FileSystem, describe_error
from router.spool.errors import SpoolFailure, SpoolUnusable
from router.spool.housekeeping import Housekeeping
from router.spool.intake import Intake
from router.spool.jobs import LookUpEarlier, ReadDue, ReadFirstOfLanes, ReadFresh, ReadNewest
from router.spool.ledger.rows import SettledDelivery
from router.spool.ledger.waiting_rows import DuePart, Earlier, Part, Position
from router.spool.message_id import MessageId
from router.spool.message_opener import MessageOpener
from router.spool.offline import Reader
from router.spool.queue_admin import QueueAdmin
from router.spool.recovery.recovery import Progress, Recovery
from router.spool.stored_message import StoredMessage
from router.spool.values import LocatedDelivery, QueueAction, RecoveryReport, Selection, SpoolStatistics
from router.spool.writer import Writer
from router.spool.writer_client import WriterClient

OnWaiting = Callable[[str, list[PendingDelivery]], None]

_WITHDRAWN_AT_ONCE = 500
"""Messages in one condition of a query."""
_BEHIND = 60.0
"""Seconds that the run clock may be behind without harm: a power cut takes as much."""


class Spool:
    """Made by `open`. `run` must run while it is used; `close` ends it."""

    recovery: RecoveryReport
    """What the start found."""
    intake: Intake
    """Receive data sets and store messages."""
    queue: QueueAdmin
    """List, show, change and count deliveries."""

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
        self._client = WriterClient(self._writer)
        self._reader = Reader(store.ledger)
        self.intake = Intake(store, settings, recovery.segments, self._client)
        self._messages = MessageOpener(store, recovery.segments, self._client, self.intake.recent)
        self.queue = QueueAdmin(self._client, self._reader, self.open_message, self.clock)
        self._subscribers: list[OnWaiting] = []
        self._when_caught_up: list[Callable[[], None]] = []
        self._client.on_rows = self._hand_out
        self._client.on_caught_up = self._caught_up
        self._client.on_moved = self._messages.moved

    @classmethod
    def open(
        cls,
        directory: Path,
        settings: SpoolSettings,
        *,
        files: FileSystem = REAL,
        progress: Progress | None = None,
    ) -> Self:
        """Lock the directory and recover. Blocks, for minutes if a big ledger must be rebuilt.

        `progress` is called with the name of the step, the bytes done and the bytes in all.

        Raises:
            SpoolLocked: another process uses it.
            SpoolUnusable: the directory cannot be a spool.
        """
        store = Directories.open(directory, files, settings.reserve)
        try:
            recovery = _recovered(store, settings, progress)
            with suppress(sqlite3.Error):  # a full disk is not a reason to refuse to start
                recovery.ledger.maintenance.begin_use()
        except (OSError, sqlite3.Error) as error:
            store.close()
            raise SpoolUnusable(f"the spool {directory} cannot be opened: {describe_error(error)}") from error
        except BaseException:
            store.close()
            raise
        return cls(store, settings, recovery)

    async def run(self, *, task_status: trio.TaskStatus[None] = trio.TASK_STATUS_IGNORED) -> None:
        """Run the writer until cancelled. What was asked before is then still done, and answered.

        Raises:
            SpoolFailure: the disk failed; the process must stop.
        """
        await self._client.run(task_status=task_status)

    def close(self) -> None:
        """Release the lock, after `run` ended or instead of it."""
        self._client.close()
        self._reader.close()
        self._writer.ledger.close()
        self._store.close()

    # Making deliveries.

    def subscribe(self, callback: OnWaiting) -> None:
        """Have `callback` called with (destination, deliveries) that wait now, in the event loop's thread.

        New ones, and those that a held one of the same ordering key no longer blocks; one may be known already. The
        ledger has them before it answers the next question. The callback must not raise.
        """
        self._subscribers.append(callback)

    def when_caught_up(self, callback: Callable[[], None]) -> None:
        """Have `callback` called when what was read of the ledger has to be read again. It must not raise.

        The ledger is up to date after a full disk or another program's lock: what was read meanwhile lacked what had
        been settled. Or deliveries were withdrawn.
        """
        self._when_caught_up.append(callback)

    async def fresh(self, destination: str, after: MessageId, limit: int) -> Part:
        """Read what waits and has not failed, of message ids above `after`; at most `limit` rows are looked at."""
        part = await self._client.ask(ReadFresh(destination, after, limit))
        self._messages.remember(part.rows)
        return part

    async def newest(self, destination: str, limit: int) -> list[LocatedDelivery]:
        """Read what waits and has not failed, from the highest message ids."""
        rows = await self._client.ask(ReadNewest(destination, limit))
        self._messages.remember(rows)
        return rows

    async def due(self, destination: str, after: Position, limit: int) -> DuePart:
        """Read what has failed and is due again, and when the next will be."""
        part = await self._client.ask(ReadDue(destination, after, limit))
        self._messages.remember(part.rows)
        return part

    async def first_of_lanes(self, destination: str, lanes: Collection[str]) -> list[LocatedDelivery]:
        """Read the first delivery of each ordering key, if it may begin now."""
        rows = await self._client.ask(ReadFirstOfLanes(destination, lanes))
        self._messages.remember(rows)
        return rows

    async def delivered_before(self, message_id: MessageId, destination: str) -> Earlier:
        """Look up earlier deliveries of the message's instance to the same destination."""
        return await self._client.ask(LookUpEarlier(message_id, destination))

    def settle(
        self, message_id: MessageId, destination: str, result: AttemptResult, *, purpose: Purpose = Purpose.SEND
    ) -> None:
        """Note the result of an attempt: it is written a little later, and before any later question is answered.

        The result for a delivery that is finished already is dropped.
        """
        if purpose is Purpose.SEND:
            self.intake.recent.attempted(message_id)
        self._client.settle(
            SettledDelivery(message_id=message_id, destination=destination, purpose=purpose, result=result)
        )

    async def withdraw(self, message_ids: Sequence[MessageId], destination: str) -> None:
        """Discard the deliveries of messages to a destination that wait or are held. Durable on return.

        Those in flight end as they end.

        Raises:
            OutOfSpace: the disk is full, or another program has locked the ledger.
        """
        for at in range(0, len(message_ids), _WITHDRAWN_AT_ONCE):
            some = tuple(message_ids[at : at + _WITHDRAWN_AT_ONCE])
            await self.queue.change(Selection(message_ids=some, destination=destination), QueueAction.DISCARD)
        self._caught_up()

    async def open_message(self, message_id: MessageId) -> StoredMessage:
        """Open a message to read its envelope and data set.

        Raises:
            UnknownMessage: it was never there, or is finished and deleted.
            DamagedMessage: its bytes are damaged or gone.
            OutOfSpace: no more files can be open.
        """
        return await self._messages.open(message_id)

    # The run clock, the reserve, statistics.

    def clock(self) -> float:
        """Return the run clock: seconds that routers have been running with this spool, over all restarts.

        `PendingDelivery.born` is on it. It does not depend on the time of day.
        """
        return self._store.counters.clock()

    @property
    def next_id(self) -> int:
        """Lowest sequence number of a message id that was never assigned."""
        return self._store.counters.next_id

    def advance(self, *, clock: float, next_id: int) -> None:
        """Raise the counters to what services measured and wrote down. Before `run`; deliveries keep their age.

        Raises:
            SpoolFailure: the ledger cannot be written.
        """
        behind = clock - self.clock()
        self._store.counters.advance(clock=clock, next_id=next_id)
        if behind > _BEHIND:  # the ledger was lost, and what it has now is dated by a clock that began again
            try:
                self._writer.ledger.maintenance.postdate(behind)
            except sqlite3.Error as error:
                raise SpoolFailure(f"writing to the ledger failed: {error}") from error

    def relieve(self, error: BaseException) -> bool:
        """Release a part of the reserve if the error says that the disk is full; return whether to try again.

        From any thread.
        """
        return self._store.reserve.relieve(error)

    def statistics(self) -> SpoolStatistics:
        """Count what is in the spool now, and what was done since the start."""
        writer = self._writer
        segments = list(writer.segments.known.values())
        return SpoolStatistics(
            segments=len(segments),
            bytes=sum(segment.end for segment in segments),
            unfinished=sum(segment.live for segment in segments),
            memory=self.intake.memory.used,
            kept=self.intake.memory.kept,
            queue=writer.jobs.qsize(),
            commits=writer.group.commits,
            batches=writer.segments.syncs,
            event_loop_batches=writer.pace.batches,
            event_loop_stalls=writer.pace.stalls,
            largest_batch=writer.group.largest,
            damaged=writer.housekeeping.damaged,
            accepting=self.intake.accepting,
            free=self.intake.space.free,
            reserve=self._store.reserve.left,
        )

    def _hand_out(self, rows: list[LocatedDelivery]) -> None:
        self._messages.remember(rows)
        by_destination: dict[str, list[PendingDelivery]] = {}
        for row in rows:
            by_destination.setdefault(row.waiting.destination, []).append(row.waiting)
        for destination, waiting in by_destination.items():
            for callback in self._subscribers:
                callback(destination, waiting)

    def _caught_up(self) -> None:
        for callback in self._when_caught_up:
            callback()


def _recovered(store: Directories, settings: SpoolSettings, progress: Progress | None) -> Recovery:
    """Recover; begin again with a part of the reserve if a full disk cuts it short."""
    while True:
        try:
            recovery = Recovery(store, settings, progress)
        except (OSError, sqlite3.Error) as error:
            if not store.reserve.relieve(error):
                raise
        else:
            room = store.files.free(store.root) - settings.free_space_floor
            store.reserve.restore(room)
            recovery.ledger.keep_room(settings.reserve if room > 0 else 0)
            return recovery
