"""Two sites with a round trip of 50 ms between them, over one association.

DCMTK's storescu waits for each response; two routers have many requests outstanding (asynchronous operations window,
PS3.7 D.3.3.3).
"""

from collections.abc import Iterator
from pathlib import Path
from typing import Final

from benchmarks.aims import ROUTER, STORESCU
from benchmarks.peers import dcmtk
from benchmarks.peers.ports import HOST, own_port
from benchmarks.peers.processes import Address, Launched, RouterUnderTest, SinkProcess
from benchmarks.readings import Absent, Reading
from benchmarks.workspace import Workspace, rates, route, routing_to
from router.config import IMPLEMENTATION_CLASS_UID, IMPLEMENTATION_VERSION_NAME
from router.dicom.part10 import encode_head
from router.tools.bench import InstanceUIDs, ct_template

ROUND_TRIP: Final = 0.05
WINDOW: Final = 32
WORKLOAD: Final = "12 kB, 50 ms round trip"


def link(workspace: Workspace) -> Iterator[Reading | Absent]:
    """Measure objects/s into the sink, once: the round trip sets the rates."""
    installed = dcmtk.program("storescu") is not None
    if not installed:
        yield Absent(side=STORESCU, why="DCMTK is not installed (make peers)")
    if installed:
        workspace.tell(STORESCU)
        yield _storescu(workspace, max(5, workspace.scaled(100)))
    workspace.tell("two routers")
    yield from _routers(workspace, max(40, workspace.scaled(3000)))


def _storescu(workspace: Workspace, count: int) -> Reading:
    with (
        workspace.empty_folder("12 kB") as folder,
        SinkProcess(folder, options=["--objects", count]) as sink,
        Launched.module("distance", sink.port, ROUND_TRIP) as far,
    ):
        dcmtk.storescu(far.port, _write_objects(folder, count))
        figures = sink.wait()
    rate = (count - 1) / figures["seconds"]  # the sink counts from the first arrival
    return Reading(workload=WORKLOAD, side=STORESCU, quantity="objects/s", value=rate)


def _write_objects(folder: Path, count: int) -> list[Path]:
    """Write CT images of 12 kB as PS3.10 files."""
    template, uids, paths = ct_template(12_000), InstanceUIDs(), []
    data = bytearray(template.content.piece(0, template.length))
    for number in range(count):
        uid = uids.uid(number, template.uid_length)
        data[template.uid_at : template.uid_at + template.uid_length] = uid.encode()
        head = encode_head(
            sop_class_uid=template.sop_class_uid,
            sop_instance_uid=uid,
            transfer_syntax=template.transfer_syntax,
            implementation_class_uid=IMPLEMENTATION_CLASS_UID,
            implementation_version_name=IMPLEMENTATION_VERSION_NAME,
        )
        paths.append(folder / f"{uid}.dcm")
        paths[-1].write_bytes(head + data)
    return paths


def _routers(workspace: Workspace, count: int) -> Iterator[Reading]:
    sink = own_port()
    with (
        workspace.empty_folder("12 kB") as folder,
        RouterUnderTest(folder / "far", routing_to({"sink": Address(sink)})) as far,
        Launched.module("distance", far.port, ROUND_TRIP) as way,
        RouterUnderTest(
            folder / "near",
            routing_to({"far": Address(way.port, "ROUTER")}, peers={"far": {"associations": 1, "window": WINDOW}}),
        ) as near,
    ):
        figures = route(near.port, f"{HOST}:{sink}", "12 kB", "--objects", count, "--associations", 4)
    yield from rates(WORKLOAD, ROUTER, figures, "end_to_end_ms")
