"""When bytes may go, and when they move: docs/spool.md, "Deletion and compaction"."""

from collections.abc import Iterator
from contextlib import contextmanager

import pytest
from attrs import evolve

from router.model import DeliveryState, Purpose
from router.spool import Damage, OutOfSpace, QueueAction, Selection
from router.spool.jobs import ChangeDeliveries, WriteSoon
from router.spool.ledger.queries import START
from router.spool.ledger.rows import SettledDelivery
from tests.router.spool.driver import SETTINGS, Driver, content, delivered, envelope, held, retry
from tests.router.spool.power_cut import FragileFiles, full


def filled(messages: int = 40) -> tuple[FragileFiles, Driver]:
    """Some segments full of messages of about 1 kB."""
    files = FragileFiles()
    driver = Driver(files)
    for number in range(messages):
        driver.commit(content(number, 900), envelope(f"1.2.{number}", ("pacs", "vna")))
    return files, driver


def in_segment(driver: Driver, number: int) -> list[int]:
    rows = driver.ledger.database.execute("SELECT id FROM messages WHERE segment = ?", (number,))
    return [row[0] for row in rows]


def finish(driver: Driver, messages: list[int]) -> None:
    """All their deliveries, in one turn."""
    for message_id in messages:
        for destination in ("pacs", "vna"):
            outcome = SettledDelivery(message_id=message_id, destination=destination, result=delivered())
            driver.writer.updates.add_outcome(outcome)
    driver.writer.turn([WriteSoon()])
    driver.tidy()


def test_a_segment_goes_when_every_delivery_in_it_is_finished() -> None:
    files, driver = filled()
    first = in_segment(driver, 1)
    for message_id in first:
        driver.settle(message_id, "pacs", delivered())
    driver.tidy()
    assert "00000001" in files.files_in("/segments")
    finish(driver, first)
    assert "00000001" not in files.files_in("/segments")
    assert in_segment(driver, 1) == []
    assert driver.ledger.database.execute("SELECT count(*) FROM deliveries").fetchone() == (80 - 2 * len(first),)


def test_the_segment_being_written_to_stays() -> None:
    files, driver = filled(3)
    finish(driver, [1, 2, 3])
    assert list(files.files_in("/segments")) == ["00000001"]
    driver.stop()
    again = Driver(files)
    again.tidy()
    assert not files.files_in("/segments")


def test_the_fact_is_durable_before_the_bytes_go() -> None:
    files, driver = filled()
    first = in_segment(driver, 1)
    states: list[int] = []

    def look(call: str) -> None:
        if call == "move":
            states.append(len(files.ledger_states))

    files.fails = look
    finish(driver, first)
    assert states == [1]  # the last committed state is the only one a power cut could leave


def test_a_large_file_goes_as_soon_as_its_own_message_is_finished() -> None:
    files = FragileFiles()
    driver = Driver(files)
    driver.commit(content(1, 9000), envelope("1.2.1", ("pacs", "vna")))
    driver.commit(content(2, 9000), envelope("1.2.2"))
    driver.settle(1, "pacs", delivered())
    assert len(files.files_in("/large")) == 2
    driver.settle(1, "vna", delivered())
    driver.tidy()
    assert list(files.files_in("/large")) == [driver.place(2).file]


def test_totals_count_on_after_the_bytes_are_gone() -> None:
    _, driver = filled()
    first = in_segment(driver, 1)
    finish(driver, first)
    counted = driver.ledger.queue.totals()
    assert counted["pacs"].delivered == len(first)
    assert counted["pacs"].waiting == 40 - len(first)


def test_what_is_held_or_tried_again_keeps_its_segment() -> None:
    _, driver = filled()
    first = in_segment(driver, 1)
    finish(driver, first[:-2])
    driver.settle(first[-1], "pacs", held())
    driver.settle(first[-2], "pacs", retry())
    ends = driver.place(first[-1])
    driver.tidy()
    assert driver.data(first[-1]) == content(first[-1] - 1, 900)
    assert ends.length == driver.place(first[-1]).length


