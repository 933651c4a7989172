"""Deliver what comes for a retrieve at once: to the destination of a C-MOVE, or to the client of a C-GET.

The archive gets its response when the destination has given its own, and nothing is promised in its place. One
instance is under way at a time on each association; a large one lies in a file meanwhile, not in memory. A
sub-operation that fails is not tried again. Not here: the same by way of the spool (`spooled`).
"""

from functools import partial
from typing import Final

from router.concurrency import compute
from router.config import Peer
from router.dicom.dataset import reencode
from router.dicom.encoding import MalformedDataSet
from router.dicom.uids import UNCOMPRESSED
from router.dimse import Command, Status
from router.services.arrivals import Arrival
from router.services.base import Replies
from router.services.peers import Buffer, PeerRequest, Peers, PeerUnanswered
from router.services.retrieve.plan import MOST_STORAGE_CONTEXTS
from router.services.retrieve.spooled import OnEnd, Origin, end_of_status
from router.spool import Incoming

_MOST_UNANSWERED: Final = 3
"""Instances one after the other without a response of the destination; then it is not tried any more."""
_LARGEST_ENCODED: Final = 256 << 20
"""Bytes of an instance that is encoded in another transfer syntax, in memory."""

Pair = tuple[str, str]


class _Immediate:
    """Deliveries that are answered at once."""

    def __init__(self, on_end: OnEnd) -> None:
        self._on_end: Final = on_end
        self._is_closed = False
        self._unanswered = 0

    async def accept(self, arrival: Arrival, data: Incoming) -> int:
        """Deliver an instance, and return the status to answer the archive: that of the destination."""
        status: int = Status.UNABLE_TO_PERFORM_SUBOPERATIONS
        if not self._is_closed and self._unanswered < _MOST_UNANSWERED:
            try:
                with data.view() as view:
                    status = await self.deliver(arrival, view)
                self._unanswered = 0
            except PeerUnanswered:
                self._unanswered += 1
        if not self._is_closed:
            self._on_end(arrival.instance_uid, end_of_status(status))
        return status

    async def deliver(self, arrival: Arrival, content: Buffer) -> int:
        """Deliver an instance, and return the status.

        Raises:
            PeerUnanswered: there was none.
        """
        raise NotImplementedError

    async def close(self, *, withdraw: bool) -> None:
        """Deliver nothing more."""
        self._is_closed = True


class ThroughDelivery(_Immediate):
    """Deliveries to the destination of a C-MOVE."""

    def __init__(
        self, peers: Peers, destination: Peer, origin: Origin, on_end: OnEnd, *, deadline: float, per_instance: bool
    ) -> None:
        """`deadline`: seconds that one instance may wait and take. `per_instance`: each has its own association."""
        super().__init__(on_end)
        self._peers = peers
        self._destination = destination
        self._origin = origin
        self._deadline = deadline
        self._per_instance = per_instance
        self._pairs: dict[Pair, None] = {}
        """(SOP class, transfer syntax) of what has been delivered, so that an association can be used again."""

    async def deliver(self, arrival: Arrival, content: Buffer) -> int:
        command = self._origin.command(arrival)
        pair = (command.sop_class_uid, arrival.transfer_syntax)
        if pair not in self._pairs:
            if self._per_instance or len(self._pairs) >= MOST_STORAGE_CONTEXTS:
                self._pairs.clear()
            self._pairs[pair] = None
        request = PeerRequest(
            peer=self._destination.name,
            abstract_syntax=pair[0],
            transfer_syntaxes=(pair[1],),
            command=command,
            content=content,
            deadline=self._deadline,
            further=tuple((sop_class, (syntax,)) for sop_class, syntax in self._pairs),
            pool="retrieve",
            lingers=not self._per_instance,
        )
        return (await self._peers.invoke(request)).response.status


class ClientDelivery(_Immediate):
    """Deliveries to the client of a C-GET, on its association (PS3.4 C.4.3)."""

    def __init__(self, replies: Replies, priority: int, on_end: OnEnd) -> None:
        super().__init__(on_end)
        self._replies = replies
        self._priority = priority

    async def deliver(self, arrival: Arrival, content: Buffer) -> int:
        command = arrival.command.changed(
            priority=self._priority, move_originator_ae_title=None, move_originator_message_id=None
        )
        syntax = self._syntax(command, arrival.transfer_syntax)
        if not syntax:
            return Status.SOP_CLASS_NOT_SUPPORTED
        if syntax != arrival.transfer_syntax:
            if len(content) > _LARGEST_ENCODED:
                return Status.OUT_OF_RESOURCES
            try:
                encode = partial(reencode, bytes(content), arrival.transfer_syntax, syntax)
                content = await compute(len(content), encode)
            except MalformedDataSet:
                return Status.CANNOT_UNDERSTAND
        return (await self._replies.send_instance(command, syntax, content)).status

    def _syntax(self, command: Command, stored: str) -> str:
        """Return the transfer syntax to deliver in; "" if the client accepts none that the instance can have."""
        possible = (stored, *UNCOMPRESSED) if stored in UNCOMPRESSED else (stored,)
        storable = self._replies.storable
        return next((one for one in possible if (command.sop_class_uid, one) in storable), "")
