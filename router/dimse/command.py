"""Command sets: the messages of PS3.7 as values, and their encoding.

A command set has a few elements of group 0000, always in Implicit VR Little Endian (PS3.7 6.3.1), so that a table and
a loop are the whole codec. `Command` has one attribute for every element that the standard still uses; the table
`MESSAGES` lists the mandatory and optional ones of each message. Not here: the conditions of a service class
(`router/services`), fragments (`assembly`).
"""

import struct
from collections.abc import Iterator
from enum import IntEnum
from functools import cache
from typing import Any, Final, Literal

from attrs import fields, frozen

from router.dicom.encoding import padded

NO_DATA_SET: Final = 0x0101
"""Command Data Set Type (0000,0800) of a message without a data set; any other value means that one follows."""

DATA_SET: Final = 0x0001


class InvalidCommandSet(ValueError):
    """The bytes are not a command set. The association is aborted, because the message to answer is unknown."""


class CommandField(IntEnum):
    """Command Field (0000,0100), PS3.7 E.1."""

    C_STORE_RQ = 0x0001
    C_STORE_RSP = 0x8001
    C_GET_RQ = 0x0010
    C_GET_RSP = 0x8010
    C_FIND_RQ = 0x0020
    C_FIND_RSP = 0x8020
    C_MOVE_RQ = 0x0021
    C_MOVE_RSP = 0x8021
    C_ECHO_RQ = 0x0030
    C_ECHO_RSP = 0x8030
    N_EVENT_REPORT_RQ = 0x0100
    N_EVENT_REPORT_RSP = 0x8100
    N_GET_RQ = 0x0110
    N_GET_RSP = 0x8110
    N_SET_RQ = 0x0120
    N_SET_RSP = 0x8120
    N_ACTION_RQ = 0x0130
    N_ACTION_RSP = 0x8130
    N_CREATE_RQ = 0x0140
    N_CREATE_RSP = 0x8140
    N_DELETE_RQ = 0x0150
    N_DELETE_RSP = 0x8150
    C_CANCEL_RQ = 0x0FFF


RESPONSE: Final = 0x8000
"""The bit of the Command Field that marks a response."""


class Priority(IntEnum):
    """Priority (0000,0700)."""

    MEDIUM = 0x0000
    HIGH = 0x0001
    LOW = 0x0002


@frozen(kw_only=True, slots=False)  # without slots it is built and copied in half of the time
class Command:
    """One command set. Attributes that are None are not on the wire; (0000,0000) is computed when encoding."""

    field: int
    """A `CommandField`, or a number that is not in the standard."""
    message_id: int | None = None
    message_id_being_responded_to: int | None = None
    affected_sop_class_uid: str | None = None
    requested_sop_class_uid: str | None = None
    affected_sop_instance_uid: str | None = None
    requested_sop_instance_uid: str | None = None
    data_set_type: int = NO_DATA_SET
    status: int | None = None
    priority: int | None = None
    move_destination: str | None = None
    move_originator_ae_title: str | None = None
    move_originator_message_id: int | None = None
    number_of_remaining_suboperations: int | None = None
    number_of_completed_suboperations: int | None = None
    number_of_failed_suboperations: int | None = None
    number_of_warning_suboperations: int | None = None
    event_type_id: int | None = None
    action_type_id: int | None = None
    attribute_identifier_list: tuple[int, ...] | None = None
    """Tags, each as one number: 0x00080018."""
    offending_element: tuple[int, ...] | None = None
    error_comment: str | None = None
    error_id: int | None = None

    @property
    def has_data_set(self) -> bool:
        """True if a data set follows."""
        return self.data_set_type != NO_DATA_SET

    @property
    def is_response(self) -> bool:
        """True for a response, False for a request or a C-CANCEL-RQ."""
        return bool(self.field & RESPONSE)

    @property
    def name(self) -> str:
        """The name in the standard, such as "N-EVENT-REPORT-RQ"."""
        return command_name(self.field)

    @property
    def sop_class_uid(self) -> str:
        """The Affected or Requested SOP Class UID; "" without either."""
        return self.affected_sop_class_uid or self.requested_sop_class_uid or ""

    @property
    def sop_instance_uid(self) -> str:
        """The Affected or Requested SOP Instance UID; "" without either."""
        return self.affected_sop_instance_uid or self.requested_sop_instance_uid or ""

    def changed(self, **changes: Any) -> "Command":
        """Return a copy with other values of some attributes."""
        copy: Command = object.__new__(Command)
        attributes = vars(copy)
        attributes.update(vars(self))
        attributes.update(changes)
        return copy

    def missing(self) -> tuple[str, ...]:
        """Return the mandatory attributes that the message lacks (PS3.7 9.3 and 10.3)."""
        rule = MESSAGES.get(self.field)
        return tuple(name for name in rule.mandatory if getattr(self, name) is None) if rule else ()


