"""Messages of a modality, as pydicom data sets: the attributes that PS3.4 table F.7.2-1 asks for, and no more."""

from collections.abc import Sequence

from pydicom.dataset import Dataset
from pydicom.filebase import DicomBytesIO
from pydicom.filewriter import write_dataset
from pydicom.sequence import Sequence as Items

from router.dicom.dataset import DataSet, read
from router.dicom.uids import EXPLICIT_BE, EXPLICIT_LE, IMPLICIT_LE

CT = "1.2.840.10008.5.1.4.1.1.2"
STUDY = "1.2.826.0.1.3680043.8.498.1"
SERIES = "1.2.826.0.1.3680043.8.498.2"


def encoded(data_set: Dataset, transfer_syntax: str = EXPLICIT_LE) -> bytes:
    """As pydicom writes it."""
    out = DicomBytesIO()
    out.is_implicit_VR = transfer_syntax == IMPLICIT_LE
    out.is_little_endian = transfer_syntax != EXPLICIT_BE
    write_dataset(out, data_set)
    return out.getvalue()


def tree(data_set: Dataset) -> DataSet:
    return read(encoded(data_set), EXPLICIT_LE)


def in_progress(step_id: str = "1", *, modality: str = "CT") -> Dataset:
    """The N-CREATE of a step."""
    scheduled = Dataset()
    scheduled.StudyInstanceUID = STUDY
    scheduled.ReferencedStudySequence = Items()
    scheduled.AccessionNumber = "A4711"
    scheduled.RequestedProcedureID = "R1"
    scheduled.RequestedProcedureDescription = "Head"
    scheduled.ScheduledProcedureStepID = "S1"
    scheduled.ScheduledProcedureStepDescription = "Head"
    scheduled.ScheduledProtocolCodeSequence = Items()
    step = Dataset()
    step.ScheduledStepAttributesSequence = Items([scheduled])
    step.PatientName = "Doe^Jane"
    step.PatientID = "P1"
    step.PatientBirthDate = ""
    step.PatientSex = "F"
    step.ReferencedPatientSequence = Items()
    step.PerformedProcedureStepID = step_id
    step.PerformedStationAETitle = "MODALITY"
    step.PerformedStationName = ""
    step.PerformedLocation = ""
    step.PerformedProcedureStepStartDate = "20261121"
    step.PerformedProcedureStepStartTime = "101112"
    step.PerformedProcedureStepStatus = "IN PROGRESS"
    step.PerformedProcedureStepDescription = ""
    step.PerformedProcedureTypeDescription = ""
    step.ProcedureCodeSequence = Items()
    step.PerformedProcedureStepEndDate = ""
    step.PerformedProcedureStepEndTime = ""
    step.Modality = modality
    step.StudyID = ""
    step.PerformedProtocolCodeSequence = Items()
    step.PerformedSeriesSequence = Items()
    return step


def completed(instances: Sequence[str] = ("1.2.3.1", "1.2.3.2"), *, status: str = "COMPLETED") -> Dataset:
    """The last N-SET of a step."""
    step = Dataset()
    step.PerformedProcedureStepStatus = status
    step.PerformedProcedureStepEndDate = "20261121"
    step.PerformedProcedureStepEndTime = "103000"
    step.PerformedSeriesSequence = Items([series(instances)])
    return step


def progress(words: str) -> Dataset:
    """An N-SET on the way."""
    step = Dataset()
    step.PerformedProcedureStepDescription = words
    return step


def series(instances: Sequence[str]) -> Dataset:
    one = Dataset()
    one.PerformingPhysicianName = ""
    one.OperatorsName = ""
    one.ProtocolName = "HEAD"
    one.SeriesInstanceUID = SERIES
    one.SeriesDescription = ""
    one.RetrieveAETitle = ""
    one.ReferencedImageSequence = Items([reference(uid) for uid in instances])
    one.ReferencedNonImageCompositeSOPInstanceSequence = Items()
    return one


def reference(uid: str) -> Dataset:
    item = Dataset()
    item.ReferencedSOPClassUID = CT
    item.ReferencedSOPInstanceUID = uid
    return item


UID = "1.2.826.0.1.3680043.8.498.4711"
