"""A full disk and a lying disk, at every call: FAULTS.md, "Resources, process, disk"."""

import sqlite3
from collections.abc import Callable, Iterator

import pytest

from router.spool import OutOfSpace, SpoolFailure
from router.spool.jobs import BringUpToDate, Commit, Fail, Stop
from router.spool.writer import Writer
from tests.router.spool.driver import Driver, content, delivered, envelope
from tests.router.spool.power_cut import FragileFiles, broken, full, ledger_full

SMALL, LARGE = content(1, 700), content(2, 9000)


def failing_at(
    number: int, error: Callable[[str], OSError | sqlite3.Error | None]
) -> Callable[[str], OSError | sqlite3.Error | None]:
    """`error` for the call of this number, counted from now, and nothing else."""
    calls: Iterator[int] = iter(range(1 << 30))
    return lambda call: error(call) if next(calls) == number else None


def no_room(call: str) -> OSError | sqlite3.Error | None:
    """Where the disk may say that it is full: what makes or writes something."""
    if call == "commit":
        return ledger_full()
    return full() if call in ("create", "allocate", "write", "sync", "sync_directory") else None


def used(files: FragileFiles) -> dict[str, bytes]:
    """Everything in the spool's files, zeros at their ends not counted."""
    found = {f"segments/{name}": file for name, file in files.files_in("/segments").items()}
    found |= {f"large/{name}": file for name, file in files.files_in("/large").items()}
    return {name: bytes(file.content).rstrip(b"\0") for name, file in found.items()}


@pytest.mark.parametrize("data", [SMALL, LARGE], ids=["small", "large"])
@pytest.mark.parametrize("first", [True, False], ids=["new segment", "old segment"])
def test_a_full_disk_at_any_call_leaves_no_residue_and_the_next_commit_works(data: bytes, first: bool) -> None:
    number = refused = 0
    while True:
        files = FragileFiles()
        driver = Driver(files)
        if not first:
            driver.commit(b"before", envelope("1.2.0"))
        before = used(files)
        files.calls.clear()
        files.fails = failing_at(number, no_room)
        try:
            driver.commit(data, envelope("1.2.1"))
        except OutOfSpace:
            refused += 1
            after = used(files)
            assert all(SMALL not in held and LARGE not in held for name, held in after.items() if "seg" in name)
            assert {name for name in before if "seg" in name} <= set(after)
        files.fails = lambda call: None
        if number >= len(files.calls):
            break
        assert driver.spool.intake.memory.used == 0
        assert not driver.spool.intake.large.in_use
        again = driver.commit(data, envelope("1.2.2"))
        assert driver.data(again.message_id) == data
        files.power_on(number)
        restarted = Driver(files)
        uids = [row.sop_instance_uid for row in restarted.waiting("pacs")]
        assert "1.2.2" in uids
        assert restarted.report.damaged == ()
        restarted.stop()
        number += 1
    assert refused >= 2


def test_what_was_refused_for_a_full_disk_is_not_there_after_a_restart() -> None:
    files = FragileFiles()
    driver = Driver(files)
    driver.commit(b"before", envelope("1.2.0"))
    calls = iter([full(), None, None])
    files.fails = lambda call: next(calls) if call == "sync" else None
    with pytest.raises(OutOfSpace):
        driver.commit(SMALL, envelope("1.2.1"))
    files.fails = lambda call: None
    for seed in range(20):
        files.power_on(seed)
        restarted = Driver(files)
        assert [row.sop_instance_uid for row in restarted.waiting("pacs")] == ["1.2.0"]
        restarted.stop()


def test_messages_that_the_ledger_had_no_room_for_are_kept_and_nothing_more_is_taken() -> None:
    files = FragileFiles()
    driver = Driver(files)
    files.fails = lambda call: ledger_full() if call == "commit" else None
    receipt = driver.commit(SMALL, envelope("1.2.1"))
    assert not driver.writer.write_down()
    with pytest.raises(OutOfSpace):
        driver.commit(SMALL, envelope("1.2.2"))
    files.fails = lambda call: None
    driver.commit(SMALL, envelope("1.2.3"))
    assert sorted({row.message_id for row in driver.rows}) == [receipt.message_id, 2]
    assert [row.sop_instance_uid for row in driver.waiting("pacs")] == ["1.2.1", "1.2.3"]
    driver.stop()


