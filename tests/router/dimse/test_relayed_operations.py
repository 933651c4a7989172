"""Message IDs of a relay: whatever is interleaved, each response and each C-CANCEL reaches its own operation."""

import struct

import attrs
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule

from router.dimse import Command, CommandField, decode, encode
from router.dimse.command import RESPONSE
from router.dimse.relayed_operations import MOST_OUTSTANDING, RelayedOperations, with_message_id

IDS = st.integers(0, 5) | st.integers(0, 0xFFFF)


class Interleaved(RuleBasedStateMachine):
    """A client that invokes and cancels under any Message ID, and a peer that answers in any order."""

    def __init__(self) -> None:
        super().__init__()
        self.operations = RelayedOperations()
        self.model: list[tuple[int, int]] = []
        """(Message ID of the peer, Message ID of the client), in the order of the invocations."""

    @rule(message_id=IDS)
    def invoke(self, message_id: int) -> None:
        in_use = {peers for peers, _ in self.model}
        passed_on = self.operations.begin(message_id)
        assert passed_on not in in_use
        assert 0 <= passed_on <= 0xFFFF
        assert passed_on == message_id or message_id in in_use
        self.model.append((passed_on, message_id))

    @precondition(lambda self: self.model)
    @rule(data=st.data(), is_final=st.booleans())
    def respond(self, data: st.DataObject, is_final: bool) -> None:
        passed_on, invoked_as = one = data.draw(st.sampled_from(self.model))
        assert self.operations.invoked_as(passed_on, is_final=is_final) == invoked_as
        if is_final:
            self.model.remove(one)

    @rule(message_id=IDS)
    def respond_to_nothing(self, message_id: int) -> None:
        if message_id not in {peers for peers, _ in self.model}:
            assert self.operations.invoked_as(message_id, is_final=True) is None

    @rule(message_id=IDS)
    def cancel(self, message_id: int) -> None:
        expected = [peers for peers, clients in self.model if clients == message_id]
        assert self.operations.cancel(message_id) == (expected[-1] if expected else None)

    @invariant()
    def nothing_is_left_over(self) -> None:
        assert len(self.operations) == len(self.model)


TestInterleaved = Interleaved.TestCase


def test_only_a_request_that_has_been_sent_has_a_deadline() -> None:
    operations = RelayedOperations(patience=10.0)
    first, second = operations.begin(1), operations.begin(2)
    assert operations.deadline == float("inf")
    operations.restart(first, 0.0)
    operations.restart_all(10.0)
    assert operations.deadline == 20.0
    operations.restart(second, 5.0)
    assert operations.deadline == 15.0
    operations.invoked_as(second, is_final=True)
    operations.restart(second, 1.0)
    assert operations.deadline == 20.0


def test_the_oldest_of_too_many_operations_is_forgotten() -> None:
    operations = RelayedOperations()
    for number in range(MOST_OUTSTANDING + 1):
        operations.begin(number)
    assert len(operations) == MOST_OUTSTANDING
    assert operations.invoked_as(0, is_final=True) is None
    assert operations.invoked_as(MOST_OUTSTANDING, is_final=True) == MOST_OUTSTANDING


@given(
    field=st.sampled_from([one for one in CommandField if not one & RESPONSE and one != CommandField.C_CANCEL_RQ]),
    message_id=st.integers(0, 0xFFFF),
    other=st.integers(0, 0xFFFF),
)
def test_a_request_changes_in_its_message_id_alone(field: CommandField, message_id: int, other: int) -> None:
    command = Command(field=field, message_id=message_id, affected_sop_class_uid="1.2.3", move_destination="ARCHIVE")
    changed = with_message_id(encode(command), field, other)
    assert decode(changed) == attrs.evolve(command, message_id=other)
    assert with_message_id(changed, field, message_id) == encode(command)


@given(
    field=st.sampled_from([one for one in CommandField if one & RESPONSE or one == CommandField.C_CANCEL_RQ]),
    other=st.integers(0, 0xFFFF),
)
def test_a_response_and_a_cancel_change_in_what_they_respond_to(field: CommandField, other: int) -> None:
    command = Command(field=field, message_id_being_responded_to=7, status=0 if field & RESPONSE else None)
    changed = with_message_id(encode(command), field, other)
    assert decode(changed) == attrs.evolve(command, message_id_being_responded_to=other)


def test_retired_and_unknown_elements_of_a_command_set_are_kept() -> None:
    command = Command(field=CommandField.N_GET_RQ, message_id=1)
    retired = struct.pack("<HHL", 0, 0x5010, 4) + b"ABCD"
    changed = with_message_id(encode(command) + retired, command.field, 9)
    assert changed.endswith(retired)
    assert decode(changed).message_id == 9


def test_a_command_set_without_a_message_id_is_refused() -> None:
    encoded = encode(Command(field=CommandField.C_ECHO_RQ))
    with pytest.raises(ValueError, match="0110"):
        with_message_id(encoded, CommandField.C_ECHO_RQ, 1)
