"""One limit for a peer's associations, whoever uses them: the delivery queue, or requests that services invoke."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import attrs
import pytest
import trio
from hypothesis import given
from hypothesis import strategies as st
from pynetdicom import _config
from trio.testing import MockClock

from router.association import AssociationPool, AssociationPools, NotConnected, Requestor
from router.association import pool as pool_module
from router.association.pool import TURN, AssociationPlan, Side, _Waiter
from router.association.proposal import contexts_of
from router.config import Timeouts
from router.dimse import Command, CommandField
from router.services import PeerRequest, PeerUnanswered
from tests.support.harness import (
    CT,
    IMPLICIT,
    PATIENCE,
    VERIFICATION,
    Archive,
    Modality,
    configuration,
    data_set,
    eventually,
    running_router,
    store_rq,
)
from tests.support.query import C_FIND, FIND, QuerySCP, identifier, match
from tests.support.requestor import remote_at

ECHO = Command(field=CommandField.C_ECHO_RQ, affected_sop_class_uid=VERIFICATION)


def plan(port: int, *abstract_syntaxes: str) -> AssociationPlan:
    contexts = contexts_of([(one, (IMPLICIT,)) for one in abstract_syntaxes or (VERIFICATION,)])
    return AssociationPlan(remote=remote_at(port), contexts=contexts)


@asynccontextmanager
async def running_pool(limit: int, linger: float = 60.0) -> AsyncIterator[AssociationPool]:
    pools = AssociationPools()
    pool = pools.of("pacs")
    pool.limit, pool.linger = limit, linger
    async with trio.open_nursery() as nursery:
        nursery.start_soon(pools.run)
        await trio.testing.wait_all_tasks_blocked()
        yield pool
        await pools.drain()
        nursery.cancel_scope.cancel()


async def echo(association: Requestor) -> int:
    return (await association.request(association.contexts[VERIFICATION, IMPLICIT], ECHO)).status


async def test_an_association_is_used_again_for_the_same_presentation_contexts() -> None:
    async with Archive().serving() as archive, running_pool(1) as pool:
        for wanted in (plan(archive.port, VERIFICATION, CT), plan(archive.port), plan(archive.port, CT, VERIFICATION)):
            async with pool.lease(wanted, Timeouts()) as association:
                assert await echo(association) == 0
        assert archive.associations == 1


async def test_one_that_lingers_makes_way_for_other_presentation_contexts() -> None:
    async with Archive().serving() as archive, running_pool(1) as pool:
        for wanted in (plan(archive.port), plan(archive.port, CT, VERIFICATION)):
            async with pool.lease(wanted, Timeouts()) as association:
                assert await echo(association) == 0
        assert archive.associations == 2
        assert archive.most_at_once == 1


async def test_one_that_lingers_is_released_when_its_time_is_over() -> None:
    async with Archive().serving() as archive, running_pool(1, linger=0.05) as pool:
        async with pool.lease(plan(archive.port), Timeouts()):
            pass

        async def is_closed() -> bool:
            return archive._open == 0

        await eventually(is_closed)
        async with pool.slot():
            pass


async def test_one_that_the_peer_has_ended_is_not_used_again() -> None:
    @attrs.define
    class EndsAfterOne(Archive):
        async def _answer(self, *arguments: object) -> None:
            await super()._answer(*arguments)  # type: ignore[arg-type]
            arguments[0].close()  # type: ignore[attr-defined]

    async with EndsAfterOne().serving() as archive, running_pool(1) as pool:
        for _ in range(3):
            async with pool.lease(plan(archive.port), Timeouts()) as association:
                assert await echo(association) == 0

            async def is_closed() -> bool:
                return not pool._lingering and not pool._closing

            await eventually(is_closed)
        assert archive.associations == 3


async def test_a_lease_that_is_cancelled_while_it_is_handed_an_association_loses_no_slot() -> None:
    async with Archive().serving() as archive, running_pool(1) as pool:
        for _ in range(3):
            async with pool.lease(plan(archive.port), Timeouts()) as association:
                assert await echo(association) == 0
            with trio.move_on_after(0) as scope:
                async with pool.lease(plan(archive.port), Timeouts()):
                    raise AssertionError("it has waited for nothing")
            assert scope.cancelled_caught
        with trio.fail_after(PATIENCE):
            async with pool.slot():
                assert pool._free == 0
        assert pool._free == 1


async def test_leases_never_exceed_the_limit_and_each_has_its_turn() -> None:
    done = 0

    async def use(number: int) -> None:
        nonlocal done
        wanted = plan(archive.port, VERIFICATION, *([CT] if number % 2 else []))
        async with pool.lease(wanted, Timeouts()) as association:
            for _ in range(3):
                assert await echo(association) == 0
        done += 1

    async with Archive().serving() as archive, running_pool(2) as pool:
        with trio.fail_after(PATIENCE):
            async with trio.open_nursery() as nursery:
                for number in range(12):
                    nursery.start_soon(use, number)
        assert done == 12
        assert archive.most_at_once <= 2


async def test_an_association_that_cannot_be_opened_costs_no_slot() -> None:
    async with running_pool(1) as pool:
        for _ in range(3):
            with pytest.raises(NotConnected):
                async with pool.lease(plan(1), Timeouts()):
                    pass


async def test_the_queue_is_asked_for_a_slot_once_it_has_had_its_turn(autojump_clock: MockClock) -> None:
    pool = AssociationPool(limit=1)
    shortages = 0

    def count() -> None:
        nonlocal shortages
        shortages += 1

    pool.on_shortage = count
    async with trio.open_nursery() as nursery:
        async with pool.slot():
            lease = _Waiter(Side.LEASE)
            nursery.start_soon(pool._wait, lease)
            await trio.testing.wait_all_tasks_blocked()
            assert not pool.queue_must_yield
            await trio.sleep(1.5 * TURN)
            assert pool.queue_must_yield
            assert shortages >= 2
        assert not pool.queue_must_yield
        await lease.granted.wait()
        # Now the queue waits, and another lease after it.
        order = []

        async def deliver() -> None:
            async with pool.slot():
                order.append("queue")

        async def lease_again() -> None:
            other = _Waiter(Side.LEASE)
            await pool._wait(other)
            order.append("lease")
            pool._leave(other)

        nursery.start_soon(lease_again)
        await trio.testing.wait_all_tasks_blocked()
        nursery.start_soon(deliver)
        await trio.testing.wait_all_tasks_blocked()
        pool._leave(lease)
    assert order == ["queue", "lease"]


@given(
    limit=st.integers(1, 3),
    users=st.lists(
        st.tuples(st.sampled_from(Side), st.floats(0, 5), st.floats(0, 5), st.none() | st.floats(0, 3)), max_size=12
    ),
)
def test_slots_never_exceed_the_limit_and_none_is_lost(
    limit: int, users: list[tuple[Side, float, float, float | None]]
) -> None:
    """Each user begins at a moment, wants a slot for some seconds, and may be cancelled after some."""

    async def run() -> None:
        pool = AssociationPool(limit)
        held = 0

        async def use(side: Side, begin: float, seconds: float, patience: float | None) -> None:
            nonlocal held
            await trio.sleep(begin)
            with trio.move_on_after(float("inf") if patience is None else patience):
                waiter = _Waiter(side)
                await pool._wait(waiter)
                held += 1
                assert held <= limit
                try:
                    await trio.sleep(seconds)
                finally:
                    held -= 1
                    pool._leave(waiter)

        async with trio.open_nursery() as nursery:
            for user in users:
                nursery.start_soon(use, *user)
        assert pool._free == limit

    trio.run(run, clock=MockClock(autojump_threshold=0))


# The whole router


async def test_a_request_gets_its_turn_while_the_queue_is_full_and_the_queue_goes_on(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(pool_module, "TURN", 0.02)
    request = PeerRequest(
        peer="pacs", abstract_syntax=VERIFICATION, transfer_syntaxes=(IMPLICIT,), command=ECHO, deadline=PATIENCE
    )
    count = 300
    peer = '[peers.pacs]\nae_title = "PACS"\naddress = "127.0.0.1:{}"\nlinger = "1h"\n'
    route = '[[routes]]\nname = "all"\nservice = "storage"\nto = "pacs"\n'
    async with (
        Archive().serving() as archive,
        running_router(configuration(tmp_path, peer.format(archive.port) + route)) as router,
        Modality.connected(router.port) as modality,
    ):
        await modality.associate()
        answers = 0

        async def ask() -> None:
            nonlocal answers
            while True:
                assert (await router.router._peers.invoke(request)).response.status == 0
                answers += 1
                await trio.lowlevel.checkpoint()

        async with trio.open_nursery() as nursery:
            for _ in range(3):
                nursery.start_soon(ask)
            for number in range(count):
                uid = f"1.2.8.{number}"
                assert (await modality.store(store_rq(uid), data_set(uid))).status == 0
            await router.until("pacs", delivered=count, waiting=0, in_flight=0)
            before = answers

            async def has_its_turn() -> bool:  # the queue's association would linger for an hour
                return answers > before + 3

            await eventually(has_its_turn)
            nursery.cancel_scope.cancel()
        assert archive.most_at_once == 1


async def test_a_service_converses_with_a_peer_and_learns_what_was_negotiated(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(_config, "UNRESTRICTED_STORAGE_SERVICE", False)  # other tests of the process may need it

    def find(event: object) -> object:
        return iter([(0xFF00, match(1)), (0xFF00, match(2))])

    request = PeerRequest(
        peer="pacs",
        abstract_syntax=FIND,
        transfer_syntaxes=("1.2.840.10008.1.2.2", IMPLICIT),
        command=C_FIND,
        data_set=lambda context: identifier(PatientID=""),
    )
    with QuerySCP(find, relational=b"\x01") as scp:  # type: ignore[arg-type]
        async with running_router(configuration(tmp_path, pacs=scp.port)) as router:
            for _ in range(2):
                async with router.router._peers.converse(request) as conversation:
                    statuses = [response.status async for response in conversation]
                    assert statuses == [0xFF00, 0xFF00, 0x0000]
                    assert conversation.context.transfer_syntax in request.transfer_syntaxes
            unknown = attrs.evolve(request, abstract_syntax="1.2.840.10008.5.1.4.31")
            with pytest.raises(PeerUnanswered, match="abstract syntax not supported"):
                async with router.router._peers.converse(unknown):
                    pass
    assert scp.associations == 2  # the second one for the other abstract syntax
