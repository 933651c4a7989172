"""The actor of one incoming association: negotiates, receives messages, hands them to their services, answers.

One task, one message at a time. It reads, assembles and answers; what a request means is the service's business,
and what is durable is the spool's. Whatever ends the association (release, abort, a lost connection, shutdown),
a data set that is only partly in is discarded without a trace, and one line of the log says how it went.
"""

import itertools
from collections import Counter
from contextlib import ExitStack
from typing import Any, assert_never

import structlog
import trio
from attrs import define

from pdu import (
    Abort,
    AbortIndication,
    AcceptedContext,
    AssociateAC,
    AssociateConfirm,
    AssociateIndication,
    AssociateRJ,
    AssociateRQ,
    ContextResult,
    Fragment,
    Indication,
    Overtaken,
    PresentationContext,
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
    UserInformation,
    accept_roles,
    accepted_contexts,
    negotiate,
)
from router.association.doors import Doors, judge_access
from router.association.transport import Socket, Transport
from router.association.words import abort_words, context_words
from router.config import Config, Listener
from router.dimse import (
    AssemblyError,
    Command,
    CommandField,
    DataSetPiece,
    MessageAssembler,
    MessageBegin,
    Status,
    describe,
    encode,
    response_to,
)
from router.logs import escaped
from router.services import Request, Sender, Service
from router.spool import Incoming, OutOfSpace, Spool

_NUMBERS = itertools.count(1)


@define(kw_only=True)
class Reception:
    """What every acceptor of a router shares. `config` is exchanged whole on reload."""

    config: Config
    services: tuple[Service, ...]
    spool: Spool
    doors: Doors


@define
class _Message:
    """The message that is coming in."""

    context_id: int
    command: Command
    request: Request | None = None
    service: Service | None = None
    refusal: Command | None = None
    data: Incoming | None = None


