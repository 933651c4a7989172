"""Peak resident memory of the router above idle: by size of object, with a backlog, with many peers at once."""

import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial
from typing import Final

from attrs import define, field

from benchmarks.aims import ABOVE_IDLE, ROUTER
from benchmarks.peers.ports import HOST, closed_port, own_port
from benchmarks.peers.processes import Address, RouterUnderTest, SinkProcess, forget_peak, memory_of
from benchmarks.readings import Curve, Reading
from benchmarks.workspace import Workspace, holding, route, routing_to, send

SIZES: Final = {"12 kB": 5000, "525 kB": 1000, "240 MB": 4, "2 GiB": 1}
"""Number of objects of each size."""
BACKLOG: Final = 20_000
DESTINATIONS: Final = 50
ASSOCIATIONS: Final = 500
MIB: Final = 1 << 20
_POLL_EVERY: Final = 0.02
"""Seconds between two readings of memory."""


def memory(workspace: Workspace) -> Iterator[Reading | Curve]:
    """Measure MiB above idle, in total and without mapped files, once each: it hardly varies."""
    works: dict[str, Callable[[], Peak]] = {
        name: partial(passing, workspace, name, max(1, workspace.scaled(count)))
        for name, count in SIZES.items()
        if not (workspace.quick and name == "2 GiB")
    }
    works["backlog"] = partial(_backlog, workspace, workspace.scaled(BACKLOG))
    works["50 destinations"] = partial(_destinations, workspace, workspace.scaled(300))
    works["500 associations"] = partial(_associations, workspace, workspace.scaled(ASSOCIATIONS))
    for name, work in works.items():
        workspace.tell(name)
        peak = work()
        for quantity, value in ((ABOVE_IDLE, peak.resident), (f"{ABOVE_IDLE}, files not counted", peak.anonymous)):
            yield Reading(workload=name, side=ROUTER, quantity=quantity, value=value / MIB)
        yield Curve(plot="memory", name=name, side=ROUTER, points=tuple(peak.course))


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
        workspace.empty_folder(size) as folder,
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
        workspace.empty_folder("12 kB") as folder,
        closed_port() as port,
        RouterUnderTest(folder, routing_to({"dead": Address(port)})) as router,
        watched(router.pid) as peak,
    ):
        send(router.port, "12 kB", "--objects", count, "--associations", 4)
    return peak


def _destinations(workspace: Workspace, count: int) -> Peak:
    """Send `count` objects for 50 destinations at once, which are AE titles of one sink."""
    with (
        workspace.empty_folder("12 kB") as folder,
        SinkProcess(folder, options=["--objects", count * DESTINATIONS]) as sink,
        RouterUnderTest(folder, routing_to(_archives(sink.port))) as router,
        watched(router.pid) as peak,
    ):
        send(router.port, "12 kB", "--objects", count, "--associations", 4)
        sink.wait()
    return peak


def _archives(port: int) -> dict[str, Address]:
    return {f"archive{number}": Address(port, f"SINK{number}") for number in range(DESTINATIONS)}


def _associations(workspace: Workspace, associations: int) -> Peak:
    """Send objects over many associations that are all open before the first object."""
    limits = {"associations": associations, "associations_per_peer": associations}
    with (
        workspace.empty_folder("12 kB") as folder,
        RouterUnderTest(folder, holding() | {"limits": limits}) as router,
        watched(router.pid) as peak,
    ):
        send(router.port, "12 kB", "--objects", 4 * associations, "--associations", associations)
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
