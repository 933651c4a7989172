"""Fill a destination's queue from the ledger, in bounded parts, as room and time allow.

It remembers how far the ledger was read: by message id for deliveries that have not failed, by due time for those that
have. Deliveries before these marks are in the queue, blocked in their lane, or not due yet. Not here: the statements
(spool/ledger/waiting_rows.py), the order of deliveries (queue.py).
"""

from collections.abc import Sequence
from typing import Final

from router.delivery.queue import DeliveryQueue
from router.model import PendingDelivery
from router.spool import Spool
from router.spool.values import LocatedDelivery

_REFILL_BELOW: Final = 128
"""Fresh deliveries in the queue below which more are read."""
_NEWEST: Final = 64
"""Newest deliveries that are read if the oldest get no response."""
_LANES: Final = 64
"""Lanes that are looked up at once."""
_NEVER: Final = float("inf")


class Backlog:
    """The deliveries of one destination that are in the ledger and not in its queue."""

    def __init__(self, destination: str, spool: Spool, queue: DeliveryQueue) -> None:
        self._destination = destination
        self._spool = spool
        self._queue = queue
        self._read_up_to = 0
        self._is_all_read = False
        """Everything fresh was read, and later arrivals were added at once."""
        self._due_up_to = (0.0, 0)
        self._next_due = 0.0
        """When a delivery is due that was not read, on the run clock."""
        self._arrivals = 0
        self._changes = 0
        self._changes_read = 0
        self._wants_newest = False
        self._newest_left = 0

    # Told by the destination

    def arrived(self, deliveries: Sequence[PendingDelivery]) -> None:
        """Add new deliveries, if nothing older is still to be read.

        For a delivery with an ordering key, the ledger is asked which of its lane is the first.
        """
        self._arrivals += 1
        adds_all = self._is_all_read and len(deliveries) <= self._queue.room
        for delivery in deliveries:
            if delivery.key and (adds_all or delivery.message_id <= self._read_up_to):
                self._queue.lanes_to_read.add(delivery.key)
            elif adds_all:
                self._queue.add([delivery])
            else:
                self._is_all_read = False
                self._read_up_to = min(self._read_up_to, delivery.message_id - 1)
        if adds_all:
            self._read_up_to = max(self._read_up_to, deliveries[-1].message_id)

    def deferred(self, due: float) -> None:
        """Note that a delivery has failed and waits in the ledger until it is due."""
        self._next_due = min(self._next_due, due)

    def changed(self) -> None:
        """Read the queue again from its beginning, because an operator has changed it."""
        self._changes += 1

    def begun(self, delivery: PendingDelivery) -> None:
        """Note that a delivery has left the queue for a channel: if it was one of the newest, more are read in time."""
        if delivery.message_id > self._read_up_to and not self._is_all_read:
            self._newest_left -= 1
            self._wants_newest = self._wants_newest or self._newest_left == _NEWEST // 2

    def look_at_newest(self) -> None:
        """Read the newest deliveries, because the oldest get no response."""
        self._wants_newest = not self._is_all_read

    # Reading

    @property
    def is_short(self) -> bool:
        """Whether something is to be read now, apart from what becomes due."""
        return self._is_short or bool(self._queue.lanes_to_read) or self._wants_newest

    @property
    def needs_reading(self) -> bool:
        """Whether something is to be read now."""
        return self._is_changed or self.is_short or self._is_due_short

    @property
    def seconds_until_due(self) -> float:
        """Seconds until deliveries that wait for their retry may be read."""
        return self._next_due - self._spool.clock() if self._queue.again_room > 0 else _NEVER

    @property
    def _is_changed(self) -> bool:
        return self._changes != self._changes_read

    @property
    def _is_short(self) -> bool:
        return not self._is_all_read and self._queue.fresh < _REFILL_BELOW and self._queue.room > 0

    @property
    def _is_due_short(self) -> bool:
        return self._next_due <= self._spool.clock() and self._queue.again_room > 0

    async def refill(self) -> None:
        """Read until the queue has enough, or the ledger has no more."""
        while self.needs_reading:
            if self._is_changed:
                self._start_over()
            with self._queue.being_read():
                await self._read()

    def _start_over(self) -> None:
        self._changes_read = self._changes
        self._queue.forget_ready()
        self._read_up_to, self._is_all_read = 0, False
        self._due_up_to, self._next_due = (0.0, 0), 0.0

    async def _read(self) -> None:
        if lanes := sorted(self._queue.lanes_to_read)[:_LANES]:
            self._queue.lanes_to_read.difference_update(lanes)  # before: it may be added again meanwhile
            self._add(await self._spool.first_of_lanes(self._destination, lanes))
        elif self._wants_newest:
            self._wants_newest, self._newest_left = False, _NEWEST
            self._add(await self._spool.newest(self._destination, _NEWEST))
        elif self._is_due_short:
            await self._read_due()
        else:
            await self._read_fresh()

    async def _read_due(self) -> None:
        deferred, self._next_due = self._next_due, _NEVER  # what is deferred meanwhile brings it forward
        part = await self._spool.due(self._destination, self._due_up_to, self._queue.again_room)
        if self._add(part.rows):
            self._due_up_to = part.last
            self._next_due = min(self._next_due, deferred if part.next_due is None else part.next_due)

    async def _read_fresh(self) -> None:
        before, arrivals = self._read_up_to, self._arrivals
        part = await self._spool.fresh(self._destination, before, self._queue.room)
        if self._add(part.rows) and self._read_up_to == before:  # else something older has been told of
            self._read_up_to = part.last
            self._is_all_read = part.is_end and arrivals == self._arrivals

    def _add(self, rows: Sequence[LocatedDelivery]) -> bool:
        """Add rows to the queue. Return False if an operator has changed it meanwhile, and it has to be read again."""
        if self._is_changed:
            return False
        self._queue.add(row.waiting for row in rows)
        return True
