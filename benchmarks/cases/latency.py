"""How even the way is at half of the top rate: an open loop, so that whoever stalls is charged for all that waits."""

from collections.abc import Iterator
from typing import Final

from benchmarks.aims import PYNETDICOM, ROUTER
from benchmarks.cases.end_to_end import Way, through_pynetdicom, through_router
from benchmarks.measuring import Curve, Reading
from benchmarks.peers.ports import HOST, own_port
from benchmarks.stage import Stage, route

SIZE: Final = "525 kB"
WORKLOAD: Final = "525 kB at half the top rate"
SIDES: Final[dict[str, Way]] = {PYNETDICOM: through_pynetdicom, ROUTER: through_router}


def latency(stage: Stage) -> Iterator[Reading | Curve]:
    """Milliseconds from end to end, each side at half of what it can."""
    for number in range(stage.rounds):
        for side, way in SIDES.items():
            stage.tell(side)
            sink = own_port()
            address = f"{HOST}:{sink}"
            with stage.place() as folder, way(folder, sink) as port:
                top = route(port, address, SIZE, *stage.amount(SIZE), "--associations", 4)["objects_per_s"]
                amount = ("--objects", 40) if stage.quick else ("--duration", "8s")
                figures = route(port, address, SIZE, *amount, "--associations", 4, "--rate", round(top / 2, 3))
            found = figures["end_to_end_ms"]
            numbers = {
                "objects/s": figures["objects_per_s"],
                "p50 ms": found["p50"],
                "p99 ms": found["p99"],
                "p99 by p50": found["p99"] / found["p50"],
            }
            for quantity, value in numbers.items():
                yield Reading(workload=WORKLOAD, side=side, quantity=quantity, value=value)
            if number == stage.rounds - 1:
                points = tuple(enumerate(figures["end_to_end_ms_distribution"]))
                yield Curve(plot="latency-half", name=side, points=points)
