"""`bench`: figures worth quoting, of any storage SCP and any router.

`send` loads an SCP, `sink` is one, `route` is both with a router between them, `compare` sets this router beside
others. What it all means is in docs/performance.md.
"""

import os
import subprocess
import sys
from functools import partial
from pathlib import Path
from typing import Any

import click

import router
from router.cli.addressing import ae_options, target
from router.cli.bench_options import (
    behaviour,
    generator,
    json_option,
    load_options,
    put,
    seconds_of,
    sink_options,
    written_again,
)
from router.cli.bench_running import failure, run, serve
from router.cli.bench_words import arrival_lines, headed, load_lines, passage_lines
from router.cli.configuration import config_option, read_if_there
from router.cli.failing import EXIT_FAILED, CommandError
from router.config.identifiers import ae_title, listening
from router.tools.bench import RouteBench, Sink, SinkProcess, pass_through, report_arrivals, report_load, report_passage


@click.group(short_help="Measure throughput: any SCP, any router, and this one beside others.")
def bench() -> None:
    """Measure throughput: any SCP, any router, and this one beside others."""


@bench.command(short_help="Load a storage SCP.")
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
    """Load a storage SCP with C-STOREs: objects/s, MB/s, and how long each answer took."""
    config = read_if_there(config_path)
    made = generator(target(who, config, called=called, calling=calling), options, config.timeouts)
    run(made, made.run)
    figures = headed("send", report_load(made))
    put(figures, load_lines(figures), json_path)
    if figures["stored"] < figures["objects"] or figures["not_sent"]:
        ctx.exit(EXIT_FAILED)


@bench.command(short_help="Be a storage SCP that remembers what came, and when.")
@click.argument("address", metavar="[HOST:PORT]", default="127.0.0.1:0")
@click.option("--ae", "title", metavar="AE", default="SINK", help="Its AE title; whoever calls it by another may.")
@sink_options
@click.option("--objects", type=click.IntRange(1), help="End after so many objects; otherwise at Ctrl-C or SIGTERM.")
@click.option("--follow", is_flag=True, help="A line for each object: its SOP Instance UID, and the moment it came.")
@json_option
def sink(address: str, title: str, objects: int | None, follow: bool, json_path: Path | None, **options: Any) -> None:
    """Be a storage SCP that takes everything, and remembers when it came. The first line says where it listens."""
    try:
        endpoint, title = listening(address), ae_title(title)
    except ValueError as error:
        raise click.UsageError(str(error)) from None
    made = Sink(title, host=endpoint.host, port=endpoint.port, behaviour=behaviour(options))
    if fault := failure(partial(serve, made, objects, follow, json_path == Path("-"))):
        raise CommandError(f"{address}: {fault}")
    figures = headed("sink", report_arrivals(made))
    if follow and json_path is None:
        return
    put(figures, arrival_lines(figures), json_path)


@bench.command(short_help="Load a router, and follow each object to the sink behind it.")
@click.argument("who", metavar="NAME|HOST:PORT")
@click.option("--sink", "address", metavar="HOST:PORT", required=True, help="Where the router's objects come out.")
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
    """Load a router whose routes lead to the sink, which is started here: how long until each object is
    acknowledged, how long until it comes out, and whether any is missing."""
    config = read_if_there(config_path)
    made = generator(target(who, config, called=called, calling=calling), options, config.timeouts)
    end = SinkProcess(address, written_again(behaviour(options)))
    passage = RouteBench(made, end.arrivals)

    async def work() -> None:
        async with end.serving():
            await pass_through(made, passage, patience)

    run(made, work, passage)
    figures = headed("route", report_passage(passage))
    put(figures, passage_lines(figures), json_path)
    acknowledged = figures["acknowledged"]
    if figures["missing"] or acknowledged["stored"] < acknowledged["objects"] or acknowledged["not_sent"]:
        ctx.exit(EXIT_FAILED)


@bench.command(
    short_help="Set this router beside others (source checkout).",
    context_settings={"ignore_unknown_options": True},
    add_help_option=False,
)
@click.argument("arguments", nargs=-1, type=click.UNPROCESSED)
@click.pass_context
def compare(ctx: click.Context, arguments: tuple[str, ...]) -> None:
    """Set this router beside others, in turn in one run; --help says how. Only in a source checkout."""
    source = Path(router.__file__).resolve().parents[1]
    if not (source / "benchmarks" / "__main__.py").is_file():
        raise CommandError("the comparison needs a source checkout of dicom-router: its folder benchmarks is not here")
    command = [sys.executable, "-m", "benchmarks", *arguments]
    ctx.exit(subprocess.run(command, env=os.environ | {"PYTHONPATH": str(source)}, check=False).returncode)
