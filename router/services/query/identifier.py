"""Identifiers of C-FIND, C-MOVE and C-GET (PS3.4 C.4.1.1.3): decoded, checked, encoded, in another character set.

An identifier is a tree of `router.dicom.dataset`: every value keeps its bytes, so what an archive answers reaches the
client in the characters and the character set of the archive. Pure. Not here: the comparison of values (`matching`).
"""

import zlib
from typing import Final

from router.dicom import charset
from router.dicom.dataset import DataSet, Element, character_set, identifier, items, read, write
from router.dicom.encoding import MalformedDataSet, padded
from router.dicom.information_models import (
    PATIENT,
    QUERY_RETRIEVE_LEVEL,
    UNIQUE_KEYS,
    WORKLIST,
    InformationModel,
)
from router.dicom.tags import SPECIFIC_CHARACTER_SET, tag_name
from router.dicom.uids import EXPLICIT_BE, EXPLICIT_LE, IMPLICIT_LE

DEFLATED: Final = "1.2.840.10008.1.2.1.99"
"""Deflated Explicit VR Little Endian (PS3.5 A.5)."""
ACCEPTED_SYNTAXES: Final = (EXPLICIT_LE, EXPLICIT_BE, IMPLICIT_LE, DEFLATED)
"""The transfer syntaxes of identifiers that we accept, in the order of preference."""
PROPOSED_SYNTAXES: Final = (EXPLICIT_LE, IMPLICIT_LE, EXPLICIT_BE)
"""Those that we propose to a peer, in one presentation context."""
LARGEST: Final = 1 << 20
"""Bytes of an identifier, inflated: a list of 10 000 UIDs has 650 kB."""
SCHEDULED_PROCEDURE_STEP_SEQUENCE: Final = 0x00400100

_TEXT: Final = frozenset({"LO", "LT", "PN", "SH", "ST", "UC", "UT"})
"""Value representations to which Specific Character Set applies (PS3.5 6.1.2.2)."""


class InvalidIdentifier(Exception):
    """An identifier does not match its SOP class; with the reason, and the tags of the elements at fault."""

    def __init__(self, reason: str, *elements: int) -> None:
        super().__init__(reason)
        self.reason = reason
        self.elements = elements


def decode_identifier(data: bytes, transfer_syntax: str) -> DataSet:
    """Decode an identifier. Group lengths are left out: they count bytes of one encoding (PS3.5 7.2).

    Raises:
        MalformedDataSet: it cannot be read, or is longer than `LARGEST` when inflated.
    """
    encoded, syntax = (_inflate(data), EXPLICIT_LE) if transfer_syntax == DEFLATED else (data, transfer_syntax)
    return {tag: one for tag, one in read(encoded, syntax).items() if tag & 0xFFFF}


def _inflate(data: bytes) -> bytes:
    inflating = zlib.decompressobj(-zlib.MAX_WBITS)
    try:
        inflated = inflating.decompress(data, LARGEST)
    except zlib.error as error:
        raise MalformedDataSet(0, f"it is not deflated: {error}") from error
    if inflating.unconsumed_tail:
        raise MalformedDataSet(0, f"it is longer than {LARGEST} bytes")
    return inflated


def encode_identifier(data_set: DataSet, transfer_syntax: str) -> bytes:
    """Encode an identifier in one of `ACCEPTED_SYNTAXES`."""
    if transfer_syntax != DEFLATED:
        return write(data_set, transfer_syntax)
    deflating = zlib.compressobj(wbits=-zlib.MAX_WBITS)
    deflated = deflating.compress(write(data_set, EXPLICIT_LE)) + deflating.flush()
    return deflated + b"\0" * (len(deflated) % 2)


def level_of(data_set: DataSet) -> str:
    """Return the Query/Retrieve Level; "" if it is missing."""
    return identifier(data_set, QUERY_RETRIEVE_LEVEL)


