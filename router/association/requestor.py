"""An association that we open: negotiates, sends requests, gathers their responses, releases.

The caller's own task drives it; there is nothing in the background, and nothing is read from the connection but while
a response is waited for. Several requests may be outstanding where the peer granted it (PS3.7 D.3.3.3), and the
operations that the peer invokes meanwhile are performed. A data set is read from its source in chunks and framed as it
goes, so an object of any size needs one chunk of memory. The command set and the first chunk leave in one write.
"""

from collections.abc import Mapping, Sequence
from contextlib import suppress
from types import TracebackType
from typing import Final, Self

import structlog
import trio

from pdu import (
    AcceptedContext,
    Fragment,
    Indication,
    Overtaken,
    PresentationContext,
    ReleaseIndication,
    RoleSelection,
    SOPClassExtendedNegotiation,
    TransportClosed,
)
from router.association.connect import establish
from router.association.data_source import DataSource, InMemory, fill
from router.association.describe import describe_end
from router.association.errors import Aborted, AssociationError, NoResponse
from router.association.invocation import Invocation
from router.association.operation import OperationPerformer
from router.association.pending import PendingResponses, UnexpectedResponse
from router.association.proposal import Negotiated, associate_rq
from router.association.remote_ae import RemoteAE
from router.association.requestor_operations import NotPerformed, RequestorOperations
from router.association.transport import Transport
from router.config import Timeouts
from router.dimse import (
    AssemblyError,
    Command,
    CommandField,
    DataSetPiece,
    MessageAssembler,
    MessageBegin,
    Response,
    encode,
)
from router.network.sockets import Buffer

CHUNK: Final = 256 * 1024
"""Bytes of a data set that are read at once: with what the kernel copies them to, they fit a core's own cache."""

_AT_ONCE: Final = 1 << 20
"""Bytes of a data set in memory that are framed at once; longer ones are copied in chunks."""

_SILENCE: Final = 3600.0
"""Seconds of one wait for a peer that is not asked for anything; then the next one begins."""


