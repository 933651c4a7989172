"""Load for the long runs: a router that is killed and comes back, and modalities that do not give up.

Modalities and archives live in the test's own process, on trio, and survive what happens to the router. What a
modality was told is stored is what must arrive.
"""

import itertools
import random
import zlib
from collections.abc import AsyncIterator, Iterable, Iterator
from contextlib import asynccontextmanager, suppress
from functools import partial
from typing import Any, Final

import trio
from attrs import define, field
from pydicom.uid import CTImageStorage, ExplicitVRLittleEndian

from router.association import AssociationError, InMemory, RemoteAE, Requestor, plan_contexts
from router.config import Config, Timeouts
from router.dimse import DATA_SET, Command, CommandField, Priority, Response, Status
from tests.support.objects import Instance, ct
from tests.support.ports import HOST, until
from tests.support.router_process import RouterProcess

PAIR: Final = (str(CTImageStorage), str(ExplicitVRLittleEndian))
SMALL: Final = 4_000
LARGE: Final = 150_000
"""Bytes of an object."""
LARGE_OBJECT: Final = "100KB"
"""`large_object` of the router, between the two."""


def target_at(port: int, calling_ae: str = "BENCH") -> RemoteAE:
    """Somebody on this machine, whatever the name."""
    router = Config().router
    return RemoteAE(
        host=HOST,
        port=port,
        called_ae="ROUTER",
        calling_ae=calling_ae,
        maximum_pdu_length=router.maximum_pdu_length,
        implementation_class_uid=router.implementation_class_uid,
        implementation_version_name=router.implementation_version_name,
    )


class FragileRouter:
    """The real router as a process. While it is down, whoever has something to send waits."""

    def __init__(self, process: RouterProcess) -> None:
        self.process = process
        self._up = trio.Event()

    @asynccontextmanager
    async def running(self) -> AsyncIterator[None]:
        """Start it, and stop it at the end of the block; kill it where the block fails."""
        try:
            await self.start()
            yield
            await trio.to_thread.run_sync(self.process.stop)
        except BaseException:
            with trio.CancelScope(shield=True):
                await self.kill()
            raise

    async def start(self) -> None:
        await trio.to_thread.run_sync(self.process.start)
        self._up.set()

    async def kill(self) -> None:
        self._up = trio.Event()
        await trio.to_thread.run_sync(self.process.kill)

    async def kill_while_it_starts(self, seconds: float) -> None:
        """Start it, and kill it so many seconds later, be it ready by then or not."""
        async with trio.open_nursery() as nursery:
            nursery.start_soon(partial(trio.to_thread.run_sync, self._start_in_vain))
            await trio.sleep(seconds)
            await trio.to_thread.run_sync(self.process.kill)

    def _start_in_vain(self) -> None:
        with suppress(AssertionError):
            self.process.start()

    async def port(self) -> int:
        """Where it listens, as soon as it does."""
        await self._up.wait()
        return self.process.port

    async def totals(self) -> dict[str, dict[str, Any]]:
        """The numbers of each destination."""
        status = await trio.to_thread.run_sync(self.process.get, "/api/status")
        return dict(status["destinations"])

    async def settled(self, seconds: float) -> dict[str, dict[str, Any]]:
        """The numbers, as soon as nothing is on its way any more."""

        def nothing_waits() -> bool:
            destinations = self.process.get("/api/status")["destinations"].values()
            return not any(numbers["waiting"] or numbers["in_flight"] for numbers in destinations)

        await trio.to_thread.run_sync(partial(until, nothing_waits, "nothing waits", seconds))
        return await self.totals()


@define
class Modality:
    """Sends objects over one association after another, and each again until somebody says that it is stored."""

    router: FragileRouter
    acknowledged: dict[str, int] = field(factory=dict)
    """CRC-32 of the data sets by SOP Instance UID."""
    repeats: int = 0
    """How often an object was sent once more because its association had ended before the answer."""
    over: bool = False

    def objects(self) -> Iterator[Instance]:
        """Small ones, and now and then a large one, until it is `over`."""
        for number in itertools.takewhile(lambda _: not self.over, itertools.count()):
            yield ct(LARGE if number % 20 == 10 else SMALL)

    async def send(self, instances: Iterable[Instance]) -> None:
        waiting = iter(instances)
        instance = next(waiting, None)
        while instance is not None:
            port = await self.router.port()
            try:
                async with await Requestor.open(target_at(port), plan_contexts([PAIR]), Timeouts()) as association:
                    while instance is not None:
                        await store(association, instance)
                        self.acknowledged[instance.sop_instance_uid] = zlib.crc32(instance.data)
                        instance = next(waiting, None)
            except AssociationError:
                self.repeats += 1


async def store(association: Requestor, instance: Instance, expected: int | None = Status.SUCCESS) -> Response:
    """One C-STORE, which has to be answered with the status expected; None is any."""
    command = Command(
        field=CommandField.C_STORE_RQ,
        affected_sop_class_uid=instance.sop_class_uid,
        affected_sop_instance_uid=instance.sop_instance_uid,
        priority=Priority.MEDIUM,
        data_set_type=DATA_SET,
    )
    response = await association.request(association.contexts[PAIR], command, InMemory(instance.data))
    assert expected in (None, response.status), response
    return response


DICE: Final = random.Random()
"""Moments are meant to be others in each run."""
