"""The limit: a relay of bytes that stores them before it acknowledges them, and knows nothing of DICOM.

A message is its length in eight bytes, then its bytes; the response is one byte. A message is written to a file, synced
(fdatasync) and acknowledged; a second thread forwards it from the file (sendfile), and waits for the response of the
sink. `flood` is both ends. No program can store and forward over TCP on this machine with less work.
"""

import os
import queue
import socket
import struct
import sys
import tempfile
import threading
import time
from pathlib import Path
from typing import Any, Final

from benchmarks.peers.ports import HOST

_LENGTH: Final = struct.Struct(">Q")
_CHUNK: Final = 1 << 20
_DONE: Final = b"\0"


def relay(sink: int, folder: Path) -> None:
    """Serve until standard input ends; prints the port first."""
    with socket.create_server((HOST, 0), backlog=128) as listening:
        print(listening.getsockname()[1], flush=True)
        threading.Thread(target=_accept, args=(listening, sink, folder), daemon=True).start()
        sys.stdin.read()


def _accept(listening: socket.socket, sink: int, folder: Path) -> None:
    while True:
        connection, _ = listening.accept()
        threading.Thread(target=_keep, args=(connection, sink, folder), daemon=True).start()


def _keep(connection: socket.socket, sink: int, folder: Path) -> None:
    _set_nodelay(connection)
    waiting: queue.SimpleQueue[tuple[int, int] | None] = queue.SimpleQueue()
    with connection, tempfile.TemporaryFile(dir=folder, buffering=0) as file:
        onward = threading.Thread(target=_send_on, args=(file.fileno(), sink, waiting))
        onward.start()
        buffer, at = memoryview(bytearray(_CHUNK)), 0
        while (length := _read_length(connection)) is not None:
            left = length
            while left:
                received = connection.recv_into(buffer, min(left, _CHUNK))
                if not received:
                    break
                file.write(buffer[:received])
                left -= received
            os.fdatasync(file.fileno())
            connection.sendall(_DONE)
            waiting.put((at, length))
            at += length
        waiting.put(None)
        onward.join()


def _send_on(fd: int, sink: int, waiting: "queue.SimpleQueue[tuple[int, int] | None]") -> None:
    with socket.create_connection((HOST, sink)) as connection:
        _set_nodelay(connection)
        while (piece := waiting.get()) is not None:
            at, length = piece
            connection.sendall(_LENGTH.pack(length))
            end = at + length
            while at < end:
                at += os.sendfile(connection.fileno(), fd, at, end - at)
            connection.recv(1)


def flood(
    port: int, listening: socket.socket, size: int, connections: int, *, seconds: float, count: int
) -> dict[str, Any]:
    """Send messages of `size` bytes over `connections`, for `seconds`, or `count` of them if `seconds` is 0.

    Return the rate of arrivals at the sink, which accepts on `listening`, with the keys of `bench route`.
    """
    started, arrivals = time.monotonic(), []
    numbers = iter(range(count)) if not seconds else iter(range(1 << 62))
    lock = threading.Lock()

    def send() -> None:
        block = memoryview(bytearray(os.urandom(min(size, _CHUNK))))
        with socket.create_connection((HOST, port)) as connection:
            _set_nodelay(connection)
            while not seconds or time.monotonic() < started + seconds:
                with lock:
                    if next(numbers, None) is None:
                        return
                connection.sendall(_LENGTH.pack(size))
                for at in range(0, size, _CHUNK):
                    connection.sendall(block[: min(_CHUNK, size - at)])
                connection.recv(1)

    def receive() -> None:
        connection, _ = listening.accept()
        _set_nodelay(connection)
        buffer = memoryview(bytearray(_CHUNK))
        with connection:
            while (left := _read_length(connection)) is not None:
                while left:
                    left -= connection.recv_into(buffer, min(left, _CHUNK))
                arrivals.append(time.monotonic())
                connection.sendall(_DONE)

    threads = [threading.Thread(target=work) for work in (send, receive) for _ in range(connections)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    spent = max(arrivals) - started
    return {"objects_per_s": len(arrivals) / spent, "megabytes_per_s": len(arrivals) * size / spent / 1e6}


def _read_length(connection: socket.socket) -> int | None:
    data = b""
    while len(data) < _LENGTH.size:
        more = connection.recv(_LENGTH.size - len(data))
        if not more:
            return None
        data += more
    return int(_LENGTH.unpack(data)[0])


def _set_nodelay(connection: socket.socket) -> None:
    connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)


if __name__ == "__main__":
    relay(int(sys.argv[1]), Path(sys.argv[2]))
