"""When object number n is due, and when there are no more. Pure: it knows no clock.

With a rate the load is an open loop: an object is due at its moment whether or not those before it are answered, and
its latency counts from that moment. So a peer that stalls is charged for all that had to wait meanwhile, which a
sender that waits for answers would leave out (coordinated omission).
"""

from attrs import frozen


@frozen(kw_only=True)
class Schedule:
    """At least one of `objects` and `seconds` says where it ends."""

    start: float
    rate: float | None = None
    """Objects/s; None is as fast as they are taken."""
    objects: int | None = None
    seconds: float | None = None

    def due(self, number: int) -> float | None:
        """The moment at which object `number`, the first being 0, is meant to leave; None is as soon as it can."""
        return None if self.rate is None else self.start + number / self.rate

    def over(self, number: int, now: float) -> bool:
        """Whether object `number` is not to be sent any more."""
        if self.objects is not None and number >= self.objects:
            return True
        if self.seconds is None:
            return False
        due = self.due(number)
        return (now if due is None else due) >= self.start + self.seconds