def test_messages_that_the_ledger_had_no_room_for_are_found_after_a_restart() -> None:
    files = FragileFiles()
    driver = Driver(files)
    files.fails = lambda call: ledger_full() if call == "commit" else None
    driver.commit(SMALL, envelope("1.2.1"))
    files.fails = lambda call: None
    files.power_on(0)
    restarted = Driver(files)
    assert restarted.report.recovered == 1
    assert [row.sop_instance_uid for row in restarted.waiting("pacs")] == ["1.2.1"]
    restarted.stop()


def test_outcomes_that_the_ledger_had_no_room_for_are_written_later() -> None:
    files = FragileFiles()
    driver = Driver(files)
    driver.commit(SMALL, envelope("1.2.1"))
    driver.ask(BringUpToDate())
    files.fails = lambda call: ledger_full() if call == "commit" else None
    driver.settle(1, "pacs", delivered())
    assert len(driver.waiting("pacs")) == 1
    files.fails = lambda call: None
    driver.writer.turn([])
    assert driver.waiting("pacs") == []
    driver.stop()


@pytest.mark.parametrize("data", [SMALL, LARGE], ids=["small", "large"])
def test_a_sync_that_fails_is_never_tried_again(data: bytes) -> None:
    files = FragileFiles()
    driver = Driver(files)
    driver.commit(b"before", envelope("1.2.0"))
    files.calls.clear()
    files.fails = lambda call: broken() if call == "sync" else None
    with pytest.raises(SpoolFailure):
        driver.writer.jobs.put(driver.put(data, envelope("1.2.1")))
        driver.writer.jobs.put(Stop())
        driver.writer.run()
        raise driver.writer.failure or AssertionError
    assert files.calls.count("sync") == 1


def test_a_failing_disk_ends_the_writer_and_everybody_is_told() -> None:
    files = FragileFiles()
    driver = Driver(files)
    commits = [driver.put(content(number, 300), envelope(f"1.2.{number}")) for number in range(5)]
    for commit in commits:
        driver.writer.jobs.put(commit)
    files.fails = lambda call: broken() if call == "sync" else None
    driver.writer.run()
    assert isinstance(driver.writer.failure, SpoolFailure)
    for commit in commits:
        with pytest.raises(SpoolFailure, match="Input/output error"):
            _ = commit.reply.value
    late = Commit(driver.receive(b"late"), envelope("1.2.9"))
    driver.writer.jobs.put(late)
    driver.writer.refuse_the_rest()
    assert late.reply.given


def test_a_large_file_that_fails_ends_the_writer_too() -> None:
    files = FragileFiles()
    driver = Driver(files)
    files.fails = lambda call: broken() if call == "write" else None
    with pytest.raises(SpoolFailure):
        driver.receive(LARGE)
    driver.writer.run()
    assert isinstance(driver.writer.failure, SpoolFailure)


def test_a_bug_in_the_writer_leaves_nobody_waiting(monkeypatch: pytest.MonkeyPatch) -> None:
    driver = Driver(FragileFiles())
    commit = driver.put(SMALL, envelope())
    driver.writer.jobs.put(commit)

    def bug(self: Writer) -> bool:
        raise ZeroDivisionError

    monkeypatch.setattr(Writer, "write_down", bug)
    driver.writer.run()
    assert commit.reply.given
    assert isinstance(driver.writer.failure, SpoolFailure)
    assert isinstance(driver.writer.failure.__cause__, ZeroDivisionError)


def test_a_full_disk_puts_tidying_off_and_loses_nothing() -> None:
    files = FragileFiles()
    driver = Driver(files)
    driver.commit(LARGE, envelope("1.2.1"))
    commits = iter([None, ledger_full()])  # the outcome is written down, the deletion is not
    files.fails = lambda call: next(commits) if call == "commit" else None
    driver.settle(1, "pacs", delivered())
    driver.writer.turn([])
    assert files.files_in("/large")
    files.fails = lambda call: None
    driver.writer.housekeeping._not_before = 0.0
    driver.tidy()
    assert not files.files_in("/large")
    driver.stop()


