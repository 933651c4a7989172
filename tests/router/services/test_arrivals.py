"""Which of several retrieves a C-STORE belongs to."""

from typing import cast

import trio
import trio.testing

from router.dimse import Status
from router.services.arrivals import Arrival, Arrivals, Expected
from router.spool import Incoming
from tests.support.harness import IMPLICIT, store_rq

ARRIVAL = Arrival(
    command=store_rq("1.9.0", move_originator_ae_title="ROUTER", move_originator_message_id=1),
    transfer_syntax=IMPLICIT,
    calling_ae="ARCHIVE",
    called_ae="ROUTER",
    peer="127.0.0.1",
)
NO_DATA = cast("Incoming", None)


def expected(accept: object) -> Expected:
    one = Expected(["1.9.0"], accept, titles=["ARCHIVE"], host="127.0.0.1", originator="ROUTER")  # type: ignore[arg-type]
    one.message_id = 1
    return one


async def test_of_two_retrieves_with_the_same_message_id_each_gets_the_instance_once() -> None:
    release = trio.Event()

    async def accept(arrival: Arrival, data: Incoming) -> int:
        await release.wait()
        return Status.SUCCESS

    arrivals, first, second = Arrivals(), expected(accept), expected(accept)
    with arrivals.expect(first), arrivals.expect(second):
        async with trio.open_nursery() as nursery:
            for one in (first, second):
                found = arrivals.find(ARRIVAL)
                assert found is one
                nursery.start_soon(found.bring_in, ARRIVAL, NO_DATA)
                await trio.testing.wait_all_tasks_blocked()
            release.set()
        assert not first.missing
        assert not second.missing
        again = arrivals.find(ARRIVAL)
        assert again is not None
        assert await again.bring_in(ARRIVAL, NO_DATA) == Status.SUCCESS


async def test_a_cancelled_retrieve_leaves_the_instance_to_another() -> None:
    async def accept(arrival: Arrival, data: Incoming) -> int:
        return Status.SUCCESS

    arrivals, first, second = Arrivals(), expected(accept), expected(accept)
    with arrivals.expect(first), arrivals.expect(second):
        first.is_closed = True
        assert arrivals.find(ARRIVAL) is second


async def test_what_has_come_is_waited_for() -> None:
    release = trio.Event()

    async def accept(arrival: Arrival, data: Incoming) -> int:
        await release.wait()
        return Status.SUCCESS

    one = expected(accept)
    async with trio.open_nursery() as nursery:
        nursery.start_soon(one.bring_in, ARRIVAL, NO_DATA)
        await trio.testing.wait_all_tasks_blocked()
        with trio.move_on_after(0) as waiting:
            await one.wait_until_performed()
        assert waiting.cancelled_caught
        release.set()
        await one.wait_until_performed()
        assert not one.missing
