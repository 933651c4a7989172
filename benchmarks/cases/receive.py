"""Reception alone: the router, which syncs each object before it responds, and DCMTK's storescp, which does not."""

from collections.abc import Iterator
from typing import Final

from attrs import frozen

from benchmarks.aims import ROUTER, STORESCP, STORESCP_FORK
from benchmarks.peers import dcmtk
from benchmarks.peers.processes import RouterUnderTest
from benchmarks.readings import Absent, Reading
from benchmarks.workspace import Workspace, holding, rates, send


@frozen(kw_only=True)
class _Work:
    name: str
    size: str
    associations: int = 1
    nagle: bool = False

    @property
    def options(self) -> list[object]:
        return ["--associations", self.associations, *(["--nagle"] if self.nagle else [])]

    @property
    def peer(self) -> str:
        """storescp serves one association at a time unless it forks."""
        return STORESCP_FORK if self.associations > 1 else STORESCP


WORK: Final = (
    _Work(name="12 kB", size="12 kB"),
    _Work(name="525 kB", size="525 kB"),
    _Work(name="240 MB", size="240 MB"),
    _Work(name="12 kB, 16 associations", size="12 kB", associations=16),
    _Work(name="12 kB, Nagle", size="12 kB", nagle=True),
)


def receive(workspace: Workspace) -> Iterator[Reading | Absent]:
    """Measure rates and response times."""
    installed = dcmtk.program("storescp") is not None
    if not installed:
        yield Absent(side=STORESCP, why="DCMTK is not installed (make peers)")
    for _ in range(workspace.rounds):
        for work in WORK:
            if installed:
                yield from _storescp(workspace, work)
            workspace.tell(f"{work.name}, {ROUTER}")
            with workspace.empty_folder() as folder, RouterUnderTest(folder, holding()) as router:
                figures = send(router.port, work.size, *workspace.amount(work.size), *work.options)
            yield from rates(work.name, ROUTER, figures, "response_ms")


def _storescp(workspace: Workspace, work: _Work) -> Iterator[Reading]:
    workspace.tell(f"{work.name}, {work.peer}")
    with (
        workspace.empty_folder() as folder,
        dcmtk.storescp(folder, fork=work.associations > 1, nodelay=not work.nagle) as port,
    ):
        figures = send(port, work.size, *workspace.amount(work.size), *work.options)
    yield from rates(work.name, work.peer, figures, "response_ms")
