"""A sender that leaves Nagle's algorithm on, as real modalities do: DCMTK's storescu with its own defaults."""

import time
from collections.abc import Iterator, Sequence

from benchmarks.measuring import Reading
from benchmarks.peers.archive import HOST
from benchmarks.peers.processes import RouterUnderTest
from benchmarks.stage import Stage, holding, objects
from router.sending import Instance
from tests.interop.peers import Storescp, storescu

SIZE = 12_000
COUNT = 200


def nagle(stage: Stage) -> Iterator[Reading]:
    """Seconds for 200 objects of 12 kB over one association."""
    count = stage.scaled(COUNT)
    for _ in range(stage.rounds):
        with objects(count, SIZE) as instances:
            with Storescp(stage.new_folder() / "archive", nodelay=False) as storescp:
                yield _reading("storescp", count, _seconds(instances, storescp.port))
            with RouterUnderTest(stage.new_folder(), holding()) as router:
                yield _reading("router", count, _seconds(instances, router.port))


def _seconds(instances: Sequence[Instance], port: int) -> float:
    started = time.monotonic()
    done = storescu(HOST, port, [instance.path for instance in instances], nodelay=False)
    if done.returncode:
        raise RuntimeError(done.stdout)
    return time.monotonic() - started


def _reading(side: str, count: int, seconds: float) -> Reading:
    return Reading(workload=f"{count} objects of 12 kB", side=side, quantity="s", value=seconds)
