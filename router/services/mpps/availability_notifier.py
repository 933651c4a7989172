"""Notify peers when every instance of a procedure step has been archived (PS3.4 R).

Pending notifications are stored before the last N-SET is answered: one row for each peer, and one for each instance
that is not confirmed yet. Deliveries confirm instances; a step without unconfirmed instances is complete. After
`patience`, a peer gets a partial notification, and another one when the step is complete. Times are on the spool's
clock, which runs while the router does. Not here: what a notification says (instance_availability.py).
"""

from collections.abc import Iterable, Sequence
from functools import partial
from itertools import groupby
from typing import Final

import structlog
import trio

from router.concurrency import compute
from router.config import Config
from router.model import DeliveryState, PendingDelivery, Result
from router.services.base import ServiceContext
from router.services.mpps import availability_store, step_store
from router.services.mpps.attributes import InstanceReference
from router.services.mpps.availability_store import Missing, PendingNotification
from router.services.mpps.instance_availability import AvailabilityNotification, notification_envelope
from router.services.mpps.options import AvailabilityRouteOptions
from router.services.mpps.policy import INFORM
from router.services.mpps.step_store import Step
from router.spool import InstanceDelivery
from router.state_store import StateTransaction

_PAGE: Final = 500
"""Instances that are read in one query, of the ledger and of the services' database."""
_ITEM: Final = 150
"""Bytes of one instance in a notification, estimated."""
_DELIVERED_MAX: Final = 100_000
"""Delivered instances that are remembered until the next check; above it, all unconfirmed instances are checked."""
_PAUSE: Final = 0.05
"""Seconds between two checks, so that a stream of deliveries is checked in groups."""
_DONE: Final = (DeliveryState.DELIVERED, DeliveryState.DISCARDED)

log = structlog.get_logger()


