"""Procedure steps in numbers: how fast they go to a RIS that is there while another is not, how long that one takes to
catch up, and how long a modality waits for its answer. Printed with `-s`."""

import statistics
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
import trio

from tests.support.harness import eventually
from tests.support.mpps_messages import completed, in_progress, progress
from tests.support.mpps_peers import RIS, Scanner
from tests.support.ports import free_port
from tests.support.router_process import RouterProcess

STEPS = 1000
MODALITIES = 4
MESSAGES = 4
"""Of a step: one N-CREATE, three N-SETs."""
ASKED = 500
"""N-CREATEs of which the answer is timed."""
PATIENCE = 300.0


def router_for(folder: Path, **ports: int) -> RouterProcess:
    peers = {
        name: {"ae_title": name.upper(), "address": f"127.0.0.1:{port}", "retry": {"first": "200ms", "max": "500ms"}}
        for name, port in ports.items()
    }
    content = {
        "router": {"listen": ["127.0.0.1:0"], "spool": "spool"},
        "admin": {"listen": "127.0.0.1:0"},
        "peers": peers,
        "routes": [{"name": "steps", "service": "mpps", "to": list(ports)}],
    }
    return RouterProcess(folder, content)


async def perform(scanner: Scanner, uid: str) -> None:
    responses = [
        await scanner.create(uid, in_progress(uid)),
        await scanner.set(uid, progress("one")),
        await scanner.set(uid, progress("two")),
        await scanner.set(uid, completed([f"{uid}.1", f"{uid}.2"])),
    ]
    assert {response.status for response in responses} == {0}


async def report(port: int, numbers: range) -> None:
    """Steps from several modalities at once."""

    async def one(share: range) -> None:
        async with Scanner.connected(port) as scanner:
            for number in share:
                await perform(scanner, f"1.2.3.{number}")

    async with trio.open_nursery() as nursery:
        for first in range(MODALITIES):
            nursery.start_soon(one, numbers[first::MODALITIES])


async def heard(ris: RIS, count: int) -> None:
    await eventually(lambda: len(ris.heard) >= count, PATIENCE)


def in_order(ris: RIS) -> bool:
    """Each step once, from its beginning to its end, and no failure on the way."""
    whole = [("N-CREATE-RQ", "IN PROGRESS", 0), ("N-SET-RQ", "", 0), ("N-SET-RQ", "", 0), ("N-SET-RQ", "COMPLETED", 0)]
    steps: dict[str, list[tuple[str, str, int | str]]] = {}
    for one in ris.heard:
        steps.setdefault(one.uid, []).append((one.kind, one.status, one.answer))
    return len(steps) == STEPS and all(messages == whole for messages in steps.values())


@pytest.mark.soak
@pytest.mark.timeout(900)
async def test_a_ris_that_is_down_for_the_first_half_has_all_steps_in_order(tmp_path: Path) -> None:
    down = free_port()
    async with RIS().serving() as up:
        router = await trio.to_thread.run_sync(router_for(tmp_path / "router", up=up.port, down=down).start)
        started = trio.current_time()
        await report(router.port, range(STEPS // 2))
        half = trio.current_time()
        async with RIS(port=down).serving() as late:
            await report(router.port, range(STEPS // 2, STEPS))
            answered = trio.current_time()
            await heard(up, STEPS * MESSAGES)
            live = trio.current_time()
            await heard(late, STEPS * MESSAGES)
            caught_up = trio.current_time()
        await trio.to_thread.run_sync(router.stop)
    assert in_order(up)
    assert in_order(late)
    messages = STEPS * MESSAGES
    print(f"\n{STEPS} steps of {MESSAGES} messages from {MODALITIES} modalities")
    print(f"  answered after {answered - started:.1f} s: {messages / (answered - started):.0f}/s")
    print(f"  at the live RIS after {live - started:.1f} s: {messages / (live - started):.0f}/s")
    print(f"  the other was down for {half - started:.1f} s, and had caught up {caught_up - half:.1f} s after that,")
    print(f"  {caught_up - answered:.1f} s after the last answer")


@contextmanager
def pynetdicom_scp() -> Iterator[int]:
    port = free_port()
    command = [sys.executable, "-m", "tests.soak.pynetdicom_mpps", str(port)]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout
        assert process.stdout.readline() == "listening\n"
        try:
            yield port
        finally:
            process.kill()


async def latencies(port: int) -> list[float]:
    """Seconds from an N-CREATE to its answer, one after another on one association."""
    seconds = []
    async with Scanner.connected(port, transfer_syntax="1.2.840.10008.1.2") as scanner:
        for number in range(ASKED):
            data_set, uid = in_progress(str(number)), f"1.2.4.{number}"
            before = trio.current_time()
            response = await scanner.create(uid, data_set)
            seconds.append(trio.current_time() - before)
            assert response.status == 0
    return seconds


@pytest.mark.soak
@pytest.mark.timeout(600)
async def test_how_long_a_modality_waits_for_its_answer(tmp_path: Path) -> None:
    async with RIS().serving() as ris:
        router = await trio.to_thread.run_sync(router_for(tmp_path / "router", ris=ris.port).start)
        ours = await latencies(router.port)
        await trio.to_thread.run_sync(router.stop)
    with pynetdicom_scp() as port:
        theirs = await latencies(port)
    for name, seconds in (("the router, durable and relayed", ours), ("pynetdicom's example, in memory", theirs)):
        cuts = statistics.quantiles(seconds, n=100)
        print(f"\nN-CREATE, {name}: p50 {cuts[49] * 1000:.1f} ms, p99 {cuts[98] * 1000:.1f} ms of {ASKED}")
    assert statistics.median(ours) < 1.0
