"""What a destination reads of its queue: in parts, from an index, and never more than may travel."""

from collections.abc import Iterator
from pathlib import Path

import pytest
from attrs import evolve

from router.model import AttemptResult, Result
from router.spool.disk.counters import Counters
from router.spool.disk.filesystem import REAL
from router.spool.ledger import waiting_rows as backlog
from router.spool.ledger.ledger import Ledger
from router.spool.ledger.rows import LedgerEntry, SettledDelivery
from router.spool.values import LocatedDelivery, Place
from tests.router.spool.driver import envelope

PLANS = {
    "fresh": (backlog.FRESH, ("pacs", 0, 10), "deliveries_fresh"),
    "newest": (backlog.NEWEST, ("pacs", 10), "deliveries_fresh"),
    "due": (backlog.DUE, ("pacs", 0.0, 0, 10), "deliveries_due"),
    "first of lane": (backlog.FIRST_OF_LANE, ("pacs", "a"), "deliveries_lane"),
}


@pytest.fixture
def ledger(tmp_path: Path) -> Iterator[Ledger]:
    ledger = Ledger.open(REAL, tmp_path / "ledger.sqlite", Counters())
    ledger.database.clock = lambda: 1000.0
    yield ledger
    ledger.close()


def entry(message_id: int, key: str = "", crc: int = 0, uid: str = "") -> LedgerEntry:
    place = Place(segment=1, offset=message_id * 100, length=100, data_length=10, data_crc=crc)
    return LedgerEntry(
        message_id=message_id,
        place=place,
        envelope=envelope(uid or f"1.2.{message_id}", key=key),
        born=float(message_id),
    )


def add(ledger: Ledger, *entries: LedgerEntry) -> None:
    with ledger.transaction():
        ledger.enter(entries)


def settle(ledger: Ledger, message_id: int, result: Result, due: float = 0.0) -> None:
    told = AttemptResult(result=result, reason="told", due=due)
    with ledger.transaction():
        ledger.settle([SettledDelivery(message_id=message_id, destination="pacs", result=told)])


def ids(rows: list[LocatedDelivery]) -> list[int]:
    return [row.waiting.message_id for row in rows]


@pytest.mark.parametrize("name", PLANS)
def test_no_read_goes_through_the_whole_backlog(name: str, ledger: Ledger) -> None:
    statement, values, index = PLANS[name]
    plan = [row[3] for row in ledger.database.execute(f"EXPLAIN QUERY PLAN {statement}", values)]
    assert plan[0].startswith(f"SEARCH d USING INDEX {index} (destination=?")
    assert not [step for step in plan if step.startswith("SCAN") or "TEMP B-TREE" in step], plan


def test_of_a_lane_only_the_first_is_read_and_a_part_is_cut_by_what_was_looked_at(ledger: Ledger) -> None:
    add(ledger, entry(1, "a"), *(entry(number, "a") for number in range(2, 100)), entry(100))
    part = ledger.backlog.fresh("pacs", 0, 10)
    assert (ids(part.rows), part.last, part.is_end) == ([1], 10, False)
    part = ledger.backlog.fresh("pacs", 95, 10)
    assert (ids(part.rows), part.is_end) == ([100], True)


def test_the_next_of_a_lane_may_travel_when_the_first_is_finished(ledger: Ledger) -> None:
    add(ledger, *(entry(number, "a") for number in range(1, 4)))
    for result, found in ((Result.DELIVERED, [2]), (Result.HELD, [])):
        (first,) = ids(ledger.backlog.first_of_lanes("pacs", ["a"]))
        settle(ledger, first, result)
        assert ids(ledger.backlog.first_of_lanes("pacs", ["a", "b"])) == found


def test_what_is_deferred_is_read_when_it_is_due_and_blocks_its_lane_until_then(ledger: Ledger) -> None:
    add(ledger, entry(1, "a"), entry(2, "a"), entry(3), entry(4))
    now = ledger.clock()
    settle(ledger, 1, Result.RETRY, due=now + 1000)
    settle(ledger, 3, Result.RETRY, due=now - 1)
    settle(ledger, 4, Result.RETRY, due=now - 2)
    assert ids(ledger.backlog.fresh("pacs", 0, 10).rows) == []
    part = ledger.backlog.due("pacs", (0.0, 0), 10)
    assert ids(part.rows) == [4, 3]
    assert part.last == (now - 1, 3)
    assert part.next_due == now + 1000
    assert ids(ledger.backlog.first_of_lanes("pacs", ["a"])) == []


def test_what_is_due_is_read_in_parts(ledger: Ledger) -> None:
    add(ledger, *(entry(number) for number in range(1, 6)))
    now = ledger.clock()
    for number in range(1, 6):
        settle(ledger, number, Result.RETRY, due=now - 10 + number)
    after, read = (0.0, 0), []
    while True:
        part = ledger.backlog.due("pacs", after, 2)
        read += ids(part.rows)
        after = part.last
        if part.next_due is not None:
            break
    assert (read, part.next_due) == ([1, 2, 3, 4, 5], float("inf"))


def test_the_newest_are_read_from_the_end(ledger: Ledger) -> None:
    add(ledger, *(entry(number) for number in range(1, 50)), entry(50, "a"), entry(51, "a"))
    assert ids(ledger.backlog.newest("pacs", 4)) == [50, 49, 48]


def test_earlier_deliveries_of_an_instance_are_told_apart_by_their_bytes(ledger: Ledger) -> None:
    uid = "1.2.840.1"
    add(ledger, entry(1, crc=7, uid=uid), entry(2, crc=7, uid=uid), entry(3, crc=8, uid=uid), entry(4, crc=7))
    earlier = ledger.backlog.delivered_before(2, "pacs")
    assert (earlier.same_bytes, earlier.other_bytes, earlier.may_be_lost) == (False, False, False)
    settle(ledger, 1, Result.DELIVERED)
    assert ledger.backlog.delivered_before(2, "pacs") == evolve(earlier, same_bytes=True)
    assert ledger.backlog.delivered_before(3, "pacs") == evolve(earlier, other_bytes=True)
    assert ledger.backlog.delivered_before(2, "vna") == earlier
    assert ledger.backlog.delivered_before(4, "pacs") == earlier
