"""Lanes for what waits in worker threads: each kind of waiting has a bounded number of threads of its own.

A slow disk then keeps no procedure step from being answered, and a data set that takes long to parse keeps none from
being written. Every `trio.to_thread.run_sync` of the running router names its lane as `limiter`; looking up host
names has its own limits beside the requestor. Not here: the threads that live as long as the router (the spool's
writer, the log's).
"""

from collections.abc import Callable
from typing import Final, TypeVar

import trio

T = TypeVar("T")

AT_ONCE: Final = 16 << 10
"""Bytes of a data set that is read and written in the event loop: some 5 ms of work, where handing it to a thread
would take one."""

DISK_IN: Final = trio.CapacityLimiter(16)
"""Writing and syncing the files of large data sets, and removing them. The memory that the spool has by default
lets 8 large data sets write at a time; each may write and sync at the same time."""

DISK_OUT: Final = trio.CapacityLimiter(16)
"""Reading what may not be in the page cache: stored messages for deliveries and to compare duplicates, the first
elements of a large data set."""

STATE: Final = trio.CapacityLimiter(4)
"""SQLite: the services' state has one writer and one reader at a time. The ledger has a thread of its own."""

COMPUTING: Final = trio.CapacityLimiter(2)
"""Scanning and parsing data sets that are too large for the event loop. The interpreter runs one thread at a time:
more of them would not be done sooner, and would take more turns from the event loop."""


async def compute(size: int, work: Callable[[], T]) -> T:
    """Return `work()`: run here where it is about at most `AT_ONCE` bytes, else in a thread of `COMPUTING`."""
    return work() if size <= AT_ONCE else await trio.to_thread.run_sync(work, limiter=COMPUTING)
