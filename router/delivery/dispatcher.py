"""All destinations together: start their actors, restart those that crash, and pass on the news of the spool.

No destination ever waits for another: each has its own actor, queue and channels.
"""

from collections import Counter
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager
from functools import partial
from typing import Final

import structlog
import trio

from router.config import Config, Peer, unconfigured_peer
from router.delivery.destination import Destination
from router.delivery.retry import restarts
from router.delivery.statistics import DestinationStatistics
from router.model import PendingDelivery
from router.remote import Connectors, ReverseConnector
from router.services import Change, DeliveryPolicy, Service
from router.spool import Spool, SpoolClosed, SpoolFailure

log = structlog.get_logger()


class Dispatcher:
    """The actors of all destinations of one router."""

    def __init__(self, config: Config, spool: Spool, services: Sequence[Service], connectors: Connectors) -> None:
        self._config, self._peers = config, config.destinations
        self._spool = spool
        self._services: Mapping[str, DeliveryPolicy] = {
            service.name: service for service in services if isinstance(service, DeliveryPolicy)
        }
        self._connectors = connectors
        self._destinations: dict[str, Destination] = {}
        self._leaving: dict[str, Destination] = {}
        """The last actors of peers that have none now."""
        self._unknown_peers: Counter[str] = Counter()
        """Associations that AEs without an entry under [peers] have open, by the name of their destination."""
        self._changes = trio.lowlevel.ParkingLot()
        self._nursery: trio.Nursery | None = None
        self._stopped = trio.Event()
        self.drained: Final = trio.Event()
        """Set when `drain` was asked for and nothing is in flight any more."""
        spool.subscribe(self._arrived)
        spool.when_caught_up(self.rescan)

    def statistics(self) -> dict[str, DestinationStatistics]:
        return {
            name: destination.statistics()
            for name, destination in self._destinations.items()
            if name in self._peers and self._peers[name].address is not None
        }

    def rescan(self) -> None:
        """Read the queue again: an operator has changed it, or the ledger was behind for a while."""
        for destination in self._destinations.values():
            destination.rescan()

    def _arrived(self, name: str, deliveries: Sequence[PendingDelivery]) -> None:
        if destination := self._destinations.get(name):
            destination.arrived(deliveries)

    async def run(self, *, task_status: trio.TaskStatus[None] = trio.TASK_STATUS_IGNORED) -> None:
        """Deliver to every peer until `drain`ed or cancelled; to those without an address when they connect."""
        async with trio.open_nursery() as self._nursery:
            self.prepare(self._config)()
            task_status.started()
            await self._stopped.wait()
        self.drained.set()

    def drain(self) -> None:
        """Let every destination finish its deliveries in flight; `run` ends then."""
        self._stopped.set()
        for destination in self._destinations.values():
            destination.drain()

    def prepare(self, config: Config) -> Change:
        """Build the actors that `config` asks for and that do not run yet. The returned function exchanges them."""
        peers = config.destinations
        same = _shared(self._config) == _shared(config)
        actors = {
            name: self._destination(peer, config)
            for name, peer in peers.items()
            if not (same and name in self._destinations and self._peers[name] == peer)
        }
        return partial(self._adopt, config, peers, actors)

    def _adopt(self, config: Config, peers: dict[str, Peer], actors: Mapping[str, Destination]) -> None:
        """Start `actors`, each after its predecessor, and stop those without a peer.

        The deliveries in an actor's queue are in the ledger, where its successor finds them.
        """
        assert self._nursery is not None
        for name in list(self._destinations):
            if name in actors or (name not in peers and name not in self._unknown_peers):
                self._leaving[name] = self._destinations.pop(name)
                self._leaving[name].drain()
        self._config, self._peers = config, peers
        for name, destination in actors.items():
            self._destinations[name] = destination
            self._nursery.start_soon(self._supervise, peers[name], destination, self._leaving.pop(name, None))
        self._changes.unpark_all()

    async def deliver_on(self, title: str, reverse: ReverseConnector) -> None:
        """Deliver what waits for the peers of an AE title on a connection that one has opened, until it ends."""
        using: set[Destination] = set()
        async with self._actor_while_open(title), trio.open_nursery() as nursery:

            async def notice_the_end() -> None:
                await reverse.wait_closed()
                self._changes.unpark_all()

            nursery.start_soon(notice_the_end)
            while reverse.is_alive:
                for destination in self._destinations.values():
                    if destination.accepts_reverse_delivery(title) and destination not in using:
                        using.add(destination)
                        nursery.start_soon(destination.deliver_on, reverse)
                await self._changes.park()

    @asynccontextmanager
    async def _actor_while_open(self, title: str) -> AsyncIterator[None]:
        """Run an actor for an AE without an entry under [peers], as long as it has an association open."""
        peer = unconfigured_peer(title)
        name = peer.name
        if (
            self._nursery is None
            or self._stopped.is_set()
            or any(one.ae_title == title for one in self._peers.values())
        ):
            yield
            return
        self._unknown_peers[name] += 1
        if name not in self._destinations:
            destination = self._destinations[name] = self._new_actor(peer)
            self._nursery.start_soon(self._supervise, peer, destination, self._leaving.get(name))
        try:
            yield
        finally:
            self._unknown_peers[name] -= 1
            if not self._unknown_peers[name]:
                del self._unknown_peers[name]
                self._leaving[name] = self._destinations.pop(name)
                self._leaving[name].drain()

    def _new_actor(self, peer: Peer) -> Destination:
        self._changes.unpark_all()
        return self._destination(peer, self._config)

    def _destination(self, peer: Peer, config: Config) -> Destination:
        return Destination(peer, self._connectors.to(peer, config), self._spool, self._services)

    async def _supervise(self, peer: Peer, destination: Destination, predecessor: Destination | None) -> None:
        """Run one actor, and its successors when it crashes."""
        if predecessor is not None:
            await predecessor.ended.wait()
        for delay in restarts():
            try:
                await destination.run()
                if self._leaving.get(peer.name) is destination:
                    del self._leaving[peer.name]
                return
            except* (SpoolFailure, SpoolClosed):
                raise
            except* Exception:
                log.exception("destination crashed", destination=peer.name, restart_seconds=delay)
                destination.drain()  # it may have reverse connections
            with trio.move_on_after(delay):
                await self._stopped.wait()
            if self._stopped.is_set() or self._destinations.get(peer.name) is not destination:
                return
            destination = self._destinations[peer.name] = self._new_actor(peer)


def _shared(config: Config) -> tuple[object, ...]:
    """Return the parts of the configuration that every destination uses beside its own peer."""
    return config.router, config.timeouts
