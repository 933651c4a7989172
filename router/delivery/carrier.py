"""One association of a destination: carries what is ready, and tells what became of it.

As many deliveries are under way at a time as the association's window allows. However it ends, each of them is
settled; an exception that is tied to deliveries under way settles those and ends the association, not the actor. Not
here: what an end means (outcome.py), what it means for the other deliveries (destination.py), when to try again
(retry.py).
"""

from collections.abc import Container, Mapping
from contextlib import suppress
from typing import Final, Protocol

import trio
from attrs import evolve, frozen

from pdu import AcceptedContext
from router.association import Aborted, AssociationError, DataSource, InMemory, NoResponse
from router.delivery import outcome
from router.delivery.queue import Pair, is_suspect
from router.dimse import Command, Response, decode
from router.model import AttemptResult, Fault, PendingDelivery, Result
from router.services import DeliveryPolicy, Prelude
from router.spool import Spool, SpoolClosed, SpoolError, SpoolFailure

_SHORT_REST: Final = 0.02
"""Seconds of rest before the association is listened to: shorter ones are not worth the while."""


@frozen(kw_only=True)
class Attempt:
    """One delivery that is under way."""

    delivery: PendingDelivery
    started: float
    prepared: bool = False
    """Its service was asked for a prelude."""
    ahead: tuple[Prelude, ...] = ()
    """What is sent before it; of a prelude that is under way, the first of them."""


class Association(Protocol):
    """What carries: one that we opened, or a visit."""

    window: int

    @property
    def contexts(self) -> Mapping[tuple[str, str], AcceptedContext]: ...
    @property
    def is_alive(self) -> bool: ...
    async def send(self, context: AcceptedContext, command: Command, data: DataSource | None = None) -> int: ...
    async def receive(self) -> Response: ...
    async def attend(self) -> None: ...


class Source(Protocol):
    """The destination, as its carriers see it."""

    @property
    def has_ready(self) -> bool:
        """Whether any delivery may be taken, for whatever association."""

    @property
    def is_troubled(self) -> bool:
        """Whether one delivery at a time is all that the destination shall be tried with."""

    @property
    def is_draining(self) -> bool: ...

    @property
    def has_too_many(self) -> bool:
        """Whether an association of the destination has to go, this one or another."""

    def take(self, offered: Container[Pair], *, alone: bool) -> PendingDelivery | None:
        """A ready delivery that one of the contexts can carry; it is under way from now on. `alone`: no other is
        under way on the association."""

    async def news(self, until: float) -> None:
        """Return when something may have become ready, or when the time has come."""

    def settle(self, attempt: Attempt, result: AttemptResult) -> None: ...

    def responded(self, attempt: Attempt, seconds: float) -> None:
        """The peer has responded to it, whatever the status, so many seconds after it fell silent."""

    def unanswered(self, attempt: Attempt, fault: Fault, reason: str) -> None:
        """An association has ended without a response to it, and perhaps to others that were sent after it."""


