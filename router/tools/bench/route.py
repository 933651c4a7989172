"""From the generator through a router to the sink: what came, how long it took, and what is missing.

The sink is a process of its own, so that the two ends do not share an interpreter; it tells each arrival by a line,
and the objects are known again by their UIDs.
"""

import signal
import subprocess
import sys
from array import array
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from typing import Final, Self

import trio

from router.tools.bench.errors import BenchError
from router.tools.bench.load import Generator
from router.tools.bench.results import NEVER

READY: Final = "ready"
"""The first word of a sink's first line; its address is the second."""

_LOOK: Final = 0.02
"""Seconds between two looks at what has come."""
_START: Final = 30.0
"""Seconds for the sink to be ready, and to end."""


class SinkProcess:
    """`dicom-router bench sink --follow`, started when entered and ended when left."""

    def __init__(self, address: str, options: Sequence[str] = ()) -> None:
        """`address`: HOST:PORT to listen on. `options`: more of the command line."""
        self._command = [sys.executable, "-m", "router", "bench", "sink", address, "--follow", *options]
        self._lines = b""
        self.address = ""
        self.arrivals: list[tuple[str, float]] = []
        """(SOP Instance UID, when its last byte was in), as they came."""

    @asynccontextmanager
    async def serving(self) -> AsyncIterator[Self]:
        """Serve while the block lasts.

        Raises:
            BenchError: it does not start.
        """
        process = await trio.lowlevel.open_process(self._command, stdout=subprocess.PIPE)
        assert process.stdout is not None
        try:
            with trio.move_on_after(_START):
                while not self.address and (data := await process.stdout.receive_some()):
                    self._read(data)
            if not self.address:
                raise BenchError("the sink did not start: see above")
            async with trio.open_nursery() as nursery:
                nursery.start_soon(self._follow, process.stdout)
                yield self
                nursery.cancel_scope.cancel()
        finally:
            with trio.CancelScope(shield=True):
                await _end(process)

    async def _follow(self, stdout: trio.abc.ReceiveStream) -> None:
        while data := await stdout.receive_some():
            self._read(data)
        raise BenchError("the sink has ended: see above")

    def _read(self, data: bytes | bytearray) -> None:
        *lines, self._lines = (self._lines + data).split(b"\n")
        for line in lines:
            first, second = line.decode("ascii", "replace").split(" ")[:2]
            if self.address:
                self.arrivals.append((first, float(second)))
            elif first == READY:
                self.address = second


async def _end(process: trio.Process) -> None:
    if process.returncode is None:
        process.send_signal(signal.SIGTERM)
    with trio.move_on_after(_START):
        await process.wait()
    if process.returncode is None:
        process.kill()
        await process.wait()
    if process.stdout is not None:
        await process.stdout.aclose()


class RouteBench:
    """What became of the objects of a generator at the other end."""

    def __init__(self, generator: Generator, arrivals: list[tuple[str, float]]) -> None:
        self.generator = generator
        self._arrivals = arrivals
        self._seen = 0
        self.arrived = array("d")
        """When each object came for the first time, by its number; NEVER where it did not."""
        self.count = 0
        """Objects that came."""
        self.repeated = 0
        """Arrivals of objects that had come before."""
        self.strangers = 0
        """Arrivals of objects that are none of this run's."""

    def look(self) -> int:
        """Take in what has come since the last look; how much that was."""
        news = self._arrivals[self._seen :]
        self._seen += len(news)
        self.arrived.extend([NEVER] * (len(self.generator.records) - len(self.arrived)))
        for uid, at in news:
            number = self.generator.uids.number(uid)
            if number is None or not 0 <= number < len(self.arrived):
                self.strangers += 1
            elif self.arrived[number] != NEVER:
                self.repeated += 1
            else:
                self.arrived[number] = at
                self.count += 1
        return len(news)

    def missing(self) -> list[int]:
        """The objects that were acknowledged and have not come."""
        return [number for number in self.generator.records.numbers(stored=True) if self.arrived[number] == NEVER]

    def latencies(self) -> list[float]:
        """Seconds from when each object was due at the router to its last byte in the sink."""
        due = self.generator.records.due
        return [at - start for at, start in zip(self.arrived, due, strict=True) if at != NEVER]

    def span(self) -> tuple[float, float]:
        """When the first object was due, and when the last one came."""
        start, _ = self.generator.records.span()
        return start, max(max(self.arrived, default=NEVER), start)


async def pass_through(generator: Generator, passage: RouteBench, patience: float) -> None:
    """Send all, and wait until all that was acknowledged has come, or nothing has for `patience` seconds.

    Raises:
        AssociationError, BenchError: as `Generator.run`.
    """
    await generator.run()
    passage.look()
    rest = trio.current_time()
    while passage.count < generator.records.taken or passage.missing():
        await trio.sleep(_LOOK)
        if passage.look():
            rest = trio.current_time()
        elif trio.current_time() > rest + patience:
            return
