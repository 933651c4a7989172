"""The actor of one destination: keeps its part of the queue moving, whatever the others do.

It fills a queue with what may travel now, and opens up to `associations` associations, each used to its end by a
carrier. What became of each attempt goes to the ledger, with the time of the next one; what is decided is decided in
`queue`, `cohort`, `retry` and `outcome`. Where a peer leaves a request without a response, one association more than
configured is opened for other messages, so that one message cannot keep all others waiting for a whole timeout. Not
here: sending and receiving (carrier.py), reading the ledger (backlog.py).
"""

import random
from collections.abc import Callable, Container, Mapping, Sequence
from contextlib import AsyncExitStack, suppress
from enum import Enum
from functools import partial
from typing import Final

import structlog
import trio
from attrs import evolve, frozen

from pdu import RoleSelection
from router.association import (
    AssociationError,
    AssociationPool,
    OperationContext,
    Rejected,
    RemoteAE,
    Requestor,
    ReverseAssociation,
    plan_contexts,
)
from router.config import Config, Peer
from router.delivery import outcome
from router.delivery.backlog import Backlog
from router.delivery.carrier import Attempt, Carrier
from router.delivery.queue import DeliveryQueue, Pair, is_suspect, pair_of
from router.delivery.retry import Breaker, RetryPolicy
from router.model import AttemptResult, Cause, Fault, PendingDelivery, Result
from router.services import DeliveryPolicy
from router.services.commitment.options import commitment_of
from router.spool import Spool

