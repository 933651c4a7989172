"""What one archive cannot stand stops nothing else for that archive: the healthy objects are there within seconds."""

from collections.abc import Callable
from pathlib import Path

import pytest
import trio

from router.dimse import Command
from router.model import Cause
from tests.support.configurations import one_peer
from tests.support.harness import (
    Answer,
    Archive,
    RunningRouter,
    configuration,
    eventually,
    running_router,
)
from tests.support.poison import GOOD, POISON, send


def poisoned(answer: Answer) -> Callable[[Command], Answer]:
    return lambda command: answer if command.sop_instance_uid.startswith(POISON) else 0


async def seconds_until_good(router: RunningRouter, archive: Archive, poison: int, good: int, within: float) -> float:
    """Send poison, then good objects; how long after that all good ones are in the archive."""
    await send(router, POISON, poison)
    await send(router, GOOD, good)
    started = trio.current_time()
    await eventually(
        lambda: sum(one.command.sop_instance_uid.startswith(GOOD) for one in archive.stored) >= good, within
    )
    return trio.current_time() - started


@pytest.mark.parametrize("answer", [0xA700, 0x0213, "abort", "abort early", "close"])
async def test_a_run_of_bad_objects_does_not_stop_the_good_ones(answer: Answer, tmp_path: Path) -> None:
    async with Archive(poisoned(answer)).serving() as archive:
        async with running_router(configuration(tmp_path, one_peer(archive.port))) as router:
            seconds = await seconds_until_good(router, archive, 60, 20, 10.0)
    print(f"20 good objects behind 60 that end in {answer}: {seconds:.2f} s")


async def test_objects_that_are_never_answered_do_not_stop_the_good_ones(tmp_path: Path) -> None:
    """With `timeouts.dimse` at its default of 60 s, and one association."""
    async with Archive(poisoned("silence")).serving() as archive:
        async with running_router(configuration(tmp_path, one_peer(archive.port))) as router:
            seconds = await seconds_until_good(router, archive, 30, 20, 15.0)
            await send(router, GOOD, 5, first=100)  # while others still wait for their timeout
            with trio.fail_after(15):
                await archive.received(25)
            assert (await router.totals("pacs"))["actor_associations"] <= 2
    print(f"20 good objects behind 30 that are never answered: {seconds:.2f} s")


async def test_more_bad_objects_than_the_queue_holds_do_not_stop_the_good_ones(tmp_path: Path) -> None:
    async with Archive(poisoned("abort")).serving() as archive:
        port = archive.port
    async with running_router(configuration(tmp_path, one_peer(port))) as router:
        await send(router, POISON, 700)
        await send(router, GOOD, 20)
        async with Archive(poisoned("abort"), port=port).serving() as archive:
            router.router._dispatcher.rescan()
            with trio.fail_after(15):
                await archive.received(20)


async def test_deferred_objects_leave_the_queue_to_others(tmp_path: Path) -> None:
    """Objects that failed were kept in the bounded memory of the queue: when it was full of them nothing else was
    looked at any more."""
    async with Archive(poisoned(0xA700)).serving() as archive:
        async with running_router(configuration(tmp_path, one_peer(archive.port))) as router:
            for first in range(1, 601, 50):
                await send(router, POISON, 50, first=first)
                await send(router, GOOD, 5, first=first)
            await send(router, GOOD, 10, first=1000)
            with trio.fail_after(10):
                await archive.received(70)
            totals = await router.until("pacs", delivered=70, waiting=600)
            assert totals["actor_stage"] == "idle"
            assert totals["actor_window"] < 600


async def test_due_times_survive_a_restart(tmp_path: Path) -> None:
    asked: set[tuple[int, str]] = set()
    run = 1

    def script(command: Command) -> Answer:
        asked.add((run, command.sop_instance_uid))
        return 0xA700

    async def asked_for(count: int) -> None:
        await eventually(lambda: len(asked) >= count)

    async with Archive(script).serving() as archive:
        config = configuration(tmp_path, one_peer(archive.port, 'retry = { first = "1h", max = "1h" }'))
        async with running_router(config) as router:
            await send(router, POISON, 3)
            await asked_for(3)
            await router.until("pacs", waiting=3, in_flight=0)
        run = 2
        async with running_router(config) as router:
            await send(router, POISON, 1, first=4)
            await asked_for(4)
            (row, *_) = await router.spool.queue.list_deliveries()
    assert asked == {(1, f"{POISON}1"), (1, f"{POISON}2"), (1, f"{POISON}3"), (2, f"{POISON}4")}
    assert (row.cause, row.status) == (Cause.ANSWERED, 0xA700)
