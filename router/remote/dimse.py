"""Deliver over DICOM associations: those that the router opens, and those that the peer has opened.

A data set leaves as it is stored, unless the peer has accepted another transfer syntax of those that its service
offers (contexts.py). A delivery that the peer refuses goes back to its service, which may have requests to send before
it, or look once more. Not here: the results (results.py), and what to deliver next (router/delivery).
"""

from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from functools import partial
from typing import Final, Protocol

from attrs import define, evolve

from pdu import AcceptedContext
from router.association import (
    AssociationError,
    AssociationPool,
    DataSource,
    InMemory,
    InOrder,
    OperationPerformer,
    RemoteAE,
    Requestor,
    ReverseAssociation,
)
from router.association.data_source import read_whole
from router.association.proposal import contexts_of
from router.concurrency import compute
from router.config import Config, Peer
from router.dicom.encoding import MalformedDataSet
from router.dicom.uids import name_of
from router.dimse import Command, LayoutDecoder, Response
from router.model import AttemptResult, PendingDelivery, Result
from router.remote import results
from router.remote.base import Answer, Channel
from router.remote.contexts import Contexts, choose, offered_syntaxes, propose, propose_roles
from router.services import DeliveryPolicy, Prelude
from router.spool import Spool, StoredMessage


class Association(Protocol):
    """An association that we opened, or a reverse one."""

    window: int

    @property
    def contexts(self) -> Contexts: ...
    @property
    def is_alive(self) -> bool: ...
    async def send(self, context: AcceptedContext, command: Command, data: DataSource | None = None) -> int: ...
    async def receive(self) -> Response: ...
    async def attend(self) -> None: ...


@define(eq=False)
class _Exchange:
    """One delivery between its first request and its result."""

    delivery: PendingDelivery
    refusal: tuple[Result, Response] | None = None
    """The last response, if it is not a success."""
    has_asked: bool = False
    """Whether the service was asked for preludes."""
    preludes: tuple[Prelude, ...] = ()
    """The requests to send before the delivery; the first one may be under way."""


class DimseConnector:
    """Opens associations to one peer."""

    def __init__(
        self,
        peer: Peer,
        config: Config,
        spool: Spool,
        services: Mapping[str, DeliveryPolicy],
        pool: AssociationPool,
    ) -> None:
        self._peer: Final = peer
        self._pool: Final = pool
        self._remote: Final = RemoteAE.of(peer, config)
        self._timeouts: Final = config.timeouts
        self._services: Final = services
        self._operations: Final = OperationPerformer(tuple(services.values()), spool, config.statuses)

    def begin(self, on_shortage: Callable[[], None]) -> None:
        """Set the limits of the peer's pool."""
        self._pool.limit, self._pool.linger = self._peer.associations, self._peer.linger
        self._pool.on_shortage = on_shortage

    def slot(self) -> AbstractAsyncContextManager[None]:
        """Hold a slot of the peer's pool."""
        return self._pool.slot()

    @property
    def must_yield(self) -> bool:
        return self._pool.queue_must_yield

    @asynccontextmanager
    async def open(self, plan: Sequence[PendingDelivery]) -> AsyncIterator[Channel]:
        """Open an association with the presentation contexts and roles for the plan, and release it at the end.

        Raises:
            NoChannel: no association.
        """
        contexts = contexts_of(propose(plan, self._services))
        roles = propose_roles(plan, self._services)
        try:
            association = await Requestor.open(
                self._remote, contexts, self._timeouts, roles=roles, operations=self._operations
            )
        except AssociationError as error:
            raise results.no_channel(error) from error
        async with association:
            yield DimseChannel(association, self._services, association.refused)


class DimseReverseConnector:
    """Uses the one association that a peer has opened to us."""

    def __init__(self, association: ReverseAssociation, services: Mapping[str, DeliveryPolicy]) -> None:
        self._association: Final = association
        self._services: Final = services

    @property
    def is_alive(self) -> bool:
        return self._association.is_alive

    async def wait_closed(self) -> None:
        """Wait until the association has ended."""
        await self._association.attend()

    @asynccontextmanager
    async def open(self, plan: Sequence[PendingDelivery]) -> AsyncIterator[Channel]:
        """Return a channel on the association as it is. The association stays open at the end."""
        yield DimseChannel(self._association, self._services)


