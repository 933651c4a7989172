"""A client that cancels, or is lost: the archive hears of it, and nothing more is sent."""

from collections.abc import AsyncGenerator
from pathlib import Path

import pytest
import trio

from router.dimse import Command, CommandField, Status, encode
from tests.router.services.retrieve.scene import final, retrieving, slow_archive
from tests.support.harness import ABORT_BY_USER, eventually, p_data
from tests.support.query_archive import Query, Step


async def test_a_cancel_reaches_the_archive_within_a_second_and_is_answered_with_counts(tmp_path: Path) -> None:
    async with retrieving(tmp_path) as scene:
        began = trio.current_time()
        cancel = Command(field=CommandField.C_CANCEL_RQ, message_id_being_responded_to=5)
        await scene.client.say(p_data(1, encode(cancel), command=True))
        response = await final(scene.client)
        assert scene.archive.cancels
        assert scene.archive.cancels[0] - began < 1
        assert response.status == Status.CANCEL
        assert (response.number_of_remaining_suboperations, response.number_of_completed_suboperations) == (2, 0)
        assert not scene.station.stored


@pytest.mark.parametrize("way", ["abort", "close"])
async def test_a_lost_client_cancels_at_the_archive(tmp_path: Path, way: str) -> None:
    async with retrieving(tmp_path) as scene:
        if way == "abort":
            await scene.client.say(ABORT_BY_USER)
        await scene.client.stream.aclose()
        await eventually(lambda: bool(scene.archive.cancels), within=1)


async def test_a_retrieve_goes_on_without_its_client_if_the_route_says_so(tmp_path: Path) -> None:
    release = trio.Event()

    async def script(query: Query) -> AsyncGenerator[Step, None]:
        if query.command.field == CommandField.C_FIND_RQ:
            async for step in slow_archive(query):
                yield step
            return
        await release.wait()
        yield Status.UNABLE_TO_PROCESS, None

    async with retrieving(tmp_path, script, on_client_lost="continue") as scene:
        await scene.client.stream.aclose()

        async def is_gone() -> bool:
            return (await scene.router.router.status())["associations"] == []

        await eventually(is_gone)
        assert not scene.archive.cancels
        release.set()
        await eventually(lambda: len(scene.retrieves()) > 1)  # C-GET has failed, C-MOVE is asked
        assert not scene.archive.cancels
