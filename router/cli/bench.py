"""`bench`: measure any storage SCP and any router.

`send` loads an SCP, `sink` is one, `route` is both with a router between them, `compare` measures this router side by
side with others. docs/performance.md explains the figures.
"""

import os
import signal
import subprocess
import sys
import time
from collections.abc import Awaitable, Callable, Sequence
from functools import partial
from pathlib import Path
from typing import Any, Final

import click
import trio
from rich.status import Status

import router
from router import __version__
from router.association import AssociationError
from router.cli.addressing import ae_options, remote_ae
from router.cli.bench_options import (
    behaviour,
    generator,
    json_option,
    load_options,
    seconds_of,
    sink_arguments,
    sink_options,
    write_figures,
)
from router.cli.configuration import config_option, read_optional_config
from router.cli.errors import EXIT_FAILED, CommandError
from router.cli.output import console, count, size
from router.config.identifiers import ae_title, listening
from router.tools.bench import (
    Arrival,
    BenchError,
    Generator,
    RouteBench,
    Sink,
    SinkProcess,
    percentile,
    report_arrivals,
    report_load,
    report_route,
)

_SHOW_EVERY: Final = 0.25
"""Seconds between two updates of the terminal."""
_FOLLOW_EVERY: Final = 0.02
"""Seconds between two looks at the arrivals, with --follow."""
_RELEASE_DEADLINE: Final = 2.0
"""Seconds for associations to be released after the last object."""


@click.group(short_help="Measure the throughput of any SCP and any router.")
def bench() -> None:
    """Measure the throughput of any SCP and any router, and compare this router with others."""


@bench.command(short_help="Load a storage SCP with C-STORE requests.")
@click.argument("who", metavar="NAME|HOST:PORT")
@ae_options
@load_options
@json_option
@config_option
@click.pass_context
def send(
    ctx: click.Context, /, who: str, called: str | None, calling: str | None, json_path: Path | None,
    config_path: Path, **options: Any,
) -> None:  # fmt: skip
    """Load a storage SCP with C-STORE requests, and show objects/s, MB/s and response times."""
    config = read_optional_config(config_path)
    load = generator(remote_ae(who, config, called=called, calling=calling), options, config.timeouts)
    _run(load, load.run)
    figures = _with_heading("send", report_load(load))
    write_figures(figures, _load_lines(figures), json_path)
    if figures["stored"] < figures["objects"] or figures["not_sent"]:
        ctx.exit(EXIT_FAILED)


@bench.command(short_help="Run a storage SCP that records what arrives, and when.")
@click.argument("address", metavar="[HOST:PORT]", default="127.0.0.1:0")
@click.option("--ae", "title", metavar="AE", default="SINK", help="AE title to show; any called AE title is accepted.")
@sink_options
@click.option("--objects", type=click.IntRange(1), help="End after this many objects; otherwise at Ctrl-C or SIGTERM.")
@click.option("--follow", is_flag=True, help="Print a line for each object: SOP Instance UID, time of arrival, length.")
@json_option
def sink(address: str, title: str, objects: int | None, follow: bool, json_path: Path | None, **options: Any) -> None:
    """Run a storage SCP that accepts everything, and records when it arrived.

    The first line of output says where it listens.
    """
    try:
        endpoint, title = listening(address), ae_title(title)
    except ValueError as error:
        raise click.UsageError(str(error)) from None
    scp = Sink(title, host=endpoint.host, port=endpoint.port, behaviour=behaviour(options))
    if fault := _first_fault(partial(_serve, scp, objects, follow, json_path == Path("-"))):
        raise CommandError(f"{address}: {fault}")
    figures = _with_heading("sink", report_arrivals(scp))
    if follow and json_path is None:
        return
    write_figures(figures, _arrival_lines(figures), json_path)


