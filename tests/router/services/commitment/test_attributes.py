"""The data sets of storage commitment, against pydicom's reading and writing of them."""

from io import BytesIO

import pytest
from pydicom.dataset import Dataset
from pydicom.filebase import DicomBytesIO
from pydicom.filereader import read_dataset
from pydicom.filewriter import write_dataset

from router.dimse import Status
from router.services.commitment.attributes import (
    CommitmentRequest,
    RefusedRequest,
    read_report,
    read_request,
    read_steps,
    write_report,
    write_request,
    write_steps,
)
from router.services.commitment.transaction import (
    COMMITTED,
    ArchiveResult,
    InstanceResult,
    Reference,
    TransactionOutcome,
)
from tests.support.commitment_peers import UID, instances
from tests.support.harness import CT, IMPLICIT

EXPLICIT, BIG = "1.2.840.10008.1.2.1", "1.2.840.10008.1.2.2"
SYNTAXES = (IMPLICIT, EXPLICIT, BIG)
ONE, TWO = instances(2)


def encoded(data_set: Dataset, transfer_syntax: str = IMPLICIT) -> bytes:
    buffer = DicomBytesIO()
    buffer.is_little_endian, buffer.is_implicit_VR = transfer_syntax != BIG, transfer_syntax == IMPLICIT
    write_dataset(buffer, data_set)
    return buffer.getvalue()


def decoded(data: bytes, transfer_syntax: str = IMPLICIT) -> Dataset:
    return read_dataset(BytesIO(data), transfer_syntax == IMPLICIT, transfer_syntax != BIG)


def item(reference: Reference, **values: object) -> Dataset:
    data_set = Dataset()
    data_set.ReferencedSOPClassUID = reference.sop_class_uid
    data_set.ReferencedSOPInstanceUID = reference.sop_instance_uid
    for name, value in values.items():
        setattr(data_set, name, value)
    return data_set


def request(**values: object) -> Dataset:
    data_set = Dataset()
    data_set.TransactionUID = UID
    data_set.ReferencedSOPSequence = [item(ONE), item(TWO), item(ONE)]
    for name, value in values.items():
        setattr(data_set, name, value)
    return data_set


@pytest.mark.parametrize("syntax", SYNTAXES)
def test_a_request_is_read_in_every_transfer_syntax_and_an_instance_counts_once(syntax: str) -> None:
    read = read_request(encoded(request(), syntax), syntax)
    assert (read.transaction_uid, read.references, tuple(read.steps)) == (UID, (ONE, TWO), ())


@pytest.mark.parametrize("syntax", SYNTAXES)
def test_a_request_is_written_as_others_read_it(syntax: str) -> None:
    written = decoded(write_request(CommitmentRequest(transaction_uid=UID, references=(ONE, TWO)), syntax), syntax)
    assert written.TransactionUID == UID
    assert [one.ReferencedSOPInstanceUID for one in written.ReferencedSOPSequence] == [
        ONE.sop_instance_uid,
        TWO.sop_instance_uid,
    ]


def test_the_steps_of_a_request_are_passed_on() -> None:
    step = Reference("1.2.840.10008.3.1.2.3.3", "2.25.77")
    asked = read_request(encoded(request(ReferencedPerformedProcedureStepSequence=[item(step)])), IMPLICIT)
    kept = CommitmentRequest(transaction_uid=UID, references=(ONE,), steps=read_steps(write_steps(asked)))
    (passed,) = decoded(write_request(kept, IMPLICIT)).ReferencedPerformedProcedureStepSequence
    assert passed.ReferencedSOPInstanceUID == "2.25.77"
    assert read_steps(b"") == ()


