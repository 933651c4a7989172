"""Another program locks the ledger, as a backup does, or an operator with sqlite3: none waits, and nothing is lost."""

import sqlite3
from functools import partial
from pathlib import Path

import pytest
import trio
import trio.lowlevel
from structlog.testing import capture_logs

from router.dimse import Command
from router.model import SpoolSettings
from router.spool import OutOfSpace, QueueAction, Selection, Spool
from router.spool.disk.filesystem import REAL
from router.spool.jobs import BringUpToDate, ChangeDeliveries, LookUpPlace, ReadFresh
from router.spool.ledger.queries import START
from router.spool.values import Receipt
from tests.router.spool.driver import Driver, content, delivered, envelope, retry
from tests.support.harness import Archive, Modality, configuration, data_set, eventually, running_router, store_rq

SETTINGS = SpoolSettings(segment_size=1 << 20, free_space_floor=0)


class Lock:
    """On a spool's ledger, from outside."""

    def __init__(self, folder: Path) -> None:
        self._connection = sqlite3.connect(folder / "ledger.sqlite", isolation_level=None)
        self._connection.execute("BEGIN IMMEDIATE")

    def release(self) -> None:
        self._connection.execute("ROLLBACK")
        self._connection.close()


@pytest.fixture
def driver(tmp_path: Path) -> Driver:
    one = Driver(REAL, path=tmp_path)
    one.ledger.database.execute("PRAGMA busy_timeout = 0")  # as `Writer.run` does
    return one


def test_messages_are_taken_while_the_ledger_is_locked_and_written_down_later(driver: Driver, tmp_path: Path) -> None:
    told: list[bool] = []
    driver.writer.updates.on_lock = told.append
    lock = Lock(tmp_path)
    for number in range(1, 6):
        assert driver.commit(content(number, 700), envelope(f"1.2.{number}")).message_id == number
        assert not driver.writer.write_down()
    assert [row.message_id for row in driver.rows] == [1, 2, 3, 4, 5]
    assert driver.ask(LookUpPlace(3)) is not None
    lock.release()
    driver.writer.turn([])
    assert [row.message_id for row in driver.waiting("pacs")] == [1, 2, 3, 4, 5]
    assert told == [True, False]
    driver.stop()


def test_messages_that_the_ledger_does_not_have_yet_are_read_with_the_queue(driver: Driver, tmp_path: Path) -> None:
    driver.commit(b"data", envelope("1.2.1"))
    driver.ask(BringUpToDate())
    lock = Lock(tmp_path)
    for number in (2, 3, 4):
        driver.commit(b"data", envelope(f"1.2.{number}"))
    driver.settle(3, "pacs", delivered())
    assert [row.waiting.message_id for row in driver.ask(ReadFresh("pacs", 0, 10)).rows] == [1, 2, 4]
    part = driver.ask(ReadFresh("pacs", 0, 2))
    assert ([row.waiting.message_id for row in part.rows], part.is_end) == ([1, 2], False)
    part = driver.ask(ReadFresh("pacs", part.last, 10))
    assert ([row.waiting.message_id for row in part.rows], part.last, part.is_end) == ([4], 4, True)
    assert driver.ask(ReadFresh("elsewhere", 0, 10)).rows == []
    lock.release()
    assert [row.message_id for row in driver.waiting("pacs")] == [1, 2, 4]
    driver.stop()


def test_outcomes_are_kept_while_the_ledger_is_locked(driver: Driver, tmp_path: Path) -> None:
    driver.commit(b"data", envelope("1.2.1"))
    driver.ask(BringUpToDate())
    lock = Lock(tmp_path)
    driver.settle(1, "pacs", delivered())
    driver.tidy()
    lock.release()
    assert driver.waiting("pacs") == []
    driver.stop()


def test_what_may_be_a_duplicate_is_refused_for_now_and_others_are_not(driver: Driver, tmp_path: Path) -> None:
    lock = Lock(tmp_path)
    driver.commit(b"data", envelope("1.2.1"))
    again, other = driver.put(b"data", envelope("1.2.1")), driver.put(b"data", envelope("1.2.2"))
    driver.writer.turn([again, other])
    with pytest.raises(OutOfSpace, match="locked"):
        _ = again.reply.value
    assert isinstance(other.reply.value, Receipt)
    lock.release()
    assert driver.commit(b"data", envelope("1.2.1")).duplicate
    driver.stop()


