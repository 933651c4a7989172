"""Storage in the demo: start a router and its archives, send objects, wait for all deliveries, compare every byte."""

from collections import Counter
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from enum import Enum, auto
from pathlib import Path
from typing import Any, Final

import trio
from attrs import evolve, frozen

from router.association import RemoteAE
from router.config import AdminSettings, Config, Endpoint, Listener
from router.spool import Selection, Spool
from router.supervisor import Router
from router.tools.send import Instance, SendOutcome, Sent, send

_POLL_EVERY: Final = 0.05
"""Seconds between two looks at the status of the router."""
_PATIENCE: Final = 60.0
"""Seconds for everything to arrive after the last object was sent."""

LOOPBACK: Final = Endpoint(host="127.0.0.1", port=0)


class LineKind(Enum):
    """Kinds of lines, for the check at the end of the demo."""

    NOTE = auto()
    NOTIFICATION = auto()
    """A RIS has received a message about a step."""
    FAILURES_REPORTED = auto()
    """The modality has received a report that not all objects are committed."""
    RETRIEVED = auto()
    """The workstation has every image that it has asked for, byte for byte."""


@frozen(kw_only=True)
class Line:
    """One thing that happened."""

    seconds: float
    who: str
    what: str
    kind: LineKind = LineKind.NOTE


@frozen(kw_only=True)
class ArchiveContents:
    """The objects of one archive in the end."""

    name: str
    objects: int
    transfer_syntaxes: int
    identical: int
    """Objects whose data set equals that of the file that was sent, byte for byte."""


@frozen(kw_only=True)
class DemoResult:
    """Figures of the storage demo."""

    objects: int
    sent_bytes: int
    refused: dict[str, int]
    acknowledged_seconds: float
    """Seconds from the first association to the last acknowledgement, when each object was on the disk."""
    delivered_seconds: float
    """Seconds from the first association to the last delivery."""
    destinations: dict[str, Any]
    archives: tuple[ArchiveContents, ...]


async def run_storage_demo(
    config: Config, instances: Sequence[Instance], folder: Path, progress: Callable[[str, int, int], None]
) -> DemoResult:
    """Send `instances` through a router with the routes of `config`, and return what arrived where.

    `progress` is called with "acknowledged" or "delivered", how many are done, and of how many.
    """
    async with AsyncExitStack() as stack:
        spools: dict[str, Spool] = {}
        peers = {}
        for name, peer in config.peers.items():
            if peer.address is not None:
                spools[name], _, port = await stack.enter_async_context(archive(peer.ae_title, folder / name))
                peers[name] = evolve(peer, address=evolve(LOOPBACK, port=port))
            else:
                peers[name] = peer
        _, router, port = await stack.enter_async_context(running(evolve(on_this_machine(config, folder), peers=peers)))
        target = address_of(config, port)
        started = trio.current_time()
        sent = await _send(instances, target, config, progress)
        acknowledged = trio.current_time() - started
        status = await _wait_for_deliveries(router, progress)
        delivered = trio.current_time() - started
        stored = [one.instance for one in sent if one.outcome is not SendOutcome.FAILED]
        by_uid = {instance.sop_instance_uid: instance for instance in stored}
        return DemoResult(
            objects=len(stored),
            sent_bytes=sum(instance.length for instance in stored),
            refused=dict(Counter(one.reason for one in sent if one.outcome is SendOutcome.FAILED)),
            acknowledged_seconds=acknowledged,
            delivered_seconds=delivered,
            destinations=status["destinations"],
            archives=tuple([await compare(name, spool, by_uid) for name, spool in spools.items()]),
        )


def on_this_machine(config: Config, folder: Path) -> Config:
    """Return the configuration on free ports of this machine, with its spool in `folder`."""
    return evolve(
        config,
        router=evolve(config.router, spool=folder / "spool"),
        spool=evolve(config.spool, free_space_floor=0, reserve=0),
        listeners=(evolve(config.listeners[0], address=LOOPBACK),),
        admin=AdminSettings(listen=LOOPBACK),
    )


def archive(ae_title: str, folder: Path) -> Any:
    """Run a router that holds what it is sent."""
    config = Config()
    return running(
        on_this_machine(
            evolve(
                config,
                router=evolve(config.router, ae_title=ae_title, unrouted="hold"),
                listeners=(Listener(address=LOOPBACK, ae_title=ae_title),),
            ),
            folder,
        )
    )


@asynccontextmanager
async def running(config: Config) -> AsyncIterator[tuple[Spool, Router, int]]:
    """Run a router; yield its spool, the router, and the port that it listens on."""
    config.router.spool.parent.mkdir(parents=True, exist_ok=True)
    spool = await trio.to_thread.run_sync(Spool.open, config.router.spool, config.spool)
    try:
        router = Router(config, spool)
        async with trio.open_nursery() as nursery:
            addresses = await nursery.start(router.run)
            yield spool, router, int(addresses["dicom"][0].rpartition(":")[2])
            router.stop()
    finally:
        spool.close()


def address_of(config: Config, port: int) -> RemoteAE:
    """Return the address of the router, as the modality calls it."""
    router = config.router
    return RemoteAE(
        host=LOOPBACK.host,
        port=port,
        called_ae=router.ae_title,
        calling_ae="MODALITY",
        maximum_pdu_length=router.maximum_pdu_length,
        implementation_class_uid=router.implementation_class_uid,
        implementation_version_name=router.implementation_version_name,
    )


async def _send(
    instances: Sequence[Instance], target: RemoteAE, config: Config, progress: Callable[[str, int, int], None]
) -> list[Sent]:
    sent: list[Sent] = []

    def tell(one: Sent) -> None:
        sent.append(one)
        progress("acknowledged", len(sent), len(instances))

    await send(instances, target, config.timeouts, tell)
    return sent


async def _wait_for_deliveries(router: Router, progress: Callable[[str, int, int], None]) -> dict[str, Any]:
    """Wait until no delivery is waiting, and return the status."""
    with trio.move_on_after(_PATIENCE):
        while True:
            status = await router.status()
            numbers = [n for n in status["destinations"].values() if n["accepted"]]
            progress("delivered", sum(n["delivered"] for n in numbers), sum(n["accepted"] for n in numbers))
            if not any(n["waiting"] or n["in_flight"] for n in numbers):
                break
            await trio.sleep(_POLL_EVERY)
    return await router.status()


async def compare(name: str, spool: Spool, sent: dict[str, Instance]) -> ArchiveContents:
    """Compare the objects of an archive with the files that were sent."""
    syntaxes, objects, identical = set(), 0, 0
    after = 0
    while rows := await spool.queue.list_deliveries(Selection(), after=after, limit=500):
        after = rows[-1].message_id
        for row in rows:
            objects += 1
            syntaxes.add(row.transfer_syntax)
            identical += await _is_identical(spool, row.message_id, sent[row.sop_instance_uid])
    return ArchiveContents(name=name, objects=objects, transfer_syntaxes=len(syntaxes), identical=identical)


async def _is_identical(spool: Spool, message_id: int, instance: Instance) -> bool:
    with await spool.open_message(message_id) as message:
        buffer = bytearray(message.data_length)
        filled = 0
        while filled < len(buffer):
            filled += await message.read_into(memoryview(buffer)[filled:], filled)
    data = await trio.Path(instance.path).read_bytes()
    return memoryview(data)[instance.offset :] == buffer
