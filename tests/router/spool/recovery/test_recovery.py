"""What a start makes of a spool that something happened to: docs/spool.md, "Recovery"."""

from pathlib import Path

import pytest
from attrs import evolve

from router.model import DeliveryState, Purpose, SpoolSettings
from router.spool import DamagedMessage, Selection
from router.spool.disk import record
from router.spool.disk.filesystem import REAL
from tests.router.spool.driver import SETTINGS, Driver, content, delivered, envelope, held
from tests.router.spool.power_cut import FragileFiles
from tests.support.spool import flip, remove_ledger, segment


def three(driver: Driver) -> list[bytes]:
    """Three messages, of ids 1 to 3, and their data sets."""
    data = [content(number, 900) for number in range(3)]
    for number, one in enumerate(data):
        driver.commit(one, envelope(f"1.2.{number}", ("pacs", "vna")))
    return data


def reopen(path: Path, settings: SpoolSettings = SETTINGS) -> Driver:
    return Driver(REAL, settings, path)


def test_nothing_is_scanned_after_a_clean_stop(tmp_path: Path) -> None:
    driver = reopen(tmp_path)
    assert driver.report.ledger == "new"
    three(driver)
    driver.stop()
    again = reopen(tmp_path)
    assert (again.report.ledger, again.report.scanned, again.report.recovered) == ("intact", 0, 0)
    assert again.report.waiting == 6
    again.stop()


def test_a_ledger_that_is_missing_is_rebuilt(tmp_path: Path) -> None:
    driver = reopen(tmp_path)
    data = three(driver)
    large = content(9, 9000)
    driver.commit(large, envelope("1.2.9", key="lane"))
    driver.commit(b"unrouted", envelope("1.2.10", ()))
    driver.stop()
    remove_ledger(tmp_path)
    again = reopen(tmp_path)
    assert again.report.ledger == "it was missing"
    assert again.report.recovered == 5
    assert [again.data(row.message_id) for row in again.waiting("vna")] == data
    assert [(row.message_id, row.key) for row in again.waiting("pacs")] == [(1, ""), (2, ""), (3, ""), (4, "lane")]
    assert again.data(4) == large
    assert again.ledger.unfinished_deliveries(5) == {("", Purpose.SEND)}
    assert again.report.held == 1
    assert again.commit(b"new", envelope("1.2.11")).message_id == 6
    again.stop()


@pytest.mark.parametrize("messages", range(4))
def test_what_a_file_held_in_an_earlier_use_is_nobodys_business(messages: int) -> None:
    """The process is killed, with so many new messages behind the header of a file that is used again."""
    files = FragileFiles()
    driver = Driver(files)
    old = 0
    while len(driver.writer.segments.known) < 2:
        old = driver.commit(content(old, 900), envelope(f"1.2.{old}")).message_id
    for number in range(1, old):
        driver.settle(number, "pacs", delivered())
    driver.tidy()
    driver.writer.segments.seal()
    used_again = driver.writer.segments._begin(SETTINGS.segment_size)
    assert not files.files_in("/spare")
    for number in range(messages):
        driver.commit(content(1000 + number, 700 + number), envelope(f"1.3.{number}"))
    end = used_again.end
    files.ledger_states = files.ledger_states[-1:] if messages % 2 else [None]
    again = Driver(files)
    assert again.report.damaged == ()
    assert len(again.waiting("pacs")) == 1 + messages
    assert again.writer.segments.known[used_again.number].end == end


@pytest.mark.parametrize("at", [0, 30, 4096])
def test_a_ledger_that_is_corrupt_is_set_aside_and_rebuilt(tmp_path: Path, at: int) -> None:
    driver = reopen(tmp_path)
    three(driver)
    driver.stop()
    ledger = tmp_path / "ledger.sqlite"
    damaged = bytearray(ledger.read_bytes())
    damaged[at : at + 60] = b"\xff" * 60
    ledger.write_bytes(damaged)
    again = reopen(tmp_path)
    assert again.report.ledger != "intact"
    assert again.report.waiting == 6
    assert (tmp_path / "damaged" / "ledger-1.sqlite").exists()
    again.stop()


