"""From a sender to an archive: through the router, and through its alternatives.

The relays keep nothing: they forward an object, then acknowledge it. Orthanc stores and forwards objects by itself. The
raw TCP relay stores and syncs what it receives, but knows nothing of DICOM: it is the limit. The rate is that of
arrivals in the sink; latency counts from when an object was due to its last byte in the sink.
"""

import socket
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, ExitStack, contextmanager
from pathlib import Path
from typing import Final

from benchmarks.aims import DCMJS, ORTHANC, PYNETDICOM, ROUTER, TCP
from benchmarks.peers import dcmjs, orthanc, tcp_relay
from benchmarks.peers.ports import HOST, own_port
from benchmarks.peers.processes import Address, Launched, RouterUnderTest
from benchmarks.peers.programs import installed
from benchmarks.readings import Absent, Curve, Reading
from benchmarks.workspace import Workspace, rates, route, routing_to

ASSOCIATIONS: Final = {"12 kB": 4, "525 kB": 4, "240 MB": 1}
BYTES: Final = {"12 kB": 12_000, "525 kB": 525_000, "240 MB": 240_000_000}


@contextmanager
def through_router(folder: Path, sink: int) -> Iterator[int]:
    with RouterUnderTest(folder, routing_to({"sink": Address(sink)})) as router:
        yield router.port


@contextmanager
def through_pynetdicom(folder: Path, sink: int) -> Iterator[int]:
    with Launched.module("pynetdicom_relay", HOST, sink) as relay:
        yield relay.port


@contextmanager
def _through_dcmjs(folder: Path, sink: int) -> Iterator[int]:
    with dcmjs.relay(sink) as relay:
        yield relay.port


Way = Callable[[Path, int], AbstractContextManager[int]]
WAYS: Final[dict[str, tuple[Way, tuple[str, ...]]]] = {
    PYNETDICOM: (through_pynetdicom, ("12 kB", "525 kB", "240 MB")),
    DCMJS: (_through_dcmjs, ("12 kB", "525 kB")),
    ORTHANC: (orthanc.auto_forward, ("525 kB",)),
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
                if size not in sizes or side in absent:
                    continue
                workspace.tell(f"{size}, {side}")
                sink = own_port()
                with workspace.empty_folder() as folder, way(folder, sink) as port:
                    options = *workspace.amount(size), "--associations", associations, "--patience", "120s"
                    figures = route(port, f"{HOST}:{sink}", size, *options)
                yield from rates(size, side, figures, "end_to_end_ms")
                if number == workspace.rounds - 1 and size == "525 kB":
                    latencies = figures["end_to_end_ms_distribution"]
                    yield Curve(plot="latency", name=side, points=tuple(enumerate(latencies)))
            workspace.tell(f"{size}, {TCP}")
            yield from _raw(workspace, size, associations)


def _raw(workspace: Workspace, size: str, connections: int) -> Iterator[Reading]:
    few = workspace.quick or size == "240 MB"
    count = 2 if workspace.quick else 4
    with ExitStack() as stack:
        folder = stack.enter_context(workspace.empty_folder())
        listening = stack.enter_context(socket.create_server((HOST, 0)))
        relay = stack.enter_context(Launched.module("tcp_relay", listening.getsockname()[1], folder))
        seconds = 0.0 if few else 4.0
        figures = tcp_relay.flood(relay.port, listening, BYTES[size], connections, seconds=seconds, count=count)
    yield Reading(workload=size, side=TCP, quantity="objects/s", value=figures["objects_per_s"])
    yield Reading(workload=size, side=TCP, quantity="MB/s", value=figures["megabytes_per_s"])


def _absent() -> Iterator[Absent]:
    try:
        with dcmjs.relay(own_port()):
            pass
    except (dcmjs.NotInstalled, RuntimeError) as error:
        yield Absent(side=DCMJS, why=str(error))
    if installed("Orthanc") is None:
        yield Absent(side=ORTHANC, why="Orthanc is not installed (make peers)")
