"""An association that we open: connects, negotiates, sends requests, gathers their responses, releases.

The caller's own task drives it; there is nothing in the background. Several requests may be outstanding where the
peer granted it (PS3.7 D.3.3.3), and what the peer asks for meanwhile is performed. A data set is read
from its source in chunks and framed as it goes, so an object of any size needs one chunk of memory. The command set
and the first chunk leave in one write.
"""

import os
from collections.abc import Sequence
from contextlib import suppress
from types import TracebackType
from typing import Protocol, Self

import structlog
import trio

from pdu import (
    AcceptedContext,
    AssociateAC,
    AssociateConfirm,
    AssociateRQ,
    AsynchronousOperationsWindow,
    Fragment,
    Indication,
    Overtaken,
    PresentationContext,
    RejectIndication,
    ReleaseIndication,
    Role,
    RoleSelection,
    TransportClosed,
    UpperLayer,
    UserInformation,
    accepted_contexts,
)
from router.association.describe import describe_contexts, describe_end
from router.association.errors import Aborted, AssociationError, NoResponse, NotConnected, Rejected
from router.association.operation import Operation, OperationContext, send_response
from router.association.pending import PendingResponses, UnexpectedResponse
from router.association.remote_ae import RemoteAE
from router.association.transport import Transport
from router.config import Timeouts
from router.dimse import AssemblyError, Command, DataSetPiece, MessageAssembler, MessageBegin, Response, encode
from router.network.sockets import Buffer, KernelSocket

CHUNK = 512 * 1024
"""Bytes of a data set that are read at once."""

_ATTENTION = 3600.0
"""Seconds of silence after which a rest just goes on."""


class DataSource(Protocol):
    """A data set to send: a spooled one, or a file's."""

    @property
    def data_length(self) -> int: ...
    async def read_into(self, buffer: memoryview, offset: int) -> int: ...


