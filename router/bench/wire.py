"""A connection for a measurement: it does what `router.association.transport` does, and costs less.

A read or a write is tried at once; a deadline and a turn in trio's queue are taken only where the kernel makes it
wait. After many that did not have to, the others get their turn. The association's timer (ARTIM) is not kept: whoever
measures ends an association by itself.
"""

import os
import socket
from collections.abc import Callable, Sequence
from typing import Final

import trio

from pdu import Buffer, CloseTransport, Effect, Indication, Overtaken, Send, UpperLayer

_MOST_BUFFERS: Final = 64
"""Of one write: about what the kernel takes at once. To hand it more is to count them in vain, again and again."""
_TURNS: Final = 32
"""Reads without a wait before the other associations get their turn."""
_WRITE: Final = 60.0
"""Seconds for the peer to take something."""
_QUICK_ACK: Final[int | None] = getattr(socket, "TCP_QUICKACK", None)


class Wire:
    """One connection and its engine, driven by one task."""

    def __init__(self, stream: trio.SocketStream, upper_layer: UpperLayer, *, nagle: bool = False) -> None:
        """Takes the stream's connection over."""
        self._socket = socket.socket(fileno=os.dup(stream.socket.fileno()))
        self._socket.setblocking(False)
        stream.socket.close()
        self._turns = 0
        self.upper_layer = upper_layer
        self.is_open = True
        self._set(socket.TCP_NODELAY, 0 if nagle else 1)

    async def read(self, patience: float) -> list[Indication]:
        """What the next bytes mean; empty where nothing is complete yet.

        Raises:
            TimeoutError: nothing came for `patience` seconds.
        """
        received = self._receive()
        if received is None:
            self._turns = 0
            with trio.move_on_after(patience) as scope:
                await trio.lowlevel.wait_readable(self._socket)
            if scope.cancelled_caught:
                raise TimeoutError(f"the peer was silent for {patience:g} s")
            received = self._receive()
            if received is None:
                return []
        else:
            self._turns += 1
            if self._turns >= _TURNS:
                self._turns = 0
                await trio.lowlevel.checkpoint()
        return await self.perform(self.upper_layer.received(received))

    def _receive(self) -> int | None:
        """Bytes now in the engine's buffer; 0 at the end of the stream, None where there are none yet."""
        try:
            return self._socket.recv_into(self.upper_layer.writable())
        except BlockingIOError:
            return None
        except OSError:
            return 0

    def acknowledge(self) -> None:
        """Have the kernel acknowledge what came: nothing is going to be answered yet, and a sender with Nagle's
        algorithm on waits for it."""
        if _QUICK_ACK is not None and self.is_open:
            self._set(_QUICK_ACK, 1)

    async def perform(self, outputs: Sequence[Effect | Indication]) -> list[Indication]:
        """Carry out the engine's effects in their order; what remains are the indications."""
        indications: list[Indication] = []
        for output in outputs:
            match output:
                case Send(buffers=buffers):
                    await self.send(buffers)
                case CloseTransport():
                    self.close()
                case _:
                    indications.append(output)  # type: ignore[arg-type]  # a timer's start or stop is passed over
        return indications

    async def tell(self, primitive: Callable[..., Sequence[Effect | Indication]], *arguments: object) -> None:
        """Say a primitive to the engine and perform its answer. One that the peer's end has overtaken is not said."""
        try:
            outputs = primitive(*arguments)
        except Overtaken:
            return
        await self.perform(outputs)

    async def send(self, buffers: Sequence[Buffer]) -> None:
        """Write all of `buffers`. A connection that is gone swallows them: the next read tells how it ended."""
        at, first = 0, 0
        """The first buffer that is not gone, and how many bytes of it are."""
        while at < len(buffers) and self.is_open:
            batch = list(buffers[at : at + _MOST_BUFFERS])
            if first:
                batch[0] = memoryview(batch[0])[first:]
            try:
                sent = self._socket.sendmsg(batch)
            except BlockingIOError:
                with trio.move_on_after(_WRITE) as scope:
                    await trio.lowlevel.wait_writable(self._socket)
                if scope.cancelled_caught:
                    self.close()
                continue
            except OSError:
                return
            for buffer in batch:
                if sent < len(buffer):
                    break
                sent -= len(buffer)
                at, first = at + 1, 0
            first += sent

    def close(self) -> None:
        if self.is_open:
            self.is_open = False
            trio.lowlevel.notify_closing(self._socket)
            self._socket.close()

    def _set(self, option: int, value: int) -> None:
        try:
            self._socket.setsockopt(socket.IPPROTO_TCP, option, value)
        except OSError:  # the peer has gone, which the next read will tell
            return
