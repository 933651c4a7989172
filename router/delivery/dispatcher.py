"""All destinations together: starts their actors, restarts those that crash, and passes on what the spool says.

No destination ever waits for another: each has its own actor, window and associations.
"""

from collections import Counter
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager
from functools import partial
from typing import Final

import structlog
import trio

from router.association import AssociationPools, ReverseAssociation
from router.config import Config, Peer, unconfigured_peer
from router.delivery.destination import Destination, DestinationStatistics
from router.delivery.retry import restarts
from router.model import PendingDelivery
from router.services import Change, DeliveryPolicy, Service
from router.spool import Spool, SpoolClosed, SpoolFailure

log = structlog.get_logger()


class Dispatcher:
    """The actors of all destinations of one router."""

    def __init__(
        self, config: Config, spool: Spool, services: Sequence[Service], pools: AssociationPools | None = None
    ) -> None:
        self._config, self._peers = config, config.destinations
        self._spool = spool
        self._services: Mapping[str, DeliveryPolicy] = {
            service.name: service for service in services if isinstance(service, DeliveryPolicy)
        }
        self._pools = pools or AssociationPools()
        self._destinations: dict[str, Destination] = {}
        self._leaving: dict[str, Destination] = {}
        """The last actors of peers that have none now."""
        self._visitors: Counter[str] = Counter()
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
        """The queue is not as it was read: an operator has changed it, or the ledger was behind for a while."""
        for destination in self._destinations.values():
            destination.rescan()

    def _arrived(self, name: str, deliveries: Sequence[PendingDelivery]) -> None:
        if destination := self._destinations.get(name):
            destination.arrived(deliveries)

    async def run(self, *, task_status: trio.TaskStatus[None] = trio.TASK_STATUS_IGNORED) -> None:
        """Serve every peer, those without an address when they come, until `drain`ed or cancelled."""
        async with trio.open_nursery() as self._nursery:
            self.prepare(self._config)()
            task_status.started()
            await self._stopped.wait()
        self.drained.set()

    def drain(self) -> None:
        """Let every destination finish what is in flight; `run` ends then."""
        self._stopped.set()
        for destination in self._destinations.values():
            destination.drain()

    def prepare(self, config: Config) -> Change:
        """Build the actors that `config` asks for and that do not run yet. The returned function exchanges them."""
        peers = config.destinations
        same = _shared(self._config) == _shared(config)
        actors = {
            name: Destination(peer, config, self._spool, self._services, self._pools.of(name))
            for name, peer in peers.items()
            if not (same and name in self._destinations and self._peers[name] == peer)
        }
        return partial(self._adopt, config, peers, actors)

    def _adopt(self, config: Config, peers: dict[str, Peer], actors: Mapping[str, Destination]) -> None:
        """Start `actors`, each after its predecessor, and stop those without a peer. What an actor had in its window
        is in the ledger, where its successor finds it."""
        assert self._nursery is not None
        for name in list(self._destinations):
            if name in actors or (name not in peers and name not in self._visitors):
                self._leaving[name] = self._destinations.pop(name)
                self._leaving[name].drain()
        self._config, self._peers = config, peers
        for name, destination in actors.items():
            self._destinations[name] = destination
            self._nursery.start_soon(self._supervise, peers[name], destination, self._leaving.pop(name, None))
        self._changes.unpark_all()

    async def visited(self, title: str, visit: ReverseAssociation) -> None:
        """Send what waits for the peers of an AE title on an association that one of them has opened, until it has
        ended."""
        using: set[Destination] = set()
        async with self._welcome(title), trio.open_nursery() as nursery:

            async def notice_the_end() -> None:
                await visit.attend()
                self._changes.unpark_all()

            nursery.start_soon(notice_the_end)
            while visit.is_alive:
                for destination in self._destinations.values():
                    if destination.is_visited_as(title) and destination not in using:
                        using.add(destination)
                        nursery.start_soon(destination.visited, visit)
                await self._changes.park()

    @asynccontextmanager
    async def _welcome(self, title: str) -> AsyncIterator[None]:
        """Keep an actor for an AE that no peer stands for, as long as it has an association open."""
        peer = unconfigured_peer(title)
        name = peer.name
        if (
            self._nursery is None
            or self._stopped.is_set()
            or any(one.ae_title == title for one in self._peers.values())
        ):
            yield
            return
        self._visitors[name] += 1
        if name not in self._destinations:
            destination = self._destinations[name] = self._actor(peer)
            self._nursery.start_soon(self._supervise, peer, destination, self._leaving.get(name))
        try:
            yield
        finally:
            self._visitors[name] -= 1
            if not self._visitors[name]:
                del self._visitors[name]
                self._leaving[name] = self._destinations.pop(name)
                self._leaving[name].drain()

    def _actor(self, peer: Peer) -> Destination:
        self._changes.unpark_all()
        return Destination(peer, self._config, self._spool, self._services, self._pools.of(peer.name))

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
                destination.drain()  # it may have visits
            with trio.move_on_after(delay):
                await self._stopped.wait()
            if self._stopped.is_set() or self._destinations.get(peer.name) is not destination:
                return
            destination = self._destinations[peer.name] = self._actor(peer)


def _shared(config: Config) -> tuple[object, ...]:
    """What every destination takes from the configuration beside its own peer."""
    return config.router, config.timeouts
