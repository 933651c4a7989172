"""Small commits on a quick disk are made by the event loop itself, and everything else by the writer's thread."""

import threading
import time
from collections.abc import Callable
from pathlib import Path

import pytest
import trio
import trio.lowlevel
from attrs import define

from router.spool import SpoolFailure
from router.spool.disk.filesystem import FileSystem
from router.spool.jobs import BringUpToDate, Commit, WriteSoon
from router.spool.pace import DiskPace
from router.spool.values import Receipt
from tests.router.spool.driver import Driver, content, envelope, held, waiting
from tests.router.spool.power_cut import FragileFiles, broken, full, ledger_full
from tests.support.spool import SETTINGS, running_spool, store_message

SMALL = content(1, 300)


@define
class Clock:
    now: float = 100.0

    def __call__(self) -> float:
        return self.now


class SpikyFiles(FragileFiles):
    """A sync takes 0.2 ms, and now and then 50 ms."""

    def __init__(self, clock: Clock, every: int) -> None:
        super().__init__()
        self.clock = clock
        self.every = every

    def sync(self, fd: int) -> None:
        super().sync(fd)
        self.clock.now += 0.05 if self.calls.count("sync") % self.every == 0 else 0.0002


def ready(files: FragileFiles, clock: Callable[[], float] = time.monotonic) -> Driver:
    """A spool with a segment and the filter of instances."""
    driver = Driver(files)
    driver.writer.pace = DiskPace(clock)
    driver.commit(SMALL, envelope("1.1"))
    driver.ask(BringUpToDate())
    while driver.writer.group.instances.has_work:
        driver.writer.turn([])
    while not driver.writer.jobs.empty():
        driver.writer.jobs.get_nowait()
    return driver


def put(driver: Driver, number: int, data: bytes = SMALL) -> Commit:
    return driver.put(data, envelope(f"1.2.{number}"))


def test_a_small_commit_is_durable_and_replied_to_at_once() -> None:
    files = FragileFiles()
    driver = ready(files)
    files.calls.clear()
    commits = [put(driver, number) for number in range(3)]
    rows = driver.writer.commit_here(commits)
    assert rows is not None
    assert files.calls == ["write", "sync"]
    assert [row.waiting.sop_instance_uid for row in rows] == ["1.2.0", "1.2.1", "1.2.2"]
    assert [row.waiting.message_id for row in rows] == [2, 3, 4]
    assert all(isinstance(commit.reply.value, Receipt) for commit in commits)
    assert isinstance(driver.writer.jobs.get_nowait(), WriteSoon)  # the thread brings the ledger up to date in time
    assert 0.0 < driver.writer._patience() <= 0.02
    files.power_on(0)
    assert sorted(row.message_id for row in Driver(files).waiting("pacs")) == [1, 2, 3, 4]


def test_what_might_hold_up_the_event_loop_is_left_to_the_thread() -> None:
    driver = ready(FragileFiles())
    segment = driver.writer.segments.current
    assert segment is not None
    cases = {
        "a file of its own": lambda: put(driver, 1, content(2, 9000)),
        "may be a duplicate": lambda: driver.put(content(2, 300), envelope("1.1")),
    }
    for why, commit in cases.items():
        assert driver.writer.commit_here([commit()]) is None, why
    segment.size, size = segment.end + 1000, segment.size
    assert driver.writer.commit_here([put(driver, 2)]) is None  # a new segment would be begun
    segment.size = size
    assert driver.writer.commit_here([put(driver, 3)]) is not None


def test_nothing_is_committed_while_the_thread_is_at_work() -> None:
    driver = ready(FragileFiles())
    found: list[object] = []
    commit = put(driver, 1)
    with driver.writer._lock:
        thread = threading.Thread(target=lambda: found.append(driver.writer.commit_here([commit])))
        thread.start()
        thread.join()
    assert found == [None]
    assert not commit.reply.given
    assert driver.writer.commit_here([commit]) is not None