def check_identifier(data_set: DataSet, model: InformationModel, *, relational: bool = False) -> None:
    """Check the identifier of a query.

    `relational`: keys of the levels above need not be there (PS3.4 C.4.1.2.2.2).

    Raises:
        InvalidIdentifier: it does not match the information model.
    """
    if model is WORKLIST:
        if len(items(data_set, SCHEDULED_PROCEDURE_STEP_SEQUENCE)) > 1:
            raise InvalidIdentifier(
                "the Scheduled Procedure Step Sequence has several items", SCHEDULED_PROCEDURE_STEP_SEQUENCE
            )
        return
    level = level_of(data_set)
    if level not in model.levels:
        why = f"{model.title} has no such level" if level else "there is no Query/Retrieve Level"
        raise InvalidIdentifier(why, QUERY_RETRIEVE_LEVEL)
    if not relational:
        check_levels_above(data_set, model, level)
    if level != PATIENT and not _is_uid_list(identifier(data_set, UNIQUE_KEYS[level])):
        raise InvalidIdentifier(f"{tag_name(UNIQUE_KEYS[level])} is not a UID", UNIQUE_KEYS[level])


def check_levels_above(data_set: DataSet, model: InformationModel, level: str) -> None:
    """Check that the unique key of each level above has a single value (PS3.4 C.4.1.2.2.1).

    Raises:
        InvalidIdentifier: it is missing, empty, or not a single value.
    """
    for above in model.above(level):
        key = UNIQUE_KEYS[above]
        value = identifier(data_set, key)
        if not value:
            raise InvalidIdentifier(f"{tag_name(key)} is missing, as the level is {level}", key)
        if "\\" in value or (above == PATIENT and ("*" in value or "?" in value)):
            raise InvalidIdentifier(f"{tag_name(key)} must have a single value, as the level is {level}", key)
        if above != PATIENT and not _is_uid_list(value):
            raise InvalidIdentifier(f"{tag_name(key)} is not a UID", key)


def check_unique_key(data_set: DataSet, level: str) -> None:
    """Check that the unique key of the level of a retrieve says what is wanted (PS3.4 C.4.2.1.4.1).

    Raises:
        InvalidIdentifier: it is missing, empty, or not a single Patient ID.
    """
    key = UNIQUE_KEYS[level]
    value = identifier(data_set, key)
    if not value:
        raise InvalidIdentifier(f"{tag_name(key)} is missing, as the level is {level}", key)
    if level == PATIENT and any(one in value for one in "*?\\"):
        raise InvalidIdentifier(f"{tag_name(key)} must have a single value", key)


def _is_uid_list(value: str) -> bool:
    """Whether the value may be a list of UIDs, which has no wildcards; an empty one may."""
    return not value or all(one.strip(" \0").replace(".", "").isdigit() for one in value.split("\\"))


# Character sets


def in_character_set(data_set: DataSet, terms: str) -> DataSet:
    """Return the keys in another Specific Character Set; "" is the default repertoire.

    A character that the set does not have becomes "?", the wildcard for a single character: the answers may be more
    than the keys match, never fewer.
    """
    return _carried_over(data_set, character_set(data_set), terms, nested=False)


def _carried_over(data_set: DataSet, before: str, terms: str, *, nested: bool) -> DataSet:
    before = character_set(data_set) or before
    carried: dict[int, Element] = {}
    for tag, (vr, value) in data_set.items():
        if tag == SPECIFIC_CHARACTER_SET:
            continue
        if not isinstance(value, bytes):
            carried[tag] = Element(vr, tuple(_carried_over(item, before, terms, nested=True) for item in value))
        elif vr in _TEXT and not (value.isascii() and b"\x1b" not in value):
            text = charset.decode(value, before, name=vr == "PN").rstrip(" \0")
            carried[tag] = Element(vr, padded(vr, text.encode(charset.codec(terms), "replace")))
        else:
            carried[tag] = Element(vr, value)
    if terms and not nested:
        carried[SPECIFIC_CHARACTER_SET] = Element("CS", padded("CS", terms.encode("latin-1")))
    return carried
