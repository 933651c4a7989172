"""Requests with several responses: read at the caller's pace, cancelled, and what a peer does wrong meanwhile."""

import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import attrs
import pytest
import trio

from pdu import RoleSelection, SOPClassExtendedNegotiation
from router.association import Aborted, InMemory, NoResponse, Requestor
from router.association.invocation import Invocation
from router.association.proposal import contexts_of
from router.association.transport import Transport
from router.config import Timeouts
from router.dimse import DATA_SET, Command, CommandField, MessageBegin, Status, encode, response_to
from tests.support.harness import CT, IMPLICIT, PATIENCE, Archive, configuration, eventually, running_router
from tests.support.query import C_FIND, C_GET, FIND, GET, QuerySCP, ct, identifier, match, patient_id
from tests.support.requestor import remote_at


def query() -> InMemory:
    return InMemory(identifier(PatientID=""))


async def opened(port: int, timeouts: Timeouts = Timeouts(), **options: Any) -> Requestor:  # noqa: B008 (frozen)
    contexts = contexts_of([(FIND, (IMPLICIT,)), (GET, (IMPLICIT,)), (CT, (IMPLICIT,))])
    return await Requestor.open(remote_at(port), contexts, timeouts, **options)


async def find(association: Requestor, **options: Any) -> Invocation:
    return await association.converse(association.contexts[FIND, IMPLICIT], C_FIND, query(), **options)


async def test_each_pending_response_is_read_in_order_and_the_final_one_is_the_last() -> None:
    def many(event: Any) -> Iterator[Any]:
        yield from ((Status.PENDING, match(number)) for number in range(300))

    with QuerySCP(many) as scp:
        async with await opened(scp.port) as association:
            for _ in range(2):  # the association can be used again
                responses = [response async for response in await find(association)]
                assert [patient_id(one.data_set) for one in responses[:-1]] == [f"P{n}" for n in range(300)]
                assert responses[-1].status == Status.SUCCESS
                assert association.is_idle
    assert scp.associations == 1


async def test_a_conversation_may_take_longer_than_the_deadline_of_one_response() -> None:
    pause = threading.Event()

    def slow(event: Any) -> Iterator[Any]:
        for number in range(6):
            pause.wait(0.2)
            yield Status.PENDING, match(number)

    with QuerySCP(slow) as scp:
        async with await opened(scp.port, Timeouts(dimse=0.8)) as association:
            began = trio.current_time()
            assert len([response async for response in await find(association)]) == 7
            assert trio.current_time() - began > 0.8


async def test_a_request_is_cancelled_while_its_response_is_waited_for() -> None:
    async def cancel_when(conversation: Invocation, moment: trio.Event) -> None:
        await moment.wait()
        await conversation.cancel()

    def until_cancelled(event: Any) -> Iterator[Any]:
        yield Status.PENDING, match(1)
        while not event.is_cancelled:
            threading.Event().wait(0.01)
        yield Status.CANCEL, None

    with QuerySCP(until_cancelled) as scp:
        async with await opened(scp.port) as association, trio.open_nursery() as nursery:
            conversation, moment = await find(association), trio.Event()
            nursery.start_soon(cancel_when, conversation, moment)
            statuses = []
            with trio.fail_after(PATIENCE):
                async for response in conversation:
                    statuses.append(response.status)
                    moment.set()
            assert statuses == [Status.PENDING, Status.CANCEL]
            await conversation.cancel()  # too late: without effect
            assert [one.status async for one in await find_none(association)] == [Status.SUCCESS]


async def find_none(association: Requestor) -> Invocation:
    """A C-GET, for which the SCP has nothing."""
    return await association.converse(association.contexts[GET, IMPLICIT], C_GET, query())


async def test_reading_may_be_cancelled_and_begun_again() -> None:
    goes_on = threading.Event()

    def waits(event: Any) -> Iterator[Any]:
        yield Status.PENDING, match(1)
        goes_on.wait(PATIENCE)
        yield Status.PENDING, match(2)

    with QuerySCP(waits) as scp:
        async with await opened(scp.port) as association:
            conversation = await find(association)
            assert patient_id((await anext(conversation)).data_set) == "P1"
            with trio.move_on_after(0.1) as scope:
                await anext(conversation)
            assert scope.cancelled_caught
            goes_on.set()
            assert patient_id((await anext(conversation)).data_set) == "P2"
            assert (await anext(conversation)).status == Status.SUCCESS


async def test_what_a_c_get_brings_on_our_association_is_stored_before_its_final_response(tmp_path: Path) -> None:
    uids = [f"1.2.7.{number}" for number in range(1, 6)]

    def get(event: Any) -> Iterator[Any]:
        yield len(uids)
        for uid in uids:
            yield Status.PENDING, ct(uid)

    async with Archive().serving() as archive, running_router(configuration(tmp_path, pacs=archive.port)) as router:
        operations = router.router._peers.operations
        roles = [RoleSelection(sop_class_uid=CT, scu_role=False, scp_role=True)]
        with QuerySCP(get=get) as scp:
            async with await opened(scp.port, roles=roles, operations=operations) as association:
                assert association.roles[CT].scp_role
                final = [one async for one in await find_none(association)][-1]
                assert final.command.number_of_completed_suboperations == len(uids)
        stored = await archive.received(len(uids))
        assert {one.command.sop_instance_uid for one in stored} == set(uids)


