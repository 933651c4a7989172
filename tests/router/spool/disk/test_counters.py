"""Running time and message ids go on where they stood, whatever of the spool is lost."""

import time
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from router.spool.disk.counters import NAME, Counters, CountersFile
from router.spool.disk.filesystem import FileSystem
from tests.router.spool.driver import PATH, Driver, content, delivered, envelope
from tests.router.spool.power_cut import FragileFiles, PowerCut, broken, full

DAY = 86400.0


class Folder:
    """The spool's folder, on a disk that loses power."""

    def __init__(self) -> None:
        self.files = FragileFiles()

    def opened(self) -> tuple[Counters, CountersFile]:
        counters = Counters()
        return counters, CountersFile(self.files, self.files.directory(PATH), counters)

    def held(self) -> tuple[float, int]:
        counters, _ = self.opened()
        return counters.clock(), counters.next_id


def test_what_was_saved_is_there_at_the_next_start() -> None:
    folder = Folder()
    counters, file = folder.opened()
    assert counters.next_id == 1
    assert counters.clock() < 1
    counters.advance(clock=30 * DAY, next_id=4711)
    file.save()
    clock, next_id = folder.held()
    assert 30 * DAY <= clock < 30 * DAY + 1
    assert next_id == 4711


def test_neither_is_ever_lowered() -> None:
    counters = Counters()
    counters.advance(clock=100.0, next_id=100)
    counters.advance(clock=50.0, next_id=50)
    assert counters.clock() >= 100.0
    assert counters.next_id == 100


def test_the_time_of_day_has_no_part_in_it(monkeypatch: pytest.MonkeyPatch) -> None:
    counters = Counters()
    before = counters.clock()
    monkeypatch.setattr(time, "time", lambda: 4e9)
    assert counters.clock() - before < 1


@given(st.integers(0, 2**32), st.lists(st.integers(0, 40), min_size=1, max_size=6))
def test_a_power_cut_at_any_call_loses_nothing_of_what_was_saved(seed: int, cuts: list[int]) -> None:
    folder = Folder()
    saved, number = 1, 1
    for cut in cuts:
        folder.files.cut_after = cut
        try:
            counters, file = folder.opened()
            assert counters.next_id >= saved
            for _ in range(5):
                number = max(number, counters.next_id) + 7
                counters.advance(clock=float(number), next_id=number)
                file.save()
                saved = number
        except PowerCut:
            pass
        folder.files.power_on(seed + cut)
        clock, next_id = folder.held()
        assert saved <= next_id <= number
        assert clock >= saved - 1


@pytest.mark.parametrize("damage", [b"", b"\0" * 8192, b"\xff" * 8192, b"DRCOUN01" * 1024])
def test_a_file_that_is_not_what_was_written_is_ignored_and_written_again(damage: bytes) -> None:
    folder = Folder()
    counters, file = folder.opened()
    counters.advance(next_id=10)
    file.save()
    folder.files.files_in("/spool")[NAME].content[:] = damage
    assert folder.held()[1] == 1
    counters, file = folder.opened()
    counters.advance(next_id=20)
    file.save()
    assert folder.held()[1] == 20


@pytest.mark.parametrize("slot", [0, 4096])
def test_one_broken_slot_leaves_what_was_saved_before(slot: int) -> None:
    folder = Folder()
    counters, file = folder.opened()
    for next_id in (10, 20):
        counters.advance(next_id=next_id)
        file.save()
    folder.files.files_in("/spool")[NAME].content[slot + 16] ^= 1
    assert folder.held()[1] in (10, 20)


def test_a_full_disk_puts_saving_off_and_a_broken_one_does_not() -> None:
    folder = Folder()
    _, file = folder.opened()
    folder.files.fails = lambda call: full() if call == "write" else None
    file.save_if_room()
    with pytest.raises(OSError, match="No space"):
        file.save()
    folder.files.fails = lambda call: broken() if call == "write" else None
    with pytest.raises(OSError, match="Input/output"):
        file.save_if_room()


def _lose_ledger(files: FragileFiles) -> None:
    files.ledger_states = [None]


def _lose_counters(files: FragileFiles) -> None:
    files.files_in("/spool").pop(NAME)


