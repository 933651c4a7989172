"""What is retained until its destination has committed to it: what of it may be asked for, and when."""

import pytest

from router.model import AttemptResult, DeliveryState, Purpose, Result
from router.spool.jobs import ChangeDeliveries, SendAgain
from router.spool.ledger.queries import START
from router.spool.values import QueueAction, Selection, Totals
from tests.router.spool.driver import Driver, content, delivered, envelope, held, retry
from tests.router.spool.power_cut import FragileFiles


def driver_with(*uids: str) -> Driver:
    """One message of each instance, of ids 1, 2 ..."""
    driver = Driver(FragileFiles())
    for uid in uids:
        driver.commit(content(1, 100), envelope(uid, retain=("pacs",)))
    return driver


def asked(driver: Driver, *, clock: float | None = None, limit: int = 100) -> list[int]:
    ledger = driver.ledger
    found = ledger.queue.retained("pacs", ledger.clock() if clock is None else clock, limit)
    assert not any(one.abandoned for one in found)
    return [one.message_id for one in found]


def test_what_was_delivered_may_be_asked_for_and_nothing_else() -> None:
    driver = driver_with("1.1", "1.2", "1.3", "1.4")
    driver.settle(2, "pacs", delivered())
    driver.settle(3, "pacs", held())
    driver.settle(4, "pacs", delivered())
    assert asked(driver) == [2, 4]
    assert asked(driver, limit=1) == [2]
    driver.settle(2, "pacs", delivered("committed"), Purpose.RETAIN)
    assert asked(driver) == [4]
    assert driver.ledger.queue.retained("vna", driver.ledger.clock(), 100) == []


def test_what_was_refused_comes_after_what_was_never_asked_for_and_not_before_it_is_due() -> None:
    driver = driver_with("1.1", "1.2", "1.3")
    for message_id in (1, 2, 3):
        driver.settle(message_id, "pacs", delivered())
    refused = AttemptResult(result=Result.RETRY, reason="not committed", due=driver.ledger.clock() + 60)
    driver.settle(1, "pacs", refused, Purpose.RETAIN)
    assert asked(driver) == [2, 3]
    assert asked(driver, clock=driver.ledger.clock() + 61) == [2, 3, 1]


def test_what_is_on_its_way_again_is_not_asked_for_before_it_is_there() -> None:
    driver = driver_with("1.1")
    driver.settle(1, "pacs", delivered())
    assert asked(driver) == [1]
    driver.commit(content(1, 100), envelope("1.1"))
    assert asked(driver) == []
    driver.settle(2, "pacs", delivered())
    assert asked(driver) == [1]


def test_other_bytes_of_the_same_instance_do_not_hold_it_up() -> None:
    driver = driver_with("1.1")
    driver.settle(1, "pacs", delivered())
    driver.commit(content(2, 200), envelope("1.1", retain=("pacs",)))
    assert asked(driver) == [1]


def test_what_an_operator_discarded_is_told_to_be_abandoned() -> None:
    driver = driver_with("1.1")
    selection = Selection(destination="pacs", purpose=Purpose.SEND)
    driver.ask(ChangeDeliveries(selection, QueueAction.DISCARD, None, START, 10))
    (found,) = driver.ledger.queue.retained("pacs", driver.ledger.clock(), 10)
    assert (found.message_id, found.abandoned) == (1, True)


def test_it_is_found_by_an_index_however_much_waits() -> None:
    driver = driver_with("1.1")
    seen: list[str] = []
    connection = driver.ledger.database.connection
    connection.set_trace_callback(seen.append)
    driver.ledger.queue.retained("pacs", 0.0, 10)
    connection.set_trace_callback(None)
    plan = connection.execute(f"EXPLAIN QUERY PLAN {seen[0]}").fetchall()
    assert "deliveries_retained" in plan[0][3]
    assert not any("SCAN" in row[3] or "TEMP B-TREE" in row[3] for row in plan), plan


def test_a_retry_of_what_is_retained_counts_its_refusals_from_0() -> None:
    driver = driver_with("1.1", "1.2")
    for message_id in (1, 2):
        driver.settle(message_id, "pacs", delivered())
        driver.settle(message_id, "pacs", retry("not committed"), Purpose.RETAIN)
    driver.settle(1, "pacs", held("not committed, 2 times"), Purpose.RETAIN)
    assert driver.change(QueueAction.RETRY, purpose=Purpose.RETAIN) == 2
    rows = driver.ledger.queue.list_deliveries(Selection(purpose=Purpose.RETAIN))
    assert [(row.state, row.attempts) for row in rows] == [(DeliveryState.WAITING, 0)] * 2
    (sent, _) = driver.ledger.queue.list_deliveries(Selection(purpose=Purpose.SEND))
    assert sent.attempts == 1


def test_what_is_sent_again_waits_and_is_asked_for_when_it_was_delivered() -> None:
    driver = driver_with("1.1")
    driver.settle(1, "pacs", delivered())
    driver.rows.clear()
    assert driver.ask(SendAgain(1, "pacs", "the archive lacks it"))
    assert [(row.message_id, row.unanswered) for row in driver.rows] == [(1, 1)]
    assert driver.ledger.queue.totals() == {"pacs": Totals(waiting=1)}
    assert asked(driver) == []
    assert not driver.ask(SendAgain(1, "pacs", "it waits already"))
    driver.settle(1, "pacs", delivered())
    assert asked(driver) == [1]
    driver.settle(1, "pacs", delivered("committed"), Purpose.RETAIN)
    driver.tidy()
    assert driver.writer.segments.current is not None
    assert driver.writer.segments.current.live == 0
    assert not driver.ask(SendAgain(1, "pacs", "it is not retained"))
    assert driver.ledger.queue.totals() == {"pacs": Totals(delivered=1)}


def test_what_is_not_retained_is_not_sent_again() -> None:
    driver = Driver(FragileFiles())
    driver.commit(content(1, 100), envelope("1.1", ("pacs", "vna"), retain=("pacs",)))
    assert not driver.ask(SendAgain(1, "pacs", "it was not delivered yet"))
    driver.settle(1, "vna", delivered())
    assert not driver.ask(SendAgain(1, "vna", "it is not retained there"))
    driver.settle(1, "pacs", delivered())
    assert not driver.ask(SendAgain(2, "pacs", "there is no such message"))


@pytest.mark.parametrize("loses_ledger", [False, True])
def test_a_power_cut_leaves_it_to_be_sent_again(loses_ledger: bool) -> None:
    files = FragileFiles()
    driver = Driver(files)
    driver.commit(content(1, 100), envelope("1.1", retain=("pacs",)))
    driver.settle(1, "pacs", delivered())
    assert driver.ask(SendAgain(1, "pacs", "the archive lacks it"))
    files.power_on(0)
    if loses_ledger:
        files.ledger_states = [None]
    again = Driver(files)
    assert [row.message_id for row in again.waiting("pacs")] == [1]
    again.settle(1, "pacs", delivered())
    assert asked(again) == [1]
