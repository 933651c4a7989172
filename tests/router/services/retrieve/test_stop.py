"""A router that is stopped while a retrieve is under way."""

from collections.abc import AsyncGenerator
from pathlib import Path

import trio
import trio.testing

from router.dimse import CommandField, Status, encode
from tests.router.services.retrieve.scene import final, retrieving, slow_archive
from tests.support.harness import CT, IMPLICIT, Modality, data_set, p_data, store_rq
from tests.support.query_archive import Query, Step


async def test_what_comes_while_the_router_stops_is_delivered_and_counted(tmp_path: Path) -> None:
    ports: list[int] = []
    begun, stopping = trio.Event(), trio.Event()

    async def script(query: Query) -> AsyncGenerator[Step, None]:
        if query.command.field == CommandField.C_FIND_RQ:
            async for step in slow_archive(query):
                yield step
            return
        while not ports:
            yield Status.PENDING, None
        async with Modality.connected(ports[0]) as sender:
            await sender.associate((CT, (IMPLICIT,)), calling="ARCHIVE")
            await sender.say(p_data(1, encode(store_rq("1.9.0")), command=True))
            begun.set()
            await stopping.wait()
            await sender.say(p_data(1, data_set("1.9.0"), command=False))
            assert (await sender.response()).status == Status.SUCCESS
        yield 0xB000, None

    async with retrieving(tmp_path, script, '[peers.archive.retrieve]\noperation = "move"') as scene:
        ports.append(scene.router.port)
        await begun.wait()
        scene.router.router.stop()
        await trio.testing.wait_all_tasks_blocked()
        stopping.set()
        response = await final(scene.client)
        assert response.status == Status.SUBOPERATIONS_COMPLETE_WITH_FAILURES
        counts = (response.number_of_completed_suboperations, response.number_of_failed_suboperations)
        assert counts == (1, 1)
        assert [one.command.affected_sop_instance_uid for one in scene.station.stored] == ["1.9.0"]
