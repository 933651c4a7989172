"""The actor of one incoming association: negotiates, receives messages, hands them to their services, answers.

One task, one message at a time. It reads, assembles and answers; what a request means is the service's business,
and what is durable is the spool's. Whatever ends the association (release, abort, a lost connection, shutdown),
a data set that is only partly in is discarded without a trace, and one line of the log says how it went.
"""

import itertools
from collections import Counter
from collections.abc import Awaitable, Callable
from contextlib import ExitStack
from typing import Any, assert_never

import structlog
import trio
from attrs import define

from pdu import (
    Abort,
    AbortIndication,
    AssociateConfirm,
    AssociateIndication,
    AssociateRJ,
    AssociateRQ,
    Fragment,
    Indication,
    ProviderAbort,
    RejectIndication,
    Rejection,
    ReleaseConfirm,
    ReleaseIndication,
    RequestRefused,
    Role,
    State,
    TransportClosed,
    UpperLayer,
)
from router.access.limits import AssociationLimits
from router.access.policy import check_access
from router.association.describe import describe_abort, describe_contexts
from router.association.negotiation import Agreement, agree
from router.association.operation import Operation
from router.association.operations import Operations
from router.association.pace import MessagePace
from router.association.pending import StrayResponse, UnexpectedResponse
from router.association.reverse import ReverseAssociation
from router.association.transport import Interrupted, Transport
from router.config import STANDARD_STATUSES, Config, Listener
from router.dimse import (
    AssemblyError,
    Command,
    CommandField,
    DataSetPiece,
    MessageAssembler,
    MessageBegin,
    Response,
    describe,
)
from router.logs import escaped
from router.network.sockets import KernelSocket
from router.services import DeliveryPolicy, Sender, Service
from router.spool import Spool

_NUMBERS = itertools.count(1)
_MOST_MESSAGES = 16
"""Messages that are answered before the other tasks have a turn: a peer may send thousands in one read."""
_MOST_INDICATIONS = 512
"""The same of what the engine tells of one read, fragments above all: a read of 1-byte fragments has thousands."""


@define(kw_only=True)
class AcceptorContext:
    """What every acceptor of a router shares. `config` is exchanged whole on reload."""

    config: Config
    services: tuple[Service, ...]
    spool: Spool
    doors: AssociationLimits
    visited: Callable[[str, ReverseAssociation], Awaitable[None]]
    """Send, on an association that a peer of this AE title has opened, what waits for it, until it has ended."""


