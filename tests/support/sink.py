"""A storage SCP in the test's own event loop, which keeps of each object what a test asks: its UID and its CRC.

Many of them cost no process. `dicom-router bench sink` is the one for measurements.
"""

import zlib
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from functools import partial
from typing import NamedTuple, Self

import trio

from pdu import (
    AssociateAC,
    AssociateIndication,
    AssociateRQ,
    Fragment,
    PresentationContext,
    ReleaseIndication,
    Role,
    UpperLayer,
    UserInformation,
    negotiate,
)
from router.association.transport import Transport
from router.config import Config, Timeouts
from router.dimse import Status, decode, encode, response_to
from router.network.sockets import KernelSocket

HOST = "127.0.0.1"
MAXIMUM_LENGTH = 131072
IDLE_DEADLINE = 3600.0


class Arrival(NamedTuple):
    """One object, and the CRC-32 of its data set."""

    sop_instance_uid: str
    crc: int


class Sink:
    """A storage SCP on one address. `ae_title` and `address` go into a router's configuration."""

    def __init__(self, ae_title: str = "SINK", *, port: int = 0) -> None:
        self.ae_title, self.port = ae_title, port
        self.arrivals: list[Arrival] = []
        self._changed = trio.lowlevel.ParkingLot()

    @property
    def address(self) -> str:
        return f"{HOST}:{self.port}"

    @asynccontextmanager
    async def serving(self) -> AsyncIterator[Self]:
        """Serve while the block lasts. A second block uses the same port."""
        async with trio.open_nursery() as nursery:
            listeners = await trio.open_tcp_listeners(self.port, host=HOST)
            self.port = listeners[0].socket.getsockname()[1]
            nursery.start_soon(partial(trio.serve_listeners, self._associate, listeners))
            yield self
            nursery.cancel_scope.cancel()

    async def wait_for_arrivals(self, count: int) -> None:
        """Wait until `count` objects have arrived, repeated ones included."""
        while len(self.arrivals) < count:
            await self._changed.park()

    async def _associate(self, stream: trio.SocketStream) -> None:
        upper_layer = UpperLayer(role=Role.ACCEPTOR, maximum_length=MAXIMUM_LENGTH)
        transport = Transport(KernelSocket(stream.socket), upper_layer, Timeouts())
        command, crc = bytearray(), 0
        try:
            await transport.perform(upper_layer.transport_connected())
            while transport.is_open:
                for indication in await transport.read(IDLE_DEADLINE):
                    match indication:
                        case Fragment(is_command=True):
                            command += indication.data
                        case Fragment():
                            crc = zlib.crc32(indication.data, crc)
                            if indication.is_last:
                                await self._respond(transport, indication.context_id, bytes(command), crc)
                                command, crc = bytearray(), 0
                        case AssociateIndication(request=request):
                            await transport.tell(upper_layer.accept, accept(request))
                        case ReleaseIndication():
                            await transport.tell(upper_layer.respond_release)
        finally:
            transport.close()

    async def _respond(self, transport: Transport, context_id: int, command: bytes, crc: int) -> None:
        request = decode(command)
        response = encode(response_to(request, Status.SUCCESS))
        await transport.send(transport.upper_layer.send_data(context_id, response, command=True, last=True))
        self.arrivals.append(Arrival(request.sop_instance_uid, crc))
        self._changed.unpark_all()


def accept(request: AssociateRQ) -> AssociateAC:
    """Accept all presentation contexts."""
    own = Config().router
    return AssociateAC(
        called_ae_title=request.called_ae_title,
        calling_ae_title=request.calling_ae_title,
        presentation_contexts=negotiate(request.presentation_contexts, first_transfer_syntax),
        user_information=UserInformation(
            maximum_length=MAXIMUM_LENGTH,
            implementation_class_uid=own.implementation_class_uid,
            implementation_version_name=own.implementation_version_name,
        ),
    )


def first_transfer_syntax(context: PresentationContext) -> str:
    return context.transfer_syntaxes[0]
