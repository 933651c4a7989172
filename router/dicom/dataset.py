"""Small data sets of services as trees: read whole, merged, written whole (PS3.5 7).

A tree keeps the bytes of every value in little endian, of unknown and private elements too, so that N-GET returns the
values that the modality sent. The three uncompressed transfer syntaxes are read and written. Not here: the meaning of
elements (`attributes` of each service), and objects of Storage, which are never decoded.
"""

import struct
from collections.abc import Mapping, Sequence
from typing import Final, NamedTuple

from pydicom.datadict import dictionary_has_tag, dictionary_VR

from router.dicom import charset
from router.dicom.encoding import (
    EXPLICIT,
    IMPLICIT,
    ITEM,
    ITEM_DELIMITATION,
    SEQUENCE_DELIMITATION,
    SHORT,
    UNDEFINED_LENGTH,
    Encoding,
    MalformedDataSet,
    named,
    padded,
)
from router.dicom.tags import SPECIFIC_CHARACTER_SET
from router.dicom.uids import EXPLICIT_BE, EXPLICIT_LE, IMPLICIT_LE

TRANSFER_SYNTAXES: Final = (EXPLICIT_LE, IMPLICIT_LE, EXPLICIT_BE)
"""The transfer syntaxes of the data sets of services, in the order of preference."""

UTF_8: Final = b"ISO_IR 192"
DEEPEST: Final = 32
"""Levels of sequences. A procedure step has four; the recursion stays far from Python's limit."""
MOST_ELEMENTS: Final = 1_000_000

_SWAPPED: Final = {
    **dict.fromkeys(("US", "SS", "OW", "AT"), 2),
    **dict.fromkeys(("UL", "SL", "FL", "OF", "OL"), 4),
    **dict.fromkeys(("FD", "OD", "SV", "UV", "OV"), 8),
}
"""Bytes of the numbers in a value: they are swapped between the byte orders."""
_TEXT: Final = frozenset({"LO", "LT", "PN", "SH", "ST", "UC", "UT"})
"""Value representations to which Specific Character Set applies (PS3.5 6.1.2.2)."""


_END_OF_SEQUENCE: Final = struct.pack("<HHL", SEQUENCE_DELIMITATION >> 16, SEQUENCE_DELIMITATION & 0xFFFF, 0)


class Element(NamedTuple):
    """One element: its value in little endian, or the items of a sequence."""

    vr: str
    value: bytes | tuple["DataSet", ...]


DataSet = Mapping[int, Element]
"""Elements by tag."""


def element(vr: str, value: str) -> Element:
    """Build an element from a text in UTF-8, padded to an even length."""
    return Element(vr, padded(vr, value.encode()))


def read(data: bytes | memoryview, transfer_syntax: str) -> dict[int, Element]:
    """Decode a data set.

    Raises:
        MalformedDataSet: the bytes are not a data set; nothing else is raised, whatever the bytes.
    """
    order = ">" if transfer_syntax == EXPLICIT_BE else "<"
    encoding = (IMPLICIT if transfer_syntax == IMPLICIT_LE else EXPLICIT)[order]
    view = bytes(data)
    return _Reader(view).data_set(encoding.as_written(view, 0), 0, len(view), 0)[0]


