"""A storage SCP that records what arrived, and when: the destination of a measurement.

It accepts every SOP class in every transfer syntax and as many outstanding requests as are proposed, and answers with a
given status. It costs as little as a receiver in Python can: of an object it keeps the UID, the length, the time of its
last byte and, on request, the CRC.
"""

import os
import time
import zlib
from collections import Counter
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from functools import partial
from pathlib import Path
from typing import Final, NamedTuple, Self

import trio
from attrs import define, frozen

from pdu import (
    AcceptedContext,
    AssociateAC,
    AssociateIndication,
    AssociateRQ,
    AsynchronousOperationsWindow,
    Fragment,
    PresentationContext,
    ReleaseIndication,
    Role,
    State,
    UpperLayer,
    UserInformation,
    accept_window,
    accepted_contexts,
    negotiate,
)
from router.association.transport import Transport
from router.config import Config, Timeouts
from router.dicom.part10 import encode_head
from router.dimse import AssemblyError, Command, CommandField, InvalidCommandSet, Status, decode, encode, response_to
from router.network.buffers import ReceiveBuffers
from router.network.sockets import KernelSocket
from router.tools.bench.command_layout import RequestLayout, ResponseForm
from router.tools.bench.results import is_stored

HOST: Final = "127.0.0.1"
MAXIMUM_LENGTH: Final = 131072
BUFFERS: Final = ReceiveBuffers(1 << 20)
"""Buffers of the size that was measured to be fastest for objects of 240 MB."""
IDLE_DEADLINE: Final = 3600.0
"""Seconds that an association may be idle."""
_COMMAND_CAP: Final = 65536
"""Most bytes of a request's command set."""


class Arrival(NamedTuple):
    """One object that was answered with success or a warning."""

    sop_instance_uid: str
    at: float
    """When its last byte was received: seconds of the monotonic clock, which the processes of a machine share."""
    length: int
    """Bytes of the data set."""
    crc: int
    """CRC-32 of the data set; 0 unless `Behaviour.crc` is set."""


@frozen(kw_only=True)
class Behaviour:
    """How the sink treats objects."""

    status: int = Status.SUCCESS
    delay: float = 0.0
    """Seconds between the last byte of an object and the response."""
    abort_every: int = 0
    """Abort the association instead of responding to every n-th object, over all associations; 0 never aborts."""
    store: Path | None = None
    """Folder to write objects to as PS3.10 files, without a sync; None discards them."""
    window: int = 0
    """Most outstanding requests to grant; 0 grants what is proposed."""
    crc: bool = False
    """Compute the CRC-32 of each data set."""


