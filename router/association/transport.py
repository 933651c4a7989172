"""The only code that touches sockets: it performs what the engine asks for.

A `Transport` owns one TCP connection and its `UpperLayer`. Reading has a large buffer while there are bytes
(`buffers`); writing hands the engine's buffers to the kernel as they are. Every wait has a deadline. A write that did
not come to its end leaves half a PDU on the wire, so after it nothing more is written, not even an A-ABORT: the
connection is closed (DESIGN: half a PDU is never followed by another).
"""

import socket
from collections.abc import Callable, Sequence
from contextlib import suppress
from typing import Final

import trio
from attrs import frozen

from pdu import (
    CloseTransport,
    Effect,
    Indication,
    Overtaken,
    Send,
    StartArtim,
    StopArtim,
    UpperLayer,
)
from router.config import Timeouts
from router.network.buffers import ReceiveBuffers
from router.network.sockets import Buffer, Socket, tune

_MOST_BUFFERS = 64
"""For one sendmsg: the kernel takes about a MiB at a time, and looks at all that it is given."""

_FAIR_SHARE = 1 << 20
"""Bytes received without waiting after which the other tasks have a turn."""

_QUICK_ACK: int | None = getattr(socket, "TCP_QUICKACK", None)


_BUFFERS: Final = ReceiveBuffers()


class TransportError(Exception):
    """The connection is of no more use; the words say how it ended."""


class Interrupted(Exception):
    """A read that waited was called off; nothing is lost."""


@frozen(kw_only=True)
class TransportStatistics:
    """Bytes on the wire, PDU headers included."""

    bytes_received: int
    bytes_sent: int


