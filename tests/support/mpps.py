"""Routers and calls for tests of procedure steps."""

from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from pathlib import Path

from router.dimse import Command, CommandField, Response, Status
from router.services.mpps.attributes import MPPS_RETRIEVE
from router.services.mpps.instance_availability import (
    INSTANCE_AVAILABILITY,
)
from tests.support.harness import (
    CT,
    IMPLICIT,
    Archive,
    Modality,
    RunningRouter,
    data_set,
    eventually,
    running_router,
    store_rq,
)
from tests.support.mpps_messages import UID, completed, in_progress, progress
from tests.support.mpps_peers import RIS, Heard, Scanner, hub

WHOLE = [("N-CREATE-RQ", "IN PROGRESS", 0), ("N-SET-RQ", "", 0), ("N-SET-RQ", "COMPLETED", 0)]


async def perform(scanner: Scanner, uid: str = UID) -> None:
    """A step from its beginning to its end."""
    assert (await scanner.create(uid, in_progress())).status == Status.SUCCESS
    assert (await scanner.set(uid, progress("on the way"))).status == Status.SUCCESS
    assert (await scanner.set(uid, completed())).status == Status.SUCCESS


async def get(scanner: Scanner, uid: str, *tags: int) -> Response:
    command = Command(
        field=CommandField.N_GET_RQ,
        message_id=1,
        requested_sop_class_uid=MPPS_RETRIEVE,
        requested_sop_instance_uid=uid,
        attribute_identifier_list=tags or None,
    )
    return await scanner.say(command)


STORE = 'service = "storage"\nto = ["pacs"]'

INFORM = 'service = "instance-availability"\nto = ["ris"]'

STEPS = 'service = "mpps"\nto = ["ris"]'


def notices(ris: RIS) -> list[Heard]:
    return [one for one in ris.heard if one.command.affected_sop_class_uid == INSTANCE_AVAILABILITY]


async def store_instances(router: RunningRouter, uids: Sequence[str]) -> None:
    async with Modality.connected(router.port) as modality:
        await modality.associate((CT, (IMPLICIT,)))
        for uid in uids:
            assert (await modality.store(store_rq(uid), data_set(uid))).status == Status.SUCCESS


async def until_notified(ris: RIS, count: int) -> list[Heard]:
    """Wait until the RIS has received `count` notifications."""
    await eventually(lambda: len(notices(ris)) >= count)
    return notices(ris)


@asynccontextmanager
async def availability_router(
    folder: Path, *routes: str, pacs: Archive | None = None
) -> AsyncIterator[tuple[RunningRouter, RIS]]:
    """A router between a PACS and a RIS."""
    async with (pacs or Archive()).serving() as archive, RIS().serving() as ris:
        config = hub(folder, *(routes or (STORE, STEPS, INFORM)), pacs=archive.port, ris=ris.port)
        async with running_router(config) as router:
            yield router, ris