class _Reader:
    """One pass over an encoded data set."""

    def __init__(self, data: bytes) -> None:
        self._data = data
        self._count = 0

    def data_set(self, encoding: Encoding, offset: int, end: int, depth: int) -> tuple[dict[int, Element], int]:
        """Return the elements from `offset` to `end` or to an item delimiter, and the offset after them."""
        if depth > DEEPEST:
            raise MalformedDataSet(offset, f"sequences are nested more than {DEEPEST} deep")
        found: dict[int, Element] = {}
        while offset < end:
            self._count += 1
            if self._count > MOST_ELEMENTS:
                raise MalformedDataSet(offset, f"there are more than {MOST_ELEMENTS} elements")
            tag, vr, length, start = encoding.head(self._data, offset)
            if tag == ITEM_DELIMITATION and depth:
                return found, start
            if tag >> 16 == 0xFFFE:
                raise MalformedDataSet(offset, f"{named(tag)} stands where an element should")
            stop = None if length == UNDEFINED_LENGTH else start + length
            if stop is not None and stop > end:
                raise MalformedDataSet(offset, f"{named(tag)} says that it is {length} bytes long, too many")
            found[tag], offset = self._element(encoding, tag, vr.decode("ascii"), start, stop, depth)
        return found, offset

    def _element(
        self, encoding: Encoding, tag: int, vr: str, start: int, stop: int | None, depth: int
    ) -> tuple[Element, int]:
        vr = vr or representation(tag)
        if vr == "SQ" or stop is None:
            inner = IMPLICIT["<"] if vr == "UN" else encoding  # PS3.5 6.2.2
            items, after = self._items(inner, start, stop, depth)
            return Element("SQ", items), after
        return Element(vr, _little(vr, self._data[start:stop], encoding.order)), stop

    def _items(self, encoding: Encoding, offset: int, stop: int | None, depth: int) -> tuple[tuple[DataSet, ...], int]:
        items: list[DataSet] = []
        limit = len(self._data) if stop is None else stop
        head = IMPLICIT[encoding.order].head
        while stop is None or offset < stop:
            tag, _, length, start = head(self._data, offset)
            if tag == SEQUENCE_DELIMITATION and stop is None:
                return tuple(items), start
            if tag != ITEM:
                raise MalformedDataSet(offset, f"{named(tag)} stands where an item of a sequence should")
            end = limit if length == UNDEFINED_LENGTH else start + length
            if end > limit:
                raise MalformedDataSet(offset, f"an item says that it is {length} bytes long, too many")
            item, offset = self.data_set(encoding, start, end, depth + 1)
            items.append(item)
        return tuple(items), offset


def representation(tag: int) -> str:
    """Return the value representation of an element in implicit VR (PS3.5 7.1.3, PS3.6)."""
    if tag & 0x00010000:
        return "LO" if 0x10 <= tag & 0xFFFF <= 0xFF else "UN"
    if not tag & 0xFFFF:
        return "UL"
    return dictionary_VR(tag).rpartition(" or ")[2] if dictionary_has_tag(tag) else "UN"


def write(data_set: DataSet, transfer_syntax: str) -> bytes:
    """Encode a tree, with sequences and items of defined length.

    In Implicit VR, a sequence that the dictionary does not know has an undefined length, by which it is recognised. A
    value that is too long for the 16 bits of its VR's length is written as UN (PS3.5 6.2.2).
    """
    out = bytearray()
    order = ">" if transfer_syntax == EXPLICIT_BE else "<"
    explicit = transfer_syntax != IMPLICIT_LE
    for tag in sorted(data_set):
        vr, value = data_set[tag]
        out += struct.pack(f"{order}HH", tag >> 16, tag & 0xFFFF)
        if not isinstance(value, bytes):
            out += _framed(tag, _sequence(value, transfer_syntax, order), order, explicit)
            continue
        short = vr.encode() in SHORT
        if explicit and short and len(value) <= 0xFFFF:
            out += struct.pack(f"{order}2sH", vr.encode(), len(value))
        elif explicit:
            vr = "UN" if short else vr
            out += struct.pack(f"{order}2sHL", vr.encode(), 0, len(value))
        else:
            out += struct.pack("<L", len(value))
        out += _little(vr, value, order)
    return bytes(out)


def _framed(tag: int, items: bytes, order: str, explicit: bool) -> bytes:
    """Return the encoded items of a sequence with what follows on its tag: VR, length, and a delimiter if needed."""
    if explicit:
        return struct.pack(f"{order}2sHL", b"SQ", 0, len(items)) + items
    if representation(tag) == "SQ":
        return struct.pack("<L", len(items)) + items
    return struct.pack("<L", UNDEFINED_LENGTH) + items + _END_OF_SEQUENCE


def _sequence(items: tuple[DataSet, ...], transfer_syntax: str, order: str) -> bytes:
    out = bytearray()
    for item in items:
        encoded = write(item, transfer_syntax)
        out += struct.pack(f"{order}HHL", ITEM >> 16, ITEM & 0xFFFF, len(encoded)) + encoded
    return bytes(out)


