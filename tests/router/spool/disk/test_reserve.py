"""The reserve, and a spool on a disk that others fill to the last byte."""

import sqlite3
from collections.abc import Sequence
from pathlib import Path

import pytest
from attrs import evolve

from router.spool import OutOfSpace, SpoolUnusable
from router.spool.disk.reserve import Reserve
from router.spool.jobs import BringUpToDate
from tests.router.spool.driver import SETTINGS, Driver, content, delivered, envelope
from tests.router.spool.power_cut import FragileFiles, full, ledger_full

MIB = 1 << 20


class Crowded(FragileFiles):
    """A disk of which others have taken everything but `space` bytes: what makes a file longer fails beyond them."""

    def __init__(self, space: int) -> None:
        super().__init__()
        self.space = space
        self.ledger_needs = 0
        """Bytes without which the ledger has no room."""

    def step(self, call: str) -> None:
        super().step(call)
        if call == "commit" and self.space < self.ledger_needs:
            raise ledger_full()

    def _grow(self, fd: int, end: int) -> None:
        more = end - len(self._file(fd).content)
        if more > self.space:
            raise full()
        self.space -= max(0, more)

    def allocate(self, fd: int, length: int) -> None:
        self._grow(fd, length)
        super().allocate(fd, length)

    def write(self, fd: int, buffers: Sequence[bytes | bytearray | memoryview], offset: int) -> None:
        data = b"".join(buffers)
        self._grow(fd, offset + len(data))
        super().write(fd, [data], offset)

    def truncate(self, fd: int, length: int) -> None:
        self.space += max(0, len(self._file(fd).content) - length)
        super().truncate(fd, length)

    def remove(self, directory: int, name: str) -> None:
        entry = self._directory(directory).entries.get(name)
        super().remove(directory, name)
        self.space += len(entry.content) if entry is not None else 0

    remove_large = remove


def root_of(files: FragileFiles) -> int:
    return files.directory(Path("/spool"))


@pytest.fixture
def files() -> Crowded:
    return Crowded(1 << 40)


def test_the_reserve_is_given_back_in_parts_and_only_where_the_disk_is_full(files: Crowded) -> None:
    reserve = Reserve(files, root_of(files), 32 * MIB)
    reserve.restore(1 << 40)
    assert reserve.left == 32 * MIB
    assert not reserve.relieve(full())  # there is room: it must be something else that is full
    files.space = 0
    assert not reserve.relieve(ValueError())
    for part in range(16):
        assert reserve.relieve(full() if part % 2 else ledger_full())
        assert files.space == 2 * MIB
        files.space = 0  # somebody else was quicker
    assert not reserve.relieve(full())
    assert reserve.left == 0
    files.space = 40 * MIB
    reserve.restore(31 * MIB)
    assert reserve.left == 0
    reserve.restore(32 * MIB)
    assert reserve.left == 32 * MIB
    assert files.space == 8 * MIB
    reserve.close()


def test_a_reserve_that_the_disk_has_no_room_for_takes_nothing(files: Crowded) -> None:
    files.space = 3 * MIB
    reserve = Reserve(files, root_of(files), 32 * MIB)
    reserve.restore(1 << 40)
    assert reserve.left == 0
    assert files.space == 3 * MIB
    reserve.close()


def test_a_start_on_a_full_disk_gives_back_a_part_first(files: Crowded) -> None:
    reserve = Reserve(files, root_of(files), 32 * MIB)
    reserve.restore(1 << 40)
    reserve.close()
    files.space = 0
    again = Reserve(files, root_of(files), 32 * MIB)
    assert again.left == 30 * MIB
    again.close()
    shorter = Reserve(files, root_of(files), 4 * MIB)  # as the configuration says now
    assert shorter.left == 4 * MIB
    shorter.close()


def crowded_driver(files: Crowded) -> Driver:
    driver = Driver(files, evolve(SETTINGS, reserve=4 * MIB))
    assert driver.spool._store.reserve.left == 4 * MIB
    return driver


def test_the_ledger_writes_and_finished_segments_go_at_0_bytes_free(files: Crowded) -> None:
    driver = crowded_driver(files)
    receipts = [driver.commit(content(number, 3000), envelope(f"1.2.{number}")) for number in range(30)]
    driver.ask(BringUpToDate())
    driver.writer.housekeeping._restore_at = float("inf")
    files.space, files.ledger_needs = 0, 4096
    before = len(driver.writer.segments.known)
    for receipt in receipts:
        driver.settle(receipt.message_id, "pacs", delivered())
    driver.tidy()
    assert driver.waiting("pacs") == []
    assert len(driver.writer.segments.known) < before
    assert driver.spool._store.reserve.left == 3 * MIB
    files.space = 1 << 40
    driver.writer.housekeeping._restore_at = 0.0
    driver.tidy()
    assert driver.spool._store.reserve.left == 4 * MIB
    driver.stop()


