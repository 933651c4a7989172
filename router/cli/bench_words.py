"""The figures of a measurement for people."""

import time
from typing import Any

from router import __version__
from router.cli.output import count, size


def headed(kind: str, figures: dict[str, Any]) -> dict[str, Any]:
    return {
        "measured": kind,
        "with": f"dicom-router {__version__}",
        "at": time.strftime("%Y-%m-%dT%H:%M:%S%z"),
        **figures,
    }


def load_lines(figures: dict[str, Any]) -> list[str]:
    lines = [
        f"{count(figures['stored'], 'object')} of {figures['objects']} stored ({size(figures['bytes'])}) "
        f"in {figures['seconds']:.2f} s: {_rates(figures)}",
        f"  response: {_latency(figures['response_ms'])}",
    ]
    if figures["asked"]["window"] > 1:
        lines.append(f"  window: {figures['window']} of {figures['asked']['window']} granted")
    if late := figures["generator_late_ms"]:
        lines.append(f"  of which the generator itself was late: {_latency(late)}")
    lines += [f"  {number} x {words}" for words, number in figures["answers"].items()]
    lines += [f"  {number} x association ended: {why}" for why, number in figures["associations_ended_early"].items()]
    if figures["unanswered"]:
        lines.append(f"  {count(figures['unanswered'], 'object')} unanswered")
    if figures["not_sent"]:
        lines.append(f"  {count(figures['not_sent'], 'object')} not sent: {figures['given_up']}")
    return lines


def passage_lines(figures: dict[str, Any]) -> list[str]:
    lines = [
        f"{count(figures['arrived'], 'object')} arrived in {figures['seconds']:.2f} s: {_rates(figures)}",
        f"  end to end: {_latency(figures['end_to_end_ms'])}",
        "into the router:",
        *(f"  {line}" for line in load_lines(figures["acknowledged"])),
    ]
    if figures["repeated"]:
        lines.append(f"{count(figures['repeated'], 'object')} arrived more than once")
    if not figures["missing"]:
        return [*lines, "nothing that was acknowledged is missing"]
    named = figures["missing_uids"]
    more = [f"  and {figures['missing'] - len(named)} more"] if len(named) < figures["missing"] else []
    words = f"{count(figures['missing'], 'object')} acknowledged and missing:"
    return [*lines, words, *(f"  {uid}" for uid in named), *more]


def arrival_lines(figures: dict[str, Any]) -> list[str]:
    """What `bench sink` has seen."""
    objects = count(figures["objects"], "object")
    return [f"{objects} ({size(figures['bytes'])}) in {figures['seconds']:.2f} s: {_rates(figures)}"]


def _rates(figures: dict[str, Any]) -> str:
    return f"{figures['objects_per_s']:,.1f} objects/s, {figures['megabytes_per_s']:,.1f} MB/s"


def _latency(figures: dict[str, Any]) -> str:
    if not figures["count"]:
        return "none"
    return ", ".join(f"{name} {figures[name]:.2f} ms" for name in ("p50", "p95", "p99", "max"))
