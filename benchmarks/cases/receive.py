"""Reception alone, over one association: the router, which has it on the disk before it answers, and storescp."""

from collections.abc import Iterator

from benchmarks.measuring import Reading
from benchmarks.peers.processes import RouterUnderTest
from benchmarks.stage import Stage, holding, objects, seconds_of, send_all
from tests.interop.peers import Storescp

SIZES = {"12 kB": (12_000, 3000), "525 kB": (525_000, 400), "240 MB": (240_000_000, 2)}
"""Bytes of an object, and how many."""


def receive(stage: Stage) -> Iterator[Reading]:
    """Objects/s and MB/s, for each size."""
    for name, (size, full) in SIZES.items():
        count = stage.scaled(full)
        for _ in range(stage.rounds):
            stage.tell(name)
            with Storescp(stage.new_folder() / "archive") as storescp:
                yield from _measure(name, "storescp", storescp.port, count, size)
            with RouterUnderTest(stage.new_folder(), holding()) as router:
                yield from _measure(name, "router", router.port, count, size)


def _measure(workload: str, side: str, port: int, count: int, size: int) -> Iterator[Reading]:
    with objects(count, size) as instances:
        seconds = seconds_of(send_all(instances, port))
        sent = sum(instance.length for instance in instances)
    yield Reading(workload=workload, side=side, quantity="objects/s", value=count / seconds)
    yield Reading(workload=workload, side=side, quantity="MB/s", value=sent / seconds / 1e6)
