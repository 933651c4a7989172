"""`status`: the state of the running router, or of the spool of a stopped one."""

from pathlib import Path
from typing import Any

import click

from router.cli.admin_client import admin_option
from router.cli.configuration import config_option
from router.cli.conversations import print_conversations
from router.cli.output import count, json_option, print_json, print_line, print_table, size
from router.cli.sources import open_source
from router.config import Endpoint


@click.command()
@admin_option
@json_option
@config_option
def status(config_path: Path, admin: Endpoint | None, as_json: bool) -> None:
    """Show the destinations with their deliveries, the open associations, and the spool."""
    now = open_source(config_path, admin).get("/api/status")
    if as_json:
        print_json({"running": True, **now})
        return
    _show_router(now)
    _show_destinations(now["destinations"])
    _show_associations(now.get("associations", []))
    if live := now.get("conversations"):
        print_conversations(live)
    if spool := now.get("spool"):
        _show_spool(spool)
    _show_steps(now.get("steps", {}))
    if dropped := now.get("log", {}).get("dropped_lines"):
        print_line(f"log: {count(dropped, 'line')} dropped because standard error failed or was not read")


def _show_router(now: dict[str, Any]) -> None:
    if not now.get("running", True):
        print_line(f"{now['ae_title']} is not running")
        return
    accepting = "accepting" if now["accepting"] else "NOT accepting"
    print_line(f"{now['ae_title']} {now['version']}, running for {_span(now['seconds'])}, {accepting}")


def _show_destinations(destinations: dict[str, dict[str, Any]]) -> None:
    if not destinations:
        print_line("no destinations")
        return
    numbers = ["waiting", "in_flight", "delivered", "held", "discarded"]
    if any("committed" in one for one in destinations.values()):
        numbers += ["committed", "gap"]
    rows = [
        (name or "(unrouted)", *(one.get(number, 0) for number in numbers), one.get("actor_stage", ""))
        for name, one in destinations.items()
    ]
    headings = ("destination", *(number.replace("_", " ") for number in numbers), "now")
    print_table(headings, rows, below=[_why(one) for one in destinations.values()])


def _why(numbers: dict[str, Any]) -> str:
    """Return why the destination is in its stage, and when it tries again."""
    parts = [numbers.get("actor_reason") or ""]
    if (next_try := numbers.get("actor_next_try")) is not None:
        parts.append(f"next try in {_span(next_try)}")
    return ": ".join(filter(None, parts))


def _show_associations(associations: list[dict[str, Any]]) -> None:
    if not associations:
        return
    rows = [
        (
            one["calling_ae"] or "(not yet known)",
            one["peer"],
            one["called_ae"] or "",
            one["messages"],
            size(one["data_set_bytes"]),
            _span(one["seconds"]),
        )
        for one in associations
    ]
    print_table(("calling", "peer", "called", "messages", "received", "open for"), rows)


def _show_spool(spool: dict[str, Any]) -> None:
    print_line(
        f"spool: {count(spool['unfinished'], 'unfinished message')}, {size(spool['bytes'])} in "
        f"{count(spool['segments'], 'segment')}, {size(spool['free'])} free on its disk"
    )
    if spool["damaged"]:
        print_line(f"spool: {count(spool['damaged'], 'damaged message')} found since the start; the log says more")


def _show_steps(steps: dict[str, int]) -> None:
    if steps.get("stale"):
        print_line(
            f"procedure steps: {steps['in_progress']} in progress, {steps['stale']} of them unchanged for longer"
            " than mpps.keep; see steps list --stale and steps discard"
        )


def _span(seconds: float) -> str:
    """Return a duration with its unit: "4.2 s", "3 min", "2.5 h", "9.1 d"."""
    for unit, length in (("d", 86400), ("h", 3600), ("min", 60)):
        if seconds >= 2 * length:
            return f"{seconds / length:.1f} {unit}"
    return f"{seconds:.1f} s"
