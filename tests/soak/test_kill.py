"""SIGKILL at random moments under load: what was acknowledged is delivered, whole and to every destination."""

import os
import statistics
import time
from collections import Counter
from pathlib import Path

import pytest
import trio

from tests.soak.load import DICE, LARGE_OBJECT, FragileRouter, Modality
from tests.support.router_process import RouterProcess, configuration
from tests.support.sink import Sink

MANY = int(os.environ.get("SOAK_KILLS", "50"))
MODALITIES = 4
PATIENCE = 60.0
"""Seconds for the last deliveries, after the last kill."""


@pytest.mark.parametrize(
    "kills", [3, pytest.param(MANY, marks=[pytest.mark.soak, pytest.mark.timeout(60 + 20 * MANY)])]
)
async def test_what_was_acknowledged_is_delivered_however_often_the_router_is_killed(
    kills: int, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    archives = {name: Sink(name.upper()) for name in ("one", "two")}
    async with archives["one"].serving(), archives["two"].serving():
        content = configuration(
            archives,
            peers={"one": {"associations": 2}},
            spool={"large_object": LARGE_OBJECT, "segment_size": "4MiB", "free_space_floor": "1MiB"},
        )
        router = FragileRouter(RouterProcess(tmp_path / "router", content))
        modalities = [Modality(router) for _ in range(MODALITIES)]
        async with router.running():
            pauses = await under_load(router, modalities, kills)
            totals = await router.settled(PATIENCE)

    acknowledged = {uid: crc for modality in modalities for uid, crc in modality.acknowledged.items()}
    lost, repeated = 0, 0
    for archive in archives.values():
        delivered = {one.sop_instance_uid: one.crc for one in archive.arrivals}
        lost += sum(delivered.get(uid) != crc for uid, crc in acknowledged.items())
        times = Counter(one.sop_instance_uid for one in archive.arrivals)
        repeated += sum(number - 1 for number in times.values())
    with capsys.disabled():
        print(
            f"\n{kills} kills under load: {len(acknowledged)} objects acknowledged, {lost} lost, "
            f"{sum(len(archive.arrivals) for archive in archives.values())} deliveries, {repeated} of them repeats; "
            f"{sum(modality.repeats for modality in modalities)} sent again by their modality; "
            f"down for {statistics.median(pauses):.2f} s each time"
        )
    assert acknowledged
    assert lost == 0
    assert [numbers["held"] for numbers in totals.values()] == [0, 0]


async def under_load(router: FragileRouter, modalities: list[Modality], kills: int) -> list[float]:
    """Kill and start the router so many times while the modalities send; the seconds that it was down each time."""
    pauses = []
    async with trio.open_nursery() as nursery:
        for modality in modalities:
            nursery.start_soon(modality.send, modality.objects())
        for number in range(kills):
            await trio.sleep(DICE.uniform(0.02, 1.5))
            started = time.monotonic()
            await router.kill()
            if number % 5 == 1:
                await router.kill_while_it_starts(DICE.uniform(0.3, 1.2))
            await router.start()
            pauses.append(time.monotonic() - started)
        await trio.sleep(0.2)
        for modality in modalities:
            modality.over = True
    return pauses
