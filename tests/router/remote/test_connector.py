"""A destination delivers over any protocol that stands behind `Connector` and `Channel`: here, one in memory."""

from collections import deque
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager
from pathlib import Path

import attrs
import trio

from router.association import InOrder
from router.association.data_source import read_whole
from router.delivery.destination import Destination
from router.model import AttemptResult, Cause, DeliveryState, Fault, PendingDelivery, Result
from router.remote import Answer, Channel, ChannelLost, NoChannel
from router.spool import Spool, StoredMessage
from tests.support.harness import PATIENCE, configuration, eventually
from tests.support.spool import running_spool, store_message

OK = AttemptResult(result=Result.DELIVERED, reason="201 Created")
BUSY = AttemptResult(result=Result.RETRY, reason="503 Service Unavailable", fault=Fault.DELIVERY)
REFUSED = AttemptResult(result=Result.HELD, reason="409 Conflict", fault=Fault.DELIVERY)
DOWN = AttemptResult(result=Result.RETRY, reason="no route to host", cause=Cause.UNREACHABLE, fault=Fault.SITE)


@attrs.define(eq=False)
class PeerInMemory:
    """A peer that keeps what it is given, `window` at a time, and answers the last one first."""

    window: int = 1
    is_down: bool = False
    script: deque[AttemptResult | str] = attrs.field(factory=deque)
    """The next answers: a result, "lost" for the loss of the channel, "again" for an answer without a result."""
    refuses: Callable[[PendingDelivery], bool] = lambda delivery: False
    received: list[tuple[str, bytes]] = attrs.field(factory=list)
    channels: int = 0
    most_under_way: int = 0
    must_yield: bool = False

    def begin(self, on_shortage: Callable[[], None]) -> None:
        pass

    @asynccontextmanager
    async def slot(self) -> AsyncIterator[None]:
        yield

    @asynccontextmanager
    async def open(self, plan: Sequence[PendingDelivery]) -> AsyncIterator[Channel]:
        if self.is_down:
            raise NoChannel(DOWN)
        self.channels += 1
        yield ChannelInMemory(self, self.window)


@attrs.define(eq=False)
class ChannelInMemory:
    peer: PeerInMemory
    window: int
    is_alive: bool = True
    under_way: list[PendingDelivery] = attrs.field(factory=list)

    def carries(self, delivery: PendingDelivery) -> bool:
        return not self.peer.refuses(delivery)

    def refusal(self, delivery: PendingDelivery) -> AttemptResult | None:
        return REFUSED if self.peer.refuses(delivery) else None

    async def deliver(self, delivery: PendingDelivery, message: StoredMessage) -> AttemptResult | None:
        self.peer.received.append((delivery.sop_instance_uid, await read_whole(InOrder(message))))
        self.under_way.append(delivery)
        self.peer.most_under_way = max(self.peer.most_under_way, len(self.under_way))
        return None

    async def receive(self) -> Answer:
        await trio.lowlevel.checkpoint()
        answer = self.peer.script.popleft() if self.peer.script else OK
        if answer == "lost":
            self.is_alive = False
            raise ChannelLost("connection reset")
        return self.under_way.pop(), answer if isinstance(answer, AttemptResult) else None

    async def wait_closed(self) -> None:
        await trio.sleep_forever()


@asynccontextmanager
async def delivering(spool: Spool, folder: Path, peer: PeerInMemory) -> AsyncIterator[Destination]:
    """A destination in front of the peer, without a service and without an association."""
    keys = '[peers.pacs]\nae_title = "PACS"\naddress = "127.0.0.1:1"\nretry = { first = "20ms", max = "50ms" }'
    (config,) = configuration(folder, keys).destinations.values()
    destination = Destination(config, peer, spool, {})
    spool.subscribe(lambda name, deliveries: destination.arrived(deliveries))
    async with trio.open_nursery() as nursery:
        nursery.start_soon(destination.run)
        yield destination
        destination.drain()
        with trio.fail_after(PATIENCE):
            await destination.ended.wait()


async def until(spool: Spool, *states: DeliveryState) -> list[tuple[DeliveryState, str]]:
    """Wait until the deliveries, in the order of their messages, have come to these states."""

    async def reached() -> bool:
        return tuple(row.state for row in await spool.queue.list_deliveries()) == states

    await eventually(reached)
    return [(row.state, row.reason) for row in await spool.queue.list_deliveries()]


async def test_as_many_are_under_way_as_the_window_allows_and_answers_come_in_any_order(tmp_path: Path) -> None:
    peer = PeerInMemory(window=4)
    sent = [(f"1.2.{number}", bytes([number]) * 1000) for number in range(20)]
    async with running_spool(tmp_path / "spool") as spool:
        for uid, data in sent:
            await store_message(spool, data, uid)
        async with delivering(spool, tmp_path, peer):
            await until(spool, *[DeliveryState.DELIVERED] * 20)
    assert sorted(peer.received) == sorted(sent)
    assert (peer.most_under_way, peer.channels) == (4, 1)


async def test_a_peer_that_is_down_opens_the_breaker_and_gets_everything_when_it_returns(tmp_path: Path) -> None:
    peer = PeerInMemory(is_down=True)
    async with running_spool(tmp_path / "spool") as spool, delivering(spool, tmp_path, peer) as destination:
        await store_message(spool, b"data", "1.2.3")

        async def backing_off() -> bool:
            return destination.statistics().stage == "backing off"

        await eventually(backing_off)
        assert destination.statistics().reason == "no route to host"
        peer.is_down = False
        await until(spool, DeliveryState.DELIVERED)


async def test_results_decide_what_becomes_of_each_delivery(tmp_path: Path) -> None:
    peer = PeerInMemory(script=deque([REFUSED, BUSY, "lost", "again"]))
    async with running_spool(tmp_path / "spool") as spool, delivering(spool, tmp_path, peer):
        await store_message(spool, b"data", "1.2.3")
        await until(spool, DeliveryState.HELD)
        await store_message(spool, b"more", "1.2.4")
        rows = await until(spool, DeliveryState.HELD, DeliveryState.DELIVERED)
    assert rows == [(DeliveryState.HELD, "409 Conflict"), (DeliveryState.DELIVERED, "201 Created")]
    assert [uid for uid, _ in peer.received] == ["1.2.3", *["1.2.4"] * 4]  # busy, lost, and twice on the last channel


async def test_a_kind_that_the_peer_refuses_is_held_and_the_rest_goes(tmp_path: Path) -> None:
    peer = PeerInMemory(refuses=lambda delivery: delivery.message_id % 2 == 0)
    async with running_spool(tmp_path / "spool") as spool:
        for number in range(4):
            await store_message(spool, b"data", f"1.2.{number}")
        async with delivering(spool, tmp_path, peer):
            await until(spool, *[DeliveryState.DELIVERED, DeliveryState.HELD] * 2)
