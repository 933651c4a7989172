"""Keep messages that were just committed in memory, so that their deliveries need not read them from the disk.

Promises: what is kept counts in the one budget for data sets (`MemoryBudget`), and has a limit of its own below that.
It is dropped when each of its deliveries has made an attempt; before that, at once when a data set that comes in needs
the memory, or when it is old and newer messages come, so that a destination that does not deliver keeps nobody from
the memory. What was dropped is read from the disk. Event loop only. Not here: reading (stored_message.py).
"""

import time
from typing import Final

from attrs import define
from isal.isal_zlib import crc32

from router.model import Purpose
from router.spool.incoming import Incoming
from router.spool.ledger.rows import LedgerEntry
from router.spool.memory_budget import MemoryBudget
from router.spool.message_id import MessageId

_PART: Final = 4
"""One part in so many of the budget is for what is kept: with 32 MiB, 16 data sets of 512 KiB, or 680 of 12 kB."""
_MOST: Final = 1024
"""Messages that are kept: their envelopes take memory too, some 3 kB each."""
_AGE: Final = 2.0
"""Seconds after which a message makes room for newer ones: its destination is slow, or has a backlog."""


@define(eq=False)
class RecentMessage:
    """A message in memory."""

    entry: LedgerEntry
    data: bytearray
    """The data set."""
    since: float
    """Seconds on the monotonic clock."""
    attempts_left: int
    """Deliveries that have not made an attempt."""
    readers: int = 0
    """Tasks that read it now."""
    is_checked: bool = False
    """Whether the data set was compared with its checksum."""


class RecentMessages:
    def __init__(self, memory: MemoryBudget) -> None:
        self._memory = memory
        self._most_bytes = memory.limit // _PART
        self._kept: dict[MessageId, RecentMessage] = {}
        """The oldest first."""
        memory.on_shortage = self._remove_oldest

    def __len__(self) -> int:
        return len(self._kept)

    def keep_message(self, entry: LedgerEntry, incoming: Incoming) -> None:
        """Keep the data set of a commit, if it is in memory, has deliveries to begin, and there is room."""
        now = time.monotonic()
        while self._kept and (oldest := next(iter(self._kept.values()))).since + _AGE < now:
            self._remove_message(oldest)
        sends = 0 if entry.hold else sum(one.purpose is Purpose.SEND for one in entry.envelope.deliveries)
        size = len(incoming.data)
        if not sends or size != incoming.size or len(self._kept) >= _MOST:
            return
        if self._memory.kept + size > self._most_bytes:
            return
        data = incoming.give_memory()
        self._kept[entry.message_id] = RecentMessage(entry, data, now, sends)

    def open(self, message_id: MessageId) -> RecentMessage | None:
        """Return a message for reading, until `close`; None if it is not kept, or its bytes are not what was received.

        The bytes are checked once, before the first delivery.
        """
        recent = self._kept.get(message_id)
        if recent is None:
            return None
        if not recent.is_checked:
            if crc32(recent.data) != recent.entry.place.data_crc:
                self._remove_message(recent)
                return None
            recent.is_checked = True
        recent.readers += 1
        return recent

    def close(self, recent: RecentMessage) -> None:
        """End one reading."""
        recent.readers -= 1
        if not recent.readers and self._kept.get(recent.entry.message_id) is not recent:
            self._memory.release_kept(len(recent.data))

    def attempted(self, message_id: MessageId) -> None:
        """Note the end of one attempt at a delivery, whatever its result: the next attempt reads the disk."""
        if (recent := self._kept.get(message_id)) is not None:
            recent.attempts_left -= 1
            if recent.attempts_left <= 0:
                self._remove_message(recent)

    def _remove_oldest(self, count: int) -> None:
        """Drop the oldest messages until at least `count` bytes are free, or none is left that nobody reads."""
        for recent in [one for one in self._kept.values() if not one.readers]:
            if count <= 0:
                break
            self._remove_message(recent)
            count -= len(recent.data)

    def _remove_message(self, recent: RecentMessage) -> None:
        """Drop a message; while it is read, its bytes stay counted."""
        del self._kept[recent.entry.message_id]
        if not recent.readers:
            self._memory.release_kept(len(recent.data))
