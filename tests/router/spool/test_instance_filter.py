"""The filter in front of the ledger never hides a duplicate, whatever happened before."""

import time

import pytest
from attrs import evolve
from hypothesis import given, settings
from hypothesis import strategies as st

from router.spool import instance_filter
from router.spool.instance_filter import InstanceFilter
from router.spool.jobs import SendAgain
from router.spool.ledger.rows import EarlierMessage
from router.spool.values import C_STORE, QueueAction
from tests.router.spool.driver import SETTINGS, Driver, content, delivered, envelope, held
from tests.router.spool.power_cut import FragileFiles, ledger_full

UIDS = [f"1.2.{number}" for number in range(12)]


def instances(driver: Driver) -> InstanceFilter:
    return driver.writer.group.instances


def build(driver: Driver) -> None:
    while instances(driver).has_work:
        driver.writer._read_at = 0.0
        driver.writer.turn([])


def unfinished(driver: Driver) -> set[str]:
    """By the plain SELECT, and of messages that the ledger does not have yet."""
    rows = driver.writer.ledger.database.execute(
        "SELECT sop_instance_uid FROM messages WHERE unfinished > 0 AND kind = ?", (C_STORE,)
    )
    unwritten = [entry.envelope for entry in driver.writer.updates._entries]
    return {uid for (uid,) in rows} | {one.sop_instance_uid for one in unwritten if one.kind == C_STORE}


@settings(deadline=None)
@given(st.data())
def test_no_unfinished_instance_is_ever_missed(data: st.DataObject) -> None:
    files = FragileFiles()
    driver = Driver(files, evolve(SETTINGS, duplicates="forward"))
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(instance_filter, "_MOST_ADDED", 4)
        patch.setattr(instance_filter, "_READ", 2)
        for number in range(data.draw(st.integers(1, 40))):
            known = sorted(driver.states())
            what = data.draw(st.sampled_from(["commit", "commit", "settle", "operator", "again", "full", "restart"]))
            files.fails = lambda call: None
            if what == "commit":
                kind = data.draw(st.sampled_from([C_STORE, C_STORE, "N-SET-RQ"]))
                retain = data.draw(st.sampled_from([(), ("pacs",)]))
                uid = data.draw(st.sampled_from(UIDS))
                driver.commit(content(number, 50), envelope(uid, kind=kind, retain=retain))
            elif what == "settle" and known:
                message_id, destination = data.draw(st.sampled_from(known))
                driver.settle(message_id, destination, data.draw(st.sampled_from([delivered(), held()])))
            elif what == "operator" and known:
                message_id, _ = data.draw(st.sampled_from(known))
                driver.change(data.draw(st.sampled_from(list(QueueAction))), message_id)
            elif what == "again" and known:
                driver.ask(SendAgain(*data.draw(st.sampled_from(known)), "asked"))
            elif what == "full":
                files.fails = lambda call: ledger_full() if call == "commit" else None
            elif what == "restart":
                driver.stop()
                driver = Driver(files, evolve(SETTINGS, duplicates="forward"))
            driver.writer._read_at = 0.0
            driver.writer.turn([])
            assert all(instances(driver).may_have(uid) for uid in unfinished(driver))
        files.fails = lambda call: None
        build(driver)
        assert all(instances(driver).may_have(uid) for uid in unfinished(driver))
    driver.stop()


def test_the_ledger_is_asked_only_where_there_may_be_a_duplicate(monkeypatch: pytest.MonkeyPatch) -> None:
    driver = Driver(FragileFiles())
    build(driver)
    asked: list[str] = []
    unfinished_of = driver.writer.ledger.unfinished_of

    def asking(uids: list[str], kind: str) -> dict[str, list[EarlierMessage]]:
        asked.extend(uids)
        return unfinished_of(uids, kind)

    monkeypatch.setattr(driver.writer.ledger, "unfinished_of", asking)
    for number in range(100):
        driver.commit(b"data", envelope(f"1.2.{number}"))
    assert asked == []
    driver.commit(b"data", envelope("1.2.7"))
    assert asked == ["1.2.7"]


def test_a_duplicate_is_found_after_a_restart_before_and_after_the_filter_is_built() -> None:
    files = FragileFiles()
    driver = Driver(files)
    for number in range(20):
        driver.commit(content(number, 50), envelope(f"1.2.{number}"))
    driver.stop()
    again = Driver(files)
    assert instances(again).may_have("1.2.99")
    assert again.commit(content(7, 50), envelope("1.2.7")).duplicate
    build(again)
    assert not instances(again).may_have("1.2.99")
    assert again.commit(content(8, 50), envelope("1.2.8")).duplicate
    again.stop()


def test_what_is_finished_is_forgotten_when_the_filter_is_built_again(monkeypatch: pytest.MonkeyPatch) -> None:
    driver = Driver(FragileFiles())
    build(driver)
    for number in range(10):
        receipt = driver.commit(b"data", envelope(f"1.2.{number}"))
        if number != 3:
            driver.settle(receipt.message_id, "pacs", delivered())
    assert all(instances(driver).may_have(f"1.2.{number}") for number in range(10))
    monkeypatch.setattr(instance_filter, "_MOST_ADDED", 10)
    build(driver)
    assert [number for number in range(10) if instances(driver).may_have(f"1.2.{number}")] == [3]


def test_few_of_a_million_others_are_taken_for_known() -> None:
    driver = Driver(FragileFiles())
    build(driver)
    for number in range(1_000_000):
        instances(driver).include(f"1.2.3.{number}")
    assert all(instances(driver).may_have(f"1.2.3.{number}") for number in range(0, 1_000_000, 97))
    assert sum(instances(driver).may_have(f"1.2.4.{number}") for number in range(10_000)) < 300


def test_a_ledger_that_cannot_be_read_for_now_is_read_later(monkeypatch: pytest.MonkeyPatch) -> None:
    driver = Driver(FragileFiles())

    def locked(after: int, limit: int) -> None:
        raise ledger_full()

    with monkeypatch.context() as patch:
        patch.setattr(driver.writer.ledger.maintenance, "unfinished_instances", locked)
        driver.writer.turn([])
    assert driver.writer._read_at > time.monotonic()
    assert driver.writer._patience() > 0.0
    assert instances(driver).may_have("1.2.3")
    build(driver)
    assert not instances(driver).may_have("1.2.3")
