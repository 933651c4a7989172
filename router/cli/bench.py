"""`bench`: measure any storage SCP and any router.

`send` loads an SCP, `sink` is one, `route` is both with a router between them, `compare` measures this router side by
side with others. docs/performance.md explains the figures.
"""

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from contextlib import ExitStack
from pathlib import Path
from typing import Any, Final

import click
from rich.status import Status

import router
from router import __version__
from router.cli.addressing import ae_options, remote_ae
from router.cli.bench_conversation import find, retrieve
from router.cli.bench_options import (
    behaviour,
    generator,
    json_option,
    load_options,
    seconds_of,
    sink_options,
    write_figures,
)
from router.cli.configuration import config_option, read_optional_config
from router.cli.errors import EXIT_FAILED, CommandError
from router.cli.output import console, count, size
from router.config import Endpoint
from router.config.identifiers import ae_title, listening
from router.tools.bench import (
    BenchError,
    Generator,
    RouteBench,
    Sink,
    interpreter,
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
    _run(load.run, load)
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
@click.option("--crc", is_flag=True, help="Add the CRC-32 of the data set to the lines of --follow.")
@json_option
def sink(
    address: str, title: str, objects: int | None, follow: bool, crc: bool, json_path: Path | None, **options: Any
) -> None:  # fmt: skip
    """Run a storage SCP that accepts everything, and records when it arrived.

    The first line of output says where it listens.
    """
    endpoint = _endpoint(address)
    try:
        ae_title(title)
    except ValueError as error:
        raise click.UsageError(str(error)) from None
    scp = Sink(host=endpoint.host, port=endpoint.port, behaviour=behaviour(options))
    quiet = json_path == Path("-")
    try:
        with ExitStack() as stack:
            stack.enter_context(scp.serving())
            click.echo(f"ready {scp.address}", err=quiet)
            show = None
            if follow:
                show = _Follower(scp, crc=crc).update
                stack.callback(show)  # the last ones too
            elif sys.stdout.isatty() and not quiet:
                show = _Arrivals(scp, stack.enter_context(Status("waiting", console=console()))).update
            _serve(scp, objects, show)
    except (BenchError, OSError) as error:
        raise CommandError(f"{address}: {error}") from None
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
    endpoint = _endpoint(address)
    measured = RouteBench(load, Sink(host=endpoint.host, port=endpoint.port, behaviour=behaviour(options)))

    def work(watch: Callable[[], None]) -> None:
        with measured.sink.serving():
            measured.run(patience, watch)

    _run(work, load, measured)
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


bench.add_command(find)
bench.add_command(retrieve)


def _endpoint(address: str) -> Endpoint:
    try:
        return listening(address)
    except ValueError as error:
        raise click.UsageError(str(error)) from None


# Running, with a line of progress on a terminal


def _run(work: Callable[[Callable[[], None]], None], load: Generator, route: RouteBench | None = None) -> None:
    """Run `work` to its end, and show progress on a terminal."""
    with ExitStack() as stack:
        watch = _Progress(stack, load, route).update if sys.stdout.isatty() else lambda: None
        try:
            work(watch)
        except (BenchError, OSError) as error:
            raise CommandError(f"{load.target.host}:{load.target.port}: {error}") from None


class _Progress:
    """A line that says what was answered since the last update, and how fast."""

    def __init__(self, stack: ExitStack, load: Generator, route: RouteBench | None) -> None:
        self._stack, self._load, self._route = stack, load, route
        self._status: Status | None = None
        self._updated = time.monotonic()
        self._answers = self._bytes = self._reports = self._arrived = 0

    def update(self) -> None:
        """Update the line, if the last time is long enough ago."""
        seconds = time.monotonic() - self._updated
        if seconds < _SHOW_EVERY:
            return
        if self._status is None:  # its thread starts after the processes have been forked
            self._status = self._stack.enter_context(Status("", console=console()))
        recent, reports = self._load.recent(self._reports)
        self._answers += recent.answers
        line = (
            f"{self._answers} answered: {recent.answers / seconds:,.0f} objects/s, "
            f"{recent.bytes / seconds / 1e6:,.1f} MB/s"
        )
        if latencies := sorted(recent.latencies()):
            p50, p99 = (percentile(latencies, percent) * 1e3 for percent in (50, 99))
            line += f", response p50 {p50:.1f} ms, p99 {p99:.1f} ms"
        if self._route is not None:
            arrived = self._route.sink.count
            line += f"; {arrived} arrived: {(arrived - self._arrived) / seconds:,.0f}/s"
            self._arrived = arrived
        self._status.update(line)
        self._updated, self._reports = self._updated + seconds, reports


def _serve(scp: Sink, objects: int | None, show: Callable[[], None] | None) -> None:
    """Serve until `objects` have arrived, or until a signal; call `show` meanwhile."""
    stopped = False

    def on_signal(*_: object) -> None:
        nonlocal stopped
        stopped = True

    before = {number: signal.signal(number, on_signal) for number in (signal.SIGINT, signal.SIGTERM)}
    try:
        while not stopped and (objects is None or scp.count < objects):
            scp.receive(_FOLLOW_EVERY)
            if show is not None:
                show()
        deadline = time.monotonic() + _RELEASE_DEADLINE
        while not stopped and scp.open and time.monotonic() < deadline:
            scp.receive(_FOLLOW_EVERY)
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


class _Follower:
    """A line for each arrival."""

    def __init__(self, scp: Sink, *, crc: bool) -> None:
        self._scp, self._crc = scp, crc
        self._printed = 0
        """Reports of arrivals that are printed."""

    def update(self) -> None:
        """Print the arrivals since the last update."""
        new, self._printed = self._scp.arrivals(self._printed), self._scp.reports
        for one in new:
            sys.stdout.write(
                f"{one.sop_instance_uid} {one.at!r} {one.length}{f' {one.crc:08x}' if self._crc else ''}\n"
            )
        sys.stdout.flush()


class _Arrivals:
    """A line that says what arrived since the last update, and how fast."""

    def __init__(self, scp: Sink, status: Status) -> None:
        self._scp, self._status = scp, status
        self._objects, self._bytes, self._updated = 0, 0, time.monotonic()

    def update(self) -> None:
        """Update the line, if the last time is long enough ago."""
        scp, seconds = self._scp, time.monotonic() - self._updated
        if seconds < _SHOW_EVERY:
            return
        self._status.update(
            f"{scp.count} objects: {(scp.count - self._objects) / seconds:,.0f} objects/s, "
            f"{(scp.bytes - self._bytes) / seconds / 1e6:,.1f} MB/s"
        )
        self._objects, self._bytes, self._updated = scp.count, scp.bytes, self._updated + seconds


# Figures as lines


def _with_heading(kind: str, figures: dict[str, Any]) -> dict[str, Any]:
    return {
        "measured": kind,
        "with": f"dicom-router {__version__}",
        "python": interpreter(),
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
    lines += _cpu_lines(figures, "generator")
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
        *_cpu_lines(figures, "sink"),
        "into the router:",
        *(f"  {line}" for line in _load_lines(figures["acknowledged"])),
    ]
    if figures["repeated"]:
        lines.append(f"{count(figures['repeated'], 'object')} arrived more than once")
    if figures["changed"]:
        lines.append(f"{count(figures['changed'], 'object')} arrived with other contents than were sent")
    if not figures["missing"]:
        return [*lines, "nothing that was acknowledged is missing"]
    named = figures["missing_uids"]
    more = [f"  and {figures['missing'] - len(named)} more"] if len(named) < figures["missing"] else []
    heading = f"{count(figures['missing'], 'object')} acknowledged and missing:"
    return [*lines, heading, *(f"  {uid}" for uid in named), *more]


def _arrival_lines(figures: dict[str, Any]) -> list[str]:
    objects = count(figures["objects"], "object")
    return [f"{objects} ({size(figures['bytes'])}) in {figures['seconds']:.2f} s: {_rates(figures)}"]


def _cpu_lines(figures: dict[str, Any], part: str) -> list[str]:
    """Describe the CPU of a part of the measurement, and what was the limit if it was not what is measured."""
    cpu, machine = figures[part], figures["machine"]
    if cpu["cpu_us_per_object"] is None:
        return []
    line = f"  CPU of the {part}: {cpu['cpu_us_per_object']:,.0f} us an object"
    if machine["cores_left"] is not None:
        line += f"; of {machine['cores']} cores, {machine['cores_left']:.2f} were left"
    return [line, *([f"  the limit was the {figures['limit']}"] if figures["limit"] else [])]


def _rates(figures: dict[str, Any]) -> str:
    return f"{figures['objects_per_s']:,.1f} objects/s, {figures['megabytes_per_s']:,.1f} MB/s"


def _latency(figures: dict[str, Any]) -> str:
    if not figures["count"]:
        return "none"
    return ", ".join(f"{name} {figures[name]:.2f} ms" for name in ("p50", "p95", "p99", "max"))
