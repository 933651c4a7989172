"""Deliver from memory what was just committed, inside the one budget for data sets."""

import time
from pathlib import Path

import pytest
import trio
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule
from isal.isal_zlib import crc32

from router.spool import DamagedMessage, Spool
from router.spool.disk.filesystem import FileSystem
from router.spool.disk.large_files import LargeFiles
from router.spool.free_space import FreeSpace
from router.spool.incoming import Incoming
from router.spool.ledger.rows import LedgerEntry
from router.spool.memory_budget import MemoryBudget
from router.spool.recent_messages import RecentMessage, RecentMessages
from router.spool.values import Place
from tests.router.spool.driver import content, delivered, envelope, retry
from tests.support.spool import SETTINGS, running_spool, segment, store_message

LIMIT = 400


class CountsOpened(FileSystem):
    """A real file system that counts the files that are opened to be read."""

    opened = 0

    def open(self, directory: int, name: str, *, write: bool = False) -> int:
        self.opened += not write
        return super().open(directory, name, write=write)


async def read(spool: Spool, message_id: int) -> bytes:
    with await spool.open_message(message_id) as message:
        view = message.view()
        if view is not None:
            return bytes(view)
        buffer, at = memoryview(bytearray(message.data_length)), 0
        while count := await message.read_into(buffer[at:], at):
            at += count
        return bytes(buffer)


async def test_what_was_just_committed_is_read_from_memory_for_every_destination(tmp_path: Path) -> None:
    files = CountsOpened()
    async with running_spool(tmp_path, files=files) as spool:
        message_id = await store_message(spool, content(1, 50_000), destinations=("pacs", "vna"))
        files.opened = 0
        for destination in ("pacs", "vna"):
            assert spool.statistics().kept == 50_000
            assert await read(spool, message_id) == content(1, 50_000)
            with await spool.open_message(message_id) as message:
                in_memory = (message.envelope, message.data_length)
            spool.settle(message_id, destination, delivered())
        assert files.opened == 0
        assert spool.statistics().kept == 0
        with await spool.open_message(message_id) as message:
            assert (message.envelope, message.data_length) == in_memory
        assert files.opened == 1


async def test_an_attempt_that_fails_gives_the_memory_back_and_the_next_reads_the_disk(tmp_path: Path) -> None:
    files = CountsOpened()
    async with running_spool(tmp_path, files=files) as spool:
        message_id = await store_message(spool, content(1, 50_000))
        spool.settle(message_id, "pacs", retry())
        assert spool.statistics().kept == 0
        files.opened = 0
        assert await read(spool, message_id) == content(1, 50_000)
        assert files.opened == 1


async def test_a_data_set_that_comes_in_gets_the_memory_at_once(tmp_path: Path) -> None:
    async with running_spool(tmp_path) as spool:
        ids = [await store_message(spool, content(number, 60_000), f"1.2.{number}") for number in range(8)]
        assert spool.statistics().kept == 4 * 60_000, "a quarter of the budget"
        incomings = [spool.intake.incoming() for _ in range(16)]
        for incoming in incomings:
            await incoming.write(content(9, 60_000))
            assert spool.intake.memory.used + spool.intake.memory.kept <= SETTINGS.memory
        assert not list((tmp_path / "large").iterdir()), "none had to go to a file"
        for incoming in incomings:
            await incoming.discard()
        for number, message_id in enumerate(ids):
            assert await read(spool, message_id) == content(number, 60_000)


async def test_bytes_that_changed_in_memory_are_read_from_the_disk(tmp_path: Path) -> None:
    async with running_spool(tmp_path) as spool:
        message_id = await store_message(spool, content(1, 50_000))
        spool.intake.recent._kept[message_id].data[40_000] ^= 1
        assert await read(spool, message_id) == content(1, 50_000)
        assert spool.statistics().kept == 0
        assert spool.statistics().damaged == 0


async def test_small_bytes_that_changed_on_the_disk_are_never_given_out(tmp_path: Path) -> None:
    async with running_spool(tmp_path) as spool:
        message_id = await store_message(spool, content(1, 5_000))
        spool.intake.recent.attempted(message_id)
        with segment(tmp_path).open("r+b") as file:
            file.seek(4_000)
            file.write(b"flipped")
        with pytest.raises(DamagedMessage, match="checksum"):
            await read(spool, message_id)
        assert (await spool.queue.totals())["pacs"].held == 1


async def test_a_message_of_no_bytes_is_kept_too_and_their_number_has_a_limit(tmp_path: Path) -> None:
    async with running_spool(tmp_path) as spool:
        first = await store_message(spool, b"", "1.2.0")
        async with trio.open_nursery() as nursery:
            for number in range(1, 1100):
                nursery.start_soon(store_message, spool, b"", f"1.2.{number}")
        assert len(spool.intake.recent) == 1024
        assert await read(spool, first) == b""


