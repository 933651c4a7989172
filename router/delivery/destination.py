"""The actor of one destination: keeps its part of the queue moving, whatever the others do.

It holds a window of the ledger's queue and up to `associations` associations, each opened for what waits and used to
its end by a carrier. What became of each attempt goes to the ledger; what is decided (retry, hold, back off) is
decided in `retry` and `window`. Not here: sending and receiving (carrier.py).
"""

import random
from collections.abc import Callable, Container, Mapping, Sequence
from contextlib import suppress
from enum import Enum
from functools import partial
from typing import Final

import structlog
import trio
from attrs import evolve, frozen

from pdu import RoleSelection
from router.association import AssociationError, Host, Rejected, Requestor, Target, Visit, plan_contexts
from router.config import Config, Peer
from router.delivery.carrier import Attempt, Carrier
from router.delivery.retry import Breaker, RetryPolicy
from router.delivery.window import Pair, Window
from router.messages import Result, Settlement, Waiting
from router.services import Service
from router.spool import Spool

_REFILL_BELOW: Final = 128
"""Deliveries in the window below which more are read from the ledger."""
_COURTESY: Final = 0.1
"""Seconds before a peer that has opened an association is asked for anything on it: some are not ready for that when
they are accepted, and abort."""


class Stage(Enum):
    """What a destination is doing, for `status`."""

    IDLE = "idle"
    DELIVERING = "delivering"
    BACKING_OFF = "backing off"


@frozen(kw_only=True)
class DestinationStatistics:
    stage: str
    reason: str
    associations: int
    in_flight: int
    deferred: int
    window: int
    next_try: float | None
    """Seconds from now, while backing off."""
    delivered: int
    """Since this process started."""
    bytes_delivered: int