class DimseChannel:
    """Delivers over one association."""

    def __init__(
        self,
        association: Association,
        services: Mapping[str, DeliveryPolicy],
        refused: Mapping[tuple[str, str], str] | None = None,
    ) -> None:
        """`refused`: the reason for each (abstract syntax, transfer syntax) that the peer did not accept."""
        self.window: Final = association.window
        self._association: Final = association
        self._services: Final = services
        self._refused: Final = refused or {}
        self._contexts: Final[dict[tuple[object, ...], AcceptedContext | None]] = {}
        """By what the choice depends on: service, abstract syntax, stored and offered transfer syntaxes."""
        self._decoder: Final = LayoutDecoder()
        self._under_way: Final[dict[int, _Exchange]] = {}
        """By Message ID."""
        self._unresolved: Final[dict[int, _Exchange]] = {}
        """The exchanges that need something else before their result, by the spool's message id."""

    @property
    def is_alive(self) -> bool:
        return self._association.is_alive

    async def wait_closed(self) -> None:
        """Perform the operations that the peer invokes, until it ends the association.

        Raises:
            ChannelLost: the association has broken.
        """
        try:
            await self._association.attend()
        except AssociationError as error:
            raise results.channel_lost(error) from error

    # Presentation contexts

    def carries(self, delivery: PendingDelivery) -> bool:
        """Return whether the peer has accepted a presentation context for a delivery."""
        return self._context(delivery) is not None

    def refusal(self, delivery: PendingDelivery) -> AttemptResult | None:
        """Return the result for a delivery for which the peer has refused all presentation contexts."""
        if self._refused and not self.carries(delivery):
            for transfer_syntax in offered_syntaxes(delivery, self._services):
                if reason := self._refused.get((delivery.abstract_syntax, transfer_syntax)):
                    return results.of_refused_context(reason)
        return None

    def _context(self, delivery: PendingDelivery) -> AcceptedContext | None:
        offers = delivery.sent_as.transfer_syntaxes
        key = delivery.service, delivery.abstract_syntax, delivery.transfer_syntax, offers
        try:
            return self._contexts[key]
        except KeyError:
            context = self._contexts[key] = choose(self._association.contexts, delivery, self._services)
            return context

    # Sending

    async def deliver(self, delivery: PendingDelivery, message: StoredMessage) -> AttemptResult | None:
        """Send a delivery, or the next request that has to come before it. See `Channel.deliver`."""
        exchange = self._unresolved.pop(delivery.message_id, None) or _Exchange(delivery)
        if exchange.refusal is not None and (result := await self._reconsider(exchange)) is not None:
            return result
        context = self._context(delivery)
        assert context is not None, "only what the channel carries is delivered"
        try:
            command, data = await self._request(exchange, message, context)
        except _CannotSend as error:
            return error.result
        try:
            message_id = await self._association.send(context, command, data)
        except AssociationError as error:
            raise results.channel_lost(error) from error
        self._under_way[message_id] = exchange
        return None

    async def _reconsider(self, exchange: _Exchange) -> AttemptResult | None:
        """Return the result of a refused delivery; None if there are requests to send before it is tried once more."""
        assert exchange.refusal is not None
        (result, response), exchange.refusal = exchange.refusal, None
        service, remark = self._services[exchange.delivery.service], ""
        if result is Result.RETRY and not exchange.has_asked:
            exchange.has_asked = True
            exchange.preludes = tuple(await service.prelude(exchange.delivery, response))
            if exchange.preludes:
                return None
        if result is Result.HELD and not exchange.preludes:
            result, remark = await service.reconsider(exchange.delivery, response)
        return self._result(exchange, result, response, remark)

    async def _request(
        self, exchange: _Exchange, message: StoredMessage, context: AcceptedContext
    ) -> tuple[Command, DataSource | None]:
        """Return the command set and the data set to send next.

        Raises:
            _CannotSend: the delivery cannot be sent in the form that it needs.
        """
        delivery = exchange.delivery
        if delivery.sent_as.transform:
            raise _CannotSend(results.of_unknown_transform(delivery.sent_as.transform, delivery.sent_as.version))
        if exchange.preludes:
            prelude = exchange.preludes[0]
            return prelude.command, InMemory(await self._encoded(delivery, prelude.data_set, context))
        command = self._decoder.decode(context.id, message.envelope.command)
        if not command.has_data_set:
            return command, None
        if context.transfer_syntax == delivery.transfer_syntax:
            view = message.view()
            return command, InOrder(message) if view is None else InMemory(view)
        return command, InMemory(await self._encoded(delivery, await read_whole(InOrder(message)), context))

    async def _encoded(self, delivery: PendingDelivery, data_set: bytes, context: AcceptedContext) -> bytes:
        if context.transfer_syntax == delivery.transfer_syntax:
            return data_set
        encode = self._services[delivery.service].encode
        try:
            return await compute(len(data_set), partial(encode, delivery, data_set, context.transfer_syntax))
        except MalformedDataSet as error:
            reason = (
                f"the peer accepts only {name_of(context.transfer_syntax)}, which the data set cannot be encoded in"
            )
            raise _CannotSend(results.of_refused_context(f"{reason}: {error}")) from error

    # Receiving

    async def receive(self) -> Answer:
        """Wait for the next response to a delivery or to a request before it. See `Channel.receive`."""
        while True:
            try:
                response = await self._association.receive()
            except AssociationError as error:
                raise results.channel_lost(error) from error
            message_id = response.command.message_id_being_responded_to
            assert message_id is not None, "the association knows which request a response answers"
            exchange = self._under_way.get(message_id)
            if exchange is not None:
                answer = self._answer(exchange, response)
                del self._under_way[message_id]
                return answer

    def _answer(self, exchange: _Exchange, response: Response) -> Answer:
        delivery = exchange.delivery
        asked = evolve(delivery, kind=exchange.preludes[0].command.name) if exchange.preludes else delivery
        result = self._services[delivery.service].outcome(asked, response)
        if result is Result.DELIVERED and not exchange.preludes:
            return delivery, self._result(exchange, result, response)
        if result is Result.DELIVERED:
            exchange.preludes = exchange.preludes[1:]
        else:
            exchange.refusal = result, response
        self._unresolved[delivery.message_id] = exchange
        return delivery, None

    def _result(self, exchange: _Exchange, result: Result, response: Response, remark: str = "") -> AttemptResult:
        request = exchange.preludes[0].command.name if exchange.preludes else ""
        return results.of_response(result, response, exchange.delivery.service, request=request, remark=remark)


class _CannotSend(Exception):
    """A delivery that cannot be sent, with its result."""

    def __init__(self, result: AttemptResult) -> None:
        super().__init__(result.reason)
        self.result = result
