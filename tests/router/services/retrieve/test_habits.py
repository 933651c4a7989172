"""Archives that know one information model, or no lists of UIDs; and retrieves without the keys of the levels above."""

from collections.abc import AsyncGenerator, AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from pathlib import Path
from typing import Any

import attrs
import pytest

from router.dicom.dataset import identifier
from router.dicom.information_models import PATIENT_ROOT, STUDY_ROOT
from router.dimse import CommandField, Status
from tests.router.services.retrieve.scene import route
from tests.support.find_client import find_client
from tests.support.harness import (
    CT,
    IMPLICIT,
    Archive,
    Modality,
    configuration,
    data_set,
    running_router,
    store_rq,
)
from tests.support.query_archive import Query, QueryArchive, Step, record

LEVEL, PATIENT_ID, STUDY_UID, SERIES_UID, UID = 0x00080052, 0x00100020, 0x0020000D, 0x0020000E, 0x00080018
OF_STUDY = {PATIENT_ID: "P1", STUDY_UID: "1.2.3"}
OF_SERIES = {**OF_STUDY, SERIES_UID: "1.2.3.4"}
INSTANCES = ("1.9.0", "1.9.1", "1.9.2")
RELATIONAL = b"\1"


@attrs.define
class SmallArchive:
    """An archive with one series of three instances, which it sends to the router."""

    router: int = 0
    """The router's port."""

    async def script(self, query: Query) -> AsyncGenerator[Step, None]:
        asked, level = query.identifier, identifier(query.identifier, LEVEL)
        uids = [uid for uid in identifier(asked, UID).split("\\") if uid] or INSTANCES
        if query.command.field == CommandField.C_FIND_RQ:
            records: list[dict[int, str]] = [OF_STUDY if level == "STUDY" else OF_SERIES]
            if level == "IMAGE":
                records = [{**OF_SERIES, UID: uid, 0x00080016: CT} for uid in uids if uid in INSTANCES]
            for one in records:
                yield Status.PENDING, record({LEVEL: level, **one})
        else:
            async with Modality.connected(self.router) as sender:
                await sender.associate((CT, (IMPLICIT,)), calling="ARCHIVE")
                for uid in uids:
                    await sender.store(store_rq(uid), data_set(uid))
        yield Status.SUCCESS, None


@attrs.frozen
class Site:
    """A router between an archive and a station."""

    archive: QueryArchive
    station: Archive
    port: int

    async def move(self, keys: dict[int, str], *, extended: bytes | None = None) -> tuple[bytes | None, int | None]:
        """Retrieve to the station: the answer to extended negotiation, and the final status."""
        async with find_client(self.port, STUDY_ROOT.move, extended=extended) as client:
            invocation = await client.begin(record(keys), field=CommandField.C_MOVE_RQ, move_destination="STATION")
            responses = [response async for response in invocation]
            return client.association.extended.get(STUDY_ROOT.move), responses[-1].status

    def requests(self, field: CommandField) -> list[Query]:
        return [one for one in self.archive.queries if one.command.field == field]

    @property
    def stored(self) -> list[str]:
        return sorted(one.command.affected_sop_instance_uid or "" for one in self.station.stored)


@asynccontextmanager
async def site(
    folder: Path, query: str = "", extended: dict[str, bytes] | None = None, **keys: str
) -> AsyncIterator[Site]:
    small = SmallArchive()
    async with AsyncExitStack() as running:
        archive = await running.enter_async_context(QueryArchive(find=small.script, extended=extended or {}).serving())
        station = await running.enter_async_context(Archive().serving())
        tables = f'{route(**keys)}\n[peers.archive.retrieve]\noperation = "move"\n[peers.archive.query]\n{query}'
        config = configuration(folder, tables, archive=archive.port, station=station.port)
        router = await running.enter_async_context(running_router(config))
        small.router = router.port
        yield Site(archive, station, router.port)


def values(query: Query, *tags: int) -> tuple[str, ...]:
    return tuple(identifier(query.identifier, tag) for tag in tags)


