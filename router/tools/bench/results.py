"""The result of each object by its number: a few plain numbers each, so that a million of them fit into memory."""

from array import array
from collections import Counter
from collections.abc import Iterator, Sequence
from typing import Final

from router.dimse import StatusClass, describe, status_class

NEVER: Final = -1.0
"""In place of a time."""
UNANSWERED: Final = -1
"""In place of a status."""


class Results:
    """Results of the objects of one run, numbered from 0. Times are seconds of the monotonic clock."""

    def __init__(self, lengths: Sequence[int]) -> None:
        """`lengths`: bytes of the data set of each template."""
        self._lengths = lengths
        self._templates = array("H")
        self.due = array("d")
        """When each object was due to be sent: its latency counts from here. Sending began then, or later."""
        self.begun = array("d")
        """When its first byte was sent; NEVER if none was."""
        self.answered = array("d")
        """When its response was received; NEVER if none was."""
        self.status = array("l")
        """The status of its response; UNANSWERED without one."""
        self.answers = 0
        """Responses received."""
        self.stored = 0
        """Objects that the peer has stored, with or without a warning."""
        self.bytes = 0
        """Bytes of the data sets that were answered."""

    def __len__(self) -> int:
        return len(self.due)

    def add(self, template: int) -> int:
        """Add an object made of this template, and return its number."""
        self._templates.append(template)
        self.due.append(NEVER)
        self.begun.append(NEVER)
        self.answered.append(NEVER)
        self.status.append(UNANSWERED)
        return len(self.due) - 1

    def template(self, number: int) -> int:
        """Return the index of the template that an object is made of."""
        return self._templates[number]

    def record_begin(self, number: int, due: float | None, now: float) -> None:
        """Record that an object begins to be sent; without `due`, it was due now."""
        self.due[number] = now if due is None else due
        self.begun[number] = now

    def record_response(self, number: int, status: int, now: float) -> None:
        """Record the response to an object."""
        self.answered[number] = now
        self.status[number] = status
        self.answers += 1
        self.stored += is_stored(status)
        self.bytes += self._lengths[self._templates[number]]

    def latencies(self, begin: int = 0) -> list[float]:
        """Return the seconds from due to response, of the answered objects from number `begin` on."""
        return [done - due for done, due in zip(self.answered[begin:], self.due[begin:], strict=True) if done != NEVER]

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
