"""Say whether the disk is quick enough for the event loop to wait for it.

One sync that was slow is enough to say that it is not, for a while: so a disk that is slow, or has spikes, holds up the
event loop once in ten seconds and no more.
"""

import math
import time
from collections.abc import Callable

_SLOW = 0.005
"""Seconds of one commit, most of them for its sync, that make the disk a slow one."""
_SLOW_FOR = 10.0
"""Seconds for which it is one."""


class DiskPace:
    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self.clock = clock
        self.batches = 0
        """Batches that the event loop committed."""
        self.stalls = 0
        """How many of them held it up for more than 5 ms."""
        self._slow_until = -math.inf

    @property
    def is_quick(self) -> bool:
        """Whether the event loop may commit. From any thread."""
        return self.clock() >= self._slow_until

    def measure(self, began: float) -> None:
        """Count a batch that the event loop committed just now, and began at a time of `clock`."""
        now = self.clock()
        self.batches += 1
        if now - began > _SLOW:
            self.stalls += 1
            self._slow_until = now + _SLOW_FOR
