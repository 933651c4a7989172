"""`retrieve` by the running router: it fetches the instances, and sends them to one peer or through its routes."""

import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any, Final

import click
from attrs import asdict
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn

from router.cli.output import console, print_json, print_line
from router.cli.sources import InvalidRequest, RunningRouter
from router.services.retrieve.locate import Wanted

_LOOK_EVERY: Final = 0.2
"""Seconds between two looks at the progress."""


def fetch_by_router(router: RunningRouter, name: str, wanted: Wanted, to: str | None, *, as_json: bool) -> bool:
    """Have the router fetch, and follow it to its end; Ctrl-C cancels it. Return whether everything has come.

    Raises:
        UsageError: the router does not know a peer; exit code 2.
    """
    try:
        number = router.post("/api/retrieve", {"peer": name, "to": to, **asdict(wanted)})["conversation"]
    except InvalidRequest as error:
        raise click.UsageError(str(error)) from None
    path = f"/api/conversations/{number}"
    with progress_bar(quiet=as_json) as advance:
        while (state := _state(router, path, number))["live"]:
            counts = state["counts"]
            if counts:
                advance(sum(counts.values()) - counts["remaining"], sum(counts.values()))
    counts = state["counts"] or dict.fromkeys(("completed", "failed", "warning", "remaining"), 0)
    causes = [f"{one}: {record['cause']}" for one, record in state["archives"].items() if record["cause"]]
    if as_json:
        print_json({"conversation": number, "to": to, **counts, "words": state["status"], "causes": causes})
    else:
        numbers = ", ".join(f"{count} {kind}" for kind, count in counts.items())
        where = f"to {to}" if to is not None else "through the routes"
        print_line(f"fetched from {name} and sent {where}: {numbers} in {state['seconds']:.1f} s")
        print_line(f"  {state['status']}; see conversations show {number}, and queue list")
        for cause in causes:
            click.echo(cause, err=True)
    return bool(counts["completed"] or counts["warning"]) and not counts["failed"] and not counts["remaining"]


def _state(router: RunningRouter, path: str, number: int) -> dict[str, Any]:
    """Return the conversation, after a moment."""
    try:
        time.sleep(_LOOK_EVERY)
        state: dict[str, Any] = router.get(path)
    except KeyboardInterrupt:
        router.post("/api/retrieve/cancel", {"conversation": number})
        state = router.get(path)
    return state


@contextmanager
def progress_bar(*, quiet: bool) -> Iterator[Callable[[int, int], None]]:
    """Show a progress bar on a terminal; yield what tells it (done, of)."""
    if quiet or not sys.stdout.isatty():
        yield lambda done, of: None
        return
    columns = (TextColumn("retrieving"), BarColumn(bar_width=None), MofNCompleteColumn(), TimeElapsedColumn())
    with Progress(*columns, console=console(), transient=True) as progress:
        task = progress.add_task("", total=None)
        yield lambda done, of: progress.update(task, completed=done, total=of)
