"""What is measured: single readings, curves, series of readings, and how two series compare."""

import statistics
from collections.abc import Iterable

from attrs import frozen


@frozen(kw_only=True)
class Reading:
    """One number, measured once."""

    workload: str
    """What was done, such as "12 kB"."""
    side: str
    """Who did it, such as "router"."""
    quantity: str
    """What the number counts, its unit included, such as "objects/s"."""
    value: float


@frozen(kw_only=True)
class Curve:
    """Many numbers that belong together, for a plot: "latency" by percent of the objects, "memory" by seconds."""

    plot: str
    name: str
    points: tuple[tuple[float, float], ...]


@frozen(kw_only=True)
class Absent:
    """A side that could not be measured here, and why."""

    side: str
    why: str


@frozen(kw_only=True)
class Failed:
    """A case that did not come to its end, and why."""

    case: str
    why: str


@frozen(kw_only=True)
class Series:
    """The readings of the same thing in all rounds."""

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
        """The least and the most."""
        return min(self.values), max(self.values)


def series_of(case: str, readings: Iterable[Reading]) -> list[Series]:
    """Readings sorted into series: workload by workload, quantity by quantity, the sides beside each other."""
    values: dict[tuple[str, str], dict[str, list[float]]] = {}
    for one in readings:
        values.setdefault((one.workload, one.quantity), {}).setdefault(one.side, []).append(one.value)
    return [
        Series(case=case, workload=workload, side=side, quantity=quantity, values=tuple(numbers))
        for (workload, quantity), sides in values.items()
        for side, numbers in sides.items()
    ]
