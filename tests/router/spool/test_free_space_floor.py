"""A disk at its floor, and one that others fill to the last byte: what goes on, and that the spool empties itself."""

import os
import subprocess
from collections.abc import AsyncIterator, Iterator, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from pathlib import Path
from typing import Any

import attrs
import pytest
import trio

from router.config import Config
from router.dimse import DATA_SET
from router.dimse import encode as encode_command
from router.model import DeliveryState, Purpose
from router.spool import Selection
from router.spool.disk.filesystem import FileSystem
from tests.support.commitment_peers import CommittingArchive, ask, instances
from tests.support.harness import (
    RunningRouter,
    configuration,
    data_set,
    eventually,
    p_data,
    running_router,
    store_rq,
)
from tests.support.streams import ECHO, modality_of, stream

MIB = 1 << 20
PIN = "pacs (commitment)"


class SmallDisk(FileSystem):
    """The real file system, as if there were `total` bytes for one folder, and others had `foreign` of them."""

    def __init__(self, folder: Path, total: int) -> None:
        self.folder = folder
        self.total = total
        self.foreign = 0
        self.lowest = total
        """Bytes that were free when least were."""

    def left(self) -> int:
        used = 0
        for where, _, names in os.walk(self.folder):
            for name in names:
                try:
                    used += os.stat(os.path.join(where, name)).st_blocks * 512
                except FileNotFoundError:  # it went meanwhile
                    continue
        return self.total - self.foreign - used

    def free(self, directory: int) -> int:
        return max(0, self.left())

    def write(self, fd: int, buffers: Sequence[bytes | bytearray | memoryview], offset: int) -> None:
        super().write(fd, buffers, offset)
        self.lowest = min(self.lowest, self.left())


def config_of(folder: Path, port: int, **spool: Any) -> Config:
    """An archive that has to commit, and a modality that may ask for commitment."""
    text = f"""
[peers.pacs]
ae_title = "PACS"
address = "127.0.0.1:{port}"
linger = "50ms"
retry = {{ first = "20ms", max = "100ms" }}
commitment = {{ request = true, after = "100ms", within = "1m" }}
[peers.modality]
ae_title = "MODALITY"
[[routes]]
name = "images"
service = "storage"
to = ["pacs"]
"""
    config = configuration(folder, text)
    return attrs.evolve(config, spool=attrs.evolve(config.spool, **spool))


@asynccontextmanager
async def archive_of(behaviour: str = "commits") -> AsyncIterator[CommittingArchive]:
    async with trio.open_nursery() as nursery:
        archive = CommittingArchive(title="PACS", nursery=nursery, behaviour=behaviour)
        async with archive.serving() as serving:
            yield serving


def left_behind(router: RunningRouter) -> list[str]:
    return os.listdir(router.config.router.spool / "large")


async def test_data_sets_that_never_end_stop_at_the_floor_and_leave_nothing_behind(tmp_path: Path) -> None:
    floor = 64 * MIB
    disk = SmallDisk(tmp_path, floor + 40 * MIB)
    config = config_of(tmp_path, 1, free_space_floor=floor, segment_size=16 * MIB, reserve=4 * MIB)
    async with running_router(config, disk) as router, AsyncExitStack() as stack:
        modalities = [await stack.enter_async_context(modality_of(router)) for _ in range(5)]
        endless_echo = attrs.evolve(ECHO, data_set_type=DATA_SET)
        async with trio.open_nursery() as nursery:
            nursery.start_soon(stream, modalities[0], 3, endless_echo, 60 * MIB)
            for number, modality in enumerate(modalities[1:], start=1):
                nursery.start_soon(stream, modality, 1, store_rq(f"1.2.{number}"), 60 * MIB)

        async def is_all_gone() -> bool:
            return not left_behind(router) and router.spool.statistics().memory == 0

        await eventually(is_all_gone)  # and none of the data sets has ended
        assert disk.lowest >= floor - MIB  # the ledger takes some
        assert not router.spool.intake.large.in_use
        for number, modality in enumerate(modalities):
            await modality.say(p_data(1 if number else 3, b"end!", command=False))
            answer = await modality.response()
            assert answer.status == (0xA700 if number else 0x0000)
            assert not number or answer.error_comment == "the router's disk is full, try again later"
        assert (await modalities[1].store(store_rq("1.3.1"), data_set("1.3.1"))).status == 0x0000


async def test_a_disk_at_its_floor_with_everything_waiting_for_commitments_empties_itself(tmp_path: Path) -> None:
    floor = 8 * MIB
    disk = SmallDisk(tmp_path, floor + 16 * MIB)
    spool = {"free_space_floor": floor, "segment_size": MIB, "reserve": 2 * MIB}
    async with archive_of("is silent") as archive:
        async with running_router(config_of(tmp_path, archive.port, **spool), disk) as router:
            archive.router = router.port
            stored = await fill(router)
            assert stored
            await archive.received(stored)
            await router.until(PIN, waiting=stored)
            assert disk.left() < floor + MIB
            disk.foreign += 4 * MIB  # and further below it by what others write
            await below_the_floor(router)
            archive.behaviour = "reports anew"  # to the N-ACTIONs that are still to come
            for request in list(archive.asked):
                assert await archive.report(request) == 0x0000
            await router.until(PIN, delivered=stored)

            async def is_empty() -> bool:
                return router.spool.statistics().unfinished == 0 and router.spool.intake.accepting

            await eventually(is_empty)
            assert not left_behind(router)
            async with modality_of(router) as modality:
                assert (await modality.store(store_rq("1.9"), data_set("1.9"))).status == 0x0000


