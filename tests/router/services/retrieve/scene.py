"""A router between a client, a scripted archive and a station, while a retrieve is under way."""

from collections.abc import AsyncGenerator
from contextlib import AsyncExitStack, asynccontextmanager
from pathlib import Path

import attrs

from router.dicom.information_models import STUDY_ROOT
from router.dimse import DATA_SET, Command, CommandField, Status, encode
from router.services.query.identifier import encode_identifier, level_of
from tests.support.harness import (
    CT,
    IMPLICIT,
    Archive,
    Modality,
    RunningRouter,
    configuration,
    eventually,
    p_data,
    running_router,
)
from tests.support.query_archive import Query, QueryArchive, Step, record

STUDY_KEYS = {0x00080052: "STUDY", 0x0020000D: "1.2.3"}


async def slow_archive(query: Query) -> AsyncGenerator[Step, None]:
    """A script of an archive that has two instances, and sends none before it is cancelled."""
    if query.command.field == CommandField.C_FIND_RQ:
        match level_of(query.identifier):
            case "SERIES":
                yield Status.PENDING, record({0x00080052: "SERIES", 0x0020000E: "1.2.3.4"})
            case "IMAGE":
                for number in range(2):
                    yield Status.PENDING, record({0x00080052: "IMAGE", 0x00080018: f"1.9.{number}", 0x00080016: CT})
        yield Status.SUCCESS, None
        return
    await query.cancelled.wait()
    yield Status.CANCEL, None


def route(**keys: str) -> str:
    lines = ["[[routes]]", 'name = "r"', 'service = "retrieve"', 'to = ["archive"]']
    return "\n".join([*lines, *(f'{key} = "{value}"' for key, value in keys.items())])


@attrs.frozen
class Scene:
    """A router between a client, an archive and a station, while a retrieve is under way."""

    archive: QueryArchive
    station: Archive
    client: Modality
    router: RunningRouter

    def retrieves(self) -> list[Query]:
        return [one for one in self.archive.queries if one.command.field != CommandField.C_FIND_RQ]


@asynccontextmanager
async def retrieving(folder: Path, script: object = slow_archive, tables: str = "", **keys: str):  # type: ignore[no-untyped-def]
    async with AsyncExitStack() as running:
        archive = await running.enter_async_context(QueryArchive(find=script).serving())  # type: ignore[arg-type]
        station = await running.enter_async_context(Archive().serving())
        config = configuration(folder, f"{route(**keys)}\n{tables}", archive=archive.port, station=station.port)
        router = await running.enter_async_context(running_router(config))
        client = await running.enter_async_context(Modality.connected(router.port))
        await client.associate((STUDY_ROOT.move, (IMPLICIT,)), calling="READER")
        command = Command(
            field=CommandField.C_MOVE_RQ,
            message_id=5,
            affected_sop_class_uid=STUDY_ROOT.move,
            priority=0,
            move_destination="STATION",
            data_set_type=DATA_SET,
        )
        await client.say(p_data(1, encode(command), command=True))
        await client.say(p_data(1, encode_identifier(record(STUDY_KEYS), IMPLICIT), command=False))
        scene = Scene(archive, station, client, router)
        await eventually(lambda: bool(scene.retrieves()))
        yield scene


async def final(client: Modality) -> Command:
    """The final response; the pending ones before it have counts that make the total."""
    while True:
        response = await client.response()
        if response.status != Status.PENDING:
            return response
        counts = (
            response.number_of_remaining_suboperations,
            response.number_of_completed_suboperations,
            response.number_of_failed_suboperations,
            response.number_of_warning_suboperations,
        )
        assert sum(count or 0 for count in counts) == 2