class Sink:
    """A storage SCP on one address. `ae_title` and `address` go into a router's configuration."""

    def __init__(
        self, ae_title: str = "SINK", *, host: str = HOST, port: int = 0, behaviour: Behaviour | None = None
    ) -> None:
        self.ae_title, self.host, self.port = ae_title, host, port
        self.behaviour = behaviour or Behaviour()
        self.arrivals: list[Arrival] = []
        self.bytes = 0
        """Bytes of the data sets that arrived."""
        self.associations = 0
        self.open = 0
        """Associations that are open now."""
        self.aborted = 0
        """Associations that were aborted for `abort_every`."""
        self.answers: Counter[int] = Counter()
        """Number of responses by status."""
        self._objects = 0
        self._changed = trio.lowlevel.ParkingLot()

    @property
    def address(self) -> str:
        return f"{self.host}:{self.port}"

    @asynccontextmanager
    async def serving(self) -> AsyncIterator[Self]:
        """Serve while the block lasts. A second block uses the same port."""
        async with trio.open_nursery() as nursery:
            listeners = await trio.open_tcp_listeners(self.port, host=self.host)
            self.port = listeners[0].socket.getsockname()[1]
            nursery.start_soon(partial(trio.serve_listeners, self._associate, listeners))
            yield self
            nursery.cancel_scope.cancel()

    async def wait_for_arrivals(self, count: int) -> list[Arrival]:
        """Wait until `count` objects have arrived, repeated ones included, and return all arrivals."""
        while len(self.arrivals) < count:
            await self._changed.park()
        return self.arrivals

    async def wait_until_idle(self) -> None:
        """Wait until no association is open."""
        while self.open:
            await self._changed.park()

    async def _associate(self, stream: trio.SocketStream) -> None:
        upper_layer = UpperLayer(role=Role.ACCEPTOR, maximum_length=MAXIMUM_LENGTH)
        transport = Transport(KernelSocket(stream.socket), upper_layer, Timeouts(), BUFFERS)
        connection = SinkConnection(self, transport)
        self.associations += 1
        self.open += 1
        try:
            await transport.perform(upper_layer.transport_connected())
            while transport.is_open:
                for indication in await transport.read(IDLE_DEADLINE):
                    match indication:
                        case Fragment() if upper_layer.state is State.STA6:  # the sink itself may have aborted
                            await connection.feed(indication)
                        case AssociateIndication(request=request):
                            accept = self._accept(request)
                            connection.contexts = accepted_contexts(request, accept)
                            await transport.tell(upper_layer.accept, accept)
                        case ReleaseIndication():
                            await transport.tell(upper_layer.respond_release)
                if connection.in_message:
                    transport.acknowledge()
        except (TimeoutError, AssemblyError):
            await transport.tell(upper_layer.abort)
        finally:
            connection.close_file()
            transport.close()
            self.open -= 1
            self._changed.unpark_all()

    def _accept(self, request: AssociateRQ) -> AssociateAC:
        own = Config().router
        limit = AsynchronousOperationsWindow(invoked=self.behaviour.window, performed=1)
        return AssociateAC(
            called_ae_title=request.called_ae_title,
            calling_ae_title=request.calling_ae_title,
            presentation_contexts=negotiate(request.presentation_contexts, _first_transfer_syntax),
            user_information=UserInformation(
                maximum_length=MAXIMUM_LENGTH,
                implementation_class_uid=own.implementation_class_uid,
                implementation_version_name=own.implementation_version_name,
                asynchronous_operations_window=accept_window(
                    request.user_information.asynchronous_operations_window, limit
                ),
            ),
        )

    def record_arrival(self, sop_instance_uid: str, at: float, length: int, crc: int) -> None:
        """Record the arrival of an object, and wake those who wait for it."""
        self.arrivals.append(Arrival(sop_instance_uid, at, length, crc))
        self.bytes += length
        self._changed.unpark_all()

    def must_abort(self) -> bool:
        """Count an object, and return whether its association is to be aborted."""
        self._objects += 1
        return bool(self.behaviour.abort_every) and self._objects % self.behaviour.abort_every == 0


def _first_transfer_syntax(context: PresentationContext) -> str:
    return context.transfer_syntaxes[0]


@define
class _Message:
    """A message that is being received."""

    context: AcceptedContext
    command: Command
    """The command set of the first message of this layout: with another Message ID and UID."""
    message_id: int
    sop_instance_uid: str
    fd: int = -1
    length: int = 0
    crc: int = 0


