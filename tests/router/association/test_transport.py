"""The transport against a socket that takes what it likes, when it likes; time is virtual."""

from collections.abc import Iterable, Sequence

import pytest
import trio
from attrs import evolve
from hypothesis import given
from hypothesis import strategies as st
from trio.testing import MockClock, wait_all_tasks_blocked

from pdu import AssociateRQ, ProviderAbort, Role, StartArtim, UpperLayer, encode
from router.association.transport import Interrupted, Transport
from router.config import Timeouts
from router.network.buffers import ReceiveBuffers
from router.network.sockets import KernelSocket
from tests.support.harness import associate_rq

TIMEOUTS = Timeouts(artim=30, write=60, idle=300)


class FickleSocket:
    """Takes as many bytes at a time as it was told, then blocks for ever; lends nothing to read."""

    def __init__(self, appetites: Sequence[int], *, then_all: bool = False) -> None:
        self._appetites = iter(appetites)
        self._then_all = then_all
        self._woken = trio.lowlevel.ParkingLot()
        self.taken = bytearray()
        self.closed = False

    def send(self, buffers: Iterable[bytes | bytearray | memoryview], /) -> int:
        offered = b"".join(buffers)
        appetite = next(self._appetites, len(offered) if self._then_all else None)
        if appetite is None:
            raise BlockingIOError
        self.taken += offered[:appetite]
        return min(appetite, len(offered))

    def receive(self, buffer: memoryview, /) -> int:
        raise BlockingIOError

    async def readable(self) -> None:
        await self._woken.park()

    async def writable(self) -> None:
        await self._woken.park()

    def end_waits(self) -> None:
        self._woken.unpark_all()

    def set_option(self, level: int, option: int, value: int, /) -> None:
        pass

    def close(self) -> None:
        self.closed = True


def transport(sock: FickleSocket) -> Transport:
    return Transport(sock, UpperLayer(role=Role.REQUESTOR), TIMEOUTS)


@given(st.lists(st.binary(max_size=20), max_size=3000), st.lists(st.integers(1, 50), max_size=200))
def test_all_buffers_leave_in_order_whatever_the_socket_takes_at_a_time(
    buffers: list[bytes], appetites: list[int]
) -> None:
    sock = FickleSocket(appetites, then_all=True)
    trio.run(transport(sock).send, buffers)
    assert bytes(sock.taken) == b"".join(buffers)


async def test_a_peer_that_takes_nothing_loses_the_connection_at_the_write_deadline(autojump_clock: MockClock) -> None:
    sock = FickleSocket([4])
    connection = transport(sock)
    started = trio.current_time()
    await connection.send([b"half a PDU"])
    assert trio.current_time() - started == TIMEOUTS.write
    assert sock.closed
    assert not connection.is_open


async def test_half_a_pdu_is_never_followed_by_another(autojump_clock: MockClock) -> None:
    sock = FickleSocket([4], then_all=False)
    connection = transport(sock)
    with trio.move_on_after(1):
        await connection.send([b"half a PDU"])
    assert not connection.can_send
    await connection.send([b"an A-ABORT"])
    assert bytes(sock.taken) == b"half"


async def test_a_write_makes_progress_as_long_as_the_peer_takes_something(autojump_clock: MockClock) -> None:
    class SlowSocket(FickleSocket):
        blocks = True

        def send(self, buffers: Iterable[bytes | bytearray | memoryview], /) -> int:
            self.blocks = not self.blocks
            if self.blocks:
                return super().send(buffers)
            raise BlockingIOError

        async def writable(self) -> None:
            await trio.sleep(TIMEOUTS.write - 1)

    sock = SlowSocket([1] * 10)
    await transport(sock).send([b"ten bytes!"])
    assert bytes(sock.taken) == b"ten bytes!"


async def test_artim_is_the_deadline_of_a_read_while_it_runs(autojump_clock: MockClock) -> None:
    sock = FickleSocket([], then_all=True)
    layer = UpperLayer(role=Role.ACCEPTOR)
    connection = Transport(sock, layer, TIMEOUTS)
    effects = layer.transport_connected()
    assert effects == [StartArtim()]
    await connection.perform(effects)
    before = trio.current_time()
    await connection.read(TIMEOUTS.idle)
    assert trio.current_time() - before == TIMEOUTS.artim
    assert not connection.is_open


async def test_without_artim_the_patience_of_the_caller_is(autojump_clock: MockClock) -> None:
    sock = FickleSocket([], then_all=True)
    connection = transport(sock)
    request: AssociateRQ = associate_rq()
    await connection.tell(connection.upper_layer.associate, _announcing(request))
    await connection.tell(connection.upper_layer.transport_connected)
    with pytest.raises(TimeoutError, match="silent for 7 s"):
        await connection.read(7)


