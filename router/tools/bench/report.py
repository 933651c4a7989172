"""A measurement as JSON: what was measured and the figures, with their units in the names of the keys."""

import math
import platform
import sysconfig
from collections.abc import Sequence
from typing import Any, Final

from router.tools.bench.generator import Generator
from router.tools.bench.processes import bottleneck
from router.tools.bench.results import NEVER
from router.tools.bench.route import RouteBench
from router.tools.bench.sink import Sink

PERCENTILES: Final = (50, 95, 99)
_MOST_NAMED: Final = 100
"""Missing objects that are named; all are counted."""


def interpreter() -> str:
    """Return the version of Python, and whether it was built optimized, which makes it up to a third faster."""
    optimized = "--enable-optimizations" in str(sysconfig.get_config_var("CONFIG_ARGS"))
    return f"{platform.python_version()} ({'optimized' if optimized else 'built without --enable-optimizations'})"


def report_load(generator: Generator) -> dict[str, Any]:
    """Return the figures of `bench send`."""
    load, results = generator.load, generator.results
    start, end = results.span()
    cpu, machine = generator.cpu_figures(), generator.machine.figures()
    return {
        "peer": f"{generator.target.host}:{generator.target.port}",
        "asked": {
            "associations": load.associations,
            "objects": load.objects,
            "duration_s": load.seconds,
            "rate_per_s": load.rate,
            "window": generator.target.window,
            "nagle": load.nagle,
            "data_set_bytes": [template.length for template in load.mixture.templates],
        },
        "window": generator.window,
        "objects": results.sent,
        "stored": results.stored,
        "answers": results.statuses(),
        "unanswered": generator.unanswered,
        "not_sent": generator.not_sent,
        "given_up": generator.given_up or None,
        "associations_ended_early": dict(generator.ended),
        "bytes": results.bytes,
        **_rates(results.answers, results.bytes, end - start),
        "response_ms": summary(results.latencies()),
        "response_ms_distribution": distribution(results.latencies()),
        "generator_late_ms": summary(results.lateness()) if load.rate is not None else None,
        "generator": cpu,
        "machine": machine,
        "limit": bottleneck(machine, generator=cpu),
    }


def report_route(bench: RouteBench) -> dict[str, Any]:
    """Return the figures of `bench route`: what the router acknowledged, and what arrived."""
    generator = bench.generator
    start, end = bench.span()
    missing = bench.missing()
    results = generator.results
    arrived = sum(results.bytes_of(number) for number, at in enumerate(bench.arrived) if at != NEVER)
    latencies = bench.latencies()
    cpu, machine = bench.sink.cpu_figures(end - start), bench.machine.figures()
    return {
        "acknowledged": report_load(generator),
        "arrived": bench.count,
        "missing": len(missing),
        "missing_uids": [_uid(generator, number) for number in missing[:_MOST_NAMED]],
        "repeated": bench.repeated,
        "changed": bench.changed,
        "strangers": bench.unrelated,
        **_rates(bench.count, arrived, end - start),
        "end_to_end_ms": summary(latencies),
        "end_to_end_ms_distribution": distribution(latencies),
        "sink": cpu,
        "machine": machine,
        "limit": bottleneck(machine, generator=generator.cpu_figures(), sink=cpu),
    }


def report_arrivals(sink: Sink) -> dict[str, Any]:
    """Return the figures of `bench sink`."""
    times = [arrival.at for arrival in sink.arrivals()]
    seconds = max(times) - min(times) if times else 0.0
    return {
        "address": sink.address,
        "associations": sink.associations,
        "objects": sink.count,
        "distinct": len({arrival.sop_instance_uid for arrival in sink.arrivals()}),
        "aborted": sink.aborted,
        "answers": {f"{status:04X}H": number for status, number in sink.answers.items()},
        "bytes": sink.bytes,
        **_rates(len(times), sink.bytes, seconds),
        "sink": sink.cpu_figures(seconds),
    }


def _uid(generator: Generator, number: int) -> str:
    template = generator.load.mixture.templates[generator.load.mixture.index(number)]
    return generator.uids.uid(number, template.uid_length)


def _rates(count: int, length: int, seconds: float) -> dict[str, float]:
    per_second = 1 / seconds if seconds > 0 else 0.0
    return {
        "seconds": round(seconds, 6),
        "objects_per_s": round(count * per_second, 2),
        "megabytes_per_s": round(length / 1e6 * per_second, 3),
    }


def percentile(ordered: Sequence[float], percent: float) -> float:
    """Return the percentile by nearest rank: the least value that `percent` of 100 values do not exceed.

    `ordered` is sorted and not empty.
    """
    rank = math.ceil(len(ordered) * percent / 100)
    return ordered[max(rank, 1) - 1]


def summary(seconds: Sequence[float]) -> dict[str, float | int | None]:
    """Return count, mean, p50, p95, p99 and max of latencies, in milliseconds; None for each without any."""
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
    """Return the latencies at `points` evenly spaced ranks, from least to greatest, in milliseconds; for plots."""
    ordered = sorted(seconds)
    if not ordered:
        return []
    last = len(ordered) - 1
    return [_milliseconds(ordered[round(last * at / (points - 1))]) for at in range(points)]


def _milliseconds(seconds: float) -> float:
    return round(seconds * 1000, 3)
