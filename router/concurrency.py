"""Limits of worker threads, one for each kind of work.

A slow disk does not delay the response to an N-CREATE, and parsing a large data set does not delay writing another.
Every `trio.to_thread.run_sync` of the running router passes one of these as `limiter`; looking up host names has limits
of its own (`router.association`). Not here: threads that live as long as the router (writers of spool and log).
"""

from collections.abc import Callable
from typing import Final, TypeVar

import trio

T = TypeVar("T")

AT_ONCE: Final = 16 << 10
"""Bytes of a data set that are parsed or encoded in the event loop: about 5 ms of work.

To hand it to a thread costs about 1 ms.
"""

DISK_IN: Final = trio.CapacityLimiter(16)
"""Writing, syncing and removing the files of large data sets.

By default, the spool's memory lets 8 of them be written at a time; each may write and sync at once.
"""

DISK_OUT: Final = trio.CapacityLimiter(16)
"""Reading what may not be in the page cache: stored messages to deliver or compare, the start of a large data set."""

STATE: Final = trio.CapacityLimiter(4)
"""SQLite for the state of services: one writer and one reader at a time. The ledger has a thread of its own."""

COMPUTING: Final = trio.CapacityLimiter(2)
"""Scanning and parsing data sets that are too large for the event loop.

The interpreter runs one thread at a time: more threads would not finish sooner, and would slow the event loop down.
"""


async def compute(size: int, work: Callable[[], T]) -> T:
    """Return `work()`, run here for at most `AT_ONCE` bytes, otherwise in a thread of `COMPUTING`."""
    return work() if size <= AT_ONCE else await trio.to_thread.run_sync(work, limiter=COMPUTING)
