"""What a backlog costs: the rate into a router and through it while so many deliveries wait for somebody else, and the
same through a router with none, in turn; how soon a router with it is ready again; and how fast it goes when that one
is back."""

import itertools
import time
from collections.abc import Iterator
from pathlib import Path
from statistics import median
from typing import Any, Final

from benchmarks.aims import ACKNOWLEDGED, DELIVERED, NONE_WAITING, ROUTER
from benchmarks.measuring import Curve, Reading
from benchmarks.peers.ports import HOST, closed_port, own_port
from benchmarks.peers.processes import RouterUnderTest, SinkProcess, There
from benchmarks.stage import Stage, route, routing_to, send

TINY: Final = "2KB"
"""The objects that wait."""
_ROUNDS: Final = 5
"""Of each side: less tells little where neighbours on the machine make a difference of a third."""
_WINDOW: Final = 64
"""Outstanding requests while the backlog is made, which is not what is measured."""
_DRAINED: Final = 100_000
"""Of the backlog, at most, when it is measured how fast it goes."""


def backlog(stage: Stage) -> Iterator[Reading | Curve]:
    """Objects/s into the live destination, acknowledged and arrived; and the curves of it over the backlogs."""
    courses: dict[tuple[str, str], dict[int, list[float]]] = {}
    dead, live = own_port(), own_port()
    content = _content(live, dead)
    with stage.place() as folder:
        with (
            closed_port(dead),
            RouterUnderTest(folder / "with", content) as full,
            RouterUnderTest(folder / "without", content) as empty,
        ):
            waiting = 0
            for size in _sizes(stage):
                stage.tell(f"{size:,} waiting")
                _fill(full, size - waiting)
                waiting = size
                for reading in _in_turn(stage, f"{size:,} waiting", {ROUTER: full, NONE_WAITING: empty}, live):
                    yield reading
                    courses.setdefault((reading.quantity, reading.side), {}).setdefault(size, []).append(reading.value)
        if waiting:
            yield from _afterwards(stage, folder / "with", content, waiting, dead)
    for (quantity, side), values in courses.items():
        points = tuple((size, median(rates)) for size, rates in values.items())
        if quantity in _CURVES:
            yield Curve(plot="backlog", name=f"{_CURVES[quantity]}{_BESIDE[side]}", points=points)


_CURVES: Final = {ACKNOWLEDGED: "acknowledged", DELIVERED: "delivered"}
_BESIDE: Final = {ROUTER: "", NONE_WAITING: ", by one with none"}


def _sizes(stage: Stage) -> list[int]:
    """1000, and ten times as many until it is the most."""
    if stage.quick:
        return [200]
    return list(itertools.takewhile(lambda size: size <= stage.backlog, (1000 * 10**power for power in range(7))))


def _fill(router: RouterUnderTest, count: int) -> None:
    options = "--associations", 8, "--window", _WINDOW, "--calling", "FILL"
    send(router.port, TINY, "--objects", count, *options)


def _in_turn(stage: Stage, workload: str, routers: dict[str, RouterUnderTest], live: int) -> Iterator[Reading]:
    options = *stage.amount("12 kB"), "--associations", 4, "--patience", "60s"
    for _ in range(max(stage.rounds, 1 if stage.quick else _ROUNDS)):
        for side, router in routers.items():
            figures = route(router.port, f"{HOST}:{live}", "12 kB", *options)
            numbers = {
                ACKNOWLEDGED: figures["acknowledged"]["objects_per_s"],
                DELIVERED: figures["objects_per_s"],
                "p99 ms": figures["end_to_end_ms"]["p99"],
            }
            for quantity, value in numbers.items():
                yield Reading(workload=workload, side=side, quantity=quantity, value=value)


def _afterwards(stage: Stage, folder: Path, content: dict[str, Any], waiting: int, dead: int) -> Iterator[Reading]:
    workload = f"{waiting:,} waiting"
    started = time.monotonic()
    with RouterUnderTest(folder, content):
        ready = time.monotonic() - started
    yield Reading(workload=workload, side=ROUTER, quantity="s to start again", value=ready)
    stage.tell("the other one is back")
    count = min(waiting, _DRAINED)
    with (
        SinkProcess(folder, port=dead, options=["--objects", count]) as sink,
        RouterUnderTest(folder, content),
    ):
        rate = float(sink.wait()["objects_per_s"])
    yield Reading(workload=workload, side=ROUTER, quantity="objects/s when it is back", value=rate)


def _content(live: int, dead: int) -> dict[str, Any]:
    """What FILL sends goes to the dead destination, all else to the live one."""
    routes = [
        {"name": "fill", "service": "storage", "when": {"calling_ae": "FILL"}, "to": ["dead"], "final": True},
        {"name": "rest", "service": "storage", "to": ["live"]},
    ]
    archives = {"live": There(live), "dead": There(dead, "DEAD")}
    return routing_to(archives, routes=routes, limits={"window": _WINDOW})
