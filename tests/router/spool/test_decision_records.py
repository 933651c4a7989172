"""What an operator said is in the segments: a ledger that is lost has it again. docs/spool.md, "Decisions"."""

from contextlib import suppress
from pathlib import Path

import pytest
from attrs import evolve

from router.model import AS_STORED, DeliveryState, Purpose, Recipient, SentAs
from router.spool import OutOfSpace
from router.spool.disk.filesystem import REAL
from router.spool.values import QueueAction
from tests.router.spool.driver import SETTINGS, Driver, content, delivered, envelope, held
from tests.router.spool.power_cut import FragileFiles, PowerCut, full, ledger_full
from tests.support.spool import flip, remove_ledger, segment

WAITING, HELD = DeliveryState.WAITING, DeliveryState.HELD
DELIVERED, DISCARDED = DeliveryState.DELIVERED, DeliveryState.DISCARDED


def reopen(path: Path) -> Driver:
    return Driver(REAL, SETTINGS, path)


def without_ledger(driver: Driver, path: Path) -> Driver:
    driver.stop()
    remove_ledger(path)
    return reopen(path)


def power_off(files: FragileFiles, *, loses_ledger: bool = True) -> Driver:
    files.power_on(0)
    if loses_ledger:
        files.ledger_states = [None]
    return Driver(files)


def test_what_is_sent_is_frozen_with_the_delivery(tmp_path: Path) -> None:
    """The ledger, a ledger that is rebuilt, and an operator's change keep the form in which a message is sent."""
    form = SentAs(transform="pseudonyms", version=3, transfer_syntaxes=("1.2.840.10008.1.2.1", "1.2.840.10008.1.2"))
    driver = reopen(tmp_path)
    pacs, vna = Recipient(destination="pacs", sent_as=form), Recipient(destination="vna")
    driver.commit(content(1, 500), evolve(envelope("1.2.1"), deliveries=(pacs, vna)))
    forms = [[row.sent_as for row in driver.waiting(name)] for name in ("pacs", "vna")]
    driver.change(QueueAction.HOLD, 1)
    driver.change(QueueAction.RELEASE, 1)
    released = [[row.sent_as for row in driver.waiting(name)] for name in ("pacs", "vna")]
    driver.stop()
    remove_ledger(tmp_path)
    again = reopen(tmp_path)
    rebuilt = [[row.sent_as for row in again.waiting(name)] for name in ("pacs", "vna")]
    assert forms == released == rebuilt == [[form], [AS_STORED]]


def test_a_ledger_that_is_rebuilt_knows_what_an_operator_said(tmp_path: Path) -> None:
    driver = reopen(tmp_path)
    for number in range(1, 6):
        driver.commit(content(number, 500), envelope(f"1.2.{number}", ("pacs", "vna"), retain=("pacs",)))
    driver.settle(5, "vna", held("C000H"))
    assert driver.change(QueueAction.DISCARD, 1) == 3
    assert driver.change(QueueAction.HOLD, 2, destination="pacs", purpose=Purpose.SEND) == 1
    assert driver.change(QueueAction.HOLD, 3, destination="vna") == 1
    assert driver.change(QueueAction.RELEASE, 3) == 1
    assert driver.change(QueueAction.RETRY, 4) == 3
    driver.stop()
    remove_ledger(tmp_path)
    again = reopen(tmp_path)
    assert again.states() == {
        (1, "pacs"): DISCARDED,
        (1, "vna"): DISCARDED,
        (2, "pacs"): HELD,
        (2, "vna"): WAITING,
        **{(number, name): WAITING for number in (3, 4, 5) for name in ("pacs", "vna")},
    }
    assert again.states(Purpose.RETAIN) == {(1, "pacs"): DISCARDED} | {(n, "pacs"): WAITING for n in (2, 3, 4, 5)}
    assert [row.message_id for row in again.waiting("pacs")] == [3, 4, 5]
    assert again.report.waiting == 7 + 4
    assert again.change(QueueAction.RELEASE, 2) == 1
    again = without_ledger(again, tmp_path)
    assert again.states()[2, "pacs"] is WAITING
    again.stop()


