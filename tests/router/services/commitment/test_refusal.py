"""What a held N-ACTION means for its instances is decided by cause and status, whatever the words for people say."""

import pytest

from router.dimse import Status
from router.model import Cause
from router.services.commitment.messages import failure_reason
from router.services.commitment.transaction import FailureReason


@pytest.mark.parametrize(
    ("cause", "status", "reason"),
    [
        (Cause.NO_CONTEXT, None, FailureReason.REFERENCED_SOP_CLASS_NOT_SUPPORTED),
        (Cause.ANSWERED, Status.SOP_CLASS_NOT_SUPPORTED, FailureReason.REFERENCED_SOP_CLASS_NOT_SUPPORTED),
        (Cause.ANSWERED, Status.NO_SUCH_SOP_INSTANCE, FailureReason.NO_SUCH_OBJECT_INSTANCE),
        (Cause.ANSWERED, Status.CLASS_INSTANCE_CONFLICT, FailureReason.CLASS_INSTANCE_CONFLICT),
        (Cause.ANSWERED, Status.RESOURCE_LIMITATION, FailureReason.RESOURCE_LIMITATION),
        (Cause.ANSWERED, 0xC123, FailureReason.PROCESSING_FAILURE),
        (Cause.REJECTED, None, FailureReason.PROCESSING_FAILURE),
        (Cause.NONE, None, FailureReason.PROCESSING_FAILURE),
    ],
)
def test_the_reason_on_the_wire_is_chosen_from_values(cause: Cause, status: int | None, reason: FailureReason) -> None:
    assert failure_reason(cause, status) is reason
