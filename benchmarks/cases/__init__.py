"""The cases: functions that measure side by side, round by round, and yield their readings."""

from collections.abc import Callable, Iterator
from typing import Final

from benchmarks.cases.backlog import backlog
from benchmarks.cases.ceiling import ceiling
from benchmarks.cases.dead_destination import dead_destination
from benchmarks.cases.end_to_end import end_to_end
from benchmarks.cases.latency import latency
from benchmarks.cases.link import link
from benchmarks.cases.memory import memory
from benchmarks.cases.receive import receive
from benchmarks.readings import Absent, Curve, Reading
from benchmarks.workspace import Workspace

Case = Callable[[Workspace], Iterator[Reading | Curve | Absent]]

CASES: Final[dict[str, Case]] = {
    "ceiling": ceiling,
    "receive": receive,
    "end-to-end": end_to_end,
    "link": link,
    "latency": latency,
    "memory": memory,
    "backlog": backlog,
    "dead-destination": dead_destination,
}
