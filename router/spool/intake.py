"""Coming in: from a data set that was received to a message that is durable.

Promises: what is committed is the spool's, whatever becomes of its task; what is refused leaves no trace. Waits for
the disk in worker threads only. A part of `Spool`; runs in the event loop's thread.
"""

from collections.abc import Callable
from functools import partial

import trio

from router.concurrency import DISK_IN, DISK_OUT
from router.model import Envelope, SpoolSettings
from router.spool.disk.directories import Directories
from router.spool.disk.large_files import LargeFiles
from router.spool.duplicates import is_same
from router.spool.errors import SpoolFailure
from router.spool.free_space import FreeSpace
from router.spool.incoming import Incoming, MemoryBudget
from router.spool.jobs import Ask, Commit, Fail, Unsure
from router.spool.values import Place, Receipt
from router.spool.writer import Writer


class Intake:
    def __init__(self, store: Directories, settings: SpoolSettings, writer: Writer, check: Callable[[], None]) -> None:
        """`check` raises what ended the spool, if it has ended."""
        self.memory = MemoryBudget(settings.memory)
        self.large = LargeFiles(store.files, store.large, self._large_file_failed, store.reserve)
        self.space = FreeSpace(
            look=lambda: store.files.free(store.root),
            floor=settings.free_space_floor,
            spare=lambda: writer.segments.spare_bytes,
            give_up_spare=self._give_up_spare,
        )
        self._store = store
        self._settings = settings
        self._writer = writer
        self._check = check

    def incoming(self, largest: int | None, from_reserve: bool) -> Incoming:
        return Incoming(
            self.memory,
            self.large,
            self.space,
            large_object=self._settings.large_object,
            largest=largest,
            from_reserve=from_reserve,
        )

    async def commit(self, incoming: Incoming, envelope: Envelope) -> Receipt:
        """As `Spool.commit`."""
        incoming.hand_over()
        handed_on = False
        try:
            self._check()
            await incoming.finish()
            if not incoming.announce(len(incoming.data)):
                await incoming.make_room(len(incoming.data))
            self.space.end(len(incoming.data))
            if incoming.file is not None:
                await trio.to_thread.run_sync(incoming.make_durable, limiter=DISK_IN)
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

    def done(self, commit: Commit) -> None:
        """The writer has answered. Where it is unsure, the data set goes back to its task, if there still is one."""
        if not commit.unsure:
            commit.incoming.release_memory()
        elif commit.answer.abandoned:
            commit.incoming.release_memory()
            self._writer.jobs.put(Ask(partial(_remove_file, commit.incoming)))

    async def _give_up_spare(self) -> None:
        self._check()
        ask = Ask(_give_up_spare)
        self._writer.jobs.put(ask)
        await ask.answer.wait()

    async def _compare(self, incoming: Incoming, unsure: Unsure, compared: dict[int, bool]) -> None:
        """Compare with large ones, while the writer goes on with others."""
        for message_id in unsure.candidates:
            self._check()
            ask = Ask(partial(_place, message_id))
            self._writer.jobs.put(ask)
            place = await ask.answer.wait()
            compared[message_id] = place is not None and await trio.to_thread.run_sync(
                is_same, self._store, place, incoming, limiter=DISK_OUT
            )

    async def _take_back(self, incoming: Incoming) -> None:
        """The writer does not have it: leave no trace."""
        if incoming.file is not None:
            with trio.CancelScope(shield=True):
                await incoming.settle()
                await trio.to_thread.run_sync(incoming.remove_file, limiter=DISK_IN)
        incoming.release_memory()

    def _large_file_failed(self, failure: SpoolFailure) -> None:
        """In any thread."""
        self._writer.jobs.put(Fail(failure))


def _give_up_spare(writer: Writer) -> bool:
    return writer.segments.give_up_spare()


def _place(message_id: int, writer: Writer) -> Place | None:
    return writer.place(message_id)


def _remove_file(incoming: Incoming, writer: Writer) -> None:
    incoming.remove_file()
