"""Data sets as trees: what was read is what is written, whatever the transfer syntax."""

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydicom.dataset import Dataset

from router.dicom.dataset import TRANSFER_SYNTAXES, DataSet, Element, overlaid, read, text, write
from router.dicom.encoding import MalformedDataSet
from router.dicom.uids import EXPLICIT_LE
from tests.support.mpps_messages import completed, encoded, in_progress


@pytest.mark.parametrize("transfer_syntax", TRANSFER_SYNTAXES)
def test_what_pydicom_writes_is_read_and_written_the_same(transfer_syntax: str) -> None:
    data_set = in_progress()
    data_set.add_new(0x00280010, "US", 512)
    data_set.add_new(0x00400300, "US", [1, 2, 3])
    data = encoded(data_set, transfer_syntax)

    assert write(read(data, transfer_syntax), transfer_syntax) == data


@pytest.mark.parametrize("there", TRANSFER_SYNTAXES)
@pytest.mark.parametrize("here", TRANSFER_SYNTAXES)
def test_a_tree_written_in_another_transfer_syntax_says_the_same(here: str, there: str) -> None:
    tree = read(encoded(completed(), here), here)

    assert read(write(tree, there), there) == tree


def test_sequences_of_undefined_length_are_read() -> None:
    data_set = completed()
    data_set[0x00400340].is_undefined_length = True
    for item in data_set.PerformedSeriesSequence:
        item.is_undefined_length_sequence_item = True

    tree = read(encoded(data_set, EXPLICIT_LE), EXPLICIT_LE)

    assert tree == read(encoded(completed(), EXPLICIT_LE), EXPLICIT_LE)


def test_private_and_unknown_elements_are_kept() -> None:
    data_set = in_progress()
    data_set.private_block(0x0041, "SOMEBODY", create=True).add_new(0x01, "UN", b"\x01\x02\x03\x04")
    data = encoded(data_set, EXPLICIT_LE)

    assert write(read(data, EXPLICIT_LE), EXPLICIT_LE) == data


@given(st.binary(max_size=200), st.sampled_from(TRANSFER_SYNTAXES))
def test_whatever_the_bytes_there_is_a_tree_or_a_malformed_data_set(data: bytes, transfer_syntax: str) -> None:
    try:
        tree = read(data, transfer_syntax)
    except MalformedDataSet:
        return
    write(tree, transfer_syntax)


@given(st.data())
def test_a_damaged_step_is_a_tree_or_a_malformed_data_set(data: st.DataObject) -> None:
    transfer_syntax = data.draw(st.sampled_from(TRANSFER_SYNTAXES))
    damaged = bytearray(encoded(completed(), transfer_syntax))
    for _ in range(data.draw(st.integers(1, 4))):
        damaged[data.draw(st.integers(0, len(damaged) - 1))] = data.draw(st.integers(0, 255))
    try:
        tree = read(bytes(damaged[: data.draw(st.integers(0, len(damaged)))]), transfer_syntax)
    except MalformedDataSet:
        return
    write(tree, transfer_syntax)


def test_the_later_data_set_prevails_element_by_element() -> None:
    held, update = Dataset(), Dataset()
    held.Modality, held.StudyID = "CT", "1"
    update.StudyID, update.PerformedProcedureStepDescription = "2", "head"

    tree = overlaid(read(encoded(held, EXPLICIT_LE), EXPLICIT_LE), read(encoded(update, EXPLICIT_LE), EXPLICIT_LE))

    assert [text(tree, tag) for tag in (0x00080060, 0x00200010, 0x00400254)] == ["CT", "2", "head"]


def test_text_of_two_character_sets_becomes_utf_8() -> None:
    held, update = Dataset(), Dataset()
    held.SpecificCharacterSet, held.PatientName = "ISO_IR 100", "Müller^Jörg"
    update.SpecificCharacterSet, update.PerformedProcedureStepDescription = "ISO_IR 144", "голова"

    tree = overlaid(read(encoded(held, EXPLICIT_LE), EXPLICIT_LE), read(encoded(update, EXPLICIT_LE), EXPLICIT_LE))

    assert text(tree, 0x00100010) == "Müller^Jörg"
    assert text(tree, 0x00400254) == "голова"
    assert text(tree, 0x00080005) == "ISO_IR 192"


def test_an_update_without_a_character_set_leaves_that_of_the_step() -> None:
    held, update = Dataset(), Dataset()
    held.SpecificCharacterSet, held.PatientName = "ISO_IR 100", "Müller^Jörg"
    update.PerformedProcedureStepDescription = "head"

    tree = overlaid(read(encoded(held, EXPLICIT_LE), EXPLICIT_LE), read(encoded(update, EXPLICIT_LE), EXPLICIT_LE))

    assert text(tree, 0x00080005) == "ISO_IR 100"
    assert text(tree, 0x00100010) == "Müller^Jörg"


CHARACTER_SET = 0x00080005
PATIENT_NAME = 0x00100010
values = st.binary(max_size=12) | st.lists(
    st.dictionaries(st.sampled_from([CHARACTER_SET, PATIENT_NAME]), st.builds(Element, st.just("CS"), st.binary())),
    max_size=2,
).map(tuple)


@given(st.dictionaries(st.sampled_from([CHARACTER_SET, PATIENT_NAME]), st.builds(Element, st.just("PN"), values)))
def test_the_text_of_any_tree_can_be_read_whatever_stands_for_its_character_set(tree: DataSet) -> None:
    for tag in (CHARACTER_SET, PATIENT_NAME):
        assert isinstance(text(tree, tag), str)


def test_a_sequence_that_stands_for_the_character_set_is_none() -> None:
    tree: DataSet = {CHARACTER_SET: Element("SQ", ({},)), PATIENT_NAME: Element("PN", b"Doe^Jane")}
    assert text(tree, PATIENT_NAME) == "Doe^Jane"
