"""Group fresh deliveries that are likely to fail together, and choose the next one to try. Pure: no trio, no clock.

A cohort holds the deliveries that one AE has sent of one SOP class in one transfer syntax. Objects that a destination
cannot accept come in runs: a series, a study, the arrivals of one hour. So after an attempt without an answer the next
delivery is never the neighbour: another cohort goes first, and within the cohort another place, the newest, the middle,
the oldest. After a success its neighbours follow. A cohort that has failed at every place rests, for a multiple of the
time that the failure took: its attempts then occupy the destination for a small part of the time, however long each
lasts. Deliveries that arrive after the failure need not rest.
"""

from bisect import bisect_right, insort
from collections.abc import Callable
from enum import Enum
from operator import attrgetter
from typing import Final

from attrs import define, field

from router.model import PendingDelivery

Group = tuple[str, str, str]
"""(calling AE, SOP class, transfer syntax): the same for all deliveries of a cohort."""

REST: Final = 7.0
"""Seconds of rest for each second that an unanswered attempt took: attempts fill an eighth of the time."""
_by_id = attrgetter("message_id")


class Place(Enum):
    """The place in a cohort of the next delivery."""

    OLDEST = 0
    NEWEST = 1
    MIDDLE = 2


@define
class Cohort:
    """Fresh deliveries of one group, and the results of the last attempts."""

    deliveries: list[PendingDelivery] = field(factory=list)
    """In the order of their message ids."""
    failures: int = 0
    """Attempts in a row that got no answer."""
    place: Place = Place.OLDEST
    rest_until: float = 0.0
    """When the cohort may be tried again after it has failed at every place, and when it returns to its oldest."""
    _newest: int = 0
    """The highest message id that got no answer: neither later deliveries nor their neighbours were tried."""

    def add(self, delivery: PendingDelivery) -> None:
        """Insert a delivery in the order of the message ids."""
        if not self.deliveries or delivery.message_id > self.deliveries[-1].message_id:
            self.deliveries.append(delivery)
        else:
            insort(self.deliveries, delivery, key=_by_id)

    def rests(self, now: float) -> bool:
        """Return whether the deliveries that were tried have to wait."""
        return self.failures >= len(Place) and now < self.rest_until

    def available(self, now: float) -> int:
        """Return the number of deliveries that may begin now."""
        if not self.rests(now):
            return len(self.deliveries)
        return len(self.deliveries) - bisect_right(self.deliveries, self._newest, key=_by_id)

    def rank(self) -> tuple[int, int]:
        """Return the rank; the lowest goes first: a cohort that has not failed, then one with later deliveries."""
        return min(self.failures, 1) if self._has_news else self.failures, self.deliveries[
            0
        ].message_id if self.deliveries else 0

    @property
    def _has_news(self) -> bool:
        """Whether a delivery has come in after those that got no answer."""
        return bool(self.deliveries) and self.deliveries[-1].message_id > self._newest

    def pop(self, now: float) -> PendingDelivery:
        """Return the next delivery; one has to be `available`."""
        if self.failures and self._has_news:
            self.place = Place.NEWEST
        elif not self.failures and now >= self.rest_until:
            self.place = Place.OLDEST
        index = {Place.OLDEST: 0, Place.NEWEST: -1, Place.MIDDLE: len(self.deliveries) // 2}[self.place]
        return self.deliveries.pop(index)

    def pop_all(self, chosen: Callable[[PendingDelivery], bool]) -> list[PendingDelivery]:
        """Return the deliveries that are `chosen`, and keep the others."""
        popped = [delivery for delivery in self.deliveries if chosen(delivery)]
        if popped:
            self.deliveries = [delivery for delivery in self.deliveries if not chosen(delivery)]
        return popped

    def failed(self, message_id: int, now: float, seconds: float, *, counts: bool) -> None:
        """Note that an attempt got no answer in `seconds`. It `counts` once, however often it is noted."""
        if counts:
            self.failures += 1
            self.place = Place((self.place.value + 1) % len(Place))
            self._newest = max(self._newest, message_id)
        self.rest_until = max(self.rest_until, now + REST * seconds)

    def succeeded(self) -> None:
        """Note that an attempt was answered: its neighbours follow."""
        self.failures = 0

    def forgive(self) -> None:
        """Forget the failures, because the destination was at fault."""
        self.failures, self.rest_until = 0, 0.0