@bench.command(short_help="Load a router, and follow each object to a sink behind it.")
@click.argument("who", metavar="NAME|HOST:PORT")
@click.option(
    "--sink", "address", metavar="HOST:PORT", required=True, help="Destination of the router's routes; started here."
)
@ae_options
@load_options
@sink_options
@click.option(
    "--patience",
    metavar="TIME",
    default="30s",
    show_default=True,
    callback=seconds_of,
    help="How long to wait for an object that is missing.",
)
@json_option
@config_option
@click.pass_context
def route(
    ctx: click.Context, /, who: str, address: str, called: str | None, calling: str | None, patience: float,
    json_path: Path | None, config_path: Path, **options: Any,
) -> None:  # fmt: skip
    """Load a router whose routes lead to a sink that this command starts.

    Show how long each object took to be acknowledged and to arrive, and which are missing.
    """
    config = read_optional_config(config_path)
    load = generator(remote_ae(who, config, called=called, calling=calling), options, config.timeouts)
    end = SinkProcess(address, sink_arguments(behaviour(options)))
    measured = RouteBench(load, end.arrivals)

    async def work() -> None:
        async with end.serving():
            await measured.run(patience)

    _run(load, work, measured)
    figures = _with_heading("route", report_route(measured))
    write_figures(figures, _route_lines(figures), json_path)
    acknowledged = figures["acknowledged"]
    if figures["missing"] or acknowledged["stored"] < acknowledged["objects"] or acknowledged["not_sent"]:
        ctx.exit(EXIT_FAILED)


@bench.command(
    short_help="Compare this router with others (source checkout only).",
    context_settings={"ignore_unknown_options": True},
    add_help_option=False,
)
@click.argument("arguments", nargs=-1, type=click.UNPROCESSED)
@click.pass_context
def compare(ctx: click.Context, arguments: tuple[str, ...]) -> None:
    """Compare this router with others, in turn in one run (source checkout only); --help lists the options."""
    source = Path(router.__file__).resolve().parents[1]
    if not (source / "benchmarks" / "__main__.py").is_file():
        raise CommandError("the comparison needs a source checkout of dicom-router: there is no folder benchmarks here")
    command = [sys.executable, "-m", "benchmarks", *arguments]
    ctx.exit(subprocess.run(command, env=os.environ | {"PYTHONPATH": str(source)}, check=False).returncode)


# Running, with a line of progress on a terminal


def _run(load: Generator, work: Callable[[], Awaitable[None]], route: RouteBench | None = None) -> None:
    """Run `work` to its end, and show progress on a terminal."""

    async def watched() -> None:
        async with trio.open_nursery() as nursery:
            if sys.stdout.isatty():
                nursery.start_soon(_show_load, load, route)
            await work()
            nursery.cancel_scope.cancel()

    fault = _first_fault(watched)
    if fault is not None:
        raise CommandError(f"{load.target.host}:{load.target.port}: {fault}")


def _first_fault(work: Callable[[], Awaitable[None]]) -> BaseException | None:
    """Run `work`, and return the first error of the network, the disk or the measurement that ended it."""
    found: BaseException | None = None
    try:
        trio.run(work)
    except* (AssociationError, BenchError, OSError) as group:
        found = group
    while isinstance(found, BaseExceptionGroup):
        found = found.exceptions[0]
    return found


async def _show_load(load: Generator, route: RouteBench | None) -> None:
    """Show what was answered since the last update, and how fast."""
    results = load.results
    answers = length = seen = arrived = 0
    now = time.monotonic()
    with Status("opening associations", console=console()) as status:
        while True:
            await trio.sleep(_SHOW_EVERY)
            seconds, now = time.monotonic() - now, time.monotonic()
            recent = sorted(results.latencies(seen))
            line = (
                f"{results.answers} answered: {(results.answers - answers) / seconds:,.0f} objects/s, "
                f"{(results.bytes - length) / seconds / 1e6:,.1f} MB/s"
            )
            if recent:
                p50, p99 = (percentile(recent, percent) * 1e3 for percent in (50, 99))
                line += f", response p50 {p50:.1f} ms, p99 {p99:.1f} ms"
            if route is not None:
                route.update()
                line += f"; {route.count} arrived: {(route.count - arrived) / seconds:,.0f}/s"
                arrived = route.count
            status.update(line)
            answers, length, seen = results.answers, results.bytes, len(results)


async def _serve(scp: Sink, objects: int | None, follow: bool, json_on_stdout: bool) -> None:
    """Serve until `objects` have arrived, or until a signal."""
    with trio.open_signal_receiver(signal.SIGINT, signal.SIGTERM) as signals:
        async with scp.serving(), trio.open_nursery() as nursery:
            click.echo(f"ready {scp.address}", err=json_on_stdout)
            if follow:
                nursery.start_soon(_follow, scp)
            elif sys.stdout.isatty() and not json_on_stdout:
                nursery.start_soon(_show_arrivals, scp)

            async def on_signal() -> None:
                async for _ in signals:
                    nursery.cancel_scope.cancel()

            nursery.start_soon(on_signal)
            if objects is not None:
                await scp.wait_for_arrivals(objects)
                with trio.move_on_after(_RELEASE_DEADLINE):
                    await scp.wait_until_idle()
                nursery.cancel_scope.cancel()


