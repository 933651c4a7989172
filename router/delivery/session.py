"""Deliver what is ready over one channel, until it ends or nothing is left.

As many deliveries are under way at a time as the channel's window allows. However the session ends, each of them is
settled; an exception that is tied to deliveries under way settles those and ends the channel, not the actor. Not
here: the protocol (router/remote), what an end means (results.py), what it means for other deliveries
(destination.py), when to try again (retry.py).
"""

from collections.abc import Callable
from contextlib import suppress
from typing import Final, Protocol

import trio
from attrs import frozen

from router.delivery import results
from router.delivery.queue import is_suspect
from router.model import AttemptResult, Cause, Fault, PendingDelivery
from router.remote import Channel, ChannelLost
from router.spool import Spool, SpoolClosed, SpoolError, SpoolFailure

_SHORT_REST: Final = 0.02
"""Seconds of rest before the session waits on the channel too: shorter rests are not worth its cost."""


@frozen(kw_only=True)
class Attempt:
    """One delivery that is under way."""

    delivery: PendingDelivery
    started: float
    """Seconds on trio's clock."""


class Source(Protocol):
    """The destination, as its sessions use it."""

    @property
    def has_ready(self) -> bool:
        """Whether any delivery may begin, on whatever channel."""

    @property
    def is_troubled(self) -> bool:
        """Whether the destination is to be tried with one delivery at a time."""

    @property
    def is_draining(self) -> bool: ...

    @property
    def has_too_many(self) -> bool:
        """Whether a channel of the destination has to be closed, this one or another."""

    def next_delivery(self, carries: Callable[[PendingDelivery], bool], *, alone: bool) -> PendingDelivery | None:
        """Return a ready delivery that the channel carries; it is in flight from now on.

        `alone`: no other delivery is under way on the channel.
        """

    async def news(self, until: float) -> None:
        """Return when something may have become ready, or when the time has come."""

    def settle(self, attempt: Attempt, result: AttemptResult) -> None: ...

    def responded(self, attempt: Attempt, seconds: float) -> None:
        """Note that the peer has responded, whatever the status, after `seconds` of silence."""

    def unanswered(self, attempt: Attempt, fault: Fault, reason: str) -> None:
        """Note that a channel was lost without an answer to this attempt, and perhaps to later ones."""


