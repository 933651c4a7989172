"""From a sender to an archive: through the router, and through its alternatives.

The relays keep nothing: they forward an object, then acknowledge it. Orthanc stores and forwards objects by itself. The
raw TCP relay stores and syncs what it receives, but knows nothing of DICOM: it is the limit. The rate is that of
arrivals in the sink; latency counts from when an object was due to its last byte in the sink.
"""

from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from pathlib import Path
from typing import Any, Final, Protocol

from benchmarks.aims import DCMJS, ORTHANC, PYNETDICOM, ROUTER, TCP
from benchmarks.peers import dcmjs, orthanc
from benchmarks.peers.ports import HOST, own_port
from benchmarks.peers.processes import Address, Launched, RouterUnderTest, Use
from benchmarks.peers.programs import installed
from benchmarks.readings import Absent, Curve, Reading
from benchmarks.workspace import Workspace, rates, route, routing_to, used

ASSOCIATIONS: Final = {"12 kB": 4, "525 kB": 4, "240 MB": 1}
"""Into each side; the router, and the raw relay, have as many to the sink."""


@contextmanager
def through_router(folder: Path, sink: int, associations: int) -> Iterator[RouterUnderTest]:
    content = routing_to({"sink": Address(sink)}, peers={"sink": {"associations": associations}})
    with RouterUnderTest(folder, content) as router:
        yield router


@contextmanager
def through_pynetdicom(folder: Path, sink: int, associations: int) -> Iterator[Launched]:
    with Launched.module("pynetdicom_relay", HOST, sink) as relay:
        yield relay


@contextmanager
def _through_dcmjs(folder: Path, sink: int, associations: int) -> Iterator[Launched]:
    with dcmjs.relay(sink) as relay:
        yield relay


@contextmanager
def _through_orthanc(folder: Path, sink: int, associations: int) -> Iterator[Address]:
    with orthanc.auto_forward(folder, sink) as port:
        yield Address(port)


class Side(Protocol):
    """A running program between the generator and the sink."""

    @property
    def port(self) -> int: ...


Way = Callable[[Path, int, int], AbstractContextManager[Side]]
WAYS: Final[dict[str, tuple[Way, tuple[str, ...]]]] = {
    PYNETDICOM: (through_pynetdicom, ("12 kB", "525 kB")),
    DCMJS: (_through_dcmjs, ("12 kB", "525 kB")),
    ORTHANC: (_through_orthanc, ("525 kB",)),
    ROUTER: (through_router, ("12 kB", "525 kB", "240 MB")),
}
"""By side: how to start it, and the sizes that it is measured with."""


def end_to_end(workspace: Workspace) -> Iterator[Reading | Curve | Absent]:
    """Measure rates and latencies, with the latencies of the last round as curves."""
    absent = {one.side: one for one in _absent()}
    yield from absent.values()
    for number in range(workspace.rounds):
        for size, associations in ASSOCIATIONS.items():
            for side, (way, sizes) in WAYS.items():
                if size not in sizes or side in absent or (side == DCMJS and number):
                    continue  # a relay without an aim is measured once
                workspace.tell(f"{size}, {side}")
                figures, use = _measure(workspace, way, size, associations)
                yield from rates(size, side, figures, "end_to_end_ms")
                if use is not None:
                    yield from used(size, side, use, figures["arrived"])
                if number == workspace.rounds - 1 and size == "525 kB":
                    latencies = figures["end_to_end_ms_distribution"]
                    yield Curve(plot="latency", name=side, side=side, points=tuple(enumerate(latencies)))
            workspace.tell(f"{size}, {TCP}")
            yield from _raw(workspace, size, associations)


def _measure(workspace: Workspace, way: Way, size: str, associations: int) -> tuple[dict[str, Any], Use | None]:
    """Return the figures of a side, and what the router has used if it is the router."""
    sink = own_port()
    options = *workspace.amount(size), "--associations", associations, "--patience", "120s"
    with workspace.empty_folder(size) as folder, way(folder, sink, associations) as side:
        if way is not _through_orthanc:  # which would keep its association to the sink of the warm-up, and lose objects
            workspace.warm_up(route, side.port, f"{HOST}:{sink}", size)
        with side.in_use() if isinstance(side, RouterUnderTest) else nullcontext() as use:
            figures = route(side.port, f"{HOST}:{sink}", size, *options)
    return figures, use


def _raw(workspace: Workspace, size: str, connections: int) -> Iterator[Reading]:
    sink = own_port()
    with workspace.empty_folder(size) as folder, Launched.module("tcp_relay", folder, sink) as relay:
        figures = workspace.flood(relay.port, sink, size, connections)
    yield from rates(size, TCP, figures)


def _absent() -> Iterator[Absent]:
    try:
        with dcmjs.relay(own_port()):
            pass
    except (dcmjs.NotInstalled, RuntimeError) as error:
        yield Absent(side=DCMJS, why=str(error))
    if installed("Orthanc") is None:
        yield Absent(side=ORTHANC, why="Orthanc is not installed (make peers)")
