"""The same object twice: docs/spool.md, "Duplicates"."""

import pytest
from attrs import evolve

from router.model import Purpose, SpoolSettings
from router.spool import DuplicateRefused
from router.spool.duplicates import is_same
from router.spool.jobs import Commit, Unsure
from router.spool.values import Receipt
from tests.router.spool.driver import SETTINGS, Driver, content, delivered, envelope, held
from tests.router.spool.power_cut import FragileFiles

A, B = content(1, 600), content(2, 600)
LARGE = content(3, 9000)


def driver_with(duplicates: str) -> Driver:
    settings: SpoolSettings = evolve(SETTINGS, duplicates=duplicates)
    return Driver(FragileFiles(), settings)


@pytest.mark.parametrize("policy", ["forward", "hold", "refuse"])
def test_the_same_bytes_again_are_one_delivery(policy: str) -> None:
    driver = driver_with(policy)
    driver.commit(A, envelope())
    written = driver.writer.segments.known[1].end
    again = driver.commit(A, envelope())
    assert (again.duplicate, again.destinations) == (True, ())
    assert driver.writer.segments.known[1].end == written
    assert len(driver.waiting("pacs")) == 1


def test_the_same_bytes_go_to_the_destinations_that_did_not_have_them() -> None:
    driver = driver_with("refuse")
    driver.commit(A, envelope(destinations=("pacs",)))
    again = driver.commit(A, envelope(destinations=("pacs", "vna")))
    assert (again.duplicate, again.destinations) == (False, ("vna",))
    assert [row.message_id for row in driver.waiting("vna")] == [again.message_id]


def test_a_held_delivery_still_counts_as_the_same() -> None:
    driver = driver_with("forward")
    driver.commit(A, envelope())
    driver.settle(1, "pacs", held())
    assert driver.commit(A, envelope()).duplicate


def test_what_is_retained_for_a_destination_stays_in_one_message_with_what_is_sent_to_it() -> None:
    driver = driver_with("refuse")
    driver.commit(A, envelope(retain=("pacs",)))
    assert driver.commit(A, envelope(retain=("pacs",))).duplicate
    driver.settle(1, "pacs", delivered())
    assert driver.ledger.unfinished_deliveries(1) == {("pacs", Purpose.RETAIN)}
    again = driver.commit(A, envelope(destinations=("pacs", "vna"), retain=("pacs",)))
    assert driver.ledger.unfinished_deliveries(1) == {("pacs", Purpose.RETAIN)}
    assert driver.ledger.unfinished_deliveries(again.message_id) == {
        ("pacs", Purpose.SEND),
        ("pacs", Purpose.RETAIN),
        ("vna", Purpose.SEND),
    }


def test_what_is_only_retained_is_handed_to_no_destination_and_keeps_the_message() -> None:
    driver = driver_with("refuse")
    driver.commit(A, envelope(retain=("pacs",)))
    assert len(driver.rows) == len(driver.waiting("pacs")) == 1
    driver.settle(1, "pacs", delivered())
    assert driver.waiting("pacs") == []
    assert driver.writer.segments.known[1].live == 1
    driver.settle(1, "pacs", delivered("committed"), Purpose.RETAIN)
    assert driver.ledger.unfinished_deliveries(1) == set()
    assert driver.writer.segments.known[1].live == 0


def test_what_was_delivered_is_delivered_again() -> None:
    driver = driver_with("refuse")
    driver.commit(A, envelope())
    driver.settle(1, "pacs", delivered())
    assert not driver.commit(A, envelope()).duplicate
    assert not driver.commit(B, envelope("1.2.4")).duplicate


def test_other_bytes_are_forwarded_held_or_refused() -> None:
    driver = driver_with("forward")
    driver.commit(A, envelope())
    driver.commit(B, envelope())
    assert [driver.data(row.message_id) for row in driver.waiting("pacs")] == [A, B]

    driver = driver_with("hold")
    driver.commit(A, envelope())
    receipt = driver.commit(B, envelope())
    assert "same SOP Instance UID" in receipt.held
    assert [driver.data(row.message_id) for row in driver.waiting("pacs")] == [A]
    assert driver.data(receipt.message_id) == B

    driver = driver_with("refuse")
    driver.commit(A, envelope())
    with pytest.raises(DuplicateRefused):
        driver.commit(B, envelope())
    assert [driver.data(row.message_id) for row in driver.waiting("pacs")] == [A]
    assert driver.spool.intake.memory.used == 0