class DeliverySession:
    """Uses one open channel to its end."""

    def __init__(
        self, channel: Channel, source: Source, spool: Spool, *, linger: float, patience: float = float("inf")
    ) -> None:
        """Use `channel` when `run` is called.

        `linger`: seconds to stay when nothing is ready. `patience`: seconds to wait for an answer, if that is less than
        the channel itself would wait.
        """
        self._channel = channel
        self._source = source
        self._spool = spool
        self._linger = linger
        self._patience = patience
        self._deadline = trio.current_time() + linger
        self._has_responded = False
        self._under_way: dict[int, Attempt] = {}
        """By message id, the longest under way first."""
        self._sending: Attempt | None = None
        """The attempt that is being sent, and has not left to its end."""
        self._unresolved: list[Attempt] = []
        """Attempts that were answered without a result."""
        self.waits_since: float | None = None
        """Since when answers are due and none has come; None while none is due."""

    async def run(self) -> None:
        """Deliver until nothing was ready for `linger` seconds, or the destination fails.

        Raises:
            ChannelLost: the channel broke, or our own code failed over a delivery under way.
        """
        try:
            while await self._fill():
                await self._receive()
                await self._resolve()
                if self._source.is_troubled and not self._under_way:
                    return
        except BaseException as error:
            if self._settle_all(error) and not _is_foreign(error):
                raise ChannelLost(f"the router failed over a message: {error!r}") from error
            raise

    @property
    def oldest(self) -> Attempt | None:
        """The attempt that has been under way for longest."""
        return next(iter(self._under_way.values()), None)

    @property
    def _limit(self) -> int:
        oldest = self.oldest
        alone = self._source.is_troubled or (oldest is not None and is_suspect(oldest.delivery))
        return 1 if alone else self._channel.window

    async def _fill(self) -> bool:
        """Send as much as may be under way. Return False if nothing is, and the channel is to be closed."""
        while len(self._under_way) < self._limit:
            stops = self._source.is_draining or self._source.has_too_many
            alone = not self._under_way
            delivery = None if stops else self._source.next_delivery(self._channel.carries, alone=alone)
            if delivery is not None:
                attempt = Attempt(delivery=delivery, started=trio.current_time())
                self._under_way[delivery.message_id] = attempt
                await self._send(attempt)
            elif self._under_way:
                break
            elif not await self._rest():
                return False
        return True

    async def _rest(self) -> bool:
        """Wait for something to become ready. Return False if the channel is to be closed."""
        if self._source.has_ready:  # but not for this channel: make way for another
            return False
        short_rest = trio.current_time() + _SHORT_REST
        while not self._source.has_ready:
            now = trio.current_time()
            if self._source.is_draining or self._source.has_too_many or now >= self._deadline:
                return False
            if now < short_rest:
                await self._source.news(min(self._deadline, short_rest))
            else:
                await self._wait_on_channel()
        return self._channel.is_alive

    async def _wait_on_channel(self) -> None:
        """Wait on, and let the channel serve its peer meanwhile."""
        async with trio.open_nursery() as nursery:

            async def wait_closed() -> None:
                with suppress(ChannelLost):
                    await self._channel.wait_closed()
                self._deadline = 0.0
                nursery.cancel_scope.cancel()

            nursery.start_soon(wait_closed)
            await self._source.news(self._deadline)
            nursery.cancel_scope.cancel()

    # Sending

    async def _send(self, attempt: Attempt) -> None:
        """Send one delivery. If the message alone is at fault, settle it; the channel goes on."""
        delivery = attempt.delivery
        self._sending = attempt
        try:
            message = await self._spool.open_message(delivery.message_id)
        except (SpoolClosed, SpoolFailure):
            raise
        except SpoolError as error:
            self._settle(attempt, results.of_spool_error(error))
            return
        try:
            result = await self._channel.deliver(delivery, message)
        finally:
            message.close()
        if result is not None:
            self._settle(attempt, result)
            return
        self._sending = None
        if self.waits_since is None:
            self.waits_since = trio.current_time()

    def _settle(self, attempt: Attempt, result: AttemptResult) -> None:
        self._sending = None
        del self._under_way[attempt.delivery.message_id]
        self._source.settle(attempt, result)
        self._deadline = trio.current_time() + self._linger

    # Receiving

    async def _receive(self) -> None:
        """Wait for the next answer. Return without one if there may be more to send, or nothing is under way.

        Raises:
            ChannelLost: none came within `patience`.
        """
        if not self._under_way:  # the message could not be read
            return
        if self._patience == float("inf"):
            await self._receive_or_news()
            return
        with trio.move_on_after(self._patience) as scope:
            await self._receive_or_news()
        if scope.cancelled_caught:
            reason = f"no response within {self._patience:g} s, while other messages wait for one too"
            raise ChannelLost(reason, Cause.TIMED_OUT)

    async def _receive_or_news(self) -> None:
        if len(self._under_way) >= self._limit or self._source.is_draining or self._source.has_ready:
            self._on_answer(*await self._channel.receive())
            return
        async with trio.open_nursery() as nursery:

            async def watch() -> None:
                if not self._source.has_ready:
                    await self._source.news(float("inf"))
                nursery.cancel_scope.cancel()

            nursery.start_soon(watch)
            failure: Exception | None = None
            try:
                self._on_answer(*await self._channel.receive())
            except Exception as error:
                failure = error
            nursery.cancel_scope.cancel()
        if failure is not None:
            raise failure

    def _on_answer(self, delivery: PendingDelivery, result: AttemptResult | None) -> None:
        attempt = self._under_way[delivery.message_id]
        self._has_responded = True
        now = trio.current_time()
        self._source.responded(attempt, now - (self.waits_since or now))
        if result is None:
            self._unresolved.append(attempt)
        else:
            self._settle(attempt, result)
        self.waits_since = now if len(self._under_way) > len(self._unresolved) else None

    async def _resolve(self) -> None:
        """Go on with the deliveries that were answered without a result."""
        while self._unresolved:
            await self._send(self._unresolved.pop(0))

    # The end

    def _settle_all(self, error: BaseException) -> list[Attempt]:
        """Settle all attempts under way, because the channel cannot be used any more. Return them."""
        attempts = list(self._under_way.values())
        if attempts and isinstance(error, ChannelLost):
            end = results.of_lost_channel(error, responded=self._has_responded, sent=True)
            self._source.unanswered(attempts[0], end.fault, end.reason)
        for attempt in attempts:
            sent = attempt is not self._sending
            if isinstance(error, ChannelLost):
                end = results.of_lost_channel(error, responded=self._has_responded, sent=sent)
            elif _is_foreign(error) or (sent and self._sending is not None):
                end = results.of_interruption(sent=sent)
            elif isinstance(error, SpoolError):
                end = results.of_spool_error(error)
            else:
                end = results.of_crash(attempt.delivery, error, sent=sent)
            self._source.settle(attempt, end)
        self.waits_since = None
        return attempts


def _is_foreign(error: BaseException) -> bool:
    """Return whether the error has nothing to do with the messages under way."""
    if isinstance(error, BaseExceptionGroup):
        return any(_is_foreign(one) for one in error.exceptions)
    return isinstance(error, ChannelLost | SpoolClosed | SpoolFailure) or not isinstance(error, Exception)