@pytest.mark.parametrize("lose", [_lose_ledger, _lose_counters], ids=["ledger", "counters"])
def test_a_spool_without_its_ledger_or_its_counters_goes_on_where_it_stood(
    lose: Callable[[FragileFiles], None],
) -> None:
    """All of its segments are gone too: nothing else can tell."""
    files = FragileFiles()
    driver = Driver(files)
    driver.spool._store.counters.advance(clock=58 * DAY)
    for number in range(8):  # two segments; what is left of the last one is dropped at the next start
        receipt = driver.commit(content(number, 3000), envelope(f"1.2.{number}"))
        driver.settle(receipt.message_id, "pacs", delivered())
    driver.stop()
    driver = Driver(files)
    driver.tidy()
    driver.stop()
    assert not files.files_in("/segments")
    lose(files)
    again = Driver(files)
    assert again.spool.clock() >= 58 * DAY
    assert again.commit(b"next", envelope("1.3")).message_id == 9
    again.stop()


def test_message_ids_are_saved_before_the_segment_that_holds_them_is_dropped() -> None:
    """Without them, a ledger that is lost after a power cut would give them out again."""
    files = FragileFiles()
    driver = Driver(files)
    used = []
    for number in range(12):
        receipt = driver.commit(content(number, 3000), envelope(f"1.2.{number}"))
        driver.settle(receipt.message_id, "pacs", delivered())
        used.append(receipt.message_id)
    driver.tidy()
    kept = len(files.files_in("/segments"))
    assert kept == 1
    files.power_on(1)
    files.ledger_states = [None]
    again = Driver(files)
    held = {row[0] for row in again.ledger.database.execute("SELECT id FROM messages")}
    assert again.commit(b"next", envelope("1.3")).message_id > max({*held, used[7]})


def test_the_counters_are_saved_while_the_router_runs(monkeypatch: pytest.MonkeyPatch) -> None:
    files = FragileFiles()
    driver = Driver(files)
    monkeypatch.setattr("router.spool.writer._TICK", 0.0)
    driver.spool._store.counters.advance(clock=7 * DAY)
    driver.writer.turn([])
    files.power_on(1)
    files.ledger_states = [None]
    assert Driver(files).spool.clock() >= 7 * DAY


def test_what_was_measured_by_a_clock_that_is_known_again_later_keeps_its_age() -> None:
    """The state of the services knows the clock when both the ledger and the counters are gone."""
    files = FragileFiles()
    driver = Driver(files)
    driver.commit(b"data", envelope("1.2.1"))
    driver.stop()
    _lose_ledger(files)
    _lose_counters(files)
    again = Driver(files)
    again.spool.advance(clock=58 * DAY, next_id=1000)
    (row,) = again.waiting("pacs")
    assert 0 <= again.spool.clock() - row.born < 60
    assert again.commit(b"next", envelope("1.2.2")).message_id == 1000


def test_a_start_that_ended_before_the_clock_was_known_changes_nothing() -> None:
    """The ledger is whole at the next start, and dated by the clock that began again."""
    files = FragileFiles()
    driver = Driver(files)
    driver.commit(b"data", envelope("1.2.1"))
    driver.stop()
    _lose_ledger(files)
    _lose_counters(files)
    Driver(files).stop()
    again = Driver(files)
    assert again.report.ledger == "intact"
    again.spool.advance(clock=58 * DAY, next_id=1000)
    (row,) = again.waiting("pacs")
    assert 0 <= again.spool.clock() - row.born < 60


def test_a_power_cut_while_deliveries_are_postdated_leaves_their_age() -> None:
    for cut in range(10):
        files = FragileFiles()
        driver = Driver(files)
        driver.commit(b"data", envelope("1.2.1"))
        driver.stop()
        _lose_ledger(files)
        _lose_counters(files)
        again = Driver(files)
        files.cut_after = files.steps + cut
        with suppress(PowerCut):
            again.spool.advance(clock=58 * DAY, next_id=1000)
        files.power_on(cut)
        third = Driver(files)
        third.spool.advance(clock=58 * DAY, next_id=1000)
        (row,) = third.waiting("pacs")
        assert 0 <= third.spool.clock() - row.born < 60


def test_a_spool_of_an_earlier_revision_goes_on_by_its_ledger(tmp_path: Path) -> None:
    driver = Driver(FileSystem(), path=tmp_path)
    driver.commit(b"data", envelope("1.2.1"))
    driver.ledger.database.execute("UPDATE facts SET clock = 5000000, next_id = 77")
    driver.spool.close()
    (tmp_path / NAME).unlink()
    again = Driver(FileSystem(), path=tmp_path)
    assert again.spool.clock() >= 5_000_000
    assert again.commit(b"next", envelope("1.2.2")).message_id == 77
    assert again.ledger.maintenance.segments()
    again.stop()
