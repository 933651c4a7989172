"""The associations with one peer under one limit: its delivery queue's, and those for operations invoked at once.

A slot is the right to one association. The queue holds slots and opens its associations itself; a lease has a slot and
an association, which lingers for the next lease. While both want a slot, each has its turn: a free slot goes to the
side that holds fewer, and the queue is asked to give one up if the leases have none. A leased association is not taken
away, so a lease should be short, or have a deadline. Not here: deliveries (`router.delivery`).
"""

from collections import deque
from collections.abc import AsyncIterator, Callable
from contextlib import AsyncExitStack, asynccontextmanager, suppress
from enum import Enum
from typing import Final

import trio
from attrs import define, field, frozen

from pdu import PresentationContext, RoleSelection, SOPClassExtendedNegotiation
from router.association.errors import AssociationError
from router.association.operation import OperationPerformer
from router.association.remote_ae import RemoteAE
from router.association.requestor import Requestor
from router.config import Timeouts

TURN: Final = 1.0
"""Seconds that the queue keeps a new slot before it is asked to give one up: an association that is released as soon
as it is open would have carried nothing."""


class Side(Enum):
    """The two users of a peer's associations."""

    QUEUE = "queue"
    LEASE = "lease"


@frozen(kw_only=True)
class AssociationPlan:
    """The association that a lease needs."""

    remote: RemoteAE
    contexts: tuple[PresentationContext, ...]
    roles: tuple[RoleSelection, ...] = ()
    extended: tuple[SOPClassExtendedNegotiation, ...] = ()
    operations: OperationPerformer | None = None
    """Performs what the peer invokes."""

    def serves(self, other: "AssociationPlan") -> bool:
        """Whether an association that was opened by this plan can be used for another one."""
        offered = {(one.abstract_syntax, one.transfer_syntaxes) for one in self.contexts}
        return (
            self.remote == other.remote
            and offered.issuperset((one.abstract_syntax, one.transfer_syntaxes) for one in other.contexts)
            and set(self.roles).issuperset(other.roles)
            and set(self.extended) == set(other.extended)
            and self.operations == other.operations
        )


@define(eq=False)
class _Waiter:
    """A wish for a slot, and the slot."""

    side: Side
    plan: AssociationPlan | None = None
    """Of a lease: the plan that its association has to serve, then the one that the association was opened by."""
    granted: trio.Event = field(factory=trio.Event)
    association: Requestor | None = None
    """One that lingered, and is used in this slot."""
    is_gone: bool = False


@define(eq=False)
class _Lingering:
    """An association between two leases."""

    association: Requestor
    plan: AssociationPlan
    scope: trio.CancelScope
    """The association is attended in it."""
    successor: _Waiter | None = None
    """The lease that it is handed to when the scope ends; without one it is closed."""


