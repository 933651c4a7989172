"""The actor of one incoming association: negotiates, reads, assembles messages, hands them to its operations.

However the association ends (release, abort, a lost connection, shutdown), the operations are told, a data set that is
only partly in is discarded without a trace, and one log line reports the association. Not here: the meaning of a
request, which its service knows, and what is durable, which the spool guarantees.
"""

import itertools
from collections import Counter
from contextlib import ExitStack, suppress
from functools import partial
from typing import Any, assert_never

import structlog
import trio

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
from router.association.acceptor_context import AcceptorContext
from router.association.acceptor_operations import AcceptorOperations
from router.association.agreement import NOTHING_RELAYED, Agreement, RelayedTerms, agree
from router.association.client_relay import ClientRelay
from router.association.describe import describe_abort, describe_contexts
from router.association.message_pace import MessagePace
from router.association.message_turns import MessageSender
from router.association.operation import Invoker, Operation
from router.association.paired import End
from router.association.pending import StrayResponse, UnexpectedResponse
from router.association.reverse import ReverseAssociation
from router.association.transport import Interrupted, Transport
from router.config import Listener
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
from router.services import Sender

_NUMBERS = itertools.count(1)
_MOST_INDICATIONS = 512
"""Indications of one read after which the other tasks have a turn: a read of 1-byte fragments has thousands."""


