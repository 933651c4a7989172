"""Latency at half of the top rate, as an open loop: a side that stalls is charged for all objects that wait."""

from collections.abc import Iterator
from typing import Final

from benchmarks.aims import OBJECTS, P50, P99, P99_BY_P50, PYNETDICOM, ROUTER
from benchmarks.cases.end_to_end import Way, through_pynetdicom, through_router
from benchmarks.peers.ports import HOST, own_port
from benchmarks.readings import Curve, Reading
from benchmarks.workspace import Workspace, load_of, route

ASSOCIATIONS: Final = 4
SIDES: Final[tuple[tuple[str, str, Way], ...]] = (
    ("12 kB", ROUTER, through_router),
    ("525 kB", ROUTER, through_router),
    ("525 kB", PYNETDICOM, through_pynetdicom),
)


def latency(workspace: Workspace) -> Iterator[Reading | Curve]:
    """Measure milliseconds from end to end, each side at half of its own top rate."""
    for number in range(workspace.rounds):
        for size, side, way in SIDES:
            workspace.tell(f"{size}, {side}")
            sink = own_port()
            address = f"{HOST}:{sink}"
            with workspace.empty_folder(size) as folder, way(folder, sink, ASSOCIATIONS) as running:
                top = route(running.port, address, size, *workspace.amount(size), "--associations", ASSOCIATIONS)
                amount = ("--objects", 40) if workspace.quick else ("--duration", "5s")
                options = *amount, "--associations", ASSOCIATIONS, "--rate", round(top["objects_per_s"] / 2, 3)
                figures = route(running.port, address, size, *options)
            found = figures["end_to_end_ms"]
            numbers = {
                OBJECTS: figures["objects_per_s"],
                P50: found["p50"],
                P99: found["p99"],
                P99_BY_P50: found["p99"] / found["p50"],
            }
            for quantity, value in (numbers | load_of(figures)).items():
                yield Reading(workload=f"{size} at half the top rate", side=side, quantity=quantity, value=value)
            if number == workspace.rounds - 1:
                points = tuple(enumerate(figures["end_to_end_ms_distribution"]))
                yield Curve(plot="latency-half", name=f"{size}, {side}", side=side, points=points)