async def test_a_message_that_is_old_makes_room_for_newer_ones(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    async with running_spool(tmp_path) as spool:
        for number in range(4):
            await store_message(spool, content(number, 60_000), f"1.2.{number}")
        now = time.monotonic()
        monkeypatch.setattr("router.spool.recent_messages.time.monotonic", lambda: now + 10.0)
        files_before = spool.statistics().kept
        await store_message(spool, content(5, 60_000), "1.2.5")
        assert (files_before, spool.statistics().kept) == (240_000, 60_000)


class Memory(RuleBasedStateMachine):
    """Data sets that come in, are committed, delivered and given up, in any order, under one budget."""

    @initialize()
    def begin(self) -> None:
        self.budget = MemoryBudget(LIMIT)
        self.recent = RecentMessages(self.budget)
        self.coming: list[Incoming] = []
        self.stored: dict[int, bytes] = {}
        self.reading: list[RecentMessage] = []
        self.last = 0

    def incoming(self) -> Incoming:
        large = LargeFiles(FileSystem(), -1, lambda error: None, None)  # type: ignore[arg-type]  # never written to
        space = FreeSpace(look=lambda: 1 << 40, floor=0, spare=lambda: 0, give_up_spare=None)  # type: ignore[arg-type]
        return Incoming(self.budget, large, space, large_object=LIMIT, largest=None, from_reserve=False)

    @rule(size=st.integers(0, 120), seed=st.integers(0, 255))
    def receive(self, size: int, seed: int) -> None:
        read = {id(one): len(one.data) for one in self.reading}
        unread = self.budget.kept - sum(read.values())
        fits = self.budget.used + self.budget.kept - unread + size <= LIMIT
        incoming = self.incoming()
        assert incoming.keep_in_memory(bytes([seed]) * size) == fits, "what nobody reads makes room"
        if fits:
            self.coming.append(incoming)

    @precondition(lambda self: self.coming)
    @rule(data=st.data(), destinations=st.integers(0, 3), hold=st.booleans())
    def commit(self, data: st.DataObject, destinations: int, hold: bool) -> None:
        incoming = self.coming.pop(data.draw(st.integers(0, len(self.coming) - 1)))
        self.last += 1
        self.stored[self.last] = bytes(incoming.data)
        names = tuple(f"pacs{number}" for number in range(destinations))
        place = Place(segment=1, offset=0, length=9, data_length=incoming.size, data_crc=crc32(incoming.data))
        entry = LedgerEntry(
            message_id=self.last, place=place, envelope=envelope(destinations=names), born=0.0, hold="x" * hold
        )
        self.recent.keep_message(entry, incoming)
        incoming.release_memory()

    @precondition(lambda self: self.coming)
    @rule(data=st.data())
    def give_up(self, data: st.DataObject) -> None:
        self.coming.pop(data.draw(st.integers(0, len(self.coming) - 1))).release_memory()

    @precondition(lambda self: self.stored)
    @rule(data=st.data())
    def open(self, data: st.DataObject) -> None:
        message_id = data.draw(st.sampled_from(sorted(self.stored)))
        if (recent := self.recent.open(message_id)) is not None:
            assert recent.data == self.stored[message_id]
            self.reading.append(recent)

    @precondition(lambda self: self.reading)
    @rule(data=st.data())
    def close(self, data: st.DataObject) -> None:
        recent = self.reading.pop(data.draw(st.integers(0, len(self.reading) - 1)))
        assert recent.data == self.stored[recent.entry.message_id], "dropped or not"
        self.recent.close(recent)

    @precondition(lambda self: self.stored)
    @rule(data=st.data())
    def attempt(self, data: st.DataObject) -> None:
        self.recent.attempted(data.draw(st.sampled_from(sorted(self.stored))))

    @invariant()
    def the_budget_is_kept(self) -> None:
        if not hasattr(self, "budget"):
            return
        assert self.budget.used == sum(len(one.data) for one in self.coming)
        assert self.budget.used + self.budget.kept <= LIMIT
        assert self.budget.kept <= LIMIT // 4
        alive = {id(one): one for one in [*self.reading, *self.recent._kept.values()]}
        assert self.budget.kept == sum(len(one.data) for one in alive.values())

    def teardown(self) -> None:
        if hasattr(self, "budget"):
            for message_id in self.stored:
                for _ in range(3):
                    self.recent.attempted(message_id)
            for recent in self.reading:
                self.recent.close(recent)
            for incoming in self.coming:
                incoming.release_memory()
            assert (self.budget.used, self.budget.kept) == (0, 0)


TestMemory = Memory.TestCase
