"""The client's side of retrieve: C-MOVE requests are checked, answered, and cancelled.

A retrieve runs in a task of the service, so that it can go on without its client. Here its client is told of every
change, and the retrieve is told when the client cancels or is lost. Not here: the retrieve (`retrieval`).
"""

from collections.abc import Awaitable, Callable
from functools import partial
from typing import ClassVar, Final

import trio
from attrs import evolve

from pdu import ContextResult
from router.config import Config, Peer
from router.dicom.dataset import DataSet, identifier
from router.dicom.encoding import MalformedDataSet
from router.dicom.information_models import InformationModel, model_of
from router.dimse import Command, CommandField, Response, Status
from router.model import AttemptResult, PendingDelivery
from router.routing import Facts, RoutingTable
from router.services.base import (
    SCP,
    Allowance,
    Change,
    ConversationEnded,
    Proposal,
    Replies,
    Request,
    Sender,
    ServiceContext,
)
from router.services.query.extended import RELATIONAL, negotiated, says
from router.services.query.identifier import (
    ACCEPTED_SYNTAXES,
    LARGEST,
    InvalidIdentifier,
    check_identifier,
    check_unique_key,
    decode_identifier,
    level_of,
)
from router.services.query.options import query_ae, query_of
from router.services.refusal import refuse
from router.services.retrieve.locate import Wanted, model_for
from router.services.retrieve.options import (
    OPTIONS,
    SERVICE,
    RetrieveRouteOptions,
    RetrieveSettings,
)
from router.services.retrieve.passing import Passing
from router.services.retrieve.responses import pending
from router.services.retrieve.retrieval import Delivery, Order, Retrieval, archive_of
from router.services.retrieve.spooled import Origin, SpooledDeliveries, SpooledDelivery
from router.services.retrieve.through import ClientDelivery, ThroughDelivery
from router.services.storage_delivery import StorageDelivery
from router.spool import Incoming

Run = Callable[[], Awaitable[None]]
"""Performs a retrieve to its end."""


class _Refused(Exception):
    """The request is refused, with the response."""

    def __init__(self, response: Command) -> None:
        super().__init__(response.error_comment)
        self.response = response


