"""An association that we open: connects, negotiates, sends requests one at a time, releases.

The caller's own task drives it; there is nothing in the background. A data set is read from its source in chunks
and framed as it goes, so an object of any size needs one chunk of memory. The command set and the first chunk leave
in one write.
"""

import os
from collections.abc import Sequence
from contextlib import suppress
from types import TracebackType
from typing import Any, Protocol, Self, assert_never

import structlog
import trio
from attrs import evolve, frozen

from pdu import (
    Abort,
    AbortIndication,
    AcceptedContext,
    AssociateAC,
    AssociateConfirm,
    AssociateIndication,
    AssociateRQ,
    Fragment,
    Indication,
    PresentationContext,
    ProviderAbort,
    RejectIndication,
    ReleaseConfirm,
    ReleaseIndication,
    RequestRefused,
    Role,
    TransportClosed,
    UpperLayer,
    UserInformation,
    accepted_contexts,
)
from router.association.errors import Aborted, AssociationError, NoResponse, NotConnected, Rejected
from router.association.transport import Buffer, Transport
from router.association.words import abort_words, context_words
from router.config import Timeouts
from router.dimse import AssemblyError, Command, MessageAssembler, MessageBegin, encode

CHUNK = 512 * 1024
"""Bytes of a data set that are read at once."""

_GLANCE = 0.001
"""Seconds to look whether the peer has ended an association that rested."""


class DataSource(Protocol):
    """A data set to send: a spooled one, or a file's."""

    @property
    def data_length(self) -> int: ...
    async def read_into(self, buffer: memoryview, offset: int) -> int: ...


@frozen(kw_only=True)
class Target:
    """Whom to call, and as whom."""

    host: str
    port: int
    called_ae: str
    calling_ae: str
    maximum_pdu_length: int
    implementation_class_uid: str
    implementation_version_name: str


class Requestor:
    """One outgoing association. `async with await Requestor.open(...)` releases it at the end, or aborts it when
    the block fails."""

    def __init__(self, transport: Transport, upper_layer: UpperLayer, timeouts: Timeouts) -> None:
        self._transport = transport
        self._upper_layer = upper_layer
        self._timeouts = timeouts
        self._assembler = MessageAssembler()
        self._message_id = 0
        self._chunk = bytearray()
        self._arrived: list[Indication] = []
        self.contexts: dict[tuple[str, str], AcceptedContext] = {}
        """What the peer accepted, by (abstract syntax, transfer syntax)."""
        self.refused: dict[tuple[str, str], str] = {}
        """What it did not accept, and why, in words."""

    @classmethod
    async def open(cls, target: Target, contexts: Sequence[PresentationContext], timeouts: Timeouts) -> "Requestor":
        """Connect and negotiate.

        Raises:
            NotConnected: no connection, or no answer in time.
            Rejected: A-ASSOCIATE-RJ.
            Aborted: the peer aborted instead of answering.
        """
        sock = await _connect(target, timeouts.connect)
        upper_layer = UpperLayer(role=Role.REQUESTOR, maximum_length=target.maximum_pdu_length)
        requestor = cls(Transport(sock, upper_layer, timeouts), upper_layer, timeouts)
        try:
            await requestor._associate(_associate_rq(target, contexts))
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
                raise Aborted(f"{_end_words(answer)} instead of an answer to A-ASSOCIATE-RQ")

    def _learn(self, request: AssociateRQ, accept: AssociateAC) -> None:
        """Sort the presentation contexts into those that can be used and those that cannot, and why."""
        words = context_words(request.presentation_contexts, accept.presentation_contexts)
        structlog.get_logger().debug("presentation contexts", words=words)
        accepted = accepted_contexts(request, accept)
        for proposed, sentence in zip(request.presentation_contexts, words, strict=True):
            if context := accepted.get(proposed.id):
                self.contexts[context.abstract_syntax, context.transfer_syntax] = context
            else:
                for transfer_syntax in proposed.transfer_syntaxes:
                    self.refused[proposed.abstract_syntax, transfer_syntax] = sentence

    async def request(self, context: AcceptedContext, command: Command, data: DataSource | None = None) -> Command:
        """Send one request and wait for its response. The Message ID is assigned here.

        Raises:
            NoResponse: it was sent, and nothing came back for the DIMSE deadline.
            Aborted: the peer ended the association, or answered something else.
        """
        if not self._transport.is_open:
            raise Aborted(f"the association has ended before {command.name}")
        self._message_id = self._message_id % 0xFFFF + 1
        numbered = evolve(command, message_id=self._message_id)
        await self._send(context.id, numbered, data)
        try:
            return await self._response()
        except TimeoutError as error:
            raise NoResponse(f"no response to {command.name}: {error}") from error

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

    async def _response(self) -> Command:
        while True:
            indication = await self._next(self._timeouts.dimse)
            if not isinstance(indication, Fragment):
                raise Aborted(f"{_end_words(indication)} while a response was due")
            try:
                piece = self._assembler.feed(indication)
            except AssemblyError as error:
                await self._abort()
                raise Aborted(f"the peer's response makes no message: {error}") from error
            if isinstance(piece, MessageBegin):
                command = piece.command
                if command.is_response and command.message_id_being_responded_to == self._message_id:
                    return command
                await self._abort()
                raise Aborted(
                    f"{command.name} with Message ID {command.message_id_being_responded_to}"
                    f" where {self._message_id} was due"
                )

    async def is_alive(self) -> bool:
        """Whether the peer has kept the association open while nothing was asked of it."""
        try:
            self._arrived += await self._transport.read(_GLANCE)
        except TimeoutError:
            return True
        return self._transport.is_open and not self._arrived

    async def release(self) -> None:
        """A-RELEASE, and wait for the answer; a peer that does not answer is left."""
        if not self._transport.is_open:
            return
        await self._transport.tell(self._upper_layer.release)
        try:
            while True:
                match await self._next(self._timeouts.release):
                    case Fragment():
                        continue
                    case ReleaseIndication():
                        await self._transport.tell(self._upper_layer.respond_release)
                    case _:
                        return
        except TimeoutError:
            await self._abort()

    async def _abort(self) -> None:
        await self._transport.tell(self._upper_layer.abort)

    async def _next(self, patience: float) -> Indication:
        """The next indication, within `patience` seconds."""
        deadline = trio.current_time() + patience
        while not self._arrived:
            if not self._transport.is_open:
                return TransportClosed()
            left = deadline - trio.current_time()
            if left <= 0:
                raise TimeoutError(f"the peer was silent for {patience:g} s")
            self._arrived = await self._transport.read(left)
        return self._arrived.pop(0)