def test_the_writer_waits_between_two_attempts_while_the_ledger_has_no_room_and_housekeeping_has_work() -> None:
    files = FragileFiles()
    driver = Driver(files)
    driver.commit(LARGE, envelope("1.2.1"))
    driver.writer.housekeeping._not_before = float("inf")
    driver.settle(1, "pacs", delivered())
    driver.writer.write_down()
    driver.writer.housekeeping._not_before = 0.0
    driver.writer._commit([driver.put(SMALL, envelope("1.2.2"))])
    files.fails = lambda call: ledger_full() if call == "commit" else None
    assert not driver.writer.write_down()
    assert driver.writer.housekeeping.has_work
    files.calls.clear()
    for _ in range(100):
        assert 0 < driver.writer._patience() <= 1
        driver.writer.turn([])
    assert "commit" not in files.calls
    files.fails = lambda call: None
    driver.writer.updates.due = 0.0  # the pause is over
    driver.writer.turn([])
    driver.tidy()
    assert not files.files_in("/large")
    driver.stop()


def finished_segments(driver: Driver, count: int) -> None:
    """Fill so many segments with messages that are delivered, and tidy nothing yet."""
    driver.writer.housekeeping._not_before = float("inf")
    number = 0
    while len(driver.writer.segments.known) <= count:
        number += 1
        driver.settle(driver.commit(content(number, 3000), envelope(f"1.2.{number}")).message_id, "pacs", delivered())
    driver.writer.write_down()
    driver.writer.housekeeping._not_before = 0.0


def test_a_finished_segment_that_cannot_be_put_aside_on_a_full_disk_is_deleted() -> None:
    files = FragileFiles()
    driver = Driver(files)
    finished_segments(driver, 2)
    files.fails = lambda call: full() if call == "move" else None
    driver.tidy()
    assert not files.files_in("/spare")
    assert sorted(files.files_in("/segments")) == [f"{number:08d}" for number in driver.writer.segments.known]
    assert len(driver.writer.segments.known) == 1
    driver.stop()


@pytest.mark.parametrize("call", ["move", "remove", "sync_directory", "commit"])
@pytest.mark.parametrize("which", range(4))
def test_deletion_that_a_full_disk_cuts_short_anywhere_is_finished_later(call: str, which: int) -> None:
    files = FragileFiles()
    driver = Driver(files)
    driver.settle(driver.commit(LARGE, envelope("1.3.1")).message_id, "pacs", delivered())
    finished_segments(driver, 3)
    left = iter(range(1 << 30))

    def fails(name: str) -> OSError | sqlite3.Error | None:
        if name != call or next(left) != which:
            return None
        return ledger_full() if call == "commit" else full()

    files.fails = fails
    driver.tidy()
    files.fails = lambda name: None
    driver.writer.housekeeping._not_before = 0.0
    driver.tidy()
    assert sorted(files.files_in("/segments")) == [f"{number:08d}" for number in driver.writer.segments.known]
    assert not files.files_in("/large")
    assert len(driver.writer.segments.known) == 1
    kept = driver.ledger.database.execute("SELECT number FROM segments WHERE gone IS NULL").fetchall()
    assert [number for (number,) in kept] == list(driver.writer.segments.known)
    rows = driver.ledger.database.execute("SELECT DISTINCT segment FROM messages").fetchall()
    assert [number for (number,) in rows] == list(driver.writer.segments.known)  # the history of the others is over
    driver.stop()


def test_a_start_on_a_full_disk_works_where_there_is_nothing_to_recover() -> None:
    files = FragileFiles()
    driver = Driver(files)
    driver.commit(SMALL, envelope("1.2.1"))
    driver.stop()
    files.fails = no_room
    again = Driver(files)
    assert [row.sop_instance_uid for row in again.waiting("pacs")] == ["1.2.1"]


def test_the_words_of_a_failure_handed_in_from_outside_are_kept() -> None:
    driver = Driver(FragileFiles())
    driver.writer.jobs.put(Fail(SpoolFailure("the other disk")))
    driver.writer.run()
    assert str(driver.writer.failure) == "the other disk"


def test_a_failure_handed_in_from_outside_answers_every_job_of_its_turn() -> None:
    driver = Driver(FragileFiles())
    before, behind = driver.put(SMALL, envelope("1.2.1")), driver.put(SMALL, envelope("1.2.2"))
    ask = BringUpToDate()
    for job in (before, Fail(SpoolFailure("the other disk")), behind, ask):
        driver.writer.jobs.put(job)
    driver.writer.run()
    for answer in (before.reply, behind.reply, ask.reply):
        with pytest.raises(SpoolFailure, match="the other disk"):
            _ = answer.value
