"""The generator into the sink, with nothing between them: what nothing that is measured with them can exceed."""

from collections.abc import Iterator

from benchmarks.measuring import Reading
from benchmarks.peers.processes import SinkProcess
from benchmarks.stage import SIZES, Stage, rates, send

SIDE = "generator into sink"


def ceiling(stage: Stage) -> Iterator[Reading]:
    """Rates and response latency for each size over one association, and of small objects over four."""
    for _ in range(stage.rounds):
        for name, associations in (*((name, 1) for name in SIZES), ("12 kB", 4)):
            workload = name if associations == 1 else f"{name}, {associations} associations"
            stage.tell(workload)
            with stage.place() as folder, SinkProcess(folder) as sink:
                figures = send(sink.port, name, *stage.amount(name), "--associations", associations)
            yield from rates(workload, SIDE, figures, "response_ms")
