"""The play itself: set up, send, wait until everything is where it belongs, look whether it really is."""

from collections import Counter
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from pathlib import Path
from typing import Any, Final

import trio
from attrs import evolve, frozen

from router.association import RemoteAE
from router.config import AdminSettings, Config, Endpoint, Listener
from router.spool import Selection, Spool
from router.supervisor import Router
from router.tools.send import Instance, SendOutcome, Sent, send

_LOOK: Final = 0.05
"""Seconds between two looks at the router's numbers."""
_PATIENCE: Final = 60.0
"""Seconds for everything to arrive after the last object was sent."""

HERE: Final = Endpoint(host="127.0.0.1", port=0)


@frozen(kw_only=True)
class ArchiveContents:
    """What one archive has at the end."""

    name: str
    objects: int
    transfer_syntaxes: int
    identical: int
    """Objects whose data set is, byte for byte, that of the file that was sent."""


@frozen(kw_only=True)
class DemoResult:
    """How it went."""

    objects: int
    sent_bytes: int
    refused: dict[str, int]
    acknowledged_seconds: float
    """From the first association to the last acknowledgement: each object was on the disk by then."""
    delivered_seconds: float
    """From the first association to the last delivery."""
    destinations: dict[str, Any]
    archives: tuple[ArchiveContents, ...]


async def perform(
    config: Config, instances: Sequence[Instance], folder: Path, told: Callable[[str, int, int], None]
) -> DemoResult:
    """Send `instances` through a router with the routes of `config`, and see where they went.

    `told` hears how many objects were acknowledged, and how many deliveries were made, of how many.
    """
    async with AsyncExitStack() as stack:
        spools: dict[str, Spool] = {}
        peers = {}
        for name, peer in config.peers.items():
            if peer.address is not None:
                spools[name], _, port = await stack.enter_async_context(archive(peer.ae_title, folder / name))
                peers[name] = evolve(peer, address=evolve(HERE, port=port))
            else:
                peers[name] = peer
        _, router, port = await stack.enter_async_context(running(evolve(local(config, folder), peers=peers)))
        target = target_of(config, port)
        started = trio.current_time()
        sent = await _send(instances, target, config, told)
        acknowledged = trio.current_time() - started
        status = await _delivered(router, told)
        delivered = trio.current_time() - started
        stored = [one.instance for one in sent if one.verdict is not SendOutcome.FAILED]
        by_uid = {instance.sop_instance_uid: instance for instance in stored}
        return DemoResult(
            objects=len(stored),
            sent_bytes=sum(instance.length for instance in stored),
            refused=dict(Counter(one.words for one in sent if one.verdict is SendOutcome.FAILED)),
            acknowledged_seconds=acknowledged,
            delivered_seconds=delivered,
            destinations=status["destinations"],
            archives=tuple([await _look(name, spool, by_uid) for name, spool in spools.items()]),
        )


def local(config: Config, folder: Path) -> Config:
    """The configuration on free ports of this machine, with a spool in `folder`."""
    return evolve(
        config,
        router=evolve(config.router, spool=folder / "spool"),
        spool=evolve(config.spool, free_space_floor=0, reserve=0),
        listeners=(evolve(config.listeners[0], address=HERE),),
        admin=AdminSettings(listen=HERE),
    )


def archive(ae_title: str, folder: Path) -> Any:
    """A router that holds what it is given."""
    config = Config()
    return running(
        local(
            evolve(
                config,
                router=evolve(config.router, ae_title=ae_title, unrouted="hold"),
                listeners=(Listener(address=HERE, ae_title=ae_title),),
            ),
            folder,
        )
    )


@asynccontextmanager
async def running(config: Config) -> AsyncIterator[tuple[Spool, Router, int]]:
    """A router, its spool, and the port that it listens on."""
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


def target_of(config: Config, port: int) -> RemoteAE:
    """That router, as the modality calls it."""
    router = config.router
    return RemoteAE(
        host=HERE.host,
        port=port,
        called_ae=router.ae_title,
        calling_ae="MODALITY",
        maximum_pdu_length=router.maximum_pdu_length,
        implementation_class_uid=router.implementation_class_uid,
        implementation_version_name=router.implementation_version_name,
    )


async def _send(
    instances: Sequence[Instance], target: RemoteAE, config: Config, told: Callable[[str, int, int], None]
) -> list[Sent]:
    sent: list[Sent] = []

    def tell(one: Sent) -> None:
        sent.append(one)
        told("acknowledged", len(sent), len(instances))

    await send(instances, target, config.timeouts, tell)
    return sent


async def _delivered(router: Router, told: Callable[[str, int, int], None]) -> dict[str, Any]:
    """Wait until nothing waits any more."""
    with trio.move_on_after(_PATIENCE):
        while True:
            status = await router.status()
            numbers = [n for n in status["destinations"].values() if n["accepted"]]
            told("delivered", sum(n["delivered"] for n in numbers), sum(n["accepted"] for n in numbers))
            if not any(n["waiting"] or n["in_flight"] for n in numbers):
                break
            await trio.sleep(_LOOK)
    return await router.status()


async def _look(name: str, spool: Spool, sent: dict[str, Instance]) -> ArchiveContents:
    """Compare what an archive has with the files that were sent."""
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
