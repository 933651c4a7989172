"""What is measured: single readings, series of them, and how two series compare."""

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
class Series:
    """The readings of the same thing in all rounds."""

    case: str
    workload: str
    side: str
    quantity: str
    values: tuple[float, ...]
    ratio: float | None
    """Its median by that of the first side measured at this workload; None for that one itself."""

    @property
    def median(self) -> float:
        return statistics.median(self.values)

    @property
    def spread(self) -> tuple[float, float]:
        """The least and the most."""
        return min(self.values), max(self.values)


def series_of(case: str, readings: Iterable[Reading]) -> list[Series]:
    """Readings sorted into series, in the order in which the things were first measured."""
    values: dict[tuple[str, str, str], list[float]] = {}
    for one in readings:
        values.setdefault((one.workload, one.quantity, one.side), []).append(one.value)
    first: dict[tuple[str, str], float] = {}
    made = []
    for (workload, quantity, side), numbers in values.items():
        median = statistics.median(numbers)
        base = first.setdefault((workload, quantity), median)
        is_base = len([key for key in values if key[:2] == (workload, quantity)][:1]) and base is median
        made.append(
            Series(
                case=case,
                workload=workload,
                side=side,
                quantity=quantity,
                values=tuple(numbers),
                ratio=None if is_base or not base else median / base,
            )
        )
    return sorted(made, key=lambda one: list(values).index((one.workload, one.quantity, one.side)))
