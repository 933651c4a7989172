"""One TCP connection with its upper layer, driven with blocking calls: no event loop costs time between two objects."""

import socket
import struct
from collections.abc import Callable, Sequence
from contextlib import suppress
from typing import Final

from pdu import Buffer, CloseTransport, Effect, Indication, Overtaken, Send, StartArtim, StopArtim, UpperLayer

BUFFER: Final = 1 << 20
"""Bytes of the receive buffer: the size that was measured to be fastest for objects of 240 MB."""
_MOST_BUFFERS: Final = 1000
"""Buffers of one sendmsg (IOV_MAX is 1024)."""
_ARTIM: Final = 30.0
"""Seconds."""
_TIMEVAL: Final = struct.Struct("@ll")


class Connection:
    """A connection that one thread owns."""

    def __init__(self, sock: socket.socket, upper_layer: UpperLayer, write_timeout: float) -> None:
        self._socket = sock
        self.upper_layer = upper_layer
        self.is_open = True
        self._artim = False
        """Whether the timer ARTIM runs (PS3.8 9.1.5)."""
        sock.settimeout(None)
        self.set_option(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self._set_timeout(socket.SO_SNDTIMEO, write_timeout)
        upper_layer.lend(memoryview(bytearray(BUFFER)))

    def set_option(self, level: int, option: int, value: int) -> None:
        """Set a socket option; a connection that the peer has ended already is left to the next read."""
        with suppress(OSError):
            self._socket.setsockopt(level, option, value)

    def set_timeout(self, seconds: float) -> None:
        """Set how long a read waits. The kernel keeps this time, so that a read stays one system call."""
        self._set_timeout(socket.SO_RCVTIMEO, seconds)

    def _set_timeout(self, option: int, seconds: float) -> None:
        with suppress(OSError):
            self._socket.setsockopt(
                socket.SOL_SOCKET, option, _TIMEVAL.pack(int(seconds), max(int(seconds % 1 * 1e6), 1))
            )

    def fileno(self) -> int:
        return self._socket.fileno()

    def read(self) -> list[Indication]:
        """Wait for bytes and return their indications; none if nothing is complete.

        Raises:
            TimeoutError: nothing came in time.
        """
        upper_layer = self.upper_layer
        try:
            received = self._socket.recv_into(upper_layer.writable())
        except BlockingIOError:
            if not self._artim:
                raise TimeoutError from None
            return self.perform(upper_layer.artim_expired())
        except OSError:
            received = 0
        return self.perform(upper_layer.received(received))

    def perform(self, outputs: Sequence[Effect | Indication]) -> list[Indication]:
        """Carry out the engine's effects in their order, and return the indications."""
        indications: list[Indication] = []
        for output in outputs:
            match output:
                case Send(buffers=buffers):
                    self.send(buffers)
                case CloseTransport():
                    self.close()
                case StartArtim():
                    self._artim = True
                    self.set_timeout(_ARTIM)
                case StopArtim():
                    self._artim = False
                case _:
                    indications.append(output)
        return indications

    def perform_primitive(self, primitive: Callable[..., Sequence[Effect | Indication]], *arguments: object) -> None:
        """Give the engine a primitive and carry out the effects, unless the end of the association has overtaken it."""
        with suppress(Overtaken):
            self.perform(primitive(*arguments))

    def send(self, buffers: Sequence[Buffer]) -> None:
        """Write all of the buffers. If the connection has ended the rest is dropped: the next read tells."""
        at = 0
        try:
            while at < len(buffers):
                some = buffers[at : at + _MOST_BUFFERS]
                at += len(some)
                left = sum(map(len, some)) - self._socket.sendmsg(some)
                if left:  # a signal, or the timeout, in the middle of a write
                    self._socket.sendall(b"".join(some)[-left:])
        except OSError:
            self._shut()

    def acknowledge(self) -> None:
        """Have the kernel acknowledge what was read at once: a sender with Nagle's algorithm waits for it."""
        self.set_option(socket.IPPROTO_TCP, socket.TCP_QUICKACK, 1)

    def _shut(self) -> None:
        with suppress(OSError):
            self._socket.shutdown(socket.SHUT_RDWR)

    def close(self) -> None:
        self.is_open = False
        self._socket.close()

    def wake(self) -> None:
        """Make a read that is waiting, in a signal handler's way, return with the end of the stream."""
        with suppress(OSError):
            self._socket.shutdown(socket.SHUT_RD)
