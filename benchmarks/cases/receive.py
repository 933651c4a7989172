"""Reception: the router, which syncs each object before it responds, alone and while it forwards to one archive.

Beside it: DCMTK's storescp, which does not sync and forwards nothing, and a receiver of raw bytes that syncs them.
"""

from collections.abc import Iterator
from typing import Final

from attrs import frozen

from benchmarks.aims import FORWARDING, RAW_RECEIVE, ROUTER, STORESCP, STORESCP_FORK, WITHOUT_NAGLE
from benchmarks.peers import dcmtk
from benchmarks.peers.ports import HOST, own_port
from benchmarks.peers.processes import Address, Launched, RouterUnderTest
from benchmarks.readings import Absent, Reading
from benchmarks.workspace import Workspace, holding, rates, route, routing_to, send, used


@frozen(kw_only=True)
class _Work:
    name: str
    size: str
    associations: int = 1
    nagle: bool = False

    @property
    def options(self) -> list[object]:
        return ["--associations", self.associations, *(["--nagle"] if self.nagle else [])]


ALONE: Final = tuple(_Work(name=size, size=size) for size in ("12 kB", "525 kB", "240 MB"))
MANY: Final = _Work(name="12 kB, 16 associations", size="12 kB", associations=16)
NAGLE: Final = _Work(name="12 kB, Nagle", size="12 kB", nagle=True)


def receive(workspace: Workspace) -> Iterator[Reading | Absent]:
    """Measure rates and response times."""
    installed = dcmtk.program("storescp") is not None
    if not installed:
        yield Absent(side=STORESCP, why="DCMTK is not installed (make peers)")
    for _ in range(workspace.rounds):
        for work in ALONE:
            if installed:
                yield from _storescp(workspace, work, STORESCP)
            yield from _raw(workspace, work)
            alone = list(_router(workspace, work, ROUTER))
            yield from alone
            yield from _forwarding(workspace, work)
            if work.size == NAGLE.size:  # in the same minute as the same without
                yield from _router(workspace, NAGLE, ROUTER)
                for one in alone:
                    yield Reading(workload=NAGLE.name, side=WITHOUT_NAGLE, quantity=one.quantity, value=one.value)
        if installed:
            yield from _storescp(workspace, MANY, STORESCP_FORK)
        yield from _router(workspace, MANY, ROUTER)


def _router(workspace: Workspace, work: _Work, side: str) -> Iterator[Reading]:
    workspace.tell(f"{work.name}, {side}")
    with workspace.empty_folder(work.size) as folder, RouterUnderTest(folder, holding()) as router:
        workspace.warm_up(send, router.port, work.size)
        with router.in_use() as use:
            figures = send(router.port, work.size, *workspace.amount(work.size), *work.options)
    yield from rates(work.name, side, figures, "response_ms")
    yield from used(work.name, side, use, figures["objects"])


def _forwarding(workspace: Workspace, work: _Work) -> Iterator[Reading]:
    """Measure the reception of a router that delivers to one archive at the same time."""
    workspace.tell(f"{work.name}, {FORWARDING}")
    sink = own_port()
    with (
        workspace.empty_folder(work.size) as folder,
        RouterUnderTest(folder, routing_to({"sink": Address(sink)})) as router,
    ):
        archive = f"{HOST}:{sink}"
        workspace.warm_up(route, router.port, archive, work.size)
        with router.in_use() as use:
            figures = route(router.port, archive, work.size, *workspace.amount(work.size), *work.options)
    received = figures["acknowledged"]
    yield from rates(work.name, FORWARDING, received | {"sink": figures["sink"]}, "response_ms")
    yield from used(work.name, FORWARDING, use, received["objects"])


def _storescp(workspace: Workspace, work: _Work, side: str) -> Iterator[Reading]:
    workspace.tell(f"{work.name}, {side}")
    with (
        workspace.empty_folder(work.size) as folder,
        dcmtk.storescp(folder, fork=work.associations > 1) as port,
    ):
        workspace.warm_up(send, port, work.size)
        figures = send(port, work.size, *workspace.amount(work.size), *work.options)
    yield from rates(work.name, side, figures, "response_ms")


def _raw(workspace: Workspace, work: _Work) -> Iterator[Reading]:
    workspace.tell(f"{work.name}, {RAW_RECEIVE}")
    with workspace.empty_folder(work.size) as folder, Launched.module("tcp_relay", folder) as receiver:
        figures = workspace.flood(receiver.port, None, work.size, work.associations)
    yield from rates(work.name, RAW_RECEIVE, figures)
