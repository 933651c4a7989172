"""When to try again. Plain functions and values: no clock, no randomness, no trio.

A delivery that failed by itself waits by itself (`RetryPolicy`). A destination that cannot be reached, or that
failed several deliveries in a row, makes all of them wait (`Breaker`): one association probes it now and then, and
the first success lets everything flow again.
"""

import itertools
from collections.abc import Iterator

from attrs import define, frozen

STRIKES = 5
"""Failed deliveries in a row after which the destination itself is taken to be at fault."""


@frozen(kw_only=True)
class RetryPolicy:
    """Exponential backoff. All times in seconds."""

    first: float
    factor: float
    max: float
    give_up: float

    def next(self, attempt: int, age: float, jitter: float) -> float | None:
        """How long to wait after failed attempt number `attempt` (1 is the first); None: give up.

        `age` is how long the delivery has been owed, `jitter` a number from 0 to 1 that spreads the waits between
        half and the whole of the backoff, so that a thousand deliveries do not come back in the same second.
        """
        if age >= self.give_up:
            return None
        # The exponent is capped: beyond it the wait is `max` anyway, and floats overflow.
        backoff = min(self.max, self.first * self.factor ** min(attempt - 1, 64))
        return backoff * (0.5 + 0.5 * jitter)


def restarts() -> Iterator[float]:
    """Seconds before something that has crashed is started again: doubled with each crash, up to a minute."""
    return (min(60.0, 2.0 ** min(crash, 10)) for crash in itertools.count())


@define
class Breaker:
    """The circuit breaker of one destination."""

    policy: RetryPolicy
    failures: int = 0
    """Failures of the destination in a row."""
    strikes: int = 0
    """Failures of single deliveries in a row."""
    closed_at: float = 0.0
    """On the clock of the caller: until then nothing is tried."""
    reason: str = ""

    @property
    def is_open(self) -> bool:
        return self.failures > 0

    def allows(self, now: float, associations: int) -> bool:
        """Whether another association may be opened beside the `associations` there are. While the breaker is
        open it is one at a time, when the wait is over."""
        return not self.is_open or (now >= self.closed_at and not associations)

    def failed(self, now: float, jitter: float, reason: str) -> None:
        """The destination could not be reached, or would not talk."""
        self.failures += 1
        self.reason = reason
        self._pause(now, jitter)

    def struck(self, now: float, jitter: float, reason: str, *, again: bool) -> None:
        """One delivery failed in a way that may be the delivery's own fault, or the destination's. Where it fails
        `again` it says nothing new about the destination: a few poison objects shall not make all others wait."""
        if again:
            self._pause(now, jitter)
            return
        self.strikes += 1
        if self.strikes >= STRIKES:
            self.failed(now, jitter, f"{self.strikes} failures in a row, the last: {reason}")

    def _pause(self, now: float, jitter: float) -> None:
        """Where the breaker is open, wait once more, as long as before."""
        if self.is_open:
            delay = self.policy.next(self.failures, 0.0, jitter)
            self.closed_at = now + (self.policy.max if delay is None else delay)

    def succeeded(self) -> None:
        self.failures = self.strikes = 0
        self.reason = ""
