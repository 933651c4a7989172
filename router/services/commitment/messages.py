"""The messages that storage commitment sends: N-ACTION-RQ to archives, N-EVENT-REPORT-RQ to modalities.

They go through the spool as everything does. In the queue they bear the Transaction UID, not the well-known instance
that all of them are about. Not here: when they are sent (`actor`).
"""

import time
from typing import Final

from attrs import evolve

from router.dicom.uids import IMPLICIT_LE
from router.dimse import DATA_SET, Command, CommandField, Response, Status, StatusClass, encode, status_class
from router.model import Cause, DeliveryState, Envelope, PendingDelivery, Recipient, Result
from router.services.commitment.attributes import REQUEST_ACTION, STORAGE_COMMITMENT, WELL_KNOWN_INSTANCE
from router.services.commitment.options import SERVICE
from router.services.commitment.transaction import FailureReason
from router.services.commitment.transaction_store import StoredTransaction
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


async def send_request(spool: Spool, commitment: StoredTransaction, archive: str, uid: str, data_set: bytes) -> None:
    """Ask an archive, once: where the request is in the spool already, nothing happens."""
    command = Command(
        field=CommandField.N_ACTION_RQ,
        message_id=1,
        requested_sop_class_uid=STORAGE_COMMITMENT,
        requested_sop_instance_uid=WELL_KNOWN_INSTANCE,
        action_type_id=REQUEST_ACTION,
        data_set_type=DATA_SET,
    )
    await _send(spool, commitment, command, uid, archive, IMPLICIT_LE, data_set)


async def send_report(spool: Spool, commitment: StoredTransaction, event_type: int, data_set: bytes) -> None:
    """Tell the modality, once."""
    command = Command(
        field=CommandField.N_EVENT_REPORT_RQ,
        message_id=1,
        affected_sop_class_uid=STORAGE_COMMITMENT,
        affected_sop_instance_uid=WELL_KNOWN_INSTANCE,
        event_type_id=event_type,
        data_set_type=DATA_SET,
    )
    syntax = commitment.transfer_syntax
    await _send(spool, commitment, command, commitment.uid, commitment.reply_to, syntax, data_set)


async def _send(
    spool: Spool,
    commitment: StoredTransaction,
    command: Command,
    uid: str,
    to: str,
    transfer_syntax: str,
    data_set: bytes,
) -> None:
    unfinished = evolve(selection(uid, to), states=frozenset({DeliveryState.WAITING, DeliveryState.HELD}))
    if await spool.queue.list_deliveries(unfinished, limit=1):  # a crash came between the spool and the record of it
        return
    envelope = Envelope(
        kind=command.name,
        command=encode(command),
        service=SERVICE,
        abstract_syntax=STORAGE_COMMITMENT,
        transfer_syntax=transfer_syntax,
        sop_class_uid=STORAGE_COMMITMENT,
        sop_instance_uid=uid,
        calling_ae=commitment.calling_ae,
        called_ae=commitment.called_ae,
        peer=commitment.address,
        received=time.time(),
        deliveries=(Recipient(destination=to),),
    )
    await spool.intake.store_bytes(data_set, envelope)


def selection(uid: str, to: str | None = None) -> Selection:
    """Select the messages of a transaction: all, or those to one destination."""
    return Selection(service=SERVICE, sop_instance_uid=uid, destination=to)


def outcome(delivery: PendingDelivery, response: Response) -> Result:
    """PS3.4 J.3.2, J.3.3: a report is owed until it is answered 0000H. A request that the archive has already is one
    of ours whose answer got lost; for want of resources it is tried again; other failures are the archive's word."""
    if status_class(response.status) in (StatusClass.SUCCESS, StatusClass.WARNING):
        return Result.DELIVERED
    if delivery.kind == REPORT:
        return Result.RETRY
    if response.status == Status.DUPLICATE_TRANSACTION_UID:
        return Result.DELIVERED
    passes = (Status.RESOURCE_LIMITATION, Status.PROCESSING_FAILURE, Status.DUPLICATE_INVOCATION)
    return Result.RETRY if response.status in passes else Result.HELD


def failure_reason(cause: Cause, status: int | None) -> FailureReason:
    """Return what a request that is held means for the instances, by how its last attempt ended.

    0122H where the archive accepts no presentation context of storage commitment.
    """
    if cause is Cause.NO_CONTEXT:
        return FailureReason.REFERENCED_SOP_CLASS_NOT_SUPPORTED
    return _REASONS.get(status, FailureReason.PROCESSING_FAILURE) if status else FailureReason.PROCESSING_FAILURE
