"""The instances that a transaction still waits for before its archives can be asked.

An archive is asked when every instance of the request has been delivered to it, or cannot be for now (held, discarded).
Instances that the router has never seen are waited for too; the caller knows for how long.
"""

from collections.abc import Collection, Mapping, Sequence
from functools import partial

from router.concurrency import compute
from router.services.commitment.policy import undelivered
from router.services.commitment.subscriptions import Subscriber, Subscriptions
from router.services.commitment.transaction import Reference
from router.spool import InstanceDelivery, Spool

_REFERENCE = 150
"""Bytes that stand for one reference in the estimate of how long a computation is."""

Deliveries = Mapping[str, Sequence[InstanceDelivery]]
"""By SOP Instance UID; without those that the router has never seen."""


class MissingInstances:
    """What one actor waits for. Kept up to date by the actor's notifications."""

    def __init__(self, actor: Subscriber, spool: Spool, subscriptions: Subscriptions) -> None:
        self._actor = actor
        self._spool, self._subscriptions = spool, subscriptions
        self._undelivered: dict[str, set[str]] = {}
        """By archive, the SOP Instance UIDs that it must get before it is asked."""
        self._unseen: set[str] = set()
        """SOP Instance UIDs that the router has never seen."""
        self._arrived: set[str] = set()
        """SOP Instance UIDs that came in during `find`."""

    @property
    def has_unseen(self) -> bool:
        """Whether there are instances that the router has never seen."""
        return bool(self._unseen)

    @property
    def has_undelivered(self) -> bool:
        """Whether an archive must get an instance before it is asked."""
        return any(self._undelivered.values())

    def blocks(self, archive: str) -> bool:
        """Return whether an archive must get an instance before it is asked."""
        return bool(self._undelivered.get(archive))

    async def find(self, references: Sequence[Reference], archives: Collection[str]) -> Deliveries:
        """Read the deliveries of the instances, and subscribe the actor to what is missing at these archives.

        Deliveries that end while the ledger is read are not waited for. If an instance comes in meanwhile, the ledger
        is read again.
        """
        uids = [reference.sop_instance_uid for reference in references]
        size = _REFERENCE * len(references)
        while True:
            self._undelivered = {archive: set(uids) for archive in archives}
            self._unseen, self._arrived = set(uids), set()
            await self._subscriptions.add(self._actor, uids)
            found = await self._spool.queue.instances(uids)
            missing = [await compute(size, partial(undelivered, references, name, found)) for name in archives]
            if not self._arrived - found.keys():
                break
        for archive, wanted in zip(archives, missing, strict=True):
            self._undelivered[archive] &= wanted
        self._unseen -= found.keys()
        return found

    async def limit_subscriptions(self) -> None:
        """End the actor's subscriptions to instances that it no longer waits for."""
        await self._subscriptions.limit(self._actor, self._unseen.union(*self._undelivered.values()))

    def arrived(self, uid: str) -> bool:
        """Note that an instance came in; return whether none is unseen now."""
        self._unseen.discard(uid)
        self._arrived.add(uid)
        return not self._unseen

    def settled(self, archive: str, uid: str) -> bool:
        """Note that a delivery is delivered or held; return whether nothing is missing at the archive now."""
        wanted = self._undelivered.get(archive, set())
        wanted.discard(uid)
        return not wanted
