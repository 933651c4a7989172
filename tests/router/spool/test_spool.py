"""The spool as the rest of the house uses it, on a real disk."""

import os
import stat
import subprocess
import sys
import threading
from collections.abc import Sequence
from pathlib import Path

import pytest
import trio
from attrs import evolve

from router.model import DeliveryState, PendingDelivery, SpoolSettings
from router.spool import (
    DamagedMessage,
    OutOfSpace,
    QueueAction,
    ReadOnlySpool,
    Selection,
    Spool,
    SpoolClosed,
    SpoolFailure,
    SpoolLocked,
    SpoolUnusable,
    StoredMessage,
    Totals,
    UnknownMessage,
)
from router.spool.disk.filesystem import FileSystem
from tests.router.spool.driver import content, delivered, envelope, held, retry, waiting
from tests.router.spool.power_cut import broken, full
from tests.support.spool import SETTINGS, running_spool, store_message


async def read(message: StoredMessage, piece: int = 100_000) -> bytes:
    buffer = bytearray(message.data_length)
    done = 0
    while count := await message.read_into(memoryview(buffer)[done : done + piece], done):
        done += count
    return bytes(buffer[:done])


@pytest.mark.parametrize("size", [0, 1, 31_000, 33_000, 64 << 10, (64 << 10) + 1, 3_000_001])
async def test_the_bytes_that_came_in_are_the_bytes_that_go_out(tmp_path: Path, size: int) -> None:
    data = content(size, size)
    async with running_spool(tmp_path) as spool:
        message_id = await store_message(spool, data)
        with await spool.open_message(message_id) as message:
            assert message.data_length == size
            assert message.envelope.sop_instance_uid == "1.2.3"
            assert await read(message) == data
            assert await read(message, 777) == data
            assert await message.read_into(memoryview(bytearray(5)), size) == 0
    async with running_spool(tmp_path) as spool:
        with await spool.open_message(message_id) as message:
            assert await read(message) == data


async def test_subscribers_are_told_once_the_ledger_has_the_deliveries(tmp_path: Path) -> None:
    async with running_spool(tmp_path) as spool:
        told: list[tuple[str, list[PendingDelivery]]] = []
        spool.subscribe(lambda destination, rows: told.append((destination, rows)))
        message_id = await store_message(spool, b"data", destinations=("pacs", "vna"))
        (row,) = await waiting(spool, "pacs", 0, 10)
        assert [destination for destination, _ in told] == ["pacs", "vna"]
        assert told[0][1] == [row]
        assert (row.message_id, row.data_length, row.attempts) == (message_id, 4, 0)


async def test_waiting_goes_on_behind_a_message_and_stops_at_its_limit(tmp_path: Path) -> None:
    async with running_spool(tmp_path) as spool:
        ids = [await store_message(spool, b"data", f"1.2.{number}") for number in range(5)]
        assert [row.message_id for row in await waiting(spool, "pacs", 0, 3)] == ids[:3]
        assert [row.message_id for row in await waiting(spool, "pacs", ids[2], 3)] == ids[3:]
        assert await waiting(spool, "nowhere", 0, 3) == []


async def test_an_outcome_is_seen_by_every_later_question(tmp_path: Path) -> None:
    async with running_spool(tmp_path) as spool:
        message_id = await store_message(spool, b"data", destinations=("pacs", "vna", "ris"))
        spool.settle(message_id, "pacs", delivered())
        spool.settle(message_id, "vna", held("C000H"))
        spool.settle(message_id, "ris", retry("A700H"))
        assert await waiting(spool, "pacs", 0, 10) == []
        assert (await waiting(spool, "ris", 0, 10))[0].attempts == 1
        assert await spool.queue.totals() == {
            "pacs": Totals(delivered=1),
            "vna": Totals(held=1),
            "ris": Totals(waiting=1),
        }
        rows = await spool.queue.list_deliveries()
        assert [(row.destination, row.state, row.reason) for row in rows] == [
            ("pacs", DeliveryState.DELIVERED, "0000H"),
            ("ris", DeliveryState.WAITING, "A700H"),
            ("vna", DeliveryState.HELD, "C000H"),
        ]


