"""`demo`: show the router at work, in this process and a temporary folder."""

import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Final

import click
import structlog
import trio
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn

from router.cli.configuration import config_option, read_config
from router.cli.errors import EXIT_FAILED
from router.cli.output import console, count, print_line, print_table, size
from router.config import Config, Route
from router.tools.demo import (
    DemoResult,
    Line,
    LineKind,
    run_commitment_demo,
    run_query_demo,
    run_steps_demo,
    run_storage_demo,
    write_objects,
)
from router.tools.send import Instance

_IMAGES: Final = 20
"""Images of the series that belong to the procedure step."""
_RETRIEVED: Final = 60
"""Images of the series that the two archives have."""
_NOTIFICATIONS: Final = 6
"""Messages that two RIS receive: the beginning of the step, its end, and that its images are available."""


@click.command()
@config_option
@click.option(
    "--objects",
    type=click.IntRange(1, 100_000),
    default=500,
    show_default=True,
    help="Number of objects of the CT series.",
)
@click.pass_context
def demo(ctx: click.Context, config_path: Path, objects: int) -> None:
    """Route real objects through the router of the configuration, to simulated archives on this machine."""
    config = read_config(config_path)
    structlog.configure(wrapper_class=structlog.make_filtering_bound_logger(50))
    with tempfile.TemporaryDirectory(prefix="dicom-router-demo-") as folder:
        result, images = _run_storage(config, objects, Path(folder))
        lines = trio.run(run_steps_demo, images[:_IMAGES], Path(folder))
        reports = trio.run(run_commitment_demo, images[:_IMAGES], Path(folder))
        retrieved = trio.run(run_query_demo, images[: min(_RETRIEVED, max(objects, 3))], Path(folder))
    _show(config, result)
    _show_lines(lines, "A procedure step, accepted once, relayed in order to two RIS, one of which was down")
    _show_lines(reports, "Storage commitment: both archives must commit, and one has lost an image")
    _show_lines(retrieved, "A query over two archives, and a retrieve to a workstation that neither knows")
    notified = sum(line.kind is LineKind.NOTIFICATION for line in lines)
    failures = sum(line.kind is LineKind.FAILURES_REPORTED for line in reports)
    has_images = any(line.kind is LineKind.RETRIEVED for line in retrieved)
    if not _is_complete(result) or (notified, failures) != (_NOTIFICATIONS, 1) or not has_images:
        print_line("Not everything arrived as it was sent: see above.")
        ctx.exit(EXIT_FAILED)
    print_line("Everything that was acknowledged is where its routes say, byte for byte.")
    print_line("The folder of the demo is removed.")


def _run_storage(config: Config, objects: int, folder: Path) -> tuple[DemoResult, list[Instance]]:
    columns = (TextColumn("{task.description:>14}"), BarColumn(), MofNCompleteColumn(), TimeElapsedColumn())
    with Progress(*columns, console=console()) as progress:
        tasks: dict[str, Any] = {}

        def show_progress(what: str, done: int, of: int) -> None:
            if what not in tasks:
                tasks[what] = progress.add_task(what, total=of)
            progress.update(tasks[what], completed=done, total=of)

        (folder / "series").mkdir()
        instances = write_objects(folder / "series", objects, lambda done: show_progress("written", done, objects))
        return trio.run(run_storage_demo, config, instances, folder, show_progress), instances


def _show(config: Config, result: DemoResult) -> None:
    print_table(
        ["route", "when", "to"],
        [(route.name, _conditions(route), ", ".join(route.to)) for route in config.routes],
        title="Routes",
    )
    numbers = ("accepted", "delivered", "waiting", "in_flight", "held", "discarded")
    print_table(
        ["destination", *numbers],
        [(name or "unrouted", *(n[key] for key in numbers)) for name, n in result.destinations.items()],
        title="What the router says",
    )
    print_table(
        ["archive", "objects", "transfer syntaxes", "byte for byte"],
        [(a.name, a.objects, a.transfer_syntaxes, f"{a.identical} of {a.objects}") for a in result.archives],
        title="What the archives have",
    )
    if result.refused:
        print_table(["refused, and why", "objects"], list(result.refused.items()))
    deliveries = sum(n["delivered"] for n in result.destinations.values())
    rate = result.objects / result.acknowledged_seconds
    print_line(
        f"{count(result.objects, 'object')} ({size(result.sent_bytes)}) were on the disk and acknowledged "
        f"after {result.acknowledged_seconds:.2f} s: {rate:.0f}/s."
    )
    rate = deliveries / result.delivered_seconds
    print_line(
        f"{count(deliveries, 'delivery', 'deliveries')} were made after {result.delivered_seconds:.2f} s: {rate:.0f}/s."
    )
    print_line("Sender, router and archives share this machine.\n")


def _show_lines(lines: Sequence[Line], title: str) -> None:
    rows = [(f"{line.seconds:.2f}", line.who, line.what) for line in lines]
    print_table(["seconds", "who", "what"], rows, title=title)


def _conditions(route: Route) -> str:
    return "; ".join(f"{one.key} = {', '.join(map(str, one.values))}" for one in route.when) or "always"


def _is_complete(result: DemoResult) -> bool:
    undelivered = any(n["accepted"] != n["delivered"] for n in result.destinations.values())
    arrived = sum(archive.objects for archive in result.archives)
    delivered = sum(n["delivered"] for n in result.destinations.values())
    identical = all(archive.identical == archive.objects for archive in result.archives)
    return not undelivered and identical and bool(delivered) and arrived == delivered