def test_a_sparse_segment_is_compacted_so_that_one_stuck_message_does_not_pin_its_neighbours() -> None:
    files, driver = filled()
    first = in_segment(driver, 1)
    stuck = first[3]
    finish(driver, [message_id for message_id in first if message_id != stuck])
    assert "00000001" not in files.files_in("/segments")
    assert driver.place(stuck).segment == max(driver.writer.segments.known)
    assert driver.data(stuck) == content(stuck - 1, 900)
    assert driver.ledger.unfinished_deliveries(stuck) == {("pacs", Purpose.SEND), ("vna", Purpose.SEND)}
    driver.stop()
    files.ledger_states = [None]
    again = Driver(files)
    assert again.data(stuck) == content(stuck - 1, 900)


def test_a_segment_that_was_written_just_now_is_not_compacted_but_waited_for() -> None:
    files, driver = filled()
    driver.writer.housekeeping.ripe = 3600.0
    first = in_segment(driver, 1)
    finish(driver, first[1:])
    assert driver.place(first[0]).segment == 1
    driver.writer.housekeeping.ripe = 0.0
    driver.tidy()
    assert driver.place(first[0]).segment != 1
    second = in_segment(driver, 2)
    driver.writer.housekeeping.ripe = 3600.0
    finish(driver, second[1:])
    finish(driver, second[:1])
    assert list(files.files_in("/spare")) == ["00000002"]


def test_what_an_earlier_run_left_sparse_is_compacted_at_once() -> None:
    files, driver = filled()
    driver.writer.housekeeping.ripe = 3600.0
    first = in_segment(driver, 1)
    finish(driver, first[1:])
    driver.stop()
    again = Driver(files)
    again.writer.housekeeping.ripe = 3600.0
    again.tidy()
    assert again.place(first[0]).segment != 1


@contextmanager
def being_read(files: FragileFiles, driver: Driver, message_id: int) -> Iterator[None]:
    """Somebody has the message's file open. After the block, and whatever comes in then, the same bytes are there,
    though the segment is gone."""
    place = driver.place(message_id)
    with driver.spool._store.segment(place.segment) as reading:
        before = files.read(reading, place.length, place.offset)
        yield
        for number in range(100, 200):
            driver.commit(content(number, 900), envelope(f"1.2.{number}"))
        assert "00000001" not in files.files_in("/segments")
        assert files.read(reading, place.length, place.offset) == before


def test_who_reads_what_is_compacted_meanwhile_reads_it_to_its_end() -> None:
    """Its file is not used again, whatever comes in."""
    files, driver = filled()
    first = in_segment(driver, 1)
    stuck = first[3]
    with being_read(files, driver, stuck):
        finish(driver, [message_id for message_id in first if message_id != stuck])


def test_who_reads_what_is_discarded_meanwhile_reads_it_to_its_end() -> None:
    files, driver = filled()
    first = in_segment(driver, 1)
    with being_read(files, driver, first[0]):
        driver.ask(ChangeDeliveries(Selection(message_ids=(first[0],)), QueueAction.DISCARD, None, START, 1000))
        finish(driver, first[1:])


def test_a_file_whose_messages_are_all_finished_is_used_again() -> None:
    files, driver = filled()
    file = files.files_in("/segments")["00000001"]
    finish(driver, in_segment(driver, 1))
    assert list(files.files_in("/spare")) == ["00000001"]
    for number in range(100, 120):
        driver.commit(content(number, 900), envelope(f"1.2.{number}"))
    (name,) = [name for name, one in files.files_in("/segments").items() if one is file]
    assert not files.files_in("/spare")
    assert driver.data(in_segment(driver, int(name))[0])


def test_a_spare_file_that_somebody_removed_is_not_missed() -> None:
    files, driver = filled()
    first = in_segment(driver, 1)
    finish(driver, first)
    files.files_in("/spare").clear()
    for number in range(100, 120):
        driver.commit(content(number, 900), envelope(f"1.2.{number}"))
    assert len(driver.waiting("pacs")) == 60 - len(first)


