"""The attributes of a procedure step that the router reads: status, study, the instances that it has produced. Pure.

Functions on data sets as router/dicom/dataset.py reads them. Not here: required attributes (requirements.py).
"""

from collections.abc import Iterator
from enum import Enum
from typing import Final

from attrs import frozen

from router.dicom.dataset import DataSet, items, text
from router.dicom.tags import REFERENCED_SOP_CLASS_UID, REFERENCED_SOP_INSTANCE_UID, SPECIFIC_CHARACTER_SET

MPPS: Final = "1.2.840.10008.3.1.2.3.3"
"""Modality Performed Procedure Step (PS3.4 F.7)."""
MPPS_RETRIEVE: Final = "1.2.840.10008.3.1.2.3.4"
MPPS_NOTIFICATION: Final = "1.2.840.10008.3.1.2.3.5"

ACCESSION_NUMBER: Final = 0x00080050
MODALITY: Final = 0x00080060
REFERENCED_IMAGE_SEQUENCE: Final = 0x00081140
PATIENT_NAME: Final = 0x00100010
PATIENT_ID: Final = 0x00100020
STUDY_INSTANCE_UID: Final = 0x0020000D
SERIES_INSTANCE_UID: Final = 0x0020000E
REFERENCED_NON_IMAGE_SEQUENCE: Final = 0x00400220
STATION_AE_TITLE: Final = 0x00400241
START_DATE: Final = 0x00400244
START_TIME: Final = 0x00400245
END_DATE: Final = 0x00400250
END_TIME: Final = 0x00400251
STATUS: Final = 0x00400252
SCHEDULED_STEP_ATTRIBUTES: Final = 0x00400270
PERFORMED_SERIES: Final = 0x00400340


class StepStatus(Enum):
    """Performed Procedure Step Status (0040,0252), PS3.4 table F.1-3."""

    IN_PROGRESS = "IN PROGRESS"
    COMPLETED = "COMPLETED"
    DISCONTINUED = "DISCONTINUED"

    @property
    def is_final(self) -> bool:
        return self is not StepStatus.IN_PROGRESS


@frozen
class InstanceReference:
    """An instance that a step has produced."""

    series_uid: str
    sop_class_uid: str
    sop_instance_uid: str


def references(data_set: DataSet) -> list[InstanceReference]:
    """Return the instances that the Performed Series Sequence names, each once, in its order.

    Items without both UIDs, or in a series without a UID, are left out: no notification could name them.
    """
    return list(dict.fromkeys(_references(data_set)))


def _references(data_set: DataSet) -> Iterator[InstanceReference]:
    for series in items(data_set, PERFORMED_SERIES):
        series_uid = text(series, SERIES_INSTANCE_UID)
        for sequence in (REFERENCED_IMAGE_SEQUENCE, REFERENCED_NON_IMAGE_SEQUENCE):
            for item in items(series, sequence):
                found = InstanceReference(
                    series_uid, text(item, REFERENCED_SOP_CLASS_UID), text(item, REFERENCED_SOP_INSTANCE_UID)
                )
                if found.series_uid and found.sop_class_uid and found.sop_instance_uid:
                    yield found


def of_schedule(data_set: DataSet, tag: int) -> str:
    """Return the first value of an attribute of the scheduled steps, such as the accession number; "" without one.

    Items without a character set of their own have that of the data set.
    """
    for item in items(data_set, SCHEDULED_STEP_ATTRIBUTES):
        inherited = (
            {SPECIFIC_CHARACTER_SET: data_set[SPECIFIC_CHARACTER_SET]} if SPECIFIC_CHARACTER_SET in data_set else {}
        )
        if found := text({**inherited, **item}, tag):
            return found
    return ""