class Requestor:
    """One outgoing association. `async with await Requestor.open(...)` releases it at the end, or aborts it when
    the block fails."""

    def __init__(
        self, target: RemoteAE, transport: Transport, timeouts: Timeouts, host: OperationContext | None
    ) -> None:
        self._transport = transport
        self._upper_layer = transport.upper_layer
        self._timeouts = timeouts
        self._assembler = MessageAssembler()
        self._target = target
        self._host = host
        self._answers = PendingResponses()
        self._operation: Operation | None = None
        self._releasing = False
        self._chunk = bytearray()
        self._arrived: list[Indication] = []
        self._due = 0.0
        """By when the peer has to say something, while a response is due."""
        self._contexts_by_id: dict[int, AcceptedContext] = {}
        self.contexts: dict[tuple[str, str], AcceptedContext] = {}
        """What the peer accepted, by (abstract syntax, transfer syntax)."""
        self.refused: dict[tuple[str, str], str] = {}
        """What it did not accept, and why, in words."""
        self.window = 1
        """Requests that may be outstanding at a time, as negotiated."""

    @classmethod
    async def open(
        cls,
        target: RemoteAE,
        contexts: Sequence[PresentationContext],
        timeouts: Timeouts,
        *,
        roles: Sequence[RoleSelection] = (),
        host: OperationContext | None = None,
    ) -> "Requestor":
        """Connect and negotiate. `host` performs what the peer asks for on this association; without one,
        and where no service of its proposed that the peer ask anything, a request of the peer's aborts it.

        Raises:
            NotConnected: no connection, or no answer in time.
            Rejected: A-ASSOCIATE-RJ.
            Aborted: the peer aborted instead of answering.
        """
        sock = await connect(target, timeouts.connect)
        upper_layer = UpperLayer(role=Role.REQUESTOR, maximum_length=target.maximum_pdu_length)
        requestor = cls(target, Transport(KernelSocket(sock), upper_layer, timeouts), timeouts, host)
        try:
            await requestor._associate(associate_rq(target, contexts, roles))
        except BaseException:
            requestor._transport.close()
            raise
        return requestor

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        try:
            if kind is None:
                with suppress(AssociationError):
                    await self.release()
            elif self._transport.is_open:
                with trio.move_on_after(self._timeouts.release, shield=True):
                    await self._abort()
        finally:
            self._transport.close()
            if self._operation is not None:
                with trio.CancelScope(shield=True):
                    await self._operation.drop()

    async def _associate(self, request: AssociateRQ) -> None:
        await self._transport.tell(self._upper_layer.associate, request)
        await self._transport.tell(self._upper_layer.transport_connected)
        try:
            answer = await self._next(self._timeouts.association)
        except TimeoutError as error:
            raise NotConnected(f"no answer to A-ASSOCIATE-RQ: {error}") from error
        match answer:
            case AssociateConfirm(accept=accept):
                self._learn(request, accept)
            case RejectIndication(rejection=rejection):
                raise Rejected(rejection.words, rejection)
            case _:
                raise Aborted(f"{describe_end(answer)} instead of an answer to A-ASSOCIATE-RQ")

    def _learn(self, request: AssociateRQ, accept: AssociateAC) -> None:
        """Sort the presentation contexts into those that can be used and those that cannot, and why."""
        proposed_window = request.user_information.asynchronous_operations_window
        wanted = proposed_window.invoked if proposed_window else 1
        words = describe_contexts(request.presentation_contexts, accept.presentation_contexts)
        structlog.get_logger().debug("presentation contexts", words=words)
        accepted = self._contexts_by_id = accepted_contexts(request, accept)
        if granted := accept.user_information.asynchronous_operations_window:
            self.window = min(granted.invoked, wanted) if granted.invoked else wanted
        for proposed, sentence in zip(request.presentation_contexts, words, strict=True):
            if context := accepted.get(proposed.id):
                self.contexts[context.abstract_syntax, context.transfer_syntax] = context
            else:
                for transfer_syntax in proposed.transfer_syntaxes:
                    self.refused[proposed.abstract_syntax, transfer_syntax] = sentence

    async def request(self, context: AcceptedContext, command: Command, data: DataSource | None = None) -> Response:
        """Send one request and wait for its response, with no other outstanding. Errors as of `send`, `receive`."""
        await self.send(context, command, data)
        return await self.receive()

    async def send(self, context: AcceptedContext, command: Command, data: DataSource | None = None) -> int:
        """Send one request, and give the Message ID that is assigned to it. At most `window` may be outstanding.

        Raises:
            Aborted: the association has ended.
        """
        ended = f"the association has ended before {command.name}"
        if not self.is_alive:
            raise Aborted(ended)
        numbered = self._answers.expect(command)
        try:
            await self._send(context.id, numbered, data)
        except Overtaken as error:
            raise Aborted(ended) from error
        self._due = trio.current_time() + self._timeouts.dimse
        assert numbered.message_id is not None
        return numbered.message_id

    async def receive(self) -> Response:
        """The next response to any of the outstanding requests; meanwhile, requests of the peer are performed. May be
        cancelled and called again: nothing is lost.

        Raises:
            NoResponse: nothing came for the DIMSE deadline.
            Aborted: the peer ended the association, or answered something else.
        """
        while not self._answers:
            try:
                indication = await self._next(self._timeouts.dimse, self._due)
            except TimeoutError as error:
                raise NoResponse(f"no response to {self._answers.due}: {error}") from error
            if not isinstance(indication, Fragment):
                raise Aborted(f"{describe_end(indication)} while a response was due")
            self._due = trio.current_time() + self._timeouts.dimse
            await self._on_fragment(indication)
        return self._answers.pop()

    async def attend(self) -> None:
        """Perform what the peer asks for while nothing is outstanding, until cancelled or until the association has
        ended. Cancellation waits for what has begun."""
        while self._transport.is_open:
            await self._catch_up()
            if self._arrived:
                return
            with suppress(TimeoutError):
                self._arrived = await self._transport.read(_ATTENTION)

    async def _catch_up(self) -> None:
        """With what has arrived already, behind a response."""
        while self._arrived and isinstance(self._arrived[0], Fragment):
            fragment = self._arrived.pop(0)
            assert isinstance(fragment, Fragment)
            await self._on_fragment(fragment)

    @property
    def is_alive(self) -> bool:
        """Whether, as far as is known, a request may be sent."""
        return self._transport.is_open and all(isinstance(one, Fragment) for one in self._arrived)

    async def _send(self, context_id: int, command: Command, data: DataSource | None) -> None:
        buffers: list[Buffer] = self._upper_layer.send_data(context_id, encode(command), command=True, last=True)
        if data is None:
            await self._transport.send(buffers)
            return
        length, offset = data.data_length, 0
        chunk = self._lend(min(length, CHUNK))
        while True:
            size = await _fill(data, chunk[: length - offset], offset)
            offset += size
            last = offset == length
            buffers += self._upper_layer.send_data(context_id, chunk[:size], command=False, last=last)
            await self._transport.send(buffers)
            if last or not self._transport.can_send:
                return
            buffers = []

    def _lend(self, size: int) -> memoryview:
        """The association's own buffer, grown to `size` bytes at need."""
        if len(self._chunk) < size:
            self._chunk = bytearray(size)
        return memoryview(self._chunk)[:size]

    async def _on_fragment(self, fragment: Fragment) -> None:
        """A part of a response, or of a request of the peer's.

        Raises:
            Aborted: it is neither; we have aborted the association.
        """
        try:
            piece = self._assembler.feed(fragment)
        except AssemblyError as error:
            await self._abort()
            raise Aborted(f"the peer's response makes no message: {error}") from error
        try:
            await self._on_piece(piece)
        except UnexpectedResponse as error:
            await self._abort()
            raise Aborted(str(error)) from error

    async def _on_piece(self, piece: MessageBegin | DataSetPiece | None) -> None:
        match piece:
            case MessageBegin(command=command) if command.is_response:
                self._answers.begin(command)
            case DataSetPiece(data=data, is_last=is_last) if self._operation is None:
                self._answers.take(data, is_last=is_last)
            case MessageBegin() | DataSetPiece():
                with trio.CancelScope(shield=True):
                    await self._take_in(piece)

    async def _take_in(self, piece: MessageBegin | DataSetPiece) -> None:
        """A part of a request of the peer's."""
        if isinstance(piece, MessageBegin):
            self._operation = await self._begin(piece)
            is_whole = not piece.command.has_data_set
        else:
            assert self._operation is not None
            await self._operation.take(piece)
            is_whole = piece.is_last
        if is_whole:
            await self._perform()

    async def _begin(self, begin: MessageBegin) -> Operation:
        operation = None
        if self._host is not None:
            operation = self._host.begin(begin, self._contexts_by_id[begin.context_id], self._target)
        if operation is None:
            await self._abort()
            raise Aborted(f"the peer asked for {begin.command.name} on our association")
        return operation

    async def _perform(self) -> None:
        """The peer's request is whole: have it performed, and answer."""
        operation, self._operation = self._operation, None
        assert operation is not None
        await trio.lowlevel.checkpoint()  # thousands of requests may have come in one read
        response = await operation.perform()
        if self._releasing:
            return
        with suppress(Overtaken):
            await send_response(self._transport, operation.context_id, response)

    async def release(self) -> None:
        """A-RELEASE, and wait for the answer; a peer that does not answer is left. What the peer asks for meanwhile is
        performed and cannot be answered any more (PS3.8 9.2, Sta7): better heard twice than lost."""
        await self._catch_up()
        if not self._transport.is_open:
            return
        self._releasing = True
        await self._transport.tell(self._upper_layer.release)
        try:
            while True:
                match await self._next(self._timeouts.release):
                    case Fragment() as fragment:
                        await self._on_fragment(fragment)
                    case ReleaseIndication():
                        await self._transport.tell(self._upper_layer.respond_release)
                    case _:
                        return
        except TimeoutError:
            await self._abort()

    async def _abort(self) -> None:
        await self._transport.tell(self._upper_layer.abort)

    async def _next(self, patience: float, deadline: float | None = None) -> Indication:
        """The next indication, within `patience` seconds from now, or from when `deadline` was set."""
        if deadline is None:
            deadline = trio.current_time() + patience
        while not self._arrived:
            if not self._transport.is_open:
                return TransportClosed()
            left = deadline - trio.current_time()
            if left <= 0:
                raise TimeoutError(f"the peer was silent for {patience:g} s")
            self._arrived = await self._transport.read(left)
            if not self._arrived:
                self._transport.acknowledge()
        return self._arrived.pop(0)


