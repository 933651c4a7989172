"""The sub-operations of one retrieve, one for each instance: counted, each exactly once (PS3.4 C.4.2.1).

At any moment Remaining + Completed + Failed + Warning is the number of instances. Pure. Not here: the responses that
carry the counts (`responses`).
"""

from collections.abc import Iterable
from enum import Enum
from typing import Final

from attrs import frozen

LARGEST_COUNT: Final = 0xFFFF
"""The counts on the wire have 16 bits (PS3.7 E.1)."""


class End(Enum):
    """How a sub-operation ended."""

    COMPLETED = "completed"
    WARNING = "warning"
    """The instance is stored, with a warning."""
    FAILED = "failed"


@frozen(kw_only=True)
class Counts:
    """Numbers of sub-operations, of which each is counted once."""

    remaining: int = 0
    completed: int = 0
    failed: int = 0
    warning: int = 0

    @property
    def total(self) -> int:
        return self.remaining + self.completed + self.failed + self.warning

    @property
    def fits(self) -> bool:
        """Whether every count can be sent as it is."""
        return max(self.remaining, self.completed, self.failed, self.warning) <= LARGEST_COUNT


class SubOperations:
    """The state of each sub-operation. It ends once: a later end of the same instance changes nothing."""

    def __init__(self, uids: Iterable[str]) -> None:
        """`uids`: the SOP Instance UIDs to retrieve, in any order; one that comes twice counts once."""
        self._ends: dict[str, End | None] = dict.fromkeys(uids)
        self._counted: dict[End, int] = dict.fromkeys(End, 0)

    def __contains__(self, uid: str) -> bool:
        return uid in self._ends

    def is_remaining(self, uid: str) -> bool:
        """Whether the sub-operation of an instance has not ended."""
        return uid in self._ends and self._ends[uid] is None

    def conclude(self, uid: str, end: End) -> bool:
        """Note how a sub-operation ended. Return False if it had ended before, or is not one of these."""
        if not self.is_remaining(uid):
            return False
        self._ends[uid] = end
        self._counted[end] += 1
        return True

    def fail_remaining(self) -> None:
        """Count everything that has not ended as failed."""
        for uid in self.remaining:
            self.conclude(uid, End.FAILED)

    @property
    def remaining(self) -> list[str]:
        """The instances whose sub-operations have not ended."""
        return [uid for uid, end in self._ends.items() if end is None]

    @property
    def failed_uids(self) -> list[str]:
        """The Failed SOP Instance UID List (0008,0058), whole."""
        return [uid for uid, end in self._ends.items() if end is End.FAILED]

    @property
    def numbers(self) -> Counts:
        ended = {end.value: count for end, count in self._counted.items()}
        return Counts(remaining=len(self._ends) - sum(ended.values()), **ended)
