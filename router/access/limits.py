"""Count open sockets and associations, in total and per peer, and refuse those over the limit.

Not here: whether a requestor may open an association at all (policy.py).
"""

from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager

from attrs import frozen

from router.config import Limits

_SOCKETS_PER_ASSOCIATION = 2
"""Sockets allowed for each allowed association.

Above the limit of associations a requestor gets an A-ASSOCIATE-RJ; above this limit the socket is closed without a
reply, so that a flood costs no PDU.
"""


@frozen(kw_only=True)
class AssociationCounts:
    """Open sockets and associations, and how many were closed or rejected for a limit since the start."""

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
        """Return what is open now, and how many were turned away."""
        return AssociationCounts(
            sockets=self._sockets.total(), associations=self._associations.total(), turned_away=self._turned_away
        )

    @contextmanager
    def count_socket(self, peer: str) -> Iterator[bool]:
        """Count a socket while the block runs. Yield False if a limit is reached; the caller closes the socket."""
        with self._counted(self._sockets, peer, _SOCKETS_PER_ASSOCIATION) as admitted:
            yield admitted

    @contextmanager
    def count_association(self, peer: str) -> Iterator[bool]:
        """Count an association while the block runs. Yield False if a limit is reached; the caller rejects it."""
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
