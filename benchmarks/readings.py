"""The results of cases: single readings, curves, and series of readings."""

import statistics
from collections.abc import Iterable

from attrs import frozen


@frozen(kw_only=True)
class Reading:
    """One number, measured once."""

    workload: str
    """The work, such as "12 kB"."""
    side: str
    """The program that did it, such as "router"."""
    quantity: str
    """The quantity with its unit, such as "objects/s"."""
    value: float


@frozen(kw_only=True)
class Curve:
    """One line of a plot, such as "latency" by percent of the objects, or "memory" by seconds."""

    plot: str
    name: str
    side: str
    """The program, which has one colour in all plots."""
    points: tuple[tuple[float, float], ...]


@frozen(kw_only=True)
class Absent:
    """A side that could not be measured on this machine, and why."""

    side: str
    why: str


@frozen(kw_only=True)
class Failed:
    """A case that failed, and why."""

    case: str
    why: str


@frozen(kw_only=True)
class Series:
    """The readings of one quantity of one side in all rounds."""

    case: str
    workload: str
    side: str
    quantity: str
    values: tuple[float, ...]

    @property
    def median(self) -> float:
        return statistics.median(self.values)

    @property
    def spread(self) -> tuple[float, float]:
        """The least and the greatest value."""
        return min(self.values), max(self.values)


def series_of(case: str, readings: Iterable[Reading]) -> list[Series]:
    """Group readings into series, by workload, quantity and side."""
    values: dict[tuple[str, str], dict[str, list[float]]] = {}
    for one in readings:
        values.setdefault((one.workload, one.quantity), {}).setdefault(one.side, []).append(one.value)
    return [
        Series(case=case, workload=workload, side=side, quantity=quantity, values=tuple(numbers))
        for (workload, quantity), sides in values.items()
        for side, numbers in sides.items()
    ]