def test_what_is_held_for_other_bytes_is_held_after_a_rebuild() -> None:
    driver = driver_with("hold")
    driver.commit(A, envelope())
    driver.commit(B, envelope())
    driver.stop()
    files = driver.files
    assert isinstance(files, FragileFiles)
    files.ledger_states = [None]
    again = Driver(files)
    assert (again.report.waiting, again.report.held) == (1, 1)


@pytest.mark.parametrize(
    ("policy", "states"), [("forward", [True, True]), ("hold", [True, True]), ("refuse", [True, False])]
)
def test_duplicates_within_one_batch_are_found_too(policy: str, states: list[bool]) -> None:
    driver = driver_with(policy)
    jobs = [driver.put(data, envelope()) for data in (A, A, B)]
    driver.writer.turn(list(jobs))
    first, same = jobs[0].reply.value, jobs[1].reply.value
    assert isinstance(first, Receipt)
    assert isinstance(same, Receipt)
    assert [first.duplicate, same.duplicate] == [False, True]
    assert [job.reply.error is None for job in (jobs[0], jobs[2])] == states
    if policy == "refuse":
        assert isinstance(jobs[2].reply.error, DuplicateRefused)
    assert len(driver.waiting("pacs")) == (2 if policy == "forward" else 1)


def test_equal_checksums_are_not_taken_for_equal_bytes() -> None:
    driver = driver_with("hold")
    driver.commit(A, envelope())
    job = driver.put(B, envelope())
    job.incoming.crc = driver.place(1).data_crc
    driver.writer.turn([job])
    receipt = job.reply.value
    assert isinstance(receipt, Receipt)
    assert receipt.held


def test_no_more_than_sixteen_are_compared_however_many_look_alike() -> None:
    """A sender that forges checksums cannot hold up the others for long."""
    driver = driver_with("forward")
    files = driver.files
    assert isinstance(files, FragileFiles)
    for number in range(20):
        job = driver.put(content(number, 600), envelope())
        job.incoming.crc = 7
        opened = files.calls.count("open")
        driver.writer.turn([job])
        assert files.calls.count("open") - opened == min(number, 16)
    assert len(driver.waiting("pacs")) == 20


def test_a_message_of_another_kind_is_never_a_duplicate() -> None:
    driver = driver_with("refuse")
    driver.commit(A, envelope(kind="N-SET-RQ"))
    assert not driver.commit(A, envelope(kind="N-SET-RQ")).duplicate
    assert not driver.commit(B, envelope()).duplicate


def test_a_destination_named_twice_is_taken_once() -> None:
    driver = driver_with("forward")
    receipt = driver.commit(A, envelope(destinations=("pacs", "vna", "pacs")))
    assert receipt.destinations == ("pacs", "vna")


def test_an_unrouted_duplicate_is_one_message_too() -> None:
    driver = driver_with("forward")
    assert driver.commit(A, envelope(destinations=())).held == "no route matched"
    assert driver.commit(A, envelope(destinations=())).duplicate


def test_large_ones_are_sent_back_to_be_compared_elsewhere() -> None:
    driver = driver_with("refuse")
    driver.commit(LARGE, envelope())
    job = driver.put(LARGE, envelope())
    driver.writer.turn([job])
    unsure = job.reply.value
    assert isinstance(unsure, Unsure)
    assert unsure.candidates == [1]
    same = is_same(driver.spool._store, driver.place(1), job.incoming)
    assert same
    again = Commit(job.incoming, envelope(), compared={1: same})
    driver.writer.turn([again])
    receipt = again.reply.value
    assert isinstance(receipt, Receipt)
    assert receipt.duplicate
    assert len(driver.files.names(driver.spool._store.large)) == 1


def test_large_ones_within_one_batch_are_compared_in_the_next() -> None:
    driver = driver_with("forward")
    jobs = [driver.put(LARGE, envelope()) for _ in range(2)]
    driver.writer.turn(list(jobs))
    assert isinstance(jobs[0].reply.value, Receipt)
    unsure = jobs[1].reply.value
    assert isinstance(unsure, Unsure)
    assert unsure.candidates == [1]


def test_a_stored_one_that_cannot_be_read_is_not_the_same() -> None:
    driver = driver_with("forward")
    driver.commit(A, envelope())
    files = driver.files
    assert isinstance(files, FragileFiles)
    del files.files_in("/segments")["00000001"]
    assert not driver.commit(A, envelope()).duplicate
