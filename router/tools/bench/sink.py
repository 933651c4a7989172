"""A storage SCP that remembers what came, and when.

It accepts every SOP class in every transfer syntax, as many outstanding requests as are proposed, and answers what it
is told to. It is the end of the way in a measurement, so it costs as little as a receiver in Python can: nothing is
kept of an object but its UID, its length, the moment of its last byte, and its CRC where that is asked for.
"""

from collections import Counter
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from functools import partial
from pathlib import Path
from typing import Final, NamedTuple, Self

import trio
from attrs import frozen

from pdu import (
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
from router.dimse import AssemblyError, Status
from router.network.buffers import ReceiveBuffers
from router.network.sockets import KernelSocket
from router.tools.bench.reception import SinkConnection

HOST: Final = "127.0.0.1"
MAXIMUM_LENGTH: Final = 131072
BUFFERS: Final = ReceiveBuffers(1 << 20)
"""As large as they were measured to be fastest for 240 MB objects."""
SILENCE: Final = 3600.0
"""Seconds that an association may rest."""


class Arrival(NamedTuple):
    """One object that was answered with success or a warning."""

    sop_instance_uid: str
    at: float
    """When its last byte was in: seconds of the monotonic clock, which the processes of one machine share."""
    length: int
    """Bytes of the data set."""
    crc: int
    """CRC-32 of the data set; 0 where the sink does not look."""


@frozen(kw_only=True)
class Behaviour:
    """What the sink does with an object."""

    status: int = Status.SUCCESS
    delay: float = 0.0
    """Seconds between the last byte and the answer."""
    abort_every: int = 0
    """Every so many objects, of all associations together, the association is aborted instead of an answer; 0 never."""
    store: Path | None = None
    """The folder that objects are written to, as files of PS3.10, without a sync; None discards them."""
    window: int = 0
    """The most outstanding requests that are granted; 0 grants what is proposed."""
    checks: bool = False
    """Whether to compute the CRC-32 of the data sets."""


class Sink:
    """An SCP on one address. `ae_title` and `address` are what a router's configuration wants to know."""

    def __init__(
        self, ae_title: str = "SINK", *, host: str = HOST, port: int = 0, behaviour: Behaviour | None = None
    ) -> None:
        self.ae_title, self.host, self.port = ae_title, host, port
        self.behaviour = behaviour or Behaviour()
        self.arrivals: list[Arrival] = []
        self.bytes = 0
        """Of the data sets that arrived."""
        self.associations = 0
        self.open = 0
        """Associations that have not ended."""
        self.aborted = 0
        """Associations that `abort_every` ended."""
        self.answers: Counter[int] = Counter()
        """How many messages were answered with which status."""
        self._objects = 0
        self._news = trio.lowlevel.ParkingLot()

    @property
    def address(self) -> str:
        return f"{self.host}:{self.port}"

    @asynccontextmanager
    async def serving(self) -> AsyncIterator[Self]:
        """Serve while the block lasts; entered again, on the same port."""
        async with trio.open_nursery() as nursery:
            listeners = await trio.open_tcp_listeners(self.port, host=self.host)
            self.port = listeners[0].socket.getsockname()[1]
            nursery.start_soon(partial(trio.serve_listeners, self._associate, listeners))
            yield self
            nursery.cancel_scope.cancel()

    async def holds(self, count: int) -> list[Arrival]:
        """Wait until so many objects have come; repeats count."""
        while len(self.arrivals) < count:
            await self._news.park()
        return self.arrivals

    async def rests(self) -> None:
        """Wait until no association is open."""
        while self.open:
            await self._news.park()

    async def _associate(self, stream: trio.SocketStream) -> None:
        upper_layer = UpperLayer(role=Role.ACCEPTOR, maximum_length=MAXIMUM_LENGTH)
        transport = Transport(KernelSocket(stream.socket), upper_layer, Timeouts(), BUFFERS)
        reception = SinkConnection(self, transport)
        self.associations += 1
        self.open += 1
        try:
            await transport.perform(upper_layer.transport_connected())
            while transport.is_open:
                for indication in await transport.read(SILENCE):
                    match indication:
                        case Fragment() if upper_layer.state is State.STA6:  # not behind an abort of our own
                            await reception.take(indication)
                        case AssociateIndication(request=request):
                            accept = self._acceptance(request)
                            reception.contexts = accepted_contexts(request, accept)
                            await transport.tell(upper_layer.accept, accept)
                        case ReleaseIndication():
                            await transport.tell(upper_layer.respond_release)
                if reception.in_message:
                    transport.acknowledge()
        except (TimeoutError, AssemblyError):
            await transport.tell(upper_layer.abort)
        finally:
            reception.drop()
            transport.close()
            self.open -= 1
            self._news.unpark_all()

    def _acceptance(self, request: AssociateRQ) -> AssociateAC:
        own = Config().router
        limit = AsynchronousOperationsWindow(invoked=self.behaviour.window, performed=1)
        return AssociateAC(
            called_ae_title=request.called_ae_title,
            calling_ae_title=request.calling_ae_title,
            presentation_contexts=negotiate(request.presentation_contexts, _first),
            user_information=UserInformation(
                maximum_length=MAXIMUM_LENGTH,
                implementation_class_uid=own.implementation_class_uid,
                implementation_version_name=own.implementation_version_name,
                asynchronous_operations_window=accept_window(
                    request.user_information.asynchronous_operations_window, limit
                ),
            ),
        )

    def arrived(self, sop_instance_uid: str, at: float, length: int, crc: int) -> None:
        """Remember it, and wake whoever waits for it."""
        self.arrivals.append(Arrival(sop_instance_uid, at, length, crc))
        self.bytes += length
        self._news.unpark_all()

    def aborts_now(self) -> bool:
        """Count an object; whether it is one that ends its association."""
        self._objects += 1
        return bool(self.behaviour.abort_every) and self._objects % self.behaviour.abort_every == 0


def _first(context: PresentationContext) -> str:
    return context.transfer_syntaxes[0]