async def connect(target: RemoteAE, patience: float) -> trio.socket.SocketType:
    """Connect within `patience` seconds, the look-up of a host name included.

    Raises:
        NotConnected: no such host, no answer, or a refusal.
    """
    try:
        with trio.fail_after(patience):
            stream = await trio.open_tcp_stream(target.host, target.port)
    except trio.TooSlowError as error:
        raise NotConnected(f"no connection to {target.host}:{target.port} within {patience:g} s") from error
    except OSError as error:
        raise NotConnected(f"no connection to {target.host}:{target.port}: {_cause(error)}") from error
    except UnicodeError as error:
        raise NotConnected(f"no connection: {target.host!r} cannot be a host name: {error}") from error
    return stream.socket


def _cause(error: OSError) -> str:
    """In the kernel's words. trio hides them behind its own, once for each address that a name stands for."""
    cause = error.__cause__
    each = cause.exceptions if isinstance(cause, BaseExceptionGroup) else [cause]
    words = dict.fromkeys(os.strerror(one.errno) for one in each if isinstance(one, OSError) and one.errno)
    return ", ".join(words) or error.strerror or str(error)


def associate_rq(
    target: RemoteAE, contexts: Sequence[PresentationContext], roles: Sequence[RoleSelection] = ()
) -> AssociateRQ:
    """The A-ASSOCIATE-RQ of who we are towards the target."""
    return AssociateRQ(
        called_ae_title=target.called_ae,
        calling_ae_title=target.calling_ae,
        presentation_contexts=tuple(contexts),
        user_information=UserInformation(
            maximum_length=target.maximum_pdu_length,
            implementation_class_uid=target.implementation_class_uid,
            implementation_version_name=target.implementation_version_name,
            asynchronous_operations_window=_proposed_window(target.window),
            roles=tuple(roles),
        ),
    )


def _proposed_window(window: int) -> AsynchronousOperationsWindow | None:
    return AsynchronousOperationsWindow(invoked=window, performed=1) if window > 1 else None


async def _fill(data: DataSource, buffer: memoryview, offset: int) -> int:
    """Read until `buffer` is full: a short chunk in the middle would be the end of the data set."""
    filled = 0
    while filled < len(buffer):
        size = await data.read_into(buffer[filled:], offset + filled)
        if not size:
            raise EOFError(f"the data set ends {len(buffer) - filled} bytes early")
        filled += size
    return filled


def plan_contexts(pairs: Sequence[tuple[str, str]]) -> tuple[PresentationContext, ...]:
    """One presentation context for each (SOP class, transfer syntax), in order, at most 128 (PS3.8 9.3.2.2).

    One pair a context is what keeps a peer from choosing another transfer syntax than the object has.
    """
    distinct = list(dict.fromkeys(pairs))[:128]
    return tuple(
        PresentationContext(id=2 * index + 1, abstract_syntax=abstract_syntax, transfer_syntaxes=(transfer_syntax,))
        for index, (abstract_syntax, transfer_syntax) in enumerate(distinct)
    )
