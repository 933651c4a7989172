"""Command sets: our codec against itself, against pydicom, and against garbage."""

from contextlib import suppress
from io import BytesIO
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydicom import Dataset
from pydicom.filebase import DicomBytesIO
from pydicom.filereader import read_dataset
from pydicom.filewriter import write_dataset

from router.dimse import (
    DATA_SET,
    Command,
    CommandField,
    InvalidCommandSet,
    Priority,
    Status,
    command_name,
    decode,
    encode,
    response_to,
)
from router.dimse.command import MESSAGES
from tests.support.command_sets import commands

CT = "1.2.840.10008.5.1.4.1.1.2"


@given(commands())
def test_what_is_encoded_decodes_to_itself(command: Command) -> None:
    assert decode(encode(command)) == command
    assert command.missing() == ()


@given(commands())
def test_pydicom_reads_what_we_write(command: Command) -> None:
    dataset = read_dataset(BytesIO(encode(command)), is_implicit_VR=True, is_little_endian=True)
    assert dataset.CommandField == command.field
    assert dataset.CommandGroupLength == len(encode(command)) - 12
    assert dataset.get("AffectedSOPInstanceUID") == command.affected_sop_instance_uid
    assert dataset.get("Status") == command.status
    assert dataset.get("ErrorComment") == command.error_comment


def test_we_read_what_pydicom_writes_with_its_retired_elements() -> None:
    dataset = Dataset()
    dataset.CommandGroupLength = 0
    dataset.AffectedSOPClassUID = CT
    dataset.CommandField = 1
    dataset.MessageID = 7
    dataset.Priority = 0
    dataset.CommandDataSetType = 0
    dataset.AffectedSOPInstanceUID = "1.2.3"
    dataset.add_new(0x00000010, "SH", "ACR-NEMA 2.0")
    buffer = DicomBytesIO()
    buffer.is_implicit_VR = buffer.is_little_endian = True
    write_dataset(buffer, dataset)
    command = decode(buffer.getvalue())
    assert command == Command(
        field=CommandField.C_STORE_RQ,
        message_id=7,
        affected_sop_class_uid=CT,
        affected_sop_instance_uid="1.2.3",
        priority=Priority.MEDIUM,
        data_set_type=0,
    )
    assert command.has_data_set


@given(st.binary(max_size=256))
def test_garbage_is_an_invalid_command_set_and_nothing_else(data: bytes) -> None:
    with suppress(InvalidCommandSet):
        decode(data)


@given(commands(), st.data())
def test_a_truncated_command_set_is_never_taken_for_a_whole_one(command: Command, data: st.DataObject) -> None:
    encoded = encode(command)
    cut = data.draw(st.integers(1, len(encoded) - 1))
    try:
        shorter = decode(encoded[:cut])
    except InvalidCommandSet:
        return
    assert shorter != command


@pytest.mark.parametrize(
    ("damage", "words"),
    [
        (lambda data: data[:-1], "claims"),
        (lambda data: data + b"\0\0", "stray bytes"),
        (lambda data: data + bytes.fromhex("0800 1800 0000 0000"), "does not belong"),
        (lambda data: bytes.fromhex("0000 0000 0400 0000 0000 0000"), "no Command Field"),
    ],
)
def test_an_invalid_command_set_says_what_is_wrong(damage: Any, words: str) -> None:
    valid = encode(Command(field=CommandField.C_ECHO_RQ, message_id=1, affected_sop_class_uid="1.2"))
    with pytest.raises(InvalidCommandSet, match=words):
        decode(damage(valid))


@pytest.mark.parametrize(
    "command",
    [
        Command(field=CommandField.C_ECHO_RQ, affected_sop_class_uid="1.2"),
        Command(field=CommandField.C_ECHO_RSP, status=0),
        Command(field=CommandField.C_ECHO_RSP, message_id_being_responded_to=1),
        Command(field=CommandField.C_CANCEL_RQ),
    ],
)
def test_a_message_that_cannot_be_answered_or_matched_is_invalid(command: Command) -> None:
    with pytest.raises(InvalidCommandSet, match="without"):
        decode(encode(command))


def test_a_response_echoes_requested_uids_as_affected_ones() -> None:
    request = Command(
        field=CommandField.N_SET_RQ,
        message_id=9,
        requested_sop_class_uid="1.2",
        requested_sop_instance_uid="1.2.3",
        data_set_type=DATA_SET,
    )
    response = response_to(request, Status.PROCESSING_FAILURE, error_id=0xA710, error_comment="x" * 80)
    assert (response.name, response.affected_sop_class_uid, response.affected_sop_instance_uid) == (
        "N-SET-RSP",
        "1.2",
        "1.2.3",
    )
    assert not response.has_data_set
    decoded = decode(encode(response))
    assert (decoded.error_id, decoded.error_comment) == (0xA710, "x" * 64)


def test_what_a_message_lacks_is_named() -> None:
    assert Command(field=CommandField.C_STORE_RQ, message_id=1).missing() == (
        "affected_sop_class_uid",
        "affected_sop_instance_uid",
        "priority",
    )
    assert Command(field=0x0BAD, message_id=1).missing() == ()


def test_names_are_those_of_the_standard() -> None:
    assert command_name(CommandField.N_EVENT_REPORT_RSP) == "N-EVENT-REPORT-RSP"
    assert command_name(0x0BAD) == "0BADH"
    assert len(MESSAGES) == len(CommandField) == 23
