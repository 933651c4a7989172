"""The cost of a backlog: rates into and through a router while many deliveries wait for another destination.

The same rates of a router without a backlog are measured in turn. Then: how soon a router with a backlog starts again,
and how fast it delivers the backlog when the destination is back.
"""

import time
from collections.abc import Iterator
from pathlib import Path
from statistics import median
from typing import Any, Final

from benchmarks.aims import ACKNOWLEDGED, DELIVERED, NONE_WAITING, P99, ROUTER
from benchmarks.peers.ports import HOST, closed_port, own_port
from benchmarks.peers.processes import Address, RouterUnderTest, SinkProcess
from benchmarks.readings import Curve, Reading
from benchmarks.workspace import Workspace, load_of, route, routing_to, send, used

TINY: Final = "2KB"
"""Size of the objects that wait."""
_WINDOW: Final = 64
"""Outstanding requests while the backlog is made, which is not measured."""
_DRAINED: Final = 20_000
"""Most deliveries of the backlog to deliver when the destination is back."""


def backlog(workspace: Workspace) -> Iterator[Reading | Curve]:
    """Measure objects/s acknowledged and delivered to the live destination, over the size of the backlog."""
    courses: dict[tuple[str, str], dict[int, list[float]]] = {}
    dead, live = own_port(), own_port()
    content = _content(live, dead)
    with workspace.empty_folder("12 kB") as folder:
        with (
            closed_port(dead),
            RouterUnderTest(folder / "with", content) as full,
            RouterUnderTest(folder / "without", content) as empty,
        ):
            waiting = 0
            for size in _sizes(workspace):
                workspace.tell(f"{size:,} waiting")
                _fill(full, size - waiting)
                waiting = size
                for reading in _in_turn(workspace, f"{size:,} waiting", {ROUTER: full, NONE_WAITING: empty}, live):
                    yield reading
                    courses.setdefault((reading.quantity, reading.side), {}).setdefault(size, []).append(reading.value)
        if waiting:
            yield from _afterwards(workspace, folder / "with", content, waiting, dead)
    for (quantity, side), values in courses.items():
        points = tuple((size, median(rates)) for size, rates in values.items())
        if quantity in _CURVES:
            yield Curve(plot="backlog", name=f"{_CURVES[quantity]}{_BESIDE[side]}", side=side, points=points)


_CURVES: Final = {ACKNOWLEDGED: "acknowledged", DELIVERED: "delivered"}
_BESIDE: Final = {ROUTER: "", NONE_WAITING: ", by one with none"}


def _sizes(workspace: Workspace) -> list[int]:
    """Return the sizes of the backlog to measure with: the most, and fewer."""
    most = 200 if workspace.quick else workspace.backlog
    return sorted({min(size, most) for size in (1000, most)} - {0})


def _fill(router: RouterUnderTest, count: int) -> None:
    options = "--associations", 8, "--window", _WINDOW, "--calling", "FILL"
    send(router.port, TINY, "--objects", count, *options)


def _in_turn(workspace: Workspace, workload: str, routers: dict[str, RouterUnderTest], live: int) -> Iterator[Reading]:
    options = *workspace.amount("12 kB"), "--associations", 4, "--patience", "60s"
    for _ in range(workspace.rounds):
        for side, router in routers.items():
            with router.in_use() as use:
                figures = route(router.port, f"{HOST}:{live}", "12 kB", *options)
            numbers = {
                ACKNOWLEDGED: figures["acknowledged"]["objects_per_s"],
                DELIVERED: figures["objects_per_s"],
                P99: figures["end_to_end_ms"]["p99"],
            }
            for quantity, value in (numbers | load_of(figures)).items():
                yield Reading(workload=workload, side=side, quantity=quantity, value=value)
            yield from used(workload, side, use, figures["arrived"])


def _afterwards(
    workspace: Workspace, folder: Path, content: dict[str, Any], waiting: int, dead: int
) -> Iterator[Reading]:
    workload = f"{waiting:,} waiting"
    started = time.monotonic()
    with RouterUnderTest(folder, content):
        ready = time.monotonic() - started
    yield Reading(workload=workload, side=ROUTER, quantity="s to start again", value=ready)
    workspace.tell("the destination is back")
    count = min(waiting, _DRAINED)
    with (
        SinkProcess(folder, port=dead, options=["--objects", count]) as sink,
        RouterUnderTest(folder, content),
    ):
        rate = float(sink.wait()["objects_per_s"])
    yield Reading(workload=workload, side=ROUTER, quantity="objects/s when it is back", value=rate)


def _content(live: int, dead: int) -> dict[str, Any]:
    """Return a router.toml that routes objects of FILL to the dead destination, all others to the live one."""
    routes = [
        {"name": "fill", "service": "storage", "when": {"calling_ae": "FILL"}, "to": ["dead"], "final": True},
        {"name": "rest", "service": "storage", "to": ["live"]},
    ]
    archives = {"live": Address(live), "dead": Address(dead, "DEAD")}
    return routing_to(archives, routes=routes, limits={"window": _WINDOW})
