"""The deliveries of one destination that are in memory: a bounded stretch of the ledger's queue.

Pure bookkeeping, no trio. Each delivery in the window is exactly one of: ready, behind another of its lane, in
flight, deferred until a time. A lane is all deliveries with the same non-empty key; only its first may travel.
"""

from collections import deque
from collections.abc import Callable, Container, Iterable, Iterator
from contextlib import contextmanager

from attrs import define, field

from router.messages import Waiting

Pair = tuple[str, str]
"""(SOP class, transfer syntax): what a presentation context is made of."""


@define
class Window:
    """All deliveries that the actor of one destination knows of."""

    capacity: int = 512
    _known: dict[int, Waiting] = field(factory=dict)
    _ready: dict[Pair, deque[Waiting]] = field(factory=dict)
    _again: dict[Pair, deque[Waiting]] = field(factory=dict)
    """Ready as well, but they have failed before."""
    _takes: int = 0
    _lanes: dict[str, deque[Waiting]] = field(factory=dict)
    """For each lane with a delivery ahead (ready, in flight or deferred): those behind it."""
    _in_flight: dict[int, Waiting] = field(factory=dict)
    _deferred: dict[int, float] = field(factory=dict)
    _stale: set[int] = field(factory=set)
    """In flight since before the ledger was changed by hand."""
    _is_read: bool = False
    _left: set[int] = field(factory=set)
    """While the ledger is read: what has been settled since, which its answer does not know,"""
    _blocked: set[str] = field(factory=set)
    """and the lanes of what was held."""

    def __len__(self) -> int:
        return len(self._known)

    def __contains__(self, message_id: int) -> bool:
        return message_id in self._known

    @property
    def room(self) -> int:
        return self.capacity - len(self._known)

    @property
    def ready(self) -> int:
        return sum(len(queue) for queues in (self._ready, self._again) for queue in queues.values())

    @property
    def in_flight(self) -> int:
        return len(self._in_flight)

    @property
    def deferred(self) -> int:
        return len(self._deferred)

    @property
    def next_due(self) -> float | None:
        """When the first of the deferred deliveries is due."""
        return min(self._deferred.values(), default=None)

    @contextmanager
    def being_read(self) -> Iterator[None]:
        """While this lasts, the ledger is asked for deliveries and they are added. What is settled meanwhile counts:
        the answer may be older."""
        self._is_read = True
        try:
            yield
        finally:
            self._is_read = False
            self._left.clear()
            self._blocked.clear()

    def add(self, deliveries: Iterable[Waiting]) -> None:
        """Take deliveries in, in the order of their message IDs; those already known are passed over."""
        for delivery in deliveries:
            if delivery.message_id in self._known or delivery.message_id in self._left or delivery.key in self._blocked:
                continue
            self._known[delivery.message_id] = delivery
            if not delivery.key:
                self._make_ready(delivery)
            elif (behind := self._lanes.get(delivery.key)) is not None:
                behind.append(delivery)
            else:
                self._lanes[delivery.key] = deque()
                self._make_ready(delivery)

    def _make_ready(self, delivery: Waiting) -> None:
        queues = self._again if delivery.attempts else self._ready
        queues.setdefault((delivery.abstract_syntax, delivery.transfer_syntax), deque()).append(delivery)

    def plan(self) -> list[Pair]:
        """The presentation contexts that the ready deliveries need: those that have not failed yet first, and the
        oldest first."""
        return [
            pair
            for queues in (self._ready, self._again)
            for pair in sorted(queues, key=lambda pair: queues[pair][0].message_id)
        ]

    def take(self, offered: Container[Pair]) -> Waiting | None:
        """A ready delivery that one of the `offered` contexts can carry; it is in flight from now on.

        The oldest of those that have not failed yet; one that has failed only where there is no other, or as every
        eighth, so that neither kind waits for the other for ever.
        """
        self._takes += 1
        first, second = (self._ready, self._again) if self._takes % 8 else (self._again, self._ready)
        delivery = _oldest(first, offered) or _oldest(second, offered)
        if delivery is not None:
            self._in_flight[delivery.message_id] = delivery
        return delivery

    def take_all(self, chosen: Callable[[Waiting], bool]) -> list[Waiting]:
        """All ready deliveries that are `chosen`, in flight from now on: to be settled without being sent."""
        taken = []
        for queues in (self._ready, self._again):
            for pair, queue in list(queues.items()):
                taken += [delivery for delivery in queue if chosen(delivery)]
                queues[pair] = deque(delivery for delivery in queue if not chosen(delivery))
                if not queues[pair]:
                    del queues[pair]
        self._in_flight |= {delivery.message_id: delivery for delivery in taken}
        return taken

    def finish(self, message_id: int) -> None:
        """It is delivered: the next of its lane may travel."""
        delivery = self._leave(message_id)
        if delivery.key:
            behind = self._lanes[delivery.key]
            if behind:
                self._make_ready(behind.popleft())
            else:
                del self._lanes[delivery.key]

    def drop(self, message_id: int) -> None:
        """It is held: nothing behind it in its lane travels until a person has looked; the ledger keeps those."""
        delivery = self._leave(message_id)
        if delivery.key:
            for blocked in self._lanes.pop(delivery.key):
                del self._known[blocked.message_id]
            if self._is_read:
                self._blocked.add(delivery.key)

    def _leave(self, message_id: int) -> Waiting:
        del self._in_flight[message_id]
        self._stale.discard(message_id)
        if self._is_read:
            self._left.add(message_id)
        return self._known.pop(message_id)

    def defer(self, delivery: Waiting, until: float) -> bool:
        """It failed: it comes back, as `delivery` says (its attempts count), when its time has come. False: the ledger
        has changed since it left, and has to say what becomes of it; here it is forgotten."""
        if delivery.message_id in self._stale:
            self.drop(delivery.message_id)
            return False
        del self._in_flight[delivery.message_id]
        self._known[delivery.message_id] = delivery
        self._deferred[delivery.message_id] = until
        return True

    def wake(self, now: float) -> None:
        """Make ready what is due by `now`."""
        for message_id in [key for key, until in self._deferred.items() if until <= now]:
            del self._deferred[message_id]
            self._make_ready(self._known[message_id])

    def forget_idle(self) -> None:
        """Drop all that is not in flight: the ledger has changed and will be read anew."""
        self._known = dict(self._in_flight)
        self._stale = set(self._in_flight)
        self._ready.clear()
        self._again.clear()
        self._deferred.clear()
        self._lanes = {delivery.key: deque() for delivery in self._in_flight.values() if delivery.key}


def _oldest(queues: dict[Pair, deque[Waiting]], offered: Container[Pair]) -> Waiting | None:
    pairs = [pair for pair in queues if pair in offered]
    if not pairs:
        return None
    pair = min(pairs, key=lambda pair: queues[pair][0].message_id)
    delivery = queues[pair].popleft()
    if not queues[pair]:
        del queues[pair]
    return delivery
