"""Loopback ports: free ones, and ports where nothing answers."""

import random
import socket
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from typing import Final

HOST: Final = "127.0.0.1"
_PORTS: Final = 20_000, 32_000
"""Below 32768, where the ports begin that the kernel gives to outgoing connections."""


def listens(port: int) -> bool:
    """Return whether a connection to the port is accepted."""
    try:
        socket.create_connection((HOST, port), timeout=1).close()
    except OSError:
        return False
    return True


def own_port() -> int:
    """Return a free port that the kernel does not give to an outgoing connection: for a process to listen on later."""
    while True:
        port = random.randrange(*_PORTS)
        with suppress(OSError), socket.create_server((HOST, port)):
            return port


@contextmanager
def black_hole() -> Iterator[int]:
    """A port that accepts connections and never sends anything."""
    with socket.create_server((HOST, own_port()), backlog=128) as listening:
        yield listening.getsockname()[1]


@contextmanager
def closed_port(port: int = 0) -> Iterator[int]:
    """A port that refuses connections, and that no process can listen on while the block lasts."""
    with socket.socket() as reserved:
        reserved.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        reserved.bind((HOST, port or own_port()))
        yield reserved.getsockname()[1]
