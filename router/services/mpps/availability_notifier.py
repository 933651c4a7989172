"""Instance availability: when all that a step has produced is in the archives, who wants to know is told.

What is owed is in the state before the last N-SET is answered: a notice for each peer, and a row for each instance
that is not known to be there. Rows go as deliveries settle; a step without rows is complete. A peer that has waited
for its `patience` is told of what is there, and once more when the rest has come. Deadlines count the time that the
router has been running. Not here: what a notification says (`router.services.mpps.instance_availability`).
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
from router.services.mpps.availability_store import PendingNotification
from router.services.mpps.instance_availability import AvailabilityNotification, notification_envelope
from router.services.mpps.options import AvailabilityRouteOptions
from router.services.mpps.policy import INFORM
from router.services.mpps.step_store import Step
from router.spool import InstanceDelivery
from router.state_store import StateTransaction

_AT_ONCE: Final = 500
"""Instances asked for in one query."""
_ITEM: Final = 150
"""Bytes of an instance in a notification, about."""
_MOST_NEWS: Final = 100_000
"""Instances that are remembered as delivered until the next look; past it, all that is missing is looked at."""
_PAUSE: Final = 0.05
"""Seconds between two looks, so that a stream of deliveries is looked at in heaps."""
_DONE: Final = (DeliveryState.DELIVERED, DeliveryState.DISCARDED)

log = structlog.get_logger()


class AvailabilityNotifier:
    """All that is owed. `run` pays it."""

    def __init__(self, house: ServiceContext) -> None:
        self._house: Final = house
        house.state.define(availability_store.SCHEMA)
        self._delivered: set[str] = set()
        self._steps: set[str] = set()
        self._everything = True
        self._owing = True
        self._news = trio.Event()
        self.reload(house.config)

    def reload(self, config: Config) -> None:
        self._routes = [route for route in config.routes if route.service == INFORM]
        self._peers = config.peers

    # What it is told

    def add_pending(self, connection: StateTransaction, step: Step, named: Sequence[InstanceReference]) -> None:
        """The step has ended, and has produced what it has `named`; part of the transaction that says so."""
        if not named or not step.inform:
            return
        if not step.study_uid:
            log.warning("no availability can be told of: the step names no study", sop_instance_uid=step.uid)
            return
        now = self._house.spool.clock()
        notices = []
        for name in step.inform:
            options = self._options_for(name)
            due = now + options.patience
            notices.append(
                PendingNotification(
                    uid=step.uid, destination=name, due=due, missing=options.missing, partial_sent=False
                )
            )
        availability_store.add(connection, step.uid, notices, [reference.sop_instance_uid for reference in named])

    def _options_for(self, name: str) -> AvailabilityRouteOptions:
        """Return the options of the first route to a peer; the defaults if a reload has removed it."""
        routes = (route.options[AvailabilityRouteOptions] for route in self._routes if name in route.to)
        return next(routes, AvailabilityRouteOptions())

    def check_step(self, uid: str) -> None:
        """Something about this step may be owed now."""
        self._steps.add(uid)
        self._owing = True
        self._news.set()

    def settled(self, delivery: PendingDelivery, result: Result) -> None:
        """Any delivery has come to this."""
        if not self._owing or delivery.kind != "C-STORE-RQ" or result is not Result.DELIVERED:
            return
        if len(self._delivered) < _MOST_NEWS:
            self._delivered.add(delivery.sop_instance_uid)
        else:
            self._everything = True
        self._news.set()

    # What it does

    async def run(self) -> None:
        """Pay what is owed, as soon as it can be. What a crash has left is found again."""
        self._everything = True
        while True:
            self._news = trio.Event()
            await self._look()
            due = await self._notify_the_impatient()
            with trio.move_on_after(max(0.0, due - self._house.spool.clock())):
                await self._news.wait()
            await trio.sleep(_PAUSE)

    async def _look(self) -> None:
        """See which of the missing instances are there by now, and which steps that makes complete."""
        delivered, steps, everything = self._delivered, self._steps, self._everything
        self._delivered, self._steps, self._everything = set(), set(), False
        state = self._house.state
        if everything:
            missing = await state.read(availability_store.load_missing)
            steps = steps | await state.read(availability_store.steps_with_notifications)
        else:
            missing = await state.read(partial(availability_store.load_missing_of, delivered=delivered, steps=steps))
        there: list[str] = []
        uids = sorted({instance for instance, _ in missing})
        for start in range(0, len(uids), _AT_ONCE):
            found = await self._house.spool.queue.instances(uids[start : start + _AT_ONCE])
            there += [uid for uid, deliveries in found.items() if is_there(deliveries)]
        if there:
            await state.change(partial(availability_store.remove_instances, instances=there))
        for uid in sorted(steps | {uid for _, uid in missing}):
            if not await state.read(partial(availability_store.has_missing, uid=uid)):
                await self._notify(
                    uid, await state.read(partial(availability_store.load_pending, uid=uid)), complete=True
                )

    async def _notify_the_impatient(self) -> float:
        """Tell those whose patience has ended; when the next one's will."""
        now = self._house.spool.clock()
        due = await self._house.state.read(partial(availability_store.load_overdue, now=now))
        for uid, notices in groupby(due, key=lambda notice: notice.uid):
            await self._notify(uid, list(notices), complete=False)
        waiting, soonest = await self._house.state.read(availability_store.count_and_next_due)
        self._owing = waiting > 0 or self._news.is_set()
        return soonest

    async def _notify(self, uid: str, notices: Sequence[PendingNotification], *, complete: bool) -> None:
        """One notification for each group of peers that hear the same."""
        step = await self._house.state.read(partial(step_store.load, uid=uid))
        if step is not None and notices:
            named = await compute(step.size, step.references)
            archives = await self._archives(named)
            for missing, group in groupby(sorted(notices, key=_by_missing), key=_by_missing):
                names = [notice.destination for notice in group]
                await self._commit(
                    AvailabilityNotification(
                        step_uid=uid,
                        study_uid=step.study_uid,
                        references=tuple(named),
                        archives=archives,
                        complete=complete,
                        includes_missing=missing == "unavailable",
                    ),
                    step,
                    names,
                )
        work = (
            availability_store.remove_step
            if complete
            else partial(availability_store.mark_partial_sent, destinations=[notice.destination for notice in notices])
        )
        await self._house.state.change(partial(work, uid=uid))

    async def _archives(self, named: Sequence[InstanceReference]) -> dict[str, tuple[str, ...]]:
        """By SOP Instance UID, the AE titles that it can be retrieved from."""
        found: dict[str, tuple[str, ...]] = {}
        for start in range(0, len(named), _AT_ONCE):
            uids = [reference.sop_instance_uid for reference in named[start : start + _AT_ONCE]]
            for uid, deliveries in (await self._house.spool.queue.instances(uids)).items():
                if is_there(deliveries):
                    found[uid] = tuple(dict.fromkeys(self._retrieve_titles(deliveries)))
        return found

    def _retrieve_titles(self, deliveries: Iterable[InstanceDelivery]) -> Iterable[str]:
        for delivery in deliveries:
            if delivery.state is DeliveryState.DELIVERED:
                peer = self._peers.get(delivery.destination)
                yield peer.retrieve_title if peer is not None else delivery.destination[:16]

    async def _commit(self, notification: AvailabilityNotification, step: Step, to: Sequence[str]) -> None:
        absent = sum(one.sop_instance_uid not in notification.archives for one in notification.references)
        said = log.warning if absent else log.info
        facts = {"sop_instance_uid": step.uid, "destinations": to, "instances": step.instances, "missing": absent}
        content = await compute(_ITEM * len(notification.references), notification.data_set)
        if not content:
            said("no availability told of: nothing is there", **facts)
            return
        said("instance availability", **facts)
        await self._house.spool.intake.store_bytes(
            content, notification_envelope(notification, step.calling_ae, step.peer, to)
        )


def is_there(deliveries: Sequence[InstanceDelivery]) -> bool:
    """Every archive that the instance goes to has it, those aside that a person has decided against."""
    states = [delivery.state for delivery in deliveries]
    return DeliveryState.DELIVERED in states and all(state in _DONE for state in states)


def _by_missing(notice: PendingNotification) -> str:
    return notice.missing
