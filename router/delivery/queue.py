"""The deliveries of one destination that may begin now: a bounded part of the ledger's queue.

Pure bookkeeping: no trio, no clock. Deliveries that wait for their retry are in the ledger alone, and so are all of a
lane but the first one. Each delivery here is ready or in flight. A ready one is

- fresh: never tried, or to be tried again because an operator said so. Grouped by cohort (cohort.py), oldest first;
- again: its last attempt was answered, and it is due once more;
- a suspect: its last attempt ended without an answer, or in an exception of our own. Only one of these is in flight
  at a time, alone on its channel, so that objects which each end a channel, or cost a whole timeout, cannot occupy all
  of them.

Not here: reading the ledger (backlog.py), when a destination is tried (retry.py).
"""

from collections import deque
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from itertools import chain
from operator import attrgetter
from typing import Final

from attrs import define, field

from router.delivery.cohort import Cohort, Group
from router.model import Cause, PendingDelivery

Pair = tuple[str, str]
"""(SOP class, transfer syntax of the stored data set): a channel carries all deliveries of a pair, or none."""
Carries = Callable[[PendingDelivery], bool]
"""Whether a channel carries a delivery."""

SUSPICIOUS: Final = frozenset({Cause.ABORTED, Cause.TIMED_OUT, Cause.CRASHED})
_MOST_COHORTS: Final = 64
_by_due: Final = attrgetter("due")
_AGAIN_EVERY: Final = 8
"""Every so often, in deliveries, one that has failed before goes although fresh ones wait, and the other way round."""


def is_suspect(delivery: PendingDelivery) -> bool:
    """Return whether the last attempt ended without an answer."""
    return delivery.cause in SUSPICIOUS


def pair_of(delivery: PendingDelivery) -> Pair:
    """Return the kind of a delivery that decides which channels carry it."""
    return delivery.abstract_syntax, delivery.transfer_syntax


def _group_of(delivery: PendingDelivery) -> Group:
    return delivery.calling_ae, delivery.abstract_syntax, delivery.transfer_syntax


