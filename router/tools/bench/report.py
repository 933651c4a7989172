"""A measurement as JSON: what was measured, what came out, in units that stand in the names."""

from typing import Any, Final

from router.tools.bench.load import Generator
from router.tools.bench.results import NEVER, Records
from router.tools.bench.route import RouteBench
from router.tools.bench.sink import Sink
from router.tools.bench.statistics import distribution, summary

_MOST_NAMED: Final = 100
"""Objects that are missing and named; all are counted."""


def report_load(generator: Generator) -> dict[str, Any]:
    """What `bench send` has measured."""
    load, records = generator.load, generator.records
    start, end = records.span()
    sent = len(records) - len(_unsent(records))
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
        "objects": sent,
        "stored": records.taken,
        "answers": records.statuses(),
        "unanswered": generator.unanswered,
        "not_sent": len(_unsent(records)),
        "given_up": generator.given_up or None,
        "associations_ended_early": dict(generator.ended),
        "bytes": records.bytes,
        **_rates(records.answers, records.bytes, end - start),
        "response_ms": summary(records.latencies()),
        "response_ms_distribution": distribution(records.latencies()),
        "generator_late_ms": summary(records.lateness()) if load.rate is not None else None,
    }


def report_passage(passage: RouteBench) -> dict[str, Any]:
    """What `bench route` has measured: what the router was given, and what came of it."""
    generator = passage.generator
    start, end = passage.span()
    missing = passage.missing()
    lengths = [template.length for template in generator.load.mixture.templates]
    records = generator.records
    arrived = sum(lengths[records.template(n)] for n, at in enumerate(passage.arrived) if at != NEVER)
    latencies = passage.latencies()
    return {
        "acknowledged": report_load(generator),
        "arrived": passage.count,
        "missing": len(missing),
        "missing_uids": [_uid(generator, number) for number in missing[:_MOST_NAMED]],
        "repeated": passage.repeated,
        "strangers": passage.strangers,
        **_rates(passage.count, arrived, end - start),
        "end_to_end_ms": summary(latencies),
        "end_to_end_ms_distribution": distribution(latencies),
    }


def report_arrivals(sink: Sink) -> dict[str, Any]:
    """What `bench sink` has seen."""
    moments = [arrival.at for arrival in sink.arrivals]
    seconds = max(moments) - min(moments) if moments else 0.0
    return {
        "address": sink.address,
        "associations": sink.associations,
        "objects": len(sink.arrivals),
        "distinct": len({arrival.sop_instance_uid for arrival in sink.arrivals}),
        "aborted": sink.aborted,
        "answers": {f"{status:04X}H": number for status, number in sink.answers.items()},
        "bytes": sink.bytes,
        **_rates(len(moments), sink.bytes, seconds),
    }


def _unsent(records: Records) -> list[int]:
    return [number for number, begun in enumerate(records.begun) if begun == NEVER]


def _uid(generator: Generator, number: int) -> str:
    template = generator.load.mixture.templates[generator.records.template(number)]
    return generator.uids.of(number, template.uid_length)


def _rates(count: int, length: int, seconds: float) -> dict[str, float]:
    per_second = 1 / seconds if seconds > 0 else 0.0
    return {
        "seconds": round(seconds, 6),
        "objects_per_s": round(count * per_second, 2),
        "megabytes_per_s": round(length / 1e6 * per_second, 3),
    }
