"""When to try again. Plain functions and values: no clock, no randomness, no trio.

A delivery that failed by itself waits by itself (`RetryPolicy`), whatever status it was answered with. A destination
that cannot be reached, or that leaves attempt after attempt without a response, makes all of them wait (`Breaker`):
one attempt probes it now and then, and the first response lets everything flow again.
"""

import itertools
from collections.abc import Iterator

from attrs import define, frozen

UNANSWERED_TO_OPEN = 5
"""Attempts in a row without a response after which the destination itself counts as at fault."""
CRASHES_TO_HOLD = 3
"""Attempts of one delivery that end in an exception of our own, after which it is held."""


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
    """The circuit breaker of one destination. Times are the caller's clock.

    It opens at once where nobody answered at the site: no connection, a rejection, no answer to the A-ASSOCIATE-RQ.
    An attempt that ended without a response may be the message's fault: several in a row open it, and it then is open
    on suspicion. While it is open, one attempt at a time probes the destination, after a pause that doubles. On
    suspicion alone, what has come in since is reason for a probe before that. The first response closes it.
    """

    policy: RetryPolicy
    failures: int = 0
    """Failures of the destination in a row."""
    unanswered: int = 0
    """Attempts in a row that ended without a response."""
    quiet_until: float = 0.0
    """Until then nothing is tried, without news."""
    reason: str = ""
    _on_suspicion: bool = False
    _failed_at: float = 0.0

    @property
    def is_open(self) -> bool:
        return self.failures > 0

    @property
    def is_suspicious(self) -> bool:
        """Whether it is open although the fault may be that of the messages that were tried."""
        return self.is_open and self._on_suspicion

    def allows(self, now: float, associations: int, *, news: bool) -> bool:
        """Return whether another association may be opened beside the `associations` that work.

        `news`: deliveries have come in since the last failure.
        """
        return not self.is_open or (not associations and now >= self.next_try(news=news))

    def next_try(self, *, news: bool) -> float:
        """When an open breaker allows the next probe."""
        if news and self.is_suspicious:
            return min(self.quiet_until, self._failed_at + self.policy.first)
        return self.quiet_until

    def try_now(self) -> None:
        """Allow the next probe at once, because an operator asked for it."""
        self.quiet_until = 0.0

    def record_site_failure(self, now: float, jitter: float, reason: str) -> None:
        """Nobody answered at the destination, or it would have no association: leave it in peace for a while."""
        self._on_suspicion = False
        self._fail(now, jitter, reason)

    def record_unanswered(self, now: float, jitter: float, reason: str, *, is_retry: bool) -> None:
        """Count an attempt without a response, and open the breaker after `UNANSWERED_TO_OPEN` in a row.

        The fault may lie in the message or in the destination. The retry of a message that got no response before
        tells nothing new about the destination and is not counted: otherwise a few such messages would hold up all
        others.
        """
        self._failed_at = now
        if is_retry:
            self._pause(now, jitter)
            return
        self.unanswered += 1
        if self.unanswered >= UNANSWERED_TO_OPEN:
            self._on_suspicion = self._on_suspicion or not self.is_open
            self._fail(now, jitter, f"{self.unanswered} attempts in a row without a response, the last: {reason}")

    def _fail(self, now: float, jitter: float, reason: str) -> None:
        self.failures += 1
        self.reason = reason
        self._failed_at = now
        self._pause(now, jitter)

    def _pause(self, now: float, jitter: float) -> None:
        """Where the breaker is open, wait once more, as long as before."""
        if self.is_open:
            delay = self.policy.next(self.failures, 0.0, jitter)
            self.quiet_until = now + (self.policy.max if delay is None else delay)

    def record_response(self) -> None:
        """Close the breaker: the destination has responded, whatever the status."""
        self.failures = self.unanswered = 0
        self.reason = ""