def test_what_no_route_wanted_stays_where_it_was_sent(tmp_path: Path) -> None:
    driver = reopen(tmp_path)
    for number in (1, 2, 3):
        driver.commit(content(number, 500), envelope(f"1.2.{number}", ()))
    assert driver.change(QueueAction.RELEASE, 1) == 0
    assert driver.change(QueueAction.RELEASE, 1, target="pacs") == 1
    assert driver.change(QueueAction.DISCARD, 2) == 1
    assert driver.change(QueueAction.RETRY, 3, target="vna") == 1
    assert driver.change(QueueAction.HOLD, 3) == 1
    again = without_ledger(driver, tmp_path)
    assert again.states() == {(1, "pacs"): WAITING, (2, ""): DISCARDED, (3, "vna"): HELD}
    again.stop()


def test_a_large_object_that_was_discarded_is_not_lost_but_discarded(tmp_path: Path) -> None:
    driver = reopen(tmp_path)
    driver.commit(content(1, 9000), envelope())
    driver.change(QueueAction.DISCARD, 1)
    driver.tidy()
    assert not list((tmp_path / "large").iterdir())
    again = without_ledger(driver, tmp_path)
    assert again.report.lost == ()
    assert again.states() == {(1, "pacs"): DISCARDED}
    again.stop()


def test_a_decision_that_the_ledger_lost_is_found_in_the_segment() -> None:
    files = FragileFiles()
    driver = Driver(files)
    for number in (1, 2):
        driver.commit(content(number, 500), envelope(f"1.2.{number}"))
    before = driver.ledger.database.connection.serialize()
    driver.change(QueueAction.DISCARD, 1)
    driver.change(QueueAction.HOLD, 2)
    files.ledger_states = [before]
    again = power_off(files, loses_ledger=False)
    assert again.report.ledger == "intact"
    assert again.states() == {(1, "pacs"): DISCARDED, (2, "pacs"): HELD}


def test_a_start_that_is_cut_short_forgets_no_decision() -> None:
    """A ledger that is being rebuilt knows a segment as read only when it has the decisions in it."""
    cut, is_whole = 0, False
    while not is_whole:
        files = FragileFiles()
        driver = Driver(files)
        driver.commit(content(1, 500), envelope())
        driver.change(QueueAction.DISCARD, 1)
        files.power_on(cut)
        files.ledger_states = [None]
        files.cut_after = cut
        with suppress(PowerCut):
            Driver(files)
            is_whole = True
        files.power_on(cut)
        assert Driver(files).states() == {(1, "pacs"): DISCARDED}
        cut += 1
    assert cut > 20


def stuck_in_the_first_segment(files: FragileFiles) -> Driver:
    """Message 1 is held by hand, and lies in segment 1 with others that wait; the operator's word is in segment 2, of
    which all else is finished."""
    driver = Driver(files)
    number = 0
    while len(driver.writer.segments.known) < 2:
        number += 1
        driver.commit(content(number, 2000), envelope(f"1.2.{number}"))
    first = number
    driver.change(QueueAction.HOLD, 1)
    while len(driver.writer.segments.known) < 3:
        number += 1
        driver.commit(content(number, 2000), envelope(f"1.2.{number}"))
    for one in range(first, number):
        driver.settle(one, "pacs", delivered())
    return driver


def test_a_decision_is_moved_before_its_segment_goes() -> None:
    files = FragileFiles()
    driver = stuck_in_the_first_segment(files)
    driver.tidy()
    assert "00000002" not in files.files_in("/segments")
    assert "00000001" in files.files_in("/segments")
    again = power_off(files)
    assert again.states()[1, "pacs"] is HELD
    assert min(row.message_id for row in again.waiting("pacs")) == 2