@pytest.mark.parametrize(
    ("changes", "status"),
    [
        ({"TransactionUID": ""}, Status.MISSING_ATTRIBUTE_VALUE),
        ({"TransactionUID": None}, Status.MISSING_ATTRIBUTE_VALUE),
        ({"ReferencedSOPSequence": []}, Status.MISSING_ATTRIBUTE_VALUE),
        ({"ReferencedSOPSequence": [item(Reference("", "2.25.1"))]}, Status.MISSING_ATTRIBUTE_VALUE),
        ({"ReferencedSOPSequence": [item(Reference(CT, ""))]}, Status.MISSING_ATTRIBUTE_VALUE),
        (
            {"ReferencedSOPSequence": [item(ONE), item(Reference("1.2", ONE.sop_instance_uid))]},
            Status.CLASS_INSTANCE_CONFLICT,
        ),
    ],
)
def test_a_request_that_lacks_something_is_refused(changes: dict[str, object], status: Status) -> None:
    with pytest.raises(RefusedRequest) as refused:
        read_request(encoded(request(**changes)), IMPLICIT)
    assert refused.value.status == status


def test_a_uid_that_is_none_is_an_invalid_argument() -> None:
    data = encoded(request()).replace(UID.encode(), b"X" * len(UID))
    with pytest.raises(RefusedRequest) as refused:
        read_request(data, IMPLICIT)
    assert refused.value.status == Status.INVALID_ARGUMENT_VALUE


def test_bytes_that_make_no_data_set_are_a_processing_failure() -> None:
    with pytest.raises(RefusedRequest) as refused:
        read_request(b"\x08\x00\x99\x11\xff\x00\x00\x00oops", IMPLICIT)
    assert refused.value.status == Status.PROCESSING_FAILURE


def report(**values: object) -> Dataset:
    data_set = Dataset()
    data_set.TransactionUID = UID
    for name, value in values.items():
        setattr(data_set, name, value)
    return data_set


def test_a_report_says_who_has_what_and_who_has_not() -> None:
    data = report(
        RetrieveAETitle="ARCHIVE",
        ReferencedSOPSequence=[item(ONE)],
        FailedSOPSequence=[item(TWO, FailureReason=0x0112)],
    )
    read = read_report(encoded(data), IMPLICIT, 2)
    assert read.results == {
        ONE.sop_instance_uid: ArchiveResult(COMMITTED, "ARCHIVE"),
        TWO.sop_instance_uid: ArchiveResult(0x0112),
    }


def test_an_instance_that_has_both_failed_and_not_has_failed() -> None:
    data = report(ReferencedSOPSequence=[item(ONE)], FailedSOPSequence=[item(ONE)])
    assert read_report(encoded(data), IMPLICIT, 2).results == {ONE.sop_instance_uid: ArchiveResult(0x0110)}


def test_an_event_type_that_is_none_is_refused() -> None:
    with pytest.raises(RefusedRequest) as refused:
        read_report(encoded(report()), IMPLICIT, 3)
    assert refused.value.status == Status.NO_SUCH_EVENT_TYPE


@pytest.mark.parametrize("syntax", SYNTAXES)
def test_pydicom_reads_the_report_to_the_modality(syntax: str) -> None:
    outcome = TransactionOutcome((InstanceResult(ONE, COMMITTED, "PACS"), InstanceResult(TWO, 0x0112)))
    written = decoded(write_report(UID, outcome, syntax), syntax)
    assert (written.TransactionUID, written.RetrieveAETitle) == (UID, "PACS")
    assert [one.ReferencedSOPInstanceUID for one in written.ReferencedSOPSequence] == [ONE.sop_instance_uid]
    assert [one.FailureReason for one in written.FailedSOPSequence] == [0x0112]


def test_retrieve_ae_titles_that_differ_stand_with_their_instances() -> None:
    outcome = TransactionOutcome((InstanceResult(ONE, COMMITTED, "PACS"), InstanceResult(TWO, COMMITTED, "VNA")))
    written = decoded(write_report(UID, outcome, IMPLICIT))
    assert "RetrieveAETitle" not in written
    assert "FailedSOPSequence" not in written
    assert [one.RetrieveAETitle for one in written.ReferencedSOPSequence] == ["PACS", "VNA"]