def _announcing(request: AssociateRQ) -> AssociateRQ:
    """With the maximum length that an engine without arguments holds its peer to."""
    return evolve(request, user_information=evolve(request.user_information, maximum_length=131072))


async def test_the_deadline_of_an_earlier_read_ends_no_later_one(autojump_clock: MockClock) -> None:
    class Drips(FickleSocket):
        """Has one byte of a header every four seconds."""

        due = 0.0
        header = iter(b"\x04\x00\x00\x00\x00")

        def receive(self, buffer: memoryview, /) -> int:
            if trio.current_time() < self.due:
                raise BlockingIOError
            self.due = trio.current_time() + 4
            buffer[0] = next(self.header)
            return 1

        async def readable(self) -> None:
            with trio.move_on_at(self.due):
                await super().readable()

    connection = await connected(Drips([], then_all=True))
    for patience in (5, 60, 60, 5):
        assert await connection.read(patience) == []
    started = trio.current_time()
    with pytest.raises(TimeoutError, match="silent for 3 s"):
        await connection.read(3)
    assert trio.current_time() - started == 3


async def test_a_read_and_a_write_that_wait_at_once_have_each_its_own_deadline(autojump_clock: MockClock) -> None:
    sock = FickleSocket([100] * 3 + [4])
    connection = await connected(sock)
    started, ended = trio.current_time(), dict[str, float]()

    async def read(patience: float) -> None:
        with pytest.raises(TimeoutError):
            await connection.read(patience)
        ended[f"read {patience}"] = trio.current_time() - started

    async def write() -> None:
        await connection.send([b"half a PDU" * 40])
        ended["write"] = trio.current_time() - started

    async with trio.open_nursery() as nursery:
        nursery.start_soon(write)
        await read(7)
        await read(20)
    assert ended == {"read 7": 7, "read 20": 27, "write": TIMEOUTS.write}


async def test_an_interrupted_read_leaves_a_write_waiting(autojump_clock: MockClock) -> None:
    sock = FickleSocket([100] * 3 + [4])
    connection = await connected(sock)
    started = trio.current_time()
    async with trio.open_nursery() as nursery:
        nursery.start_soon(connection.send, [b"half a PDU" * 40])
        nursery.start_soon(interrupt_after, connection, 10)
        with pytest.raises(Interrupted):
            await connection.read(300)
        assert trio.current_time() - started == 10
    assert trio.current_time() - started == TIMEOUTS.write


async def interrupt_after(connection: Transport, seconds: float) -> None:
    await trio.sleep(seconds)
    connection.interrupt()


async def test_waits_on_a_socket_of_the_kernel_end_when_they_are_woken_and_can_begin_again() -> None:
    ours, theirs = trio.socket.socketpair()
    sock = KernelSocket(ours)
    with theirs:
        with pytest.raises(BlockingIOError):
            while True:
                sock.send([bytes(1 << 16)])
        for _ in range(2):
            async with trio.open_nursery() as nursery:
                nursery.start_soon(sock.readable)
                nursery.start_soon(sock.writable)
                await wait_all_tasks_blocked()
                assert trio.lowlevel.current_statistics().io_statistics.tasks_waiting_write == 1
                sock.end_waits()
        sock.close()


async def connected(sock: FickleSocket) -> Transport:
    connection = transport(sock)
    await connection.tell(connection.upper_layer.associate, _announcing(associate_rq()))
    await connection.tell(connection.upper_layer.transport_connected)
    return connection


@pytest.mark.parametrize("others", [0, 16])
async def test_a_buffer_is_given_back_before_an_operation_only_if_many_are_lent(others: int) -> None:
    buffers = ReceiveBuffers()
    kept = [buffers.lend() for _ in range(others)]
    sock = Speaker()
    upper_layer = UpperLayer(role=Role.ACCEPTOR)
    connection = Transport(sock, upper_layer, TIMEOUTS, buffers)
    await connection.perform(upper_layer.transport_connected())
    request = encode(associate_rq())
    sock.said = request + request[:3]  # and the beginning of a next PDU
    assert len(await connection.read(10)) == 1
    connection.has_handled_all = False
    connection.release_buffer()
    assert buffers.lent == len(kept) + 1, "it may be in use"
    connection.has_handled_all = True
    connection.release_buffer()
    assert buffers.lent == (len(kept) or 1)
    sock.said = request[3:]
    (ended,) = await connection.read(10)
    assert isinstance(ended, ProviderAbort), "a second A-ASSOCIATE-RQ, read whole"


class Speaker(FickleSocket):
    """Accepts everything, and says what it was told."""

    def __init__(self) -> None:
        super().__init__([], then_all=True)
        self.said = b""

    def receive(self, buffer: memoryview, /) -> int:
        buffer[: len(self.said)] = self.said
        return len(self.said)
