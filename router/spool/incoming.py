"""Receive a data set: in memory while it is small and there is room, else in a file of its own.

Promises: the memory of all data sets together stays within one budget, whatever their number and size; a data set
that is not stored leaves no trace. None waits for memory that another holds and might never release: if none is left,
it is written to the disk, at the disk's pace. Not here: the record and the ledger; only `Intake.store` makes a data
set durable.
"""

from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager
from functools import partial
from types import TracebackType
from typing import Self, TypeVar

import trio
from isal.isal_zlib import crc32

from router.concurrency import DISK_IN
from router.spool.disk.large_files import LargeFiles
from router.spool.disk.record import OwnFile
from router.spool.errors import OutOfSpace, TooLarge
from router.spool.free_space import FreeSpace
from router.spool.memory_budget import MemoryBudget

_PIECE = 2 << 20
"""Bytes gathered before one write to a large file. One piece is filled while the other is written."""
_UNSYNCED = 16 << 20
"""Bytes written to a large file between syncs."""

Buffer = bytes | bytearray | memoryview
T = TypeVar("T")


class Incoming:
    """One data set being received. Made by `Intake.incoming`; ended by `Intake.store` or by `discard`.

    As an async context manager it discards what was not stored. A large data set is written to its file by threads
    while more of it is received: one piece is filled while the one before it is written.
    """

    def __init__(
        self,
        memory: MemoryBudget,
        large: LargeFiles,
        space: FreeSpace,
        *,
        large_object: int,
        largest: int | None,
        from_reserve: bool,
    ) -> None:
        """Begin with no bytes.

        `large_object`: bytes beyond which it goes to a file; `largest`: bytes beyond which it is refused;
        `from_reserve`: it is accepted below the floor too.
        """
        self.from_reserve = from_reserve
        self.size = 0
        """Bytes received so far."""
        self.crc = 0
        """CRC-32 of them; if there is a file, of the bytes that are in it."""
        self.data = bytearray()
        """All of them; empty if there is a file."""
        self._memory = memory
        self._large = large
        self._space = space
        self._largest = largest
        self._most_in_memory = large_object if largest is None else min(large_object, largest)
        self._fd: int | None = None
        self._name = ""
        self._pieces: list[bytearray] = []
        self._filled = 0
        self._written = 0
        self._synced = 0
        self._reserved = 0
        self._ended = False
        self._error: BaseException | None = None
        self._writing: trio.Event | None = None
        self._syncing: trio.Event | None = None

    async def write(self, view: Buffer) -> None:
        """Copy the next bytes. Not a checkpoint while there is memory for them.

        Raises:
            TooLarge: these are more bytes than were allowed.
            OutOfSpace, SpoolFailure: as from `Intake.store`.

        The caller must call `discard` after any of them.
        """
        if self.keep_in_memory(view):
            return
        self._check_length()
        if not self._pieces:
            await self._spill(view)
            self._forget_data()
            return
        await _ended(self._writing)
        self.check()
        await self._write_behind()
        if len(view) <= _PIECE:
            self._fill(view)
        else:
            await _ended(self._writing)
            await self._spill(view)

    @property
    def file(self) -> OwnFile | None:
        """The file of its own, after `finish`; None if all is in memory."""
        if self._fd is None:
            return None
        return OwnFile(name=self._name, length=self.size, crc=self.crc)

    async def finish(self) -> None:
        """Write the rest of a large data set to its file, after the last byte and before `view`. Not durable yet.

        Raises:
            As `write`.
        """
        self._check_length()
        await self.wait_for_writes()
        self.check()
        if self._filled:
            await self._spill(b"")

    def announce(self, count: int) -> bool:
        """Announce bytes to write to the disk, until `FreeSpace.end`; if it returns False, call `make_room`."""
        return self._space.begin(count, below_floor=self.from_reserve)

    async def make_room(self, count: int) -> None:
        """Give up the spare files, and announce bytes again.

        Raises:
            OutOfSpace: there is still no room above the floor.
        """
        await self._space.make_room()
        if not self.announce(count):
            self._error = OutOfSpace("the free space is below free_space_floor")
            raise self._error

    def view(self) -> AbstractContextManager[memoryview]:
        """View the whole data set; a large one is paged in from its file. Call `finish` first."""
        if self._fd is None:
            return memoryview(self.data).toreadonly()
        if self._filled:
            self.spill(b"")
        return self._large.files.mapped(self._fd, self.size)

    async def discard(self) -> None:
        """Leave no trace. It does nothing after `Intake.store` was called: the data set is the spool's then."""
        if self._ended:
            return
        self._ended = True
        try:
            if self._fd is not None:
                with trio.CancelScope(shield=True):
                    await self.wait_for_writes()
                    await trio.to_thread.run_sync(self.remove_file, limiter=DISK_IN)
        finally:
            self.release_memory()

    async def wait_for_writes(self) -> None:
        """Wait until no thread works on the file."""
        await _ended(self._writing)
        await _ended(self._syncing)

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self.discard()

    # While more comes in.

    def _check_length(self) -> None:
        if self._largest is not None and self.size > self._largest:
            raise TooLarge(f"data set of more than {self._largest} bytes")

    async def _spill(self, view: Buffer) -> None:
        """Call `spill` in a thread, if there is room on the disk."""
        count = len(self.data) + self._filled + len(view)
        if not self.announce(count):
            await self.make_room(count)
        try:
            await trio.to_thread.run_sync(self.spill, view, limiter=DISK_IN)
        finally:
            self._space.end(count)

    async def _write_behind(self) -> None:
        """Begin to write the gathered bytes, and fill the other piece from now on. Waits for a thread."""
        count = self._filled
        if not self.announce(count):
            await self.make_room(count)
        try:
            await DISK_IN.acquire_on_behalf_of(writing := object())
        except BaseException:
            self._space.end(count)
            raise
        self._filled = 0
        piece, other = self._pieces
        self._pieces = [other, piece]
        self._writing = _in_a_thread(
            lambda: self._append([memoryview(piece)[:count]]),
            borrower=writing,
            failed=self._failed,
            then=partial(self._written_behind, count),
        )

    def _written_behind(self, count: int) -> None:
        self._space.end(count)
        self._go_on_syncing()

    def _go_on_syncing(self) -> None:
        """Sync from time to time while writing, so that the last sync, which the sender waits for, is short.

        If no thread is free, the next piece tries again.
        """
        if self._written - self._synced < _UNSYNCED or self._error is not None:
            return
        if self._syncing is None or self._syncing.is_set():
            try:
                DISK_IN.acquire_on_behalf_of_nowait(syncing := object())
            except trio.WouldBlock:
                return
            self._synced = self._written
            self._syncing = _in_a_thread(self._sync, borrower=syncing, failed=self._failed)

    # The spool's side. What waits for the disk runs in a worker's thread.

    def hand_over(self) -> None:
        """Give the data set to the spool.

        Raises:
            RuntimeError: it was handed over or discarded before.
        """
        if self._ended:
            raise RuntimeError("this data set was committed or discarded before")
        self._ended = True

    def check(self) -> None:
        """Raise the error of a write in a thread: the data set is not complete."""
        if self._error is not None:
            raise self._error

    def _failed(self, error: BaseException) -> None:
        """Keep the error of a write or sync in a thread, for `check` to raise."""
        self._error = self._error or error

    def keep_in_memory(self, view: Buffer) -> bool:
        """Count the next bytes, and copy them to memory; return False if `spill` must be called instead."""
        count = len(view)
        self.size += count
        if self._fd is not None:
            if not self._pieces or self._filled + count > _PIECE:
                return False
            self._fill(view)
            return True
        if self.size > self._most_in_memory or not self._memory.reserve(count):
            return False
        self._reserved += count
        self.data += view
        self.crc = crc32(view, self.crc)
        return True

    def _fill(self, view: Buffer) -> None:
        self._pieces[0][self._filled : self._filled + len(view)] = view
        self._filled += len(view)

    def spill(self, view: Buffer) -> None:
        """Write the gathered bytes and the view to the file, which is created if there is none yet."""
        if self._fd is None:
            self._name, self._fd = self._attempt(self._large.create)
            data, self.data = self.data, bytearray()
            self._write([data])
        parts: list[Buffer] = [memoryview(self._pieces[0])[: self._filled]] if self._filled else []
        self._filled = 0
        self._append([*parts, view] if view else parts)

    def _append(self, parts: Sequence[Buffer]) -> None:
        for part in parts:
            self.crc = crc32(part, self.crc)
        self._write(parts)

    def _write(self, parts: Sequence[Buffer]) -> None:
        fd = self._fd
        assert fd is not None
        self._attempt(lambda: self._large.files.write(fd, parts, self._written))
        self._written += sum(map(len, parts))

    def _attempt(self, work: Callable[[], T]) -> T:
        """Do what needs room on the disk; do it again as long as the reserve may be used and gives some."""
        while True:
            try:
                return work()
            except OSError as error:
                if not (self.from_reserve and self._large.reserve.relieve(error)):
                    self._error = self._large.translate(error)
                    raise self._error from error

    def _sync(self) -> None:
        assert self._fd is not None
        try:
            self._large.files.sync(self._fd)
        except OSError as error:
            self._error = self._large.translate(error)
            raise self._error from error

    def make_durable(self) -> None:
        """Make the file's bytes and its name durable, so that a record may name it."""
        if self._filled:
            self.spill(b"")
        self._sync()
        try:
            self._large.files.sync_directory(self._large.directory)
        except OSError as error:
            raise self._large.translate(error) from error

    def remove_file(self) -> None:
        """Close the file and remove it, if there is one."""
        if self._fd is not None:
            self._large.files.close(self._fd)
            self._fd = None
            self._large.remove(self._name)

    def keep_file(self) -> None:
        """Close the file, if there is one; a record names it now."""
        if self._fd is not None:
            self._large.files.close(self._fd)
            self._fd = None
            self._large.in_use.discard(self._name)

    def release_memory(self) -> None:
        self.data = bytearray()
        self._pieces = []
        self._memory.release(self._reserved)
        self._reserved = 0

    def give_memory(self) -> bytearray:
        """Return the data set, which is in memory; its bytes are counted as kept from now on."""
        data, self.data = self.data, bytearray()
        self._memory.count_as_kept(self._reserved)
        self._reserved = 0
        return data

    def _forget_data(self) -> None:
        """Release the memory of what is in the file now, and reserve two pieces, if there is memory for them."""
        self.release_memory()
        if self._memory.reserve(2 * _PIECE):
            self._reserved = 2 * _PIECE
            self._pieces = [bytearray(_PIECE), bytearray(_PIECE)]


async def _ended(event: trio.Event | None) -> None:
    if event is not None and not event.is_set():
        await event.wait()


def _in_a_thread(
    work: Callable[[], None],
    *,
    borrower: object,
    failed: Callable[[BaseException], None],
    then: Callable[[], None] = lambda: None,
) -> trio.Event:
    """Begin work in a thread, on the borrower's place in `DISK_IN`; return an event that is set at its end.

    `failed` is called in the thread with what the work raises. At the end the place is released, the event is set and
    `then` is called, in the event loop's thread.
    """
    ended = trio.Event()
    token = trio.lowlevel.current_trio_token()

    def carry_out() -> None:
        try:
            work()
        except BaseException as error:
            failed(error)

    def back() -> None:
        DISK_IN.release_on_behalf_of(borrower)
        ended.set()
        then()

    trio.lowlevel.start_thread_soon(carry_out, lambda _: token.run_sync_soon(back))
    return ended