class Acceptor:
    """One incoming association, from the TCP connection to its end."""

    def __init__(self, sock: trio.socket.SocketType, peer: str, listener: Listener, shared: AcceptorContext) -> None:
        """`peer`: the IP address."""
        self._config = shared.config
        self._shared = shared
        self._listener = listener
        self._peer = peer
        self._upper_layer = UpperLayer(role=Role.ACCEPTOR, maximum_length=listener.maximum_pdu_length)
        self._transport = Transport(KernelSocket(sock), self._upper_layer, self._config.timeouts)
        self._assembler = MessageAssembler(command_cap=self._config.limits.command_set)
        self._agreement: Agreement | None = None
        self._sender: Sender | None = None
        self._reverse: ReverseAssociation | None = None
        self._storing: ReverseAssociation | None = None  # for the instances that the peer gets (PS3.4 C.4.3)
        self._operations: AcceptorOperations | None = None
        self._relay: ClientRelay | None = None
        self._relay_end: End | None = None  # of the relay's association with the peer: this one has to end, too
        self._releasing = self._collided = False
        """Whether we have asked for the release; whether the peer has meanwhile."""
        self._counted = ExitStack()
        """Counts the association in the limits until it has ended."""
        self._outcome = ""
        self._draining = False
        self._pace = MessagePace(self._transport, self._config.timeouts, self._config.limits)
        self._header_begun = False
        """Whether the bytes received last are incomplete, such as a part of a header."""
        self._started = trio.current_time()
        self._statuses: Counter[str] = Counter()
        self._data_bytes = 0
        self._number = next(_NUMBERS)
        self._log = structlog.get_logger().bind(association=self._number, peer=peer)

    def statistics(self) -> dict[str, Any]:
        """Return the state of an open association, for operators."""
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
        self._on_idle()

    @property
    def _is_idle(self) -> bool:
        """Whether the association is open and no message or operation is in flight on it."""
        if self._relay is not None and (self._relay.is_busy or self._relay.in_message):
            return not (self._relay.is_busy or self._operations or self._outcome)
        return not self._assembler.in_message and not self._operations and not self._outcome

    @property
    def _has_to_end(self) -> bool:
        """Whether the association has to end when it is idle."""
        return (self._draining or self._relay_end is not None) and not self._releasing

    async def run(self) -> None:
        """Serve until the association has ended. Cancellation closes the connection."""
        with self._counted:
            try:
                async with trio.open_nursery() as self._nursery:
                    await self._transport.perform(self._upper_layer.transport_connected())
                    while self._transport.is_open:
                        await self._step()
                    self._tell_end()
            except Exception:
                await self._abort("aborted: the router failed, see the log")
                raise
            finally:
                self._transport.close()
                if self._operations is not None:
                    with trio.CancelScope(shield=True):
                        await self._operations.drop()
                self._report()

    async def _step(self) -> None:
        """Read once and handle the indications."""
        patience = self._patience()
        try:
            indications = await self._read(patience)
        except TimeoutError as error:
            if self._releasing:
                await self._abort("the release was not answered")
            elif patience < self._config.timeouts.idle:
                await self._abort(self._pace.reason)
            elif not self._operations and not (self._relay and self._relay.awaits_response):  # else the peer waits
                await self._abort(f"idle: {error}")
            return
        if indications is None:
            await self._end_when_idle()
            return
        for number, indication in enumerate(indications, 1):
            if self._outcome:
                break
            self._transport.has_handled_all = number == len(indications)
            if not isinstance(indication, Fragment):
                await self._handle(indication)
            elif not self._releasing:  # a response cannot follow our A-RELEASE-RQ (PS3.8 9.2, Sta7)
                await self._on_fragment(indication)
            if not number % _MOST_INDICATIONS:
                await trio.lowlevel.checkpoint()
        if not indications or self._assembler.in_message:
            self._transport.acknowledge()
        if not (indications or self._header_begun or self._assembler.in_message):
            self._pace.begin()
        self._header_begun = not indications

    def _patience(self) -> float:
        """Return the seconds that the next read may wait."""
        if self._releasing:
            return self._config.timeouts.release
        idle = self._config.timeouts.idle
        return min(idle, self._pace.left) if self._assembler.in_message or self._header_begun else idle

    async def _read(self, patience: float) -> list[Indication] | None:
        """Return the indications of the next read, or None if the association has to end and is idle."""
        if self._draining and self._outcome and not self._operations:
            self._transport.close()  # nobody has to wait for the peer to close
            return []
        if self._has_to_end and self._is_idle:
            return None
        try:
            return await self._transport.read(patience)
        except Interrupted:
            return None if self._has_to_end and not self._outcome else []

    async def _handle(self, indication: Indication) -> None:
        match indication:
            case AssociateIndication(request=request):
                await self._on_request(request)
            case RequestRefused(request=request, rejection=rejection, why=why):
                self._name_sender(request)
                self._end_association(f"{rejection.message}: {why}")
            case ReleaseIndication(collision=True):  # the acceptor answers after the requestor (PS3.8 7.2.3)
                self._collided = True
            case ReleaseIndication():
                await self._on_release()
            case ReleaseConfirm() if self._releasing:
                self._end_association("released")
                if self._collided:
                    await self._transport.tell(self._upper_layer.respond_release)
            case AbortIndication(source=source, reason=reason):
                self._end_association(describe_abort(Abort(source=source, reason=reason)))
            case ProviderAbort(error=error):
                self._end_association(f"aborted: {error}")
            case TransportClosed():
                self._end_association("the peer closed the connection")
            case AssociateConfirm() | RejectIndication() | ReleaseConfirm() | Fragment():
                raise AssertionError(f"an acceptor was told {indication}")
            case _:
                assert_never(indication)

    async def _on_release(self) -> None:
        end = await self._relay.release() if self._relay is not None else None
        if end is not None and not end.released:
            await self._abort(end.reason)
            return
        self._end_association("released")
        await self._transport.tell(self._upper_layer.respond_release)

    async def _end_when_idle(self) -> None:
        """End the association as that of the relay has ended, or because the router stops."""
        if self._relay_end is None:
            await self._abort("the router is shutting down")
        elif self._relay_end.released and self._upper_layer.state is State.STA6:
            self._releasing = True
            await self._transport.tell(self._upper_layer.release)
        else:
            await self._abort(f"the peer of the relay: {self._relay_end.reason}")

    def _end_association(self, outcome: str) -> None:
        """Note that the association has ended. The connection lasts until the peer closes it, or ARTIM expires."""
        self._outcome = outcome
        self._counted.close()
        self._tell_end()

    def _tell_end(self) -> None:
        for side in filter(None, (self._reverse, self._storing)):
            side.end()
        if self._operations is not None:
            self._operations.end()
        if self._relay is not None:
            self._relay.close(self._outcome)

    async def _abort(self, outcome: str) -> None:
        self._end_association(self._outcome or outcome)
        if self._upper_layer.state is State.STA2:  # there is no association to abort (PS3.8 table 9-10, Evt15)
            self._transport.close()
            return
        await self._transport.tell(self._upper_layer.abort)

    # Association establishment

    async def _on_request(self, request: AssociateRQ) -> None:
        self._name_sender(request)
        rejection = self._shared.rejection(request, self._peer, self._listener, self._counted)
        if rejection is None and self._draining:
            rejection = AssociateRJ.because(Rejection.TEMPORARY_CONGESTION)
        if rejection is not None:
            self._end_association(rejection.message)
            await self._transport.tell(self._upper_layer.reject, rejection)
            return
        sender = self._sender = Sender(
            calling_ae=request.calling_ae_title,
            called_ae=request.called_ae_title,
            peer=self._peer,
            listener=self._listener,
        )
        self._relay = self._shared.relay_for(request, sender, self._number, self._transport, self._on_idle)
        if self._relay is None:
            await self._establish(request, sender, NOTHING_RELAYED)
        else:
            self._nursery.start_soon(self._run_relay, self._relay, request, sender)

    async def _run_relay(self, relay: ClientRelay, request: AssociateRQ, sender: Sender) -> None:
        """Establish the association when the peer of the relay has answered, and end it when the peer's has ended."""
        end = await relay.run(request, partial(self._establish, request, sender))
        if end is not None and not relay.is_releasing:
            self._relay_end = end
            self._on_idle()

    async def _establish(self, request: AssociateRQ, sender: Sender, relayed: RelayedTerms) -> None:
        """Accept the association. `relayed`: the answers of the peer of a relay."""
        agreement = self._agreement = agree(request, self._config, sender, self._shared.services, relayed)
        statuses = self._config.statuses.for_calling_ae(request.calling_ae_title)
        invoker = Invoker(sender=sender, association=self._number, spool=self._shared.spool, statuses=statuses)
        transport = self._transport if self._relay is None else self._relay.pair()
        self._storing = self._shared.storing_on(agreement, transport)
        told = self._on_operation_response, self._on_idle, self._storing
        self._operations = AcceptorOperations(transport, self._nursery, agreement, invoker, *told)
        results = agreement.accept.presentation_contexts
        self._log.debug("presentation contexts", words=describe_contexts(request.presentation_contexts, results))
        await self._transport.tell(self._upper_layer.accept, agreement.accept)
        if not self._outcome:
            self._begin_reverse(request.calling_ae_title, agreement, transport)

    def _begin_reverse(self, title: str, agreement: Agreement, transport: MessageSender) -> None:
        """Let the peer's deliveries go out on this association, on the contexts in which we may invoke operations."""
        contexts = self._shared.invocable(agreement)
        if contexts:
            self._reverse = ReverseAssociation(transport, contexts, self._config.timeouts.dimse)
            self._nursery.start_soon(self._shared.deliver_on, title, self._reverse)

    def _name_sender(self, request: AssociateRQ) -> None:
        self._log = self._log.bind(
            calling_ae=escaped(request.calling_ae_title), called_ae=escaped(request.called_ae_title)
        )

    # Messages

    async def _on_fragment(self, fragment: Fragment) -> None:
        if not self._assembler.in_message:
            self._pace.begin()
        try:
            piece = self._assembler.feed(fragment)
        except AssemblyError as error:
            await self._abort(f"aborted: {error}")
            return
        assert self._operations is not None, "fragments come on an established association"
        if piece is not None and self._relay is not None and self._relay.relays(piece):
            await self._relay.pass_on(piece)
            return
        match piece:
            case DataSetPiece(data=data):
                self._data_bytes += len(data)
                if self._operations.in_request:
                    await self._operations.feed(piece)
                elif self._reverse is not None:
                    await self._on_response_data_set(self._reverse, piece)
            case MessageBegin(command=command) if command.is_response:
                await self._on_response(command)
            case MessageBegin(command=command) if command.field == CommandField.C_CANCEL_RQ:
                # it has no response, and may come after the final one of its operation (PS3.7 9.3.2.3)
                if not self._operations.cancel(command.message_id_being_responded_to):
                    self._log.debug("stray message ignored", command=command.name)
            case MessageBegin():
                await self._operations.feed(piece)

    async def _on_response_data_set(self, reverse: ReverseAssociation, piece: DataSetPiece) -> None:
        try:
            reverse.on_data_set(piece)
        except UnexpectedResponse as error:
            await self._abort(f"aborted: {error}")

    async def _on_response(self, command: Command) -> None:
        """Match the response to a request of ours on this association; ignore a stray one."""
        try:
            for side in filter(None, (self._reverse, self._storing)):
                with suppress(StrayResponse):
                    side.on_response(command)
                    return
        except UnexpectedResponse as error:
            await self._abort(f"aborted: {error}")
            return
        self._log.debug("stray message ignored", command=command.name)

    def _on_operation_response(self, operation: Operation, response: Response) -> None:
        """Count and log a final response."""
        command = operation.request.command
        words = describe(response.status, operation.service.name if operation.service else "")
        self._statuses[words] += 1
        self._log.debug("answered", command=command.name, sop_class=command.sop_class_uid, words=words)

    def _on_idle(self) -> None:
        """End the association if it has to end, and nothing is in flight any more."""
        if self._has_to_end and (self._is_idle or self._outcome):
            self._transport.interrupt()

    def _report(self) -> None:
        """Log the canonical line. A connection that never asked for an association is noise (load balancers)."""
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