@pytest.mark.parametrize("call", ["allocate", "write", "sync", "move"])
def test_a_spare_file_is_not_left_behind_where_the_disk_is_full(call: str) -> None:
    files, driver = filled()
    finish(driver, in_segment(driver, 1))
    driver.writer.segments.seal()
    said = 0

    def no_room_once(name: str) -> OSError | None:
        nonlocal said
        said += name == call
        return full() if name == call and said == 1 else None

    files.fails = no_room_once
    with pytest.raises(OutOfSpace):
        driver.commit(content(100, 900), envelope("1.2.100"))
    assert not files.files_in("/spare")
    assert all(files.files_in("/segments").values())
    receipt = driver.commit(content(100, 900), envelope("1.2.100"))
    assert driver.data(receipt.message_id) == content(100, 900)
    assert files.open_files == 2  # the lock and the segment


def test_no_more_files_are_kept_than_are_used_again() -> None:
    files, driver = filled(100)
    finish(driver, [number for segment in range(1, 7) for number in in_segment(driver, segment)])
    assert len(files.files_in("/spare")) == 2
    driver.stop()
    assert not Driver(files).report.damaged
    assert not files.files_in("/spare")


def test_a_segment_that_is_half_full_is_not_compacted() -> None:
    files, driver = filled()
    first = in_segment(driver, 1)
    finish(driver, first[::2])
    assert "00000001" in files.files_in("/segments")


def test_a_stuck_large_message_is_compacted_without_its_file() -> None:
    _, driver = filled(2)
    driver.commit(content(99, 9000), envelope("1.2.99"))
    for number in range(20):
        driver.commit(content(number, 900), envelope(f"1.3.{number}", ("pacs", "vna")))
    file = driver.place(3).file
    finish(driver, [m for m in in_segment(driver, 1) if m != 3])
    assert driver.place(3).segment != 1
    assert driver.place(3).file == file
    assert driver.data(3) == content(99, 9000)


def test_a_record_found_damaged_by_compaction_is_set_aside_and_held() -> None:
    files, driver = filled()
    found: list[Damage] = []
    driver.writer.housekeeping.on_damage = found.append
    first = in_segment(driver, 1)
    place = driver.place(first[3])
    files.files_in("/segments")["00000001"].content[place.offset + place.length - 100] ^= 1
    finish(driver, [message_id for message_id in first if message_id != first[3]])
    assert [damage.message_id for damage in found] == [first[3]]
    assert "00000001" not in files.files_in("/segments")
    assert len(files.files_in("/damaged")[f"message-{first[3]}"].content) == place.length
    rows = driver.ledger.queue.list_deliveries(Selection(message_ids=(first[3],)), 0, 10)
    assert {row.state for row in rows} == {DeliveryState.HELD}
    assert "checksum" in rows[0].reason


def test_a_discarded_message_that_lay_nowhere_is_forgotten() -> None:
    _, driver = filled()
    first = in_segment(driver, 1)
    driver.writer.housekeeping.set_aside(first[0], "broken")

    driver.change(QueueAction.DISCARD, first[0])
    driver.tidy()
    assert driver.ledger.place(first[0]) is None


def test_bytes_that_cannot_be_set_aside_stay_for_this_run() -> None:
    files, driver = filled()
    first = in_segment(driver, 1)
    files.fails = lambda call: OSError(28, "No space left on device") if call == "create" else None
    driver.writer.housekeeping.set_aside(first[0], "broken")
    files.fails = lambda call: None
    finish(driver, first[1:])
    assert "00000001" in files.files_in("/segments")
    rows = driver.ledger.queue.list_deliveries(Selection(message_ids=(first[0],)), 0, 10)
    assert {row.state for row in rows} == {DeliveryState.HELD}


def test_compaction_goes_in_bounded_steps() -> None:
    files = FragileFiles()
    settings = evolve(SETTINGS, segment_size=16 << 20, large_object=3 << 20, memory=64 << 20)
    driver = Driver(files, settings)
    for number in range(6):
        driver.commit(content(number, 2_600_000), envelope(f"1.2.{number}"))
    driver.commit(content(9, 2_900_000), envelope("1.2.9"))
    for message_id in (1, 2, 4, 5, 6):
        driver.settle(message_id, "pacs", delivered())
    driver.tidy()
    assert driver.data(3) == content(2, 2_600_000)
    assert "00000001" not in files.files_in("/segments")


