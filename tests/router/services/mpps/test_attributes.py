"""The attributes that a conformance statement of the field lists for N-CREATE and N-SET (document 004, tables 57 and
58) arrive at the RIS and are there to be retrieved."""

from pathlib import Path
from typing import Any

import pytest
from pydicom.dataset import Dataset
from pydicom.sequence import Sequence

from router.dicom.dataset import DataSet, read
from router.dicom.uids import EXPLICIT_LE, IMPLICIT_LE
from router.dimse import Status
from router.services.mpps.attributes import MPPS_RETRIEVE, STATUS
from tests.support.harness import running_router
from tests.support.mpps import get
from tests.support.mpps_messages import UID, encoded
from tests.support.mpps_peers import RIS, Scanner, hub

CODE = {"CodeValue": "1", "CodingSchemeDesignator": "99X", "CodingSchemeVersion": "1", "CodeMeaning": "one"}
REFERENCE = {"ReferencedSOPClassUID": "1.2.840.10008.5.1.4.1.1.2", "ReferencedSOPInstanceUID": "1.2.3.4"}
SERIES = {
    "PerformingPhysicianName": "A^B",
    "OperatorsName": "C^D",
    "ProtocolName": "HEAD",
    "SeriesInstanceUID": "1.2.3",
    "SeriesDescription": "first",
    "RetrieveAETitle": "PACS",
    "ReferencedImageSequence": REFERENCE,
    "ReferencedNonImageCompositeSOPInstanceSequence": REFERENCE,
}
RESULTS = {
    "PerformedProtocolCodeSequence": CODE,
    "PerformedSeriesSequence": SERIES,
    "TotalTimeOfFluoroscopy": 12,
    "TotalNumberOfExposures": 3,
    "ExposureDoseSequence": {"RadiationMode": "PULSED", "KVP": "80"},
    "CommentsOnRadiationDose": "low",
    "BillingProcedureStepSequence": CODE,
    "FilmConsumptionSequence": {"NumberOfFilms": 1, "MediumType": "PAPER"},
    "BillingSuppliesAndDevicesSequence": {"BillingItemSequence": CODE},
}
INFORMATION = {
    "PerformedProcedureStepEndDate": "20261121",
    "PerformedProcedureStepEndTime": "103000",
    "PerformedProcedureStepDescription": "head",
    "CommentsOnThePerformedProcedureStep": "none",
    "PerformedProcedureTypeDescription": "CT",
    "ProcedureCodeSequence": CODE,
    "PerformedProcedureStepDiscontinuationReasonCodeSequence": CODE,
}
TABLE_57 = {
    "PatientName": "Doe^Jane",
    "PatientID": "P1",
    "PatientBirthDate": "19700101",
    "PatientSex": "F",
    "ReferencedPatientSequence": REFERENCE,
    "ScheduledStepAttributesSequence": {
        "StudyInstanceUID": "1.2.9",
        "ReferencedStudySequence": REFERENCE,
        "AccessionNumber": "A1",
        "PlacerOrderNumberImagingServiceRequest": "PO1",
        "FillerOrderNumberImagingServiceRequest": "FO1",
        "RequestedProcedureID": "R1",
        "RequestedProcedureDescription": "head",
        "ScheduledProcedureStepID": "S1",
        "ScheduledProcedureStepDescription": "head",
        "ScheduledProtocolCodeSequence": CODE,
    },
    "PerformedStationAETitle": "CT1",
    "PerformedStationName": "CT",
    "PerformedLocation": "B2",
    "PerformedProcedureStepStartDate": "20261121",
    "PerformedProcedureStepStartTime": "101112",
    "PerformedProcedureStepID": "1",
    "PerformedProcedureStepStatus": "IN PROGRESS",
    "Modality": "CT",
    "StudyID": "1",
    **INFORMATION,
    **RESULTS,
}
TABLE_58 = {"PerformedProcedureStepStatus": "COMPLETED", **INFORMATION, **RESULTS}


def filled(values: dict[str, Any]) -> Dataset:
    data_set = Dataset()
    for keyword, value in values.items():
        setattr(data_set, keyword, Sequence([filled(value)]) if isinstance(value, dict) else value)
    data_set.private_block(0x0041, "SOMEBODY", create=True).add_new(0x01, "LO", "of our own")
    return data_set


def without_state(tree: DataSet) -> DataSet:
    return {tag: element for tag, element in tree.items() if tag != STATUS}


@pytest.mark.parametrize("transfer_syntax", [IMPLICIT_LE, EXPLICIT_LE])
@pytest.mark.parametrize("validation", ["lenient", "strict"])
async def test_every_attribute_arrives_and_is_there_to_be_retrieved(
    tmp_path: Path, transfer_syntax: str, validation: str
) -> None:
    create, last = filled(TABLE_57), filled(TABLE_58)
    route = f'service = "mpps"\nto = ["ris"]\nvalidation = "{validation}"'
    async with RIS().serving() as ris, running_router(hub(tmp_path, route, ris=ris.port)) as router:
        async with Scanner.connected(router.port, transfer_syntax=transfer_syntax) as scanner:
            assert (await scanner.create(UID, create)).status == Status.SUCCESS
            assert (await scanner.set(UID, last)).status == Status.SUCCESS
        await router.until("ris", delivered=2)
        async with Scanner.connected(
            router.port, transfer_syntax=transfer_syntax, sop_class=MPPS_RETRIEVE
        ) as workstation:
            step = read((await get(workstation, UID)).data_set, transfer_syntax)
    assert [one.data for one in ris.heard] == [encoded(create, transfer_syntax), encoded(last, transfer_syntax)]
    assert without_state(step) == without_state(read(encoded(create, transfer_syntax), transfer_syntax))
