"""The result of each object by its number: a few plain numbers each, so that a million of them fit into memory."""

import struct
from array import array
from collections import Counter
from collections.abc import Iterator
from typing import Final

from router.dimse import StatusClass, describe, status_class
from router.tools.bench.load import Mixture

NEVER: Final = -1.0
"""In place of a time."""
UNANSWERED: Final = -1
"""In place of a status."""
RECORD: Final = struct.Struct("<qdddi")
"""The result of an object as a process of the generator tells it: its number; when it was due, begun and answered; its
status."""


class Results:
    """Results of the objects of one run, numbered from 0. Times are seconds of the monotonic clock."""

    def __init__(self, mixture: Mixture) -> None:
        self._mixture = mixture
        self.due = array("d")
        """When each object was due to be sent: its latency counts from here. Sending began then, or later."""
        self.begun = array("d")
        """When its first byte was sent; NEVER if none was."""
        self.answered = array("d")
        """When its response was received; NEVER if none was."""
        self.status = array("l")
        """The status of its response; UNANSWERED without one."""
        self.sent = 0
        """Objects of which a byte was sent."""
        self.answers = 0
        """Responses received."""
        self.stored = 0
        """Objects that the peer has stored, with or without a warning."""
        self.bytes = 0
        """Bytes of the data sets that were answered."""

    def __len__(self) -> int:
        return len(self.due)

    def bytes_of(self, number: int) -> int:
        """Return the bytes of the data set of an object."""
        return self._mixture.templates[self._mixture.index(number)].length

    def add(self, records: bytes) -> None:
        """Add results, each a `RECORD`, of objects in any order."""
        for number, due, begun, answered, status in RECORD.iter_unpack(records):
            if (missing := number + 1 - len(self)) > 0:
                for times in (self.due, self.begun, self.answered):
                    times.extend([NEVER] * missing)
                self.status.extend([UNANSWERED] * missing)
            self.due[number], self.begun[number], self.answered[number] = due, begun, answered
            self.status[number] = status
            self.sent += 1
            if status != UNANSWERED:
                self.answers += 1
                self.stored += is_stored(status)
                self.bytes += self.bytes_of(number)

    def latencies(self) -> list[float]:
        """Return the seconds from due to response, of the answered objects."""
        return [done - due for done, due in zip(self.answered, self.due, strict=True) if done != NEVER]

    def lateness(self) -> list[float]:
        """Return the seconds by which the generator itself sent each object after it was due."""
        return [begun - due for begun, due in zip(self.begun, self.due, strict=True) if begun != NEVER]

    def statuses(self) -> dict[str, int]:
        """Return how many objects were answered with each status, described in words."""
        counts = Counter(self.status)
        return {describe(status, "storage"): n for status, n in counts.most_common() if status != UNANSWERED}

    def numbers(self, *, stored: bool) -> Iterator[int]:
        """Return the numbers of the objects that the peer has stored, or of the others."""
        return (number for number in range(len(self)) if is_stored(self.status[number]) is stored)

    def span(self) -> tuple[float, float]:
        """Return when the first object was due and when the last response came; the same time twice without any."""
        started = min((due for due in self.due if due != NEVER), default=0.0)
        return started, max(max(self.answered, default=NEVER), started)


def is_stored(status: int) -> bool:
    """Return whether a C-STORE with this status has stored the object (PS3.4 B.2.3)."""
    return status != UNANSWERED and status_class(status) in (StatusClass.SUCCESS, StatusClass.WARNING)