def test_a_decision_goes_with_the_record_of_its_message() -> None:
    files = FragileFiles()
    driver = stuck_in_the_first_segment(files)
    driver.change(QueueAction.DISCARD, 1)
    for row in driver.waiting("pacs"):
        driver.settle(row.message_id, "pacs", delivered())
    written = driver.writer.segments.known[3].end
    driver.tidy()
    assert set(files.files_in("/segments")) == {"00000003"}
    assert driver.writer.segments.known[3].end == written
    assert driver.ledger.decisions.needed_in(3, 10) == []


def test_a_decision_about_a_record_that_was_moved_behind_it_still_counts() -> None:
    files = FragileFiles()
    driver = stuck_in_the_first_segment(files)
    for row in driver.waiting("pacs"):
        driver.settle(row.message_id, "pacs", delivered())
    driver.tidy()
    assert set(files.files_in("/segments")) == {"00000003"}
    again = power_off(files)
    assert again.states()[1, "pacs"] is HELD
    assert again.data(1) == content(1, 2000)


def test_many_decisions_are_moved_in_bounded_steps(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("router.spool.housekeeping._MOVED", 3)
    files = FragileFiles()
    driver = Driver(files)
    for number in range(1, 12):
        driver.commit(content(number, 100), envelope(f"1.2.{number}"))
    while len(driver.writer.segments.known) < 2:
        driver.commit(content(0, 2000), envelope(f"1.3.{len(driver.rows)}"))
    for number in range(1, 11):
        driver.change(QueueAction.HOLD, number)
    while len(driver.writer.segments.known) < 3:
        driver.commit(content(0, 2000), envelope(f"1.3.{len(driver.rows)}"))
    in_2 = driver.ledger.database.execute("SELECT id FROM messages WHERE segment = 2").fetchall()
    for (message_id,) in in_2:
        driver.settle(message_id, "pacs", delivered())
    driver.tidy()
    assert "00000002" not in files.files_in("/segments")
    states = power_off(files).states()
    assert [states[number, "pacs"] for number in range(1, 12)] == [HELD] * 10 + [WAITING]


def test_without_room_in_the_spool_nothing_is_changed() -> None:
    files = FragileFiles()
    driver = Driver(files)
    driver.commit(content(1, 500), envelope())
    files.fails = lambda call: full() if call == "write" else None
    with pytest.raises(OutOfSpace):
        driver.change(QueueAction.DISCARD, 1)
    files.fails = lambda call: None
    assert driver.states() == {(1, "pacs"): WAITING}
    assert power_off(files).states() == {(1, "pacs"): WAITING}


def test_what_is_in_the_segment_counts_as_soon_as_the_ledger_has_room() -> None:
    files = FragileFiles()
    driver = Driver(files)
    driver.commit(content(1, 500), envelope())
    driver.writer.write_down()
    files.fails = lambda call: ledger_full() if call == "commit" else None
    assert driver.change(QueueAction.DISCARD, 1) == 1
    files.fails = lambda call: None
    assert driver.states() == {(1, "pacs"): DISCARDED}
    assert driver.writer.segments.known[1].live == 0
    assert power_off(files).states() == {(1, "pacs"): DISCARDED}


def test_a_damaged_decision_is_reported_and_takes_nothing_with_it(tmp_path: Path) -> None:
    driver = reopen(tmp_path)
    driver.commit(content(1, 500), envelope("1.2.1"))
    at = driver.writer.segments.known[1].end
    driver.change(QueueAction.HOLD, 1)
    driver.commit(content(2, 500), envelope("1.2.2"))
    driver.stop()
    flip(segment(tmp_path), at + 70)
    remove_ledger(tmp_path)
    again = reopen(tmp_path)
    (damage,) = again.report.damaged
    assert (damage.offset, damage.message_id) == (at, None)
    assert again.states() == {(1, "pacs"): WAITING, (2, "pacs"): WAITING}
    again.stop()


def test_the_ledger_row_comes_after_the_segment() -> None:
    files = FragileFiles()
    driver = Driver(files)
    driver.commit(content(1, 500), envelope())
    driver.writer.write_down()
    files.calls.clear()
    driver.change(QueueAction.DISCARD, 1)
    assert files.calls == ["write", "sync", "commit", "committed"]
