"""Read, check and write the data sets of storage commitment (PS3.4 tables J.3-1 and J.3-2). Pure.

Not here: what a report means for a transaction (transaction.py).
"""

from collections.abc import Mapping, Sequence
from typing import Final

from attrs import field, frozen

from router.dicom.dataset import DataSet, Element, element, identifier, items, read, write
from router.dicom.encoding import MalformedDataSet, padded
from router.dicom.tags import (
    REFERENCED_SOP_CLASS_UID,
    REFERENCED_SOP_INSTANCE_UID,
    REFERENCED_SOP_SEQUENCE,
    RETRIEVE_AE_TITLE,
)
from router.dicom.uids import EXPLICIT_LE, is_uid
from router.dimse import Status
from router.services.commitment.transaction import (
    COMMITTED,
    ArchiveResult,
    FailureReason,
    InstanceResult,
    Reference,
    TransactionOutcome,
)

STORAGE_COMMITMENT: Final = "1.2.840.10008.1.20.1"
"""Storage Commitment Push Model SOP Class."""
WELL_KNOWN_INSTANCE: Final = "1.2.840.10008.1.20.1.1"
"""Storage Commitment Push Model SOP Instance, which every N-ACTION and N-EVENT-REPORT names."""
REQUEST_ACTION: Final = 1
"""Action Type ID of Request Storage Commitment."""
ALL_COMMITTED, FAILURES_EXIST = 1, 2
"""Event Type IDs (PS3.4 table J.3-2)."""

TRANSACTION_UID: Final = 0x00081195
FAILURE_REASON: Final = 0x00081197
FAILED_SOP_SEQUENCE: Final = 0x00081198
REFERENCED_STEP_SEQUENCE: Final = 0x00081111


class RefusedRequest(Exception):
    """A request is refused; with the status, the reason, and the tags of the elements at fault."""

    def __init__(self, status: Status, reason: str, *elements: int) -> None:
        super().__init__(reason)
        self.status = status
        self.reason = reason
        self.elements = elements


@frozen(kw_only=True)
class CommitmentRequest:
    """The data set of an N-ACTION."""

    transaction_uid: str
    references: tuple[Reference, ...]
    """Each instance once."""
    steps: Sequence[DataSet] = ()
    """Items of the Referenced Performed Procedure Step Sequence, as received."""


@frozen(kw_only=True)
class EventReport:
    """The data set of an N-EVENT-REPORT."""

    transaction_uid: str
    results: Mapping[str, ArchiveResult] = field(factory=dict)


def read_request(data: bytes, transfer_syntax: str) -> CommitmentRequest:
    """Read the data set of an N-ACTION.

    Raises:
        RefusedRequest: 0121H if a type 1 attribute is missing or empty, 0115H if it is not a UID, 0119H if an instance
            is listed with two SOP classes, 0110H if the data set cannot be read.
    """
    tree = _tree(data, transfer_syntax)
    referenced = items(tree, REFERENCED_SOP_SEQUENCE)
    if not referenced:
        reason = "Referenced SOP Sequence is missing or empty"
        raise RefusedRequest(Status.MISSING_ATTRIBUTE_VALUE, reason, REFERENCED_SOP_SEQUENCE)
    classes: dict[str, str] = {}
    for item in referenced:
        sop_class = _uid_of(item, REFERENCED_SOP_CLASS_UID, "Referenced SOP Class UID")
        uid = _uid_of(item, REFERENCED_SOP_INSTANCE_UID, "Referenced SOP Instance UID")
        if classes.setdefault(uid, sop_class) != sop_class:
            reason = "an instance is listed with two SOP classes"
            raise RefusedRequest(Status.CLASS_INSTANCE_CONFLICT, reason, REFERENCED_SOP_SEQUENCE)
    return CommitmentRequest(
        transaction_uid=_uid_of(tree, TRANSACTION_UID, "Transaction UID"),
        references=tuple(Reference(sop_class, uid) for uid, sop_class in classes.items()),
        steps=items(tree, REFERENCED_STEP_SEQUENCE),
    )


def write_steps(request: CommitmentRequest) -> bytes:
    """Encode the Referenced Performed Procedure Step Sequence of a request for the database; b"" without one."""
    tree = {REFERENCED_STEP_SEQUENCE: Element("SQ", tuple(request.steps))}
    return write(tree, EXPLICIT_LE) if request.steps else b""


def read_steps(kept: bytes) -> Sequence[DataSet]:
    """Decode what `write_steps` encoded."""
    return items(read(kept, EXPLICIT_LE), REFERENCED_STEP_SEQUENCE)