_COURTESY: Final = 0.1
"""Seconds before a peer that has opened an association is asked for anything on it: some are not ready for that when
they are accepted, and abort."""
_STALL: Final = 5.0
"""Seconds without a response, or twice the longest that the peer has ever taken, after which another association is
opened for other messages."""
_AT_ONCE: Final = 0.001
"""Seconds until what was interrupted may be sent again."""


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
        services: Mapping[str, DeliveryPolicy],
        pool: AssociationPool | None = None,
        *,
        jitter: Callable[[], float] = random.random,
    ) -> None:
        self.name: Final = peer.name
        self._peer = peer
        self._timeouts = config.timeouts
        self._target = RemoteAE.of(peer, config) if peer.address is not None else None
        self._spool = spool
        self._services = services
        self._host = OperationContext(tuple(services.values()), spool, config.statuses)
        self._pool = pool or AssociationPool()
        self._waiting: set[trio.CancelScope] = set()
        """The scopes in which tasks wait for a slot of the pool."""
        self._jitter = jitter
        self._policy = RetryPolicy(
            first=peer.retry.first, factor=peer.retry.factor, max=peer.retry.max, give_up=peer.retry.give_up
        )
        self._breaker = Breaker(self._policy)
        self._queue = DeliveryQueue()
        self._backlog = Backlog(peer.name, spool, self._queue)
        self._failure = AttemptResult(result=Result.RETRY, reason="", cause=Cause.ABORTED, fault=Fault.SITE)
        """How the last attempt to use the destination failed."""
        self._has_news = False
        """Deliveries have come in since the last attempt that failed."""
        self._draining = False
        self._associations = 0
        """Open ones, and those that are being opened."""
        self._carriers: set[Carrier] = set()
        self._slowest = 0.0
        """Seconds of the slowest response; fades as others come."""
        self._no_extra_until = 0.0
        self._idle = 0
        self._deferred = 0
        self._delivered = 0
        self._bytes_delivered = 0
        self._actor_wakeup = trio.lowlevel.ParkingLot()
        """The actor's task waits here for something to do."""
        self._carrier_wakeup = trio.lowlevel.ParkingLot()
        """Idle carriers wait here for a delivery."""
        self.ended: Final = trio.Event()
        self._log = structlog.get_logger().bind(destination=peer.name)

    def statistics(self) -> DestinationStatistics:
        backing_off = self._breaker.is_open
        stage = Stage.BACKING_OFF if backing_off else Stage.DELIVERING if self._queue.in_flight else Stage.IDLE
        return DestinationStatistics(
            stage=stage.value,
            reason=self._breaker.reason,
            associations=self._associations,
            in_flight=self._queue.in_flight,
            deferred=self._deferred,
            window=len(self._queue),
            next_try=self._wait_seconds() if backing_off else None,
            delivered=self._delivered,
            bytes_delivered=self._bytes_delivered,
        )

    # What it is told

    def arrived(self, deliveries: Sequence[PendingDelivery]) -> None:
        """New deliveries are in the ledger."""
        now = trio.current_time()
        is_first = not self._has_news and self._breaker.is_suspicious
        self._has_news = True
        self._backlog.arrived(deliveries)
        if is_first or not self._queue.available(now):  # the older ones get no response, these may
            self._backlog.look_at_newest()
        self._carrier_wakeup.unpark_all()
        if not self._associations or self._backlog.is_short or self._wants_association(now):
            self._actor_wakeup.unpark_all()  # else those who carry see to it

    def rescan(self) -> None:
        """An operator has changed the queue: read it anew from its beginning, and try at once."""
        self._backlog.changed()
        self._breaker.try_now()
        self._tell()

    def drain(self) -> None:
        """Finish what is in flight, and end."""
        self._draining = True
        for scope in self._waiting:
            scope.cancel()
        self._tell()

    # The actor

    async def run(self) -> None:
        """Deliver until `drain`ed, or cancelled."""
        self._pool.limit, self._pool.linger = self._peer.associations, self._peer.linger
        self._pool.on_shortage = self._tell
        try:
            await self._run()
        finally:
            self.ended.set()

    async def _run(self) -> None:
        async with trio.open_nursery() as nursery:
            while not self._draining:
                self._note_stalls(trio.current_time())
                await self._backlog.refill()
                while self._breaker.is_open and self._hold_expired():
                    await self._backlog.refill()
                now = trio.current_time()
                if self._queue.available(now):  # a requestor that lingers does not see it by itself
                    self._tell()
                while self._wants_association(now):
                    is_extra = self._associations >= self._peer.associations
                    self._associations += 1
                    nursery.start_soon(self._associate, is_extra)
                    await trio.lowlevel.checkpoint()
                if not (self.is_draining or self._backlog.needs_reading):  # told while nobody listened
                    with trio.move_on_at(self._next_moment(trio.current_time())):
                        await self._actor_wakeup.park()

    def _tell(self) -> None:
        """The actor and all who carry for it: look again."""
        self._actor_wakeup.unpark_all()
        self._carrier_wakeup.unpark_all()

    async def _wait(self, until: float) -> None:
        """Until there is news for those who carry, or a time has come."""
        with trio.move_on_at(until):
            await self._carrier_wakeup.park()

    def _next_moment(self, now: float) -> float:
        """When there will be something to do although nothing is heard."""
        moments = [now + self._backlog.seconds_until_due, self._queue.next_moment(now)]
        if self._could_use_association(now):
            moments.append(self._may_open_at(now))
        if self._target is not None:
            moments += (self._stalls_at(carrier, now) for carrier in self._carriers if not self._stalls(carrier, now))
        return min(moments)

    # How many associations

    def _wants_association(self, now: float) -> bool:
        return self._could_use_association(now) and now >= self._may_open_at(now)

    def _could_use_association(self, now: float) -> bool:
        return (
            self._target is not None
            and self._associations <= self._peer.associations
            and self._working(now) < self._peer.associations
            and self._queue.available(now) > self._idle
        )

    def _may_open_at(self, now: float) -> float:
        """From when on the next association may be opened."""
        extra = self._no_extra_until if self._associations >= self._peer.associations else 0.0
        if not self._breaker.is_open:
            return extra
        return float("inf") if self._working(now) else max(extra, self._breaker.next_try(news=self._has_news))

    def _working(self, now: float) -> int:
        """Associations that do not stall."""
        return self._associations - sum(self._stalls(carrier, now) for carrier in self._carriers)

    def _stalls(self, carrier: Carrier, now: float) -> bool:
        return carrier.waits_since is not None and now >= self._stalls_at(carrier, now)

    def _stalls_at(self, carrier: Carrier, now: float) -> float:
        """When a carrier will have waited for too long, if it hears nothing until then."""
        return (now if carrier.waits_since is None else carrier.waits_since) + self._patience

    @property
    def _patience(self) -> float:
        """Seconds without a response after which other messages get another association."""
        return max(_STALL, 2 * self._slowest)

    def _note_stalls(self, now: float) -> None:
        """What has waited for long may never be answered: what is like it goes later."""
        for carrier in self._carriers:
            oldest = carrier.oldest
            if oldest is not None and self._stalls(carrier, now):
                self._queue.stalls(oldest.delivery, now, now - oldest.started)
                self._backlog.look_at_newest()

    # One association

    def is_visited_as(self, title: str) -> bool:
        """Whether what waits goes out on associations that the peer of this AE title opens to us."""
        return self._peer.ae_title == title and (self._target is None or commitment_of(self._peer).reply == "same")

    async def visited(self, visit: ReverseAssociation) -> None:
        """Use an association that the peer has opened, until it has ended."""
        await trio.sleep(_COURTESY)
        while visit.is_alive and not self._draining:
            with suppress(AssociationError):
                await Carrier(visit, self, self._spool, self._services, linger=float("inf")).run()
            self._actor_wakeup.unpark_all()  # what it has left needs another association
            async with trio.open_nursery() as nursery:  # what is ready now is not for this association

                async def leave(scope: trio.CancelScope = nursery.cancel_scope) -> None:
                    await visit.attend()
                    scope.cancel()

                nursery.start_soon(leave)
                await self._wait(float("inf"))
                nursery.cancel_scope.cancel()

    async def _associate(self, is_extra: bool) -> None:
        """Use one association in a slot of the pool; an extra one is beyond what is configured, and needs none."""
        try:
            async with AsyncExitStack() as holding:
                if is_extra or await self._get_slot(holding):
                    await self._use_association(is_extra)
        finally:
            self._associations -= 1
            self._tell()

    async def _get_slot(self, holding: AsyncExitStack) -> bool:
        """Wait for a slot of the pool. Return False if `drain` was called instead."""
        with trio.CancelScope() as scope:
            self._waiting.add(scope)
            try:
                await holding.enter_async_context(self._pool.slot())
            finally:
                self._waiting.remove(scope)
        return not scope.cancelled_caught

    async def _use_association(self, is_extra: bool) -> None:
        """One association, from its opening to its end, and what its failure means. An extra one does not wait as
        long for a response: it is there for what is answered."""
        try:
            association = await self._open(is_extra)
            if association is None:
                return
            patience = self._patience if is_extra else float("inf")
            async with association:
                self._hold_refused(association)
                carrier = Carrier(
                    association, self, self._spool, self._services, linger=self._peer.linger, patience=patience
                )
                self._carriers.add(carrier)
                self._actor_wakeup.unpark_all()  # it has to see when this one stalls
                try:
                    await carrier.run()
                finally:
                    self._carriers.remove(carrier)
        except AssociationError:  # what was in flight has been settled, and the breaker told
            pass

    async def _open(self, is_extra: bool) -> Requestor | None:
        assert self._target is not None, "whoever has no address is not called"
        plan = self._queue.plan(trio.current_time())
        if not plan:  # others have taken it all meanwhile
            return None
        try:
            return await Requestor.open(
                self._target, plan_contexts(plan), self._timeouts, roles=self._roles(plan), host=self._host
            )
        except AssociationError as error:
            if is_extra:  # the peer may not want more than are configured
                self._no_extra_until = trio.current_time() + self._policy.max
                self._log.info("no association beside the one that waits", why=str(error))
            else:
                self._unreachable(error)
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
        return self._queue.available(trio.current_time()) > 0

    @property
    def is_troubled(self) -> bool:
        return self._breaker.is_open

    @property
    def is_draining(self) -> bool:
        return self._draining

    @property
    def has_too_many(self) -> bool:
        over = self._associations > self._peer.associations
        return self._pool.queue_must_yield or (over and self._working(trio.current_time()) > self._peer.associations)

    def take(self, offered: Container[Pair], *, alone: bool) -> PendingDelivery | None:
        delivery = self._queue.take(offered, trio.current_time(), alone=alone, probing=self._breaker.is_open)
        if delivery is not None:
            self._backlog.taken(delivery)
        if self._backlog.is_short:
            self._actor_wakeup.unpark_all()
        return delivery

    async def news(self, until: float) -> None:
        self._idle += 1
        try:
            await self._wait(until)
        finally:
            self._idle -= 1

    # What became of it

    def responded(self, attempt: Attempt, seconds: float) -> None:
        self._slowest = max(seconds, 0.99 * self._slowest)
        self._queue.responded(attempt.delivery)
        if self._breaker.is_open:
            self._queue.forgive()
            self._tell()
        self._breaker.record_response()

    def unanswered(self, attempt: Attempt, fault: Fault, reason: str) -> None:
        now, delivery = trio.current_time(), attempt.delivery
        was_open = self._breaker.is_open
        self._has_news = self._has_news and is_suspect(delivery)
        self._queue.failed(delivery, now, now - attempt.started)
        self._backlog.look_at_newest()
        if fault is Fault.SITE:
            self._breaker.record_unanswered(now, self._jitter(), reason, is_retry=is_suspect(delivery))
        if self._breaker.is_open and not was_open:
            self._log.warning(
                "destination keeps failing", why=self._breaker.reason, next_try_seconds=round(self._wait_seconds(), 1)
            )

    def settle(self, attempt: Attempt, result: AttemptResult) -> None:
        delivery = attempt.delivery
        attempts = delivery.attempts + 1
        delay, result = self._timed(delivery, result, attempts)
        match result.result:
            case Result.DELIVERED:
                self._delivered += 1
                self._bytes_delivered += delivery.data_length
            case Result.RETRY:
                self._deferred += 1
                self._backlog.deferred(result.due)
        self._queue.leave(delivery.message_id, delivered=result.result is Result.DELIVERED)
        if result.result is Result.RETRY or delivery.key:  # the next moment may be another one now
            self._actor_wakeup.unpark_all()
        self._spool.settle(delivery.message_id, self.name, result)
        for service in self._services.values():
            service.settled(delivery, result)
        self._report(attempt, result, attempts, delay)

    def _timed(
        self, delivery: PendingDelivery, result: AttemptResult, attempts: int
    ) -> tuple[float | None, AttemptResult]:
        """When to try again, in seconds and in the result; held where it has been owed for too long."""
        if result.result is not Result.RETRY:
            return None, result
        if result.cause is Cause.INTERRUPTED:
            delay: float | None = _AT_ONCE
        else:
            delay = self._policy.next(attempts, self._age(delivery), self._jitter())
        if delay is None:
            return None, outcome.given_up(result, attempts)
        return delay, evolve(result, due=self._spool.clock() + delay)

    def _report(self, attempt: Attempt, result: AttemptResult, attempts: int, delay: float | None) -> None:
        details = {"comment": result.comment} if result.comment else {}
        (self._log.info if result.result is Result.DELIVERED else self._log.warning)(
            "delivery",
            outcome=result.result.value,
            reason=result.reason,
            message_id=attempt.delivery.message_id,
            sop_instance_uid=attempt.delivery.sop_instance_uid,
            attempt=attempts,
            data_set_bytes=attempt.delivery.data_length,
            seconds=round(trio.current_time() - attempt.started, 4),
            next_try_seconds=None if delay is None else round(delay, 1),
            **details,
        )

    def _age(self, delivery: PendingDelivery) -> float:
        return self._spool.clock() - delivery.born

    def _hold_refused(self, association: Requestor) -> None:
        """Deliveries that the peer has no presentation context for are for an operator."""
        for pair, words in association.refused.items():
            self._hold(partial(_needs, pair), outcome.of_refused_context(words))

    def _hold(self, chosen: Callable[[PendingDelivery], bool], result: AttemptResult) -> int:
        """Settle all ready deliveries that are chosen without sending them. Returns how many."""
        taken = self._queue.take_all(chosen)
        for delivery in taken:
            self.settle(Attempt(delivery=delivery, started=trio.current_time()), result)
        return len(taken)

    def _unreachable(self, error: AssociationError) -> None:
        """The destination is at fault: everything waits, but not for ever. A rejection needs somebody to act at one
        of the two sites, and is an error in the log."""
        self._has_news = False
        self._failure = outcome.of_no_association(error)
        self._breaker.record_site_failure(trio.current_time(), self._jitter(), self._failure.reason)
        (self._log.error if isinstance(error, Rejected) else self._log.warning)(
            "destination unreachable",
            why=self._failure.reason,
            next_try_seconds=round(self._wait_seconds(), 1),
        )

    def _hold_expired(self) -> int:
        """Give up what has been owed for too long. Returns how many."""
        failure = evolve(self._failure, reason=self._breaker.reason)
        return self._hold(lambda delivery: self._age(delivery) >= self._policy.give_up, outcome.given_up(failure, 0))

    def _wait_seconds(self) -> float:
        return max(0.0, self._breaker.next_try(news=self._has_news) - trio.current_time())


def _needs(pair: Pair, delivery: PendingDelivery) -> bool:
    return pair_of(delivery) == pair