def test_what_is_finished_is_remembered_for_as_long_as_history_says() -> None:
    files = FragileFiles()
    driver = Driver(files, evolve(SETTINGS, history=3600.0))
    for number in range(40):
        driver.commit(content(number, 900), envelope(f"1.2.{number}", ("pacs", "vna")))
    first = in_segment(driver, 1)
    finish(driver, first)
    assert "00000001" not in files.files_in("/segments")
    assert in_segment(driver, 1) == first
    driver.stop()
    again = Driver(files, evolve(SETTINGS, history=3600.0))
    assert in_segment(again, 1) == first
    [(segment, gone)] = again.writer.ledger.maintenance.gone_segments()
    assert segment == 1
    with again.writer.ledger.transaction():
        again.writer.ledger.database.execute("UPDATE segments SET gone = ?", (gone - 3601,))
    again.stop()
    last = Driver(files, evolve(SETTINGS, history=3600.0))
    last.tidy()
    assert in_segment(last, 1) == []
    assert not last.ledger.maintenance.gone_segments()


def test_the_number_of_a_segment_that_is_remembered_is_not_given_again() -> None:
    files = FragileFiles()
    driver = Driver(files, evolve(SETTINGS, history=3600.0))
    driver.commit(content(1, 900), envelope("1.2.1"))
    driver.settle(1, "pacs", delivered())
    driver.stop()
    again = Driver(files, evolve(SETTINGS, history=3600.0))
    again.tidy()
    assert not files.files_in("/segments")
    again.stop()
    last = Driver(files, evolve(SETTINGS, history=3600.0))
    last.commit(content(2, 900), envelope("1.2.2"))
    assert list(files.files_in("/segments")) == ["00000002"]
    assert last.ledger.place(1) != last.ledger.place(2)


def test_history_is_forgotten_in_bounded_steps() -> None:
    driver = Driver(FragileFiles(), evolve(SETTINGS, segment_size=4 << 20, history=0.0))
    driver.writer.turn([driver.put(b"", envelope(f"1.2.{number}")) for number in range(2500)])
    driver.writer.segments.seal()
    for number in range(2500):
        outcome = SettledDelivery(message_id=number + 1, destination="pacs", result=delivered())
        driver.writer.updates.add_outcome(outcome)
    driver.writer.turn([WriteSoon()])
    steps = []
    while driver.writer.housekeeping.has_work:
        driver.writer.turn([])
        steps.append(len(in_segment(driver, 1)))
    assert steps == [500, 0]


def test_an_instance_is_what_its_newest_message_to_each_destination_is() -> None:
    driver = Driver(FragileFiles(), evolve(SETTINGS, history=3600.0))
    driver.commit(content(1, 900), envelope("1.2.1", ("pacs", "vna")))
    driver.commit(content(2, 900), envelope("1.2.2", ("pacs",)))
    driver.commit(content(3, 900), envelope("1.2.1", ("vna",), kind="N-CREATE-RQ"))
    driver.settle(1, "pacs", delivered())
    driver.settle(1, "vna", held("C000H"))
    driver.settle(2, "pacs", delivered("B000H"))
    driver.commit(content(4, 900), envelope("1.2.1", ("pacs",)))
    found = driver.ledger.queue.instances(["1.2.1", "1.2.2", "1.2.3"])
    assert [(one.message_id, one.destination, one.state, one.reason) for one in found["1.2.1"]] == [
        (4, "pacs", DeliveryState.WAITING, ""),
        (1, "vna", DeliveryState.HELD, "C000H"),
    ]
    assert [(one.state, one.reason) for one in found["1.2.2"]] == [(DeliveryState.DELIVERED, "B000H")]
    assert found.keys() == {"1.2.1", "1.2.2"}
