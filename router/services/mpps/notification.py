"""Modality Performed Procedure Step Notification (PS3.4 F.9): report each change of a step to peers.

As SCP, on associations that the router opens, it sends one N-EVENT-REPORT for each change of a step to the peers that
routes for `mpps-notification` name at its N-CREATE. The event names the step and its change; a peer that needs more
uses N-GET. Not here: when to report (intake.py).
"""

import time
from collections.abc import Sequence
from typing import ClassVar, Final

from pdu import RoleSelection
from router.config import RouteOptions, ServiceOptions
from router.dicom.uids import IMPLICIT_LE
from router.dimse import Response, Status, StatusClass, encode, status_class
from router.dimse.n_requests import n_event_report
from router.model import Envelope, PendingDelivery, Recipient, Result
from router.services.base import DeliveryPolicy
from router.services.mpps.attributes import MPPS_NOTIFICATION, StepStatus
from router.services.uncompressed_deliveries import UncompressedDeliveries

UPDATED: Final = 4
EVENTS: Final = {StepStatus.IN_PROGRESS: 1, StepStatus.COMPLETED: 2, StepStatus.DISCONTINUED: 3}
"""Event Type IDs (PS3.4 table F.9.2-1)."""


class MPPSNotification(UncompressedDeliveries, DeliveryPolicy):
    """N-EVENT-REPORT, as SCP."""

    name: ClassVar[str] = "mpps-notification"
    options: ClassVar[ServiceOptions] = ServiceOptions(route=RouteOptions)

    def proposes(self, abstract_syntax: str) -> RoleSelection | None:
        if abstract_syntax != MPPS_NOTIFICATION:
            return None
        return RoleSelection(sop_class_uid=MPPS_NOTIFICATION, scu_role=False, scp_role=True)

    def outcome(self, delivery: PendingDelivery, response: Response) -> Result:
        """Return what a response means for a delivery.

        A report is delivered to a peer that does not know the step or the event: the standard requires nothing of it
        (PS3.4 F.9.2).
        """
        status = response.status
        if status_class(status) in (StatusClass.SUCCESS, StatusClass.WARNING):
            return Result.DELIVERED
        if status in (Status.NO_SUCH_SOP_INSTANCE, Status.NO_SUCH_EVENT_TYPE):
            return Result.DELIVERED
        return Result.RETRY if status == Status.RESOURCE_LIMITATION else Result.HELD


def event_report(uid: str, event_type: int, calling_ae: str, peer: str, to: Sequence[str]) -> Envelope:
    """Return the envelope of the report on a change of a step, which has no data set."""
    command = n_event_report(MPPS_NOTIFICATION, uid, event_type, data_set=False)
    return Envelope(
        kind=command.name,
        command=encode(command),
        service=MPPSNotification.name,
        abstract_syntax=MPPS_NOTIFICATION,
        transfer_syntax=IMPLICIT_LE,
        sop_class_uid=MPPS_NOTIFICATION,
        sop_instance_uid=uid,
        calling_ae=calling_ae,
        called_ae="",
        peer=peer,
        received=time.time(),
        deliveries=tuple(Recipient(destination=name, key=f"mpps-notification {uid}") for name in to),
    )
