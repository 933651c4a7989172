"""An association that a peer has opened to us, used by us to send what waits for that peer.

For an N-EVENT-REPORT to a modality that asked on this association, or that has no address to be called at
(PS3.4 J.3.3). The acceptor reads, and tells what concerns us; the messages are small and leave whole, one at a time.
"""

from collections.abc import Mapping

import trio

from pdu import AcceptedContext, Overtaken
from router.association.errors import Aborted, NoResponse
from router.association.pending import PendingResponses
from router.association.requestor import DataSource
from router.association.transport import Transport
from router.dimse import Command, Response, encode


class ReverseAssociation:
    """The side of an accepted association on which we ask."""

    def __init__(
        self, transport: Transport, contexts: Mapping[tuple[str, str], AcceptedContext], patience: float
    ) -> None:
        """`patience`: seconds for a response."""
        self.contexts = contexts
        """On which we may ask, by (abstract syntax, transfer syntax)."""
        self.window = 1
        self.answers = PendingResponses()
        self._transport = transport
        self._patience = patience
        self._news = trio.lowlevel.ParkingLot()
        self._ended = trio.Event()

    # What the acceptor tells

    def heard(self) -> None:
        """`answers` has changed."""
        self._news.unpark_all()

    def end(self) -> None:
        """The association is over, or about to be."""
        self._ended.set()
        self._news.unpark_all()

    # What a carrier does

    @property
    def is_alive(self) -> bool:
        return not self._ended.is_set()

    async def attend(self) -> None:
        """Until the association has ended."""
        await self._ended.wait()

    async def send(self, context: AcceptedContext, command: Command, data: DataSource | None = None) -> int:
        """Send one request, whole. Raises Aborted."""
        numbered = self.answers.expect(command)
        content = bytearray(data.data_length if data else 0)
        at = 0
        while data is not None and at < len(content):
            at += await data.read_into(memoryview(content)[at:], at)
        layer = self._transport.upper_layer
        try:
            buffers = layer.send_data(context.id, encode(numbered), command=True, last=True)
            if data is not None:
                buffers += layer.send_data(context.id, content, command=False, last=True)
        except Overtaken as error:
            raise Aborted(f"the association has ended before {command.name}") from error
        await self._transport.send(buffers)
        assert numbered.message_id is not None
        return numbered.message_id

    async def receive(self) -> Response:
        """The response. Raises NoResponse, Aborted."""
        with trio.move_on_after(self._patience):
            while not self.answers and self.is_alive:
                await self._news.park()
        if self.answers:
            return self.answers.pop()
        if self.is_alive:
            due = self.answers.due
            self.answers.forget()
            raise NoResponse(f"no response to {due} within {self._patience:g} s")
        raise Aborted(f"the association has ended while a response to {self.answers.due} was due")
