"""The requests that are outstanding on one association, and which response belongs to which."""

from typing import Any

import attrs
import pytest
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule

from router.association.pending import PendingResponses, StrayResponse, UnexpectedResponse
from router.dimse import DATA_SET, Command, CommandField, Status, response_to
from tests.support.harness import CT, store_rq

PATIENCE = 10.0
FIND = Command(field=CommandField.C_FIND_RQ, message_id=1, affected_sop_class_uid="1.2.3", priority=0)
GET = attrs.evolve(FIND, field=CommandField.C_GET_RQ)


def response(request: Command, message_id: int, status: int = 0, **changes: Any) -> Command:
    return attrs.evolve(response_to(attrs.evolve(request, message_id=message_id), status), **changes)


def test_a_c_cancel_is_never_a_response() -> None:
    pending = PendingResponses()
    number = pending.expect(store_rq("1.2"), PATIENCE)
    cancel = Command(field=CommandField.C_CANCEL_RQ, message_id_being_responded_to=number)
    with pytest.raises(StrayResponse):
        pending.begin(cancel, 0.0)
    assert not pending
    assert pending.is_outstanding(number)


@pytest.mark.parametrize(
    "changes",
    [
        {"field": CommandField.N_SET_RSP},
        {"field": CommandField.C_ECHO_RSP},
        {"affected_sop_instance_uid": "1.3"},
        {"affected_sop_class_uid": "1.4"},
    ],
)
def test_a_response_of_another_kind_or_about_something_else_is_refused(changes: dict[str, Any]) -> None:
    pending = PendingResponses()
    number = pending.expect(store_rq("1.2"), PATIENCE)
    with pytest.raises(UnexpectedResponse) as refused:
        pending.begin(response(store_rq("1.2"), number, **changes), 0.0)
    assert not isinstance(refused.value, StrayResponse)
    assert not pending


def test_a_response_need_not_name_what_was_asked() -> None:
    pending = PendingResponses()
    number = pending.expect(store_rq("1.2"), PATIENCE)
    nameless = response(store_rq("1.2"), number, affected_sop_instance_uid=None, affected_sop_class_uid=None)
    pending.begin(nameless, 0.0)
    assert pending.pop().command == nameless


def test_a_response_to_an_n_create_may_name_the_instance_that_the_peer_has_chosen() -> None:
    create = Command(field=CommandField.N_CREATE_RQ, message_id=1, affected_sop_class_uid=CT)
    pending = PendingResponses()
    pending.begin(response(create, pending.expect(create, PATIENCE), affected_sop_instance_uid="1.9"), 0.0)
    assert pending.pop().command.sop_instance_uid == "1.9"


def test_a_data_set_over_the_limit_is_refused() -> None:
    pending = PendingResponses(largest=100)
    number = pending.expect(FIND, PATIENCE, has_several=True)
    pending.begin(response(FIND, number, Status.PENDING, data_set_type=DATA_SET), 0.0)
    pending.feed(memoryview(bytes(100)), 0.0, is_last=False)
    with pytest.raises(UnexpectedResponse):
        pending.feed(memoryview(b"x"), 0.0, is_last=True)


def test_a_request_with_one_response_is_over_with_it_whatever_its_status() -> None:
    pending = PendingResponses()
    number = pending.expect(store_rq("1.2"), PATIENCE)
    pending.begin(response(store_rq("1.2"), number, Status.PENDING), 0.0)
    assert not pending.is_outstanding(number)


def test_operations_of_the_peer_extend_the_deadline_of_a_c_get_and_of_nothing_else() -> None:
    for request, deadline in ((GET, 5 + PATIENCE), (FIND, PATIENCE)):
        pending = PendingResponses()
        pending.restart(pending.expect(request, PATIENCE, has_several=True), 0.0)
        pending.peer_invoked(5.0)
        assert pending.deadline == deadline


def test_message_ids_begin_again_and_none_is_used_twice_at_the_same_time() -> None:
    pending = PendingResponses()
    first = pending.expect(FIND, PATIENCE, has_several=True)
    seen = set()
    for _ in range(0xFFFF):
        number = pending.expect(store_rq("1.2"), PATIENCE)
        assert 0 < number <= 0xFFFF
        assert number != first
        seen.add(number)
        pending.begin(response(store_rq("1.2"), number), 0.0)
        pending.pop()
    assert len(seen) == 0xFFFE


class Interleaved(RuleBasedStateMachine):
    """Any interleaving of requests, their pending and final responses, data sets and time."""

    def __init__(self) -> None:
        super().__init__()
        self.pending = PendingResponses()
        self.now = 0.0
        self.due: dict[int, float] = {}
        """The outstanding requests and their deadlines."""
        self.complete: list[tuple[int, int, bytes]] = []
        """The complete responses, oldest first: Message ID, status, data set."""

    @rule(has_several=st.booleans())
    def ask(self, has_several: bool) -> None:
        request = FIND if has_several else store_rq("1.2")
        number = self.pending.expect(request, PATIENCE, has_several=has_several)
        assert number not in self.due
        self.pending.restart(number, self.now)
        self.due[number] = self.now + PATIENCE

    @rule(seconds=st.floats(0, 20))
    def time_passes(self, seconds: float) -> None:
        self.now += seconds

    @precondition(lambda self: self.due)
    @rule(data=st.data(), pieces=st.lists(st.binary(max_size=5), max_size=3), is_pending=st.booleans())
    def respond(self, data: st.DataObject, pieces: list[bytes], is_pending: bool) -> None:
        number = data.draw(st.sampled_from(sorted(self.due)))
        is_find = number in self.finds
        status = Status.PENDING if is_pending else Status.SUCCESS
        request = FIND if is_find else store_rq("1.2")
        command = response(request, number, status, **({"data_set_type": DATA_SET} if pieces else {}))
        self.pending.begin(command, self.now)
        self.due[number] = self.now + PATIENCE
        for index, piece in enumerate(pieces):
            self.now += 1
            self.pending.feed(memoryview(piece), self.now, is_last=index == len(pieces) - 1)
            self.due[number] = self.now + PATIENCE
        self.complete.append((number, status, b"".join(pieces)))
        if not (is_find and is_pending):
            del self.due[number]

    @property
    def finds(self) -> set[int]:
        return {number for number, one in self.pending._outstanding.items() if one.has_several}

    @rule(number=st.integers(1, 0xFFFF))
    def stray(self, number: int) -> None:
        if number not in self.due:
            with pytest.raises(StrayResponse):
                self.pending.begin(response(FIND, number), self.now)

    @precondition(lambda self: self.complete)
    @rule()
    def read(self) -> None:
        one = self.pending.pop()
        read = one.command.message_id_being_responded_to, one.status, one.data_set
        assert read == self.complete.pop(0)

    @precondition(lambda self: self.due)
    @rule()
    def give_up(self) -> None:
        self.pending.forget()
        self.due.clear()

    @invariant()
    def agrees(self) -> None:
        assert bool(self.pending) is bool(self.complete)
        assert self.pending.is_idle is not bool(self.due or self.complete)
        assert self.pending.deadline == min(self.due.values(), default=float("inf"))
        assert all(self.pending.is_outstanding(number) for number in self.due)


TestInterleaved = Interleaved.TestCase
