"""The messages that storage commitment sends: N-ACTION-RQ to archives, N-EVENT-REPORT-RQ to modalities.

They are delivered by the spool as every message is. In the queue they have the Transaction UID in place of the
well-known instance, which is the same for all of them. Not here: when they are sent (transaction_actor.py).
"""

import time
from typing import Final

from attrs import evolve

from router.dicom.uids import IMPLICIT_LE
from router.dimse import Command, Response, Status, StatusClass, encode, status_class
from router.dimse.n_requests import n_action, n_event_report
from router.model import Cause, DeliveryState, Envelope, PendingDelivery, Recipient, Result
from router.services.commitment.attributes import REQUEST_ACTION, STORAGE_COMMITMENT, WELL_KNOWN_INSTANCE
from router.services.commitment.options import SERVICE
from router.services.commitment.stored_transaction import StoredTransaction
from router.services.commitment.transaction import FailureReason
from router.spool import Selection, Spool

REQUEST: Final = "N-ACTION-RQ"
REPORT: Final = "N-EVENT-REPORT-RQ"

_REASONS: Final[dict[int, FailureReason]] = {
    Status.NO_SUCH_SOP_INSTANCE: FailureReason.NO_SUCH_OBJECT_INSTANCE,
    Status.NO_SUCH_SOP_CLASS: FailureReason.REFERENCED_SOP_CLASS_NOT_SUPPORTED,
    Status.CLASS_INSTANCE_CONFLICT: FailureReason.CLASS_INSTANCE_CONFLICT,
    Status.SOP_CLASS_NOT_SUPPORTED: FailureReason.REFERENCED_SOP_CLASS_NOT_SUPPORTED,
    Status.RESOURCE_LIMITATION: FailureReason.RESOURCE_LIMITATION,
}


async def send_request(
    spool: Spool, transaction: StoredTransaction, destination: str, uid: str, data_set: bytes
) -> None:
    """Give an N-ACTION with the Transaction UID `uid` to the spool, unless it is there already.

    Raises:
        OutOfSpace: the disk is full.
    """
    command = n_action(STORAGE_COMMITMENT, WELL_KNOWN_INSTANCE, REQUEST_ACTION)
    await _send(spool, transaction, command, uid, destination, IMPLICIT_LE, data_set)


async def send_report(spool: Spool, transaction: StoredTransaction, event_type: int, data_set: bytes) -> None:
    """Give the N-EVENT-REPORT for the modality to the spool, unless it is there already.

    Raises:
        OutOfSpace: the disk is full.
    """
    command = n_event_report(STORAGE_COMMITMENT, WELL_KNOWN_INSTANCE, event_type)
    syntax = transaction.transfer_syntax
    await _send(spool, transaction, command, transaction.uid, transaction.reply_to, syntax, data_set)


async def _send(
    spool: Spool,
    transaction: StoredTransaction,
    command: Command,
    uid: str,
    destination: str,
    transfer_syntax: str,
    data_set: bytes,
) -> None:
    unfinished = evolve(selection(uid, destination), states=frozenset({DeliveryState.WAITING, DeliveryState.HELD}))
    if await spool.queue.list_deliveries(
        unfinished, limit=1
    ):  # the router crashed before it noted that the message is sent
        return
    envelope = Envelope(
        kind=command.name,
        command=encode(command),
        service=SERVICE,
        abstract_syntax=STORAGE_COMMITMENT,
        transfer_syntax=transfer_syntax,
        sop_class_uid=STORAGE_COMMITMENT,
        sop_instance_uid=uid,
        calling_ae=transaction.calling_ae,
        called_ae=transaction.called_ae,
        peer=transaction.address,
        received=time.time(),
        deliveries=(Recipient(destination=destination),),
    )
    await spool.intake.store_bytes(data_set, envelope)


def selection(uid: str, destination: str | None = None) -> Selection:
    """Select the messages with a Transaction UID: all, or those to one destination."""
    return Selection(service=SERVICE, sop_instance_uid=uid, destination=destination)


def outcome(delivery: PendingDelivery, response: Response) -> Result:
    """Return what a response to an N-ACTION or N-EVENT-REPORT means for its delivery (PS3.4 J.3.2, J.3.3).

    A report is tried again until the response is success or a warning. An N-ACTION with a duplicate Transaction UID was
    delivered before, and its response got lost. It is tried again after a failure that may pass; any other failure
    is held, and its instances have failed.
    """
    if status_class(response.status) in (StatusClass.SUCCESS, StatusClass.WARNING):
        return Result.DELIVERED
    if delivery.kind == REPORT:
        return Result.RETRY
    if response.status == Status.DUPLICATE_TRANSACTION_UID:
        return Result.DELIVERED
    transient = (Status.RESOURCE_LIMITATION, Status.PROCESSING_FAILURE, Status.DUPLICATE_INVOCATION)
    return Result.RETRY if response.status in transient else Result.HELD


def failure_reason(cause: Cause, status: int | None) -> FailureReason:
    """Return the failure of the instances of an N-ACTION that is held, by how its last attempt ended.

    0122H if the archive accepts no presentation context for storage commitment.
    """
    if cause is Cause.NO_CONTEXT:
        return FailureReason.REFERENCED_SOP_CLASS_NOT_SUPPORTED
    return _REASONS.get(status, FailureReason.PROCESSING_FAILURE) if status else FailureReason.PROCESSING_FAILURE
