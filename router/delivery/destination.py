"""The actor of one destination: keep its part of the queue moving, independently of the other destinations.

It fills a queue with the deliveries that may begin, and opens up to `associations` channels to the peer, each used by
a session to its end. The result of each attempt goes to the ledger, with the time of the next one. If a peer leaves a
request without an answer, one channel more than configured is opened for other messages, so that one message cannot
keep all others waiting for a whole timeout. Not here: the decisions (`queue`, `cohort`, `channels`, `retry`,
`outcome`), sending and receiving (session.py, router/remote), reading the ledger (backlog.py).
"""

import random
from collections.abc import Callable, Mapping, Sequence
from contextlib import AsyncExitStack, suppress
from typing import Final

import structlog
import trio
from attrs import evolve

from router.config import Peer
from router.delivery import results
from router.delivery.backlog import Backlog
from router.delivery.channels import Channels
from router.delivery.queue import DeliveryQueue, is_suspect
from router.delivery.retry import Breaker, RetryPolicy
from router.delivery.session import Attempt, DeliverySession
from router.delivery.statistics import DestinationStatistics, Stage
from router.model import AttemptResult, Cause, Fault, PendingDelivery, Result
from router.remote import Channel, ChannelLost, NoChannel, PeerConnector, ReverseConnector
from router.services import DeliveryPolicy
from router.services.commitment.options import commitment_of
from router.spool import Spool

_REVERSE_SEND_DELAY: Final = 0.1
"""Seconds before the first request on an association that a peer has opened. Some peers are not ready for one as soon
as they are accepted, and abort."""
_AT_ONCE: Final = 0.001
"""Seconds until an interrupted delivery may be sent again."""


