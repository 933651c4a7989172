"""One object of 2 GiB through the router: the most memory that it had resident, above what it has when idle."""

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from attrs import define
from pydicom.uid import CTImageStorage, ExplicitVRLittleEndian

from benchmarks.measuring import Reading
from benchmarks.peers.processes import ArchiveProcess, RouterUnderTest, forget_peak, memory_of
from benchmarks.stage import Stage, routing_to, send_all
from router.sending import examine
from tests.objects import ct, new_uid, part10_head

SIZES = {"240 MB": 240_000_000, "2 GiB": 2 << 30}
_LOOK = 0.02
MIB = 1 << 20


def memory(stage: Stage) -> Iterator[Reading]:
    """MiB above idle, all of it and without what is mapped from files; and MB/s from end to end."""
    for name, size in list(SIZES.items())[: 1 if stage.quick else None]:
        for _ in range(min(stage.rounds, 3)):
            stage.tell(name)
            with (
                ArchiveProcess() as archive,
                RouterUnderTest(stage.new_folder(), routing_to({"archive": archive})) as router,
            ):
                yield from measure(name, size, router, archive, stage.folder)


def measure(name: str, size: int, router: RouterUnderTest, archive: ArchiveProcess, folder: Path) -> Iterator[Reading]:
    """One object of `size` bytes, the first that the router ever sees."""
    large = examine(write_sparse(folder, size))
    forget_peak(router.pid)
    with watched(router.pid) as peak:
        (acknowledged,) = send_all([large], router.port)
        (arrival,) = archive.take(1)
    if arrival.length != large.length:
        raise RuntimeError(f"{large.length} bytes were sent, {arrival.length} arrived")
    large.path.unlink()
    numbers = {
        "MiB above idle": peak.resident / MIB,
        "MiB above idle, files not counted": peak.anonymous / MIB,
        "MB/s to the archive": arrival.length / (arrival.at - acknowledged.started) / 1e6,
    }
    for quantity, value in numbers.items():
        yield Reading(workload=f"one object of {name}", side="router", quantity=quantity, value=value)


def write_sparse(folder: Path, size: int) -> Path:
    """A CT image whose pixels are a hole in its file."""
    uid, path = new_uid(), folder / "sparse.dcm"
    small = ct(12_000)
    head = small.data[: small.data.index(b"\xe0\x7f\x10\x00OW\0\0")].replace(
        small.sop_instance_uid.encode(), uid.encode()
    )
    length = (size - len(head) - 12) & ~1
    with path.open("wb") as out:
        out.write(part10_head(CTImageStorage, uid, ExplicitVRLittleEndian))
        out.write(head + b"\xe0\x7f\x10\x00OW\0\0" + length.to_bytes(4, "little"))
        out.truncate(out.tell() + length)
    return path


@define
class Peak:
    """Bytes above what was resident in the beginning."""

    resident: int = 0
    anonymous: int = 0
    """Without what is mapped from files. Looked at 50 times a second."""


@contextmanager
def watched(pid: int) -> Iterator[Peak]:
    """Watch a process while the block lasts; the peak is told at its end."""
    idle = memory_of(pid)
    peak, over = Peak(), threading.Event()

    def look() -> None:
        while not over.wait(_LOOK):
            peak.anonymous = max(peak.anonymous, memory_of(pid)["RssAnon"] - idle["RssAnon"])

    thread = threading.Thread(target=look)
    thread.start()
    try:
        yield peak
    finally:
        over.set()
        thread.join()
    peak.resident = memory_of(pid)["VmHWM"] - idle["VmRSS"]
