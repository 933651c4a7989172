"""Messages of several senders on one connection, none of them within another (PS3.8 annex E.1).

A message that is relayed leaves in parts, as it comes in; what the router itself has to say meanwhile waits for its
end. PDUs that are no part of a message, such as an A-ABORT, do not wait. Not here: the parts of a message that leaves
whole, which `Transport` keeps together.
"""

from collections.abc import Sequence
from typing import Final, Protocol

import trio

from pdu import UpperLayer
from router.association.transport import Transport
from router.network.sockets import Buffer


class MessageSender(Protocol):
    """A connection that whole messages are sent on."""

    @property
    def upper_layer(self) -> UpperLayer: ...
    @property
    def can_send(self) -> bool: ...
    async def send(self, buffers: Sequence[Buffer]) -> None: ...
    def release_buffer(self) -> None: ...


class MessageTurns:
    """The sending half of a transport that several tasks send messages on."""

    def __init__(self, transport: Transport) -> None:
        self._transport: Final = transport
        self._turn: Final = trio.Semaphore(1)
        self._is_broken = False
        """Whether a message was broken off: nothing can follow it."""

    @property
    def upper_layer(self) -> UpperLayer:
        return self._transport.upper_layer

    @property
    def can_send(self) -> bool:
        return self._transport.can_send and not self._is_broken

    async def send(self, buffers: Sequence[Buffer]) -> None:
        """Send whole messages, in a turn of their own; as `Transport.send`."""
        async with self._turn:
            if self.can_send:
                await self._transport.send(buffers)

    def release_buffer(self) -> None:
        """Give back the receive buffer; as `Transport.release_buffer`."""
        self._transport.release_buffer()

    async def begin(self) -> None:
        """Wait for the turn to send a message in parts."""
        await self._turn.acquire()

    async def send_part(self, buffers: Sequence[Buffer]) -> None:
        """Send the next part of the message that has begun; as `Transport.send`."""
        await self._transport.send(buffers)

    def finish(self) -> None:
        """End the message that has begun."""
        self._turn.release()

    def break_off(self) -> None:
        """Leave the message that has begun incomplete: no message is sent any more."""
        self._is_broken = True
        self._turn.release()