class Carrier:
    """Uses one open association to its end."""

    def __init__(
        self,
        association: Association,
        source: Source,
        spool: Spool,
        services: Mapping[str, DeliveryPolicy],
        *,
        linger: float,
        patience: float = float("inf"),
    ) -> None:
        """`linger`: seconds to stay when nothing is ready. `patience`: seconds to wait for a response, where that is
        less than the association itself would wait."""
        self._association = association
        self._source = source
        self._spool = spool
        self._services = services
        self._linger = linger
        self._patience = patience
        self._deadline = trio.current_time() + linger
        self._has_responded = False
        self._under_way: dict[int, Attempt] = {}
        self._unsent: list[Attempt] = []
        """What is being sent, and has not left to its end."""
        self._unclear: list[tuple[Attempt, Result, Response]] = []
        """What the peer has refused, and its service may know more about."""
        self._resumed: list[Attempt] = []
        """What may be sent now that its prelude, or the first of it, is answered."""
        self.waits_since: float | None = None
        """Since when responses are due and none has come; None while none is due."""

    async def run(self) -> None:
        """Until there has been nothing to carry for `linger` seconds, or the destination fails.

        Raises:
            AssociationError: the association broke, or our own code failed over what was under way.
        """
        try:
            while await self._fill():
                await self._receive()
                await self._clear_up()
                if self._source.is_troubled and not self._under_way:
                    return
        except BaseException as error:
            if self._settle_all(error) and not _is_foreign(error):
                raise Aborted(f"the router failed over a message: {error!r}") from error
            raise

    @property
    def oldest(self) -> Attempt | None:
        """What has been under way for longest."""
        return next(iter(self._under_way.values()), None)

    @property
    def _limit(self) -> int:
        oldest = self.oldest
        alone = self._source.is_troubled or (oldest is not None and is_suspect(oldest.delivery))
        return 1 if alone else self._association.window

    async def _fill(self) -> bool:
        """Send as much as may be under way. False when nothing is, and nothing more is to be carried."""
        while len(self._under_way) < self._limit:
            stops = self._source.is_draining or self._source.has_too_many
            delivery = None if stops else self._source.take(self._association.contexts, alone=not self._under_way)
            if delivery is not None:
                await self._send(Attempt(delivery=delivery, started=trio.current_time()))
            elif self._under_way:
                break
            elif not await self._rest():
                return False
        return True

    async def _rest(self) -> bool:
        """Wait for something to become ready. False: let the association go."""
        if self._source.has_ready:  # but not for this association: make way for another
            return False
        patience = trio.current_time() + _SHORT_REST
        while not self._source.has_ready:
            now = trio.current_time()
            if self._source.is_draining or self._source.has_too_many or now >= self._deadline:
                return False
            if now < patience:
                await self._source.news(min(self._deadline, patience))
            else:
                await self._listen()
        return self._association.is_alive

    async def _listen(self) -> None:
        """Wait on, and perform meanwhile what the peer asks for."""
        async with trio.open_nursery() as nursery:

            async def attend() -> None:
                with suppress(AssociationError):
                    await self._association.attend()
                self._deadline = 0.0
                nursery.cancel_scope.cancel()

            nursery.start_soon(attend)
            await self._source.news(self._deadline)
            nursery.cancel_scope.cancel()

    # Sending

    async def _send(self, attempt: Attempt) -> None:
        """Send one delivery. What is wrong with the message alone settles it, and the association goes on."""
        delivery = attempt.delivery
        self._unsent.append(attempt)
        try:
            message = await self._spool.open_message(delivery.message_id)
        except (SpoolClosed, SpoolFailure):
            raise
        except SpoolError as error:
            self._unsent.remove(attempt)
            self._source.settle(attempt, outcome.of_spool_error(error))
            return
        try:
            command = decode(message.envelope.command)
            message_id = await self._association.send(
                self._context(delivery), command, message if command.has_data_set else None
            )
        finally:
            message.close()
        self._is_sent(attempt, message_id)

    async def _send_prelude(self, attempt: Attempt) -> None:
        prelude, context = attempt.ahead[0], self._context(attempt.delivery)
        self._unsent.append(attempt)
        self._is_sent(attempt, await self._association.send(context, prelude.command, InMemory(prelude.data_set)))

    def _is_sent(self, attempt: Attempt, message_id: int) -> None:
        self._unsent.remove(attempt)
        if not self._under_way:
            self.waits_since = trio.current_time()
        self._under_way[message_id] = attempt

    def _context(self, delivery: PendingDelivery) -> AcceptedContext:
        return self._association.contexts[delivery.abstract_syntax, delivery.transfer_syntax]

    # Receiving

    async def _receive(self) -> None:
        """The next response. Returns without one where there may be more to send meanwhile, or where nothing is under
        way any more.

        Raises:
            NoResponse: none came within `patience`.
        """
        if not self._under_way:  # what was taken could not be read
            return
        if self._patience == float("inf"):
            await self._receive_or_news()
            return
        with trio.move_on_after(self._patience) as scope:
            await self._receive_or_news()
        if scope.cancelled_caught:
            raise NoResponse(f"no response within {self._patience:g} s, while other messages wait for one too")

    async def _receive_or_news(self) -> None:
        if len(self._under_way) >= self._limit or self._source.is_draining or self._source.has_ready:
            self._on_response(await self._association.receive())
            return
        async with trio.open_nursery() as nursery:

            async def watch() -> None:
                if not self._source.has_ready:
                    await self._source.news(float("inf"))
                nursery.cancel_scope.cancel()

            nursery.start_soon(watch)
            failure: Exception | None = None
            try:
                self._on_response(await self._association.receive())
            except Exception as error:
                failure = error
            nursery.cancel_scope.cancel()
        if failure is not None:
            raise failure

    def _on_response(self, response: Response) -> None:
        message_id = response.command.message_id_being_responded_to
        assert message_id is not None, "the association knows what it answers"
        attempt = self._under_way.get(message_id)
        if attempt is None:
            return
        self._has_responded = True
        now = trio.current_time()
        self._source.responded(attempt, now - (self.waits_since or now))
        self.waits_since = now if len(self._under_way) > 1 else None
        delivery = attempt.delivery
        if attempt.ahead:
            delivery = evolve(delivery, kind=attempt.ahead[0].command.name)
        result = self._services[delivery.service].outcome(delivery, response)
        del self._under_way[message_id]
        if attempt.ahead and result is Result.DELIVERED:
            self._resumed.append(evolve(attempt, ahead=attempt.ahead[1:]))
        elif result is Result.DELIVERED:
            self._conclude(attempt, result, response)
        else:
            self._unclear.append((attempt, result, response))

    async def _clear_up(self) -> None:
        """Ask the services about what was refused; send what may help, and then the delivery once more."""
        while self._unclear:
            attempt, result, response = self._unclear[0]
            service = self._services[attempt.delivery.service]
            if result is Result.RETRY and not attempt.prepared:
                ahead = await service.prelude(attempt.delivery, response)
                attempt = evolve(attempt, prepared=True, ahead=tuple(ahead))
                if ahead:
                    del self._unclear[0]
                    await self._send_prelude(attempt)
                    continue
            words = ""
            if result is Result.HELD and not attempt.ahead:
                result, words = await service.reconsider(attempt.delivery, response)
            del self._unclear[0]
            self._conclude(attempt, result, response, words)
        while self._resumed:
            attempt = self._resumed.pop()
            await (self._send_prelude(attempt) if attempt.ahead else self._send(attempt))

    def _conclude(self, attempt: Attempt, result: Result, response: Response, remark: str = "") -> None:
        """The peer's last word on it. `remark`: what the service says beside the status."""
        words = f"its {attempt.ahead[0].command.name}, sent again: " if attempt.ahead else ""
        concluded = outcome.of_response(result, response, attempt.delivery.service, words=words)
        if remark:
            concluded = evolve(concluded, reason=f"{concluded.reason}: {remark}")
        self._source.settle(attempt, concluded)
        self._deadline = trio.current_time() + self._linger

    # The end

    def _settle_all(self, error: BaseException) -> list[Attempt]:
        """The association is of no more use: settle whatever is under way, and say so."""
        unclear = [attempt for attempt, _, _ in self._unclear]
        attempts = [*self._unsent, *unclear, *self._under_way.values(), *self._resumed]
        blamed = self._unsent or unclear[:1] or attempts
        if attempts and isinstance(error, AssociationError):
            end = outcome.of_lost_association(error, responded=self._has_responded, sent=True)
            self._source.unanswered(self.oldest or attempts[0], end.fault, end.reason)
        for attempt in attempts:
            sent = attempt not in self._unsent
            if isinstance(error, AssociationError):
                end = outcome.of_lost_association(error, responded=self._has_responded, sent=sent)
            elif _is_foreign(error) or attempt not in blamed:
                end = outcome.of_interruption(sent=sent)
            elif isinstance(error, SpoolError):
                end = outcome.of_spool_error(error)
            else:
                end = outcome.of_crash(attempt.delivery, error, sent=sent)
            self._source.settle(attempt, end)
        self.waits_since = None
        return attempts


def _is_foreign(error: BaseException) -> bool:
    """Whether the error has nothing to do with the messages under way."""
    if isinstance(error, BaseExceptionGroup):
        return any(_is_foreign(one) for one in error.exceptions)
    return isinstance(error, AssociationError | SpoolClosed | SpoolFailure) or not isinstance(error, Exception)
