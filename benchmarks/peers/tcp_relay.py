"""The limit: receive bytes and store them before they are acknowledged, with or without forwarding; no DICOM in it.

A message is its length in eight bytes, then its bytes; the response is one byte. A message is written to a file, synced
(fdatasync) and acknowledged; with a sink, a second thread forwards it from the file (sendfile), and waits for the
response of the sink. `benchmarks.peers.flood` is both ends. No program can store and forward over TCP on this machine
with less work.

`python -m benchmarks.peers.tcp_relay FOLDER [SINK_PORT]` prints its port first, and ends with its standard input.
"""

import os
import queue
import socket
import struct
import sys
import tempfile
import threading
from pathlib import Path
from typing import Final

from benchmarks.peers.ports import HOST

LENGTH: Final = struct.Struct(">Q")
CHUNK: Final = 1 << 20
DONE: Final = b"\0"

Waiting = queue.SimpleQueue[tuple[int, int] | None]


def serve(folder: Path, sink: int | None) -> None:
    """Serve until standard input ends."""
    with socket.create_server((HOST, 0), backlog=128) as listening:
        print(listening.getsockname()[1], flush=True)
        threading.Thread(target=_accept, args=(listening, folder, sink), daemon=True).start()
        sys.stdin.read()


def _accept(listening: socket.socket, folder: Path, sink: int | None) -> None:
    while True:
        connection, _ = listening.accept()
        threading.Thread(target=_keep, args=(connection, folder, sink), daemon=True).start()


def _keep(connection: socket.socket, folder: Path, sink: int | None) -> None:
    set_nodelay(connection)
    waiting: Waiting = queue.SimpleQueue()
    with connection, tempfile.TemporaryFile(dir=folder, buffering=0) as file:
        onward = None
        if sink is not None:
            onward = threading.Thread(target=_send_on, args=(file.fileno(), sink, waiting))
            onward.start()
        buffer, at = memoryview(bytearray(CHUNK)), 0
        while (length := read_length(connection)) is not None:
            left = length
            while left:
                received = connection.recv_into(buffer, min(left, CHUNK))
                if not received:
                    break
                file.write(buffer[:received])
                left -= received
            os.fdatasync(file.fileno())
            connection.sendall(DONE)
            waiting.put((at, length))
            at += length
        if onward is not None:
            waiting.put(None)
            onward.join()


def _send_on(fd: int, sink: int, waiting: Waiting) -> None:
    with socket.create_connection((HOST, sink)) as connection:
        set_nodelay(connection)
        while (piece := waiting.get()) is not None:
            at, length = piece
            connection.sendall(LENGTH.pack(length))
            end = at + length
            while at < end:
                at += os.sendfile(connection.fileno(), fd, at, end - at)
            connection.recv(1)


def read_length(connection: socket.socket) -> int | None:
    """Return the length of the next message; None at the end."""
    data = connection.recv(LENGTH.size, socket.MSG_WAITALL)
    return int(LENGTH.unpack(data)[0]) if len(data) == LENGTH.size else None


def set_nodelay(connection: socket.socket) -> None:
    """Switch Nagle's algorithm off."""
    connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)


if __name__ == "__main__":
    serve(Path(sys.argv[1]), int(sys.argv[2]) if len(sys.argv) > 2 else None)
