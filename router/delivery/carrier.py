"""One association of a destination: carries what is ready, and tells what became of it.

As many deliveries are under way at a time as the association's window allows. However it ends, each of them is
settled. Not here: what a failure means for the other deliveries (destination.py), nor when to try again (retry.py).
"""

from collections.abc import Container, Mapping
from contextlib import suppress
from typing import Protocol

import trio
from attrs import evolve, frozen

from pdu import AcceptedContext
from router.association import Aborted, AssociationError, DataSource, InMemory
from router.delivery.window import Pair
from router.dimse import Command, Response, decode, describe
from router.messages import Result, Waiting
from router.services import Prelude, Service
from router.spool import OutOfSpace, Spool, SpoolError

_SHORT_REST = 0.02
"""Seconds of rest before the association is listened to: shorter ones are not worth the while."""


@frozen(kw_only=True)
class Attempt:
    """One delivery that is under way."""

    delivery: Waiting
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
        """Whether any delivery is ready, for whatever association."""

    @property
    def is_troubled(self) -> bool:
        """Whether one delivery at a time is all that the destination shall be tried with."""

    @property
    def is_draining(self) -> bool: ...

    def take(self, offered: Container[Pair]) -> Waiting | None:
        """A ready delivery that one of the contexts can carry; it is under way from now on."""

    async def news(self, until: float) -> None:
        """Return when something may have become ready, or when the time has come."""

    def settle(self, attempt: Attempt, result: Result, reason: str) -> None: ...

    def succeeded(self) -> None: ...

    def struck(self, attempt: Attempt, reason: str) -> None:
        """It failed, and nobody knows whether the destination is at fault or the delivery."""


class Carrier:
    """Uses one open association to its end."""

    def __init__(
        self, association: Association, source: Source, spool: Spool, services: Mapping[str, Service], linger: float
    ) -> None:
        self._association = association
        self._source = source
        self._spool = spool
        self._services = services
        self._linger = linger
        self._deadline = trio.current_time() + linger
        self._under_way: dict[int, Attempt] = {}
        self._unprepared: list[tuple[Attempt, Response]] = []
        """What the peer cannot make sense of yet."""
        self._resumed: list[Attempt] = []
        """What may be sent now that its prelude, or the first of it, is answered."""

    async def run(self) -> None:
        """Until there has been nothing to carry for `linger` seconds, or the destination fails.

        Raises:
            AssociationError: the association broke.
        """
        try:
            while await self._fill():
                await self._receive()
                await self._prepare()
                if self._source.is_troubled and not self._under_way:
                    return
        except BaseException as error:
            reason = str(error) if isinstance(error, AssociationError) else "interrupted"
            unsent = [*self._resumed, *(attempt for attempt, _ in self._unprepared)]
            for attempt in [*self._under_way.values(), *unsent]:
                self._fail(attempt, reason)
            raise

    @property
    def _limit(self) -> int:
        return 1 if self._source.is_troubled else self._association.window

    async def _fill(self) -> bool:
        """Send as much as may be under way. False when nothing is, and nothing more is to be carried."""
        while len(self._under_way) < self._limit:
            delivery = None if self._source.is_draining else self._source.take(self._association.contexts)
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
            if self._source.is_draining or now >= self._deadline:
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

    async def _prepare(self) -> None:
        """Ask the services what would help, send it, and then the delivery once more."""
        while self._unprepared:
            attempt, response = self._unprepared[0]
            ahead = await self._services[attempt.delivery.service].prelude(attempt.delivery, response)
            del self._unprepared[0]
            attempt = evolve(attempt, prepared=True, ahead=tuple(ahead))
            if ahead:
                await self._send_prelude(attempt)
            else:
                self._conclude(attempt, Result.RETRY, _words(response, attempt.delivery.service))
        while self._resumed:
            attempt = self._resumed.pop()
            await (self._send_prelude(attempt) if attempt.ahead else self._send(attempt))

    async def _send_prelude(self, attempt: Attempt) -> None:
        prelude, context = attempt.ahead[0], self._context(attempt.delivery)
        try:
            message_id = await self._association.send(context, prelude.command, InMemory(prelude.data_set))
        except BaseException as error:
            self._fail(attempt, str(error) if isinstance(error, AssociationError) else "interrupted")
            raise
        self._under_way[message_id] = attempt

    def _context(self, delivery: Waiting) -> AcceptedContext:
        return self._association.contexts[delivery.abstract_syntax, delivery.transfer_syntax]

    async def _send(self, attempt: Attempt) -> None:
        delivery = attempt.delivery
        try:
            message = await self._spool.open_message(delivery.message_id)
        except SpoolError as error:
            later = isinstance(error, OutOfSpace)
            self._source.settle(attempt, Result.RETRY if later else Result.HELD, str(error))
            return
        except BaseException:
            self._fail(attempt, "interrupted")
            raise
        command = decode(message.envelope.command)
        try:
            data = message if command.has_data_set else None
            message_id = await self._association.send(self._context(delivery), command, data)
        except SpoolError as error:  # half of it has left
            self._source.settle(attempt, Result.HELD, str(error))
            raise Aborted(str(error)) from error
        except BaseException as error:
            self._fail(attempt, str(error) if isinstance(error, AssociationError) else "interrupted")
            raise
        finally:
            message.close()
        self._under_way[message_id] = attempt

    def _fail(self, attempt: Attempt, reason: str) -> None:
        self._source.settle(attempt, Result.RETRY, reason)
        self._source.struck(attempt, reason)

    async def _receive(self) -> None:
        """The next response. Returns without one where there may be more to send meanwhile."""
        if len(self._under_way) >= self._limit or self._source.is_draining or self._source.has_ready:
            self._settle(await self._association.receive())
            return
        async with trio.open_nursery() as nursery:

            async def watch() -> None:
                if not self._source.has_ready:
                    await self._source.news(float("inf"))
                nursery.cancel_scope.cancel()

            nursery.start_soon(watch)
            failure: AssociationError | None = None
            try:
                self._settle(await self._association.receive())
            except AssociationError as error:
                failure = error
            nursery.cancel_scope.cancel()
        if failure is not None:
            raise failure

    def _settle(self, response: Response) -> None:
        message_id = response.command.message_id_being_responded_to
        assert message_id is not None, "the association knows what it answers"
        attempt = self._under_way.get(message_id)
        if attempt is None:
            return
        delivery = attempt.delivery
        if attempt.ahead:
            delivery = evolve(delivery, kind=attempt.ahead[0].command.name)
        result = self._services[delivery.service].outcome(delivery, response)
        del self._under_way[message_id]
        if attempt.ahead and result is Result.DELIVERED:
            self._resumed.append(evolve(attempt, ahead=attempt.ahead[1:]))
        elif result is Result.RETRY and not attempt.prepared:
            self._unprepared.append((attempt, response))
        else:
            words = _words(response, delivery.service)
            self._conclude(attempt, result, f"its {delivery.kind}, sent again: {words}" if attempt.ahead else words)

    def _conclude(self, attempt: Attempt, result: Result, words: str) -> None:
        self._source.settle(attempt, result, words)
        if result is Result.RETRY:
            self._source.struck(attempt, words)
        else:
            self._source.succeeded()
        self._deadline = trio.current_time() + self._linger


def _words(response: Response, service: str) -> str:
    """The peer's status, with its own comment where it gave one."""
    words = describe(response.status, service)
    comment = response.command.error_comment
    return f"{words} ({comment})" if comment else words
