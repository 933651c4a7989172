"""The socket under an association: non-blocking reads into a buffer and gathered writes."""

import errno
import socket
from collections.abc import Sequence
from typing import Final, Protocol

import trio

Buffer = bytes | bytearray | memoryview


class Socket(Protocol):
    """A connected socket. `receive` and `send` raise BlockingIOError where they would have to wait."""

    def receive(self, buffer: memoryview, /) -> int:
        """Receive into `buffer` and return the number of bytes; 0 is the end of the stream."""
        ...

    def send(self, buffers: Sequence[Buffer], /) -> int:
        """Send as many bytes as the kernel accepts, in order, and return their number."""
        ...

    async def readable(self) -> None:
        """Wait until bytes or the end of the stream can be received, or until `end_waits` or `close`."""

    async def writable(self) -> None:
        """Wait until bytes can be sent, or until `end_waits` or `close`."""

    def end_waits(self) -> None:
        """Make `readable` and `writable` return where they are waited for."""

    def set_option(self, level: int, option: int, value: int, /) -> None:
        """Set an option, as `setsockopt` does."""

    def close(self) -> None:
        """Close the socket and wake those that wait for it; do nothing if it is closed."""


class KernelSocket:
    """A connected TCP socket. A read or write that need not wait costs no trip through the scheduler."""

    def __init__(self, sock: trio.socket.SocketType) -> None:
        """Detach the descriptor of `sock`."""
        self._socket = socket.socket(fileno=sock.detach())
        self._socket.setblocking(False)
        self.receive: Final = self._socket.recv_into
        self.send: Final = self._socket.sendmsg
        self.set_option: Final = self._socket.setsockopt

    async def readable(self) -> None:
        """Wait until bytes or the end of the stream can be received, or until `end_waits` or `close`."""
        try:
            await trio.lowlevel.wait_readable(self._socket)
        except (OSError, trio.ClosedResourceError):
            return  # the next `receive` tells

    async def writable(self) -> None:
        """Wait until bytes can be sent, or until `end_waits` or `close`."""
        try:
            await trio.lowlevel.wait_writable(self._socket)
        except (OSError, trio.ClosedResourceError):
            return  # the next `send` tells

    def end_waits(self) -> None:
        """Make `readable` and `writable` return where they are waited for."""
        trio.lowlevel.notify_closing(self._socket)  # closes nothing: it ends the waits, which may begin again

    def close(self) -> None:
        """Close the socket and wake those that wait for it; do nothing if it is closed."""
        if self._socket.fileno() >= 0:
            trio.lowlevel.notify_closing(self._socket)
            self._socket.close()


def tune(sock: Socket) -> None:
    """Switch Nagle's algorithm off, and keep-alive on, which finds out that a silent peer is gone."""
    for level, option in ((socket.IPPROTO_TCP, socket.TCP_NODELAY), (socket.SOL_SOCKET, socket.SO_KEEPALIVE)):
        try:
            sock.set_option(level, option, 1)
        except OSError as error:  # the peer may be gone already: the first read shows it
            if error.errno not in (errno.EINVAL, errno.ENOTCONN, errno.ECONNRESET):
                raise
