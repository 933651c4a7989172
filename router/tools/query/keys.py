"""The identifier of a query from the words of a command line: KEY=VALUE, or KEY to ask for its value (pure).

A key is a keyword, a tag as "(gggg,eeee)" or "gggg,eeee", or a path of them through sequences, such as
ScheduledProcedureStepSequence.Modality.
"""

import re
import struct
from collections.abc import Sequence
from typing import Any, Final

from pydicom.datadict import keyword_dict

from router.config.patterns import suggestion
from router.dicom import charset
from router.dicom.dataset import DataSet, Element, representation
from router.dicom.element_values import NUMBERS, ONE_TEXT, SEVERAL_TEXTS
from router.dicom.encoding import padded
from router.dicom.information_models import (
    IMAGE,
    PATIENT,
    QUERY_RETRIEVE_LEVEL,
    SERIES,
    STUDY,
    UNIQUE_KEYS,
    WORKLIST,
    InformationModel,
)
from router.dicom.tags import SPECIFIC_CHARACTER_SET, element_tag, tag_name

Path = tuple[int, ...]
"""The tags from the top of the identifier to one element."""

UTF_8: Final = "ISO_IR 192"
_INDEX: Final = re.compile(r"\[0\]$")
"""The index of a sequence's only item, which other tools need in a path."""
_BARE_TAG: Final = re.compile(r"[0-9A-Fa-f]{4},[0-9A-Fa-f]{4}")

RETURN_KEYS: Final = {
    PATIENT: ["PatientID", "IssuerOfPatientID", "PatientName", "PatientBirthDate", "PatientSex"],
    STUDY: [
        "PatientID",
        "PatientName",
        "StudyDate",
        "StudyTime",
        "AccessionNumber",
        "StudyDescription",
        "ModalitiesInStudy",
        "NumberOfStudyRelatedInstances",
        "StudyInstanceUID",
    ],
    SERIES: ["SeriesNumber", "Modality", "SeriesDescription", "NumberOfSeriesRelatedInstances", "SeriesInstanceUID"],
    IMAGE: ["InstanceNumber", "SOPClassUID", "SOPInstanceUID"],
}
"""The keys of which each level's values are asked for if the command line names none."""
WORKLIST_RETURN_KEYS: Final = [
    "PatientID",
    "PatientName",
    "AccessionNumber",
    "RequestedProcedureID",
    "StudyInstanceUID",
    *(
        f"ScheduledProcedureStepSequence.{keyword}"
        for keyword in (
            "Modality",
            "ScheduledStationAETitle",
            "ScheduledProcedureStepStartDate",
            "ScheduledProcedureStepStartTime",
            "ScheduledProcedureStepDescription",
            "ScheduledProcedureStepID",
        )
    ),
]
"""Likewise for a worklist."""


class InvalidKey(ValueError):
    """A word of the command line is not a key of a query; the message says why."""


def parse_keys(words: Sequence[str]) -> dict[Path, str]:
    """Return the value of each key, in order; "" for a key whose value is asked for.

    Raises:
        InvalidKey: a word names no element, or names one twice.
    """
    keys: dict[Path, str] = {}
    for word in words:
        name, _, value = word.partition("=")
        path = _path(name)
        if path in keys:
            raise InvalidKey(f"{name} is given twice; several values are separated by a backslash")
        if path == (QUERY_RETRIEVE_LEVEL,):
            raise InvalidKey("the level is given by --level, not as a key")
        keys[path] = value
    for path in keys:
        if any(path[:length] in keys for length in range(1, len(path))):
            raise InvalidKey(f"{name_of(path)} is given together with the sequence that it is in")
    return keys


def _path(name: str) -> Path:
    path = tuple(_tag(_INDEX.sub("", part)) for part in name.split("."))
    for tag in path[:-1]:
        if representation(tag) not in ("SQ", "UN"):
            raise InvalidKey(f"{name}: {tag_name(tag)} is not a sequence")
    return path


def _tag(part: str) -> int:
    tag = element_tag(f"({part})" if _BARE_TAG.fullmatch(part) else part)
    if tag is None:
        raise InvalidKey(
            f"invalid key {part!r}: expected a DICOM keyword or a (gggg,eeee){suggestion(part, keyword_dict)}"
        )
    if tag >> 16 < 0x0008 or not tag & 0xFFFF:
        raise InvalidKey(f"{part} cannot be in an identifier")
    return tag


def name_of(path: Path) -> str:
    """Return the path in keywords."""
    return ".".join(map(tag_name, path))


def with_return_keys(keys: dict[Path, str], model: InformationModel, level: str) -> dict[Path, str]:
    """Add the keys to ask for: the usual ones of the level if no key is without a value, and its unique key always."""
    if "" in keys.values():
        wanted = [tag_name(UNIQUE_KEYS[level])] if level else []
    else:
        wanted = WORKLIST_RETURN_KEYS if model is WORKLIST else RETURN_KEYS[level]
    sequences = {path[0] for path in keys if len(path) == 1}
    return keys | {
        path: "" for path in map(_path, wanted) if path not in keys and (len(path) == 1 or path[0] not in sequences)
    }


def build_identifier(keys: dict[Path, str], level: str) -> DataSet:
    """Build the identifier of a query; the level is "" in a worklist.

    Text that is not ASCII is encoded in the Specific Character Set among the keys, by default in UTF-8.

    Raises:
        InvalidKey: a value cannot be encoded.
    """
    terms = keys.get((SPECIFIC_CHARACTER_SET,), "")
    if not terms and not all(value.isascii() for value in keys.values()):
        terms = UTF_8
    tree: dict[int, Element] = {}
    for path, value in keys.items():
        if path != (SPECIFIC_CHARACTER_SET,):
            _put(tree, path, value, terms)
    if terms:
        tree[SPECIFIC_CHARACTER_SET] = Element("CS", padded("CS", terms.encode("latin-1", "replace")))
    if level:
        tree[QUERY_RETRIEVE_LEVEL] = Element("CS", padded("CS", level.encode()))
    return tree


def _put(tree: dict[int, Element], path: Path, value: str, terms: str) -> None:
    tag, *rest = path
    if not rest:
        tree[tag] = _element(tag, value, terms)
        return
    item: dict[int, Element] = {}
    if tag in tree:
        (inner,) = tree[tag].value
        assert isinstance(inner, dict)
        item = inner
    else:
        tree[tag] = Element("SQ", (item,))
    _put(item, tuple(rest), value, terms)


def _element(tag: int, value: str, terms: str) -> Element:
    vr = representation(tag)
    if vr == "SQ":
        if value:
            raise InvalidKey(f"{tag_name(tag)} is a sequence: name an element in it, {tag_name(tag)}.KEY=VALUE")
        return Element(vr, ())
    try:
        return Element(vr, padded(vr, _value(vr, value, terms)))
    except (ValueError, struct.error):
        raise InvalidKey(f"invalid value of {tag_name(tag)} ({vr}): {value!r}") from None


def _value(vr: str, value: str, terms: str) -> bytes:
    if vr in SEVERAL_TEXTS or vr in ONE_TEXT:
        return value.encode(charset.codec(terms))
    if vr not in NUMBERS:
        return value.encode("ascii")
    parts = value.split("\\") if value else []
    if vr == "AT":
        return b"".join(struct.pack("<HH", tag >> 16, tag & 0xFFFF) for tag in map(_tag, parts))
    read: Any = float if vr in ("FL", "FD") else int
    return b"".join(struct.pack("<" + NUMBERS[vr], read(part)) for part in parts)