def test_a_ledger_that_is_behind_catches_up_and_keeps_what_it_knows(tmp_path: Path) -> None:
    driver = reopen(tmp_path)
    driver.commit(b"first", envelope("1.2.1"))
    driver.settle(1, "pacs", held("an operator must look"))
    driver.stop()
    old = (tmp_path / "ledger.sqlite").read_bytes()
    driver = reopen(tmp_path)
    driver.commit(b"second", envelope("1.2.2"))
    driver.settle(1, "pacs", delivered())
    driver.stop()
    remove_ledger(tmp_path)
    (tmp_path / "ledger.sqlite").write_bytes(old)
    again = reopen(tmp_path)
    assert (again.report.ledger, again.report.recovered) == ("intact", 1)
    assert (again.report.waiting, again.report.held) == (1, 1)
    assert again.data(2) == b"second"
    again.stop()


@pytest.mark.parametrize(
    ("part", "says"),
    [
        ("header", "no record header"),
        ("envelope", "envelope"),
        ("data set", "data set"),
        ("trailer", "trailer"),
    ],
)
def test_a_damaged_record_is_set_aside_and_its_neighbours_are_recovered(tmp_path: Path, part: str, says: str) -> None:
    driver = reopen(tmp_path)
    data = three(driver)
    second = driver.place(2)
    driver.stop()
    remove_ledger(tmp_path)
    end = second.offset + second.length
    at = {"header": second.offset + 20, "envelope": second.offset + 100, "data set": end - 30, "trailer": end - 9}
    flip(segment(tmp_path), at[part])
    again = reopen(tmp_path)
    (damage,) = again.report.damaged
    assert says in damage.reason
    assert (damage.offset, damage.length) == (second.offset, second.length)
    assert damage.set_aside is not None
    assert damage.set_aside.read_bytes() == segment(tmp_path).read_bytes()[second.offset : end]
    assert [again.data(row.message_id) for row in again.waiting("pacs")] == [data[0], data[2]]
    if part in ("data set", "trailer"):  # it says whose it is, so that it stays accounted for
        assert damage.message_id == 2
        rows = again.ledger.queue.list_deliveries(Selection(message_ids=(2,)), 0, 10)
        assert {row.state for row in rows} == {DeliveryState.HELD}
        assert "set aside" in rows[0].reason
    again.stop()
    assert reopen(tmp_path).report.damaged == ()


def test_the_end_of_a_write_that_was_cut_short_is_no_message(tmp_path: Path) -> None:
    driver = reopen(tmp_path)
    three(driver)
    third = driver.place(3)
    driver.stop()
    remove_ledger(tmp_path)
    with segment(tmp_path).open("r+b") as file:
        file.truncate(third.offset + third.length - 40)
    again = reopen(tmp_path)
    (damage,) = again.report.damaged
    assert "cut short" in damage.reason
    assert damage.message_id is None
    assert again.report.waiting == 4
    assert segment(tmp_path).stat().st_size == third.offset
    again.stop()


def test_the_image_of_a_record_in_a_data_set_is_not_taken_for_one(tmp_path: Path) -> None:
    driver = reopen(tmp_path)
    driver.commit(b"first", envelope("1.2.1"))
    other = reopen(tmp_path / "other")
    other.commit(b"forged", envelope("6.6.6"))
    image = segment(tmp_path / "other").read_bytes()[64:2000]
    driver.commit(image, envelope("1.2.2"))
    driver.commit(b"third", envelope("1.2.3"))
    second = driver.place(2)
    driver.stop()
    other.stop()
    remove_ledger(tmp_path)
    flip(segment(tmp_path), second.offset + 20)
    again = reopen(tmp_path)
    assert [row.sop_instance_uid for row in again.waiting("pacs")] == ["1.2.1", "1.2.3"]
    again.stop()


