"""What is withdrawn of a retrieve whose destination is down, and what stays queued."""

from pathlib import Path
from typing import cast

import pytest
import trio
import trio.testing

from router.config import Peer
from router.dimse import Status
from router.services.arrivals import Arrival
from router.services.retrieve.spooled import Origin, SpooledDeliveries, SpooledDelivery
from router.spool import Incoming, Spool
from tests.router.services.retrieve.scene import UIDS, cancel, ended, holding, moving, retrieving
from tests.support.harness import IMPLICIT, Archive, eventually, store_rq

BY_MOVE = '[peers.archive.retrieve]\noperation = "move"\n'


async def test_a_cancel_withdraws_what_the_destination_has_not_got(tmp_path: Path) -> None:
    ports: list[int] = []
    script = holding(UIDS, moving(UIDS, ports, (Status.SUCCESS, None)))
    async with retrieving(tmp_path, script, BY_MOVE, ports=ports, station=Archive()) as scene:

        async def is_queued() -> bool:
            return (await scene.router.totals("station")).get("accepted", 0) == 2

        await eventually(is_queued)
        await cancel(scene.client)
        assert (await ended(scene.client)).counts == (Status.CANCEL, 0, 0, 2)
        await scene.router.until("station", discarded=2, waiting=0, in_flight=0)


@pytest.mark.parametrize("on_timeout", ["keep", "withdraw"])
async def test_what_is_late_stays_queued_or_is_withdrawn(tmp_path: Path, on_timeout: str) -> None:
    ports: list[int] = []
    script = holding(UIDS, moving(UIDS, ports, (Status.SUCCESS, None)))
    station = Archive()
    async with retrieving(
        tmp_path, script, BY_MOVE, ports=ports, station=station, on_timeout=on_timeout, within="300ms"
    ) as scene:
        end = await ended(scene.client)
        assert end.counts == (Status.UNABLE_TO_PERFORM_SUBOPERATIONS, 0, 2, None)
        assert sorted(end.failed) == sorted(UIDS)
        if on_timeout == "withdraw":
            await scene.router.until("station", discarded=2, waiting=0, in_flight=0)
        async with station.serving():
            if on_timeout == "keep":
                await scene.router.until("station", delivered=2, discarded=0)
                assert {one.command.move_originator_ae_title for one in station.stored} == {"READER"}
            assert len(station.stored) == (2 if on_timeout == "keep" else 0)


async def test_what_becomes_durable_after_the_cancel_is_withdrawn_too() -> None:
    withdrawn: list[int] = []
    durable = trio.Event()

    class Deliveries:
        async def commit_instance(self, *_: object) -> int:
            await durable.wait()
            return 7

        def stop_following(self, message_ids: list[int]) -> None:
            pass

    class Withdrawing:
        async def withdraw(self, message_ids: list[int], destination: str) -> None:
            withdrawn.extend(message_ids)

    station = Peer(name="station", ae_title="STATION", address=None)
    origin = Origin(ae_title="READER", message_id=5, priority=0)
    deliveries, spool = cast("SpooledDeliveries", Deliveries()), cast("Spool", Withdrawing())
    delivery = SpooledDelivery(deliveries, spool, station, origin, lambda uid, end: None)
    arrival = Arrival(
        command=store_rq("1.9.0"), transfer_syntax=IMPLICIT, calling_ae="ARCHIVE", called_ae="ROUTER", peer="127.0.0.1"
    )
    async with trio.open_nursery() as nursery:
        nursery.start_soon(delivery.accept, arrival, cast("Incoming", None))
        await trio.testing.wait_all_tasks_blocked()
        await delivery.close(withdraw=True)
        assert not withdrawn
        durable.set()
    assert withdrawn == [7]
