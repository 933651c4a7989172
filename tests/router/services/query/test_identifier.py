"""Identifiers: the same content in every transfer syntax, faults with their element, keys in another character set."""

from contextlib import suppress
from io import BytesIO

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydicom.dataset import Dataset
from pynetdicom.dsutils import decode, encode

from router.dicom.dataset import DataSet, identifier, text
from router.dicom.encoding import MalformedDataSet
from router.dicom.information_models import (
    MODELS,
    PATIENT_ROOT,
    PATIENT_STUDY_ONLY,
    STUDY_ROOT,
    WORKLIST,
    InformationModel,
    model_of,
)
from router.services.query.identifier import (
    ACCEPTED_SYNTAXES,
    DEFLATED,
    LARGEST,
    InvalidIdentifier,
    check_identifier,
    check_unique_key,
    decode_identifier,
    encode_identifier,
    in_character_set,
)

NAME, LEVEL, PATIENT_ID, STUDY, SERIES = 0x00100010, 0x00080052, 0x00100020, 0x0020000D, 0x0020000E
IMPLICIT = "1.2.840.10008.1.2"


def keys(**values: object) -> DataSet:
    data_set = Dataset()
    for keyword, value in values.items():
        setattr(data_set, keyword, value)
    encoded = encode(data_set, True, True)
    assert encoded is not None
    return decode_identifier(encoded, IMPLICIT)


@pytest.mark.parametrize("syntax", ACCEPTED_SYNTAXES)
def test_an_identifier_has_the_same_content_in_every_transfer_syntax(syntax: str) -> None:
    step = Dataset()
    step.Modality = "CT"
    data_set = keys(PatientName="Ä^B", Rows=512, StudyInstanceUID="1.2.3", ScheduledProcedureStepSequence=[step])
    encoded = encode_identifier(data_set, syntax)
    assert not len(encoded) % 2
    assert decode_identifier(encoded, syntax) == data_set
    is_implicit, is_little = syntax == IMPLICIT, syntax != "1.2.840.10008.1.2.2"
    read = decode(BytesIO(encoded), is_implicit, is_little, deflated=syntax == DEFLATED)
    assert (read.Rows, read.ScheduledProcedureStepSequence[0].Modality) == (512, "CT")


def test_a_deflated_identifier_is_bounded_by_its_inflated_length() -> None:
    bomb = encode_identifier(keys(PatientComments="x" * (LARGEST + 1)), DEFLATED)
    assert len(bomb) < LARGEST / 100
    with pytest.raises(MalformedDataSet):
        decode_identifier(bomb, DEFLATED)


@given(st.binary(max_size=300), st.sampled_from(ACCEPTED_SYNTAXES))
def test_whatever_bytes_come_nothing_else_is_raised(data: bytes, syntax: str) -> None:
    with suppress(MalformedDataSet):
        decode_identifier(data, syntax)


@pytest.mark.parametrize(
    ("model", "data_set", "element"),
    [
        (STUDY_ROOT, keys(PatientID="1"), LEVEL),
        (STUDY_ROOT, keys(QueryRetrieveLevel="PATIENT"), LEVEL),
        (PATIENT_STUDY_ONLY, keys(QueryRetrieveLevel="SERIES"), LEVEL),
        (PATIENT_ROOT, keys(QueryRetrieveLevel="STUDY"), PATIENT_ID),
        (PATIENT_ROOT, keys(QueryRetrieveLevel="STUDY", PatientID="A*"), PATIENT_ID),
        (STUDY_ROOT, keys(QueryRetrieveLevel="SERIES", StudyInstanceUID=""), STUDY),
        (STUDY_ROOT, keys(QueryRetrieveLevel="SERIES", StudyInstanceUID=["1.2", "1.3"]), STUDY),
        (STUDY_ROOT, keys(QueryRetrieveLevel="IMAGE", StudyInstanceUID="1.2"), SERIES),
    ],
)
def test_a_fault_names_its_element(model: InformationModel, data_set: DataSet, element: int) -> None:
    with pytest.raises(InvalidIdentifier) as fault:
        check_identifier(data_set, model)
    assert fault.value.elements == (element,)


def test_what_matches_the_model_passes_and_relational_needs_no_keys_above() -> None:
    check_identifier(keys(QueryRetrieveLevel="STUDY", StudyInstanceUID=["1.2", "1.3"]), STUDY_ROOT)
    check_identifier(keys(QueryRetrieveLevel="IMAGE", StudyInstanceUID="1.2", SeriesInstanceUID="1.3"), STUDY_ROOT)
    check_identifier(keys(QueryRetrieveLevel="STUDY", PatientID="1"), PATIENT_ROOT)
    check_identifier(keys(QueryRetrieveLevel="IMAGE"), PATIENT_ROOT, relational=True)
    check_identifier(keys(PatientID="1"), WORKLIST)


@pytest.mark.parametrize(
    ("data_set", "level", "element"),
    [
        (keys(PatientID="1"), "STUDY", STUDY),
        (keys(StudyInstanceUID="", PatientID="1"), "STUDY", STUDY),
        (keys(StudyInstanceUID="1.2"), "SERIES", SERIES),
        (keys(PatientID="*"), "PATIENT", PATIENT_ID),
        (keys(PatientID="1?"), "PATIENT", PATIENT_ID),
        (keys(PatientID=["1", "2"]), "PATIENT", PATIENT_ID),
    ],
)
def test_a_retrieve_says_what_it_wants_by_the_unique_key_of_its_level(
    data_set: DataSet, level: str, element: int
) -> None:
    with pytest.raises(InvalidIdentifier) as fault:
        check_unique_key(data_set, level)
    assert fault.value.elements == (element,)
    check_unique_key(keys(PatientID="1", StudyInstanceUID=["1.2", "1.3"], SeriesInstanceUID="1.2"), level)


def test_every_sop_class_has_its_model() -> None:
    assert {model_of(uid) for model in MODELS.values() for uid in (model.find,)} == set(MODELS.values())
    assert model_of("1.2.840.10008.5.1.4.1.2.2.3") is STUDY_ROOT
    assert model_of("1.2.840.10008.1.1") is None


def test_keys_are_carried_over_to_another_character_set_and_what_it_lacks_is_a_wildcard() -> None:
    latin = keys(SpecificCharacterSet="ISO_IR 100", PatientName="Müller^Jürg", PatientID="Ü1")
    in_utf_8 = in_character_set(latin, "ISO_IR 192")
    assert text(in_utf_8, NAME) == "Müller^Jürg"
    assert identifier(in_utf_8, 0x00080005) == "ISO_IR 192"
    in_default = in_character_set(latin, "")
    assert text(in_default, NAME) == "M?ller^J?rg"
    assert 0x00080005 not in in_default
