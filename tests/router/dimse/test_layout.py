"""Command sets read and written by layout: always what the whole codec reads and writes."""

import struct
from typing import Any

from attrs import evolve
from hypothesis import given
from hypothesis import strategies as st

from router.dimse import Command, CommandField, InvalidCommandSet, LayoutDecoder, command, encode
from tests.support.command_sets import commands

_ELEMENTS = (0x0000, 0x0001, 0x0002, 0x0100, 0x0110, 0x0120, 0x0700, 0x0800, 0x0900, 0x1000, 0x1030, 0x1031)
_NUMBERS = (0x0100, 0x0110, 0x0120, 0x0700, 0x0800, 0x0900, 0x1031)
_UIDS = st.sampled_from(["1.2", "1.3", "1.2.3", "1.2.4", "1.2.3.4.5.6", ""])


def read(decode: Any, *arguments: Any) -> Command | str:
    try:
        decoded: Command = decode(*arguments)
    except InvalidCommandSet as error:
        return str(error)
    return decoded


@st.composite
def element_lists(draw: st.DrawFn) -> bytes:
    """Elements in any order and number; most of them valid."""
    encoded = b""
    for element in draw(st.lists(st.sampled_from(_ELEMENTS), max_size=12)):
        if element in _NUMBERS and draw(st.integers(0, 9)):
            value = struct.pack("<H", draw(st.sampled_from([0, 1, 0x101, 0x8001, 0xFFFF])))
        else:
            value = draw(st.sampled_from([b"", b"1", b"1.2\0", b"1.3\0", b"1.2.", b"\0\0", b" 1 \xe4"]))
        encoded += struct.pack("<HHL", 0, element, len(value)) + value
    return encoded


@st.composite
def alike(draw: st.DrawFn) -> list[bytes]:
    """A command set of a peer, and others that differ from it in some bytes."""
    first = draw(element_lists() | commands().map(command.encode))
    sets = [first]
    for _ in range(draw(st.integers(1, 6))):
        other = bytearray(draw(st.sampled_from(sets)))
        for _ in range(draw(st.integers(0, 3)) if other else 0):
            other[draw(st.integers(0, len(other) - 1))] = draw(st.integers(0, 255))
        sets.append(bytes(other) if draw(st.booleans()) else bytes(other[: draw(st.integers(0, len(other)))]))
    return sets


@given(alike(), st.data())
def test_what_a_peer_sends_is_decoded_as_if_nothing_had_come_before(sets: list[bytes], data: st.DataObject) -> None:
    decoder = LayoutDecoder()
    for encoded in sets:
        context_id = data.draw(st.sampled_from([1, 3]))
        assert read(decoder.decode, context_id, encoded) == read(command.decode, encoded)


@given(commands(), st.lists(st.tuples(st.integers(0, 0xFFFF), _UIDS), min_size=1, max_size=8))
def test_messages_of_one_layout_are_decoded_each_for_itself(first: Command, others: list[tuple[int, str]]) -> None:
    decoder = LayoutDecoder()
    decoded = [decoder.decode(1, command.encode(one)) for one in (first, *varied(first, others))]
    assert decoded == [command.decode(command.encode(one)) for one in (first, *varied(first, others))]


@given(commands(), st.lists(st.tuples(st.integers(0, 0xFFFF), _UIDS), min_size=1, max_size=8))
def test_messages_of_one_layout_are_encoded_each_for_itself(first: Command, others: list[tuple[int, str]]) -> None:
    for one in (first, *varied(first, others)):
        assert encode(one) == command.encode(one)


def varied(first: Command, others: list[tuple[int, str]]) -> list[Command]:
    """Return the command set with other Message IDs and UIDs."""
    name = "message_id_being_responded_to" if first.message_id is None else "message_id"
    has_uid = first.affected_sop_instance_uid is not None
    return [
        first.changed(**{name: number, "affected_sop_instance_uid": uid if has_uid else None}) for number, uid in others
    ]


@given(commands(), commands())
def test_the_layout_of_one_message_is_not_used_for_another(one: Command, other: Command) -> None:
    for each in (one, other, one):
        assert encode(each) == command.encode(each)


@given(commands(), st.integers(0, 0xFFFF))
def test_a_changed_copy_differs_in_what_was_changed(one: Command, status: int) -> None:
    before = repr(one)
    assert one.changed(status=status) == evolve(one, status=status)
    assert repr(one) == before


def test_a_priority_that_changes_is_read() -> None:
    decoder = LayoutDecoder()
    store = Command(field=CommandField.C_STORE_RQ, message_id=1, affected_sop_instance_uid="1.2", priority=0)
    read_back = [decoder.decode(1, command.encode(store.changed(priority=priority))) for priority in (0, 1, 0, 2)]
    assert [one.priority for one in read_back] == [0, 1, 0, 2]


def test_layouts_of_any_number_are_read() -> None:
    decoder = LayoutDecoder()
    store = Command(field=CommandField.C_STORE_RQ, message_id=1, affected_sop_instance_uid="1.2", priority=0)
    for length in range(100):
        one = store.changed(message_id=length, affected_sop_instance_uid="1." * length + "1")
        assert decoder.decode(1, command.encode(one)) == one
        assert encode(one) == command.encode(one)
