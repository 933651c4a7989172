"""Mode `pass`: what the archive says of its sub-operations is understood, added up, and told to the client."""

from collections.abc import AsyncGenerator
from pathlib import Path

import pytest

from router.dimse import Status
from tests.router.services.retrieve.scene import UIDS, cancel, ended, holding, retrieving
from tests.support.query_archive import Query, Step, record


def counts(remaining: int, completed: int, failed: int = 0) -> dict[str, int]:
    return {
        "number_of_remaining_suboperations": remaining,
        "number_of_completed_suboperations": completed,
        "number_of_failed_suboperations": failed,
        "number_of_warning_suboperations": 0,
    }


@pytest.mark.parametrize("pending", [Status.PENDING, Status.PENDING_FOR_LONG])
async def test_the_words_of_the_archive_are_relayed(tmp_path: Path, pending: int) -> None:
    async def retrieve(query: Query) -> AsyncGenerator[Step, None]:
        yield pending, None, counts(2, 0)
        yield pending, None, counts(1, 1)
        failed = record({0x00080058: UIDS[1]})
        yield Status.SUBOPERATIONS_COMPLETE_WITH_FAILURES, failed, counts(0, 1, 1)

    async with retrieving(tmp_path, holding(UIDS, retrieve), mode="pass") as scene:
        end = await ended(scene.client)
        assert end.counts == (Status.SUBOPERATIONS_COMPLETE_WITH_FAILURES, 1, 1, None)
        assert end.failed == UIDS[1:]
        assert end.statuses == {pending}
        (request,) = scene.retrieves()
        assert request.command.move_destination == "STATION"


@pytest.mark.parametrize("last", ["abort", "close", "silence"])
async def test_an_archive_that_dies_in_the_middle_is_named_and_what_remained_has_failed(
    tmp_path: Path, last: str
) -> None:
    async def retrieve(query: Query) -> AsyncGenerator[Step, None]:
        yield Status.PENDING, None, counts(1, 1)
        yield last

    async with retrieving(tmp_path, holding(UIDS, retrieve), mode="pass", between_answers="300ms") as scene:
        end = await ended(scene.client)
        assert end.counts == (Status.UNABLE_TO_COUNT_MATCHES, 1, 1, None)
        assert "archive" in (end.response.error_comment or "")


async def test_a_cancel_is_passed_on(tmp_path: Path) -> None:
    async def retrieve(query: Query) -> AsyncGenerator[Step, None]:
        yield Status.PENDING, None, counts(2, 0)
        await query.cancelled.wait()
        yield Status.CANCEL, None, counts(1, 1)

    async with retrieving(tmp_path, holding(UIDS, retrieve), mode="pass") as scene:
        await cancel(scene.client)
        assert (await ended(scene.client)).counts == (Status.CANCEL, 1, 0, 1)
        assert len(scene.archive.cancels) == 1


async def test_an_archive_that_ignores_a_cancel_keeps_nobody_waiting(tmp_path: Path) -> None:
    async def retrieve(query: Query) -> AsyncGenerator[Step, None]:
        yield Status.PENDING, None, counts(2, 0)
        yield "silence"

    async with retrieving(tmp_path, holding(UIDS, retrieve), mode="pass") as scene:
        await cancel(scene.client)
        assert (await ended(scene.client)).counts == (Status.CANCEL, 0, 0, 2)