class Retrieve(SCP, StorageDelivery):
    """C-MOVE and C-GET, as SCP; and the deliveries of what it has fetched."""

    name: ClassVar[str] = SERVICE
    options = OPTIONS
    requests: ClassVar[frozenset[int]] = frozenset({CommandField.C_MOVE_RQ, CommandField.C_GET_RQ})
    conversational: ClassVar[bool] = True
    parallel: ClassVar[bool] = True

    def __init__(self, context: ServiceContext) -> None:
        self._context: Final = context
        self._spool = context.spool
        self.spooled: Final = SpooledDeliveries(context.spool)
        self._nursery: trio.Nursery | None = None
        self.prepare(context.config)()

    async def run(self) -> None:
        """Perform the retrieves."""
        async with trio.open_nursery() as self._nursery:
            await trio.sleep_forever()

    def prepare(self, config: Config) -> Change:
        return partial(self._put_in_force, config, RoutingTable(config.routes))

    def _put_in_force(self, config: Config, table: RoutingTable) -> None:
        self._config = config
        self.use_peers(config)
        self._settings = config.options[RetrieveSettings]
        self._table = table
        self._route_options = {
            route.name: route.options[RetrieveRouteOptions] for route in config.routes if route.service == SERVICE
        }

    def settled(self, delivery: PendingDelivery, result: AttemptResult) -> None:
        self.spooled.note_result(delivery, result)

    # Negotiation and admission

    def negotiate(self, proposal: Proposal) -> str | ContextResult | None:
        model = model_of(proposal.abstract_syntax)
        if model is None or proposal.abstract_syntax not in (model.move, model.get) or not self._route_options:
            return None
        return proposal.choose(ACCEPTED_SYNTAXES.__contains__, self._settings.prefer, ACCEPTED_SYNTAXES)

    def extended(self, proposal: Proposal) -> bytes | None:
        """Answer relational retrieve, which needs relational queries of every archive (PS3.4 C.5.2.1, C.5.3.1).

        Where a C-MOVE may be passed on, the archives would have to have negotiated it themselves.
        """
        model = model_of(proposal.abstract_syntax)
        if proposal.extended is None or model is None:
            return None
        may_pass = proposal.abstract_syntax == model.move and any(
            options.mode == "pass" for options in self._route_options.values()
        )
        reachable = self._table.reachable(self._association_facts(proposal.requestor, proposal.abstract_syntax, model))
        last = [] if may_pass else [self._last_extended(name) for name in reachable]
        return negotiated(proposal.extended[:1], last)

    def _last_extended(self, name: str) -> bytes | None:
        peer = self._config.peers[name]
        return self._context.last_extended.get((query_ae(peer).name, model_for(query_of(peer)).find))

    def admit(self, request: Request) -> Command | Allowance:
        command, sender = request.command, request.sender
        if not self._settings.calling_ae.matches(sender.calling_ae):
            return refuse(request, Status.NOT_AUTHORIZED, f"{sender.calling_ae} may not retrieve here")
        if command.affected_sop_class_uid != request.abstract_syntax:
            return refuse(request, Status.SOP_CLASS_NOT_SUPPORTED, "SOP class is not the presentation context's")
        if not command.has_data_set:
            return refuse(request, Status.DATA_SET_DOES_NOT_MATCH, "there is no identifier")
        if command.field == CommandField.C_MOVE_RQ and self._destination(command) is None:
            return refuse(request, Status.MOVE_DESTINATION_UNKNOWN, "the move destination is not a peer of this router")
        return Allowance(largest=LARGEST, from_reserve=True)

    def _destination(self, command: Command) -> Peer | None:
        """Return the peer that the move destination names (PS3.7 9.1.4.1.5)."""
        title = command.move_destination
        named = (peer for peer in self._config.peers.values() if peer.ae_title == title and peer.address is not None)
        return next(named, None)

    # The operation

    async def perform(self, request: Request, data: Incoming | None, replies: Replies) -> Response:
        assert data is not None, "admit() lets no request without an identifier through"
        try:
            order, retrieval, run = self._begin(request, data, replies)
        except _Refused as refused:
            return Response(refused.response)
        assert self._nursery is not None, "the services run before associations are accepted"
        self._nursery.start_soon(run)
        client = _Client(order, retrieval, replies)
        async with trio.open_nursery() as nursery:
            nursery.start_soon(client.follow)
            await client.report()
            nursery.cancel_scope.cancel()
        if client.is_left:
            raise ConversationEnded
        return retrieval.response()

    def _begin(self, request: Request, data: Incoming, replies: Replies) -> tuple[Order, Retrieval | Passing, Run]:
        """Check the request.

        Raises:
            _Refused: it is refused.
        """
        model = model_of(request.abstract_syntax)
        assert model is not None, "negotiate() accepts the SOP classes of models only"
        is_get = request.command.field == CommandField.C_GET_RQ
        destination = self._client(request) if is_get else self._destination(request.command)
        if destination is None and not is_get:  # the configuration was reloaded meanwhile
            raise _Refused(refuse(request, Status.MOVE_DESTINATION_UNKNOWN, "the move destination is no peer any more"))
        named = destination.name if destination else ""
        keys = self._identifier(request, data, model)
        match = self._table.match(self._routing_facts(request, model, keys, named))
        if not match.routes:
            message = f"no route lets {request.sender.calling_ae} retrieve this{f' to {named}' if named else ''}"
            raise _Refused(refuse(request, Status.NOT_AUTHORIZED, message))
        what = f"{request.command.name.removesuffix('-RQ')} {level_of(keys)} ({model.title})"
        order = Order(
            request=request,
            what=what if is_get else f"{what} to {named}",
            wanted=Wanted.from_keys(keys),
            archives=tuple(archive_of(self._config.peers[name]) for name in match.destinations),
            options=self._route_options[match.routes[0]],
            refuses_no_match=self._settings.no_match == "refuse",
            storable=replies.storable if is_get else None,
        )
        if order.options.mode == "pass" and destination is not None and not is_get:
            passing = Passing(order, destination, keys, self._context)
            return order, passing, passing.run
        retrieval = Retrieval(order, self._context)
        delivery = self._delivery(order, retrieval, None if is_get else destination, replies)
        return order, retrieval, partial(retrieval.run, delivery)

    def _delivery(self, order: Order, retrieval: Retrieval, destination: Peer | None, replies: Replies) -> Delivery:
        """Return the way of the instances, by the mode of the route; to the client without a destination."""
        command, on_end = order.request.command, retrieval.sub_operation_ended
        if destination is None:
            return ClientDelivery(replies, command.priority or 0, on_end)
        origin = Origin(
            ae_title=order.request.sender.calling_ae,
            message_id=command.message_id or 0,
            priority=command.priority or 0,
        )
        if order.options.mode == "spool":
            return SpooledDelivery(self.spooled, self._context.spool, destination, origin, on_end)
        return ThroughDelivery(
            self._context.peers,
            destination,
            origin,
            on_end,
            deadline=order.options.deadline,
            per_instance=order.options.associations == "per-instance",
        )

    def _client(self, request: Request) -> Peer | None:
        """Return the peer that a C-GET comes from; None if its AE title is no peer's."""
        title = request.sender.calling_ae
        return next((peer for peer in self._config.peers.values() if peer.ae_title == title), None)

    def _identifier(self, request: Request, data: Incoming, model: InformationModel) -> DataSet:
        try:
            with data.view() as view:
                keys = decode_identifier(bytes(view), request.transfer_syntax)
            check_identifier(keys, model, relational=says(request.terms.extended, RELATIONAL))
            check_unique_key(keys, level_of(keys))
        except MalformedDataSet as error:
            raise _Refused(refuse(request, Status.DATA_SET_DOES_NOT_MATCH, str(error))) from error
        except InvalidIdentifier as error:
            elements = error.elements or None
            refusal = refuse(request, Status.DATA_SET_DOES_NOT_MATCH, error.reason, offending_element=elements)
            raise _Refused(refusal) from error
        return keys

    def _routing_facts(self, request: Request, model: InformationModel, keys: DataSet, destination: str) -> Facts:
        return evolve(
            self._association_facts(request.sender, request.abstract_syntax, model),
            transfer_syntax=request.transfer_syntax,
            level=level_of(keys),
            destination=destination,
            elements={tag: tuple(identifier(keys, tag).split("\\")) for tag in self._table.elements if tag in keys},
        )

    def _association_facts(self, sender: Sender, sop_class: str, model: InformationModel) -> Facts:
        return Facts(
            service=self.name,
            calling_ae=sender.calling_ae,
            called_ae=sender.called_ae,
            peer=sender.peer,
            sop_class=sop_class,
            transfer_syntax="",
            information_model=model.name,
        )