class AvailabilityNotifier:
    """Stores pending notifications, and sends them while `run` runs."""

    def __init__(self, context: ServiceContext) -> None:
        self._spool: Final = context.spool
        self._state: Final = context.state
        self._state.define(availability_store.SCHEMA)
        self._delivered: set[str] = set()
        """SOP Instance UIDs delivered since the last check."""
        self._steps: set[str] = set()
        """SOP Instance UIDs of steps that ended since the last check."""
        self._check_all = True
        """Check every unconfirmed instance next time."""
        self._has_pending = True
        """There may be pending notifications, so that deliveries matter."""
        self._wakeup = trio.Event()
        self.reload(context.config)

    def reload(self, config: Config) -> None:
        """Use a new configuration from now on."""
        self._routes = [route for route in config.routes if route.service == INFORM]
        self._peers = config.peers

    # Called by the service

    def add_pending(self, state: StateTransaction, step: Step, named: Sequence[InstanceReference]) -> None:
        """Store the notifications about a step that has ended with these instances.

        Part of the transaction that saves the step.
        """
        if not named or not step.inform:
            return
        if not step.study_uid:
            log.warning("no availability notification: the step names no study", sop_instance_uid=step.uid)
            return
        pending = [self._pending(step.uid, name) for name in step.inform]
        availability_store.add(state, step.uid, pending, [reference.sop_instance_uid for reference in named])

    def _pending(self, uid: str, destination: str) -> PendingNotification:
        options = self._options_for(destination)
        due = self._spool.clock() + options.patience
        return PendingNotification(
            uid=uid, destination=destination, due=due, missing=options.missing, partial_sent=False
        )

    def _options_for(self, name: str) -> AvailabilityRouteOptions:
        """Return the options of the first route to a peer; the defaults if a reload has removed it."""
        routes = (route.options[AvailabilityRouteOptions] for route in self._routes if name in route.to)
        return next(routes, AvailabilityRouteOptions())

    def check_step(self, uid: str) -> None:
        """Check a step that has ended, soon."""
        self._steps.add(uid)
        self._has_pending = True
        self._wakeup.set()

    def settled(self, delivery: PendingDelivery, result: Result) -> None:
        """Note the result of an attempt of any service."""
        if not self._has_pending or delivery.kind != "C-STORE-RQ" or result is not Result.DELIVERED:
            return
        if len(self._delivered) < _DELIVERED_MAX:
            self._delivered.add(delivery.sop_instance_uid)
        else:
            self._check_all = True
        self._wakeup.set()

    # The background task

    async def run(self) -> None:
        """Send the notifications as they become complete or overdue, until cancelled; after a crash, all again."""
        self._check_all = True
        while True:
            self._wakeup = trio.Event()
            await self._check()
            next_due = await self._send_overdue()
            with trio.move_on_after(max(0.0, next_due - self._spool.clock())):
                await self._wakeup.wait()
            await trio.sleep(_PAUSE)

    async def _check(self) -> None:
        """Confirm the instances that are archived by now, and notify of the steps that this completes."""
        delivered, steps, check_all = self._delivered, self._steps, self._check_all
        self._delivered, self._steps, self._check_all = set(), set(), False
        if check_all:
            steps = steps | await self._state.read(availability_store.load_steps)
            await self._confirm_all()
        else:
            missing = await self._state.read(partial(availability_store.load_missing, instances=delivered, steps=steps))
            steps = steps | {uid for _, uid in missing}
            for start in range(0, len(missing), _PAGE):
                await self._confirm(missing[start : start + _PAGE])
        for uid in sorted(steps):
            if not await self._state.read(partial(availability_store.has_missing, uid=uid)):
                pending = await self._state.read(partial(availability_store.load_pending, uid=uid))
                await self._notify(uid, pending, complete=True)
                await self._state.change(partial(availability_store.remove, uids=[uid]))

    async def _confirm_all(self) -> None:
        """Confirm every instance that is archived by now, page by page."""
        after = availability_store.FIRST
        while page := await self._state.read(partial(availability_store.load_missing_page, after=after, limit=_PAGE)):
            await self._confirm(page)
            after = page[-1]

    async def _confirm(self, missing: Sequence[Missing]) -> None:
        """Remove from the unconfirmed instances those of a page that are archived by now."""
        found = await self._spool.queue.instances(sorted({instance for instance, _ in missing}))
        archived = [uid for uid, deliveries in found.items() if is_archived(deliveries)]
        if archived:
            await self._state.change(partial(availability_store.remove_instances, instances=archived))

    async def _send_overdue(self) -> float:
        """Send the partial notifications that are due, and return when the next one will be."""
        overdue = await self._state.read(partial(availability_store.load_overdue, now=self._spool.clock()))
        for uid, group in groupby(overdue, key=lambda one: one.uid):
            pending = list(group)
            await self._notify(uid, pending, complete=False)
            sent = partial(availability_store.mark_partial_sent, uid=uid, destinations=[p.destination for p in pending])
            await self._state.change(sent)
        count, next_due = await self._state.read(availability_store.count_and_next_due)
        self._has_pending = count > 0 or self._wakeup.is_set()
        return next_due

    async def _notify(self, uid: str, pending: Sequence[PendingNotification], *, complete: bool) -> None:
        """Send one notification about a step to each group of peers that get the same one."""
        step = await self._state.read(partial(step_store.load, uid=uid))
        if step is None or not pending:
            return
        named = await compute(step.size, step.references)
        archives = await self._archives(named)
        for missing, group in groupby(sorted(pending, key=_by_missing), key=_by_missing):
            notification = AvailabilityNotification(
                step_uid=uid,
                study_uid=step.study_uid,
                references=tuple(named),
                archives=archives,
                complete=complete,
                includes_missing=missing == "unavailable",
            )
            await self._store(notification, step, [one.destination for one in group])

    async def _archives(self, named: Sequence[InstanceReference]) -> dict[str, tuple[str, ...]]:
        """Return the AE titles from which each archived instance can be retrieved, by SOP Instance UID."""
        found: dict[str, tuple[str, ...]] = {}
        for start in range(0, len(named), _PAGE):
            uids = [reference.sop_instance_uid for reference in named[start : start + _PAGE]]
            for uid, deliveries in (await self._spool.queue.instances(uids)).items():
                if is_archived(deliveries) and (titles := self._retrieve_titles(deliveries)):
                    found[uid] = titles
        return found

    def _retrieve_titles(self, deliveries: Iterable[InstanceDelivery]) -> tuple[str, ...]:
        """Return the titles of the archives that have an instance; none of an archive that is no longer configured."""
        names = (one.destination for one in deliveries if one.state is DeliveryState.DELIVERED)
        return tuple(dict.fromkeys(self._peers[name].retrieve_title for name in names if name in self._peers))

    async def _store(self, notification: AvailabilityNotification, step: Step, destinations: Sequence[str]) -> None:
        """Give a notification to the spool, unless no instance is available."""
        absent = sum(one.sop_instance_uid not in notification.archives for one in notification.references)
        write_log = log.warning if absent else log.info
        fields = {
            "sop_instance_uid": step.uid,
            "destinations": destinations,
            "instances": step.instances,
            "missing": absent,
        }
        data_set = await compute(_ITEM * len(notification.references), notification.data_set)
        if not data_set:
            write_log("no availability notification: no instance is available", **fields)
            return
        write_log("instance availability", **fields)
        envelope = notification_envelope(notification, step.calling_ae, step.peer, destinations)
        await self._spool.intake.store_bytes(data_set, envelope)


def is_archived(deliveries: Sequence[InstanceDelivery]) -> bool:
    """Return whether every archive of an instance has it. Archives that an operator discarded it for do not count."""
    states = [delivery.state for delivery in deliveries]
    return DeliveryState.DELIVERED in states and all(state in _DONE for state in states)


def _by_missing(notification: PendingNotification) -> str:
    return notification.missing