class Transport:
    """One connection, driven by the one task that owns the association."""

    def __init__(
        self, sock: Socket, upper_layer: UpperLayer, timeouts: Timeouts, buffers: ReceiveBuffers = _BUFFERS
    ) -> None:
        self._socket = sock
        self._timeouts = timeouts
        self._artim_deadline: float | None = None
        self._open = True
        self._writable = True
        self._sending = False
        self._turns = trio.lowlevel.ParkingLot()
        self._waiting: trio.CancelScope | None = None
        self._interrupted = False
        self._unyielded = 0
        self._buffers = buffers
        self._buffer: memoryview | None = None
        self._bytes_sent = 0
        self.bytes_received = 0
        """On the wire."""
        self.waited = 0.0
        """Seconds that reads have waited for the peer, in all."""
        self.upper_layer = upper_layer
        try:
            tune(sock)
        except BaseException:
            sock.close()
            raise

    def statistics(self) -> TransportStatistics:
        return TransportStatistics(bytes_received=self.bytes_received, bytes_sent=self._bytes_sent)

    @property
    def is_open(self) -> bool:
        return self._open

    @property
    def can_send(self) -> bool:
        """False once a write has failed: what is sent then goes nowhere, and the next read tells why."""
        return self._writable

    async def read(self, patience: float) -> list[Indication]:
        """Wait up to `patience` seconds for bytes, and give what they mean.

        An empty list says that nothing is complete yet. While ARTIM runs it is the deadline, however slowly bytes
        drip in (PS3.8 9.1.5).

        Raises:
            TimeoutError: nothing came for `patience` seconds. The association is still open.
            Interrupted: `interrupt` was called while this waited. The association is still open.
        """
        if not self._open:
            raise TransportError("the connection is closed")
        artim = self._artim_deadline
        if artim is not None and trio.current_time() >= artim:
            return await self.perform(self.upper_layer.artim_expired())
        if self._unyielded > _FAIR_SHARE:  # the kernel has had more each time: let others have a turn
            self._unyielded = 0
            await trio.lowlevel.checkpoint()
        received = self._receive()
        while received < 0:
            self._unyielded = 0
            self._give_back()
            began = trio.current_time()
            with trio.CancelScope(deadline=began + patience if artim is None else artim) as scope:
                await self._wait_readable(scope)
            self.waited += trio.current_time() - began
            if self._interrupted:
                self._interrupted = False
                raise Interrupted
            if scope.cancelled_caught:
                if artim is not None:
                    return await self.perform(self.upper_layer.artim_expired())
                raise TimeoutError(f"the peer was silent for {patience:g} s")
            received = self._receive() if self.is_open else 0
        if not received:
            self._give_back()
        self.bytes_received += received
        self._unyielded += received
        return await self.perform(self.upper_layer.received(received))

    def interrupt(self) -> None:
        """Make the `read` that waits now raise Interrupted; where none does, nothing."""
        if self._waiting is not None:
            self._interrupted = True
            self._waiting.cancel()

    async def _wait_readable(self, scope: trio.CancelScope) -> None:
        self._waiting = scope
        try:
            await self._socket.readable()
        except (OSError, trio.ClosedResourceError):  # the next attempt to read tells
            pass
        finally:
            self._waiting = None

    def _receive(self) -> int:
        """Bytes now in the buffer; 0 at the end of the stream, however it came about; -1: nothing yet."""
        if self._buffer is None:
            self._buffer = self._buffers.lend()
            self.upper_layer.lend(self._buffer)
        try:
            return self._socket.receive(self.upper_layer.writable())
        except BlockingIOError:
            return -1
        except OSError:
            return 0

    def _give_back(self) -> None:
        """Nothing is here to be received: let another connection have the buffer."""
        if self._buffer is not None:
            self.upper_layer.give_back()
            self._buffers.give_back(self._buffer)
            self._buffer = None

    def acknowledge(self) -> None:
        """Have the kernel acknowledge at once what was read, where there is more to come before we answer: a sender
        with Nagle's algorithm on waits for that before its next small write."""
        if _QUICK_ACK is not None and self._open:
            with suppress(OSError):
                self._socket.set_option(socket.IPPROTO_TCP, _QUICK_ACK, 1)

    async def perform(self, outputs: Sequence[Effect | Indication]) -> list[Indication]:
        """Carry out the engine's effects in their order; what remains are the indications, for the actor."""
        indications: list[Indication] = []
        for output in outputs:
            match output:
                case Send(buffers=buffers):
                    await self.send(buffers)
                case StartArtim():
                    self._artim_deadline = trio.current_time() + self._timeouts.artim
                case StopArtim():
                    self._artim_deadline = None
                case CloseTransport():
                    self.close()
                case _:
                    indications.append(output)
        return indications

    async def tell(self, primitive: Callable[..., Sequence[Effect | Indication]], *arguments: object) -> None:
        """Say a primitive to the engine and perform its answer. One that the peer's end has overtaken is not said."""
        try:
            outputs = primitive(*arguments)
        except Overtaken:
            return
        await self.perform(outputs)

    async def send(self, buffers: Sequence[Buffer]) -> None:
        """Write all of `buffers`. Those of two tasks come one after the other. A peer that takes nothing for the
        write deadline loses the connection.

        A connection that is gone swallows the bytes: the next read tells how it ended.
        """
        while self._sending:
            await self._turns.park()
        self._sending = True
        try:
            await self._send(list(buffers))
        finally:
            self._sending = False
            self._turns.unpark()

    async def _send(self, waiting: list[Buffer]) -> None:
        if not self._writable:
            return
        self._writable = False  # stays so when this is cancelled, or fails, in the middle of a PDU
        at = 0
        try:
            while at < len(waiting):
                try:
                    sent = self._socket.send(waiting[at : at + _MOST_BUFFERS] if len(waiting) > 1 else waiting)
                except BlockingIOError:
                    with trio.move_on_after(self._timeouts.write) as scope:
                        await self._socket.writable()
                    if scope.cancelled_caught:
                        self.close()
                        return
                    continue
                self._bytes_sent += sent
                at = _behind(waiting, at, sent)
        except (OSError, trio.ClosedResourceError):
            return
        self._writable = True

    def close(self) -> None:
        self._open = False
        self._writable = False
        self._artim_deadline = None
        self._socket.close()


def _behind(buffers: list[Buffer], at: int, sent: int) -> int:
    """Where the unsent ones begin when `sent` bytes from the one at index `at` are gone; one that is partly gone is
    cut."""
    while at < len(buffers) and sent >= len(buffers[at]):
        sent -= len(buffers[at])
        at += 1
    if sent:
        buffers[at] = memoryview(buffers[at])[sent:]
    return at
