"""What a backlog costs: the rate into the router and through it, while so many deliveries wait for somebody else; how
fast the backlog itself goes when that one is back; and how soon a router with it is ready again."""

import itertools
import time
from collections.abc import Iterator
from statistics import median
from typing import Any, Final

from benchmarks.aims import ROUTER
from benchmarks.measuring import Curve, Reading
from benchmarks.peers.processes import RouterUnderTest, SinkProcess, There, closed_port, own_port
from benchmarks.stage import Stage, route, routing_to, send
from tests.interop.ports import HOST

TINY: Final = "2KB"
"""The objects that wait."""
_ROUNDS: Final = 3
_LARGE: Final = 100_000
"""Deliveries from which on one round has to do: to make them wait takes long."""


def backlog(stage: Stage) -> Iterator[Reading | Curve]:
    """Objects/s into the live destination, acknowledged and arrived; and the curves of it over the backlogs."""
    into: dict[str, dict[int, list[float]]] = {"acknowledged": {}, "delivered": {}}
    for waiting in _sizes(stage):
        for _ in range(1 if waiting >= _LARGE else min(stage.rounds, _ROUNDS)):
            stage.tell(f"{waiting:,} waiting")
            for quantity, value in _measure(stage, waiting).items():
                yield Reading(workload=f"{waiting:,} waiting", side=ROUTER, quantity=quantity, value=value)
                if (name := quantity.removeprefix("objects/s ")) in into:
                    into[name].setdefault(waiting, []).append(value)
    for name, values in into.items():
        points = tuple((max(waiting, 1), median(rates)) for waiting, rates in values.items())
        yield Curve(plot="backlog", name=name, points=points)


def _sizes(stage: Stage) -> list[int]:
    """None, 1000, and ten times as many until it is the most."""
    if stage.quick:
        return [0, 200]
    return [0, *itertools.takewhile(lambda size: size <= stage.backlog, (1000 * 10**power for power in range(7)))]


def _measure(stage: Stage, waiting: int) -> dict[str, float]:
    live = own_port()
    with stage.place() as folder, closed_port() as dead:
        content = _content(live, dead)
        with RouterUnderTest(folder, content) as router:
            if waiting:
                send(router.port, TINY, "--objects", waiting, "--associations", 8, "--calling", "FILL")
            options = *stage.amount("12 kB"), "--associations", 4, "--patience", "60s"
            figures = route(router.port, f"{HOST}:{live}", "12 kB", *options)
        started = time.monotonic()
        with RouterUnderTest(folder, content):
            ready = time.monotonic() - started
    return {
        "objects/s acknowledged": figures["acknowledged"]["objects_per_s"],
        "objects/s delivered": figures["objects_per_s"],
        "p99 ms": figures["end_to_end_ms"]["p99"],
        "s to start again": ready,
    } | ({"objects/s when it is back": _drain(stage, waiting)} if waiting else {})


def _drain(stage: Stage, waiting: int) -> float:
    """How fast a backlog goes to somebody who is there from the beginning of a router's life."""
    port = own_port()
    with stage.place() as folder:
        content = _content(own_port(), port)
        with RouterUnderTest(folder, content) as router:
            send(router.port, TINY, "--objects", waiting, "--associations", 8, "--calling", "FILL")
        with SinkProcess(folder, port=port, options=["--objects", waiting]) as sink, RouterUnderTest(folder, content):
            return float(sink.wait()["objects_per_s"])


def _content(live: int, dead: int) -> dict[str, Any]:
    """What FILL sends goes to the dead destination, all else to the live one."""
    routes = [
        {"name": "fill", "service": "storage", "when": {"calling_ae": "FILL"}, "to": ["dead"], "final": True},
        {"name": "rest", "service": "storage", "to": ["live"]},
    ]
    return routing_to({"live": There(live), "dead": There(dead, "DEAD")}, routes=routes)
