"""Locks by key: one task at a time for each key, tasks with other keys go on."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import trio


class KeyedLock:
    """A fair lock for each key. Keys that no task holds or waits for use no memory."""

    def __init__(self) -> None:
        self._locks: dict[str, _CountedLock] = {}

    @asynccontextmanager
    async def of(self, key: str) -> AsyncIterator[None]:
        """Hold the lock of `key` while the block runs. Tasks get it in the order in which they asked."""
        entry = self._locks.setdefault(key, _CountedLock())
        entry.users += 1
        try:
            async with entry.lock:
                yield
        finally:
            entry.users -= 1
            if not entry.users:
                del self._locks[key]


class _CountedLock:
    def __init__(self) -> None:
        self.lock = trio.Lock()
        self.users = 0
