"""One at a time by key: what concerns the same thing waits for its turn, everything else goes on."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import trio


class KeyedLock:
    """Remembers nothing of keys that nobody is concerned with."""

    def __init__(self) -> None:
        self._turns: dict[str, _Holder] = {}

    @asynccontextmanager
    async def of(self, key: str) -> AsyncIterator[None]:
        """In the order in which they asked."""
        turn = self._turns.setdefault(key, _Holder())
        turn.wanted += 1
        try:
            async with turn.lock:
                yield
        finally:
            turn.wanted -= 1
            if not turn.wanted:
                del self._turns[key]


class _Holder:
    def __init__(self) -> None:
        self.lock = trio.Lock()
        self.wanted = 0