async def test_a_repeated_outcome_changes_nothing(tmp_path: Path) -> None:
    async with running_spool(tmp_path) as spool:
        message_id = await store_message(spool, b"data", destinations=("pacs", "vna"))
        for settlement in (delivered(), delivered(), held(), retry()):
            spool.settle(message_id, "pacs", settlement)
        spool.settle(99, "pacs", delivered())
        spool.settle(message_id, "nowhere", delivered())
        assert await spool.queue.totals() == {"pacs": Totals(delivered=1), "vna": Totals(waiting=1)}


async def test_a_held_delivery_blocks_its_lane_and_nothing_else(tmp_path: Path) -> None:
    async with running_spool(tmp_path) as spool:
        told: list[int] = []
        spool.subscribe(lambda destination, rows: told.extend(row.message_id for row in rows))
        ids = []
        for number, key in enumerate(["a", "a", "b", "", "a"]):
            incoming = spool.intake.incoming()
            await incoming.write(b"data %d" % number)
            ids.append((await spool.intake.store(incoming, envelope(f"1.{number}", key=key))).message_id)
        spool.settle(ids[1], "pacs", held())
        assert [row.message_id for row in await waiting(spool, "pacs", 0, 10)] == [ids[0], ids[2], ids[3]]
        told.clear()
        spool.settle(ids[1], "pacs", delivered())
        await spool.queue.totals()
        assert told == [ids[0]]  # the first of its lane; the others follow when it is delivered


async def test_an_operator_holds_releases_retries_and_discards(tmp_path: Path) -> None:
    async with running_spool(tmp_path) as spool:
        ids = [await store_message(spool, b"data", f"1.2.{number}") for number in range(4)]
        chosen = Selection(message_ids=(ids[1], ids[2]))
        assert await spool.queue.change(chosen, QueueAction.HOLD) == 2
        assert [row.message_id for row in await waiting(spool, "pacs", 0, 10)] == [ids[0], ids[3]]
        assert await spool.queue.change(chosen, QueueAction.HOLD) == 0
        assert await spool.queue.change(Selection(states=frozenset({DeliveryState.HELD})), QueueAction.RELEASE) == 2
        assert len(await waiting(spool, "pacs", 0, 10)) == 4
        assert await spool.queue.change(Selection(destination="pacs"), QueueAction.RETRY) == 4
        assert await spool.queue.change(chosen, QueueAction.DISCARD) == 2
        assert await spool.queue.change(chosen, QueueAction.DISCARD) == 0
        assert await spool.queue.totals() == {"pacs": Totals(waiting=2, discarded=2)}
    async with running_spool(tmp_path) as spool:
        assert await spool.queue.totals() == {"pacs": Totals(waiting=2, discarded=2)}


async def test_what_waits_again_by_hand_is_owed_as_if_it_had_just_come(tmp_path: Path) -> None:
    async with running_spool(tmp_path) as spool:
        message_id = await store_message(spool, b"data")
        (before,) = await waiting(spool, "pacs", 0, 1)
        spool.settle(message_id, "pacs", held())
        await spool.queue.change(Selection(), QueueAction.RELEASE)
        (after,) = await waiting(spool, "pacs", 0, 1)
        assert before.born < after.born <= spool.clock()


async def test_more_than_fit_into_one_step_are_changed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("router.spool.queue_admin._CHANGED_AT_ONCE", 3)
    async with running_spool(tmp_path) as spool:
        for number in range(4):
            await store_message(spool, b"data", f"1.2.{number}", ("pacs", "vna"))
        assert await spool.queue.change(Selection(), QueueAction.HOLD) == 8
        assert await spool.queue.change(Selection(destination="vna"), QueueAction.DISCARD) == 4
        assert await spool.queue.totals() == {"pacs": Totals(held=4), "vna": Totals(discarded=4)}