class AssociationPool:
    """The slots of one peer, and the associations that linger in them."""

    def __init__(self, limit: int = 1, linger: float = 0.0) -> None:
        """`limit`: associations at a time. `linger`: seconds that an association waits for the next lease."""
        self.limit = limit
        self.linger = linger
        self.nursery: trio.Nursery | None = None
        """Associations linger in it; without one, each is closed after its lease."""
        self.on_shortage: Callable[[], None] = lambda: None
        """Called when `queue_must_yield` may have become true."""
        self._held: Final = dict.fromkeys(Side, 0)
        self._waiting: Final[dict[Side, deque[_Waiter]]] = {side: deque() for side in Side}
        self._lingering: Final[list[_Lingering]] = []
        """The one that has lingered for longest first."""
        self._closing = 0
        """Associations that have lingered and are being closed."""
        self._closed: Final = trio.lowlevel.ParkingLot()
        self._last = Side.QUEUE
        """The side that got the last slot."""
        self._queue_since = 0.0
        """When the queue got its last slot."""

    # Slots

    @asynccontextmanager
    async def slot(self) -> AsyncIterator[None]:
        """Hold a slot for the queue while the block lasts. Wait for it, in turn."""
        waiter = _Waiter(Side.QUEUE)
        await self._wait(waiter)
        try:
            yield
        finally:
            self._leave(waiter)

    @property
    def queue_must_yield(self) -> bool:
        """Whether the queue has to give up a slot: a lease waits, and the queue has more than its share."""
        if not self._waiting[Side.LEASE] or trio.current_time() < self._queue_since + TURN:
            return False
        queue, leases = self._held[Side.QUEUE], self._held[Side.LEASE]
        return queue > 0 and (leases == 0 or queue > leases + 1)

    async def _wait(self, waiter: _Waiter) -> None:
        self._waiting[waiter.side].append(waiter)
        self._grant()
        try:
            while not waiter.granted.is_set():
                with trio.move_on_after(TURN):  # the queue has had its turn then
                    await waiter.granted.wait()
                self._grant()
        except BaseException:
            self._give_up(waiter)
            raise

    def _give_up(self, waiter: _Waiter) -> None:
        """Undo `_wait`, however far it has come."""
        waiter.is_gone = True
        if waiter in self._waiting[waiter.side]:
            self._waiting[waiter.side].remove(waiter)
        elif waiter.granted.is_set():
            self._leave(waiter)
        else:  # the association that was to be handed to it is being left, and closed then
            self._held[waiter.side] -= 1
            self._closing += 1

    def _leave(self, waiter: _Waiter) -> None:
        """Give the slot back. Its association, if it still has one, lingers."""
        self._held[waiter.side] -= 1
        if waiter.association is not None:
            self._begin_lingering(waiter.association, waiter.plan)
        self._grant()

    @property
    def _free(self) -> int:
        return self.limit - sum(self._held.values()) - len(self._lingering) - self._closing

    def _grant(self) -> None:
        """Give what is there to those who wait, in turn."""
        while waiter := self._next():
            lingering = self._lingering_for(waiter)
            if lingering is None and self._free <= 0:
                self._make_room(waiter.side)
                return
            self._waiting[waiter.side].popleft()
            self._held[waiter.side] += 1
            self._last = waiter.side
            if waiter.side is Side.QUEUE:
                self._queue_since = trio.current_time()
            if lingering is None:
                waiter.granted.set()
            else:
                self._lingering.remove(lingering)
                lingering.successor = waiter
                lingering.scope.cancel()

    def _next(self) -> _Waiter | None:
        """Return the first waiter of the side that holds fewer slots; of two equal ones, the other one than last."""
        sides = [side for side in Side if self._waiting[side]]
        side = min(sides, key=lambda one: (self._held[one], one is self._last), default=None)
        return self._waiting[side][0] if side else None

    def _lingering_for(self, waiter: _Waiter) -> _Lingering | None:
        plan = waiter.plan
        return next((one for one in self._lingering if plan is not None and one.plan.serves(plan)), None)

    def _make_room(self, side: Side) -> None:
        """Close an association that lingers, or have the queue give up one of its own."""
        if self._lingering:
            self._close(self._lingering[0])
        elif side is Side.LEASE and not self._closing:
            self.on_shortage()

    # Leases

    @asynccontextmanager
    async def lease(self, plan: AssociationPlan, timeouts: Timeouts) -> AsyncIterator[Requestor]:
        """Use an association of the plan while the block lasts: one that lingers, or a new one.

        It lingers afterwards, or is released if `linger` is 0. It is aborted if a response is due on it or the block
        has raised.

        Raises:
            AssociationError: it could not be opened.
        """
        waiter = _Waiter(Side.LEASE, plan)
        await self._wait(waiter)
        association, waiter.association = waiter.association, None
        try:
            if association is None:
                association = await Requestor.open(
                    plan.remote,
                    plan.contexts,
                    timeouts,
                    roles=plan.roles,
                    extended=plan.extended,
                    operations=plan.operations,
                )
            async with AsyncExitStack() as closing:
                await closing.enter_async_context(association)
                yield association
                if self.nursery is not None and self.linger and association.is_idle:
                    closing.pop_all()
                    waiter.association = association
        finally:
            self._leave(waiter)

    def _begin_lingering(self, association: Requestor, plan: AssociationPlan | None) -> None:
        if self.nursery is None:  # the router stops
            association.close()
            return
        assert plan is not None
        scope = trio.CancelScope(deadline=trio.current_time() + self.linger)
        lingering = _Lingering(association, plan, scope)
        self._lingering.append(lingering)
        self.nursery.start_soon(self._linger, lingering)

    async def _linger(self, lingering: _Lingering) -> None:
        """Attend an association until it is leased again, has lingered for long enough, or has ended."""
        try:
            async with AsyncExitStack() as closing:
                association = await closing.enter_async_context(lingering.association)
                with lingering.scope, suppress(AssociationError):
                    await association.attend()
                if lingering in self._lingering:
                    self._close(lingering)
                successor = lingering.successor
                if successor is not None and not successor.is_gone and association.is_idle:
                    closing.pop_all()
                    successor.association, successor.plan = association, lingering.plan
        finally:
            if lingering in self._lingering:  # the router stops
                self._close(lingering)
            successor = lingering.successor
            if successor is not None and not successor.is_gone:
                successor.granted.set()
            else:
                self._closing -= 1
                self._closed.unpark_all()
                self._grant()

    def _close(self, lingering: _Lingering) -> None:
        self._lingering.remove(lingering)
        self._closing += 1
        lingering.scope.cancel()

    async def drain(self) -> None:
        """Close what lingers, and let nothing linger any more. Return when it is closed."""
        self.nursery = None
        for lingering in list(self._lingering):
            self._close(lingering)
        while self._closing:
            await self._closed.park()


class AssociationPools:
    """The pools of all peers, by their names in the configuration."""

    def __init__(self) -> None:
        self._pools: dict[str, AssociationPool] = {}
        self._nursery: trio.Nursery | None = None

    def of(self, name: str) -> AssociationPool:
        """Return the pool of a peer. Its limits are set by its destination."""
        if name not in self._pools:
            self._pools[name] = AssociationPool()
            self._pools[name].nursery = self._nursery
        return self._pools[name]

    async def run(self) -> None:
        """Let associations linger, until cancelled."""
        try:
            async with trio.open_nursery() as nursery:
                self._linger_in(nursery)
                await trio.sleep_forever()
        finally:
            self._linger_in(None)

    def _linger_in(self, nursery: trio.Nursery | None) -> None:
        self._nursery = nursery
        for pool in self._pools.values():
            pool.nursery = nursery

    async def drain(self) -> None:
        """Close what lingers, and let nothing linger any more."""
        self._linger_in(None)
        for pool in self._pools.values():
            await pool.drain()
