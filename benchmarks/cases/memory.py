"""The most memory that the router has resident above what it has when idle: by size of object, and with a backlog."""

import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Final

from attrs import define, field

from benchmarks.aims import ABOVE_IDLE, ROUTER
from benchmarks.measuring import Curve, Reading
from benchmarks.peers.ports import HOST, closed_port, own_port
from benchmarks.peers.processes import RouterUnderTest, There, forget_peak, memory_of
from benchmarks.stage import Stage, route, routing_to, send

SIZES: Final = {"12 kB": 5000, "525 kB": 1000, "240 MB": 4, "2 GiB": 1}
"""How many objects of each."""
BACKLOG: Final = 20_000
MIB: Final = 1 << 20
_LOOK: Final = 0.02


def memory(stage: Stage) -> Iterator[Reading | Curve]:
    """MiB above idle, all of it and without what is mapped from files."""
    for number in range(min(stage.rounds, 3)):
        for name, count in SIZES.items():
            if stage.quick and name == "2 GiB":
                continue
            stage.tell(name)
            peak = passing(stage, name, max(1, stage.scaled(count)))
            yield from _readings(name, peak)
            if number == 0:
                yield Curve(plot="memory", name=name, points=tuple(peak.course))
        stage.tell("backlog")
        peak = _backlog(stage, stage.scaled(BACKLOG))
        yield from _readings("backlog", peak)
        if number == 0:
            yield Curve(plot="memory", name="backlog", points=tuple(peak.course))


@define
class Peak:
    """Bytes above what was resident in the beginning."""

    resident: int = 0
    anonymous: int = 0
    """Without what is mapped from files. Looked at 50 times a second."""
    course: list[tuple[float, float]] = field(factory=list)
    """Seconds, and MiB resident above idle."""


def passing(stage: Stage, size: str, count: int) -> Peak:
    """So many objects through a router that has just been started."""
    sink = own_port()
    with (
        stage.place() as folder,
        RouterUnderTest(folder, routing_to({"sink": There(sink)})) as router,
        watched(router.pid) as peak,
    ):
        route(router.port, f"{HOST}:{sink}", _option(size), "--objects", count, "--patience", "120s")
    return peak


def _option(size: str) -> str:
    return "2GiB" if size == "2 GiB" else size


def _backlog(stage: Stage, count: int) -> Peak:
    """So many objects for somebody who is not there."""
    with (
        stage.place() as folder,
        closed_port() as port,
        RouterUnderTest(folder, routing_to({"dead": There(port)})) as router,
        watched(router.pid) as peak,
    ):
        send(router.port, "12 kB", "--objects", count, "--associations", 4)
    return peak


@contextmanager
def watched(pid: int) -> Iterator[Peak]:
    """Watch a process while the block lasts; the peak is told at its end."""
    forget_peak(pid)
    idle, started = memory_of(pid), time.monotonic()
    peak, over = Peak(), threading.Event()

    def look() -> None:
        while not over.wait(_LOOK):
            now = memory_of(pid)
            peak.anonymous = max(peak.anonymous, now["RssAnon"] - idle["RssAnon"])
            peak.course.append((round(time.monotonic() - started, 2), round((now["VmRSS"] - idle["VmRSS"]) / MIB, 2)))

    thread = threading.Thread(target=look)
    thread.start()
    try:
        yield peak
    finally:
        over.set()
        thread.join()
    peak.resident = memory_of(pid)["VmHWM"] - idle["VmRSS"]


def _readings(workload: str, peak: Peak) -> Iterator[Reading]:
    for quantity, value in ((ABOVE_IDLE, peak.resident), (f"{ABOVE_IDLE}, files not counted", peak.anonymous)):
        yield Reading(workload=workload, side=ROUTER, quantity=quantity, value=value / MIB)
