"""From the generator through a router to the sink: which objects arrived, how long each took, what is missing.

Objects are recognized by their UIDs, and compared with what was sent by their CRC. Both are looked at when the load is
over, so that it costs nothing meanwhile.
"""

import time
from array import array
from collections.abc import Callable
from functools import cache
from typing import Final

from isal import isal_zlib

from router.tools.bench.generator import Generator
from router.tools.bench.objects import PIECE, Template
from router.tools.bench.processes import MachineUse
from router.tools.bench.results import NEVER
from router.tools.bench.sink import Sink

_POLL_EVERY: Final = 0.02
"""Seconds between two looks at the arrivals."""


class RouteBench:
    """The arrivals of a generator's objects at the other end of a route."""

    def __init__(self, generator: Generator, sink: Sink) -> None:
        self.generator = generator
        self.sink = sink
        self.machine = MachineUse()
        """From the first object to the last arrival."""
        self._seen = 0
        """Reports of arrivals that `_update` has counted."""
        self.arrived = array("d")
        """When each object arrived first, by its number; NEVER if it did not."""
        self.count = 0
        """Objects that arrived."""
        self.repeated = 0
        """Arrivals of objects that had arrived before."""
        self.unrelated = 0
        """Arrivals of objects that do not belong to this run."""
        self.changed = 0
        """Arrivals whose data set is not what was sent, or that arrived under another UID of this run."""

    def run(self, patience: float, watch: Callable[[], None] = lambda: None) -> None:
        """Send the load, and wait for what was acknowledged until nothing has arrived for `patience` seconds.

        Call `watch` meanwhile, as `Generator.run` does.

        Raises:
            BenchError: as `Generator.run`, or a process of the sink has failed.
        """

        def both() -> None:
            self.sink.receive()
            watch()

        self.machine.start()
        self.generator.run(both)
        self.arrived.extend([NEVER] * len(self.generator.results))
        self.sink.receive()
        self._update()
        last_arrival = time.monotonic()
        while self.count < self.generator.results.stored or self.missing():
            self.sink.receive(_POLL_EVERY)
            watch()
            if self._update():
                last_arrival = time.monotonic()
            elif time.monotonic() > last_arrival + patience:
                break
        self.machine.stop()

    def _update(self) -> int:
        """Count the arrivals since the last call, and return how many there were."""
        generator, new = self.generator, 0
        templates, mixture = generator.load.mixture.templates, generator.load.mixture
        for uid, at, length, crc in self.sink.arrivals(self._seen):
            new += 1
            number = generator.uids.number(uid)
            if number is None or not 0 <= number < len(self.arrived):
                self.unrelated += 1
                continue
            template = templates[mixture.index(number)]
            sent = crc_of(template, generator.uids.uid(number, template.uid_length))
            self.changed += (length, crc) != (template.length, sent)
            if self.arrived[number] != NEVER:
                self.repeated += 1
            else:
                self.arrived[number] = at
                self.count += 1
        self._seen = self.sink.reports
        return new

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


def crc_of(template: Template, uid: str) -> int:
    """Return the CRC-32 of the data set of a template under another UID."""
    before, after = _crc_around_uid(template)
    begin = isal_zlib.crc32(uid.encode(), before)
    return isal_zlib.crc32_combine(begin, after, template.length - template.uid_at - template.uid_length)


@cache
def _crc_around_uid(template: Template) -> tuple[int, int]:
    """Return the CRC-32 of what precedes the UID, and of what follows it."""

    def crc(begin: int, end: int) -> int:
        value = 0
        for at in range(begin, end, PIECE):
            value = isal_zlib.crc32(template.content.piece(at, min(PIECE, end - at)), value)
        return value

    return crc(0, template.uid_at), crc(template.uid_at + template.uid_length, template.length)
