"""Decide how many channels a destination may have, and which of them stall. Pure: no trio, the clock is the caller's.

A destination opens up to `limit` channels. A channel stalls while it waits for an answer for longer than the peer has
ever needed; while one does, one channel more than the limit may be opened for other messages.
"""

from collections.abc import Iterator
from typing import Final, Generic, Protocol, TypeVar

from attrs import define, field

from router.delivery.retry import Breaker

_STALL: Final = 5.0
"""Seconds without an answer, or twice the longest that the peer has needed, after which a channel stalls."""
_NEVER: Final = float("inf")


class Session(Protocol):
    """The use of one channel."""

    waits_since: float | None
    """Since when answers are due and none has come; None while none is due."""


S = TypeVar("S", bound=Session)


@define
class Channels(Generic[S]):
    """The channels of one destination."""

    limit: int
    """`associations` of the configuration."""
    breaker: Breaker
    count: int = 0
    """Channels that are open or being opened."""
    idle: int = 0
    """Sessions that wait for something to deliver."""
    no_extra_until: float = 0.0
    """When another channel beyond the limit may be tried: the peer has refused one."""
    _sessions: list[S] = field(factory=list)
    """The sessions on channels that we have opened."""
    _slowest: float = 0.0
    """Seconds of the slowest answer; fades as others come."""

    def add(self, session: S) -> None:
        """Watch a session on a channel that we have opened."""
        self._sessions.append(session)

    def remove(self, session: S) -> None:
        self._sessions.remove(session)

    def record_answer(self, seconds: float) -> None:
        """Note how long the peer has taken for an answer."""
        self._slowest = max(seconds, 0.99 * self._slowest)

    @property
    def patience(self) -> float:
        """Seconds without an answer after which other messages get another channel."""
        return max(_STALL, 2 * self._slowest)

    @property
    def is_full(self) -> bool:
        """Whether another channel would be one beyond the limit."""
        return self.count >= self.limit

    def has_too_many(self, now: float) -> bool:
        """Return whether a channel has to be closed, because the stalling one works again."""
        return self.count > self.limit and self._working(now) > self.limit

    def wants_another(self, available: int, now: float, *, news: bool) -> bool:
        """Return whether to open a channel now.

        `available`: deliveries that may begin. `news`: some have come in since the last failure.
        """
        return self._could_use_another(available, now) and now >= self._may_open_at(now, news=news)

    def next_moment(self, available: int, now: float, *, news: bool) -> float:
        """Return when a channel may be opened or a session begins to stall, if nothing happens until then."""
        moments = [self._stalls_at(session, now) for session in self._sessions if not self._stalls(session, now)]
        if self._could_use_another(available, now):
            moments.append(self._may_open_at(now, news=news))
        return min(moments, default=_NEVER)

    def _could_use_another(self, available: int, now: float) -> bool:
        return self.count <= self.limit and available > self.idle and self._working(now) < self.limit

    def _may_open_at(self, now: float, *, news: bool) -> float:
        """Return from when on the next channel may be opened."""
        extra = self.no_extra_until if self.is_full else 0.0
        if not self.breaker.is_open:
            return extra
        return _NEVER if self._working(now) else max(extra, self.breaker.next_try(news=news))

    def stalling(self, now: float) -> Iterator[S]:
        """Iterate over the sessions that wait for too long."""
        return (session for session in self._sessions if self._stalls(session, now))

    def _stalls(self, session: Session, now: float) -> bool:
        return session.waits_since is not None and now >= self._stalls_at(session, now)

    def _stalls_at(self, session: Session, now: float) -> float:
        """Return when a session will have waited for too long, if no answer comes until then."""
        return (now if session.waits_since is None else session.waits_since) + self.patience

    def _working(self, now: float) -> int:
        """Return the number of channels that do not stall."""
        patience = self.patience
        waiting = [session.waits_since for session in self._sessions]
        return self.count - sum([since is not None and now >= since + patience for since in waiting])
