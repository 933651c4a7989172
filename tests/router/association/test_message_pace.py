"""A peer that drips is cut, one on a slow line is not; thousands of messages at once hold nobody up; a silent one
costs little."""

import tracemalloc
from contextlib import AsyncExitStack
from pathlib import Path
from types import SimpleNamespace
from typing import cast

import pytest
import trio
from hypothesis import given
from hypothesis import strategies as st

from router.association.message_pace import MessagePace
from router.association.transport import Transport
from router.config import Limits, Timeouts
from router.dimse import Command, CommandField
from router.dimse import encode as encode_command
from tests.support.harness import (
    ABORT_BY_USER,
    IMPLICIT,
    PATIENCE,
    VERIFICATION,
    Modality,
    associate_rq,
    configuration,
    data_set,
    eventually,
    p_data,
    running_router,
    store_rq,
)

UID = "1.2.840.99.1"
ECHO = p_data(
    1,
    encode_command(Command(field=CommandField.C_ECHO_RQ, message_id=1, affected_sop_class_uid=VERIFICATION)),
    command=True,
)
IDLE = 300.0


def late_after(pause: float, drop: int, most: float) -> float | None:
    """Seconds until a message of which `drop` bytes come every `pause` seconds is too slow; None where it never is
    within `most` seconds."""
    wire = SimpleNamespace(waited=1000.0, bytes_received=12_345)
    pace = MessagePace(cast("Transport", wire), Timeouts(message=300, idle=IDLE), Limits(slowest=4096))
    pace.begin()
    while (waited := wire.waited - 1000.0) < most:
        patience = min(IDLE, pace.left)
        if pause > patience:
            return waited + patience
        wire.waited += pause
        wire.bytes_received += drop
    return None


def test_one_byte_just_before_the_idle_deadline_keeps_no_association() -> None:
    assert late_after(299, 1, 86_400) == pytest.approx(300, abs=1)


def test_a_message_of_4_gb_over_a_slow_line_is_not_cut() -> None:
    assert late_after(10, 41_000, 4_000_000_000 / 4_100) is None


@given(st.floats(10, 299), st.integers(1, 1 << 21))
def test_what_is_slower_than_the_slowest_is_late_in_the_end_and_what_is_not_never_is(pause: float, drop: int) -> None:
    late = late_after(pause, drop, 100_000)
    if drop / pause >= 4096:
        assert late is None
    elif drop / pause < 4000:
        allowed = 300 / (1 - drop / pause / 4096)
        assert late is None if allowed > 101_000 else late is not None and late <= allowed + 1


async def test_a_peer_that_drips_is_aborted_in_words_and_a_slow_one_is_served(tmp_path: Path) -> None:
    text = '[timeouts]\nmessage = "500ms"\n[limits]\nslowest = "1KiB"'
    async with running_router(configuration(tmp_path, text, pacs=1)) as router:
        async with Modality.connected(router.port) as dripping, Modality.connected(router.port) as slow:
            await dripping.associate()
            await slow.associate()
            async with trio.open_nursery() as nursery:
                nursery.start_soon(_drip, dripping, p_data(1, encode_command(store_rq(UID)), command=True), 1)
                whole = p_data(1, encode_command(store_rq(UID)), command=True)
                data = data_set(UID, size=20_000)
                whole += b"".join(
                    p_data(1, data[at : at + 1000], command=False, last=at + 1000 >= len(data))
                    for at in range(0, len(data), 1000)
                )
                nursery.start_soon(_drip, slow, whole, 1000)
                assert await dripping.hear() == ABORT_BY_USER
                assert (await slow.response()).status == 0


@pytest.mark.parametrize("beginning", [4, 20, 70], ids=["PDU header", "command set", "most of a command set"])
async def test_what_has_begun_has_to_end_wherever_it_stops(tmp_path: Path, beginning: int) -> None:
    text = '[timeouts]\nmessage = "100ms"'
    async with running_router(configuration(tmp_path, text)) as router, Modality.connected(router.port) as modality:
        await modality.associate()
        await modality.say(p_data(1, encode_command(store_rq(UID)), command=True)[:beginning])
        assert await modality.hear() == ABORT_BY_USER


async def _drip(modality: Modality, data: bytes, drop: int) -> None:
    """Some bytes every 50 ms, until the router has enough of it."""
    for at in range(0, len(data), drop):
        try:
            await modality.say(data[at : at + drop])
        except trio.BrokenResourceError:
            return
        await trio.sleep(0.05)


async def test_thousands_of_messages_at_once_hold_nobody_up(tmp_path: Path) -> None:
    """256 KiB of C-ECHOs come in one read: others have turns while they are being answered."""
    async with running_router(configuration(tmp_path)) as router, Modality.connected(router.port) as flooding:
        await flooding.associate((VERIFICATION, (IMPLICIT,)))
        (acceptor,) = router.router._listeners._acceptors
        most = 0

        async def look() -> None:
            """How many are answered between two turns of another task."""
            nonlocal most
            before = 0
            while True:
                await trio.lowlevel.checkpoint()
                answered = acceptor.statistics()["messages"]
                most, before = max(most, answered - before), answered

        with trio.fail_after(PATIENCE):
            async with trio.open_nursery() as nursery:
                nursery.start_soon(look)
                nursery.start_soon(flooding.say, ECHO * 3000)
                for _ in range(3000):
                    assert (await flooding.response()).status == 0
                nursery.cancel_scope.cancel()
        assert 0 < most <= 32


async def test_an_open_association_that_is_silent_costs_little(tmp_path: Path) -> None:
    count = 40
    async with running_router(configuration(tmp_path)) as router, AsyncExitStack() as stack:
        tracemalloc.start()
        try:
            before = tracemalloc.get_traced_memory()[0]
            for _ in range(count):
                modality = await stack.enter_async_context(Modality.connected(router.port))
                await modality.say(associate_rq())
                await modality.hear()
            each = (tracemalloc.get_traced_memory()[0] - before) / count
        finally:
            tracemalloc.stop()
        assert each < 64 << 10


async def test_a_silent_connection_costs_little(tmp_path: Path) -> None:
    count = 40
    async with running_router(configuration(tmp_path)) as router, AsyncExitStack() as stack:

        async def all_there() -> bool:
            return len((await router.router.status())["associations"]) == count

        tracemalloc.start()
        try:
            before = tracemalloc.get_traced_memory()[0]
            for _ in range(count):
                await stack.enter_async_context(Modality.connected(router.port))
            await eventually(all_there)
            each = (tracemalloc.get_traced_memory()[0] - before) / count
        finally:
            tracemalloc.stop()
        assert each < 64 << 10