@cache
def command_name(field: int) -> str:
    """Return the name of a Command Field, or an unknown one as a number."""
    try:
        words = CommandField(field).name.split("_")
    except ValueError:
        return f"{field:04X}H"
    return "-".join(words)


_VR = Literal["UI", "US", "UL", "AE", "LO", "AT"]

# PS3.7 Table E.1-1, in the order of the tags, which is the order on the wire.
ELEMENTS: Final[tuple[tuple[int, str, _VR], ...]] = (
    (0x0002, "affected_sop_class_uid", "UI"),
    (0x0003, "requested_sop_class_uid", "UI"),
    (0x0100, "field", "US"),
    (0x0110, "message_id", "US"),
    (0x0120, "message_id_being_responded_to", "US"),
    (0x0600, "move_destination", "AE"),
    (0x0700, "priority", "US"),
    (0x0800, "data_set_type", "US"),
    (0x0900, "status", "US"),
    (0x0901, "offending_element", "AT"),
    (0x0902, "error_comment", "LO"),
    (0x0903, "error_id", "US"),
    (0x1000, "affected_sop_instance_uid", "UI"),
    (0x1001, "requested_sop_instance_uid", "UI"),
    (0x1002, "event_type_id", "US"),
    (0x1005, "attribute_identifier_list", "AT"),
    (0x1008, "action_type_id", "US"),
    (0x1020, "number_of_remaining_suboperations", "US"),
    (0x1021, "number_of_completed_suboperations", "US"),
    (0x1022, "number_of_failed_suboperations", "US"),
    (0x1023, "number_of_warning_suboperations", "US"),
    (0x1030, "move_originator_ae_title", "AE"),
    (0x1031, "move_originator_message_id", "US"),
)

_BY_TAG: Final = {element: (name, vr) for element, name, vr in ELEMENTS}

DataSetRule = Literal["always", "optional", "never"]


@frozen
class Rule:
    """The mandatory and optional attributes of one message (PS3.7 9.3 and 10.3)."""

    mandatory: tuple[str, ...]
    optional: tuple[str, ...] = ()
    data_set: DataSetRule = "never"


_AFFECTED: Final = ("affected_sop_class_uid", "affected_sop_instance_uid")
_REQUESTED: Final = ("requested_sop_class_uid", "requested_sop_instance_uid")
_ANSWER: Final = ("message_id_being_responded_to", "status")
_WORDS: Final = ("offending_element", "error_comment", "error_id", "attribute_identifier_list")
_COUNTS: Final = tuple(f"number_of_{kind}_suboperations" for kind in ("remaining", "completed", "failed", "warning"))
_QUERY: Final = ("affected_sop_class_uid", "message_id", "priority")
_ABOUT: Final = (*_AFFECTED, *_WORDS)

MESSAGES: Final[dict[int, Rule]] = {
    CommandField.C_STORE_RQ: Rule(
        (*_AFFECTED, "message_id", "priority"), ("move_originator_ae_title", "move_originator_message_id"), "always"
    ),
    CommandField.C_STORE_RSP: Rule(_ANSWER, _ABOUT),
    CommandField.C_GET_RQ: Rule(_QUERY, (), "always"),
    CommandField.C_GET_RSP: Rule(_ANSWER, ("affected_sop_class_uid", *_COUNTS, *_WORDS), "optional"),
    CommandField.C_FIND_RQ: Rule(_QUERY, (), "always"),
    CommandField.C_FIND_RSP: Rule(_ANSWER, ("affected_sop_class_uid", *_WORDS), "optional"),
    CommandField.C_MOVE_RQ: Rule((*_QUERY, "move_destination"), (), "always"),
    CommandField.C_MOVE_RSP: Rule(_ANSWER, ("affected_sop_class_uid", *_COUNTS, *_WORDS), "optional"),
    CommandField.C_ECHO_RQ: Rule(("affected_sop_class_uid", "message_id")),
    CommandField.C_ECHO_RSP: Rule(_ANSWER, ("affected_sop_class_uid", *_WORDS)),
    CommandField.N_EVENT_REPORT_RQ: Rule((*_AFFECTED, "message_id", "event_type_id"), (), "optional"),
    CommandField.N_EVENT_REPORT_RSP: Rule(_ANSWER, (*_ABOUT, "event_type_id"), "optional"),
    CommandField.N_GET_RQ: Rule((*_REQUESTED, "message_id"), ("attribute_identifier_list",)),
    CommandField.N_GET_RSP: Rule(_ANSWER, _ABOUT, "optional"),
    CommandField.N_SET_RQ: Rule((*_REQUESTED, "message_id"), (), "always"),
    CommandField.N_SET_RSP: Rule(_ANSWER, _ABOUT, "optional"),
    CommandField.N_ACTION_RQ: Rule((*_REQUESTED, "message_id", "action_type_id"), (), "optional"),
    CommandField.N_ACTION_RSP: Rule(_ANSWER, (*_ABOUT, "action_type_id"), "optional"),
    CommandField.N_CREATE_RQ: Rule(
        ("affected_sop_class_uid", "message_id"), ("affected_sop_instance_uid",), "optional"
    ),
    CommandField.N_CREATE_RSP: Rule(_ANSWER, _ABOUT, "optional"),
    CommandField.N_DELETE_RQ: Rule((*_REQUESTED, "message_id")),
    CommandField.N_DELETE_RSP: Rule(_ANSWER, _ABOUT),
    CommandField.C_CANCEL_RQ: Rule(("message_id_being_responded_to",)),
}