async def test_an_operation_for_which_no_role_was_proposed_aborts(tmp_path: Path) -> None:
    def get(event: Any) -> Iterator[Any]:
        yield 1
        yield Status.PENDING, ct("1.2.7")

    @attrs.define
    class Stores(Archive):
        """Sends a C-STORE-RQ instead of a response."""

        async def _answer(self, transport: Transport, begin: MessageBegin, data: bytes) -> None:
            command = Command(field=CommandField.C_STORE_RQ, message_id=1, affected_sop_class_uid=CT, priority=0)
            await self._respond(transport, 5, attrs.evolve(command, affected_sop_instance_uid="1.2.7"))

    async with running_router(configuration(tmp_path)) as router, Stores().serving() as peer:
        operations = router.router._peers.operations
        with pytest.raises(Aborted, match="C-STORE-RQ"):
            async with await opened(peer.port, operations=operations) as association:
                await anext(await find_none(association))


# Peers that do it wrong


@attrs.define
class Streams(Archive):
    """Sends `count` pending responses with data sets of `size` bytes, each after `change`, and then a final one."""

    count: int = 3
    size: int = 10
    change: Any = lambda response: response
    has_final: bool = True
    releases: int = 0
    sent: int = 0
    script: Any = lambda command: 0

    async def _answer(self, transport: Transport, begin: MessageBegin, data: bytes) -> None:
        if begin.command.field == CommandField.C_CANCEL_RQ:
            return
        layer = transport.upper_layer
        pending = self.change(response_to(begin.command, Status.PENDING, data_set_type=DATA_SET))
        for _ in range(self.count):
            buffers = layer.send_data(begin.context_id, encode(pending), command=True, last=True)
            buffers += layer.send_data(begin.context_id, bytes(self.size), command=False, last=True)
            await transport.send(buffers)
            self.sent += 1
        if self.has_final:
            await self._respond(transport, begin.context_id, response_to(begin.command, 0))

    async def _release(self, transport: Transport) -> None:
        self.releases += 1
        await super()._release(transport)


@pytest.mark.parametrize("is_read", [True, False])
async def test_only_an_association_whose_conversation_was_read_to_its_end_is_released(is_read: bool) -> None:
    async with Streams().serving() as peer:
        async with await opened(peer.port) as association:
            async for _ in await find(association):
                if not is_read:
                    break

        async def is_closed() -> bool:
            return peer._open == 0

        await eventually(is_closed)
        assert peer.releases == is_read


async def test_a_peer_that_stops_in_the_middle_has_its_own_deadline_for_the_next_response() -> None:
    async with Streams(count=1, has_final=False).serving() as peer, await opened(peer.port) as association:
        conversation = await find(association, patience=0.3)
        assert (await anext(conversation)).is_pending
        began = trio.current_time()
        with pytest.raises(NoResponse, match="no response to C-FIND-RQ within"):
            await anext(conversation)
        assert trio.current_time() - began < PATIENCE


async def test_a_peer_is_held_back_while_nothing_is_read() -> None:
    async with Streams(count=10_000, size=4096).serving() as peer, await opened(peer.port) as association:
        conversation = await find(association, patience=0.1)
        for _ in range(10):
            await anext(conversation)
        before = -1

        async def is_held_back() -> bool:
            nonlocal before
            before, same = peer.sent, peer.sent == before
            await trio.sleep(0.2)  # two deadlines, while nothing is read
            return same

        await eventually(is_held_back)
        assert peer.sent < 10_000
        assert len([response async for response in conversation]) == 10_000 - 10 + 1


async def test_a_data_set_over_the_limit_aborts() -> None:
    async with Streams(size=(1 << 20) + 1).serving() as peer:
        with pytest.raises(Aborted, match="1048576 bytes"):
            async with await opened(peer.port) as association:
                await anext(await find(association))


@pytest.mark.parametrize(
    "change",
    [
        lambda response: attrs.evolve(response, message_id_being_responded_to=77),
        lambda response: attrs.evolve(response, field=CommandField.C_MOVE_RSP),
        lambda response: attrs.evolve(response, affected_sop_class_uid=GET),
    ],
    ids=["message id", "kind", "class"],
)
async def test_a_response_that_does_not_fit_the_request_aborts(change: Any) -> None:
    async with Streams(change=change).serving() as peer:
        with pytest.raises(Aborted):
            async with await opened(peer.port) as association:
                await anext(await find(association))


async def test_the_peer_may_end_the_association_in_the_middle() -> None:
    def aborts(event: Any) -> Iterator[Any]:
        yield Status.PENDING, match(1)
        event.assoc.abort()

    with QuerySCP(aborts) as scp:
        async with await opened(scp.port) as association:
            conversation = await find(association)
            with pytest.raises(Aborted, match="while a response was due"):
                while True:
                    await anext(conversation)


async def test_the_answer_to_extended_negotiation_can_be_read() -> None:
    relational = SOPClassExtendedNegotiation(sop_class_uid=FIND, information=b"\x01")
    with QuerySCP(relational=b"\x01") as scp:
        async with await opened(scp.port, extended=[relational]) as association:
            assert association.extended == {FIND: b"\x01"}
        assert scp.proposed == [{FIND: b"\x01"}]
