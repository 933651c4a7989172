"""Many at a time: as many associations as are allowed, and sockets that never say a word."""

import resource
import socket
import zlib
from collections.abc import Iterator
from contextlib import AsyncExitStack, ExitStack
from pathlib import Path

import pytest
import trio

from benchmarks.peers.ports import closed_port
from benchmarks.peers.processes import Address, memory_of
from pdu import AssociateRJ, Rejection
from router.association import Rejected, Requestor, plan_contexts
from router.config import Timeouts
from router.dimse import Status
from tests.soak.load import LARGE, LARGE_OBJECT, PAIR, SMALL, FragileRouter, Modality, store, target_at
from tests.support.objects import ct
from tests.support.ports import HOST, until
from tests.support.router_process import RouterProcess, configuration
from tests.support.sink import Sink

pytestmark = [pytest.mark.soak, pytest.mark.timeout(300)]

ASSOCIATIONS = 500
SOCKETS = 1000
DESTINATIONS = 50
OBJECTS = 500
DESCRIPTORS = 100
"""Open files that a router is allowed that is to run out of them."""
ELSEWHERE = "127.0.0.2"
"""Another peer, by its address, on the same machine."""
MIB = 1 << 20


@pytest.fixture(autouse=True)
def descriptors() -> Iterator[None]:
    """Both processes need a descriptor for each socket."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    enough = 4 * max(ASSOCIATIONS, SOCKETS)
    if hard != resource.RLIM_INFINITY and hard < enough:
        pytest.skip(f"no more than {hard} open files are allowed here")
    resource.setrlimit(resource.RLIMIT_NOFILE, (max(soft, enough), hard))
    yield
    resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))


async def test_so_many_associations_as_allowed_are_served_and_one_more_is_told_so(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    async with Sink().serving() as archive:
        limits = {"associations": ASSOCIATIONS, "associations_per_peer": ASSOCIATIONS}
        router = FragileRouter(RouterProcess(tmp_path / "router", configuration({"archive": archive}, limits=limits)))
        async with router.running():
            idle = memory_of(router.process.pid)["VmRSS"]
            target = target_at(await router.port())
            async with AsyncExitStack() as open_ones:
                associations = []
                for _ in range(ASSOCIATIONS):
                    association = await Requestor.open(target, plan_contexts([PAIR]), Timeouts())
                    associations.append(await open_ones.enter_async_context(association))
                with pytest.raises(Rejected) as refused:
                    await Requestor.open(target, plan_contexts([PAIR]), Timeouts())
                assert refused.value.rejection == AssociateRJ.because(Rejection.LOCAL_LIMIT_EXCEEDED)
                before = memory_of(router.process.pid)["VmRSS"]
                async with trio.open_nursery() as nursery:
                    for association in associations:
                        nursery.start_soon(store, association, ct(SMALL))
                after = memory_of(router.process.pid)["VmRSS"]
            with trio.fail_after(120):
                await archive.wait_for_arrivals(ASSOCIATIONS)
    assert len({one.sop_instance_uid for one in archive.arrivals}) == ASSOCIATIONS
    with capsys.disabled():
        print(
            f"\n{ASSOCIATIONS} associations: {(before - idle) / MIB:.0f} MiB above idle when open, "
            f"{(after - idle) / MIB:.0f} MiB after an object on each at the same time"
        )


async def test_so_many_destinations_each_get_everything_once_though_one_of_them_is_dead(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    sinks = [Sink(f"SINK{number}") for number in range(DESTINATIONS)]
    with closed_port() as dead:
        async with AsyncExitStack() as serving:
            for sink in sinks:
                await serving.enter_async_context(sink.serving())
            archives = {f"archive{number}": sink for number, sink in enumerate(sinks)}
            content = configuration(archives | {"dead": Address(dead, "DEAD")})
            router = FragileRouter(RouterProcess(tmp_path / "router", content))
            async with router.running():
                idle = memory_of(router.process.pid)["VmRSS"]
                objects = [ct(SMALL) for _ in range(OBJECTS)]
                started = trio.current_time()
                await Modality(router).send(objects)
                taken = trio.current_time() - started
                with trio.fail_after(180):
                    for sink in sinks:
                        await sink.wait_for_arrivals(OBJECTS)
                seconds = trio.current_time() - started
                used = memory_of(router.process.pid)["VmHWM"]
    expected = {one.sop_instance_uid: zlib.crc32(one.data) for one in objects}
    for sink in sinks:
        assert len(sink.arrivals) == OBJECTS
        assert {one.sop_instance_uid: one.crc for one in sink.arrivals} == expected
    with capsys.disabled():
        print(
            f"\n{OBJECTS} objects to {DESTINATIONS} destinations and a dead one: taken in {taken:.1f} s, all delivered "
            f"after {seconds:.1f} s ({OBJECTS * DESTINATIONS / seconds:,.0f} deliveries/s), "
            f"{(used - idle) / MIB:.0f} MiB above idle"
        )


async def test_idle_sockets_do_not_keep_others_from_being_served(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    async with Sink().serving() as archive:
        content = configuration(
            {"archive": archive},
            limits={"associations": SOCKETS, "associations_per_peer": SOCKETS // 2},
            timeouts={"artim": "20s"},
        )
        router = FragileRouter(RouterProcess(tmp_path / "router", content))
        async with router.running():
            alone = await seconds_to_send(router)
            with ExitStack() as silent:
                sockets = [silent.enter_context(await connected(await router.port())) for _ in range(SOCKETS)]
                beside = await seconds_to_send(router)
                doors = (await trio.to_thread.run_sync(router.process.get, "/api/status"))["doors"]
                assert doors["sockets"] >= SOCKETS
                with trio.fail_after(60):  # ARTIM: the router hangs up on each of them
                    for one in sockets:
                        assert await one.recv(1) == b""
                doors = (await trio.to_thread.run_sync(router.process.get, "/api/status"))["doors"]
                assert doors["sockets"] == 0
            await router.settled(60)
    assert len(archive.arrivals) == 2 * OBJECTS
    with capsys.disabled():
        print(f"\n{OBJECTS} objects: {alone:.2f} s alone, {beside:.2f} s beside {SOCKETS} idle sockets")


async def test_one_peer_cannot_take_all_the_sockets(tmp_path: Path) -> None:
    async with Sink().serving() as archive:
        router = FragileRouter(RouterProcess(tmp_path / "router", configuration({"archive": archive})))
        async with router.running():
            with ExitStack() as silent:
                for _ in range(SOCKETS):
                    silent.enter_context(await connected(await router.port()))
                await seconds_to_send(router)
    assert len(archive.arrivals) == OBJECTS


@pytest.mark.parametrize("size", [SMALL, LARGE])
async def test_a_router_without_descriptors_left_refuses_and_goes_on(size: int, tmp_path: Path) -> None:
    async with Sink().serving() as archive:
        content = configuration({"archive": archive}, spool={"large_object": LARGE_OBJECT})
        router = FragileRouter(RouterProcess(tmp_path / "router", content))
        async with router.running():
            resource.prlimit(router.process.pid, resource.RLIMIT_NOFILE, (DESCRIPTORS, DESCRIPTORS))
            async with await Requestor.open(target_at(await router.port()), plan_contexts([PAIR]), Timeouts()) as one:
                with ExitStack() as silent:
                    for _ in range(DESCRIPTORS):
                        silent.enter_context(await connected(await router.port()))
                    await trio.to_thread.run_sync(until, lambda: descriptors_of(router) == DESCRIPTORS, "none is left")
                    response = await store(one, ct(size), expected=None)
                    assert response.status in (Status.SUCCESS, Status.OUT_OF_RESOURCES)
                await router.settled(60)
                await store(one, ct(size))


def descriptors_of(router: FragileRouter) -> int:
    return len(list(Path(f"/proc/{router.process.pid}/fd").iterdir()))


async def connected(port: int) -> trio.socket.SocketType:
    """A connection from another address, on which nothing is said."""
    sock = trio.socket.socket(socket.AF_INET, socket.SOCK_STREAM)
    await sock.bind((ELSEWHERE, 0))
    await sock.connect((HOST, port))
    return sock


async def seconds_to_send(router: FragileRouter) -> float:
    started = trio.current_time()
    await Modality(router).send([ct(SMALL) for _ in range(OBJECTS)])
    return trio.current_time() - started