async def test_what_the_archive_does_not_have_is_sent_again_below_the_floor(tmp_path: Path) -> None:
    floor = 8 * MIB
    disk = SmallDisk(tmp_path, floor + 16 * MIB)
    spool = {"free_space_floor": floor, "segment_size": MIB, "reserve": 2 * MIB}
    async with archive_of("is silent") as archive:
        archive.misses = frozenset({"1.2.0", "1.2.1"})  # a small object and a large one
        async with running_router(config_of(tmp_path, archive.port, **spool), disk) as router:
            archive.router = router.port
            stored = await fill(router)
            await archive.received(stored)
            await router.until(PIN, waiting=stored)
            disk.foreign += 4 * MIB
            await below_the_floor(router)
            archive.behaviour = "reports anew"
            for request in list(archive.asked):
                assert await archive.report(request) == 0x0000
            await archive.received(stored + 2)
            archive.misses = frozenset()
            await router.until(PIN, delivered=stored)
            sent = Selection(destination="pacs", purpose=Purpose.SEND, service="storage")
            rows = await router.spool.queue.list_deliveries(sent)
            assert {row.state for row in rows} == {DeliveryState.DELIVERED}
            assert len(rows) == stored  # no copy was made


async def fill(router: RunningRouter) -> int:
    """Store objects, small and large, until there is no room for one more; how many were taken."""
    for number in range(1000):
        async with modality_of(router) as modality:
            uid = f"1.2.{number}"
            size = 1_500_000 if number % 2 else 300_000
            answer = await modality.store(store_rq(uid), data_set(uid, size=size))
        if answer.status:
            assert answer.status == 0xA700
            return number
    raise AssertionError("the disk has no end")


async def below_the_floor(router: RunningRouter) -> None:
    """Only what takes room is refused."""

    async def is_known() -> bool:  # the file system is asked once a second
        return not router.spool.intake.accepting

    await eventually(is_known)
    async with modality_of(router) as modality:
        assert (await modality.store(store_rq("1.8"), data_set("1.8"))).status == 0xA700
        await modality.say(p_data(3, encode_command(ECHO), command=True))
        assert (await modality.response()).status == 0x0000
    assert await ask(router.port, instances(1)) == 0x0213


@pytest.fixture
def small_file_system(tmp_path: Path) -> Iterator[Path]:
    """A real one of 64 MiB."""
    folder = tmp_path / "disk"
    folder.mkdir()
    mounted = subprocess.run(["mount", "-t", "tmpfs", "-o", "size=64m", "tmpfs", str(folder)], capture_output=True)
    if mounted.returncode:
        pytest.skip("no file system can be mounted here")
    yield folder
    subprocess.run(["umount", "--lazy", str(folder)], check=True)


class Filler:
    """Another program: it takes every byte that there is, again and again, until it is told to go."""

    def __init__(self, folder: Path) -> None:
        self.path = folder / "another program's"
        self._fd = os.open(self.path, os.O_CREAT | os.O_WRONLY)

    def fill(self) -> None:
        size = 1 << 20
        while size:
            try:
                os.write(self._fd, bytes(size))
            except OSError:
                size //= 2

    async def run(self) -> None:
        while True:
            self.fill()
            await trio.sleep(0.005)

    def leave(self) -> None:
        os.close(self._fd)
        self.path.unlink()


async def test_a_disk_that_others_keep_at_0_bytes_loses_nothing_and_goes_on_when_room_comes_back(
    small_file_system: Path,
) -> None:
    spool = {"free_space_floor": 4 * MIB, "segment_size": MIB, "reserve": 16 * MIB}
    async with archive_of("reports anew") as archive:
        archive.full = True
        async with running_router(config_of(small_file_system, archive.port, **spool)) as router:
            archive.router = router.port
            uids = {f"1.2.{number}" for number in range(20)}
            async with modality_of(router) as modality:
                for number, uid in enumerate(uids):
                    content = data_set(uid, size=1_500_000 if number % 4 == 0 else 100_000)
                    assert (await modality.store(store_rq(uid), content)).status == 0x0000
            filler = Filler(small_file_system)
            filler.fill()
            async with trio.open_nursery() as nursery:
                nursery.start_soon(filler.run)
                await below_the_floor(router)
                archive.full = False
                await router.until(PIN, delivered=20)
                assert {one.command.affected_sop_instance_uid for one in archive.stored} == uids

                async def is_empty() -> bool:
                    return router.spool.statistics().unfinished == 0 and not left_behind(router)

                await eventually(is_empty)
                nursery.cancel_scope.cancel()
            filler.leave()

            async def is_accepting() -> bool:
                return router.spool.intake.accepting

            await eventually(is_accepting)
            async with modality_of(router) as modality:
                assert (await modality.store(store_rq("1.9"), data_set("1.9"))).status == 0x0000
            await router.until(PIN, delivered=21)


async def test_a_router_starts_at_0_bytes_free_and_delivers_what_it_has(small_file_system: Path) -> None:
    spool = {"free_space_floor": 4 * MIB, "segment_size": MIB, "reserve": 16 * MIB}
    async with archive_of("reports anew") as archive:
        config = config_of(small_file_system, archive.port, **spool)
        archive.full = True
        async with running_router(config) as router, modality_of(router) as modality:
            for number in range(5):
                uid = f"1.2.{number}"
                assert (await modality.store(store_rq(uid), data_set(uid, size=100_000))).status == 0x0000
        Filler(small_file_system).fill()
        async with running_router(config) as router:
            archive.router = router.port
            archive.full = False
            await below_the_floor(router)
            await router.until(PIN, delivered=5)