class Destination:
    """One peer that deliveries go to. Told by `arrived`, `rescan` and `drain`; never asked."""

    def __init__(
        self,
        peer: Peer,
        connector: PeerConnector | None,
        spool: Spool,
        services: Mapping[str, DeliveryPolicy],
        *,
        jitter: Callable[[], float] = random.random,
    ) -> None:
        """`connector`: None for a peer that cannot be called, to which deliveries leave on its own connections."""
        self.name: Final = peer.name
        self._peer = peer
        self._connector = connector
        self._spool = spool
        self._services = services
        self._jitter = jitter
        self._policy = RetryPolicy(
            first=peer.retry.first, factor=peer.retry.factor, max=peer.retry.max, give_up=peer.retry.give_up
        )
        self._breaker = Breaker(self._policy)
        self._channels = Channels[DeliverySession](peer.associations, self._breaker)
        self._queue = DeliveryQueue()
        self._backlog = Backlog(peer.name, spool, self._queue)
        self._failure = AttemptResult(result=Result.RETRY, reason="", cause=Cause.ABORTED, fault=Fault.SITE)
        """The result of the last failure to open a channel."""
        self._has_news = False
        """Deliveries have come in since the last attempt that failed."""
        self._draining = False
        self._waiting_for_slot: set[trio.CancelScope] = set()
        self._deferred = 0
        self._delivered = 0
        self._bytes_delivered = 0
        self._actor_wakeup = trio.lowlevel.ParkingLot()
        """The actor's task waits here for something to do."""
        self._session_wakeup = trio.lowlevel.ParkingLot()
        """Idle sessions wait here for a delivery."""
        self.ended: Final = trio.Event()
        self._log = structlog.get_logger().bind(destination=peer.name)

    def statistics(self) -> DestinationStatistics:
        backing_off = self._breaker.is_open
        stage = Stage.BACKING_OFF if backing_off else Stage.DELIVERING if self._queue.in_flight else Stage.IDLE
        return DestinationStatistics(
            stage=stage.value,
            reason=self._breaker.reason,
            associations=self._channels.count,
            in_flight=self._queue.in_flight,
            deferred=self._deferred,
            window=len(self._queue),
            next_try=self._wait_seconds() if backing_off else None,
            delivered=self._delivered,
            bytes_delivered=self._bytes_delivered,
        )

    # Told from outside

    def arrived(self, deliveries: Sequence[PendingDelivery]) -> None:
        """Note that new deliveries are in the ledger."""
        now = trio.current_time()
        is_first = not self._has_news and self._breaker.is_suspicious
        self._has_news = True
        self._backlog.arrived(deliveries)
        if is_first or not self._queue.available(now):  # the older ones get no response, these may
            self._backlog.look_at_newest()
        self._session_wakeup.unpark_all()
        if not self._channels.count or self._backlog.is_short or self._wants_channel(now):
            self._actor_wakeup.unpark_all()  # else the sessions find the deliveries

    def rescan(self) -> None:
        """Read the queue again from its beginning, because an operator has changed it, and try at once."""
        self._backlog.changed()
        self._breaker.try_now()
        self._tell()

    def drain(self) -> None:
        """Finish the deliveries in flight, and end."""
        self._draining = True
        for scope in self._waiting_for_slot:
            scope.cancel()
        self._tell()

    # The actor

    async def run(self) -> None:
        """Deliver until `drain`ed, or cancelled."""
        if self._connector is not None:
            self._connector.begin(self._tell)
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
                if self._queue.available(now):  # idle sessions do not see it by themselves
                    self._tell()
                while self._wants_channel(now):
                    is_extra = self._channels.is_full
                    self._channels.count += 1
                    nursery.start_soon(self._use_slot, is_extra)
                    await trio.lowlevel.checkpoint()
                if not (self.is_draining or self._backlog.needs_reading):  # else told while it did not wait
                    with trio.move_on_at(self._next_moment(trio.current_time())):
                        await self._actor_wakeup.park()

    def _tell(self) -> None:
        """Wake the actor and all idle sessions."""
        self._actor_wakeup.unpark_all()
        self._session_wakeup.unpark_all()

    async def _wait(self, until: float) -> None:
        """Wait until there is news for sessions, or a time has come."""
        with trio.move_on_at(until):
            await self._session_wakeup.park()

    def _next_moment(self, now: float) -> float:
        """Return when there will be something to do if the actor is not told anything until then."""
        moments = [now + self._backlog.seconds_until_due, self._queue.next_moment(now)]
        if self._connector is not None:
            moments.append(self._channels.next_moment(self._queue.available(now), now, news=self._has_news))
        return min(moments)

    def _wants_channel(self, now: float) -> bool:
        return self._connector is not None and self._channels.wants_another(
            self._queue.available(now), now, news=self._has_news
        )

    def _note_stalls(self, now: float) -> None:
        """Let deliveries like those that get no answer wait."""
        for session in self._channels.stalling(now):
            if (oldest := session.oldest) is not None:
                self._queue.stalls(oldest.delivery, now, now - oldest.started)
                self._backlog.look_at_newest()

    # Channels

    def accepts_reverse_delivery(self, title: str) -> bool:
        """Return whether deliveries leave on associations that the peer opens under this AE title."""
        return self._peer.ae_title == title and (self._connector is None or commitment_of(self._peer).reply == "same")

    async def deliver_on(self, reverse: ReverseConnector) -> None:
        """Deliver on a connection that the peer has opened, until it ends."""
        await trio.sleep(_REVERSE_SEND_DELAY)
        while reverse.is_alive and not self._draining:
            with suppress(ChannelLost):
                async with reverse.open(()) as channel:
                    await DeliverySession(channel, self, self._spool, linger=float("inf")).run()
            self._actor_wakeup.unpark_all()  # the deliveries that are left need another channel
            async with trio.open_nursery() as nursery:  # those that are ready now cannot go on this one

                async def leave(scope: trio.CancelScope = nursery.cancel_scope) -> None:
                    await reverse.wait_closed()
                    scope.cancel()

                nursery.start_soon(leave)
                await self._wait(float("inf"))
                nursery.cancel_scope.cancel()

    async def _use_slot(self, is_extra: bool) -> None:
        """Use one channel in a slot of the peer; an extra one is beyond what is configured, and needs none."""
        assert self._connector is not None, "a peer without a connector is not called"
        try:
            async with AsyncExitStack() as holding:
                if is_extra or await self._get_slot(self._connector, holding):
                    await self._use_channel(self._connector, is_extra)
        finally:
            self._channels.count -= 1
            self._tell()

    async def _get_slot(self, connector: PeerConnector, holding: AsyncExitStack) -> bool:
        """Wait for a slot. Return False if `drain` was called instead."""
        with trio.CancelScope() as scope:
            self._waiting_for_slot.add(scope)
            try:
                await holding.enter_async_context(connector.slot())
            finally:
                self._waiting_for_slot.remove(scope)
        return not scope.cancelled_caught

    async def _use_channel(self, connector: PeerConnector, is_extra: bool) -> None:
        """Open a channel and use it to its end.

        A session on an extra channel waits less long for an answer: the channel is there for what is answered.
        """
        try:
            plan = self._queue.plan(trio.current_time())
            if not plan:  # the other sessions have begun everything meanwhile
                return
            async with connector.open(plan) as channel:
                self._settle_refused(channel)
                patience = self._channels.patience if is_extra else float("inf")
                session = DeliverySession(channel, self, self._spool, linger=self._peer.linger, patience=patience)
                self._channels.add(session)
                self._actor_wakeup.unpark_all()  # it watches whether this session stalls
                try:
                    await session.run()
                finally:
                    self._channels.remove(session)
        except ChannelLost:  # the session has settled its attempts
            pass
        except NoChannel as error:
            self._on_no_channel(error, is_extra)

    def _on_no_channel(self, error: NoChannel, is_extra: bool) -> None:
        if is_extra:  # the peer may not want more than are configured
            self._channels.no_extra_until = trio.current_time() + self._policy.max
            self._log.info("no association beside the one that waits", why=str(error))
        else:
            self._record_site_failure(error.result)

    # Asked by sessions

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
        must_yield = self._connector is not None and self._connector.must_yield
        return must_yield or self._channels.has_too_many(trio.current_time())

    def next_delivery(self, carries: Callable[[PendingDelivery], bool], *, alone: bool) -> PendingDelivery | None:
        delivery = self._queue.pop(carries, trio.current_time(), alone=alone, probing=self._breaker.is_open)
        if delivery is not None:
            self._backlog.begun(delivery)
        if self._backlog.is_short:
            self._actor_wakeup.unpark_all()
        return delivery

    async def news(self, until: float) -> None:
        self._channels.idle += 1
        try:
            await self._wait(until)
        finally:
            self._channels.idle -= 1

    # Told by sessions

    def responded(self, attempt: Attempt, seconds: float) -> None:
        self._channels.record_answer(seconds)
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
        """Return the seconds until the next attempt, and the result with its time; held after `give_up`."""
        if result.result is not Result.RETRY:
            return None, result
        if result.cause is Cause.INTERRUPTED:
            delay: float | None = _AT_ONCE
        else:
            delay = self._policy.next(attempts, self._age(delivery), self._jitter())
        if delay is None:
            return None, results.given_up(result, attempts)
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

    def _settle_refused(self, channel: Channel) -> None:
        """Settle the ready deliveries that the peer refuses to have on any channel."""
        for delivery in self._queue.pop_all(lambda delivery: channel.refusal(delivery) is not None):
            result = channel.refusal(delivery)
            assert result is not None
            self._settle_unsent(delivery, result)

    def _settle_unsent(self, delivery: PendingDelivery, result: AttemptResult) -> None:
        self.settle(Attempt(delivery=delivery, started=trio.current_time()), result)

    def _record_site_failure(self, result: AttemptResult) -> None:
        """Let everything wait, because the site is at fault.

        A rejection needs an operator at one of the two sites, and is an error in the log.
        """
        self._has_news = False
        self._failure = result
        self._breaker.record_site_failure(trio.current_time(), self._jitter(), result.reason)
        wait = round(self._wait_seconds(), 1)
        if result.cause is Cause.REJECTED:
            self._log.error("destination rejects associations", why=result.reason, next_try_seconds=wait)
        else:
            self._log.warning("destination unreachable", why=result.reason, next_try_seconds=wait)

    def _hold_expired(self) -> int:
        """Hold the ready deliveries that have waited for longer than `give_up`. Return how many."""
        failure = evolve(self._failure, reason=self._breaker.reason)
        expired = self._queue.pop_all(lambda delivery: self._age(delivery) >= self._policy.give_up)
        for delivery in expired:
            self._settle_unsent(delivery, results.given_up(failure, 0))
        return len(expired)

    def _wait_seconds(self) -> float:
        return max(0.0, self._breaker.next_try(news=self._has_news) - trio.current_time())