async def test_an_archive_of_patient_root_only_is_asked_with_the_patient_id_that_it_names(tmp_path: Path) -> None:
    async with site(tmp_path, 'model = "patient"', {PATIENT_ROOT.find: RELATIONAL}) as one:
        _, status = await one.move({LEVEL: "STUDY", STUDY_UID: "1.2.3"})
        assert (status, one.stored) == (Status.SUCCESS, sorted(INSTANCES))
        finds = one.requests(CommandField.C_FIND_RQ)
        assert {find.sop_class for find in finds} == {PATIENT_ROOT.find}
        assert [values(find, LEVEL, PATIENT_ID, STUDY_UID) for find in finds] == [
            ("STUDY", "", "1.2.3"),
            ("SERIES", "P1", "1.2.3"),
            ("IMAGE", "P1", "1.2.3"),
        ]
        (move,) = one.requests(CommandField.C_MOVE_RQ)
        assert move.sop_class == PATIENT_ROOT.move
        assert values(move, LEVEL, PATIENT_ID, STUDY_UID, SERIES_UID) == ("SERIES", "P1", "1.2.3", "1.2.3.4")


@pytest.mark.parametrize("model", ["patient", "patient-study"])
async def test_an_archive_that_cannot_be_asked_is_not_taken_for_one_without_a_match(tmp_path: Path, model: str) -> None:
    async with site(tmp_path, f'model = "{model}"') as one:
        _, status = await one.move({LEVEL: "STUDY", STUDY_UID: "1.2.3"})
        assert (status, one.stored) == (Status.UNABLE_TO_COUNT_MATCHES, [])
        assert one.archive.queries == []


@pytest.mark.parametrize(("habit", "moves"), [("true", ["1.9.0\\1.9.2"]), ("false", ["1.9.0", "1.9.2"])])
async def test_an_archive_without_lists_of_uids_is_asked_for_one_instance_at_a_time(
    tmp_path: Path, habit: str, moves: list[str]
) -> None:
    async with site(tmp_path, f"uid_lists = {habit}") as one:
        keys = {LEVEL: "IMAGE", STUDY_UID: "1.2.3", SERIES_UID: "1.2.3.4", UID: "1.9.0\\1.9.2"}
        _, status = await one.move(keys)
        assert (status, one.stored) == (Status.SUCCESS, ["1.9.0", "1.9.2"])
        assert [identifier(move.identifier, UID) for move in one.requests(CommandField.C_MOVE_RQ)] == moves


@pytest.mark.parametrize("keys", [{LEVEL: "IMAGE", UID: "1.9.0\\1.9.2"}, {LEVEL: "SERIES", SERIES_UID: "1.2.3.4"}])
async def test_a_relational_retrieve_needs_no_keys_of_the_levels_above(tmp_path: Path, keys: dict[int, str]) -> None:
    async with site(tmp_path, extended={STUDY_ROOT.find: RELATIONAL}) as one:
        assert await one.move(keys, extended=b"\1\1") == (b"\0", 0xA900)  # nothing is known of the archive yet
        await one.move({LEVEL: "IMAGE", STUDY_UID: "1.2.3", SERIES_UID: "1.2.3.4", UID: "1.9.1"})
        assert await one.move(keys, extended=b"\1\1") == (b"\1", Status.SUCCESS)
        wanted = ["1.9.0", "1.9.2"] if UID in keys else list(INSTANCES)
        assert one.stored == sorted(["1.9.1", *wanted])
        first = one.requests(CommandField.C_FIND_RQ)[1]
        assert values(first, LEVEL, STUDY_UID, UID) == (keys[LEVEL], "", keys.get(UID, ""))
        move = one.requests(CommandField.C_MOVE_RQ)[-1]
        assert values(move, STUDY_UID, SERIES_UID) == ("1.2.3", "1.2.3.4")
        assert await one.move(keys) == (None, 0xA900)  # not negotiated on this association


@pytest.mark.parametrize(
    ("extended", "keys", "query"),
    [
        ({STUDY_ROOT.find: b"\0"}, {}, ""),
        ({}, {}, ""),
        ({STUDY_ROOT.find: RELATIONAL}, {"mode": "pass"}, ""),
        ({STUDY_ROOT.find: RELATIONAL}, {}, "extended_negotiation = false"),
    ],
)
async def test_relational_retrieve_is_not_negotiated_unless_the_archive_has(
    tmp_path: Path, extended: dict[str, bytes], keys: dict[str, str], query: str
) -> None:
    async with site(tmp_path, query, extended, **keys) as one:
        known: dict[int, Any] = {LEVEL: "IMAGE", STUDY_UID: "1.2.3", SERIES_UID: "1.2.3.4", UID: "1.9.1"}
        for _ in range(2):
            answer, _ = await one.move(known, extended=RELATIONAL)
            assert answer == b"\0"
