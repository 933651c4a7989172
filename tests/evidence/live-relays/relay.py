"""Measure a relay beside no relay and beside one that copies TCP."""

import json
import statistics
import sys
import time
from contextlib import suppress
from pathlib import Path
from typing import Any

import attrs
import trio

from pdu import AssociateAC
from router.dimse import CommandField, encode, response_to
from tests.support.harness import ABORT_BY_USER, p_data
from tests.support.relays import N_GET, PRIVATE, At, End, Peer, associate, memory_of, peer, router_to

SIZE, PART = 240_000_000, 15_000
"""Bytes of the data set, and of one P-DATA-TF."""


async def paired(port: int, printer: Peer) -> tuple[End, End]:
    client = End(await trio.open_tcp_stream("127.0.0.1", port))
    await client.say(associate(PRIVATE))
    theirs = await printer.accepted()
    assert isinstance(await client.hear(), AssociateAC)
    return client, theirs


async def megabytes_per_second(client: End, theirs: End) -> int:
    """Send one N-SET of `SIZE` bytes."""

    async def send() -> None:
        n_set = attrs.evolve(N_GET, field=CommandField.N_SET_RQ, data_set_type=1)
        await client.say(p_data(1, encode(n_set), command=True))
        piece = p_data(1, bytes(PART), command=False, last=False) * 16
        for _ in range(SIZE // (16 * PART)):
            await client.stream.send_all(piece)
        await client.say(p_data(1, b"", command=False))

    began = time.perf_counter()
    async with trio.open_nursery() as nursery:
        nursery.start_soon(send)
        received = 0
        while received < SIZE:
            received += len(await theirs.stream.receive_some(1 << 18))
    return round(SIZE / (time.perf_counter() - began) / 1e6)


async def microseconds(client: End, theirs: End, count: int = 500) -> int:
    """Return the median time of an N-GET."""
    times = []
    for _ in range(count):
        began = time.perf_counter()
        await client.tell(1, N_GET)
        await theirs.message()
        await theirs.tell(1, response_to(N_GET, 0), b"data")
        await client.message()
        times.append(time.perf_counter() - began)
    return round(statistics.median(times) * 1e6)


async def milliseconds_to_abort(client: End, theirs: End) -> float:
    """Return the time from the client's A-ABORT to the peer's."""
    began = time.perf_counter()
    await client.say(ABORT_BY_USER)
    await theirs.hear()
    return round((time.perf_counter() - began) * 1e3, 2)


async def copy_tcp(target: int, task_status: trio.TaskStatus[int] = trio.TASK_STATUS_IGNORED) -> None:
    async def copy(source: trio.SocketStream, sink: trio.SocketStream) -> None:
        with suppress(trio.ClosedResourceError, trio.BrokenResourceError):
            async for chunk in source:
                await sink.send_all(chunk)
        await sink.aclose()

    async def serve(stream: trio.SocketStream) -> None:
        other = await trio.open_tcp_stream("127.0.0.1", target)
        async with trio.open_nursery() as nursery:
            nursery.start_soon(copy, stream, other)
            nursery.start_soon(copy, other, stream)

    listeners = await trio.open_tcp_listeners(0, host="127.0.0.1")
    task_status.started(listeners[0].socket.getsockname()[1])
    await trio.serve_listeners(serve, listeners)


async def main(folder: Path) -> None:
    rows: dict[str, dict[str, list[Any]]] = {}
    async with peer() as printer, trio.open_nursery() as nursery:
        raw: int = await nursery.start(copy_tcp, printer.port)
        with router_to(folder, At(printer.port)) as router:
            for name, port in (("direct", printer.port), ("copied TCP", raw), ("router", router.port)) * 3:
                row = rows.setdefault(name, {"N-GET us": [], "abort ms": [], "240 MB N-SET MB/s": []})
                client, theirs = await paired(port, printer)
                row["N-GET us"].append(await microseconds(client, theirs))
                row["abort ms"].append(await milliseconds_to_abort(client, theirs))
                client, theirs = await paired(port, printer)
                row["240 MB N-SET MB/s"].append(await megabytes_per_second(client, theirs))
                if name == "router":
                    row.setdefault("resident MB", []).append(round(memory_of(router) / 1e6))
                await client.stream.aclose()
                await theirs.stream.aclose()
        nursery.cancel_scope.cancel()
    for name, row in rows.items():
        print(f"{name:11}", json.dumps(row))


if __name__ == "__main__":
    trio.run(main, Path(sys.argv[1]))