async def _follow(scp: Sink) -> None:
    """Print a line for each arrival; the last ones when cancelled."""
    printed = 0
    try:
        while True:
            await trio.sleep(_FOLLOW_EVERY)
            if new := scp.arrivals[printed:]:
                printed += len(new)
                await trio.to_thread.run_sync(_print_arrivals, new)
    finally:
        _print_arrivals(scp.arrivals[printed:])


def _print_arrivals(arrivals: Sequence[Arrival]) -> None:
    sys.stdout.write("".join(f"{one.sop_instance_uid} {one.at!r} {one.length}\n" for one in arrivals))
    sys.stdout.flush()


async def _show_arrivals(scp: Sink) -> None:
    objects, length, now = 0, 0, time.monotonic()
    with Status("waiting", console=console()) as status:
        while True:
            await trio.sleep(_SHOW_EVERY)
            seconds, now = time.monotonic() - now, time.monotonic()
            status.update(
                f"{len(scp.arrivals)} objects: {(len(scp.arrivals) - objects) / seconds:,.0f} objects/s, "
                f"{(scp.bytes - length) / seconds / 1e6:,.1f} MB/s"
            )
            objects, length = len(scp.arrivals), scp.bytes


# Figures as lines


def _with_heading(kind: str, figures: dict[str, Any]) -> dict[str, Any]:
    return {
        "measured": kind,
        "with": f"dicom-router {__version__}",
        "at": time.strftime("%Y-%m-%dT%H:%M:%S%z"),
        **figures,
    }


def _load_lines(figures: dict[str, Any]) -> list[str]:
    lines = [
        f"{count(figures['stored'], 'object')} of {figures['objects']} stored ({size(figures['bytes'])}) "
        f"in {figures['seconds']:.2f} s: {_rates(figures)}",
        f"  response: {_latency(figures['response_ms'])}",
    ]
    if figures["asked"]["window"] > 1:
        lines.append(f"  window: {figures['window']} of {figures['asked']['window']} granted")
    if late := figures["generator_late_ms"]:
        lines.append(f"  of which the generator itself was late: {_latency(late)}")
    lines += [f"  {number} x {status}" for status, number in figures["answers"].items()]
    lines += [f"  {number} x association ended: {why}" for why, number in figures["associations_ended_early"].items()]
    if figures["unanswered"]:
        lines.append(f"  {count(figures['unanswered'], 'object')} unanswered")
    if figures["not_sent"]:
        lines.append(f"  {count(figures['not_sent'], 'object')} not sent: {figures['given_up']}")
    return lines


def _route_lines(figures: dict[str, Any]) -> list[str]:
    lines = [
        f"{count(figures['arrived'], 'object')} arrived in {figures['seconds']:.2f} s: {_rates(figures)}",
        f"  end to end: {_latency(figures['end_to_end_ms'])}",
        "into the router:",
        *(f"  {line}" for line in _load_lines(figures["acknowledged"])),
    ]
    if figures["repeated"]:
        lines.append(f"{count(figures['repeated'], 'object')} arrived more than once")
    if not figures["missing"]:
        return [*lines, "nothing that was acknowledged is missing"]
    named = figures["missing_uids"]
    more = [f"  and {figures['missing'] - len(named)} more"] if len(named) < figures["missing"] else []
    heading = f"{count(figures['missing'], 'object')} acknowledged and missing:"
    return [*lines, heading, *(f"  {uid}" for uid in named), *more]


def _arrival_lines(figures: dict[str, Any]) -> list[str]:
    objects = count(figures["objects"], "object")
    return [f"{objects} ({size(figures['bytes'])}) in {figures['seconds']:.2f} s: {_rates(figures)}"]


def _rates(figures: dict[str, Any]) -> str:
    return f"{figures['objects_per_s']:,.1f} objects/s, {figures['megabytes_per_s']:,.1f} MB/s"


def _latency(figures: dict[str, Any]) -> str:
    if not figures["count"]:
        return "none"
    return ", ".join(f"{name} {figures[name]:.2f} ms" for name in ("p50", "p95", "p99", "max"))