class Requestor:
    """One outgoing association.

    `async with await Requestor.open(...)` releases it at the end, or aborts it if the block fails or a response is
    still due.
    """

    def __init__(
        self, remote: RemoteAE, transport: Transport, timeouts: Timeouts, operations: OperationPerformer | None
    ) -> None:
        self._transport = transport
        self._upper_layer = transport.upper_layer
        self._timeouts = timeouts
        self._assembler = MessageAssembler()
        self._responses = PendingResponses()
        self._operations = RequestorOperations(operations, remote, transport)
        self._chunk = bytearray()
        self._arrived: list[Indication] = []
        self.contexts: Mapping[tuple[str, str], AcceptedContext] = {}
        """The accepted presentation contexts by (abstract syntax, transfer syntax)."""
        self.refused: Mapping[tuple[str, str], str] = {}
        """The presentation contexts that were not accepted, each with the reason."""
        self.window = 1
        """Requests that may be outstanding at a time, as negotiated."""
        self.roles: Mapping[str, RoleSelection] = {}
        """The peer's answers to role selection, by SOP class."""
        self.extended: Mapping[str, bytes] = {}
        """The peer's answers to SOP Class Extended Negotiation, by SOP class."""

    @classmethod
    async def open(
        cls,
        remote: RemoteAE,
        contexts: Sequence[PresentationContext],
        timeouts: Timeouts,
        *,
        roles: Sequence[RoleSelection] = (),
        extended: Sequence[SOPClassExtendedNegotiation] = (),
        operations: OperationPerformer | None = None,
    ) -> "Requestor":
        """Connect and negotiate.

        `operations` performs the operations that the peer invokes on this association, for the SOP classes of which we
        proposed to be the SCP. Any other request of the peer aborts the association.

        Raises:
            NotConnected: no connection, or no answer in time.
            Rejected: A-ASSOCIATE-RJ.
            Aborted: the peer aborted instead of answering.
        """
        request = associate_rq(remote, contexts, roles, extended)
        established = await establish(remote, request, timeouts)
        requestor = cls(remote, established.transport, timeouts, operations)
        requestor._arrived = list(established.arrived)
        requestor._use(Negotiated.of(request, established.accept))
        return requestor

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        try:
            if kind is None and self._responses.is_idle:
                with suppress(AssociationError):
                    await self.release()
            elif self._transport.is_open:
                with trio.move_on_after(self._timeouts.release, shield=True):
                    await self._abort()
        finally:
            self._transport.close()
            with trio.CancelScope(shield=True):
                await self._operations.drop()

    def _use(self, negotiated: Negotiated) -> None:
        structlog.get_logger().debug("presentation contexts", words=negotiated.sentences)
        self.contexts, self.refused, self.window = negotiated.contexts, negotiated.refused, negotiated.window
        self.roles, self.extended = negotiated.roles, negotiated.extended
        self._operations.contexts, self._operations.scp_for = negotiated.by_id, negotiated.scp_for

    # Requests

    async def request(self, context: AcceptedContext, command: Command, data: DataSource | None = None) -> Response:
        """Send one request and wait for its response, with no other outstanding. Errors as of `send`, `receive`."""
        await self.send(context, command, data)
        return await self.receive()

    async def send(self, context: AcceptedContext, command: Command, data: DataSource | None = None) -> int:
        """Send a request that has one response. Return its Message ID. At most `window` may be outstanding.

        Raises:
            Aborted: the association has ended.
        """
        return await self._invoke(context, command, data, has_several=False)

    async def converse(
        self,
        context: AcceptedContext,
        command: Command,
        data: DataSource | None = None,
        *,
        patience: float | None = None,
    ) -> Invocation:
        """Send a request that may have pending responses.

        It has the association for itself: no other request may be outstanding, and none may be sent before its final
        response is read.

        `patience`: seconds that each response may take, by default `timeouts.dimse`.

        Raises:
            Aborted: the association has ended.
        """
        assert self._responses.is_idle, "a conversation has its association for itself"
        message_id = await self._invoke(context, command, data, has_several=True, patience=patience)
        return Invocation(self, context, message_id)

    async def _invoke(
        self,
        context: AcceptedContext,
        command: Command,
        data: DataSource | None,
        *,
        has_several: bool,
        patience: float | None = None,
    ) -> int:
        ended = f"the association has ended before {command.name}"
        if not self.is_alive:
            raise Aborted(ended)
        message_id = self._responses.expect(command, patience or self._timeouts.dimse, has_several=has_several)
        try:
            await self._send(context.id, command.changed(message_id=message_id), data)
        except Overtaken as error:
            raise Aborted(ended) from error
        self._responses.restart(message_id, trio.current_time())
        return message_id

    async def cancel(self, context: AcceptedContext, message_id: int) -> None:
        """Send a C-CANCEL-RQ for an outstanding request; without effect after its final response (PS3.7 9.3.2.3)."""
        if not self._responses.is_outstanding(message_id):
            return
        command = Command(field=CommandField.C_CANCEL_RQ, message_id_being_responded_to=message_id)
        with suppress(Overtaken):  # the next read tells how the association ended
            await self._send(context.id, command, None)

    async def receive(self) -> Response:
        """Return the next response to any of the outstanding requests, pending or final.

        Operations that the peer invokes meanwhile are performed. May be cancelled and called again: nothing is lost.

        Raises:
            NoResponse: an outstanding request got no response before its own deadline.
            Aborted: the peer ended the association, or sent what is not a response to what was asked.
        """
        while not self._responses:
            assert not self._responses.is_idle, "no request is outstanding"
            try:
                indication = await self._next(self._responses.deadline)
            except TimeoutError as error:
                raise NoResponse(self._responses.overdue(trio.current_time())) from error
            if not isinstance(indication, Fragment):
                raise Aborted(f"{describe_end(indication)} while a response was due")
            await self._on_fragment(indication)
        return self._responses.pop()

    async def attend(self) -> None:
        """Perform the operations that the peer invokes while no request is outstanding.

        Ends when cancelled, or when the association has ended. Cancellation waits for an operation that has begun.

        Raises:
            Aborted: the peer sent what has no place here.
        """
        while self._transport.is_open:
            await self._catch_up()
            if self._arrived:
                return
            with suppress(TimeoutError):
                self._arrived = await self._transport.read(_SILENCE)

    async def _catch_up(self) -> None:
        """Handle the fragments that have been read already, after a response."""
        while self._arrived and isinstance(self._arrived[0], Fragment):
            fragment = self._arrived.pop(0)
            assert isinstance(fragment, Fragment)
            await self._on_fragment(fragment)

    @property
    def is_alive(self) -> bool:
        """Whether, as far as is known, a request may be sent."""
        return self._transport.is_open and all(isinstance(one, Fragment) for one in self._arrived)

    @property
    def can_receive(self) -> bool:
        """Whether a response, or a part of one, can be read without waiting."""
        return bool(self._responses) or bool(self._arrived)

    @property
    def is_idle(self) -> bool:
        """Whether it is alive, no response is due, and no message of the peer's is only partly in."""
        return self.is_alive and self._responses.is_idle and not self._assembler.in_message

    async def _send(self, context_id: int, command: Command, data: DataSource | None) -> None:
        buffers: list[Buffer] = self._upper_layer.send_data(context_id, encode(command), command=True, last=True)
        if data is None:
            await self._transport.send(buffers)
            return
        if isinstance(data, InMemory) and data.length <= _AT_ONCE:
            buffers += self._upper_layer.send_data(context_id, data.content, command=False, last=True)
            await self._transport.send(buffers)
            return
        chunk = self._lend(CHUNK if data.length is None else max(1, min(data.length, CHUNK)))
        while True:
            try:
                size, is_last = await fill(data, chunk)
            except Exception:  # half a data set may have left
                await self._abort()
                self._transport.close()
                raise
            buffers += self._upper_layer.send_data(context_id, chunk[:size], command=False, last=is_last)
            await self._transport.send(buffers)
            if is_last or not self._transport.can_send:
                return
            buffers = []

    def _lend(self, size: int) -> memoryview:
        """Return `size` bytes of the association's own buffer, which grows at need."""
        if len(self._chunk) < size:
            self._chunk = bytearray(size)
        return memoryview(self._chunk)[:size]

    # What the peer sends

    async def _on_fragment(self, fragment: Fragment) -> None:
        """Accept a part of a response, or of a request of the peer.

        Raises:
            Aborted: it is neither; we have aborted the association.
        """
        try:
            piece = self._assembler.feed(fragment)
            if piece is not None:
                await self._on_piece(piece)
        except AssemblyError as error:
            await self._abort()
            raise Aborted(f"the peer's response makes no message: {error}") from error
        except (UnexpectedResponse, NotPerformed) as error:
            await self._abort()
            raise Aborted(str(error)) from error

    async def _on_piece(self, piece: MessageBegin | DataSetPiece) -> None:
        now = trio.current_time()
        match piece:
            case MessageBegin(command=command) if command.is_response:
                self._responses.begin(command, now)
            case DataSetPiece(data=data, is_last=is_last) if not self._operations.in_request:
                self._responses.feed(data, now, is_last=is_last)
            case _:
                self._responses.peer_invoked(now)
                with trio.CancelScope(shield=True):
                    await self._operations.feed(piece)

    # The end

    async def release(self) -> None:
        """Release the association and wait for the answer; a peer that does not answer is left.

        Operations that the peer invokes meanwhile are performed without a response (PS3.8 9.2, Sta7): performed twice
        is better than lost.

        Raises:
            Aborted: the peer sent what has no place here.
        """
        await self._catch_up()
        if not self._transport.is_open:
            return
        self._operations.answers = False
        await self._transport.tell(self._upper_layer.release)
        try:
            while True:
                match await self._next(trio.current_time() + self._timeouts.release):
                    case Fragment() as fragment:
                        await self._on_fragment(fragment)
                    case ReleaseIndication():
                        await self._transport.tell(self._upper_layer.respond_release)
                    case _:
                        return
        except TimeoutError:
            await self._abort()

    def close(self) -> None:
        """Close the connection without a word to the peer."""
        self._transport.close()

    async def _abort(self) -> None:
        await self._transport.tell(self._upper_layer.abort)

    async def _next(self, deadline: float) -> Indication:
        """Return the next indication.

        Raises:
            TimeoutError: the deadline has passed, and nothing is there to be read: the caller may have been slow to
                ask, so what has come in time is read first.
        """
        while not self._arrived:
            if not self._transport.is_open:
                return TransportClosed()
            self._arrived = await self._transport.read(max(0.0, deadline - trio.current_time()))
            if not self._arrived:
                self._transport.acknowledge()
        return self._arrived.pop(0)