class Acceptor:
    """One incoming association, from the TCP connection to its end."""

    def __init__(self, sock: trio.socket.SocketType, peer: str, listener: Listener, reception: AcceptorContext) -> None:
        self._config = reception.config
        self._reception = reception
        self._listener = listener
        self._peer = peer
        self._upper_layer = UpperLayer(role=Role.ACCEPTOR, maximum_length=listener.maximum_pdu_length)
        self._transport = Transport(KernelSocket(sock), self._upper_layer, self._config.timeouts)
        self._assembler = MessageAssembler(command_cap=self._config.limits.command_set)
        self._agreement: Agreement | None = None
        self._sender: Sender | None = None
        self._refusals = STANDARD_STATUSES
        self._operation: Operation | None = None
        self._visit: ReverseAssociation | None = None
        self._operations: Operations | None = None
        self._place = ExitStack()
        self._outcome = ""
        self._draining = False
        self._pace = MessagePace(self._transport, self._config.timeouts, self._config.limits)
        self._header_begun = False
        """Whether bytes are in that mean nothing yet, such as a part of a header."""
        self._turn = 0
        """Messages since others had a turn."""
        self._started = trio.current_time()
        self._statuses: Counter[str] = Counter()
        self._data_bytes = 0
        self._number = next(_NUMBERS)
        self._log = structlog.get_logger().bind(association=self._number, peer=peer)

    def statistics(self) -> dict[str, Any]:
        """What an operator wants to know of an open association."""
        return {
            "peer": self._peer,
            "calling_ae": self._sender.calling_ae if self._sender else None,
            "called_ae": self._sender.called_ae if self._sender else None,
            "state": self._upper_layer.state.name,
            "messages": self._statuses.total(),
            "data_set_bytes": self._data_bytes,
            "seconds": round(trio.current_time() - self._started, 3),
        }

    def drain(self) -> None:
        """End the association as soon as no message is in flight on it."""
        self._draining = True
        if self._rests or self._outcome:
            self._transport.interrupt()

    @property
    def _rests(self) -> bool:
        """Whether the association is open, and no message is in flight on it."""
        return not self._assembler.in_message and not self._operations and not self._outcome

    async def run(self) -> None:
        """Serve until the association has ended. Cancellation closes the connection."""
        with self._place:
            try:
                async with trio.open_nursery() as self._nursery:
                    await self._transport.perform(self._upper_layer.transport_connected())
                    while self._transport.is_open:
                        await self._step()
                    if self._visit is not None:
                        self._visit.end()
            except Exception:
                await self._abort("aborted: the router failed, see the log")
                raise
            finally:
                self._transport.close()
                if self._operation is not None:
                    with trio.CancelScope(shield=True):
                        await self._operation.drop()
                self._report()

    async def _step(self) -> None:
        """Read once, and handle what came."""
        patience = self._patience()
        try:
            indications = await self._read(patience)
        except TimeoutError as error:
            if patience < self._config.timeouts.idle:
                await self._abort(self._pace.words)
            elif not self._operations:  # else it is the peer that waits
                await self._abort(f"idle: {error}")
            return
        if indications is None:
            await self._abort("the router is shutting down")
            return
        for number, indication in enumerate(indications, 1):
            if not self._outcome:
                await self._handle(indication)
            if not number % _MOST_INDICATIONS:
                await trio.lowlevel.checkpoint()
        if not indications or self._assembler.in_message:
            self._transport.acknowledge()
        if not indications and not self._header_begun and not self._assembler.in_message:
            self._pace.begin()
        self._header_begun = not indications

    def _patience(self) -> float:
        """Seconds that the next read may wait."""
        idle = self._config.timeouts.idle
        return min(idle, self._pace.left) if self._assembler.in_message or self._header_begun else idle

    async def _read(self, patience: float) -> list[Indication] | None:
        """What the next read means; None when `drain` was asked for and nothing is in flight."""
        if self._draining and self._outcome and not self._operations:
            self._transport.close()  # nobody has to wait for the peer to close
            return []
        if self._draining and self._rests:
            return None
        try:
            return await self._transport.read(patience)
        except Interrupted:
            return [] if self._outcome else None

    async def _handle(self, indication: Indication) -> None:
        match indication:
            case Fragment():
                await self._on_fragment(indication)
            case AssociateIndication(request=request):
                await self._on_request(request)
            case RequestRefused(request=request, rejection=rejection, why=why):
                self._name_sender(request)
                self._end_association(f"{rejection.message}: {why}")
            case ReleaseIndication():
                self._end_association("released")
                await self._transport.tell(self._upper_layer.respond_release)
            case AbortIndication(source=source, reason=reason):
                self._end_association(describe_abort(Abort(source=source, reason=reason)))
            case ProviderAbort(error=error):
                self._end_association(f"aborted: {error}")
            case TransportClosed():
                self._end_association("the peer closed the connection")
            case AssociateConfirm() | RejectIndication() | ReleaseConfirm():
                raise AssertionError(f"an acceptor was told {indication}")
            case _:
                assert_never(indication)

    def _end_association(self, outcome: str) -> None:
        """It is over, and its place is free; the connection lasts until the peer closes it, or ARTIM does."""
        self._outcome = outcome
        self._place.close()
        if self._visit is not None:
            self._visit.end()
        if self._operations is not None:
            self._operations.end()

    async def _abort(self, words: str) -> None:
        self._end_association(self._outcome or words)
        if self._upper_layer.state is State.STA2:  # there is no association to abort (PS3.8 table 9-10, Evt15)
            self._transport.close()
            return
        await self._transport.tell(self._upper_layer.abort)

    # Association establishment

    async def _on_request(self, request: AssociateRQ) -> None:
        self._name_sender(request)
        rejection = self._rejection(request)
        if rejection is not None:
            self._end_association(rejection.message)
            await self._transport.tell(self._upper_layer.reject, rejection)
            return
        self._refusals = self._config.statuses.for_calling_ae(request.calling_ae_title)
        self._sender = Sender(
            calling_ae=request.calling_ae_title,
            called_ae=request.called_ae_title,
            peer=self._peer,
            listener=self._listener,
        )
        agreement = self._agreement = agree(request, self._config, self._sender, self._reception.services)
        self._operations = Operations(
            self._transport, self._nursery, agreement.window, self._on_operation_response, self._on_idle
        )
        results = agreement.accept.presentation_contexts
        self._log.debug("presentation contexts", words=describe_contexts(request.presentation_contexts, results))
        await self._transport.tell(self._upper_layer.accept, agreement.accept)
        self._begin_visit(request.calling_ae_title, agreement)

    def _begin_visit(self, title: str, agreement: Agreement) -> None:
        """On the contexts in which we ask as SCP, what waits for the peer may go out on this association."""
        policies = [service for service in self._reception.services if isinstance(service, DeliveryPolicy)]
        contexts = {
            (context.abstract_syntax, context.transfer_syntax): context
            for context in agreement.contexts.values()
            if any(policy.proposes(context.abstract_syntax) is not None for policy in policies)
        }
        if contexts:
            self._visit = ReverseAssociation(self._transport, contexts, self._config.timeouts.dimse)
            self._nursery.start_soon(self._reception.visited, title, self._visit)

    def _name_sender(self, request: AssociateRQ) -> None:
        self._log = self._log.bind(
            calling_ae=escaped(request.calling_ae_title), called_ae=escaped(request.called_ae_title)
        )

    def _rejection(self, request: AssociateRQ) -> AssociateRJ | None:
        if rejection := check_access(request, self._peer, self._config.access, self._listener.ae_title):
            return rejection
        if not self._place.enter_context(self._reception.doors.count_association(self._peer)):
            return AssociateRJ.because(Rejection.LOCAL_LIMIT_EXCEEDED)
        if self._draining:
            return AssociateRJ.because(Rejection.TEMPORARY_CONGESTION)
        return None

    # Messages

    async def _on_fragment(self, fragment: Fragment) -> None:
        if not self._assembler.in_message:
            self._pace.begin()
        try:
            piece = self._assembler.feed(fragment)
        except AssemblyError as error:
            await self._abort(f"aborted: {error}")
            return
        match piece:
            case MessageBegin(command=command):
                if command.is_response:
                    await self._on_response(command)
                    return
                if command.field == CommandField.C_CANCEL_RQ:
                    self._on_cancel(command)
                    return
                self._operation = self._operation_of(piece)
                if not command.has_data_set:
                    await self._message_complete()
            case DataSetPiece():
                self._data_bytes += len(piece.data)
                if self._operation is not None:
                    await self._operation.take(piece)
                    if piece.is_last:
                        await self._message_complete()
                elif self._visit is not None:
                    await self._on_answered(self._visit, piece)

    async def _on_answered(self, visit: ReverseAssociation, piece: DataSetPiece) -> None:
        try:
            visit.on_data_set(piece)
        except UnexpectedResponse as error:
            await self._abort(f"aborted: {error}")

    async def _on_response(self, command: Command) -> None:
        """To something that we asked on this association; a stray one is ignored."""
        try:
            if self._visit is not None:
                self._visit.on_response(command)
                return
        except StrayResponse:
            pass
        except UnexpectedResponse as error:
            await self._abort(f"aborted: {error}")
            return
        self._log.debug("stray message ignored", command=command.name)

    def _on_cancel(self, command: Command) -> None:
        """C-CANCEL-RQ (PS3.7 9.3.2.3): it has no response, and may come after the final one of its operation."""
        assert self._operations is not None, "messages come on an established association"
        if not self._operations.cancel(command.message_id_being_responded_to):
            self._log.debug("stray message ignored", command=command.name)

    def _operation_of(self, begin: MessageBegin) -> Operation:
        assert self._sender is not None
        assert self._agreement is not None
        assert self._operations is not None
        context = self._agreement.contexts[begin.context_id]
        return Operation.begin(
            begin,
            self._sender,
            self._number,
            context,
            self._agreement.services[context.id],
            self._reception.spool,
            statuses=self._refusals,
            terms=self._agreement.terms[context.abstract_syntax],
            is_repeated=self._operations.is_in_flight(begin.command.message_id),
        )

    async def _message_complete(self) -> None:
        """Have the complete request performed. Return when the next one may be read."""
        assert self._operation is not None
        assert self._operations is not None
        self._turn += 1
        if self._turn >= _MOST_MESSAGES:
            self._turn = 0
            await trio.lowlevel.checkpoint()
        await self._operations.perform(self._operation)
        self._operation = None

    def _on_operation_response(self, operation: Operation, response: Response) -> None:
        """Count and log a final response."""
        command = operation.request.command
        words = describe(response.status, operation.service.name if operation.service else "")
        self._statuses[words] += 1
        self._log.debug("answered", command=command.name, sop_class=command.sop_class_uid, words=words)

    def _on_idle(self) -> None:
        """No operation is in flight any more."""
        if self._draining and (self._rests or self._outcome):
            self._transport.interrupt()

    def _report(self) -> None:
        """The canonical line. A connection that never asked for an association is noise (load balancers)."""
        wire = self._transport.statistics()
        quiet = wire.bytes_received == 0
        (self._log.debug if quiet else self._log.info)(
            "association",
            role="acceptor",
            outcome=escaped(self._outcome or "cancelled"),
            contexts=len(self._agreement.contexts) if self._agreement else 0,
            messages=self._statuses.total(),
            statuses=dict(self._statuses),
            data_set_bytes=self._data_bytes,
            bytes_received=wire.bytes_received,
            bytes_sent=wire.bytes_sent,
            seconds=round(trio.current_time() - self._started, 3),
        )