def test_what_is_spare_is_given_up_before_the_reserve(files: Crowded) -> None:
    driver = crowded_driver(files)
    receipts = [driver.commit(content(number, 3000), envelope(f"1.2.{number}")) for number in range(30)]
    for receipt in receipts:
        driver.settle(receipt.message_id, "pacs", delivered())
    driver.tidy()
    assert driver.writer.segments.spare_bytes
    receipt = driver.commit(content(99, 3000), envelope("1.2.99"))
    driver.ask(BringUpToDate())
    files.space, files.ledger_needs = 0, 4096
    driver.settle(receipt.message_id, "pacs", delivered())
    assert driver.waiting("pacs") == []
    assert driver.writer.segments.spare_bytes == 0
    assert not driver.spool._store.reserve.is_short
    driver.stop()


def test_a_message_of_the_routers_own_is_taken_at_0_bytes_free_and_another_is_not(files: Crowded) -> None:
    driver = crowded_driver(files)
    while driver.writer.segments.current is None or driver.writer.segments.current.end < 14_000:
        driver.commit(content(1, 900), envelope(f"1.1.{driver.writer.group.commits}"))
    files.space = 0
    other = driver.put(content(2, 3000), envelope("1.2.1"))
    driver.writer.turn([other])
    assert isinstance(other.reply.error, Exception)
    own = driver.put(content(3, 3000), envelope("1.2.2"))
    own.incoming.from_reserve = True
    driver.writer.turn([own])
    assert driver.data(own.reply.value.message_id) == content(3, 3000)  # type: ignore[union-attr]
    driver.stop()


def test_a_report_that_needs_a_file_of_its_own_is_taken_at_0_bytes_free(files: Crowded) -> None:
    driver = crowded_driver(files)
    files.space = 0
    ordinary = driver.spool.intake.incoming()
    with pytest.raises(OutOfSpace):
        ordinary.spill(content(1, 9000))
    ordinary.remove_file()
    report = driver.spool.intake.incoming(from_reserve=True)
    report.size = 9000
    report.spill(content(1, 9000))
    with report.view() as view:
        assert bytes(view) == content(1, 9000)
    report.remove_file()
    driver.stop()


def test_a_new_segment_is_shorter_rather_than_below_the_floor() -> None:
    files = Crowded(300 * MIB)
    large = evolve(SETTINGS, segment_size=64 * MIB, free_space_floor=200 * MIB)
    driver = Driver(files, large)
    files.space = 210 * MIB
    driver.commit(content(1, 900), envelope("1.2.1"))
    assert files.space == 200 * MIB
    driver.writer.segments.seal()
    files.space = 150 * MIB
    driver.commit(content(2, 900), envelope("1.2.2"))
    assert files.space == 149 * MIB
    driver.stop()


@pytest.mark.parametrize("code", [sqlite3.SQLITE_FULL, sqlite3.SQLITE_IOERR_SHMSIZE])
def test_sqlite_says_in_two_ways_that_the_disk_is_full(files: Crowded, code: int) -> None:
    reserve = Reserve(files, root_of(files), 16 * MIB)
    reserve.restore(1 << 40)
    files.space = 0
    error = sqlite3.OperationalError("disk")
    error.sqlite_errorcode = code
    assert reserve.relieve(error)
    reserve.close()


@pytest.mark.parametrize("error", [full(), ledger_full()], ids=["the system", "SQLite"])
def test_a_start_that_a_full_disk_prevents_says_what_to_do(files: Crowded, error: OSError | sqlite3.Error) -> None:
    files.fails = lambda call: error if call == "connect" else None
    with pytest.raises(SpoolUnusable, match="the disk is full: make room on it and start again"):
        Driver(files)


def test_a_start_that_a_full_disk_prevents_at_first_goes_on_with_the_reserve(files: Crowded) -> None:
    crowded_driver(files).stop()
    errors = iter([ledger_full(), full(), None])
    files.space = 0

    def taken_by_others(call: str) -> OSError | sqlite3.Error | None:
        if call != "connect":
            return None
        files.space = 0
        return next(errors)

    files.fails = taken_by_others
    driver = Driver(files, evolve(SETTINGS, reserve=4 * MIB))
    assert driver.spool._store.reserve.left == MIB  # one part at once, and one for each error
    driver.stop()
