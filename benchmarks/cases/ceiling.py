"""The generator into the sink, with nothing between them: the limit of what can be measured with them."""

from collections.abc import Iterator

from benchmarks.peers.processes import SinkProcess
from benchmarks.readings import Reading
from benchmarks.workspace import SIZES, Workspace, rates, send

SIDE = "generator into sink"


def ceiling(workspace: Workspace) -> Iterator[Reading]:
    """Measure rates and response times for each size over one association, and for small objects over four."""
    for name, associations in (*((name, 1) for name in SIZES), ("12 kB", 4)):
        workload = name if associations == 1 else f"{name}, {associations} associations"
        workspace.tell(workload)
        with workspace.empty_folder() as folder:
            with SinkProcess(folder) as sink:
                figures = send(sink.port, name, *workspace.amount(name), "--associations", associations)
            yield from rates(workload, SIDE, figures | {"sink": sink.figures()["sink"]}, "response_ms")
