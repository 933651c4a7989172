"""Archives that die or fall silent in the middle, and archives that are told to send by themselves."""

from collections.abc import AsyncGenerator
from contextlib import aclosing
from pathlib import Path

import pytest

from router.dimse import Status
from tests.router.services.retrieve.scene import UIDS, cancel, ended, holding, moving, retrieving
from tests.support.harness import data_set
from tests.support.query_archive import Query, Step

BY_MOVE = '[peers.archive.retrieve]\noperation = "move"\n'


@pytest.mark.parametrize("end", ["abort", "close", "silence"])
@pytest.mark.parametrize("mode", ["spool", "through"])
async def test_what_an_archive_that_dies_has_not_sent_is_asked_of_the_next(tmp_path: Path, end: str, mode: str) -> None:
    ports: list[int] = []
    script = holding(UIDS, moving(UIDS[:1], ports, end))
    other = holding(UIDS, moving(UIDS, ports, (Status.SUCCESS, None)))
    tables = BY_MOVE + '[peers.other.retrieve]\noperation = "move"'
    others = {"other": other}
    async with retrieving(
        tmp_path, script, tables, others=others, ports=ports, mode=mode, between_answers="500ms"
    ) as scene:
        end_of_all = await ended(scene.client)
        assert end_of_all.counts == (Status.SUCCESS, 2, 0, None)
        stored = [one.command.affected_sop_instance_uid for one in scene.station.stored]
        assert sorted(stored) == sorted(UIDS)
        assert [one.data for one in scene.station.stored] == [data_set(uid) for uid in stored]


@pytest.mark.parametrize("end", ["abort", "close", "silence"])
@pytest.mark.parametrize("mode", ["spool", "through"])
async def test_what_nobody_else_has_is_in_the_failed_list(tmp_path: Path, end: str, mode: str) -> None:
    ports: list[int] = []
    script = holding(UIDS, moving(UIDS[:1], ports, end))
    async with retrieving(tmp_path, script, BY_MOVE, ports=ports, mode=mode, between_answers="500ms") as scene:
        end_of_all = await ended(scene.client)
        assert end_of_all.counts == (Status.SUBOPERATIONS_COMPLETE_WITH_FAILURES, 1, 1, None)
        assert end_of_all.failed == UIDS[1:]


async def test_after_a_cancel_nothing_more_is_accepted_from_an_archive_that_goes_on(tmp_path: Path) -> None:
    ports: list[int] = []

    async def stubborn(query: Query) -> AsyncGenerator[Step, None]:
        await query.cancelled.wait()
        for _ in range(3):
            yield Status.PENDING, None
        async with aclosing(moving(UIDS, ports, (Status.SUCCESS, None))(query)) as steps:
            async for step in steps:
                yield step

    async with retrieving(tmp_path, holding(UIDS, stubborn), BY_MOVE, ports=ports) as scene:
        await cancel(scene.client)
        assert (await ended(scene.client)).counts == (Status.CANCEL, 0, 0, 2)
        assert not scene.station.stored
        assert (await scene.router.totals("station")).get("accepted", 0) == 0


async def test_an_archive_that_ignores_a_cancel_keeps_nobody_waiting(tmp_path: Path) -> None:
    async def deaf(query: Query) -> AsyncGenerator[Step, None]:
        yield "silence"

    async with retrieving(tmp_path, holding(UIDS, deaf), BY_MOVE) as scene:
        await cancel(scene.client)
        assert (await ended(scene.client)).counts == (Status.CANCEL, 0, 0, 2)


async def test_an_archive_that_takes_long_is_said_to(tmp_path: Path) -> None:
    ports: list[int] = []

    async def slow(query: Query) -> AsyncGenerator[Step, None]:
        yield Status.PENDING_FOR_LONG, None
        async with aclosing(moving(UIDS, ports, (Status.SUCCESS, None))(query)) as steps:
            async for step in steps:
                yield step

    async with retrieving(tmp_path, holding(UIDS, slow), BY_MOVE, ports=ports) as scene:
        end_of_all = await ended(scene.client)
        assert end_of_all.counts == (Status.SUCCESS, 2, 0, None)
        assert Status.PENDING_FOR_LONG in end_of_all.statuses