class SinkConnection:
    """Receive the messages of one association, one after another, and respond to them."""

    def __init__(self, sink: Sink, transport: Transport) -> None:
        self._sink, self._transport = sink, transport
        self._behaviour = sink.behaviour
        self._gathered = bytearray()
        self._message: _Message | None = None
        self._layout: RequestLayout | None = None
        self._form: ResponseForm | None = None
        self.contexts: dict[int, AcceptedContext] = {}

    @property
    def in_message(self) -> bool:
        """Whether a message has begun and is not complete."""
        return self._message is not None or bool(self._gathered)

    async def feed(self, fragment: Fragment) -> None:
        """Process the next fragment; respond after the last one of a message.

        Raises:
            AssemblyError: the fragments do not form a message.
        """
        message = self._message
        if fragment.is_command:
            if message is not None:
                raise AssemblyError("a command fragment inside a data set")
            self._gathered += fragment.data
            if len(self._gathered) > _COMMAND_CAP:
                raise AssemblyError(f"a command set of more than {_COMMAND_CAP} bytes")
            if fragment.is_last:
                await self._begin(self.contexts[fragment.context_id])
            return
        if message is None:
            raise AssemblyError("a data set without a command set")
        message.length += len(fragment.data)
        if self._behaviour.crc:
            message.crc = zlib.crc32(fragment.data, message.crc)
        if message.fd >= 0:
            os.write(message.fd, fragment.data)
        if fragment.is_last:
            await self._complete(message, time.monotonic())

    async def _begin(self, context: AcceptedContext) -> None:
        encoded = bytes(self._gathered)
        self._gathered.clear()
        known = self._layout.read(encoded) if self._layout is not None else None
        if known is not None and self._layout is not None:
            self._message = _Message(context, self._layout.command, *known)
        else:
            await self._decode(context, encoded)
        if self._message is not None and self._behaviour.store is not None:
            self._message.fd = _create_file(self._behaviour.store, self._message)

    async def _decode(self, context: AcceptedContext, encoded: bytes) -> None:
        """Begin a message of another layout than the one before."""
        try:
            command = decode(encoded)
        except InvalidCommandSet as error:
            raise AssemblyError(f"not a command set: {error}") from error
        if command.has_data_set:
            self._layout = RequestLayout(encoded, command)
            self._message = _Message(context, command, command.message_id or 0, command.sop_instance_uid)
        elif not command.is_response and command.field != CommandField.C_CANCEL_RQ:
            await self._respond(context.id, encode(response_to(command, Status.SUCCESS)))
            self._sink.answers[Status.SUCCESS] += 1

    async def _complete(self, message: _Message, now: float) -> None:
        self.close_file()
        self._message = None
        behaviour, sink = self._behaviour, self._sink
        if sink.must_abort():
            sink.aborted += 1
            await self._transport.tell(self._transport.upper_layer.abort)
            return
        if behaviour.delay:
            await trio.sleep(behaviour.delay)
        await self._respond(message.context.id, self._response(message))
        sink.answers[behaviour.status] += 1
        if is_stored(behaviour.status):
            sink.record_arrival(message.sop_instance_uid, now, message.length, message.crc)

    def _response(self, message: _Message) -> bytearray:
        form = self._form
        if (
            form is None
            or form.request is not message.command
            or not form.fill(message.message_id, message.sop_instance_uid)
        ):
            form = self._form = ResponseForm(message.command, self._behaviour.status)
            form.fill(message.message_id, message.sop_instance_uid)
        return form.encoded

    async def _respond(self, context_id: int, response: bytes | bytearray) -> None:
        await self._transport.send(self._transport.upper_layer.send_data(context_id, response, command=True, last=True))

    def close_file(self) -> None:
        """Close the file of the message, if one is open."""
        if self._message is not None and self._message.fd >= 0:
            os.close(self._message.fd)
            self._message.fd = -1


def _create_file(folder: Path, message: _Message) -> int:
    """Create a PS3.10 file up to its data set, and return its descriptor.

    Its name consists of characters that a UID may have, whatever the peer has sent.
    """
    uid = message.sop_instance_uid
    name = "".join(sign for sign in uid if sign in "0123456789.")[:64].strip(".") or "nameless"
    own = Config().router
    fd = os.open(folder / f"{name}.dcm", os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC, 0o644)
    head = encode_head(
        sop_class_uid=message.command.sop_class_uid,
        sop_instance_uid=uid,
        transfer_syntax=message.context.transfer_syntax,
        implementation_class_uid=own.implementation_class_uid,
        implementation_version_name=own.implementation_version_name,
    )
    os.write(fd, head)
    return fd
