"""Loopback ports, and waiting for what another process will do without sleeping longer than it takes."""

import socket
import time
from collections.abc import Callable
from typing import TypeVar

from benchmarks.peers.ports import HOST as HOST
from benchmarks.peers.ports import listens as listens

T = TypeVar("T")


def free_port() -> int:
    """A port of the loopback interface that nobody listened on a moment ago."""
    with socket.create_server((HOST, 0)) as server:
        return server.getsockname()[1]


def until(ask: Callable[[], T], what: str, seconds: float = 30.0) -> T:
    """The first true answer of `ask`, asked again and again; fails with `what` when the time is over."""
    deadline = time.monotonic() + seconds
    while not (answer := ask()):
        assert time.monotonic() < deadline, f"{what}: not within {seconds} s"
        time.sleep(0.02)
    return answer
