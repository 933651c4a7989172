"""From the generator through a router to the sink: which objects arrived, how long each took, which are missing.

The sink is a process of its own, so that the two ends do not share an interpreter. It prints a line for each arrival;
objects are recognized by their UIDs.
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

_POLL_EVERY: Final = 0.02
"""Seconds between two looks at the arrivals."""
_START_DEADLINE: Final = 30.0
"""Seconds for the sink to be ready, and to end."""


class SinkProcess:
    """`dicom-router bench sink --follow` as a process."""

    def __init__(self, address: str, options: Sequence[str] = ()) -> None:
        """`address`: HOST:PORT to listen on. `options`: further options of the command."""
        self._command = [sys.executable, "-m", "router", "bench", "sink", address, "--follow", *options]
        self._lines = b""
        self.address = ""
        self.arrivals: list[tuple[str, float]] = []
        """SOP Instance UID and time of the last byte of each arrival, in order."""

    @asynccontextmanager
    async def serving(self) -> AsyncIterator[Self]:
        """Start the process, and end it when the block ends.

        Raises:
            BenchError: it does not start, or ends by itself.
        """
        process = await trio.lowlevel.open_process(self._command, stdout=subprocess.PIPE)
        assert process.stdout is not None
        try:
            with trio.move_on_after(_START_DEADLINE):
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
    with trio.move_on_after(_START_DEADLINE):
        await process.wait()
    if process.returncode is None:
        process.kill()
        await process.wait()
    if process.stdout is not None:
        await process.stdout.aclose()


class RouteBench:
    """The arrivals of a generator's objects at the other end of a route."""

    def __init__(self, generator: Generator, arrivals: list[tuple[str, float]]) -> None:
        self.generator = generator
        self._arrivals = arrivals
        self._seen = 0
        """Arrivals that `update` has counted."""
        self.arrived = array("d")
        """When each object arrived first, by its number; NEVER if it did not."""
        self.count = 0
        """Objects that arrived."""
        self.repeated = 0
        """Arrivals of objects that had arrived before."""
        self.unrelated = 0
        """Arrivals of objects that do not belong to this run."""

    def update(self) -> int:
        """Count the arrivals since the last call, and return how many there were."""
        new = self._arrivals[self._seen :]
        self._seen += len(new)
        self.arrived.extend([NEVER] * (len(self.generator.results) - len(self.arrived)))
        for uid, at in new:
            number = self.generator.uids.number(uid)
            if number is None or not 0 <= number < len(self.arrived):
                self.unrelated += 1
            elif self.arrived[number] != NEVER:
                self.repeated += 1
            else:
                self.arrived[number] = at
                self.count += 1
        return len(new)

    def missing(self) -> list[int]:
        """Return the objects that were acknowledged and have not arrived."""
        return [number for number in self.generator.results.numbers(stored=True) if self.arrived[number] == NEVER]

    def latencies(self) -> list[float]:
        """Return the seconds from when each object was due at the router to its last byte in the sink."""
        due = self.generator.results.due
        return [at - start for at, start in zip(self.arrived, due, strict=True) if at != NEVER]

    def span(self) -> tuple[float, float]:
        """Return when the first object was due, and when the last one arrived."""
        start, _ = self.generator.results.span()
        return start, max(max(self.arrived, default=NEVER), start)

    async def run(self, patience: float) -> None:
        """Send the load, and wait for what was acknowledged until nothing has arrived for `patience` seconds.

        Raises:
            AssociationError, BenchError: as `Generator.run`.
        """
        await self.generator.run()
        self.update()
        last_arrival = trio.current_time()
        while self.count < self.generator.results.stored or self.missing():
            await trio.sleep(_POLL_EVERY)
            if self.update():
                last_arrival = trio.current_time()
            elif trio.current_time() > last_arrival + patience:
                return
