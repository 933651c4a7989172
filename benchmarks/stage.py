"""What all cases need: objects to send, a sender that knows when each was acknowledged, a router's configuration."""

import shutil
import statistics
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import trio
from attrs import frozen

from benchmarks.peers.archive import HOST
from router.association import Target
from router.config import Config, Timeouts
from router.sending import Instance, Sent, Verdict, examine, send
from tests.interop.router_process import Archive, configuration
from tests.objects import ct, write_large_ct

SHARED_MEMORY = Path("/dev/shm")
"""For the objects to send, lest reading them disturb the disk."""
LARGE = 64 << 20
"""Bytes above which an object is written piece by piece."""


@frozen(kw_only=True)
class Stage:
    """Where a case plays, and how long it may take."""

    folder: Path
    """On the disk: what routers and archives write."""
    rounds: int
    quick: bool
    tell: Callable[[str], None]
    """For the one who waits."""

    def scaled(self, count: int) -> int:
        """So many objects, or a tenth of it where it has to be quick."""
        return max(1, count // 10) if self.quick else count

    def new_folder(self) -> Path:
        """An empty folder."""
        return Path(tempfile.mkdtemp(dir=self.folder))


@contextmanager
def objects(count: int, size: int) -> Iterator[list[Instance]]:
    """So many CT images of so many bytes, each with a UID of its own, as files in memory where there is room."""
    room = SHARED_MEMORY.is_dir() and shutil.disk_usage(SHARED_MEMORY).free > 2 * count * size
    with tempfile.TemporaryDirectory(dir=SHARED_MEMORY if room else None) as name:
        yield [examine(_write(Path(name), number, size)) for number in range(count)]


def _write(folder: Path, number: int, size: int) -> Path:
    if size < LARGE:
        return ct(size).write(folder)
    path = folder / f"{number}.dcm"
    write_large_ct(path, size)
    return path


@frozen(kw_only=True)
class Acknowledged:
    """One object's way to its acknowledgement, on the monotonic clock."""

    sop_instance_uid: str
    started: float
    """When the acknowledgement before it had come, or the sending began."""
    at: float


def send_all(instances: Sequence[Instance], port: int, *, associations: int = 1) -> list[Acknowledged]:
    """Send all of them with this project's own sender. An object that is not stored ends the measurement."""
    shares = [instances[number::associations] for number in range(associations)]
    acknowledged: list[Acknowledged] = []

    async def send_share(share: Sequence[Instance], target: Target) -> None:
        last = time.monotonic()

        def tell(sent: Sent) -> None:
            nonlocal last
            if sent.verdict is not Verdict.STORED:
                raise RuntimeError(f"not stored: {sent.words}")
            now = time.monotonic()
            uid = sent.instance.sop_instance_uid
            acknowledged.append(Acknowledged(sop_instance_uid=uid, started=last, at=now))
            last = now

        await send(share, target, Timeouts(), tell)

    async def send_shares() -> None:
        async with trio.open_nursery() as nursery:
            for share in shares:
                nursery.start_soon(send_share, share, target_at(port))

    trio.run(send_shares)
    return acknowledged


def target_at(port: int, calling_ae: str = "BENCH") -> Target:
    """Somebody on this machine, whatever the name."""
    router = Config().router
    return Target(
        host=HOST,
        port=port,
        called_ae="ROUTER",
        calling_ae=calling_ae,
        maximum_pdu_length=131072,
        implementation_class_uid=router.implementation_class_uid,
        implementation_version_name=router.implementation_version_name,
    )


def seconds_of(acknowledged: Sequence[Acknowledged]) -> float:
    """From the beginning of the sending to the last acknowledgement."""
    return max(one.at for one in acknowledged) - min(one.started for one in acknowledged)


def routing_to(archives: Mapping[str, Archive], **sections: Any) -> dict[str, Any]:
    """A router.toml that sends everything to all of the archives, over two associations each."""
    peers = {name: {"associations": 2} for name in archives}
    return configuration(archives, peers=peers, **sections)


def holding() -> dict[str, Any]:
    """A router.toml that only receives."""
    return configuration({}, router={"unrouted": "hold"}, routes=[])


def percentile(values: Sequence[float], percent: int) -> float:
    return statistics.quantiles(values, n=100, method="inclusive")[percent - 1] if len(values) > 1 else values[0]
