"""Peak resident memory of the router above idle, by size of object and with a backlog."""

import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Final

from attrs import define, field

from benchmarks.aims import ABOVE_IDLE, ROUTER
from benchmarks.peers.ports import HOST, closed_port, own_port
from benchmarks.peers.processes import Address, RouterUnderTest, forget_peak, memory_of
from benchmarks.readings import Curve, Reading
from benchmarks.workspace import Workspace, route, routing_to, send

SIZES: Final = {"12 kB": 5000, "525 kB": 1000, "240 MB": 4, "2 GiB": 1}
"""Number of objects of each size."""
BACKLOG: Final = 20_000
MIB: Final = 1 << 20
_POLL_EVERY: Final = 0.02
"""Seconds between two readings of memory."""


def memory(workspace: Workspace) -> Iterator[Reading | Curve]:
    """Measure MiB above idle, in total and without mapped files."""
    for number in range(min(workspace.rounds, 3)):
        for name, count in SIZES.items():
            if workspace.quick and name == "2 GiB":
                continue
            workspace.tell(name)
            peak = passing(workspace, name, max(1, workspace.scaled(count)))
            yield from _readings(name, peak)
            if number == 0:
                yield Curve(plot="memory", name=name, points=tuple(peak.course))
        workspace.tell("backlog")
        peak = _backlog(workspace, workspace.scaled(BACKLOG))
        yield from _readings("backlog", peak)
        if number == 0:
            yield Curve(plot="memory", name="backlog", points=tuple(peak.course))


@define
class Peak:
    """Bytes above what was resident at the beginning."""

    resident: int = 0
    anonymous: int = 0
    """Without mapped files; read 50 times a second."""
    course: list[tuple[float, float]] = field(factory=list)
    """Seconds, and MiB resident above idle."""


def passing(workspace: Workspace, size: str, count: int) -> Peak:
    """Send `count` objects through a router that has just been started."""
    sink = own_port()
    with (
        workspace.empty_folder() as folder,
        RouterUnderTest(folder, routing_to({"sink": Address(sink)})) as router,
        watched(router.pid) as peak,
    ):
        route(router.port, f"{HOST}:{sink}", _option(size), "--objects", count, "--patience", "120s")
    return peak


def _option(size: str) -> str:
    return "2GiB" if size == "2 GiB" else size


def _backlog(workspace: Workspace, count: int) -> Peak:
    """Send `count` objects for a destination that does not answer."""
    with (
        workspace.empty_folder() as folder,
        closed_port() as port,
        RouterUnderTest(folder, routing_to({"dead": Address(port)})) as router,
        watched(router.pid) as peak,
    ):
        send(router.port, "12 kB", "--objects", count, "--associations", 4)
    return peak


@contextmanager
def watched(pid: int) -> Iterator[Peak]:
    """Read the memory of a process while the block lasts; the peak is complete after it."""
    forget_peak(pid)
    idle, started = memory_of(pid), time.monotonic()
    peak, over = Peak(), threading.Event()

    def look() -> None:
        while not over.wait(_POLL_EVERY):
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
