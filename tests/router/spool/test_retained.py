"""What is retained until its destination has committed to it: what of it may be asked for, and when."""

from router.model import AttemptResult, Purpose, Result
from router.spool.jobs import ChangeDeliveries
from router.spool.ledger.queries import START
from router.spool.values import QueueAction, Selection
from tests.router.spool.driver import Driver, content, delivered, envelope, held
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
