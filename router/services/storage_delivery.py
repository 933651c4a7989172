"""Delivery of instances with C-STORE (PS3.4 B.2.3): what the status of a destination means."""

from typing import Annotated, Final, Literal

from attrs import frozen

from router.config import Config, Peer
from router.config.identifiers import one_of
from router.config.reading import One
from router.dimse import Response, Status, StatusClass, status_class
from router.model import PendingDelivery, Result
from router.services.base import DeliveryPolicy
from router.spool import Spool

_STORED_ALREADY: Final = frozenset({Status.DUPLICATE_SOP_INSTANCE, 0xD000})
"""D000H is what some archives answer in place of 0111H."""
_TRANSIENT: Final = range(0xA700, 0xA800)


@frozen(kw_only=True)
class StoragePeerOptions:
    """The key that the storage service adds to [peers.NAME]."""

    already_stored: Annotated[Literal["hold", "accept"], One(one_of("hold", "accept"))] = "hold"


def _accepts_stored(peer: Peer) -> bool:
    return peer.options[StoragePeerOptions].already_stored == "accept"


class StorageDelivery(DeliveryPolicy):
    """The policy of every service whose messages are C-STOREs."""

    _spool: Spool
    _accepting_stored: set[str]

    def use_peers(self, config: Config) -> None:
        """Use the peers of `config` from now on."""
        self._accepting_stored = {peer.name for peer in config.peers.values() if _accepts_stored(peer)}

    def outcome(self, delivery: PendingDelivery, response: Response) -> Result:
        """Deliver on success and warning (the object is stored), retry on A7xxH and 0213H, else hold (PS3.4 B.2.3)."""
        status = response.status
        if status_class(status) in (StatusClass.SUCCESS, StatusClass.WARNING):
            return Result.DELIVERED
        if status in _TRANSIENT or status == Status.RESOURCE_LIMITATION:
            return Result.RETRY
        return Result.HELD

    async def reconsider(self, delivery: PendingDelivery, response: Response) -> tuple[Result, str]:
        """Decide whether an archive that has the instance already has the bytes that the router sent.

        In doubt the delivery is held: other bytes under the same SOP Instance UID must not be lost.
        """
        if response.status not in _STORED_ALREADY:
            return Result.HELD, ""
        if delivery.unanswered:
            return Result.DELIVERED, "an earlier attempt had no response"
        earlier = await self._spool.delivered_before(delivery.message_id, delivery.destination)
        if earlier.same_bytes:
            return Result.DELIVERED, "the same bytes were delivered there before"
        if earlier.may_be_lost and not earlier.other_bytes:
            return Result.DELIVERED, "the response to an earlier attempt was lost when the router stopped"
        if delivery.destination in self._accepting_stored:
            return Result.DELIVERED, 'already_stored = "accept"'
        return Result.HELD, (
            "the archive has this instance already, and not from this delivery: compare the two, then discard this one"
            f', or set peers.{delivery.destination}.already_stored = "accept"'
        )
