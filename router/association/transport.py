"""The connection of one association: reads, writes, and carries out the effects of the engine.

A `Transport` owns one TCP connection and its `UpperLayer`. It borrows a large buffer while there are bytes to read
(`network.buffers`), and gives the engine's buffers to the kernel as they are. Every wait has a deadline. A write that
was not completed leaves part of a PDU on the wire: nothing is written after it, not even an A-ABORT, and the connection
is closed.
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
from router.network.timer import Timer

_MOST_BUFFERS = 64
"""Buffers given to one sendmsg: the kernel accepts about 1 MiB at a time, and examines all of them."""

_FAIR_SHARE = 1 << 20
"""Bytes received without a wait after which the other tasks have a turn."""

_QUICK_ACK: int | None = getattr(socket, "TCP_QUICKACK", None)


_BUFFERS: Final = ReceiveBuffers()


class TransportError(Exception):
    """The connection can no longer be used; the message says how it ended."""


class Interrupted(Exception):
    """A waiting read was interrupted; nothing is lost."""


@frozen(kw_only=True)
class TransportStatistics:
    """Bytes on the wire, PDU headers included."""

    bytes_received: int
    bytes_sent: int


class Transport:
    """One connection. One task reads; any task may send."""

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
        self._timer = Timer(sock.end_waits)
        """Wakes the waiting read and write, which know their deadlines."""
        self._waiting = False
        """Whether a read waits."""
        self._interrupted = False
        self._unyielded = 0
        self._buffers = buffers
        self._buffer: memoryview | None = None
        self._bytes_sent = 0
        self.bytes_received = 0
        """Bytes on the wire, PDU headers included."""
        self.waited = 0.0
        """Seconds that all reads together have waited for the peer."""
        self.upper_layer = upper_layer
        self.has_handled_all = True
        """Whether nothing uses the indications of the last read any more, or only the last of them; the reader sets
        it."""
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
        """False once a write has failed: further writes are dropped, and the next read tells why."""
        return self._writable

    async def read(self, patience: float) -> list[Indication]:
        """Wait up to `patience` seconds for bytes and return their indications.

        The list is empty if nothing is complete yet. While ARTIM runs, it is the deadline instead (PS3.8 9.1.5).

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
        if received < 0:
            self._unyielded = 0
            received = await self._receive_by(trio.current_time() + patience if artim is None else artim)
            if received < 0 and artim is not None:
                return await self.perform(self.upper_layer.artim_expired())
            if received < 0:
                raise TimeoutError(f"the peer was silent for {patience:g} s")
        if not received:
            self._give_back()
        self.bytes_received += received
        self._unyielded += received
        return await self.perform(self.upper_layer.received(received))

    async def _receive_by(self, deadline: float) -> int:
        """Return the number of bytes received, as `_receive`, or -1 if the deadline has passed.

        Raises:
            Interrupted: `interrupt` was called.
        """
        began = trio.current_time()
        while True:
            self._give_back()
            self._waiting = True
            try:
                await self._readable(deadline)
            finally:
                self._waiting = False
            now = trio.current_time()
            self.waited, began = self.waited + now - began, now
            if self._interrupted:
                self._interrupted = False
                raise Interrupted
            received = self._receive() if self._open else 0
            if received >= 0 or now >= deadline:
                return received

    async def _readable(self, deadline: float) -> None:
        """Wait for bytes, for the deadline, or for `interrupt`."""
        if trio.current_time() >= deadline:
            await trio.lowlevel.checkpoint()
        else:
            self._timer.by(deadline)
            await self._socket.readable()

    def interrupt(self) -> None:
        """Make a `read` that is waiting raise Interrupted; without one, do nothing."""
        if self._waiting:
            self._interrupted = True
            self._socket.end_waits()

    def _receive(self) -> int:
        """Return the number of bytes received, 0 at the end of the stream however caused, or -1 for nothing yet."""
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
        """Give back the buffer while there is nothing to receive, for another connection to use."""
        if self._buffer is not None:
            self.upper_layer.give_back()
            self._buffers.give_back(self._buffer)
            self._buffer = None

    def release_buffer(self) -> None:
        """Give back the buffer before a wait that is not for the peer, if many connections have one.

        The fragment that is handled must not be used afterwards.
        """
        if self.has_handled_all and self._buffers.are_scarce:
            self._give_back()

    def acknowledge(self) -> None:
        """Have the kernel acknowledge the bytes read at once, while more are due before our response.

        A sender with Nagle's algorithm waits for this before its next small write.
        """
        if _QUICK_ACK is not None and self._open:
            with suppress(OSError):
                self._socket.set_option(socket.IPPROTO_TCP, _QUICK_ACK, 1)

    async def perform(self, outputs: Sequence[Effect | Indication]) -> list[Indication]:
        """Carry out the engine's effects in their order, and return the indications, which are for the actor."""
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
        """Give the engine a primitive and carry out the effects, unless the end of the association has overtaken it."""
        try:
            outputs = primitive(*arguments)
        except Overtaken:
            return
        await self.perform(outputs)

    async def send(self, buffers: Sequence[Buffer]) -> None:
        """Write all of `buffers`, after those of other tasks. Wait while the peer does not read.

        The connection is closed if the peer reads nothing for `timeouts.write`. On a lost connection the bytes are
        dropped: the next read tells how it ended.
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
        deadline: float | None = None
        try:
            while at < len(waiting):
                try:
                    sent = self._socket.send(waiting[at : at + _MOST_BUFFERS] if len(waiting) > 1 else waiting)
                except BlockingIOError:
                    now = trio.current_time()
                    if deadline is None:
                        deadline = now + self._timeouts.write
                    elif now >= deadline:
                        self.close()
                        return
                    self._timer.by(deadline)
                    await self._socket.writable()
                    continue
                deadline = None
                self._bytes_sent += sent
                at = _behind(waiting, at, sent)
        except OSError:
            return
        self._writable = True

    def close(self) -> None:
        self._open = False
        self._writable = False
        self._artim_deadline = None
        self._timer.disarm()
        self._socket.close()


def _behind(buffers: list[Buffer], at: int, sent: int) -> int:
    """Return the index of the first unsent buffer after `sent` bytes from index `at` on; cut a partly sent one."""
    while at < len(buffers) and sent >= len(buffers[at]):
        sent -= len(buffers[at])
        at += 1
    if sent:
        buffers[at] = memoryview(buffers[at])[sent:]
    return at
