"""The values of single elements as text, by value representation (PS3.5 6.2).

Every value becomes a tuple of texts without outer spaces and padding: characters by Specific Character Set, numbers
in decimal, AT as "(gggg,eeee)". An empty element is an empty tuple, and so is one without a text value: a sequence or
bulk data. Not here: finding the elements (`scanner`).
"""

import struct
from collections.abc import Mapping
from functools import lru_cache
from typing import NamedTuple

from attrs import frozen
from pydicom.datadict import dictionary_has_tag, dictionary_VR

from router.dicom import charset
from router.dicom.encoding import named
from router.dicom.tags import SPECIFIC_CHARACTER_SET

PIXEL_REPRESENTATION = 0x00280103
PIXEL_DATA_GROUP = 0x7FE00000
LONGEST_VALUE = 1 << 16
"""Bytes of a value that are read. A condition does not need more, and a sender cannot make the router hold more."""

PLAIN_TEXT = frozenset({"AE", "AS", "CS", "DA", "DS", "DT", "IS", "TM", "UI"})
SEVERAL_TEXTS = frozenset({"LO", "PN", "SH", "UC", "UN"})
ONE_TEXT = frozenset({"LT", "ST", "UT"})
NUMBERS = {"US": "H", "SS": "h", "UL": "I", "SL": "i", "UV": "Q", "SV": "q", "FL": "f", "FD": "d", "AT": "HH"}


@frozen(kw_only=True)
class Search:
    """The elements that one scan looks for."""

    wanted: frozenset[int]
    tags: frozenset[int]
    """The wanted elements and those needed to decode them."""
    last: int
    """The largest wanted tag below the pixel data."""
    representations: Mapping[int, str]
    """The value representation of each tag in PS3.6; UN if it has none."""


class Raw(NamedTuple):
    """The bytes of an element that was found."""

    vr: bytes
    """Empty in implicit VR."""
    value: bytes
    """Its first `LONGEST_VALUE` bytes."""
    order: str
    """The byte order as `struct` names it, "<" or ">"."""


@lru_cache(maxsize=64)
def search(wanted: frozenset[int]) -> Search:
    """Add the elements needed to decode the wanted ones as text."""
    representations = {tag: dictionary_VR(tag) if dictionary_has_tag(tag) else "UN" for tag in wanted}
    needed = {SPECIFIC_CHARACTER_SET: "CS"}
    if "US or SS" in representations.values():
        needed[PIXEL_REPRESENTATION] = "US"
    return Search(
        wanted=wanted,
        tags=wanted | needed.keys(),
        last=max((tag for tag in wanted if tag < PIXEL_DATA_GROUP), default=-1),
        representations=representations | needed,
    )


def texts(found: Mapping[int, Raw], search: Search) -> dict[int, tuple[str, ...]]:
    """Decode the wanted elements among those found."""
    terms = found.get(SPECIFIC_CHARACTER_SET)
    character_set = terms.value.decode("latin-1") if terms else ""
    signed = _is_signed(found.get(PIXEL_REPRESENTATION))
    return {
        tag: _text(raw, search.representations[tag], character_set, signed)
        for tag, raw in found.items()
        if tag in search.wanted
    }


def _text(raw: Raw, registered: str, character_set: str, signed: bool) -> tuple[str, ...]:
    vr, order = raw.vr.decode("ascii") or registered, raw.order
    if vr == "UN" and registered != "UN":
        # PS3.5 6.2.2: an element that a sender did not know is in Implicit VR Little Endian, and may be known here
        vr, order = registered, "<"
    if vr in PLAIN_TEXT:
        return _split(raw.value.decode("latin-1"))
    if vr in SEVERAL_TEXTS:
        return _split(charset.decode(raw.value, character_set, name=vr == "PN"))
    if vr in ONE_TEXT:
        return _one(charset.decode(raw.value, character_set))
    if vr == "UR":
        return _one(raw.value.decode("latin-1"))
    if vr == "US or SS":
        vr = "SS" if signed else "US"
    return _numbers(raw.value, vr, order) if vr in NUMBERS else ()


def _split(text: str) -> tuple[str, ...]:
    if "\\" not in text:
        return _one(text)
    return tuple([value.strip(" \0") for value in text.split("\\")])


def _one(text: str) -> tuple[str, ...]:
    return (stripped,) if (stripped := text.strip(" \0")) else ()


def _numbers(value: bytes, vr: str, order: str) -> tuple[str, ...]:
    """Format numbers in decimal; ignore bytes after the last whole number."""
    layout = struct.Struct(order + NUMBERS[vr])
    numbers = layout.iter_unpack(value[: len(value) // layout.size * layout.size])
    if vr == "AT":
        return tuple(named(group << 16 | element) for group, element in numbers)
    return tuple(_single(number) if vr == "FL" else repr(number) for (number,) in numbers)


def _single(number: float) -> str:
    """Return the shortest decimal that is this number in single precision: 0.1, not 0.10000000149011612."""
    for digits in range(6, 10):
        text = f"{number:.{digits}g}"
        if struct.pack("f", float(text)) == struct.pack("f", number):
            return text
    return repr(number)


def _is_signed(representation: Raw | None) -> bool:
    """Return True if Pixel Representation is 1: values of "US or SS" are signed (PS3.3 C.7.6.3)."""
    return representation is not None and _numbers(representation.value[:2], "US", representation.order) == ("1",)
