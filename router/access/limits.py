"""Count open sockets and associations, in total and per peer, and refuse those over the limit.

Not here: whether a requestor may open an association at all (policy.py).
"""

from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager

from attrs import frozen

from router.config import Limits

_SOCKETS_PER_ASSOCIATION = 2
"""Sockets that may be open for each association that may: those over the limit are told so with an A-ASSOCIATE-RJ,
those over this are just closed."""


@frozen(kw_only=True)
class AssociationCounts:
    sockets: int
    associations: int
    turned_away: int


class AssociationLimits:
    """The counts of one router, shared by its listeners."""

    def __init__(self, limits: Limits) -> None:
        self.limits = limits
        self._sockets: Counter[str] = Counter()
        self._associations: Counter[str] = Counter()
        self._turned_away = 0

    def statistics(self) -> AssociationCounts:
        return AssociationCounts(
            sockets=self._sockets.total(), associations=self._associations.total(), turned_away=self._turned_away
        )

    @contextmanager
    def socket(self, peer: str) -> Iterator[bool]:
        """Count a connection while it lasts. False: there are too many, close it."""
        with self._counted(self._sockets, peer, _SOCKETS_PER_ASSOCIATION) as admitted:
            yield admitted

    @contextmanager
    def association(self, peer: str) -> Iterator[bool]:
        """Count an association while it lasts. False: it is one too many, reject it."""
        with self._counted(self._associations, peer, 1) as admitted:
            yield admitted

    @contextmanager
    def _counted(self, counter: Counter[str], peer: str, factor: int) -> Iterator[bool]:
        admitted = (
            counter.total() < self.limits.associations * factor
            and counter[peer] < self.limits.associations_per_peer * factor
        )
        if not admitted:
            self._turned_away += 1
            yield False
            return
        counter[peer] += 1
        try:
            yield True
        finally:
            counter[peer] -= 1
            if not counter[peer]:
                del counter[peer]
