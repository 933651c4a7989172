"""A destination that is dead for a while: nobody else notices, and when it is back it has all, each object once."""

from collections import Counter
from contextlib import ExitStack
from pathlib import Path

import pytest
import trio

from benchmarks.cases.dead_destination import DEATHS, HASTE
from benchmarks.peers.processes import Address
from tests.soak.load import SMALL, FragileRouter, Modality
from tests.support.objects import ct
from tests.support.router_process import RouterProcess, configuration
from tests.support.sink import Sink

COUNT = 3000
MODALITIES = 3
PATIENCE = 300.0
"""Seconds in which so many objects have to arrive."""


@pytest.mark.soak
@pytest.mark.timeout(900)
@pytest.mark.parametrize("death", DEATHS)
async def test_a_dead_destination_costs_the_live_one_nothing_and_has_all_when_it_is_back(
    death: str, tmp_path: Path
) -> None:
    live = Sink("LIVE")
    with ExitStack() as grave:
        dead = Address(grave.enter_context(DEATHS[death]()), "DEAD")
        async with live.serving():
            content = configuration({"live": live, "dead": dead}, timeouts=HASTE)
            router = FragileRouter(RouterProcess(tmp_path / "router", content))
            async with router.running():
                await flood(router)
                with trio.fail_after(PATIENCE):
                    await live.wait_for_arrivals(COUNT)
                assert accounted(await router.totals()) == {"live": (0, COUNT), "dead": (COUNT, 0)}

                grave.close()
                async with Sink("DEAD", port=dead.port).serving() as returned:
                    with trio.fail_after(PATIENCE):
                        await returned.wait_for_arrivals(COUNT)
                    assert accounted(await router.settled(PATIENCE)) == {"live": (0, COUNT), "dead": (0, COUNT)}
    for archive in (live, returned):
        assert set(Counter(one.sop_instance_uid for one in archive.arrivals).values()) == {1}


async def flood(router: FragileRouter) -> None:
    async with trio.open_nursery() as nursery:
        for _ in range(MODALITIES):
            nursery.start_soon(Modality(router).send, (ct(SMALL) for _ in range(COUNT // MODALITIES)))


def accounted(totals: dict[str, dict[str, int]]) -> dict[str, tuple[int, int]]:
    """What each destination has not got yet, and what it has."""
    return {name: (numbers["waiting"] + numbers["in_flight"], numbers["delivered"]) for name, numbers in totals.items()}
