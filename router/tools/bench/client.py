"""An association of the generator: what a `Requestor` is, less all that costs time between two objects.

Messages are framed when the association stands (`framed`), and a response is read by where its Message ID and its
status stand (`layout`).
"""

import socket
from contextlib import suppress
from typing import Final, NamedTuple

from pdu import (
    AssociateConfirm,
    Fragment,
    Indication,
    RejectIndication,
    ReleaseConfirm,
    Role,
    UpperLayer,
    accepted_contexts,
)
from router.association import Aborted, NotConnected, Rejected, RemoteAE, plan_contexts
from router.association.describe import describe_end
from router.association.requestor import associate_rq, connect
from router.association.transport import Transport
from router.config import Timeouts
from router.dimse import CommandField, InvalidCommandSet, decode
from router.network.sockets import KernelSocket
from router.tools.bench.command_layout import ResponseLayout
from router.tools.bench.framed import FramedMessage
from router.tools.bench.objects import Template
from router.tools.bench.uids import Uids

_COMMAND_CAP: Final = 65536


class ReceivedResponse(NamedTuple):
    """A C-STORE response."""

    message_id: int
    status: int


class Client:
    """One association, driven by the one task that owns it."""

    def __init__(self, transport: Transport, timeouts: Timeouts, *, nagle: bool) -> None:
        self._transport = transport
        self._timeouts = timeouts
        self._nagle = nagle
        self._gathered = bytearray()
        self._layout: ResponseLayout | None = None
        self._framed: dict[int, FramedMessage] = {}
        self._message_id = 0
        self.window = 1
        """Requests that may be outstanding at a time."""
        self.refused: dict[tuple[str, str], str] = {}
        """The (abstract syntax, transfer syntax) that the peer does not take, and why."""

    @classmethod
    async def open(
        cls, target: RemoteAE, templates: tuple[Template, ...], uids: Uids, timeouts: Timeouts, *, nagle: bool
    ) -> "Client":
        """Connect, negotiate, frame. With `nagle`, Nagle's algorithm stays on, each PDU is a write of its own, and
        acknowledgements are left to the kernel, as it is with most modalities.

        Raises:
            AssociationError: it could not be had.
        """
        upper_layer = UpperLayer(role=Role.REQUESTOR, maximum_length=target.maximum_pdu_length)
        sock = KernelSocket(await connect(target, timeouts.connect))
        caller = cls(Transport(sock, upper_layer, timeouts), timeouts, nagle=nagle)
        if nagle:
            sock.set_option(socket.IPPROTO_TCP, socket.TCP_NODELAY, 0)
        try:
            await caller._associate(target, templates, uids)
        except BaseException:
            caller.close()
            raise
        return caller

    async def _associate(self, target: RemoteAE, templates: tuple[Template, ...], uids: Uids) -> None:
        request = associate_rq(target, plan_contexts([template.pair for template in templates]))
        upper_layer = self._transport.upper_layer
        await self._transport.tell(upper_layer.associate, request)
        await self._transport.tell(upper_layer.transport_connected)
        indications: list[Indication] = []
        while not indications:
            if not self._transport.is_open:
                raise Aborted("the connection ended before the association stood")
            try:
                indications = await self._transport.read(self._timeouts.association)
            except TimeoutError:
                raise NotConnected("no answer to A-ASSOCIATE-RQ") from None
        match indications[0]:
            case AssociateConfirm(accept=accept):
                contexts = {
                    (one.abstract_syntax, one.transfer_syntax): one
                    for one in accepted_contexts(request, accept).values()
                }
                granted = accept.user_information.asynchronous_operations_window
            case RejectIndication(rejection=rejection):
                raise Rejected(rejection.words, rejection)
            case other:
                raise Aborted(describe_end(other))
        if granted is not None and target.window > 1:
            self.window = min(granted.invoked or target.window, target.window)
        for index, template in enumerate(templates):
            if context := contexts.get(template.pair):
                self._framed[index] = FramedMessage(template, context, upper_layer, uids)
            else:
                self.refused[template.pair] = "its presentation context was not accepted"

    def takes(self, template: int) -> bool:
        """Whether the peer accepted the presentation context of this template."""
        return template in self._framed

    async def store(self, template: int, number: int) -> int:
        """Write the C-STORE of object `number`; the Message ID it has got. A connection that is gone swallows it, and
        `answers` tells."""
        framed = self._framed[template]
        message_id = self._message_id = self._message_id % 0xFFFF + 1
        framed.number(number, message_id)
        if self._nagle:
            for at in range(0, len(framed.buffers), 2):  # a header and what it heads
                await self._transport.send(framed.buffers[at : at + 2])
        else:
            await self._transport.send(framed.buffers)
        return message_id

    async def answers(self, patience: float) -> list[ReceivedResponse]:
        """What the next bytes say; none where no response is whole yet.

        Raises:
            TimeoutError: nothing came for `patience` seconds.
            Aborted: the association is over.
        """
        if not self._transport.is_open:
            raise Aborted("the connection ended")
        found = []
        for indication in await self._transport.read(patience):
            if not isinstance(indication, Fragment):
                raise Aborted(describe_end(indication))
            if not indication.is_command:
                raise Aborted("the peer sent a data set where a C-STORE response was due")
            self._gathered += indication.data
            if len(self._gathered) > _COMMAND_CAP:
                raise Aborted(f"the peer sent a command set of more than {_COMMAND_CAP} bytes")
            if indication.is_last:
                encoded = bytes(self._gathered)
                self._gathered.clear()
                found.append(self._read(encoded))
        if not found and not self._nagle:  # half a response: a peer with Nagle's algorithm on waits with the other half
            self._transport.acknowledge()
        return found

    def _read(self, encoded: bytes) -> ReceivedResponse:
        known = self._layout.read(encoded) if self._layout is not None else None
        if known is not None:
            return ReceivedResponse(*known)
        try:
            command = decode(encoded)
        except InvalidCommandSet as error:
            raise Aborted(f"the peer's response is no command set: {error}") from error
        if command.field != CommandField.C_STORE_RSP:
            raise Aborted(f"the peer sent {command.name} where C-STORE-RSP was due")
        assert command.message_id_being_responded_to is not None, "the codec demands it of a response"
        assert command.status is not None, "the codec demands it of a response"
        self._layout = ResponseLayout(encoded)
        return ReceivedResponse(command.message_id_being_responded_to, command.status)

    async def release(self) -> None:
        """A-RELEASE, and wait for the answer; a peer that has none is left."""
        transport, patience = self._transport, self._timeouts.release
        await transport.tell(transport.upper_layer.release)
        with suppress(TimeoutError):
            while transport.is_open and not any(
                isinstance(one, ReleaseConfirm) for one in await transport.read(patience)
            ):
                pass
        self.close()

    def close(self) -> None:
        self._transport.close()
