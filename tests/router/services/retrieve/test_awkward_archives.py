"""Archives that send without a Move Originator, over another association than they should, twice, or not at all."""

from collections.abc import AsyncGenerator
from pathlib import Path
from typing import Any

import pytest

from router.dimse import CommandField, Status
from tests.router.services.retrieve.scene import final, retrieving, slow_archive
from tests.support.harness import CT, IMPLICIT, Modality, data_set, store_rq
from tests.support.query_archive import Query, Step


@pytest.mark.parametrize("operation", ["get", "move"])
@pytest.mark.parametrize("originator", ["none", "ours"])
async def test_what_comes_on_an_association_of_its_own_is_recognised(
    tmp_path: Path, operation: str, originator: str
) -> None:
    ports: list[int] = []
    statuses: list[int | None] = []

    async def script(query: Query) -> AsyncGenerator[Step, None]:
        if query.command.field == CommandField.C_FIND_RQ:
            async for step in slow_archive(query):
                yield step
            return
        names: dict[str, Any] = {
            "move_originator_ae_title": "ROUTER",
            "move_originator_message_id": query.command.message_id,
        }
        while not ports:
            yield Status.PENDING, None
        async with Modality.connected(ports[0]) as sender:
            await sender.associate((CT, (IMPLICIT,)), calling="ARCHIVE")
            for uid in ("1.9.0", "1.9.1", "1.9.0"):
                command = store_rq(uid, **(names if originator == "ours" else {}))
                statuses.append((await sender.store(command, data_set(uid))).status)
        yield 0xB000, None  # whatever it says: both have come

    options = f'[peers.archive.retrieve]\noperation = "{operation}"'
    async with retrieving(tmp_path, script, options) as scene:
        ports.append(scene.router.port)
        response = await final(scene.client)
        assert (response.status, response.number_of_completed_suboperations) == (Status.SUCCESS, 2)
        stored = {one.command.affected_sop_instance_uid: one for one in scene.station.stored}
        assert sorted(stored) == ["1.9.0", "1.9.1"]
        assert len(scene.station.stored) == 2
        for uid, one in stored.items():
            assert one.data == data_set(uid)
            assert one.command.move_originator_ae_title == "READER"
            assert one.command.move_originator_message_id == 5
        if originator == "ours":
            assert statuses == [0, 0, 0]


async def test_what_an_archive_says_to_have_sent_and_has_not_is_failed(tmp_path: Path) -> None:
    async def script(query: Query) -> AsyncGenerator[Step, None]:
        if query.command.field == CommandField.C_FIND_RQ:
            async for step in slow_archive(query):
                yield step
            return
        yield 0xB000, None

    async with retrieving(tmp_path, script) as scene:
        response = await final(scene.client)
        assert (response.status, response.number_of_failed_suboperations) == (0xA702, 2)