class Acceptor:
    """One incoming association, from the TCP connection to its end."""

    def __init__(self, sock: Socket, peer: str, listener: Listener, reception: Reception) -> None:
        self._config = reception.config
        self._reception = reception
        self._listener = listener
        self._peer = peer
        self._upper_layer = UpperLayer(role=Role.ACCEPTOR, maximum_length=listener.maximum_pdu_length)
        self._transport = Transport(sock, self._upper_layer, self._config.timeouts)
        self._assembler = MessageAssembler(command_cap=self._config.limits.command_set)
        self._contexts: dict[int, AcceptedContext] = {}
        self._services: dict[int, Service] = {}
        self._sender: Sender | None = None
        self._message: _Message | None = None
        self._place = ExitStack()
        self._outcome = ""
        self._draining = False
        self._rest: trio.CancelScope | None = None
        self._started = trio.current_time()
        self._statuses: Counter[str] = Counter()
        self._data_bytes = 0
        self._log = structlog.get_logger().bind(association=next(_NUMBERS), peer=peer)

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
        if self._rest is not None:
            self._rest.cancel()

    async def run(self) -> None:
        """Serve until the association has ended. Cancellation closes the connection."""
        with self._place:
            try:
                await self._transport.perform(self._upper_layer.transport_connected())
                while self._transport.is_open:
                    await self._step()
            except Exception:
                await self._abort("aborted: the router failed, see the log")
                raise
            finally:
                self._transport.close()
                with trio.CancelScope(shield=True):
                    await self._drop_message()
                self._report()

    async def _step(self) -> None:
        """Read once, and handle what came."""
        try:
            indications = await self._read()
        except TimeoutError as error:
            await self._abort(f"idle: {error}")
            return
        if indications is None:
            await self._abort("the router is shutting down")
            return
        for indication in indications:
            if not self._outcome:
                await self._handle(indication)

    async def _read(self) -> list[Indication] | None:
        """What the next read means; None when `drain` was asked for and nothing is in flight."""
        resting = not self._assembler.in_message and not self._outcome
        if self._draining and resting:
            return None
        with trio.CancelScope() as scope:
            self._rest = scope if resting else None
            try:
                return await self._transport.read(self._config.timeouts.idle)
            finally:
                self._rest = None
        return None

    async def _handle(self, indication: Indication) -> None:
        match indication:
            case Fragment():
                await self._on_fragment(indication)
            case AssociateIndication(request=request):
                await self._on_request(request)
            case RequestRefused(request=request, rejection=rejection, why=why):
                self._name_sender(request)
                self._end_association(f"{rejection.words}: {why}")
            case ReleaseIndication():
                self._end_association("released")
                await self._transport.tell(self._upper_layer.respond_release)
            case AbortIndication(source=source, reason=reason):
                self._end_association(abort_words(Abort(source=source, reason=reason)))
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

    async def _abort(self, words: str) -> None:
        self._end_association(self._outcome or words)
        if self._upper_layer.state is State.STA2:  # there is no association to abort yet
            self._transport.close()
        await self._transport.tell(self._upper_layer.abort)

    # Association establishment

    async def _on_request(self, request: AssociateRQ) -> None:
        self._name_sender(request)
        rejection = self._rejection(request)
        if rejection is not None:
            self._end_association(rejection.words)
            await self._transport.tell(self._upper_layer.reject, rejection)
            return
        self._sender = Sender(calling_ae=request.calling_ae_title, called_ae=request.called_ae_title, peer=self._peer)
        accept = self._acceptance(request)
        self._log.debug(
            "presentation contexts", words=context_words(request.presentation_contexts, accept.presentation_contexts)
        )
        await self._transport.tell(self._upper_layer.accept, accept)

    def _name_sender(self, request: AssociateRQ) -> None:
        self._log = self._log.bind(
            calling_ae=escaped(request.calling_ae_title), called_ae=escaped(request.called_ae_title)
        )

    def _rejection(self, request: AssociateRQ) -> AssociateRJ | None:
        if rejection := judge_access(request, self._peer, self._config.access, self._listener.ae_title):
            return rejection
        if not self._place.enter_context(self._reception.doors.association(self._peer)):
            return AssociateRJ.because(Rejection.LOCAL_LIMIT_EXCEEDED)
        if self._draining or not self._reception.spool.accepting:
            return AssociateRJ.because(Rejection.TEMPORARY_CONGESTION)
        return None

    def _acceptance(self, request: AssociateRQ) -> AssociateAC:
        router = self._config.router
        accept = AssociateAC(
            called_ae_title=request.called_ae_title,
            calling_ae_title=request.calling_ae_title,
            presentation_contexts=negotiate(request.presentation_contexts, self._choose),
            user_information=UserInformation(
                maximum_length=self._listener.maximum_pdu_length,
                implementation_class_uid=router.implementation_class_uid,
                implementation_version_name=router.implementation_version_name,
                roles=accept_roles(request.user_information.roles, lambda _: (True, False)),
            ),
        )
        self._contexts = accepted_contexts(request, accept)
        return accept

    def _choose(self, context: PresentationContext) -> str | ContextResult:
        """What the first service makes of it whose abstract syntax it is."""
        for service in self._reception.services:
            verdict = service.judge(context)
            if verdict is not None:
                self._services[context.id] = service
                return verdict
        return ContextResult.ABSTRACT_SYNTAX_NOT_SUPPORTED

    # Messages

    async def _on_fragment(self, fragment: Fragment) -> None:
        try:
            piece = self._assembler.feed(fragment)
        except AssemblyError as error:
            await self._abort(f"aborted: {error}")
            return
        match piece:
            case MessageBegin():
                self._begin(piece)
                if not piece.command.has_data_set:
                    await self._end()
            case DataSetPiece():
                await self._take(piece)

    def _begin(self, begin: MessageBegin) -> None:
        command = begin.command
        message = self._message = _Message(begin.context_id, command)
        if command.is_response or command.field == CommandField.C_CANCEL_RQ:
            self._log.debug("stray message ignored", command=command.name)
            return
        assert self._sender is not None
        context = self._contexts[begin.context_id]
        service = message.service = self._services[begin.context_id]
        message.request = Request(
            sender=self._sender,
            abstract_syntax=context.abstract_syntax,
            transfer_syntax=context.transfer_syntax,
            command=command,
            command_bytes=begin.command_bytes,
        )
        if command.field not in service.requests:
            words = f"{command.name} is no operation of {service.name}"
            message.refusal = response_to(command, Status.UNRECOGNIZED_OPERATION, error_comment=words)
        else:
            message.refusal = service.refuse(message.request)
        if command.has_data_set and message.refusal is None:
            message.data = self._reception.spool.incoming()

    async def _take(self, piece: DataSetPiece) -> None:
        message = self._message
        assert message is not None
        self._data_bytes += len(piece.data)
        if message.data is not None:
            try:
                await message.data.write(piece.data)
                if piece.is_last:
                    await message.data.finish()
            except OutOfSpace:
                words = "the router's disk is full, try again later"
                message.refusal = response_to(message.command, Status.OUT_OF_RESOURCES, error_comment=words)
                await message.data.discard()
                message.data = None
        if piece.is_last:
            await self._end()

    async def _end(self) -> None:
        """The message is whole: have it performed, and answer."""
        message = self._message
        assert message is not None
        if message.request is not None and message.service is not None:
            response = message.refusal or await message.service.perform(message.request, message.data)
            await self._drop_message()
            await self._respond(message, response)
        self._message = None

    async def _respond(self, message: _Message, response: Command) -> None:
        assert message.service is not None
        assert response.status is not None
        words = describe(response.status, message.service.name)
        self._statuses[words] += 1
        self._log.debug("answered", command=message.command.name, sop_class=message.command.sop_class_uid, words=words)
        try:
            buffers = self._upper_layer.send_data(message.context_id, encode(response), command=True, last=True)
        except Overtaken:  # the peer has gone without waiting for the answer
            return
        await self._transport.send(buffers)

    async def _drop_message(self) -> None:
        """Leave no trace of a data set that was not committed."""
        if self._message is not None and self._message.data is not None:
            await self._message.data.discard()
            self._message.data = None

    def _report(self) -> None:
        """The canonical line. A connection that never asked for an association is noise (load balancers)."""
        wire = self._transport.statistics()
        quiet = wire.bytes_received == 0
        (self._log.debug if quiet else self._log.info)(
            "association",
            role="acceptor",
            outcome=escaped(self._outcome or "cancelled"),
            contexts=len(self._contexts),
            messages=self._statuses.total(),
            statuses=dict(self._statuses),
            data_set_bytes=self._data_bytes,
            bytes_received=wire.bytes_received,
            bytes_sent=wire.bytes_sent,
            seconds=round(trio.current_time() - self._started, 3),
        )
