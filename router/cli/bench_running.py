"""Running a measurement with a line on the terminal of what it is doing."""

import signal
import sys
import time
from collections.abc import Awaitable, Callable, Sequence
from typing import Final

import click
import trio
from rich.status import Status

from router.association import AssociationError
from router.cli.failing import CommandError
from router.cli.output import console
from router.tools.bench import Arrival, BenchError, Generator, RouteBench, Sink, percentile

_LOOK: Final = 0.25
"""Seconds between two numbers on the terminal."""
_REST: Final = 2.0
"""Seconds for associations to be released when all objects have come."""
_FOLLOW: Final = 0.02
"""Seconds between two looks at what has come, for whoever follows the sink."""


def run(made: Generator, work: Callable[[], Awaitable[None]], passage: RouteBench | None = None) -> None:
    """Run `work` to its end, with a line of what it is doing on a terminal."""

    async def watched() -> None:
        async with trio.open_nursery() as nursery:
            if sys.stdout.isatty():
                nursery.start_soon(_show, made, passage)
            await work()
            nursery.cancel_scope.cancel()

    fault = failure(watched)
    if fault is not None:
        raise CommandError(f"{made.target.host}:{made.target.port}: {fault}")


def failure(work: Callable[[], Awaitable[None]]) -> BaseException | None:
    """Run it; what of the world kept it from coming to its end, the first of several."""
    found: BaseException | None = None
    try:
        trio.run(work)
    except* (AssociationError, BenchError, OSError) as group:
        found = group
    while isinstance(found, BaseExceptionGroup):
        found = found.exceptions[0]
    return found


async def _show(made: Generator, passage: RouteBench | None) -> None:
    """What was answered since the last look, and how fast."""
    records = made.records
    answers = length = seen = arrived = 0
    now = time.monotonic()
    with Status("opening associations", console=console()) as status:
        while True:
            await trio.sleep(_LOOK)
            seconds, now = time.monotonic() - now, time.monotonic()
            recent = sorted(records.latencies(seen))
            words = (
                f"{records.answers} answered: {(records.answers - answers) / seconds:,.0f} objects/s, "
                f"{(records.bytes - length) / seconds / 1e6:,.1f} MB/s"
            )
            if recent:
                words += (
                    f", response p50 {percentile(recent, 50) * 1e3:.1f} ms, p99 {percentile(recent, 99) * 1e3:.1f} ms"
                )
            if passage is not None:
                passage.look()
                words += f"; {passage.count} arrived: {(passage.count - arrived) / seconds:,.0f}/s"
                arrived = passage.count
            status.update(words)
            answers, length, seen = records.answers, records.bytes, len(records)


async def serve(made: Sink, objects: int | None, follow: bool, aside: bool) -> None:
    """Until so many objects have come, or a signal says so. `aside`: standard output is for something else."""
    with trio.open_signal_receiver(signal.SIGINT, signal.SIGTERM) as signals:
        async with made.serving(), trio.open_nursery() as nursery:
            click.echo(f"ready {made.address}", err=aside)
            if follow:
                nursery.start_soon(_follow, made)
            elif sys.stdout.isatty() and not aside:
                nursery.start_soon(_count, made)

            async def on_signal() -> None:
                async for _ in signals:
                    nursery.cancel_scope.cancel()

            nursery.start_soon(on_signal)
            if objects is not None:
                await made.holds(objects)
                with trio.move_on_after(_REST):
                    await made.rests()
                nursery.cancel_scope.cancel()


async def _follow(made: Sink) -> None:
    """A line for each arrival, the last of them when it ends."""
    told = 0
    try:
        while True:
            await trio.sleep(_FOLLOW)
            if news := made.arrivals[told:]:
                told += len(news)
                await trio.to_thread.run_sync(_print, news)
    finally:
        _print(made.arrivals[told:])


def _print(arrivals: Sequence[Arrival]) -> None:
    sys.stdout.write("".join(f"{one.sop_instance_uid} {one.at!r} {one.length}\n" for one in arrivals))
    sys.stdout.flush()


async def _count(made: Sink) -> None:
    objects, length, now = 0, 0, time.monotonic()
    with Status("waiting", console=console()) as status:
        while True:
            await trio.sleep(_LOOK)
            seconds, now = time.monotonic() - now, time.monotonic()
            status.update(
                f"{len(made.arrivals)} objects: {(len(made.arrivals) - objects) / seconds:,.0f} objects/s, "
                f"{(made.bytes - length) / seconds / 1e6:,.1f} MB/s"
            )
            objects, length = len(made.arrivals), made.bytes
