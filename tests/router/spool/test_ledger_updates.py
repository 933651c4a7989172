"""Messages and outcomes that wait for the ledger together leave in it what they leave one after the other."""

from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from router.model import AttemptResult, Cause, DeliveryState, Purpose, Result
from router.spool.jobs import BringUpToDate, WriteSoon
from router.spool.ledger.rows import SettledDelivery
from tests.router.spool.driver import Driver, content, delivered, envelope, held
from tests.router.spool.power_cut import FragileFiles, ledger_full

DESTINATIONS = ("pacs", "vna")
RESULTS = st.builds(
    AttemptResult,
    result=st.sampled_from([Result.DELIVERED, Result.DELIVERED, Result.DELIVERED, Result.RETRY, Result.HELD]),
    reason=st.sampled_from(["0000H", "B000H"]),
    due=st.sampled_from([0.0, 7.0]),
    status=st.sampled_from([0, None]),
    cause=st.sampled_from([Cause.NONE, Cause.CRASHED]),
    comment=st.sampled_from(["", "words"]),
    unanswered=st.booleans(),
)
LIVES = st.lists(
    st.tuples(
        st.sampled_from(["all", "one"]),
        st.lists(st.tuples(st.integers(0, 3), st.sampled_from([*DESTINATIONS, "other"]), RESULTS), max_size=6),
    ),
    max_size=6,
)


def outcome(message_id: int, destination: str, result: AttemptResult, purpose: Purpose = Purpose.SEND) -> Any:
    return SettledDelivery(message_id=message_id, destination=destination, purpose=purpose, result=result)


def rows_of(driver: Driver) -> list[list[tuple[object, ...]]]:
    """All that the ledger has, but for times, and what housekeeping counts."""
    database = driver.ledger.database
    counted = [(segment.number, segment.live, segment.live_bytes) for segment in driver.writer.segments.known.values()]
    return [
        database.execute("SELECT id, unfinished, file <> '' FROM messages ORDER BY id").fetchall(),
        database.execute(
            "SELECT message_id, destination, purpose, lane, state, attempts, reason, due, status, cause, comment,"
            " crashes, unanswered, sent_as FROM deliveries ORDER BY 1, 2, 3"
        ).fetchall(),
        database.execute("SELECT * FROM totals WHERE count <> 0 ORDER BY 1, 2, 3").fetchall(),
        counted,
    ]


@settings(deadline=None)
@given(LIVES)
def test_together_or_one_after_the_other_the_ledger_is_the_same(life: list[Any]) -> None:
    together, apart = Driver(FragileFiles()), Driver(FragileFiles())
    for driver in (together, apart):
        driver.writer.housekeeping._not_before = float("inf")
    for number, (recipients, outcomes) in enumerate(life, 1):
        destinations = DESTINATIONS if recipients == "all" else DESTINATIONS[:1]
        for driver in (together, apart):
            size = 9000 if number % 4 == 0 else 300
            driver.commit(content(number, size), envelope(f"1.2.{number}", destinations, retain=("vna",)))
            if driver is apart:
                driver.ask(BringUpToDate())
            for back, destination, result in outcomes:
                driver.writer.updates.add_outcome(outcome(max(1, number - back), destination, result))
                if driver is apart:
                    driver.ask(BringUpToDate())
        if number % 2:
            together.ask(BringUpToDate())
    assert rows_of(together) == rows_of(apart)
    for driver in (together, apart):
        driver.writer.housekeeping._not_before = 0.0
        driver.tidy()
    assert rows_of(together)[3] == rows_of(apart)[3]


def test_what_is_delivered_at_once_has_its_history_and_its_segment_goes() -> None:
    files = FragileFiles()
    driver = Driver(files)
    for number in range(1, 4):
        driver.commit(content(number, 300), envelope(f"1.2.{number}"))
        driver.writer.updates.add_outcome(outcome(number, "pacs", delivered()))
    assert driver.states() == {(number, "pacs"): DeliveryState.DELIVERED for number in range(1, 4)}
    assert driver.writer.segments.known[1].live == 0
    driver.stop()
    again = Driver(files)
    assert again.waiting("pacs") == []
    assert again.states() == {(number, "pacs"): DeliveryState.DELIVERED for number in range(1, 4)}


def test_it_takes_few_statements(monkeypatch: pytest.MonkeyPatch) -> None:
    driver = Driver(FragileFiles())
    for number in range(1, 101):
        driver.writer._commit([driver.put(b"", envelope(f"1.2.{number}"))])
        driver.writer.updates.add_outcome(outcome(number, "pacs", delivered()))
    statements: list[str] = []
    driver.writer.ledger.database.connection.set_trace_callback(statements.append)
    assert driver.writer.write_down()
    assert len(statements) < 20
    assert not [one for one in statements if one.startswith("UPDATE deliveries")]


def test_the_thread_is_told_of_the_first_outcome_and_not_of_those_that_follow() -> None:
    driver = Driver(FragileFiles())
    for number in range(1, 5):
        driver.commit(content(number, 300), envelope(f"1.2.{number}"))
    driver.ask(BringUpToDate())
    add = driver.writer.updates.add_outcome
    assert [add(outcome(number, "pacs", delivered())) for number in range(1, 4)] == [True, False, False]
    driver.writer.turn([WriteSoon()])
    assert 0.0 < driver.writer._patience() <= 0.02
    assert not add(outcome(4, "pacs", delivered()))
    driver.ask(BringUpToDate())
    assert driver.waiting("pacs") == []
    assert add(outcome(4, "pacs", held()))


def test_outcomes_of_messages_that_the_ledger_had_no_room_for_are_entered_with_them() -> None:
    files = FragileFiles()
    driver = Driver(files)
    files.fails = lambda call: ledger_full() if call == "commit" else None
    driver.commit(content(1, 300), envelope("1.2.1"))
    driver.settle(1, "pacs", delivered())
    assert not driver.writer.write_down()
    files.fails = lambda call: None
    assert driver.states() == {(1, "pacs"): DeliveryState.DELIVERED}
    assert driver.writer.segments.known[1].live == 0
