"""An association that a peer has opened to us, on which we invoke operations of the peer.

For an N-EVENT-REPORT to a modality that asked on this association, or that has no address to be called at
(PS3.4 J.3.3). The acceptor reads, and tells what concerns us; the messages are small and leave whole, one at a time.
"""

from collections.abc import Mapping
from typing import Final

import trio

from pdu import AcceptedContext, Overtaken
from router.association.data_source import DataSource, read_whole
from router.association.errors import Aborted, NoResponse
from router.association.message_turns import MessageSender
from router.association.pending import PendingResponses
from router.dimse import Command, DataSetPiece, Response, encode
from router.network.sockets import Buffer


class ReverseAssociation:
    """The side of an accepted association on which we are the one that invokes."""

    def __init__(
        self,
        transport: MessageSender,
        contexts: Mapping[tuple[str, str], AcceptedContext],
        patience: float,
        *,
        after: int = 0,
    ) -> None:
        """`patience`: seconds for a response. `after`: the Message ID before the first one of ours."""
        self.contexts: Final = contexts
        """The presentation contexts on which we may invoke, by (abstract syntax, transfer syntax)."""
        self.window = 1
        self._responses = PendingResponses(after=after)
        self._one_at_a_time = trio.Lock()
        self._transport = transport
        self._patience = patience
        self._changes = trio.lowlevel.ParkingLot()
        self._ended = trio.Event()

    # Told by the acceptor

    def on_response(self, command: Command) -> None:
        """Accept the command set of a response.

        Raises:
            StrayResponse: nothing with its Message ID is outstanding; the association can go on.
            UnexpectedResponse: it does not fit what was asked; the association has to be aborted.
        """
        self._responses.begin(command, trio.current_time())
        self._changes.unpark_all()

    def on_data_set(self, piece: DataSetPiece) -> None:
        """Accept a part of the data set of the response that began last; drop that of another message.

        Raises:
            UnexpectedResponse: it is too long; the association has to be aborted.
        """
        self._responses.feed(piece.data, trio.current_time(), is_last=piece.is_last)
        self._changes.unpark_all()

    def end(self) -> None:
        """Note that the association has ended, or is about to."""
        self._ended.set()
        self._changes.unpark_all()

    # Used by deliveries

    @property
    def is_alive(self) -> bool:
        return not self._ended.is_set()

    async def attend(self) -> None:
        """Wait until the association has ended."""
        await self._ended.wait()

    async def send(self, context: AcceptedContext, command: Command, data: DataSource | None = None) -> int:
        """Send one request, whole. Return its Message ID.

        Raises:
            Aborted: the association has ended.
        """
        return await self._send(context, command, await read_whole(data) if data is not None else None)

    async def request(self, context: AcceptedContext, command: Command, content: Buffer) -> Response:
        """Send one request with a data set, which may be large, and return its response; others wait.

        Raises:
            As `send` and `receive`.
        """
        async with self._one_at_a_time:
            await self._send(context, command, content)
            return await self.receive()

    async def _send(self, context: AcceptedContext, command: Command, content: Buffer | None) -> int:
        message_id = self._responses.expect(command, self._patience)
        encoded = encode(command.changed(message_id=message_id))
        layer = self._transport.upper_layer
        try:
            buffers = layer.send_data(context.id, encoded, command=True, last=True)
            if content is not None:
                buffers += layer.send_data(context.id, content, command=False, last=True)
        except Overtaken as error:
            raise Aborted(f"the association has ended before {command.name}") from error
        await self._transport.send(buffers)
        self._responses.restart(message_id, trio.current_time())
        return message_id

    async def receive(self) -> Response:
        """Return the response.

        Raises:
            NoResponse: none came in time. A later one is ignored.
            Aborted: the association has ended.
        """
        while not self._responses and self.is_alive:
            with trio.move_on_at(self._responses.deadline) as scope:
                await self._changes.park()
            now = trio.current_time()
            if scope.cancelled_caught and self._responses.deadline <= now:
                overdue = self._responses.overdue(now)
                self._responses.forget()
                raise NoResponse(overdue)
        if self._responses:
            return self._responses.pop()
        raise Aborted(f"the association has ended while a response to {self._responses.due} was due")