async def _connect(target: Target, patience: float) -> Any:
    try:
        with trio.fail_after(patience):
            stream = await trio.open_tcp_stream(target.host, target.port)
    except trio.TooSlowError as error:
        raise NotConnected(f"no connection to {target.host}:{target.port} within {patience:g} s") from error
    except OSError as error:
        raise NotConnected(f"no connection to {target.host}:{target.port}: {_cause(error)}") from error
    return stream.socket


def _cause(error: OSError) -> str:
    """In the kernel's words. trio hides them behind its own, once for each address that a name stands for."""
    cause = error.__cause__
    each = cause.exceptions if isinstance(cause, BaseExceptionGroup) else [cause]
    words = dict.fromkeys(os.strerror(one.errno) for one in each if isinstance(one, OSError) and one.errno)
    return ", ".join(words) or error.strerror or str(error)


def _associate_rq(target: Target, contexts: Sequence[PresentationContext]) -> AssociateRQ:
    return AssociateRQ(
        called_ae_title=target.called_ae,
        calling_ae_title=target.calling_ae,
        presentation_contexts=tuple(contexts),
        user_information=UserInformation(
            maximum_length=target.maximum_pdu_length,
            implementation_class_uid=target.implementation_class_uid,
            implementation_version_name=target.implementation_version_name,
        ),
    )


async def _fill(data: DataSource, buffer: memoryview, offset: int) -> int:
    """Read until `buffer` is full: a short chunk in the middle would be the end of the data set."""
    filled = 0
    while filled < len(buffer):
        size = await data.read_into(buffer[filled:], offset + filled)
        if not size:
            raise EOFError(f"the data set ends {len(buffer) - filled} bytes early")
        filled += size
    return filled


def _end_words(indication: Indication) -> str:
    match indication:
        case AbortIndication(source=source, reason=reason):
            return abort_words(Abort(source=source, reason=reason))
        case ProviderAbort(error=error):
            return f"the connection was aborted: {error}"
        case TransportClosed():
            return "the peer closed the connection"
        case ReleaseIndication() | ReleaseConfirm():
            return "the peer released the association"
        case Fragment() | AssociateConfirm() | RejectIndication() | AssociateIndication() | RequestRefused():
            return f"the peer sent an unexpected {type(indication).__name__}"
        case _:
            assert_never(indication)


def plan_contexts(pairs: Sequence[tuple[str, str]]) -> tuple[PresentationContext, ...]:
    """One presentation context for each (SOP class, transfer syntax), in order, at most 128 (PS3.8 9.3.2.2).

    One pair a context is what keeps a peer from choosing another transfer syntax than the object has.
    """
    distinct = list(dict.fromkeys(pairs))[:128]
    return tuple(
        PresentationContext(id=2 * index + 1, abstract_syntax=abstract_syntax, transfer_syntaxes=(transfer_syntax,))
        for index, (abstract_syntax, transfer_syntax) in enumerate(distinct)
    )