def write_request(request: CommitmentRequest, transfer_syntax: str) -> bytes:
    """Encode the data set of an N-ACTION."""
    tree: dict[int, Element] = {
        TRANSACTION_UID: element("UI", request.transaction_uid),
        REFERENCED_SOP_SEQUENCE: Element("SQ", tuple(_reference(one) for one in request.references)),
    }
    if request.steps:
        tree[REFERENCED_STEP_SEQUENCE] = Element("SQ", tuple(request.steps))
    return write(tree, transfer_syntax)


def read_report(data: bytes, transfer_syntax: str, event_type: int) -> EventReport:
    """Read the data set of an N-EVENT-REPORT.

    An instance in both sequences has failed. Items without a SOP Instance UID are ignored.

    Raises:
        RefusedRequest: 0113H for an unknown event type; otherwise as `read_request`.
    """
    if event_type not in (ALL_COMMITTED, FAILURES_EXIST):
        raise RefusedRequest(Status.NO_SUCH_EVENT_TYPE, f"unknown event type {event_type}")
    tree = _tree(data, transfer_syntax)
    common = identifier(tree, RETRIEVE_AE_TITLE)
    results: dict[str, ArchiveResult] = {}
    for item in items(tree, REFERENCED_SOP_SEQUENCE):
        if uid := identifier(item, REFERENCED_SOP_INSTANCE_UID):
            results[uid] = ArchiveResult(COMMITTED, identifier(item, RETRIEVE_AE_TITLE) or common)
    for item in items(tree, FAILED_SOP_SEQUENCE):
        if uid := identifier(item, REFERENCED_SOP_INSTANCE_UID):
            results[uid] = ArchiveResult(_reason(item))
    return EventReport(transaction_uid=_uid_of(tree, TRANSACTION_UID, "Transaction UID"), results=results)


def write_report(transaction_uid: str, outcome: TransactionOutcome, transfer_syntax: str) -> bytes:
    """Encode the data set of the N-EVENT-REPORT to the modality.

    Retrieve AE Title is written once if it is the same for all committed instances.
    """
    titles = {result.retrieve_ae for result in outcome.committed}
    common = titles.pop() if len(titles) == 1 else ""
    tree: dict[int, Element] = {TRANSACTION_UID: element("UI", transaction_uid)}
    if common:
        tree[RETRIEVE_AE_TITLE] = _ae(common)
    if outcome.committed:
        committed = tuple(_committed(result, with_title=not common) for result in outcome.committed)
        tree[REFERENCED_SOP_SEQUENCE] = Element("SQ", committed)
    if outcome.failed:
        tree[FAILED_SOP_SEQUENCE] = Element("SQ", tuple(map(_failed, outcome.failed)))
    return write(tree, transfer_syntax)


def _reference(reference: Reference) -> dict[int, Element]:
    return {
        REFERENCED_SOP_CLASS_UID: element("UI", reference.sop_class_uid),
        REFERENCED_SOP_INSTANCE_UID: element("UI", reference.sop_instance_uid),
    }


def _committed(result: InstanceResult, *, with_title: bool) -> DataSet:
    item = _reference(result.reference)
    return {RETRIEVE_AE_TITLE: _ae(result.retrieve_ae), **item} if with_title and result.retrieve_ae else item


def _failed(result: InstanceResult) -> DataSet:
    return {**_reference(result.reference), FAILURE_REASON: Element("US", result.reason.to_bytes(2, "little"))}


def _tree(data: bytes, transfer_syntax: str) -> DataSet:
    try:
        return read(data, transfer_syntax)
    except MalformedDataSet as error:
        raise RefusedRequest(Status.PROCESSING_FAILURE, str(error)) from error


def _uid_of(tree: DataSet, tag: int, name: str) -> str:
    value = identifier(tree, tag)
    if not value:
        raise RefusedRequest(Status.MISSING_ATTRIBUTE_VALUE, f"{name} is missing or empty", tag)
    if not is_uid(value):
        raise RefusedRequest(Status.INVALID_ARGUMENT_VALUE, f"{name} is not a UID", tag)
    return value


def _reason(item: DataSet) -> int:
    """Return the Failure Reason of an item; 0110H if it has none, or if it is 0000H."""
    value = item[FAILURE_REASON].value if FAILURE_REASON in item else b""
    reason = int.from_bytes(value, "little") if isinstance(value, bytes) and len(value) == 2 else COMMITTED
    return reason if reason != COMMITTED else FailureReason.PROCESSING_FAILURE


def _ae(value: str) -> Element:
    return Element("AE", padded("AE", value.encode("latin-1", "replace")))
