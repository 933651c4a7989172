"""A link with a round trip: `python -m benchmarks.peers.distance PORT SECONDS`.

It forwards bytes in both directions, half of the round trip later, without a limit of bandwidth. It prints its port
first, and ends with its standard input.
"""

import sys
from typing import Final

import trio

from benchmarks.peers.ports import HOST

_CHUNK: Final = 65536
_ON_THE_WAY: Final = 4096
"""Most chunks on the way in one direction."""


async def link(port: int, round_trip: float) -> None:
    """Serve until standard input ends."""

    async def connect(near: trio.SocketStream) -> None:
        async with near, await trio.open_tcp_stream(HOST, port) as far, trio.open_nursery() as nursery:
            for begin, end in ((near, far), (far, near)):
                send, receive = trio.open_memory_channel[tuple[float, bytes]](_ON_THE_WAY)
                nursery.start_soon(_receive, begin, send, round_trip / 2)
                nursery.start_soon(_forward, receive, end)

    async with trio.open_nursery() as nursery:
        listeners = await trio.open_tcp_listeners(0, host=HOST)
        print(listeners[0].socket.getsockname()[1], flush=True)
        nursery.start_soon(trio.serve_listeners, connect, listeners)
        await trio.to_thread.run_sync(sys.stdin.read, abandon_on_cancel=True)
        nursery.cancel_scope.cancel()


async def _receive(begin: trio.SocketStream, send: trio.MemorySendChannel[tuple[float, bytes]], delay: float) -> None:
    async with send:
        try:
            while data := await begin.receive_some(_CHUNK):
                await send.send((trio.current_time() + delay, bytes(data)))
        except (trio.BrokenResourceError, trio.ClosedResourceError):
            return


async def _forward(receive: trio.MemoryReceiveChannel[tuple[float, bytes]], end: trio.SocketStream) -> None:
    async with receive:
        try:
            async for at, data in receive:
                await trio.sleep_until(at)
                await end.send_all(data)
            await end.send_eof()
        except (trio.BrokenResourceError, trio.ClosedResourceError):
            return


if __name__ == "__main__":
    trio.run(link, int(sys.argv[1]), float(sys.argv[2]))