async def test_what_no_route_wanted_is_held_until_somebody_says_where(tmp_path: Path) -> None:
    async with running_spool(tmp_path) as spool:
        message_id = await store_message(spool, b"data", destinations=())
        assert (await spool.queue.list_deliveries())[0].reason == "no route matched"
        assert await spool.queue.change(Selection(destination=""), QueueAction.RELEASE) == 0
        assert await spool.queue.change(Selection(destination=""), QueueAction.RELEASE, "pacs") == 1
        assert [row.message_id for row in await waiting(spool, "pacs", 0, 10)] == [message_id]
        assert await spool.queue.totals() == {"": Totals(), "pacs": Totals(waiting=1)}


async def test_pages_of_the_queue_are_whole_messages_and_miss_nothing(tmp_path: Path) -> None:
    async with running_spool(tmp_path) as spool:
        for number in range(5):
            await store_message(spool, b"data", f"1.2.{number}", ("a", "b", "c"))
        seen, after = [], 0
        while rows := await spool.queue.list_deliveries(after=after, limit=4):
            assert len(rows) in (6, 3)
            seen += [(row.message_id, row.destination) for row in rows]
            after = rows[-1].message_id
        assert seen == [(number, name) for number in range(1, 6) for name in "abc"]


async def test_the_queue_is_selected_by_what_people_know(tmp_path: Path) -> None:
    async with running_spool(tmp_path) as spool:
        first = await store_message(spool, b"data", "1.2.1", ("pacs", "vna"))
        await store_message(spool, b"data", "1.2.2")
        spool.settle(first, "vna", held())
        in_flight = Selection(states=frozenset({DeliveryState.IN_FLIGHT}))
        assert len(await spool.queue.list_deliveries(in_flight)) == 2
        assert [row.destination for row in await spool.queue.list_deliveries(Selection(sop_instance_uid="1.2.1"))] == [
            "pacs",
            "vna",
        ]
        assert (
            len(await spool.queue.list_deliveries(Selection(calling_ae="CT", service="storage", destination="vna")))
            == 1
        )
        assert await spool.queue.list_deliveries(Selection(calling_ae="'; DROP TABLE messages; --")) == []


async def test_a_message_is_shown_whole(tmp_path: Path) -> None:
    async with running_spool(tmp_path) as spool:
        message_id = await store_message(spool, b"data", destinations=("pacs", "vna"))
        detail = await spool.queue.show(message_id)
        assert detail.envelope.command == b"command"
        assert detail.where == "segments/00000001 at 64"
        assert [row.destination for row in detail.deliveries] == ["pacs", "vna"]
        with pytest.raises(UnknownMessage):
            await spool.queue.show(99)
        with pytest.raises(UnknownMessage):
            await spool.open_message(99)


async def test_a_stopped_spool_can_be_looked_at_without_its_lock(tmp_path: Path) -> None:
    async with running_spool(tmp_path) as spool:
        message_id = await store_message(spool, b"data")
        await spool.queue.totals()  # the ledger follows the acknowledgement; now it has the message
        looking = ReadOnlySpool(tmp_path)
        assert looking.queue.totals() == {"pacs": Totals(waiting=1)}
        assert looking.queue.show(message_id).data_length == 4
        looking.close()
    looking = ReadOnlySpool(tmp_path)
    assert [row.message_id for row in looking.queue.list_deliveries(Selection())] == [message_id]
    looking.close()
    with pytest.raises(SpoolUnusable):
        ReadOnlySpool(tmp_path / "nowhere")


async def test_the_clock_goes_on_where_it_stood(tmp_path: Path) -> None:
    async with running_spool(tmp_path) as spool:
        await store_message(spool, b"data")
        (row,) = await waiting(spool, "pacs", 0, 1)
    async with running_spool(tmp_path) as spool:
        assert spool.clock() >= row.born
        assert (await waiting(spool, "pacs", 0, 1))[0].born == row.born


