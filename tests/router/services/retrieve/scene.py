"""A router between a client, a scripted archive and a station, while a retrieve is under way."""

from collections.abc import AsyncGenerator, Callable, Mapping, Sequence
from contextlib import AsyncExitStack, aclosing, asynccontextmanager
from pathlib import Path

import attrs

from router.dicom.dataset import identifier
from router.dicom.information_models import STUDY_ROOT
from router.dimse import DATA_SET, Command, CommandField, Status, encode
from router.services.query.identifier import decode_identifier, encode_identifier, level_of
from tests.support.harness import (
    CT,
    IMPLICIT,
    Archive,
    Modality,
    RunningRouter,
    configuration,
    data_set,
    eventually,
    p_data,
    running_router,
    store_rq,
)
from tests.support.ports import free_port
from tests.support.query_archive import Query, QueryArchive, Script, Step, record

STUDY_KEYS = {0x00080052: "STUDY", 0x0020000D: "1.2.3"}


UIDS = ("1.9.0", "1.9.1")


def holding(uids: Sequence[str], retrieve: Callable[[Query], AsyncGenerator[Step, None]]) -> Script:
    """A script of an archive that has these instances, in one series; `retrieve` answers C-GET and C-MOVE."""

    async def script(query: Query) -> AsyncGenerator[Step, None]:
        if query.command.field != CommandField.C_FIND_RQ:
            async with aclosing(retrieve(query)) as steps:
                async for step in steps:
                    yield step
            return
        match level_of(query.identifier):
            case "SERIES":
                yield Status.PENDING, record({0x00080052: "SERIES", 0x0020000E: "1.2.3.4"})
            case "IMAGE":
                for uid in uids:
                    yield Status.PENDING, record({0x00080052: "IMAGE", 0x00080018: uid, 0x00080016: CT})
        yield Status.SUCCESS, None

    return script


async def _never(query: Query) -> AsyncGenerator[Step, None]:
    await query.cancelled.wait()
    yield Status.CANCEL, None


slow_archive = holding(UIDS, _never)
"""A script of an archive that has two instances, and sends none before it is cancelled."""


def moving(uids: Sequence[str], ports: Sequence[int], *ends: Step) -> Callable[[Query], AsyncGenerator[Step, None]]:
    """Answer a C-MOVE: send these instances to the router, whose port is in `ports`, and end like this."""

    async def retrieve(query: Query) -> AsyncGenerator[Step, None]:
        async with Modality.connected(ports[0]) as sender:
            await sender.associate((CT, (IMPLICIT,)), calling="ARCHIVE")
            for uid in uids:
                command = store_rq(
                    uid, move_originator_ae_title="ROUTER", move_originator_message_id=query.command.message_id
                )
                await sender.store(command, data_set(uid))
        for end in ends:
            yield end

    return retrieve


def route(*to: str, **keys: str) -> str:
    archives = ", ".join(f'"{name}"' for name in ("archive", *to))
    lines = ["[[routes]]", 'name = "r"', 'service = "retrieve"', f"to = [{archives}]"]
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
async def retrieving(  # type: ignore[no-untyped-def]
    folder: Path,
    script: Script = slow_archive,
    tables: str = "",
    *,
    others: Mapping[str, Script] | None = None,
    ports: list[int] | None = None,
    station: Archive | None = None,
    **keys: str,
):
    """`others`: further archives, by name. `ports` is told the port of the router. `station`: one to be started later,
    if the test likes to."""
    async with AsyncExitStack() as running:
        archive = await running.enter_async_context(QueryArchive(find=script).serving())
        further = {
            name: (await running.enter_async_context(QueryArchive(find=other).serving())).port
            for name, other in (others or {}).items()
        }
        if station is None:
            station = await running.enter_async_context(Archive().serving())
        else:
            station.port = free_port()
        text = f"{route(*further, **keys)}\n{tables}"
        config = configuration(folder, text, router="", archive=archive.port, station=station.port, **further)
        router = await running.enter_async_context(running_router(config))
        if ports is not None:
            ports.append(router.port)
        client = await running.enter_async_context(Modality.connected(router.port))
        await client.associate((STUDY_ROOT.move, (IMPLICIT,)), calling="READER")
        scene = Scene(archive, station, client, router)
        await move(client)
        await eventually(lambda: bool(scene.retrieves()))
        yield scene


async def move(client: Modality) -> None:
    """Ask to move the study to the station."""
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


async def cancel(client: Modality) -> None:
    """Cancel the move."""
    command = Command(field=CommandField.C_CANCEL_RQ, message_id_being_responded_to=5)
    await client.say(p_data(1, encode(command), command=True))


@attrs.frozen
class Final:
    """The end of a retrieve, as its client sees it."""

    response: Command
    failed: tuple[str, ...]
    """The Failed SOP Instance UID List."""
    statuses: frozenset[int]
    """Of the pending responses."""

    @property
    def counts(self) -> tuple[int | None, ...]:
        """Status, and the numbers of completed, failed, and remaining sub-operations."""
        one = self.response
        return (
            one.status,
            one.number_of_completed_suboperations,
            one.number_of_failed_suboperations,
            one.number_of_remaining_suboperations,
        )


async def ended(client: Modality, total: int = 2) -> Final:
    """Read to the end; in each pending response the counts make the total."""
    statuses = set()
    while True:
        response = await client.response()
        if response.status not in (Status.PENDING, Status.PENDING_FOR_LONG):
            break
        statuses.add(response.status)
        assert (response.number_of_remaining_suboperations or 0) + _ended(response) == total
    failed: tuple[str, ...] = ()
    if response.has_data_set:
        (pdv,) = (await client.hear()).pdvs
        listed = identifier(decode_identifier(pdv.data, IMPLICIT), 0x00080058)
        failed = tuple(listed.split("\\"))
    return Final(response, failed, frozenset(statuses))


def _ended(response: Command) -> int:
    counts = (
        response.number_of_completed_suboperations,
        response.number_of_failed_suboperations,
        response.number_of_warning_suboperations,
    )
    return sum(count or 0 for count in counts)


async def final(client: Modality) -> Command:
    """The final response; the pending ones before it have counts that make the total."""
    return (await ended(client)).response
