"""Latency at half of the top rate, as an open loop: a side that stalls is charged for all objects that wait."""

from collections.abc import Iterator
from typing import Final

from benchmarks.aims import PYNETDICOM, ROUTER
from benchmarks.cases.end_to_end import Way, through_pynetdicom, through_router
from benchmarks.peers.ports import HOST, own_port
from benchmarks.readings import Curve, Reading
from benchmarks.workspace import Workspace, route

SIZE: Final = "525 kB"
WORKLOAD: Final = "525 kB at half the top rate"
SIDES: Final[dict[str, Way]] = {PYNETDICOM: through_pynetdicom, ROUTER: through_router}


def latency(workspace: Workspace) -> Iterator[Reading | Curve]:
    """Measure milliseconds from end to end, each side at half of its own top rate."""
    for number in range(workspace.rounds):
        for side, way in SIDES.items():
            workspace.tell(side)
            sink = own_port()
            address = f"{HOST}:{sink}"
            with workspace.empty_folder() as folder, way(folder, sink) as port:
                top = route(port, address, SIZE, *workspace.amount(SIZE), "--associations", 4)["objects_per_s"]
                amount = ("--objects", 40) if workspace.quick else ("--duration", "8s")
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
            if number == workspace.rounds - 1:
                points = tuple(enumerate(figures["end_to_end_ms_distribution"]))
                yield Curve(plot="latency-half", name=side, points=points)
