"""Instance Availability Notification (PS3.4 Annex R): the instances of a step, and the archives that have them.

As SCU: one N-CREATE for each step, with a SOP Instance UID that follows from the step, so that a notification that is
sent twice is recognised as the same. It says nothing about the patient, as R.3.2 demands. Not here: when there is
something to notify (`procedure_steps.notices`).
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
from router.dimse.commands import n_create
from router.model import Envelope, PendingDelivery, Recipient, Result
from router.services.base import DeliveryPolicy
from router.services.encoding import UncompressedDeliveries
from router.services.mpps.attributes import MPPS, SERIES_INSTANCE_UID, STUDY_INSTANCE_UID, InstanceReference
from router.services.mpps.options import AVAILABILITY_OPTIONS
from router.services.mpps.policy import INFORM

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
        """PS3.4 R.3.2.1.2: the general statuses. A duplicate is one of ours that was not answered."""
        status = response.status
        if status_class(status) in (StatusClass.SUCCESS, StatusClass.WARNING):
            return Result.DELIVERED
        if status == Status.DUPLICATE_SOP_INSTANCE:
            return Result.DELIVERED
        return Result.RETRY if status == Status.RESOURCE_LIMITATION else Result.HELD


@frozen(kw_only=True)
class AvailabilityNotification:
    """What is said about one step."""

    step_uid: str
    study_uid: str
    references: tuple[InstanceReference, ...]
    archives: Mapping[str, tuple[str, ...]]
    """By SOP Instance UID, the AE titles of where it is; of what is nowhere, there is no key."""
    complete: bool
    includes_missing: bool

    @property
    def uid(self) -> str:
        """Its own SOP Instance UID: the same whenever the same is said."""
        name = f"{self.step_uid} {'complete' if self.complete else 'partial'} {self.includes_missing}"
        return f"2.25.{uuid.uuid5(uuid.NAMESPACE_OID, name).int}"

    def data_set(self) -> bytes:
        """PS3.4 table R.3.2-1, in Implicit VR Little Endian; b"" where nothing is there to tell of."""
        everywhere = tuple(dict.fromkeys(title for titles in self.archives.values() for title in titles))
        told = [one for one in self.references if self.includes_missing or one.sop_instance_uid in self.archives]
        if not everywhere or not told:
            return b""
        series = groupby(sorted(told, key=_series_uid), key=_series_uid)
        step = {
            REFERENCED_SOP_CLASS_UID: element("UI", MPPS),
            REFERENCED_SOP_INSTANCE_UID: element("UI", self.step_uid),
            WORKITEM_CODE_SEQUENCE: Element("SQ", ()),
        }
        whole: DataSet = {
            REFERENCED_STEP_SEQUENCE: Element("SQ", (step,)),
            STUDY_INSTANCE_UID: element("UI", self.study_uid),
            REFERENCED_SERIES_SEQUENCE: Element(
                "SQ", tuple(self._series(uid, list(instances), everywhere) for uid, instances in series)
            ),
        }
        return write(whole, IMPLICIT_LE)

    def _series(self, uid: str, instances: Sequence[InstanceReference], everywhere: Sequence[str]) -> DataSet:
        items = tuple(self._instance(instance, everywhere) for instance in instances)
        return {SERIES_INSTANCE_UID: element("UI", uid), REFERENCED_SOP_SEQUENCE: Element("SQ", items)}

    def _instance(self, instance: InstanceReference, everywhere: Sequence[str]) -> DataSet:
        """One that is nowhere is unavailable from where the others are (PS3.3 C.4.23.1.1)."""
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
    """The message to peers. `calling_ae` and `peer` are those of the modality, for people."""
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