def reencode(data: bytes, stored: str, wanted: str) -> bytes:
    """Encode a data set in another of the three transfer syntaxes, with the same content.

    Where the two are the same, the bytes stay as they are. Otherwise group lengths are left out, because they count
    bytes of the old encoding (PS3.5 7.2).

    Raises:
        MalformedDataSet: `data` cannot be read in `stored`.
    """
    return data if wanted == stored else write(_without_group_lengths(read(data, stored)), wanted)


def _without_group_lengths(data_set: DataSet) -> DataSet:
    return {
        tag: element
        if isinstance(element.value, bytes)
        else Element(element.vr, tuple(map(_without_group_lengths, element.value)))
        for tag, element in data_set.items()
        if tag & 0xFFFF
    }


def _little(vr: str, value: bytes, order: str) -> bytes:
    """Swap the numbers of a value between `order` and little endian, in either direction."""
    width = _SWAPPED.get(vr)
    if order == "<" or width is None or len(value) % width:
        return value
    swapped = bytearray(len(value))
    for place in range(width):
        swapped[place::width] = value[width - 1 - place :: width]
    return bytes(swapped)


def overlaid(held: DataSet, update: DataSet) -> dict[int, Element]:
    """Return `held` with the elements of `update` in place of its own.

    If their character sets differ, the text of both becomes UTF-8: the character set of an update does not apply to
    the elements that were there before (PS3.4 F.7.2.2.3).
    """
    before, after = character_set(held), character_set(update)
    if before == after or not after:
        return {**held, **update} | ({SPECIFIC_CHARACTER_SET: held[SPECIFIC_CHARACTER_SET]} if before else {})
    if not before and _is_ascii(held):
        return {**held, **update}
    return {**_in_utf_8(held, before), **_in_utf_8(update, after)}


def character_set(data_set: DataSet) -> str:
    """Return the terms of Specific Character Set (0008,0005); "" if it is missing."""
    value = data_set.get(SPECIFIC_CHARACTER_SET, Element("CS", b"")).value
    return value.decode("latin-1").strip("\0 ") if isinstance(value, bytes) else ""


def _is_ascii(data_set: DataSet) -> bool:
    return all(
        value.isascii() if isinstance(value, bytes) else all(map(_is_ascii, value))
        for vr, value in data_set.values()
        if vr in _TEXT or vr == "SQ"
    )


def _in_utf_8(data_set: DataSet, terms: str, *, nested: bool = False) -> dict[int, Element]:
    terms = character_set(data_set) or terms
    out: dict[int, Element] = {}
    for tag, (vr, value) in data_set.items():
        if not isinstance(value, bytes):
            out[tag] = Element(vr, tuple(_in_utf_8(item, terms, nested=True) for item in value))
        elif vr in _TEXT:
            out[tag] = element(vr, charset.decode(value, terms, name=vr == "PN"))
        else:
            out[tag] = Element(vr, value)
    if not nested or SPECIFIC_CHARACTER_SET in data_set:
        out[SPECIFIC_CHARACTER_SET] = Element("CS", UTF_8)
    return out


def text(data_set: DataSet, tag: int) -> str:
    """Return the first value of an element, in the character set of its data set; "" if it is missing."""
    vr, value = data_set.get(tag, Element("", b""))
    if not isinstance(value, bytes):
        return ""
    decoded = charset.decode(value, character_set(data_set), name=vr == "PN")
    return decoded.partition("\\")[0].strip("\0 ")


def identifier(data_set: DataSet, tag: int) -> str:
    """Return the whole value of an element to which no character set applies, such as UI or AE; "" if it is missing."""
    value = data_set[tag].value if tag in data_set else b""
    return value.decode("latin-1").strip("\0 ") if isinstance(value, bytes) else ""


def items(data_set: DataSet, tag: int) -> Sequence[DataSet]:
    """Return the items of a sequence; none if it is missing."""
    value = data_set.get(tag, Element("SQ", ())).value
    return () if isinstance(value, bytes) else value
