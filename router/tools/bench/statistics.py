"""Latencies in a few numbers. Pure functions over seconds."""

import math
from collections.abc import Sequence

PERCENTILES = (50, 95, 99)


def percentile(ordered: Sequence[float], percent: float) -> float:
    """The nearest rank: the least value that `percent` of 100 values do not exceed. `ordered` is sorted, not empty."""
    rank = math.ceil(len(ordered) * percent / 100)
    return ordered[max(rank, 1) - 1]


def summary(seconds: Sequence[float]) -> dict[str, float | int | None]:
    """Milliseconds: mean, p50, p95, p99 and max, and of how many; None where there are none."""
    ordered = sorted(seconds)
    if not ordered:
        return {"count": 0, "mean": None, **{f"p{each}": None for each in PERCENTILES}, "max": None}
    return {
        "count": len(ordered),
        "mean": _milliseconds(math.fsum(ordered) / len(ordered)),
        **{f"p{each}": _milliseconds(percentile(ordered, each)) for each in PERCENTILES},
        "max": _milliseconds(ordered[-1]),
    }


def distribution(seconds: Sequence[float], points: int = 100) -> list[float]:
    """The latencies at evenly spaced ranks, the least first and the greatest last, in milliseconds; for plots."""
    ordered = sorted(seconds)
    if not ordered:
        return []
    last = len(ordered) - 1
    return [_milliseconds(ordered[round(last * at / (points - 1))]) for at in range(points)]


def _milliseconds(seconds: float) -> float:
    return round(seconds * 1000, 3)