# Data sets on their way in.


async def test_what_is_discarded_leaves_no_trace(tmp_path: Path) -> None:
    async with running_spool(tmp_path) as spool:
        for size in (100, 1_000_000):
            async with spool.intake.incoming() as incoming:
                await incoming.write(content(1, size))
        assert spool.statistics().memory == 0
        assert not list((tmp_path / "large").iterdir())
        with pytest.raises(RuntimeError, match="discarded before"):
            await spool.intake.store(incoming, envelope())


class Full(FileSystem):
    """The disk is full at one write of many, or at one sync, or for good."""

    def __init__(self, number: int) -> None:
        self.number = number
        """Calls that are still done."""
        self.is_lasting = False

    def _call(self) -> None:
        self.number -= 1
        if self.number == -1 or (self.is_lasting and self.number < 0):
            raise full()

    def create(self, directory: int, name: str) -> int:
        self._call()
        return super().create(directory, name)

    def write(self, fd: int, buffers: Sequence[bytes | bytearray | memoryview], offset: int) -> None:
        self._call()
        super().write(fd, buffers, offset)

    def sync(self, fd: int) -> None:
        if not self.is_lasting:  # what is cut back after a failure has to be durable, or the router stops
            self._call()
        super().sync(fd)


@pytest.mark.parametrize("lasting", [False, True])
async def test_a_disk_that_is_full_at_any_call_while_a_large_data_set_streams_leaves_no_residue(
    tmp_path: Path, lasting: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("router.spool.incoming._PIECE", 64 << 10)
    monkeypatch.setattr("router.spool.incoming._UNSYNCED", 256 << 10)
    files = Full(1 << 30)
    piece = content(1, 30_000)
    async with running_spool(tmp_path, SETTINGS, files) as spool:
        for number in range(1000):
            files.number, files.is_lasting = number, lasting
            try:
                async with spool.intake.incoming() as incoming:
                    for _ in range(30):  # so much that it is synced meanwhile
                        await incoming.write(piece)
                    await spool.intake.store(incoming, envelope(f"1.2.{number}"))
            except OutOfSpace:
                files.number = 1 << 30
                assert not list((tmp_path / "large").iterdir())
            else:
                break
            assert spool.statistics().memory == 0
            assert not spool.intake.large.in_use
            assert not spool.intake.space._writing
        assert number > 12
        assert len(list((tmp_path / "large").iterdir())) == 1


async def test_cancelled_while_it_is_dropped_a_data_set_leaves_nothing_all_the_same(tmp_path: Path) -> None:
    class Slow(FileSystem):
        begun = threading.Event()
        go_on = threading.Event()

        def remove(self, directory: int, name: str) -> None:
            self.begun.set()
            assert self.go_on.wait(20)
            super().remove(directory, name)

    files = Slow()
    async with running_spool(tmp_path, SETTINGS, files) as spool, trio.open_nursery() as nursery:
        incoming = spool.intake.incoming()
        await incoming.write(content(1, 100_000))
        nursery.start_soon(incoming.discard)
        await trio.to_thread.run_sync(files.begun.wait)
        nursery.cancel_scope.cancel()
        files.go_on.set()
    assert not list((tmp_path / "large").iterdir())
    assert not spool.intake.large.in_use
    assert spool.intake.memory.used == 0


async def test_the_budget_of_memory_is_kept_and_nobody_waits_for_it(tmp_path: Path) -> None:
    async with running_spool(tmp_path) as spool:
        incomings = [spool.intake.incoming() for _ in range(40)]
        data = [content(number, 60_000) for number in range(40)]
        for at in range(0, 60_000, 10_000):
            for incoming, one in zip(incomings, data, strict=True):
                await incoming.write(one[at : at + 10_000])
                assert spool.statistics().memory <= SETTINGS.memory
        assert len(list((tmp_path / "large").iterdir())) > 10
        for number, incoming in enumerate(incomings):
            await spool.intake.store(incoming, envelope(f"1.2.{number}"))
        assert spool.statistics().memory == 0
        for number, row in enumerate(await waiting(spool, "pacs", 0, 100)):
            with await spool.open_message(row.message_id) as message:
                assert await read(message) == data[number]


async def test_a_large_object_is_never_in_memory(tmp_path: Path) -> None:
    piece = os.urandom(1 << 17)
    async with running_spool(tmp_path, SpoolSettings(free_space_floor=0)) as spool:
        incoming = spool.intake.incoming()
        most = 0
        for _ in range(512):
            await incoming.write(piece)
            most = max(most, spool.statistics().memory, len(incoming.data))
        assert most <= 4 << 20
        await incoming.finish()
        with incoming.view() as view:
            assert len(view) == 64 << 20
            assert view[-10:] == piece[-10:]
        receipt = await spool.intake.store(incoming, envelope())
        with await spool.open_message(receipt.message_id) as message:
            buffer = memoryview(bytearray(1 << 17))
            at = 0
            while count := await message.read_into(buffer, at):
                at += count
            assert at == 64 << 20
        spool.settle(receipt.message_id, "pacs", delivered())
        await spool.queue.totals()
    assert not list((tmp_path / "large").iterdir())


@pytest.mark.parametrize("call", ["write", "sync"])
async def test_whatever_a_write_or_a_sync_in_a_thread_raises_ends_that_data_set_alone(
    tmp_path: Path, call: str
) -> None:
    class Buggy(FileSystem):
        armed = False

        def write(self, fd: int, buffers: Sequence[bytes | bytearray | memoryview], offset: int) -> None:
            self.raise_for("write")
            super().write(fd, buffers, offset)

        def sync(self, fd: int) -> None:
            self.raise_for("sync")
            super().sync(fd)

        def raise_for(self, what: str) -> None:
            if self.armed and what == call:
                self.armed = False
                raise ZeroDivisionError

    files = Buggy()
    async with running_spool(tmp_path, SpoolSettings(free_space_floor=0), files) as spool:
        async with spool.intake.incoming() as incoming:
            with pytest.raises(ZeroDivisionError):
                for number in range(256):
                    await incoming.write(content(number, 1 << 17))
                    files.armed |= number == 100
                await incoming.finish()
        assert not list((tmp_path / "large").iterdir())
        assert await store_message(spool, b"the next")


@pytest.mark.parametrize("size", [5, 100_000])
async def test_the_whole_data_set_can_be_looked_at_before_it_is_committed(tmp_path: Path, size: int) -> None:
    data = content(1, size)
    async with running_spool(tmp_path) as spool, spool.intake.incoming() as incoming:
        await incoming.write(data[:3])
        await incoming.write(memoryview(data)[3:])
        with incoming.view() as view:
            assert view == data
            assert view.readonly
        assert incoming.size == size


async def test_a_commit_that_is_cancelled_is_kept_whole_or_not_at_all(tmp_path: Path) -> None:
    async with running_spool(tmp_path) as spool:
        for number in range(30):
            data = content(number, 200_000 if number % 3 == 0 else 2000)
            incoming = spool.intake.incoming()
            await incoming.write(data)
            with trio.move_on_after(number / 10_000):
                await spool.intake.store(incoming, envelope(f"1.2.{number}"))
        await spool.queue.totals()
        assert spool.statistics().memory == 0
        rows = await waiting(spool, "pacs", 0, 100)
        for row in rows:
            number = int(row.sop_instance_uid.rpartition(".")[2])
            with await spool.open_message(row.message_id) as message:
                assert await read(message) == content(number, row.data_length)
        large = sum(row.data_length == 200_000 for row in rows)
        assert len(list((tmp_path / "large").iterdir())) == large


async def test_large_duplicates_are_one_delivery_even_side_by_side(tmp_path: Path) -> None:
    data = content(1, 300_000)
    async with running_spool(tmp_path) as spool:
        receipts = []

        async def send() -> None:
            incoming = spool.intake.incoming()
            await incoming.write(data)
            receipts.append(await spool.intake.store(incoming, envelope()))

        async with trio.open_nursery() as nursery:
            for _ in range(5):
                nursery.start_soon(send)
        assert sorted(receipt.duplicate for receipt in receipts) == [False] + [True] * 4
        assert len(list((tmp_path / "large").iterdir())) == 1


async def test_many_commits_at_once_share_a_sync(tmp_path: Path) -> None:
    async with running_spool(tmp_path) as spool:
        async with trio.open_nursery() as nursery:
            for number in range(200):
                nursery.start_soon(store_message, spool, b"data %d" % number, f"1.2.{number}")
        statistics = spool.statistics()
        assert statistics.commits == 200
        assert statistics.batches < 100
        assert statistics.largest_batch > 1
        assert {row.message_id for row in await waiting(spool, "pacs", 0, 1000)} == set(range(1, 201))


# Limits and failures.


async def test_below_the_free_space_floor_nothing_is_accepted(tmp_path: Path) -> None:
    async with running_spool(tmp_path, evolve(SETTINGS, free_space_floor=1 << 60)) as spool:
        assert not spool.intake.accepting
        assert not spool.statistics().accepting
        with pytest.raises(OutOfSpace, match="free_space_floor"):
            await store_message(spool, b"data")
        with pytest.raises(OutOfSpace):
            await store_message(spool, content(1, 100_000))
        assert not list((tmp_path / "large").iterdir())
        assert spool.statistics().memory == 0


async def test_a_sync_that_fails_ends_run_and_refuses_everybody(tmp_path: Path) -> None:
    class Lying(FileSystem):
        syncs = 0

        def sync(self, fd: int) -> None:
            self.syncs += 1
            if self.syncs > 2:  # the first are those of the counters and of the new segment
                raise broken()

    files = Lying()
    spool = Spool.open(tmp_path, SETTINGS, files=files)
    with pytest.raises(SpoolFailure, match="Input/output error"):
        await spool_run_with(spool, 5)
    assert files.syncs == 3
    with pytest.raises(SpoolFailure):
        await spool.queue.totals()
    spool.close()


async def spool_run_with(spool: Spool, commits: int) -> None:
    """Let some try to commit; raise what `run` raises."""
    refused = 0

    async def send(number: int) -> None:
        nonlocal refused
        try:
            await store_message(spool, b"data", f"1.2.{number}")
        except SpoolFailure:
            refused += 1

    try:
        async with trio.open_nursery() as nursery:
            async with trio.open_nursery() as senders:
                await nursery.start(host, spool)
                for number in range(commits):
                    senders.start_soon(send, number)
            assert refused == commits
    except* SpoolFailure as group:
        raise group.exceptions[0] from None


async def host(spool: Spool, *, task_status: trio.TaskStatus[None]) -> None:
    await spool.run(task_status=task_status)


async def test_no_task_waits_after_run(tmp_path: Path) -> None:
    async with running_spool(tmp_path) as spool:
        await store_message(spool, b"data")
    with pytest.raises(SpoolClosed):
        await store_message(spool, b"data", "1.2.4")
    with pytest.raises(SpoolClosed):
        await waiting(spool, "pacs", 0, 1)
    spool.settle(1, "pacs", delivered())
    with pytest.raises(RuntimeError):
        await spool.run()


async def test_what_was_handed_over_before_the_end_is_still_done(tmp_path: Path) -> None:
    spool = Spool.open(tmp_path, SETTINGS)
    done = []

    async def send(number: int) -> None:
        with trio.CancelScope(shield=True):
            done.append(await store_message(spool, b"data %d" % number, f"1.2.{number}"))

    async with trio.open_nursery() as nursery:
        await nursery.start(spool.run)
        for number in range(20):
            nursery.start_soon(send, number)
        await trio.testing.wait_all_tasks_blocked()
        nursery.cancel_scope.cancel()
    assert len(done) == 20
    spool.close()


async def test_a_message_whose_bytes_changed_on_the_disk_is_never_given_out_whole(tmp_path: Path) -> None:
    async with running_spool(tmp_path) as spool:
        small = await store_message(spool, content(1, 50_000), "1.2.1")
        large = await store_message(spool, content(2, 100_000), "1.2.2")
        fine = await store_message(spool, content(3, 50_000), "1.2.3")
        for path in (tmp_path / "segments" / "00000001", *(tmp_path / "large").iterdir()):
            with path.open("r+b") as file:
                file.seek(40_000)
                file.write(b"flipped")
        for message_id in (small, large):
            with await spool.open_message(message_id) as message:
                seen = bytearray(message.data_length)
                at = 0
                with pytest.raises(DamagedMessage, match="checksum"):
                    while count := await message.read_into(memoryview(seen)[at : at + 30_000], at):
                        at += count
                assert at < message.data_length
        assert await spool.queue.totals() == {"pacs": Totals(waiting=1, held=2)}
        assert spool.statistics().damaged == 2
        assert sorted(path.name for path in (tmp_path / "damaged").iterdir()) == ["message-1", "message-2"]
        assert "set aside as damaged/message-1" in (await spool.queue.list_deliveries())[0].reason
        with pytest.raises(DamagedMessage):
            await spool.open_message(small)
        assert (await spool.queue.show(small)).where == "damaged or gone"
        with await spool.open_message(fine) as message:
            assert await read(message) == content(3, 50_000)


async def test_a_message_whose_envelope_changed_on_the_disk_is_held(tmp_path: Path) -> None:
    async with running_spool(tmp_path) as spool:
        for at, uid in ((70, "1.2.1"), (64 + 20, "1.2.2")):
            message_id = await store_message(spool, b"data", uid)
            await spool.queue.totals()
            place = spool._messages.places[message_id]
            spool.intake.recent.attempted(message_id)
            with (tmp_path / "segments" / "00000001").open("r+b") as file:
                file.seek(place.offset + at)
                file.write(b"\xff\xfe")
            with pytest.raises(DamagedMessage):
                await spool.open_message(message_id)
        assert await spool.queue.totals() == {"pacs": Totals(held=2)}


async def test_a_message_can_be_read_to_its_end_though_it_is_finished_meanwhile(tmp_path: Path) -> None:
    data = content(1, 600_000)
    async with running_spool(tmp_path) as spool:
        message_id = await store_message(spool, data)
        with await spool.open_message(message_id) as message:
            spool.settle(message_id, "pacs", delivered())
            await spool.queue.totals()
            assert await read(message) == data


async def test_a_finished_large_message_is_told_to_be_deleted_and_not_damaged(tmp_path: Path) -> None:
    async with running_spool(tmp_path) as spool:
        message_id = await store_message(spool, content(1, 100_000))
        spool.settle(message_id, "pacs", delivered())
        await spool.queue.totals()
        with pytest.raises(UnknownMessage, match="deleted"):
            while True:  # housekeeping comes after the answers
                (await spool.open_message(message_id)).close()
        assert (await spool.queue.show(message_id)).data_length == 100_000
        assert spool.statistics().damaged == 0
        assert await spool.queue.totals() == {"pacs": Totals(delivered=1)}


async def test_a_moved_message_is_found(tmp_path: Path) -> None:
    async with running_spool(tmp_path, evolve(SETTINGS, segment_size=100_000)) as spool:
        ids = [await store_message(spool, content(number, 20_000), f"1.2.{number}") for number in range(8)]
        before = spool._messages.places[ids[1]]
        for message_id in (ids[0], ids[2], ids[3], ids[4]):
            spool.settle(message_id, "pacs", delivered())
        while (await spool.queue.show(ids[1])).where.startswith("segments/00000001"):
            await trio.lowlevel.checkpoint()
        spool._messages.places[ids[1]] = before
        with await spool.open_message(ids[1]) as message:
            assert await read(message) == content(1, 20_000)


# The directory.


async def test_the_second_router_gets_a_clear_message(tmp_path: Path) -> None:
    async with running_spool(tmp_path):
        code = (
            "import sys; from pathlib import Path; from router.model import SpoolSettings;"
            " from router.spool import Spool, SpoolLocked\n"
            "try: Spool.open(Path(sys.argv[1]), SpoolSettings())\n"
            "except SpoolLocked as error: print(error)"
        )
        result = await trio.run_process(
            [sys.executable, "-c", code, str(tmp_path)], capture_stdout=True, capture_stderr=True
        )
        assert result.stdout.decode().strip() == (
            f"the spool {tmp_path} is in use by another router (process {os.getpid()})"
        )
        with pytest.raises(SpoolLocked):
            Spool.open(tmp_path, SETTINGS)
    Spool.open(tmp_path, SETTINGS).close()


def test_a_directory_that_cannot_be_a_spool_is_refused_with_the_reason(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(SpoolUnusable, match="cannot be used for a spool"):
        Spool.open(tmp_path / "file", SETTINGS)
    with pytest.raises(SpoolUnusable, match="No such file"):
        Spool.open(tmp_path / "no" / "parent", SETTINGS)


@pytest.mark.parametrize("name", ["segments", "large", "damaged", "lock", "counters"])
def test_a_symbolic_link_in_the_place_of_what_the_spool_needs_is_not_followed(tmp_path: Path, name: str) -> None:
    spool, elsewhere = tmp_path / "spool", tmp_path / "elsewhere"
    spool.mkdir()
    elsewhere.mkdir()
    (spool / name).symlink_to(elsewhere)
    with pytest.raises(SpoolUnusable, match=name):
        Spool.open(spool, SETTINGS)
    assert not list(elsewhere.iterdir())


async def test_nobody_else_can_read_the_spool(tmp_path: Path) -> None:
    path = tmp_path / "spool"
    async with running_spool(path) as spool:
        await store_message(spool, content(1, 100_000))
        for found in (path, *path.rglob("*")):
            assert stat.S_IMODE(found.stat().st_mode) == (0o700 if found.is_dir() else 0o600), found


async def test_no_name_on_the_disk_comes_from_the_network(tmp_path: Path) -> None:
    path = tmp_path / "spool"
    uids = ["../../escape", "/etc/passwd", "a\0b", "x" * 10_000, "\u202e", ""]
    async with running_spool(path) as spool:
        for number, uid in enumerate(uids):
            await store_message(spool, content(number, 100_000), uid, (uid or "pacs",))
        names = {found.name for found in path.rglob("*") if found.is_file()}
        assert all(set(name) <= set("0123456789abcdefghijklmnopqrstuvwxyz.-") for name in names)
        rows = await spool.queue.list_deliveries()
        assert {row.sop_instance_uid for row in rows} == set(uids)
    assert os.listdir(tmp_path) == ["spool"]


def test_the_public_names_import_without_a_running_loop() -> None:
    subprocess.run([sys.executable, "-c", "import router.spool"], check=True)


async def test_an_instance_is_known_after_its_bytes_are_gone(tmp_path: Path) -> None:
    async with running_spool(tmp_path) as spool:
        message_id = await store_message(spool, content(1, 5000), "1.2.9", ("pacs", "vna"))
        spool.settle(message_id, "pacs", delivered())
        assert {one.destination: one.state for one in (await spool.queue.instances(["1.2.9"]))["1.2.9"]} == {
            "pacs": DeliveryState.DELIVERED,
            "vna": DeliveryState.WAITING,
        }
        spool.settle(message_id, "vna", delivered())
    async with running_spool(tmp_path) as spool:
        while spool.statistics().segments:
            await trio.lowlevel.checkpoint()
        assert len((await spool.queue.instances(["1.2.9", "1.2.10"]))["1.2.9"]) == 2
        assert (await spool.queue.show(message_id)).where.startswith("gone")
