"""What became of each object, by its number: four numbers, so that a million of them fit into memory."""

from array import array
from collections import Counter
from collections.abc import Iterator, Sequence
from typing import Final

from router.dimse import StatusClass, describe, status_class

NEVER: Final = -1.0
"""Instead of a moment."""
UNANSWERED: Final = -1
"""Instead of a status."""


class Records:
    """Objects are numbered from 0 in the order in which they were taken; moments are seconds, monotonic."""

    def __init__(self, lengths: Sequence[int]) -> None:
        """`lengths`: bytes of the data set of each template."""
        self._lengths = lengths
        self._templates = array("H")
        self.due = array("d")
        """When it was meant to leave: what its latency counts from. Its sending began then, or later."""
        self.begun = array("d")
        """When its first byte left; NEVER where none did."""
        self.answered = array("d")
        """When its response was in; NEVER where none came."""
        self.status = array("l")
        """What the response said; UNANSWERED where none came."""
        self.answers = 0
        self.taken = 0
        """Objects that the peer has taken, be it with a warning."""
        self.bytes = 0
        """Of the data sets that were answered."""

    def __len__(self) -> int:
        return len(self.due)

    def take(self, template: int) -> int:
        """A new object, and its number."""
        self._templates.append(template)
        self.due.append(NEVER)
        self.begun.append(NEVER)
        self.answered.append(NEVER)
        self.status.append(UNANSWERED)
        return len(self.due) - 1

    def template(self, number: int) -> int:
        return self._templates[number]

    def leave(self, number: int, due: float | None, now: float) -> None:
        """Its sending begins."""
        self.due[number] = now if due is None else due
        self.begun[number] = now

    def answer(self, number: int, status: int, now: float) -> None:
        """Its response is in."""
        self.answered[number] = now
        self.status[number] = status
        self.answers += 1
        self.taken += took(status)
        self.bytes += self._lengths[self._templates[number]]

    def stored(self, number: int) -> bool:
        """Whether the peer has taken it, be it with a warning."""
        return took(self.status[number])

    def latencies(self, begin: int = 0) -> list[float]:
        """Seconds from when each was due to its response, of those that have one, from object `begin` on."""
        return [done - due for done, due in zip(self.answered[begin:], self.due[begin:], strict=True) if done != NEVER]

    def lateness(self) -> list[float]:
        """Seconds from when each was due to when it began to leave: what the generator itself was late."""
        return [begun - due for begun, due in zip(self.begun, self.due, strict=True) if begun != NEVER]

    def statuses(self) -> dict[str, int]:
        """How many were answered what, in words."""
        counts = Counter(self.status)
        return {describe(status, "storage"): n for status, n in counts.most_common() if status != UNANSWERED}

    def numbers(self, *, stored: bool) -> Iterator[int]:
        """The objects that the peer has taken, or those that it has not."""
        return (number for number in range(len(self)) if self.stored(number) is stored)

    def span(self) -> tuple[float, float]:
        """When the first object was due, and when the last response was in; twice the same where none was."""
        started = min((due for due in self.due if due != NEVER), default=0.0)
        return started, max(max(self.answered, default=NEVER), started)


def took(status: int) -> bool:
    """Whether a C-STORE with this status is done (PS3.4 B.2.3)."""
    return status != UNANSWERED and status_class(status) in (StatusClass.SUCCESS, StatusClass.WARNING)