def test_a_large_batch_is_left_to_the_thread(tmp_path: Path) -> None:
    driver = Driver(FileSystem(), SETTINGS, tmp_path)
    driver.commit(SMALL, envelope("1.1"))
    while driver.writer.group.instances.has_work:
        driver.writer.turn([])
    commits = [put(driver, number, content(number, 60_000)) for number in range(5)]
    assert driver.writer.commit_here(commits) is None
    assert driver.writer.commit_here(commits[:4]) is not None
    driver.writer.turn([commits[4]])
    driver.stop()


def test_a_ledger_that_is_far_behind_is_brought_up_to_date_first(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("router.spool.ledger_updates._MOST_BEHIND", 2)
    driver = ready(FragileFiles())
    for number in range(2):
        assert driver.writer.commit_here([put(driver, number, b"")]) is not None
    commit = put(driver, 2, b"")
    assert driver.writer.commit_here([commit]) is None
    driver.writer.turn([commit])
    assert not driver.writer.updates.is_behind


def test_one_spike_holds_up_the_event_loop_once_in_ten_seconds() -> None:
    clock = Clock()
    files = SpikyFiles(clock, every=50)
    driver = ready(files, clock)
    stalls: list[float] = []
    here: list[float] = []
    for number in range(6000):
        clock.now += 0.01
        commit, began = put(driver, number, b""), clock.now
        if driver.writer.commit_here([commit]) is None:
            driver.writer.turn([commit])
        else:
            here.append(began)
            if clock.now - began > 0.005:
                stalls.append(clock.now)
        driver.settle(number + 2, "pacs", held())
    assert len(stalls) == driver.writer.pace.stalls
    assert len(here) == driver.writer.pace.batches
    assert 3 <= len(stalls) <= 7  # of 60 s and some 120 spikes
    for stall in stalls:
        assert not [at for at in here if stall <= at < stall + 10]
    assert [at for at in here if at > stalls[0] + 10]


def test_the_pace_is_slow_for_ten_seconds_after_one_slow_commit() -> None:
    clock = Clock()
    pace = DiskPace(clock)
    began = clock.now
    clock.now += 0.004
    pace.measure(began)
    assert pace.is_quick
    began = clock.now
    clock.now += 0.006
    pace.measure(began)
    assert not pace.is_quick
    clock.now += 9.9
    assert not pace.is_quick
    clock.now += 0.2
    assert pace.is_quick
    assert (pace.batches, pace.stalls) == (2, 1)


def test_a_sync_that_fails_in_the_event_loop_is_the_end_as_in_the_thread() -> None:
    files = FragileFiles()
    driver = ready(files)
    in_hand = put(driver, 1)  # the thread has it, and waits for the lock
    commit = put(driver, 2)
    files.fails = lambda call: broken() if call == "sync" else None
    assert driver.writer.commit_here([commit]) == []
    with pytest.raises(SpoolFailure, match="Input/output error"):
        _ = commit.reply.value
    assert driver.writer.commit_here([put(driver, 3)]) is None
    files.calls.clear()
    driver.writer.jobs.put(in_hand)
    driver.writer.run()
    assert isinstance(driver.writer.failure, SpoolFailure)
    assert in_hand.reply.error is driver.writer.failure
    assert not {"write", "sync"} & set(files.calls)  # nothing is tried again


def test_a_full_disk_refuses_in_the_event_loop_as_in_the_thread() -> None:
    files = FragileFiles()
    driver = ready(files)
    files.fails = lambda call: full() if call == "write" else None
    commit = put(driver, 1)
    assert driver.writer.commit_here([commit]) == []
    assert "no room" in str(commit.reply.error)
    files.fails = lambda call: None
    assert driver.commit(SMALL, envelope("1.2.2")).message_id == 3
    driver.stop()


def test_while_the_ledger_has_no_room_the_thread_commits() -> None:
    files = FragileFiles()
    driver = ready(files)
    assert driver.writer.commit_here([put(driver, 1)]) is not None
    files.fails = lambda call: ledger_full() if call == "commit" else None
    assert not driver.writer.write_down()
    assert driver.writer.commit_here([put(driver, 2)]) is None


class Watching(FileSystem):
    """Notes which thread syncs files, and may have a sync fail."""

    def __init__(self) -> None:
        self.threads: list[str] = []
        self.fail = False

    def sync(self, fd: int) -> None:
        self.threads.append(threading.current_thread().name)
        if self.fail:
            raise broken()
        super().sync(fd)


async def ready_spool(spool: object, files: Watching) -> None:
    writer = spool._writer  # type: ignore[attr-defined]
    while writer.group.instances.has_work or writer.segments.current is None:
        await store_message(spool, SMALL, f"1.1.{len(files.threads)}")  # type: ignore[arg-type]
        await trio.lowlevel.checkpoint()
    files.threads.clear()


async def test_tasks_of_one_turn_share_a_sync_of_the_event_loop(tmp_path: Path) -> None:
    files = Watching()
    async with running_spool(tmp_path, SETTINGS, files) as spool:
        await ready_spool(spool, files)
        spool._writer.pace = DiskPace(lambda: 0.0)  # however slow this machine is
        heard: list[str] = []
        spool.subscribe(lambda destination, rows: heard.extend(row.sop_instance_uid for row in rows))
        async with trio.open_nursery() as nursery:
            for number in range(16):
                nursery.start_soon(store_message, spool, SMALL, f"1.2.{number}")
        here = files.threads.count(threading.current_thread().name)
        assert here <= 2
        assert here + files.threads.count("spool writer") <= 4
        new = [uid for uid in heard if uid.startswith("1.2.")]
        assert sorted(new) == sorted(f"1.2.{number}" for number in range(16))
        assert spool.statistics().memory == 0
        while threading.current_thread().name not in files.threads:
            await store_message(spool, SMALL, f"1.3.{len(files.threads)}")
        assert spool.statistics().event_loop_batches > 0
        assert spool.statistics().event_loop_stalls == 0


async def test_a_disk_that_fails_under_the_event_loop_ends_the_spool(tmp_path: Path) -> None:
    files = Watching()
    spool_at = tmp_path
    with pytest.raises(BaseExceptionGroup) as caught:
        async with running_spool(spool_at, SETTINGS, files) as spool:
            await ready_spool(spool, files)
            spool._writer.pace = DiskPace(lambda: 0.0)
            files.fail = True
            with pytest.raises(SpoolFailure):
                await store_message(spool, SMALL, "1.2.1")
            await trio.sleep_forever()
    assert caught.group_contains(SpoolFailure)
    assert len(files.threads) == 1


async def test_cancelled_while_others_are_gathered_a_commit_is_made_for_all(tmp_path: Path) -> None:
    files = Watching()
    async with running_spool(tmp_path, SETTINGS, files) as spool:
        await ready_spool(spool, files)
        before = {row.message_id for row in await waiting(spool, "pacs", 0, 10_000)}
        for number in range(50):
            async with trio.open_nursery() as nursery:
                for other in range(3):
                    nursery.start_soon(store_message, spool, SMALL, f"1.2.{number}.{other}")
                await trio.lowlevel.checkpoint()
                nursery.cancel_scope.cancel()
        await spool.queue.totals()
        assert spool.statistics().memory == 0
        assert spool._client._gathered == []
        for row in await waiting(spool, "pacs", 0, 10_000):
            if row.message_id not in before:
                with await spool.open_message(row.message_id) as message:
                    assert message.data_length == len(SMALL)


async def test_what_is_gathered_when_the_spool_ends_is_still_committed(tmp_path: Path) -> None:
    files = Watching()
    receipts: list[int] = []
    async with running_spool(tmp_path, SETTINGS, files) as spool:
        await ready_spool(spool, files)
        commit = Commit(spool.intake.incoming(), envelope("1.2.7"))

        async def store() -> None:
            with trio.CancelScope(shield=True):
                receipt = await spool._client.commit(commit)
                assert isinstance(receipt, Receipt)
                receipts.append(receipt.message_id)

        async with trio.open_nursery() as nursery:
            nursery.start_soon(store)
            await trio.lowlevel.checkpoint()
            spool._client._put_commits(spool._client._gathered)  # as `run` does at its end
            spool._client._gathered = []
    assert len(receipts) == 1
    async with running_spool(tmp_path, SETTINGS) as spool:
        rows = await waiting(spool, "pacs", 0, 10_000)
        assert [row.message_id for row in rows if row.sop_instance_uid == "1.2.7"] == receipts