def test_a_segment_with_a_broken_header_is_still_read(tmp_path: Path) -> None:
    driver = reopen(tmp_path)
    three(driver)
    driver.stop()
    remove_ledger(tmp_path)
    flip(segment(tmp_path), 20)
    again = reopen(tmp_path)
    assert again.report.recovered == 3
    again.stop()


def test_a_file_that_is_no_segment_is_moved_or_left_alone_and_reported(tmp_path: Path) -> None:
    reopen(tmp_path).stop()
    segment(tmp_path, 7).write_bytes(b"something else" * 100)
    segment(tmp_path, 8).write_bytes(bytes(5000))
    (tmp_path / "segments" / "notes.txt").write_text("mine")
    again = reopen(tmp_path)
    assert {damage.where for damage in again.report.damaged} == {"segments/00000007", "segments/notes.txt"}
    assert (tmp_path / "damaged" / "00000007").exists()
    assert (tmp_path / "segments" / "notes.txt").exists()
    assert not segment(tmp_path, 8).exists()
    again.commit(b"data", envelope())
    assert segment(tmp_path, 9).exists()
    again.stop()


def test_messages_whose_segment_is_gone_are_held_and_reported(tmp_path: Path) -> None:
    driver = reopen(tmp_path)
    three(driver)
    driver.settle(1, "pacs", delivered())
    driver.stop()
    segment(tmp_path).unlink()
    again = reopen(tmp_path)
    assert [(damage.message_id, damage.reason) for damage in again.report.lost] == [
        (1, "gone"),
        (2, "gone"),
        (3, "gone"),
    ]
    assert (again.report.waiting, again.report.held) == (0, 5)
    again.stop()
    assert reopen(tmp_path).report.lost == ()


def test_messages_whose_large_file_is_gone_or_short_are_held_and_reported(tmp_path: Path) -> None:
    driver = reopen(tmp_path)
    for number in range(3):
        driver.commit(content(number, 9000), envelope(f"1.2.{number}"))
    names = [driver.place(number).file for number in (1, 2, 3)]
    driver.stop()
    (tmp_path / "large" / names[0]).unlink()
    (tmp_path / "large" / names[1]).write_bytes(b"short")
    again = reopen(tmp_path)
    assert [damage.message_id for damage in again.report.lost] == [1, 2]
    assert [row.message_id for row in again.waiting("pacs")] == [3]
    again.stop()


def test_a_large_file_that_no_record_names_is_removed(tmp_path: Path) -> None:
    driver = reopen(tmp_path)
    driver.receive(content(1, 9000))
    assert len(list((tmp_path / "large").iterdir())) == 1
    driver.stop()
    again = reopen(tmp_path)
    assert again.report.removed == 1
    assert not list((tmp_path / "large").iterdir())
    again.stop()


def test_a_large_file_that_a_damaged_record_may_have_named_is_kept_aside(tmp_path: Path) -> None:
    driver = reopen(tmp_path)
    driver.commit(content(1, 9000), envelope("1.2.1"))
    driver.commit(b"second", envelope("1.2.2"))
    first = driver.place(1)
    driver.stop()
    remove_ledger(tmp_path)
    flip(segment(tmp_path), first.offset + 20)
    again = reopen(tmp_path)
    assert (tmp_path / "damaged" / first.file).read_bytes() == content(1, 9000)
    again.stop()


def test_a_lost_message_is_reported_as_damaged_when_it_is_read(tmp_path: Path) -> None:
    driver = reopen(tmp_path)
    three(driver)
    driver.stop()
    segment(tmp_path).unlink()
    again = reopen(tmp_path)
    with pytest.raises((DamagedMessage, OSError)):
        again.data(1)
    again.stop()


def test_a_ledger_that_is_a_symbolic_link_is_not_followed(tmp_path: Path) -> None:
    spool, elsewhere = tmp_path / "spool", tmp_path / "elsewhere"
    driver = reopen(spool)
    three(driver)
    driver.stop()
    (spool / "ledger.sqlite").rename(elsewhere)
    before = elsewhere.read_bytes()
    (spool / "ledger.sqlite").symlink_to(elsewhere)
    again = reopen(spool)
    assert "symbolic link" in again.report.ledger
    assert again.report.recovered == 3
    again.stop()
    assert elsewhere.read_bytes() == before