def test_no_more_are_taken_than_memory_is_meant_for(
    driver: Driver, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("router.spool.ledger_updates._MOST_UNWRITTEN", 3)
    lock = Lock(tmp_path)
    for number in range(3):
        driver.commit(b"data", envelope(f"1.2.{number}"))
    with pytest.raises(OutOfSpace, match="locked"):
        driver.commit(b"data", envelope("1.2.9"))
    lock.release()
    driver.commit(b"data", envelope("1.2.9"))
    assert len(driver.waiting("pacs")) == 4
    driver.stop()


def test_a_change_by_an_operator_is_refused_with_the_reason(driver: Driver, tmp_path: Path) -> None:
    driver.commit(b"data", envelope("1.2.1"))
    driver.ask(BringUpToDate())
    lock = Lock(tmp_path)
    selection = Selection(message_ids=(1,))

    with pytest.raises(OutOfSpace, match="another program has locked the ledger"):
        driver.ask(ChangeDeliveries(selection, QueueAction.DISCARD, None, START, 100))
    lock.release()
    driver.ask(ChangeDeliveries(selection, QueueAction.DISCARD, None, START, 100))
    assert driver.waiting("pacs") == []
    driver.stop()


def test_tidying_is_put_off(driver: Driver, tmp_path: Path) -> None:
    driver.commit(content(1, 9000), envelope("1.2.1"))
    driver.settle(1, "pacs", delivered())
    driver.writer.write_down()
    driver.writer.housekeeping._not_before = 0.0
    lock = Lock(tmp_path)
    driver.writer.turn([])
    driver.tidy()
    lock.release()
    driver.writer.housekeeping._not_before = 0.0
    driver.tidy()
    assert not list((tmp_path / "large").iterdir())
    driver.stop()


def test_what_was_not_written_down_at_the_end_is_found_at_the_next_start(
    driver: Driver, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("router.spool.writer._LAST_PATIENCE", 10)
    lock = Lock(tmp_path)
    driver.commit(b"data", envelope("1.2.1"))
    driver.stop()
    lock.release()
    again = Driver(REAL, path=tmp_path)
    assert again.report.recovered == 1
    assert [row.message_id for row in again.waiting("pacs")] == [1]
    again.stop()


async def test_an_acknowledgement_does_not_wait_for_the_lock(tmp_path: Path) -> None:
    spool = await trio.to_thread.run_sync(partial(Spool.open, tmp_path, SETTINGS))
    async with trio.open_nursery() as nursery:
        await nursery.start(spool.run)
        lock = Lock(tmp_path)
        with capture_logs() as lines, trio.fail_after(4):  # SQLite's own patience is 5 s
            for number in range(20):
                await spool.intake.store_bytes(b"data", envelope(f"1.2.{number}"))
                await spool.queue.totals()
        assert [line["event"] for line in lines] == ["another program has locked the ledger: end it"]
        lock.release()
        assert len(await spool.queue.list_deliveries(limit=1000)) == 20
        nursery.cancel_scope.cancel()
    spool.close()


def test_what_is_settled_and_not_written_down_does_not_wait_any_more(driver: Driver, tmp_path: Path) -> None:
    caught_up: list[bool] = []
    driver.writer.updates.on_caught_up = lambda: caught_up.append(True)
    for number in range(1, 4):
        driver.commit(b"data", envelope(f"1.2.{number}"))
    driver.ask(BringUpToDate())
    lock = Lock(tmp_path)
    driver.settle(1, "pacs", delivered())
    driver.settle(2, "pacs", retry())
    assert [row.waiting.message_id for row in driver.ask(ReadFresh("pacs", 0, 10)).rows] == [3]
    assert not caught_up
    lock.release()
    assert [row.waiting.message_id for row in driver.ask(ReadFresh("pacs", 0, 10)).rows] == [2, 3]
    assert caught_up
    driver.stop()


async def test_deliveries_go_on_at_their_pace_and_none_is_forgotten(tmp_path: Path) -> None:
    heard: set[str] = set()
    refused = {"1.2.1"}

    def script(command: Command) -> int:
        heard.add(command.sop_instance_uid)
        return 0xA700 if command.sop_instance_uid in refused else 0

    async def heard_of(uid: str) -> bool:
        return uid in heard

    async with Archive(script=script).serving() as archive:
        config = configuration(tmp_path, pacs=archive.port)
        async with running_router(config) as router, Modality.connected(router.port) as modality:
            await modality.associate()
            lock = Lock(config.router.spool)
            for number in range(1, 10):
                await modality.store(store_rq(f"1.2.{number}"), data_set(f"1.2.{number}"))
                await eventually(partial(heard_of, f"1.2.{number}"))
            lock.release()
            refused.clear()
            await router.until("pacs", delivered=9)
