"""Deliver what comes for a retrieve through the spool: each instance is a message for the move destination.

It is durable before the archive is answered, and it goes even if the router is restarted meanwhile. The message has a
kind of its own: it is not a duplicate of an object that a sender gave to the router, nor the other way round. The
Move Originator is the client, and the priority is the client's (PS3.4 C.4.2.2).
"""

import time
from collections.abc import Callable
from typing import Final

from attrs import frozen

from router.config import Peer
from router.dimse import DATA_SET, Command, CommandField, Status, StatusClass, encode, status_class
from router.model import AttemptResult, Envelope, PendingDelivery, Recipient, Result
from router.services.arrivals import Arrival
from router.services.retrieve.options import SERVICE
from router.services.retrieve.sub_operations import End
from router.spool import Incoming, OutOfSpace, Spool

KIND: Final = "C-STORE-RQ sub-operation"
"""Of the messages, in the spool."""


@frozen(kw_only=True)
class Origin:
    """The C-MOVE-RQ of the client, as the sub-operations name it; an operator's fetch has none."""

    ae_title: str | None = None
    message_id: int | None = None
    priority: int

    def command(self, arrival: Arrival) -> Command:
        """Return the C-STORE-RQ of a sub-operation, without a Message ID (PS3.7 9.1.1.1)."""
        return Command(
            field=CommandField.C_STORE_RQ,
            message_id=0,
            affected_sop_class_uid=arrival.command.affected_sop_class_uid,
            affected_sop_instance_uid=arrival.command.affected_sop_instance_uid,
            priority=self.priority,
            move_originator_ae_title=self.ae_title,
            move_originator_message_id=self.message_id,
            data_set_type=DATA_SET,
        )


OnEnd = Callable[[str, End], None]


class SpooledDeliveries:
    """The deliveries of all retrieves that are followed, by their messages."""

    def __init__(self, spool: Spool) -> None:
        self._spool = spool
        self._followed: dict[int, tuple[str, OnEnd]] = {}
        self._storing = 0
        self._early: dict[int, AttemptResult] = {}
        """Results that came before the receipt of their message."""

    async def commit_instance(
        self, arrival: Arrival, data: Incoming, destination: Peer, origin: Origin, on_end: OnEnd
    ) -> int:
        """Make an instance durable, and return its message id, or 0 without room. `on_end` is called once.

        Raises:
            OutOfSpace: nothing is kept.
        """
        envelope = Envelope(
            kind=KIND,
            command=encode(origin.command(arrival)),
            service=SERVICE,
            abstract_syntax=arrival.command.sop_class_uid,
            transfer_syntax=arrival.transfer_syntax,
            sop_class_uid=arrival.command.sop_class_uid,
            sop_instance_uid=arrival.instance_uid,
            calling_ae=arrival.calling_ae,
            called_ae=arrival.called_ae,
            peer=arrival.peer,
            received=time.time(),
            deliveries=(Recipient(destination=destination.name),),
        )
        self._storing += 1
        try:
            receipt = await self._spool.intake.store(data, envelope)
            self._followed[receipt.message_id] = (arrival.instance_uid, on_end)
            if result := self._early.pop(receipt.message_id, None):
                self._conclude(receipt.message_id, result)
        finally:
            self._storing -= 1
            if not self._storing:
                self._early.clear()
        return receipt.message_id

    def note_result(self, delivery: PendingDelivery, result: AttemptResult) -> None:
        """Note the result of a delivery of any service."""
        if delivery.kind != KIND or result.result is Result.RETRY:
            return
        if delivery.message_id in self._followed:
            self._conclude(delivery.message_id, result)
        elif self._storing:
            self._early[delivery.message_id] = result

    def _conclude(self, message_id: int, result: AttemptResult) -> None:
        uid, on_end = self._followed.pop(message_id)
        on_end(uid, end_of(result))

    def stop_following(self, message_ids: list[int]) -> None:
        """Follow these no longer."""
        for message_id in message_ids:
            self._followed.pop(message_id, None)


def end_of_status(status: int) -> End:
    """Return how a sub-operation ended with the status of its C-STORE-RSP."""
    match status_class(status):
        case StatusClass.SUCCESS:
            return End.COMPLETED
        case StatusClass.WARNING:
            return End.WARNING
        case _:
            return End.FAILED


def end_of(result: AttemptResult) -> End:
    """Return how a sub-operation ended with the last attempt to deliver its instance."""
    if result.result is not Result.DELIVERED:
        return End.FAILED
    is_warning = result.status is not None and status_class(result.status) is StatusClass.WARNING
    return End.WARNING if is_warning else End.COMPLETED


class SpooledDelivery:
    """The deliveries of one retrieve."""

    def __init__(
        self, deliveries: SpooledDeliveries, spool: Spool, destination: Peer, origin: Origin, on_end: OnEnd
    ) -> None:
        self._on_end = on_end
        self._deliveries = deliveries
        self._spool = spool
        self._destination = destination
        self._origin = origin
        self._messages: dict[str, int] = {}
        """The messages that wait, by SOP Instance UID."""
        self._is_withdrawn = False

    async def accept(self, arrival: Arrival, data: Incoming) -> int:
        """Make an instance durable, and return the status to answer the archive."""
        try:
            message_id = await self._deliveries.commit_instance(
                arrival, data, self._destination, self._origin, self._delivery_ended
            )
        except OutOfSpace:
            return Status.OUT_OF_RESOURCES
        self._messages[arrival.instance_uid] = message_id
        if self._is_withdrawn:
            await self.close(withdraw=True)
        return Status.SUCCESS

    def _delivery_ended(self, uid: str, end: End) -> None:
        self._messages.pop(uid, None)
        self._on_end(uid, end)

    async def close(self, *, withdraw: bool) -> None:
        """Follow the deliveries no longer; withdraw those that have not ended."""
        self._is_withdrawn = withdraw
        message_ids = list(self._messages.values())
        try:
            if withdraw and message_ids:
                await self._spool.withdraw(message_ids, self._destination.name)
        finally:
            self._deliveries.stop_following(message_ids)
