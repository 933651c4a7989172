"""The cases. Each is a function of the stage that measures side by side, round by round, and yields its readings."""

from collections.abc import Callable, Iterator
from typing import Final

from benchmarks.cases.dead_destination import dead_destination
from benchmarks.cases.end_to_end import end_to_end
from benchmarks.cases.memory import memory
from benchmarks.cases.nagle import nagle
from benchmarks.cases.receive import receive
from benchmarks.measuring import Reading
from benchmarks.stage import Stage

Case = Callable[[Stage], Iterator[Reading]]

CASES: Final[dict[str, Case]] = {
    "nagle": nagle,
    "receive": receive,
    "end-to-end": end_to_end,
    "dead-destination": dead_destination,
    "memory": memory,
}
