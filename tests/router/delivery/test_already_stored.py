"""An archive that says it has an instance already: delivered where it must be ours, else held for an operator."""

import sqlite3
from contextlib import closing
from pathlib import Path

import pytest
import trio
import trio.lowlevel

from router.dimse import Command
from router.model import Cause, DeliveryState
from router.spool import Selection
from tests.support.configurations import one_peer
from tests.support.harness import (
    Answer,
    Archive,
    Modality,
    RunningRouter,
    configuration,
    data_set,
    running_router,
    store_rq,
)

UID = "1.2.3"
KEYS = 'retry = { first = "20ms", max = "100ms" }\n'
STORED_ALREADY = pytest.mark.parametrize("status", [0x0111, 0xD000])


async def send(router: RunningRouter, size: int = 64) -> None:
    async with Modality.connected(router.port) as modality:
        await modality.associate()
        assert (await modality.store(store_rq(UID), data_set(UID, size=size))).status == 0


@STORED_ALREADY
async def test_an_object_that_the_router_has_not_sent_before_is_held(status: int, tmp_path: Path) -> None:
    async with Archive(lambda _: status).serving() as archive:
        async with running_router(configuration(tmp_path, one_peer(archive.port, KEYS))) as router:
            await send(router)
            await router.until("pacs", held=1, waiting=0)
            (row,) = await router.spool.queue.list_deliveries()
    assert (row.status, row.cause) == (status, Cause.ANSWERED)
    assert 'peers.pacs.already_stored = "accept"' in row.reason


@STORED_ALREADY
async def test_it_counts_as_delivered_where_the_site_says_so(status: int, tmp_path: Path) -> None:
    async with Archive(lambda _: status).serving() as archive:
        text = one_peer(archive.port, KEYS + 'already_stored = "accept"')
        async with running_router(configuration(tmp_path, text)) as router:
            await send(router)
            await router.until("pacs", delivered=1, waiting=0)


@STORED_ALREADY
@pytest.mark.parametrize("trouble", ["close", "silence"])
async def test_it_counts_as_delivered_where_an_earlier_attempt_had_no_response(
    status: int, trouble: Answer, tmp_path: Path
) -> None:
    def script(command: Command) -> Answer:
        return trouble if archive.associations == 1 else status

    async with Archive(script).serving() as archive:
        text = one_peer(archive.port, KEYS) + '[timeouts]\ndimse = "200ms"'
        async with running_router(configuration(tmp_path, text)) as router:
            await send(router)
            await router.until("pacs", delivered=1, waiting=0)
            (row,) = await router.spool.queue.list_deliveries()
    assert "an earlier attempt had no response" in row.reason


async def test_an_answered_attempt_is_no_reason_to_believe_that_it_was_stored(tmp_path: Path) -> None:
    answers = iter([0xA700, 0xA700])
    async with Archive(lambda _: next(answers, 0x0111)).serving() as archive:
        async with running_router(configuration(tmp_path, one_peer(archive.port, KEYS))) as router:
            await send(router)
            await router.until("pacs", held=1, waiting=0)


@pytest.mark.parametrize(("again", "outcome"), [(64, "delivered"), (66, "held")])
async def test_what_was_delivered_before_counts_only_if_it_was_the_same_bytes(
    again: int, outcome: str, tmp_path: Path
) -> None:
    """Other bytes under the same SOP Instance UID must not be lost."""
    statuses = {"now": 0}
    async with Archive(lambda _: statuses["now"]).serving() as archive:
        async with running_router(configuration(tmp_path, one_peer(archive.port, KEYS))) as router:
            await send(router)
            await router.until("pacs", delivered=1)
            statuses["now"] = 0x0111
            await send(router, again)
            await router.until("pacs", waiting=0, in_flight=0)
            await trio.lowlevel.checkpoint()
            states = [row.state for row in await router.spool.queue.list_deliveries(Selection())]
    assert states == [DeliveryState.DELIVERED, DeliveryState(outcome)]


@pytest.mark.parametrize(("is_killed", "outcome"), [(True, "delivered"), (False, "held")])
async def test_an_attempt_may_have_gone_unrecorded_only_where_the_router_was_killed(
    is_killed: bool, outcome: str, tmp_path: Path
) -> None:
    async with Archive().serving() as archive:
        port = archive.port
    config = configuration(tmp_path, one_peer(port, KEYS))
    async with running_router(config) as router:
        await send(router)
        await router.until("pacs", waiting=1)
    if is_killed:
        with closing(sqlite3.connect(config.router.spool / "ledger.sqlite")) as ledger, ledger:
            ledger.execute("UPDATE facts SET is_open = 1")  # as a process leaves it that is killed
    async with Archive(lambda _: 0x0111, port=port).serving():
        async with running_router(config) as router:
            await router.until("pacs", **{outcome: 1}, waiting=0)
