"""Sub-operations are counted exactly once, whatever is told of them and how often."""

from hypothesis import given
from hypothesis import strategies as st

from router.dimse import Command, CommandField, Status
from router.services.base import Request, Sender
from router.services.query.identifier import decode_identifier
from router.services.retrieve.responses import FAILED_SOP_INSTANCE_UID_LIST, final, final_status, pending
from router.services.retrieve.sub_operations import Counts, End, SubOperations

UIDS = [f"1.2.{number}" for number in range(6)]
EVENTS = st.lists(st.tuples(st.sampled_from([*UIDS, "9.9"]), st.sampled_from(End)), max_size=30)
REQUEST = Request(
    sender=Sender(calling_ae="STATION", called_ae="ROUTER", peer="10.0.0.1"),
    association=1,
    abstract_syntax="1.2.840.10008.5.1.4.1.2.2.2",
    transfer_syntax="1.2.840.10008.1.2.1",
    command=Command(field=CommandField.C_MOVE_RQ, message_id=7, affected_sop_class_uid="1.2.840.10008.5.1.4.1.2.2.2"),
    command_bytes=b"",
)


@given(st.lists(st.sampled_from(UIDS)), EVENTS)
def test_in_every_response_the_four_counts_make_the_total(uids: list[str], events: list[tuple[str, End]]) -> None:
    operations = SubOperations(uids)
    total = len(set(uids))
    for uid, end in events:
        operations.conclude(uid, end)
        command = pending(REQUEST, operations.numbers).command
        assert operations.numbers.total == total == sum(numbers(command).values())
    assert set(operations.remaining).isdisjoint(operations.failed_uids)


@given(st.lists(st.sampled_from(UIDS)), EVENTS)
def test_the_first_end_of_a_sub_operation_stands(uids: list[str], events: list[tuple[str, End]]) -> None:
    operations = SubOperations(uids)
    first: dict[str, End] = {}
    for uid, end in events:
        assert operations.conclude(uid, end) == (uid in uids and uid not in first)
        if uid in uids:
            first.setdefault(uid, end)
    counts = operations.numbers
    assert [counts.completed, counts.failed, counts.warning] == [
        list(first.values()).count(end) for end in (End.COMPLETED, End.FAILED, End.WARNING)
    ]
    assert set(operations.failed_uids) == {uid for uid, end in first.items() if end is End.FAILED}


@given(st.lists(st.sampled_from(UIDS), min_size=1), EVENTS)
def test_the_final_response_lists_every_failed_instance(uids: list[str], events: list[tuple[str, End]]) -> None:
    operations = SubOperations(uids)
    for uid, end in events:
        operations.conclude(uid, end)
    operations.fail_remaining()
    response = final(REQUEST, final_status(operations.numbers), operations)
    assert response.command.number_of_remaining_suboperations is None
    listed = decode_identifier(response.data_set, REQUEST.transfer_syntax).get(FAILED_SOP_INSTANCE_UID_LIST)
    value = listed.value if listed else b""
    assert isinstance(value, bytes)
    assert set(filter(None, value.decode().strip("\0").split("\\"))) == set(operations.failed_uids)


def test_the_final_status_is_that_of_the_standard() -> None:
    assert final_status(Counts(completed=2)) == Status.SUCCESS
    assert final_status(Counts()) == Status.SUCCESS
    assert final_status(Counts(completed=1, failed=1)) == 0xB000
    assert final_status(Counts(warning=2)) == 0xB000
    assert final_status(Counts(failed=2)) == 0xA702


def test_ten_thousand_failed_instances_are_listed_whole() -> None:
    operations = SubOperations(f"1.2.840.{number}" for number in range(10_000))
    operations.fail_remaining()
    response = final(REQUEST, final_status(operations.numbers), operations)
    (element,) = decode_identifier(response.data_set, REQUEST.transfer_syntax).values()
    assert isinstance(element.value, bytes)
    assert element.value.strip(b"\0").count(b"\\") == 9_999


def test_counts_beyond_sixteen_bits_saturate_and_say_so() -> None:
    command = pending(REQUEST, Counts(remaining=70_000, completed=3)).command
    assert numbers(command)["remaining"] == 0xFFFF
    assert "65535" in (command.error_comment or "")


def numbers(command: Command) -> dict[str, int]:
    return {
        name: getattr(command, f"number_of_{name}_suboperations")
        for name in ("remaining", "completed", "failed", "warning")
    }