class Destination:
    """One peer that deliveries go to. Told by `arrived`, `rescan` and `drain`; never asked."""

    def __init__(
        self,
        peer: Peer,
        config: Config,
        spool: Spool,
        services: Mapping[str, Service],
        *,
        jitter: Callable[[], float] = random.random,
    ) -> None:
        self.name: Final = peer.name
        self._peer = peer
        self._timeouts = config.timeouts
        self._target = Target.of(peer, config) if peer.address is not None else None
        self._spool = spool
        self._services = services
        self._host = Host(tuple(services.values()), spool, config.statuses)
        self._jitter = jitter
        self._policy = RetryPolicy(
            first=peer.retry.first, factor=peer.retry.factor, max=peer.retry.max, give_up=peer.retry.give_up
        )
        self._breaker = Breaker(self._policy)
        self._window = Window()
        self._cursor = 0
        self._arrivals = 0
        self._caught_up = False
        self._rescan = False
        self._draining = False
        self._associations = 0
        self._idle = 0
        self._delivered = 0
        self._bytes_delivered = 0
        self._work = trio.lowlevel.ParkingLot()
        """Where the actor rests,"""
        self._news = trio.lowlevel.ParkingLot()
        """and where those who carry for it do."""
        self.ended: Final = trio.Event()
        self._log = structlog.get_logger().bind(destination=peer.name)

    def statistics(self) -> DestinationStatistics:
        backing_off = self._breaker.is_open
        stage = Stage.BACKING_OFF if backing_off else Stage.DELIVERING if self._window.in_flight else Stage.IDLE
        return DestinationStatistics(
            stage=stage.value,
            reason=self._breaker.reason,
            associations=self._associations,
            in_flight=self._window.in_flight,
            deferred=self._window.deferred,
            window=len(self._window),
            next_try=self._wait_seconds() if backing_off else None,
            delivered=self._delivered,
            bytes_delivered=self._bytes_delivered,
        )

    # What it is told

    def arrived(self, deliveries: Sequence[Waiting]) -> None:
        """New deliveries are in the ledger. They are taken as they are where nothing older is still to be read, and
        no lane is concerned: whether a held message blocks a lane, the ledger knows."""
        self._arrivals += 1
        laned = any(delivery.key for delivery in deliveries)
        if self._caught_up and not self._rescan and not laned and len(deliveries) <= self._window.room:
            self._take_in(deliveries)
        else:
            self._caught_up = False
            self._cursor = min(self._cursor, deliveries[0].message_id - 1)  # it may have been behind a held one
        self._news.unpark_all()
        if not self._associations or self._is_short or self._wants_association():  # else those who carry see to it
            self._work.unpark_all()

    def rescan(self) -> None:
        """A person has changed the queue: read it anew from its beginning, and try at once."""
        self._rescan = True
        self._breaker.closed_at = 0.0
        self._tell()

    def drain(self) -> None:
        """Finish what is in flight, and end."""
        self._draining = True
        self._tell()

    # The actor

    async def run(self) -> None:
        """Deliver until `drain`ed, or cancelled."""
        try:
            await self._run()
        finally:
            self.ended.set()

    async def _run(self) -> None:
        async with trio.open_nursery() as nursery:
            while not self._draining:
                await self._refill()
                self._window.wake(trio.current_time())
                if self._window.ready:  # a requestor that lingers does not see it by itself
                    self._tell()
                while self._wants_association():
                    self._associations += 1
                    nursery.start_soon(self._associate)
                    await trio.lowlevel.checkpoint()
                if not (self._rescan or self.is_draining or self._is_short):  # told while nobody listened
                    with trio.move_on_at(self._next_moment()):
                        await self._work.park()

    def _tell(self) -> None:
        """The actor and all who carry for it: look again."""
        self._work.unpark_all()
        self._news.unpark_all()

    async def _wait(self, until: float) -> None:
        """Until there is news for those who carry, or a time has come."""
        with trio.move_on_at(until):
            await self._news.park()

    @property
    def _is_short(self) -> bool:
        """Whether more should be read from the ledger."""
        return not self._caught_up and self._window.ready < _REFILL_BELOW and self._window.room > 0

    def _next_moment(self) -> float:
        """When there will be something to do although nothing is heard."""
        moments = [self._window.next_due]
        if self._target is not None and self._breaker.is_open and self._window.ready and not self._associations:
            moments.append(self._breaker.closed_at)
        return min((moment for moment in moments if moment is not None), default=float("inf"))

    def _wants_association(self) -> bool:
        return (
            self._target is not None
            and self._associations < self._peer.associations
            and self._window.ready > self._idle
            and self._breaker.allows(trio.current_time(), self._associations)
        )

    async def _refill(self) -> None:
        if self._rescan:
            self._rescan = False
            self._window.forget_idle()
            self._cursor, self._caught_up = 0, False
        while self._is_short:
            room, arrivals = self._window.room, self._arrivals
            with self._window.being_read():
                rows = await self._spool.waiting(self.name, self._cursor, room)
                if self._rescan:
                    return
                self._caught_up = len(rows) < room and arrivals == self._arrivals
                self._take_in(rows)

    def _take_in(self, rows: Sequence[Waiting]) -> None:
        if rows:
            self._cursor = max(self._cursor, rows[-1].message_id)
            self._window.add(rows)

    # One association

    def is_visited_as(self, title: str) -> bool:
        """Whether what waits goes out on associations that the peer of this AE title opens to us."""
        return self._peer.ae_title == title and (self._target is None or self._peer.commitment.reply == "same")

    async def visited(self, visit: Visit) -> None:
        """Use an association that the peer has opened, until it has ended."""
        await trio.sleep(_COURTESY)
        while visit.is_alive and not self._draining:
            with suppress(AssociationError):
                await Carrier(visit, self, self._spool, self._services, float("inf")).run()
            self._work.unpark_all()  # what it has left needs another association
            async with trio.open_nursery() as nursery:  # what is ready now is not for this association

                async def leave(scope: trio.CancelScope = nursery.cancel_scope) -> None:
                    await visit.attend()
                    scope.cancel()

                nursery.start_soon(leave)
                await self._wait(float("inf"))
                nursery.cancel_scope.cancel()

    async def _associate(self) -> None:
        """One association, from its opening to its end, and what its failure means."""
        try:
            association = await self._open()
            if association is None:
                return
            async with association:
                self._hold_refused(association)
                await Carrier(association, self, self._spool, self._services, self._peer.linger).run()
        except AssociationError:  # what was in flight has been settled, and the breaker told
            pass
        finally:
            self._associations -= 1
            self._tell()

    async def _open(self) -> Requestor | None:
        assert self._target is not None, "whoever has no address is not called"
        plan = self._window.plan()
        if not plan:  # others have taken it all meanwhile
            return None
        try:
            return await Requestor.open(
                self._target, plan_contexts(plan), self._timeouts, roles=self._roles(plan), host=self._host
            )
        except Rejected as error:
            self._unreachable(f"association {error}")
            if not error.rejection.transient:
                self._hold(lambda _: True, f"association {error}")
        except AssociationError as error:
            self._unreachable(str(error))
        return None

    def _roles(self, plan: Sequence[Pair]) -> list[RoleSelection]:
        """What the services propose for the abstract syntaxes of a plan."""
        proposals = {
            abstract_syntax: proposal
            for abstract_syntax in dict.fromkeys(pair[0] for pair in plan)
            for service in self._services.values()
            if (proposal := service.proposes(abstract_syntax)) is not None
        }
        return list(proposals.values())

    # What a carrier asks for

    @property
    def has_ready(self) -> bool:
        return self._window.ready > 0

    @property
    def is_troubled(self) -> bool:
        return self._breaker.is_open

    @property
    def is_draining(self) -> bool:
        return self._draining

    def take(self, offered: Container[Pair]) -> Waiting | None:
        delivery = self._window.take(offered)
        if not self._caught_up and self._window.ready < _REFILL_BELOW:
            self._tell()
        return delivery

    async def news(self, until: float) -> None:
        self._idle += 1
        try:
            await self._wait(until)
        finally:
            self._idle -= 1

    def succeeded(self) -> None:
        self._breaker.succeeded()

    def struck(self, attempt: Attempt, reason: str) -> None:
        was_open = self._breaker.is_open
        self._breaker.struck(trio.current_time(), self._jitter(), reason, again=attempt.delivery.attempts > 0)
        if self._breaker.is_open and not was_open:
            self._log.warning(
                "destination keeps failing", why=self._breaker.reason, next_try_seconds=round(self._wait_seconds(), 1)
            )

    # What became of it

    def settle(self, attempt: Attempt, result: Result, reason: str) -> None:
        now = trio.current_time()
        delivery = attempt.delivery
        attempts = delivery.attempts + 1
        delay = None
        if result is Result.RETRY:
            delay = self._policy.next(attempts, self._age(delivery), self._jitter())
            if delay is None:
                result, reason = Result.HELD, f"given up after {attempts} attempts, the last: {reason}"
        match result:
            case Result.DELIVERED:
                self._delivered += 1
                self._bytes_delivered += delivery.data_length
                self._window.finish(delivery.message_id)
            case Result.HELD:
                self._window.drop(delivery.message_id)
            case Result.RETRY:
                assert delay is not None
                if not self._window.defer(evolve(delivery, attempts=attempts), now + delay):
                    self._rescan = True
                self._tell()  # the next moment may be another one now
        self._spool.settle(delivery.message_id, self.name, Settlement(result=result, reason=reason))
        for service in self._services.values():
            service.settled(delivery, result, reason)
        (self._log.info if result is Result.DELIVERED else self._log.warning)(
            "delivery",
            outcome=result.value,
            reason=reason,
            message_id=delivery.message_id,
            sop_instance_uid=delivery.sop_instance_uid,
            attempt=attempts,
            data_set_bytes=delivery.data_length,
            seconds=round(now - attempt.started, 4),
            next_try_seconds=None if delay is None else round(delay, 1),
        )

    def _age(self, delivery: Waiting) -> float:
        return self._spool.clock() - delivery.born

    def _hold_refused(self, association: Requestor) -> None:
        """Deliveries that the peer has no presentation context for need a person."""
        for pair, words in association.refused.items():
            self._hold(partial(_needs, pair), words)

    def _hold(self, chosen: Callable[[Waiting], bool], reason: str) -> None:
        for delivery in self._window.take_all(chosen):
            self.settle(Attempt(delivery=delivery, started=trio.current_time()), Result.HELD, reason)

    def _unreachable(self, reason: str) -> None:
        """The destination is at fault: everything waits, but not for ever."""
        self._breaker.failed(trio.current_time(), self._jitter(), reason)
        self._log.warning("destination unreachable", why=reason, next_try_seconds=round(self._wait_seconds(), 1))
        expired = f"given up: {reason}"
        self._hold(lambda delivery: self._age(delivery) >= self._policy.give_up, expired)

    def _wait_seconds(self) -> float:
        return max(0.0, self._breaker.closed_at - trio.current_time())


def _needs(pair: Pair, delivery: Waiting) -> bool:
    return (delivery.abstract_syntax, delivery.transfer_syntax) == pair
