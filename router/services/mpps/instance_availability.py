"""Instance Availability Notification (PS3.4 R): the instances of a step, and the archives that have them.

As SCU: one N-CREATE for each step, with a SOP Instance UID derived from that of the step, so that a notification that
is sent twice is recognised as the same. It contains nothing about the patient (PS3.4 R.3.2). Not here: when to notify
(availability_notifier.py).
"""

import time
import uuid
from collections.abc import Mapping, Sequence
from itertools import groupby
from typing import ClassVar, Final

from attrs import frozen

from router.config import ServiceOptions
from router.dicom.dataset import DataSet, Element, element, write
from router.dicom.tags import (
    REFERENCED_SOP_CLASS_UID,
    REFERENCED_SOP_INSTANCE_UID,
    REFERENCED_SOP_SEQUENCE,
    RETRIEVE_AE_TITLE,
)
from router.dicom.uids import IMPLICIT_LE
from router.dimse import (
    Response,
    Status,
    StatusClass,
    encode,
    status_class,
)
from router.dimse.n_requests import n_create
from router.model import Envelope, PendingDelivery, Recipient, Result
from router.services.base import DeliveryPolicy
from router.services.mpps.attributes import MPPS, SERIES_INSTANCE_UID, STUDY_INSTANCE_UID, InstanceReference
from router.services.mpps.options import AVAILABILITY_OPTIONS
from router.services.mpps.policy import INFORM
from router.services.uncompressed_deliveries import UncompressedDeliveries

INSTANCE_AVAILABILITY: Final = "1.2.840.10008.5.1.4.33"
REFERENCED_STEP_SEQUENCE: Final = 0x00081111
REFERENCED_SERIES_SEQUENCE: Final = 0x00081115
INSTANCE_AVAILABILITY_TAG: Final = 0x00080056
WORKITEM_CODE_SEQUENCE: Final = 0x00404019


class InstanceAvailability(UncompressedDeliveries, DeliveryPolicy):
    """N-CREATE, as SCU."""

    name: ClassVar[str] = INFORM
    options: ClassVar[ServiceOptions] = AVAILABILITY_OPTIONS

    def outcome(self, delivery: PendingDelivery, response: Response) -> Result:
        """Return what a response means for a delivery (PS3.4 R.3.2.1.2).

        A notification that the peer knows already was delivered before, and its response got lost.
        """
        status = response.status
        if status_class(status) in (StatusClass.SUCCESS, StatusClass.WARNING):
            return Result.DELIVERED
        if status == Status.DUPLICATE_SOP_INSTANCE:
            return Result.DELIVERED
        return Result.RETRY if status == Status.RESOURCE_LIMITATION else Result.HELD


@frozen(kw_only=True)
class AvailabilityNotification:
    """The content of a notification about one step."""

    step_uid: str
    study_uid: str
    references: tuple[InstanceReference, ...]
    archives: Mapping[str, tuple[str, ...]]
    """By SOP Instance UID, the AE titles to retrieve it from; without the instances that are not available."""
    complete: bool
    """Every instance is archived."""
    includes_missing: bool
    """Instances that are not available are listed as UNAVAILABLE; otherwise they are left out."""

    @property
    def uid(self) -> str:
        """SOP Instance UID of the notification: equal for equal notifications."""
        name = f"{self.step_uid} {'complete' if self.complete else 'partial'} {self.includes_missing}"
        return f"2.25.{uuid.uuid5(uuid.NAMESPACE_OID, name).int}"

    def data_set(self) -> bytes:
        """Encode the data set of PS3.4 table R.3.2-1 in Implicit VR Little Endian; b"" if no instance is available."""
        everywhere = tuple(dict.fromkeys(title for titles in self.archives.values() for title in titles))
        listed = [one for one in self.references if self.includes_missing or one.sop_instance_uid in self.archives]
        if not everywhere or not listed:
            return b""
        series = groupby(sorted(listed, key=_series_uid), key=_series_uid)
        step = {
            REFERENCED_SOP_CLASS_UID: element("UI", MPPS),
            REFERENCED_SOP_INSTANCE_UID: element("UI", self.step_uid),
            WORKITEM_CODE_SEQUENCE: Element("SQ", ()),
        }
        data_set: DataSet = {
            REFERENCED_STEP_SEQUENCE: Element("SQ", (step,)),
            STUDY_INSTANCE_UID: element("UI", self.study_uid),
            REFERENCED_SERIES_SEQUENCE: Element(
                "SQ", tuple(self._series(uid, list(instances), everywhere) for uid, instances in series)
            ),
        }
        return write(data_set, IMPLICIT_LE)

    def _series(self, uid: str, instances: Sequence[InstanceReference], everywhere: Sequence[str]) -> DataSet:
        items = tuple(self._instance(instance, everywhere) for instance in instances)
        return {SERIES_INSTANCE_UID: element("UI", uid), REFERENCED_SOP_SEQUENCE: Element("SQ", items)}

    def _instance(self, instance: InstanceReference, everywhere: Sequence[str]) -> DataSet:
        """Return the item of an instance. An unavailable one names the archives of the others (PS3.3 C.4.23.1.1)."""
        titles = self.archives.get(instance.sop_instance_uid)
        return {
            REFERENCED_SOP_CLASS_UID: element("UI", instance.sop_class_uid),
            REFERENCED_SOP_INSTANCE_UID: element("UI", instance.sop_instance_uid),
            INSTANCE_AVAILABILITY_TAG: element("CS", "ONLINE" if titles else "UNAVAILABLE"),
            RETRIEVE_AE_TITLE: element("AE", "\\".join(titles or everywhere)),
        }


def notification_envelope(
    notification: AvailabilityNotification, calling_ae: str, peer: str, to: Sequence[str]
) -> Envelope:
    """Return the envelope of a notification. `calling_ae` and `peer` are those of the modality, for operators."""
    command = n_create(INSTANCE_AVAILABILITY, notification.uid)
    return Envelope(
        kind=command.name,
        command=encode(command),
        service=INFORM,
        abstract_syntax=INSTANCE_AVAILABILITY,
        transfer_syntax=IMPLICIT_LE,
        sop_class_uid=INSTANCE_AVAILABILITY,
        sop_instance_uid=notification.uid,
        calling_ae=calling_ae,
        called_ae="",
        peer=peer,
        received=time.time(),
        deliveries=tuple(Recipient(destination=name, key=f"{INFORM} {notification.step_uid}") for name in to),
    )


def _series_uid(reference: InstanceReference) -> str:
    return reference.series_uid