@define
class DeliveryQueue:
    """The deliveries that the actor of one destination knows."""

    capacity: int = 512
    """Fresh deliveries, in flight ones included, past which no more are read from the ledger."""
    again_capacity: int = 256
    """The same of those that have failed before."""
    lanes_to_read: set[str] = field(factory=set)
    """Lanes whose first delivery may begin now; only the ledger knows which it is."""
    _known: dict[int, PendingDelivery] = field(factory=dict)
    _cohorts: dict[Group, Cohort] = field(factory=dict)
    _again: dict[Pair, deque[PendingDelivery]] = field(factory=dict)
    _suspects: dict[Pair, deque[PendingDelivery]] = field(factory=dict)
    _in_flight: set[int] = field(factory=set)
    _suspect: int | None = None
    """The message id of the suspect that is in flight."""
    _stalled: set[int] = field(factory=set)
    """Message ids of the deliveries in flight that have waited for long."""
    _pops: int = 0
    _left: set[int] | None = None
    """While the ledger is read: the message ids that have left since, which its answer does not know."""

    def __len__(self) -> int:
        return len(self._known)

    def __contains__(self, message_id: int) -> bool:
        return message_id in self._known

    @property
    def in_flight(self) -> int:
        return len(self._in_flight)

    @property
    def fresh(self) -> int:
        """Fresh deliveries that are ready, whether or not their cohort rests."""
        return sum(len(cohort.deliveries) for cohort in self._cohorts.values())

    @property
    def again(self) -> int:
        """Deliveries that have failed before and are ready."""
        return sum(map(len, chain(self._again.values(), self._suspects.values())))

    @property
    def room(self) -> int:
        """Fresh deliveries that may be read beyond these."""
        return self.capacity - self.fresh - len(self._in_flight) - len(self.lanes_to_read)

    @property
    def again_room(self) -> int:
        """Deliveries that have failed before and may be read beyond these."""
        return self.again_capacity - self.again

    def available(self, now: float) -> int:
        """Return the number of deliveries that may begin now."""
        count = 0
        for cohort in self._cohorts.values():
            count += cohort.available(now) if cohort.failures else len(cohort.deliveries)
        if self._again:
            count += sum(map(len, self._again.values()))
        if self._suspects and self._may_suspects_begin:
            count += sum(map(len, self._suspects.values()))
        return count

    @property
    def _may_suspects_begin(self) -> bool:
        return self._suspect is None and not self._stalled

    def next_moment(self, now: float) -> float:
        """Return when a resting cohort may be tried again."""
        moments = (
            cohort.rest_until for cohort in self._cohorts.values() if cohort.deliveries and not cohort.available(now)
        )
        return min(moments, default=float("inf"))

    @contextmanager
    def being_read(self) -> Iterator[None]:
        """Read the ledger and add its answer in this block.

        Deliveries that leave meanwhile are not added again: the answer may be older.
        """
        self._left = set()
        try:
            yield
        finally:
            self._left = None

    def add(self, deliveries: Iterable[PendingDelivery]) -> None:
        """Add deliveries that may begin now; pass over those already known."""
        for delivery in deliveries:
            if delivery.message_id in self._known or (self._left and delivery.message_id in self._left):
                continue
            self._known[delivery.message_id] = delivery
            if is_suspect(delivery):
                self._suspects.setdefault(pair_of(delivery), deque()).append(delivery)
            elif delivery.due:
                self._again.setdefault(pair_of(delivery), deque()).append(delivery)
            else:
                self._cohort_of(delivery).add(delivery)

    def _cohort_of(self, delivery: PendingDelivery) -> Cohort:
        group = _group_of(delivery)
        if (cohort := self._cohorts.get(group)) is None:
            if len(self._cohorts) >= _MOST_COHORTS:  # what the empty ones have learned is forgotten
                self._drop_empty_cohorts()
            cohort = self._cohorts[group] = Cohort()
        return cohort

    def _drop_empty_cohorts(self) -> None:
        self._cohorts = {group: cohort for group, cohort in self._cohorts.items() if cohort.deliveries}

    def plan(self, now: float) -> list[PendingDelivery]:
        """Return one delivery for each (SOP class, transfer syntax) that may begin, in the order of their turns."""
        cohorts = sorted(self._cohorts.values(), key=Cohort.rank)
        fresh = (cohort.deliveries[0] for cohort in cohorts if cohort.available(now))
        again = sorted((queue[0] for queue in self._again.values()), key=_by_due)
        suspects = (queue[0] for queue in self._suspects.values()) if self._may_suspects_begin else ()
        plan: dict[Pair, PendingDelivery] = {}
        for delivery in chain(fresh, again, suspects):
            plan.setdefault(pair_of(delivery), delivery)
        return list(plan.values())

    def pop(self, carries: Carries, now: float, *, alone: bool, probing: bool = False) -> PendingDelivery | None:
        """Return the next delivery that the channel `carries`; it is in flight from now on.

        `alone`: nothing else is under way on the channel, so that it may be a suspect. `probing`: it is to show whether
        the destination works, so that fresh ones always go first.
        """
        self._pops += 1
        ways = [self._pop_fresh, self._pop_again, self._pop_suspect if alone else _pop_nothing]
        if not probing and not self._pops % _AGAIN_EVERY:
            ways = ways[1:] + ways[:1]
            if not self._pops % (2 * _AGAIN_EVERY):
                ways[0], ways[1] = ways[1], ways[0]
        for way in ways:
            if (delivery := way(carries, now)) is not None:
                self._in_flight.add(delivery.message_id)
                return delivery
        return None

    def _pop_fresh(self, carries: Carries, now: float) -> PendingDelivery | None:
        able = [cohort for cohort in self._cohorts.values() if cohort.available(now) and carries(cohort.deliveries[0])]
        return min(able, key=Cohort.rank).pop(now) if able else None

    def _pop_again(self, carries: Carries, now: float) -> PendingDelivery | None:
        return _pop_oldest(self._again, carries)

    def _pop_suspect(self, carries: Carries, now: float) -> PendingDelivery | None:
        if not self._may_suspects_begin:
            return None
        delivery = _pop_oldest(self._suspects, carries)
        if delivery is not None:
            self._suspect = delivery.message_id
        return delivery

    def pop_all(self, chosen: Callable[[PendingDelivery], bool]) -> list[PendingDelivery]:
        """Return all ready deliveries that are `chosen`, in flight from now on: to be settled without being sent."""
        popped = []
        for cohort in self._cohorts.values():
            popped += cohort.pop_all(chosen)
        for queues in (self._again, self._suspects):
            for pair, queue in list(queues.items()):
                popped += [delivery for delivery in queue if chosen(delivery)]
                queues[pair] = deque(delivery for delivery in queue if not chosen(delivery))
                if not queues[pair]:
                    del queues[pair]
        self._in_flight |= {delivery.message_id for delivery in popped}
        return popped

    def leave(self, message_id: int, *, delivered: bool) -> None:
        """Remove a delivery whose attempt is settled. If it was delivered, the next of its lane may begin."""
        delivery = self._known.pop(message_id)
        self._in_flight.remove(message_id)
        self._stalled.discard(message_id)
        if self._suspect == message_id:
            self._suspect = None
        if self._left is not None:
            self._left.add(message_id)
        if delivered and delivery.key:
            self.lanes_to_read.add(delivery.key)

    def stalls(self, delivery: PendingDelivery, now: float, seconds: float) -> None:
        """Note that a delivery has got no answer in `seconds`.

        No suspect begins until it has: suspects would occupy the channels that are left.
        """
        if delivery.message_id not in self._stalled:
            self.failed(delivery, now, seconds)
            self._stalled.add(delivery.message_id)

    def failed(self, delivery: PendingDelivery, now: float, seconds: float) -> None:
        """Note that a delivery got no answer in `seconds`: its cohort is tried at another place next.

        A retry tells nothing new about the cohort.
        """
        counts = delivery.message_id not in self._stalled
        if not delivery.due and not is_suspect(delivery):
            self._cohort_of(delivery).failed(delivery.message_id, now, seconds, counts=counts)

    def responded(self, delivery: PendingDelivery) -> None:
        """Note that a delivery got a response, whatever the status."""
        self._stalled.discard(delivery.message_id)
        if cohort := self._cohorts.get(_group_of(delivery)):
            cohort.succeeded()

    def forgive(self) -> None:
        """Let no cohort rest any more, because the destination was at fault and works again."""
        for cohort in self._cohorts.values():
            cohort.forgive()

    def forget_ready(self) -> None:
        """Drop all that is not in flight, because the ledger has changed and will be read again."""
        self._known = {message_id: self._known[message_id] for message_id in self._in_flight}
        self._cohorts.clear()
        self._again.clear()
        self._suspects.clear()
        self.lanes_to_read.clear()


def _pop_nothing(carries: Carries, now: float) -> None:
    return None


def _pop_oldest(queues: dict[Pair, deque[PendingDelivery]], carries: Carries) -> PendingDelivery | None:
    """Return the delivery that has been due for longest, of those that the channel carries."""
    pairs = [pair for pair, queue in queues.items() if carries(queue[0])]
    if not pairs:
        return None
    pair = min(pairs, key=lambda pair: queues[pair][0].due)
    delivery = queues[pair].popleft()
    if not queues[pair]:
        del queues[pair]
    return delivery
