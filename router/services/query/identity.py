"""The identity of records: what makes two answers of two archives one record (pure).

At a level it is the unique key of the level, at PATIENT with the issuer of the ID: two hospitals may give one ID to two
patients. In a worklist it is the IDs of the step, the procedure and the order, the Study Instance UID, and the issuer
of the patient's ID. A query asks for these elements even if the client has not; then the client does not get them.
"""

from collections.abc import Callable, Mapping
from typing import Final

from router.dicom.dataset import DataSet, Element, identifier, items, text
from router.dicom.information_models import (
    ISSUER_OF_PATIENT_ID,
    PATIENT,
    PATIENT_ID,
    STUDY_INSTANCE_UID,
    UNIQUE_KEYS,
)
from router.dicom.tags import SPECIFIC_CHARACTER_SET
from router.services.query.identifier import SCHEDULED_PROCEDURE_STEP_SEQUENCE

Identity = tuple[str, ...]

ACCESSION_NUMBER: Final = 0x00080050
REQUESTED_PROCEDURE_ID: Final = 0x00401001
SCHEDULED_PROCEDURE_STEP_ID: Final = 0x00400009

_OF_WORKLIST: Final[Mapping[int, str]] = {
    ACCESSION_NUMBER: "SH",
    PATIENT_ID: "LO",
    ISSUER_OF_PATIENT_ID: "LO",
    STUDY_INSTANCE_UID: "UI",
    REQUESTED_PROCEDURE_ID: "SH",
}


def identity_of(data_set: DataSet, level: str, issuer: str = "") -> Identity | None:
    """Return the identity of a record; None if it has none. `issuer`: of patient IDs that come without one."""
    if level == PATIENT:
        patient = text(data_set, PATIENT_ID)
        return (patient, text(data_set, ISSUER_OF_PATIENT_ID) or issuer) if patient else None
    uid = identifier(data_set, UNIQUE_KEYS[level])
    return (uid,) if uid else None


def worklist_identity_of(data_set: DataSet, issuer: str = "") -> Identity | None:
    """Return the identity of a worklist item; None if it has no ID at all.

    Without a Study Instance UID the IDs may be equal by chance, so that the patient's ID counts, too.
    """
    steps = items(data_set, SCHEDULED_PROCEDURE_STEP_SEQUENCE)
    step = text(steps[0], SCHEDULED_PROCEDURE_STEP_ID) if steps else ""
    study = identifier(data_set, STUDY_INSTANCE_UID)
    ids = (step, text(data_set, REQUESTED_PROCEDURE_ID), text(data_set, ACCESSION_NUMBER), study)
    if not any(ids):
        return None
    patient = "" if study else text(data_set, PATIENT_ID)
    return (*ids, patient, text(data_set, ISSUER_OF_PATIENT_ID) or issuer)


def with_identity(keys: DataSet, level: str) -> DataSet:
    """Return the keys with those of the identity added, without values. `level`: "" in a worklist."""
    if not level:
        step = items(keys, SCHEDULED_PROCEDURE_STEP_SEQUENCE)
        wanted = {tag: Element(vr, b"") for tag, vr in _OF_WORKLIST.items()}
        if SCHEDULED_PROCEDURE_STEP_SEQUENCE in keys and not (step and step[0]):
            return {**wanted, **keys}  # a sequence without keys asks for all of its elements
        item = {SCHEDULED_PROCEDURE_STEP_ID: Element("SH", b""), **(step[0] if step else {})}
        return {**wanted, **keys, SCHEDULED_PROCEDURE_STEP_SEQUENCE: Element("SQ", (item,))}
    wanted = {UNIQUE_KEYS[level]: Element("LO" if level == PATIENT else "UI", b"")}
    if level == PATIENT:
        wanted[ISSUER_OF_PATIENT_ID] = Element("LO", b"")
    return {**wanted, **keys}


def without_added(keys: DataSet, asked: DataSet) -> Callable[[DataSet], dict[int, Element]]:
    """Return a function that leaves out of an answer what an archive was asked beyond the keys of the client."""
    added = asked.keys() - keys.keys() - {SPECIFIC_CHARACTER_SET}
    step, asked_step = (items(one, SCHEDULED_PROCEDURE_STEP_SEQUENCE) for one in (keys, asked))
    added_to_step = asked_step[0].keys() - step[0].keys() if step and asked_step else frozenset()

    def as_asked(answer: DataSet) -> dict[int, Element]:
        kept = {tag: one for tag, one in answer.items() if tag not in added}
        if added_to_step and SCHEDULED_PROCEDURE_STEP_SEQUENCE in kept:
            steps = tuple(
                {tag: one for tag, one in item.items() if tag not in added_to_step}
                for item in items(kept, SCHEDULED_PROCEDURE_STEP_SEQUENCE)
            )
            kept[SCHEDULED_PROCEDURE_STEP_SEQUENCE] = Element("SQ", steps)
        return kept

    return as_asked
