"""What is large is read and written in worker threads: the event loop goes on meanwhile."""

import sys
import threading
from collections.abc import Iterator
from pathlib import Path
from types import FrameType
from typing import Any

import pytest

from router.concurrency import AT_ONCE
from router.dicom import dataset as data_sets
from router.dicom.uids import IMPLICIT_LE
from router.dimse import Command, CommandField, Status
from router.services.mpps.attributes import MPPS_RETRIEVE
from tests.support.command_line import json_output
from tests.support.commitment import commitment_router
from tests.support.commitment_peers import ask, instances
from tests.support.harness import running_router
from tests.support.mpps import availability_router, store_instances, until_notified
from tests.support.mpps_messages import UID, completed, in_progress, progress, series
from tests.support.mpps_peers import RIS, Scanner, hub

MANY = 1000
"""Instances of a step: some 100 KiB."""
PERFORMED = 0x00400340


@pytest.fixture
def in_the_loop(monkeypatch: pytest.MonkeyPatch) -> Iterator[list[str]]:
    """Collect what is large and is read or written by the router in the thread of the event loop."""
    found: list[str] = []
    loop = threading.current_thread()

    def is_the_routers() -> bool:
        """Whether the event loop is in a task of the router, not of a peer in this process."""
        frame: FrameType | None = sys._getframe(2)
        modules: list[str] = []
        while frame is not None:
            if frame.f_code.co_name != "watched":
                modules.append(frame.f_globals["__name__"])
            frame = frame.f_back
        return threading.current_thread() is loop and not any(name.startswith("tests.") for name in modules)

    reader, sequence = data_sets._Reader, data_sets._sequence

    class Watched(reader):  # type: ignore[misc,valid-type]
        def __init__(self, data: bytes) -> None:
            super().__init__(data)
            if len(data) > AT_ONCE and is_the_routers():
                found.append(f"{len(data)} bytes read")

    def watched(items: tuple[Any, ...], transfer_syntax: str, order: str) -> bytes:
        if len(items) >= MANY and is_the_routers():
            found.append(f"{len(items)} items written")
        return sequence(items, transfer_syntax, order)

    monkeypatch.setattr(data_sets, "_Reader", Watched)
    monkeypatch.setattr(data_sets, "_sequence", watched)
    yield found
    assert not found


async def retrieve(scanner: Scanner, *wanted: int) -> int:
    command = Command(
        field=CommandField.N_GET_RQ,
        message_id=1,
        requested_sop_class_uid=MPPS_RETRIEVE,
        requested_sop_instance_uid=UID,
        attribute_identifier_list=wanted or None,
    )
    answer = await scanner.say(command)
    assert len(answer.data_set) > AT_ONCE
    return answer.status


@pytest.mark.usefixtures("in_the_loop")
async def test_a_large_step_is_taken_repeated_changed_and_given_in_worker_threads(tmp_path: Path) -> None:
    begun = in_progress()
    begun.PerformedSeriesSequence = [series([f"1.2.3.{number}" for number in range(MANY)])]
    async with RIS().serving() as ris, running_router(hub(tmp_path, ris=ris.port)) as router:
        async with Scanner.connected(router.port) as scanner:
            assert (await scanner.create(UID, begun)).status == Status.SUCCESS
            assert (await scanner.create(UID, begun)).status == Status.SUCCESS
            assert (await scanner.create(UID, in_progress())).status == Status.DUPLICATE_SOP_INSTANCE
            assert (await scanner.set(UID, progress("a small one"))).status == Status.SUCCESS
        async with Scanner.connected(router.port, sop_class=MPPS_RETRIEVE) as viewer:
            assert await retrieve(viewer) == Status.SUCCESS
            assert await retrieve(viewer, PERFORMED) == Status.SUCCESS
        admin = router.options
        (one,) = (await json_output("steps", "list", "--phi", *admin))["steps"]
        assert one["patient_id"] == "P1"
        assert len((await json_output("steps", "show", UID, *admin))["references"]) == MANY


@pytest.mark.usefixtures("in_the_loop")
async def test_a_large_step_is_replayed_from_a_worker_thread(tmp_path: Path) -> None:
    begun = in_progress()
    begun.PerformedSeriesSequence = [series([f"1.2.3.{number}" for number in range(MANY)])]
    async with RIS().serving() as ris, running_router(hub(tmp_path, ris=ris.port)) as router:
        async with Scanner.connected(router.port) as scanner:
            assert (await scanner.create(UID, begun)).status == Status.SUCCESS
        await ris.until(UID, "IN PROGRESS")
        ris.steps.clear()
        async with Scanner.connected(router.port, transfer_syntax=IMPLICIT_LE) as scanner:
            assert (await scanner.set(UID, completed())).status == Status.SUCCESS
        await ris.until(UID, "COMPLETED")


@pytest.mark.usefixtures("in_the_loop")
async def test_a_notification_of_many_instances_is_encoded_in_a_worker_thread(tmp_path: Path) -> None:
    uids = [f"1.2.3.{number}" for number in range(MANY)]
    async with availability_router(tmp_path) as (router, ris):
        await store_instances(router, uids)
        async with Scanner.connected(router.port) as scanner:
            assert (await scanner.create(UID, in_progress())).status == Status.SUCCESS
            assert (await scanner.set(UID, completed(uids))).status == Status.SUCCESS
        (notice,) = await until_notified(ris, 1)
    assert len(notice.data) > AT_ONCE


@pytest.mark.usefixtures("in_the_loop")
async def test_a_commitment_of_many_instances_is_asked_and_reported_in_worker_threads(tmp_path: Path) -> None:
    references = instances(MANY)
    async with commitment_router(tmp_path) as (running, _, modality):
        assert await ask(running.port, references) == 0
        (report,) = await modality.reports()
        assert len(report.words) == MANY
