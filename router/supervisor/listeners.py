"""Listen for associations and run an acceptor for each connection."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from functools import partial
from typing import Any, Final

import structlog
import trio
from attrs import evolve

from router.association import Acceptor, AcceptorContext
from router.config import Listener

log = structlog.get_logger()

_BACKLOG = 1024
"""Connections that the kernel holds while all tasks are busy."""


class Listeners:
    """The listening sockets of a router, and the acceptors of its open associations."""

    def __init__(self, context: AcceptorContext) -> None:
        self._context = context
        self._acceptors: set[Acceptor] = set()
        self._draining = False
        self.drained: Final = trio.Event()
        """Set when no association is left after `drain`."""

    def statistics(self) -> list[dict[str, Any]]:
        """Return the state of each open association."""
        return [acceptor.statistics() for acceptor in self._acceptors]

    @property
    def associations(self) -> int:
        """Number of open associations."""
        return len(self._acceptors)

    @asynccontextmanager
    async def open(self, serving: trio.Nursery) -> AsyncIterator[list[str]]:
        """Listen on every address of the configuration while the block runs. Yield the bound addresses.

        Associations run in `serving`, and go on after the block.

        Raises:
            OSError: an address could not be bound.
        """
        async with trio.open_nursery() as listening:
            bound = []
            for listener in self._context.config.listeners:
                bound += await self._listen(listener, listening, serving)
            yield bound
            listening.cancel_scope.cancel()

    def drain(self) -> None:
        """Let each association finish what is in flight, then end it."""
        self._draining = True
        if not self._acceptors:
            self.drained.set()
        for acceptor in list(self._acceptors):
            acceptor.drain()

    async def _listen(self, listener: Listener, listening: trio.Nursery, serving: trio.Nursery) -> list[str]:
        address = listener.address
        try:
            sockets = await trio.open_tcp_listeners(address.port, host=address.host, backlog=_BACKLOG)
        except OSError as error:
            raise OSError(error.errno, f"cannot listen on {address}: {error.strerror or error}") from error

        async def connected(stream: trio.SocketStream) -> None:
            await self._serve(stream, listener)

        listening.start_soon(partial(trio.serve_listeners, connected, sockets, handler_nursery=serving))
        return [str(evolve(address, port=one.socket.getsockname()[1])) for one in sockets]

    async def _serve(self, stream: trio.SocketStream, listener: Listener) -> None:
        """Serve one connection. An exception is logged and ends this connection only."""
        try:
            peer = stream.socket.getpeername()[0]
        except OSError:  # the peer has closed it already
            stream.socket.close()
            return
        with self._context.limits.count_socket(peer) as admitted:
            if not admitted:
                stream.socket.close()
                return
            try:
                await self._run_acceptor(stream, peer, listener)
            except Exception:
                log.exception("association crashed", peer=peer)
            finally:
                stream.socket.close()  # if no acceptor has closed it

    async def _run_acceptor(self, stream: trio.SocketStream, peer: str, listener: Listener) -> None:
        acceptor = Acceptor(stream.socket, peer, listener, self._context)
        self._acceptors.add(acceptor)
        try:
            await acceptor.run()
        finally:
            self._acceptors.discard(acceptor)
            if self._draining and not self._acceptors:
                self.drained.set()
