"""The responses of C-MOVE and C-GET: counts of sub-operations, and the list of failed ones (PS3.4 C.4.2.1)."""

from collections.abc import Sequence
from typing import Final

from router.dicom.dataset import Element
from router.dicom.encoding import padded
from router.dimse import Response, Status, response_to
from router.services.base import Request
from router.services.query.identifier import encode_identifier
from router.services.retrieve.sub_operations import LARGEST_COUNT, Counts, SubOperations

FAILED_SOP_INSTANCE_UID_LIST: Final = 0x00080058

_NOT_COUNTED: Final = "more sub-operations than 65535, the largest count"


def pending(request: Request, counts: Counts, *, for_long: bool = False) -> Response:
    """Return a pending response with all four counts."""
    status = Status.PENDING_FOR_LONG if for_long else Status.PENDING
    return Response(response_to(request.command, status, **_count_attributes(counts), **_comment("", counts)))


def final_status(counts: Counts) -> Status:
    """Return the status of a retrieve of which every sub-operation has ended (PS3.4 C.4.2.1.5)."""
    if not counts.failed and not counts.warning:
        return Status.SUCCESS
    if not counts.completed and not counts.warning:
        return Status.UNABLE_TO_PERFORM_SUBOPERATIONS
    return Status.SUBOPERATIONS_COMPLETE_WITH_FAILURES


def final(request: Request, status: int, operations: SubOperations, comment: str = "") -> Response:
    """Return the final response of a retrieve whose sub-operations are the router's own."""
    return final_with(request, status, operations.numbers, operations.failed_uids, comment)


def final_with(request: Request, status: int, counts: Counts, failed: Sequence[str], comment: str) -> Response:
    """Return a final response. Only that to a cancelled retrieve says how many sub-operations remain."""
    attributes = _count_attributes(counts)
    if status != Status.CANCEL:
        del attributes["number_of_remaining_suboperations"]
    data_set = b""
    if status != Status.SUCCESS and failed:
        value = padded("UI", "\\".join(failed).encode("latin-1"))
        data_set = encode_identifier({FAILED_SOP_INSTANCE_UID_LIST: Element("UI", value)}, request.transfer_syntax)
    return Response(response_to(request.command, status, **attributes, **_comment(comment, counts)), data_set)


def _count_attributes(counts: Counts) -> dict[str, int]:
    return {
        f"number_of_{name}_suboperations": min(getattr(counts, name), LARGEST_COUNT)
        for name in ("remaining", "completed", "failed", "warning")
    }


def _comment(comment: str, counts: Counts) -> dict[str, str]:
    text = comment or ("" if counts.fits else _NOT_COUNTED)
    return {"error_comment": text} if text else {}