_HEADER: Final = struct.Struct("<HHL")  # group, element, length of the value in bytes
_US: Final = struct.Struct("<H")
_AT: Final = struct.Struct("<HH")
_NAMES: Final = tuple(attribute.name for attribute in fields(Command))


def encode(command: Command) -> bytes:
    """Encode a command set, group length first (PS3.7 6.3.1).

    Error Comment is cut to the 64 characters that its VR allows.
    """
    parts: list[bytes] = []
    for element, name, vr in ELEMENTS:
        value = getattr(command, name)
        if value is not None:
            encoded = _encode_value(vr, value)
            parts += (_HEADER.pack(0, element, len(encoded)), encoded)
    body = b"".join(parts)
    return _HEADER.pack(0, 0, 4) + struct.pack("<L", len(body)) + body


def _encode_value(vr: _VR, value: Any) -> bytes:
    if vr == "US":
        return _US.pack(value)
    if vr == "AT":
        return b"".join(_AT.pack(tag >> 16, tag & 0xFFFF) for tag in value)
    text: str = value[:64] if vr == "LO" else value
    return padded(vr, text.encode("latin-1", "replace"))


def decode(data: bytes | bytearray | memoryview) -> Command:
    """Decode one whole command set.

    Retired and unknown elements are ignored, and so is (0000,0000): the fragments tell where the command set ends.

    Raises:
        InvalidCommandSet: it is truncated, has an element of another group, or lacks an attribute that a response
            to it needs.
    """
    values: dict[str, Any] = {}
    for element, start, end in _elements(data):
        if known := _BY_TAG.get(element):
            name, vr = known
            values[name] = _decode_value(element, vr, bytes(data[start:end]))
    return _checked(values)


def value_positions(data: bytes) -> dict[int, tuple[int, int]]:
    """Return where the value of each element of a valid command set begins and ends; the last one of a repeated tag."""
    return {element: (start, end) for element, start, end in _elements(data)}


def _elements(data: bytes | bytearray | memoryview) -> Iterator[tuple[int, int, int]]:
    """Yield each element: its number in group 0000, and where its value begins and ends."""
    offset, end = 0, len(data)
    while offset < end:
        if end - offset < 8:
            raise InvalidCommandSet(f"{end - offset} stray bytes after the element at offset {offset}")
        group, element, length = _HEADER.unpack_from(data, offset)
        offset += 8
        if group != 0:
            raise InvalidCommandSet(f"element ({group:04X},{element:04X}) does not belong in a command set")
        if length > end - offset:
            raise InvalidCommandSet(f"element (0000,{element:04X}) claims {length} bytes, {end - offset} are left")
        yield element, offset, offset + length
        offset += length


def _decode_value(element: int, vr: _VR, value: bytes) -> Any:
    if vr == "US":
        if len(value) != 2:
            raise InvalidCommandSet(f"element (0000,{element:04X}) has {len(value)} bytes instead of 2")
        return _US.unpack(value)[0]
    if vr == "AT":
        if len(value) % 4:
            raise InvalidCommandSet(f"element (0000,{element:04X}) has {len(value)} bytes, no multiple of 4")
        return tuple(group << 16 | number for group, number in _AT.iter_unpack(value))
    return value.decode("latin-1").strip("\0 ") or None


def _checked(values: dict[str, Any]) -> Command:
    field = values.get("field")
    if field is None:
        raise InvalidCommandSet("no Command Field (0000,0100)")
    if "data_set_type" not in values:
        raise InvalidCommandSet("no Command Data Set Type (0000,0800)")
    answers = field & RESPONSE or field == CommandField.C_CANCEL_RQ
    needed = "message_id_being_responded_to" if answers else "message_id"
    if values.get(needed) is None:
        raise InvalidCommandSet(f"{command_name(field)} without {needed.replace('_', ' ')}")
    if field & RESPONSE and values.get("status") is None:
        raise InvalidCommandSet(f"{command_name(field)} without a status")
    return Command(**values)


def response_to(request: Command, status: int, **details: Any) -> Command:
    """Build the response to `request`, with its UIDs as the Affected ones (PS3.7 9.3 and 10.3).

    `details` are further attributes of `Command`: `error_comment`, `offending_element`, `data_set_type` ...
    """
    response = Command(
        field=request.field | RESPONSE,
        message_id_being_responded_to=request.message_id,
        status=status,
        affected_sop_class_uid=request.sop_class_uid or None,
        affected_sop_instance_uid=request.sop_instance_uid or None,
    )
    return response.changed(**details) if details else response
