"""Both ends of the raw TCP relay: `python -m benchmarks.peers.flood`, with the arguments of `Flood` as JSON.

Each connection of either end is a process of its own, as in `dicom-router bench`, so that the relay is what is
measured. Prints the figures with the keys of `bench route`, as JSON.
"""

import json
import os
import socket
import sys
import time
from functools import partial
from multiprocessing import Pipe
from multiprocessing.connection import Connection
from typing import Any

from attrs import asdict, frozen

from benchmarks.peers.ports import HOST
from benchmarks.peers.tcp_relay import CHUNK, DONE, LENGTH, read_length, set_nodelay
from router.tools.bench.processes import MachineUse, cpu_figures, describe_exit, fork


@frozen(kw_only=True)
class Flood:
    """What to send to a relay, or to a receiver."""

    port: int
    sink: int | None
    """Port to receive on; None to count acknowledgements instead."""
    size: int
    """Bytes of a message."""
    connections: int
    seconds: float
    """How long to send; 0 sends `count` messages on each connection instead."""
    count: int = 0

    def arguments(self) -> str:
        """Return the argument of the program."""
        return json.dumps(asdict(self))


def flood(load: Flood) -> dict[str, Any]:
    """Send and receive, and return the figures."""
    machine, started = MachineUse(), time.monotonic()
    machine.start()
    ends: list[tuple[int, Connection]] = []
    if load.sink is not None:
        with socket.create_server((HOST, load.sink), backlog=128) as listening:
            ends += [_start(partial(_receive, listening)) for _ in range(load.connections)]
    senders = [_start(partial(_send, load, started)) for _ in range(load.connections)]
    sent, arrived = ([_result(*each) for each in these] for these in (senders, ends))
    machine.stop()
    found = arrived or sent
    count, elapsed = sum(one[0] for one in found), max(one[1] for one in found) - started
    return {
        "objects_per_s": count / elapsed,
        "megabytes_per_s": count * load.size / elapsed / 1e6,
        "generator": cpu_figures((one[2] for one in sent), elapsed, count),
        "sink": cpu_figures((one[2] for one in arrived), elapsed, count) if arrived else None,
        "machine": machine.figures(),
    }


def _start(work: partial[tuple[int, float]]) -> tuple[int, Connection]:
    here, there = Pipe(duplex=False)

    def run() -> None:
        count, last = work()
        there.send((count, last, time.process_time()))

    pid = fork(run)
    there.close()
    return pid, here


def _result(pid: int, pipe: Connection) -> tuple[int, float, float]:
    """Return the number of messages, the time of the last one and the CPU of a process."""
    try:
        count, last, cpu = pipe.recv()
    except EOFError:
        raise RuntimeError(f"a process of the flood {describe_exit(pid)}") from None
    os.waitpid(pid, 0)
    return count, last, cpu


def _send(load: Flood, started: float) -> tuple[int, float]:
    block = memoryview(os.urandom(min(load.size, CHUNK)))
    pieces = [block[: min(CHUNK, load.size - at)] for at in range(0, load.size, CHUNK)]
    count, last = 0, started
    with socket.create_connection((HOST, load.port)) as connection:
        set_nodelay(connection)
        while last < started + load.seconds if load.seconds else count < load.count:
            connection.sendmsg([LENGTH.pack(load.size), pieces[0]])
            for piece in pieces[1:]:
                connection.sendall(piece)
            if connection.recv(1) != DONE:
                raise RuntimeError("the relay has closed the connection")
            count, last = count + 1, time.monotonic()
    return count, last


def _receive(listening: socket.socket) -> tuple[int, float]:
    connection, _ = listening.accept()
    listening.close()
    set_nodelay(connection)
    buffer = memoryview(bytearray(CHUNK))
    count, last = 0, 0.0
    with connection:
        while (left := read_length(connection)) is not None:
            while left:
                left -= connection.recv_into(buffer, min(left, CHUNK))
            count, last = count + 1, time.monotonic()
            connection.sendall(DONE)
    return count, last


if __name__ == "__main__":
    print(json.dumps(flood(Flood(**json.loads(sys.argv[1])))))
