"""From a sender to an archive: by way of the router, and by way of a relay on pynetdicom that keeps nothing.

`flood` is four associations that send as fast as they are let, `one by one` is one. The rate is what arrives in the
archive; the latency is from the beginning of an object's sending to its last byte in the archive.
"""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from statistics import median

from benchmarks.measuring import Reading
from benchmarks.peers.archive import HOST, Arrival
from benchmarks.peers.processes import ArchiveProcess, Launched, RouterUnderTest
from benchmarks.stage import Acknowledged, Stage, objects, percentile, routing_to, send_all

SIZES = {"12 kB": (12_000, 2000), "525 kB": (525_000, 400)}
"""Bytes of an object, and how many."""
SENDERS = 4


def end_to_end(stage: Stage) -> Iterator[Reading]:
    """Objects/s, and milliseconds from the sender to the archive."""
    for name, (size, full) in SIZES.items():
        count = stage.scaled(full)
        for _ in range(stage.rounds):
            for side in ("pynetdicom relay", "router"):
                stage.tell(f"{name}, {side}")
                with ArchiveProcess() as archive, _between(side, stage, archive) as port:
                    yield from _flood(name, side, port, archive, count, size)
                    yield from _one_by_one(name, side, port, archive, max(20, count // 10), size)


@contextmanager
def _between(side: str, stage: Stage, archive: ArchiveProcess) -> Iterator[int]:
    if side == "router":
        with RouterUnderTest(stage.new_folder(), routing_to({"archive": archive})) as router:
            yield router.port
    else:
        with Launched("relay", HOST, archive.port) as relay:
            yield relay.port


def _flood(name: str, side: str, port: int, archive: ArchiveProcess, count: int, size: int) -> Iterator[Reading]:
    with objects(count, size) as instances:
        acknowledged = send_all(instances, port, associations=SENDERS)
        arrivals = archive.take(count)
    started = min(one.started for one in acknowledged)
    rates = {
        "objects/s into the archive": count / (max(one.at for one in arrivals) - started),
        "objects/s acknowledged": count / (max(one.at for one in acknowledged) - started),
    }
    for quantity, value in rates.items():
        yield Reading(workload=f"{name}, flood", side=side, quantity=quantity, value=value)


def _one_by_one(name: str, side: str, port: int, archive: ArchiveProcess, count: int, size: int) -> Iterator[Reading]:
    with objects(count, size) as instances:
        acknowledged = send_all(instances, port)
        arrivals = archive.take(count)
    milliseconds = _latencies(acknowledged, arrivals)
    rate = count / (max(one.at for one in arrivals) - min(one.started for one in acknowledged))
    workload = f"{name}, one by one"
    yield Reading(workload=workload, side=side, quantity="objects/s into the archive", value=rate)
    yield Reading(workload=workload, side=side, quantity="ms, median", value=median(milliseconds))
    yield Reading(workload=workload, side=side, quantity="ms, 95 of 100", value=percentile(milliseconds, 95))


def _latencies(acknowledged: Sequence[Acknowledged], arrivals: Sequence[Arrival]) -> list[float]:
    """Milliseconds of each object but the first, which has its association to wait for."""
    arrived = {one.sop_instance_uid: one.at for one in reversed(arrivals)}
    return [(arrived[one.sop_instance_uid] - one.started) * 1000 for one in acknowledged[1:]]