class _Client:
    """The client of one retrieve, while its association lasts."""

    def __init__(self, order: Order, retrieval: Retrieval | Passing, replies: Replies) -> None:
        self._order = order
        self._retrieval = retrieval
        self._replies = replies
        self._was_told_of_long = False
        """Whether a response said FF02H: the retrieve goes on without the client."""
        self.is_left = False
        """Whether the client is lost, and the retrieve goes on."""

    async def follow(self) -> None:
        """Wait until the client cancels or is lost, and tell the retrieve."""
        await self._replies.cancelled.wait()
        goes_on = self._order.options.on_client_lost == "continue" or self._was_told_of_long
        goes_on = goes_on and self._order.storable is None
        if self._replies.has_ended and goes_on:
            self.is_left = True
            self._retrieval.changed.unpark_all()
        else:
            self._retrieval.cancel()

    async def report(self) -> None:
        """Tell the client of each change, and at least every `pending_every` that the retrieve goes on."""
        retrieval, told = self._retrieval, None
        while not retrieval.finished.is_set() and not self.is_left:
            counts = retrieval.counts
            if counts is not None and counts != told and not self._replies.cancelled.is_set():
                told = counts
                try:
                    for_long = self._was_told_of_long = retrieval.is_slow
                    await self._replies.send(pending(self._order.request, counts, for_long=for_long))
                except ConversationEnded:
                    await self._replies.cancelled.wait()
                continue
            with trio.move_on_after(self._order.options.pending_every) as waiting:
                await retrieval.changed.park()
            if waiting.cancelled_caught:
                told = None
