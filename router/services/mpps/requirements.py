"""The attributes that PS3.4 table F.7.2-1 requires: in an N-CREATE, in an N-SET, and for a final status. Pure.

An attribute of type 1 must have a value, one of type 2 must be there. Not here: what follows from a missing one
(state_machine.py): a line in the log, or in strict validation a refusal.
"""

from collections.abc import Iterable, Iterator
from typing import Final

from attrs import frozen

from router.dicom import tags
from router.dicom.dataset import DataSet, Element, items
from router.dicom.tags import tag_name
from router.services.mpps import attributes


@frozen
class MissingAttribute:
    """A required attribute that is missing, or empty although it must have a value."""

    tag: int
    """Of the element at the top level that it is in."""
    reason: str
    """With the name of the attribute, without values."""
    is_empty: bool
    """It is there without a value; otherwise it is not there at all."""


CREATE_1: Final = (
    attributes.MODALITY,
    attributes.STATION_AE_TITLE,
    attributes.START_DATE,
    attributes.START_TIME,
    attributes.STATUS,
    0x00400253,  # Performed Procedure Step ID
    attributes.SCHEDULED_STEP_ATTRIBUTES,
)
CREATE_2: Final = (
    0x00081032,  # Procedure Code Sequence
    0x00081120,  # Referenced Patient Sequence
    attributes.PATIENT_NAME,
    attributes.PATIENT_ID,
    0x00100030,  # Patient's Birth Date
    0x00100040,  # Patient's Sex
    0x00200010,  # Study ID
    0x00400242,  # Performed Station Name
    0x00400243,  # Performed Location
    attributes.END_DATE,
    attributes.END_TIME,
    0x00400254,  # Performed Procedure Step Description
    0x00400255,  # Performed Procedure Type Description
    0x00400260,  # Performed Protocol Code Sequence
    attributes.PERFORMED_SERIES,
)
SCHEDULE_1: Final = (attributes.STUDY_INSTANCE_UID,)
SCHEDULE_2: Final = (
    attributes.ACCESSION_NUMBER,
    0x00081110,  # Referenced Study Sequence
    0x00321060,  # Requested Procedure Description
    0x00400007,  # Scheduled Procedure Step Description
    0x00400008,  # Scheduled Protocol Code Sequence
    0x00400009,  # Scheduled Procedure Step ID
    0x00401001,  # Requested Procedure ID
)
SERIES_1: Final = (0x00181030, attributes.SERIES_INSTANCE_UID)  # the first is Protocol Name
SERIES_2: Final = (
    tags.RETRIEVE_AE_TITLE,
    0x0008103E,  # Series Description
    0x00081050,  # Performing Physician's Name
    0x00081070,  # Operators' Name
    attributes.REFERENCED_IMAGE_SEQUENCE,
    attributes.REFERENCED_NON_IMAGE_SEQUENCE,
)
FINAL_1: Final = (attributes.END_DATE, attributes.END_TIME, attributes.PERFORMED_SERIES)

NOT_SET: Final = frozenset(
    {
        attributes.MODALITY,
        attributes.STATION_AE_TITLE,
        attributes.START_DATE,
        attributes.START_TIME,
        attributes.SCHEDULED_STEP_ATTRIBUTES,
        0x00081120,
        0x00200010,
        0x00400242,
        0x00400243,
        0x00400253,
    }
)
"""Elements that only an N-CREATE may contain; together with all of group 0010, the patient."""


def missing_for_create(data_set: DataSet) -> list[MissingAttribute]:
    """Return the required attributes that an N-CREATE lacks."""
    found = list(_missing(data_set, CREATE_1, CREATE_2))
    for item in items(data_set, attributes.SCHEDULED_STEP_ATTRIBUTES):
        found += _missing(item, SCHEDULE_1, SCHEDULE_2, attributes.SCHEDULED_STEP_ATTRIBUTES)
    return found


def missing_for_final(data_set: DataSet) -> list[MissingAttribute]:
    """Return the attributes required at the end that a step lacks, N-CREATE and N-SETs together."""
    found = list(_missing(data_set, FINAL_1, ()))
    for item in items(data_set, attributes.PERFORMED_SERIES):
        found += _missing(item, SERIES_1, SERIES_2, attributes.PERFORMED_SERIES)
    return found


def not_settable(data_set: DataSet) -> list[int]:
    """Return the tags of the elements that an N-SET must not contain."""
    return [tag for tag in sorted(data_set) if tag in NOT_SET or tag >> 16 == 0x0010]


def _missing(
    data_set: DataSet, type_1: Iterable[int], type_2: Iterable[int], within: int = 0
) -> Iterator[MissingAttribute]:
    of = f" of an item of {tag_name(within)}" if within else ""
    for tag in type_1:
        if tag not in data_set:
            yield MissingAttribute(within or tag, f"{tag_name(tag)}{of} is missing", is_empty=False)
        elif not _has_value(data_set[tag]):
            yield MissingAttribute(within or tag, f"{tag_name(tag)}{of} is empty", is_empty=True)
    for tag in type_2:
        if tag not in data_set:
            yield MissingAttribute(within or tag, f"{tag_name(tag)}{of} is missing", is_empty=False)


def _has_value(element: Element) -> bool:
    value = element.value
    return bool(value.strip(b"\0 ") if isinstance(value, bytes) else value)