def test_symbolic_links_among_the_segments_and_large_files_are_reported_and_left_alone(tmp_path: Path) -> None:
    spool, elsewhere = tmp_path / "spool", tmp_path / "elsewhere"
    elsewhere.write_bytes(b"precious" * 100)
    reopen(spool).stop()
    segment(spool, 1).symlink_to(elsewhere)
    (spool / "large" / "0123").symlink_to(elsewhere)
    again = reopen(spool)
    assert {damage.where for damage in again.report.damaged} == {"segments/00000001", "large/0123"}
    again.commit(b"data", envelope())
    again.settle(1, "pacs", delivered())
    again.stop()
    assert elsewhere.read_bytes() == b"precious" * 100
    assert segment(spool, 2).exists()


def test_a_link_planted_where_the_next_segment_goes_is_passed_over(tmp_path: Path) -> None:
    spool, elsewhere = tmp_path / "spool", tmp_path / "elsewhere"
    driver = reopen(spool)
    segment(spool, 1).symlink_to(elsewhere)
    driver.commit(b"data", envelope())
    assert not elsewhere.exists()
    assert driver.place(1).segment == 2
    driver.stop()


def test_a_record_longer_than_a_segment_gets_a_segment_of_its_own_length(tmp_path: Path) -> None:
    settings = evolve(SETTINGS, segment_size=4096, large_object=100_000, memory=1_000_000)
    driver = reopen(tmp_path, settings)
    data = content(1, 50_000)
    driver.commit(b"before", envelope("1.2.1"))
    driver.commit(data, envelope("1.2.2"))
    driver.commit(b"after", envelope("1.2.3"))
    assert driver.data(2) == data
    assert len({driver.place(number).segment for number in (1, 2, 3)}) == 3
    driver.stop()
    remove_ledger(tmp_path)
    again = reopen(tmp_path, settings)
    assert again.report.recovered == 3
    assert again.data(2) == data
    again.stop()


def test_nothing_of_a_reopened_spool_is_written_behind_what_was_there(tmp_path: Path) -> None:
    driver = reopen(tmp_path)
    driver.commit(b"first", envelope("1.2.1"))
    size = driver.place(1).offset + driver.place(1).length
    driver.stop()
    again = reopen(tmp_path)
    again.commit(b"second", envelope("1.2.2"))
    assert segment(tmp_path).stat().st_size == size
    assert again.place(2).segment == 2
    again.stop()


def test_recovery_tells_how_far_it_is(tmp_path: Path) -> None:
    driver = reopen(tmp_path)
    three(driver)
    driver.stop()
    remove_ledger(tmp_path)
    told: list[tuple[str, int, int]] = []
    from router.spool import Spool

    Spool.open(tmp_path, SETTINGS, progress=lambda what, done, of: told.append((what, done, of))).close()
    assert told
    assert told[-1][1] == told[-1][2] > 0


def test_a_segment_that_cannot_be_read_is_reported_and_the_others_are_recovered() -> None:
    files = FragileFiles()
    driver = Driver(files)
    driver.commit(b"first", envelope("1.2.1"))
    driver.stop()
    driver = Driver(files)
    driver.commit(b"second", envelope("1.2.2"))
    driver.stop()
    files.ledger_states = [None]
    reads = iter(range(1000))
    files.fails = lambda call: OSError(5, "Input/output error") if call == "read" and next(reads) == 4 else None
    again = Driver(files)
    assert [damage.reason for damage in again.report.damaged] == ["cannot be read: Input/output error"]
    assert again.report.recovered == 1
    again.tidy()
    again.stop()
    files.fails = lambda call: None
    readable = Driver(files)
    assert [row.sop_instance_uid for row in readable.waiting("pacs")] == ["1.2.1", "1.2.2"]


def test_the_segment_header_is_part_of_the_format() -> None:
    assert record.SEGMENT_MAGIC == b"DRSEGM01"
    assert record.RECORD_MAGIC == b"DRRECO01"
