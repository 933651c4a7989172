"""Receive data sets, and make messages durable.

Promises: a message that is stored is the spool's, whatever becomes of its task; one that is refused leaves no trace.
Waiting for the disk is done in other threads, but for small commits on a quick disk (writer.py). Event loop only.
"""

import trio

from router.concurrency import DISK_IN, DISK_OUT
from router.model import Envelope, SpoolSettings
from router.spool.disk.directories import Directories
from router.spool.disk.large_files import LargeFiles
from router.spool.disk.segments import Segments
from router.spool.duplicates import is_same
from router.spool.free_space import FreeSpace
from router.spool.incoming import Incoming
from router.spool.jobs import Commit, GiveUpSpare, LookUpPlace, RemoveFile, Unsure
from router.spool.memory_budget import MemoryBudget
from router.spool.message_id import MessageId
from router.spool.recent_messages import RecentMessages
from router.spool.values import Receipt
from router.spool.writer_client import WriterClient


class Intake:
    def __init__(self, store: Directories, settings: SpoolSettings, segments: Segments, writer: WriterClient) -> None:
        self.memory = MemoryBudget(settings.memory)
        self.recent = RecentMessages(self.memory)
        """Messages that are still in memory."""
        self.large = LargeFiles(store.files, store.large, writer.fail, store.reserve)
        self.space = FreeSpace(
            look=lambda: store.files.free(store.root),
            floor=settings.free_space_floor,
            spare=lambda: segments.spare_bytes,
            give_up_spare=self._give_up_spare,
        )
        self._store = store
        self._settings = settings
        self._writer = writer
        writer.on_commit = self._replied

    @property
    def accepting(self) -> bool:
        """Whether the free space is above the floor. Below it, only what may use the reserve is accepted."""
        return self.space.is_above_floor

    def incoming(self, *, largest: int | None = None, from_reserve: bool = False) -> Incoming:
        """Begin to receive a data set of at most `largest` bytes.

        `from_reserve`: it is small and helps to empty the spool, so that it is accepted below the floor too.
        """
        return Incoming(
            self.memory,
            self.large,
            self.space,
            large_object=self._settings.large_object,
            largest=largest,
            from_reserve=from_reserve,
        )

    async def store(self, incoming: Incoming, envelope: Envelope) -> Receipt:
        """Make a message durable: it and its deliveries survive a power cut on return.

        From the call on the data set is the spool's, whatever comes of it. If cancelled, the message is kept whole or
        not at all.

        Raises:
            OutOfSpace: nothing is kept. Answer a C-STORE with A700H (PS3.4 B.2.3).
            DuplicateRefused: nothing is kept.
            SpoolFailure: the disk failed; the process must stop.
        """
        incoming.hand_over()
        handed_on = False
        try:
            self._writer.check()
            await incoming.finish()
            if not incoming.announce(len(incoming.data)):
                await incoming.make_room(len(incoming.data))
            self.space.end(len(incoming.data))
            if incoming.file is not None:
                await trio.to_thread.run_sync(incoming.make_durable, limiter=DISK_IN)
            compared: dict[MessageId, bool] = {}
            while True:
                await trio.lowlevel.checkpoint_if_cancelled()
                self._writer.check()
                commit = Commit(incoming, envelope, compared=compared)
                handed_on = True
                reply = await self._writer.commit(commit)
                if isinstance(reply, Receipt):
                    return reply
                handed_on = False
                await self._compare(incoming, reply, compared)
        finally:
            if not handed_on:
                await self._remove(incoming)

    async def store_bytes(self, data: bytes, envelope: Envelope) -> Receipt:
        """Make a message of the router's own durable, as `store`; it may use the reserve."""
        async with self.incoming(from_reserve=True) as incoming:
            await incoming.write(data)
            return await self.store(incoming, envelope)

    def _replied(self, commit: Commit) -> None:
        """Release the memory of a commit, unless its data set goes back to its task, which must compare it.

        A message with deliveries is kept for them as long as there is room.
        """
        if not commit.unsure:
            if commit.entry is not None:
                self.recent.keep_message(commit.entry, commit.incoming)
            commit.incoming.release_memory()
        elif commit.reply.abandoned:
            commit.incoming.release_memory()
            self._writer.tell(RemoveFile(commit.incoming))

    async def _give_up_spare(self) -> None:
        await self._writer.ask(GiveUpSpare())

    async def _compare(self, incoming: Incoming, unsure: Unsure, compared: dict[MessageId, bool]) -> None:
        """Compare with large data sets, while the writer goes on with others."""
        for message_id in unsure.candidates:
            place = await self._writer.ask(LookUpPlace(message_id))
            compared[message_id] = place is not None and await trio.to_thread.run_sync(
                is_same, self._store, place, incoming, limiter=DISK_OUT
            )

    async def _remove(self, incoming: Incoming) -> None:
        """Leave no trace of a data set that the writer does not have."""
        if incoming.file is not None:
            with trio.CancelScope(shield=True):
                await incoming.wait_for_writes()
                await trio.to_thread.run_sync(incoming.remove_file, limiter=DISK_IN)
        incoming.release_memory()
