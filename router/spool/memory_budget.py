"""The one budget of memory for data sets: what is being received, and what is kept for its deliveries.

Promises: both together stay within the limit, and what is being received comes first. Event loop only. Not here: what
is kept and for how long (recent_messages.py).
"""

from collections.abc import Callable


class MemoryBudget:
    """Bytes of memory that all data sets may hold together."""

    def __init__(self, limit: int) -> None:
        self.limit = limit
        self.used = 0
        """Bytes of data sets that are being received."""
        self.kept = 0
        """Bytes of data sets that are on the disk too."""
        self.on_shortage: Callable[[int], None] = lambda count: None
        """Called with the number of bytes that are missing: it releases what is kept."""

    def reserve(self, count: int) -> bool:
        """Reserve bytes for a data set that is being received; return False if fewer are left."""
        if self.kept and self.used + self.kept + count > self.limit:
            self.on_shortage(self.used + self.kept + count - self.limit)
        if self.used + self.kept + count > self.limit:
            return False
        self.used += count
        return True

    def release(self, count: int) -> None:
        self.used -= count

    def count_as_kept(self, count: int) -> None:
        """Count bytes that were reserved as kept."""
        self.used -= count
        self.kept += count

    def release_kept(self, count: int) -> None:
        """Release bytes that were kept."""
        self.kept -= count
