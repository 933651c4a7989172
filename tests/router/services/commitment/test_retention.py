"""`commitment.request` at a peer: the spool lets go only when the peer has promised."""

from pathlib import Path

from router.model import DeliveryState, Purpose
from router.spool import QueueAction, Selection
from tests.support.commitment import RETAINED_FOR_PACS, retaining_router, store, until_asked
from tests.support.commitment_peers import instances
from tests.support.harness import (
    Modality,
    data_set,
    eventually,
    store_rq,
)

RETAINED = Selection(destination="pacs", purpose=Purpose.RETAIN)


async def test_what_is_committed_may_go(tmp_path: Path) -> None:
    async with retaining_router(tmp_path) as (running, pacs):
        await store(running.port, *instances(3))
        await running.until(RETAINED_FOR_PACS, delivered=3)
        assert {one for request in pacs.asked for one in request.references} == set(instances(3))
        assert running.spool.statistics().unfinished == 0


async def test_what_is_delivered_and_not_committed_stays(tmp_path: Path) -> None:
    async with retaining_router(tmp_path, behaviour="is silent") as (running, pacs):
        await store(running.port, *instances(2))
        await pacs.received(2)
        await until_asked(pacs)
        assert running.spool.statistics().unfinished >= 2
        assert (await running.totals(RETAINED_FOR_PACS))["waiting"] == 2


async def test_a_peer_is_asked_in_batches(tmp_path: Path) -> None:
    async with retaining_router(tmp_path, batch=4) as (running, pacs):
        await store(running.port, *instances(10))
        await running.until(RETAINED_FOR_PACS, delivered=10)
        assert max(len(request.references) for request in pacs.asked) <= 4
        assert sum(len(request.references) for request in pacs.asked) == 10


async def test_what_the_peer_does_not_have_is_sent_again_and_asked_for_again(tmp_path: Path) -> None:
    lost = instances(3)[1].sop_instance_uid
    async with retaining_router(tmp_path, misses=frozenset({lost})) as (running, pacs):
        await store(running.port, *instances(3))
        await running.until(RETAINED_FOR_PACS, delivered=2)

        async def again() -> bool:
            return len(pacs.stored) == 4

        await eventually(again)
        pacs.misses = frozenset()
        await running.until(RETAINED_FOR_PACS, delivered=3)
        first, second = (one.data for one in pacs.stored if one.command.sop_instance_uid == lost)
        assert first == second
        assert running.spool.statistics().unfinished == 0


async def test_what_is_refused_again_and_again_is_held_for_a_person(tmp_path: Path) -> None:
    one = instances(1)[0]
    misses = frozenset({one.sop_instance_uid})
    async with retaining_router(tmp_path, attempts=2, misses=misses, reason=0x0110) as (running, pacs):
        await store(running.port, one)
        await running.until(RETAINED_FOR_PACS, held=1)
        (row,) = await running.spool.queue.list_deliveries(RETAINED)
        assert row.reason == "not committed: 0110H processing failure, 2 times"
        assert len(pacs.stored) == 1
        pacs.misses = frozenset()
        await running.spool.queue.change(RETAINED, QueueAction.RETRY)
        await store(running.port, instances(2)[1])
        await running.until(RETAINED_FOR_PACS, delivered=2)


async def test_what_a_person_discards_for_the_peer_is_not_asked_for(tmp_path: Path) -> None:
    async with retaining_router(tmp_path, full=True) as (running, pacs):
        await store(running.port, *instances(2))
        first = Selection(destination="pacs", sop_instance_uid=instances(1)[0].sop_instance_uid)
        await running.spool.queue.change(first, QueueAction.DISCARD)
        running.router._dispatcher.rescan()
        pacs.full = False
        await running.until(RETAINED_FOR_PACS, delivered=1, discarded=1)


async def test_what_is_owed_is_asked_for_after_a_restart(tmp_path: Path) -> None:
    async with retaining_router(tmp_path, behaviour="is silent") as (running, pacs):
        await store(running.port, *instances(2))
        await until_asked(pacs)
    async with retaining_router(tmp_path) as (running, pacs):
        await running.until(RETAINED_FOR_PACS, delivered=2)
        assert not pacs.stored
        states = {row.state for row in await running.spool.queue.list_deliveries(RETAINED)}
        assert states <= {DeliveryState.DELIVERED}


async def test_a_report_settles_only_the_messages_that_the_peer_was_asked_about(tmp_path: Path) -> None:
    one = instances(1)[0]
    async with retaining_router(tmp_path, within="1h", behaviour="is silent") as (running, pacs):
        await store(running.port, one)
        request = await until_asked(pacs)
        pacs.full = True
        async with Modality.connected(running.port) as modality:
            await modality.associate()
            other = data_set(one.sop_instance_uid, size=128)
            assert (await modality.store(store_rq(one.sop_instance_uid), other)).status == 0
        assert await pacs.report(request) == 0
        totals = await running.until(RETAINED_FOR_PACS, delivered=1)
        assert totals["waiting"] == 1
        assert (await running.totals("pacs"))["accepted"] > (await running.totals("pacs"))["delivered"]
        pacs.full = False
        await running.until("pacs", waiting=0, in_flight=0)
        assert await pacs.report(await until_asked(pacs, 2)) == 0
        await running.until(RETAINED_FOR_PACS, delivered=2)


async def test_a_transaction_of_an_earlier_revision_is_asked_about_again(tmp_path: Path) -> None:
    """It was begun when no message ids were written down, so that its report settles nothing."""
    async with retaining_router(tmp_path, within="1h", behaviour="is silent") as (running, pacs):
        await store(running.port, *instances(2))
        request = await until_asked(pacs)
        await running.router._state.change(lambda connection: connection.execute("DELETE FROM commitment_messages"))
        assert await pacs.report(request) == 0
        again = await until_asked(pacs, 2)
        assert again.references == request.references
        assert (await running.totals(RETAINED_FOR_PACS))["waiting"] == 2
        assert await pacs.report(again) == 0
        await running.until(RETAINED_FOR_PACS, delivered=2)


async def test_what_cannot_be_asked_for_yet_hides_nothing(tmp_path: Path) -> None:
    """However many objects the peer would not take."""
    *refused, good = instances(60)
    async with retaining_router(tmp_path, batch=1, refuses=frozenset(one.sop_instance_uid for one in refused)) as (
        running,
        pacs,
    ):
        await store(running.port, *refused, good)
        await running.until("pacs", held=59)
        await running.until(RETAINED_FOR_PACS, delivered=1, waiting=59)
        assert [request.references for request in pacs.asked] == [(good,)]
