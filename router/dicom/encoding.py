"""How the head of a data element is laid out: implicit and explicit VR, in either byte order (PS3.5 7.1).

A head is (tag, VR, length, start of the value); in implicit VR the VR is empty. Not here: walking from one element
to the next (`scanner`).
"""

import struct
from collections.abc import Callable
from typing import Final, NamedTuple

Buffer = bytes | bytearray | memoryview
Head = tuple[int, bytes, int, int]

UNDEFINED_LENGTH: Final = 0xFFFFFFFF
ITEM: Final = 0xFFFEE000
ITEM_DELIMITATION: Final = 0xFFFEE00D
SEQUENCE_DELIMITATION: Final = 0xFFFEE0DD

SHORT: Final = frozenset(b"AE AS AT CS DA DS DT FD FL IS LO LT PN SH SL SS ST TM UI UL US".split())
"""PS3.5 table 7.1-2: the value representations with a length of 16 bits."""
LONG: Final = frozenset(b"OB OD OF OL OV OW SQ SV UC UN UR UT UV".split())
"""PS3.5 table 7.1-1: those with 2 reserved bytes and a length of 32 bits, as every future one will have."""


class MalformedDataSet(Exception):
    """A data set that cannot be read as far as it had to be."""

    def __init__(self, offset: int, words: str) -> None:
        super().__init__(f"{words} (at byte {offset} of the data set)")
        self.offset = offset
        """Bytes from the start of the data set, inflated if it is a deflated one."""
        self.words = words


class TruncatedDataSet(MalformedDataSet):
    """A data set that ends before the element or the sequence that it is in."""


class TooMuchToRead(MalformedDataSet):
    """A data set of which more would have to be read than the bounds of this reading allow."""


class Encoding(NamedTuple):
    """One way to lay out data elements.

    For speed the walk over the top level reads heads by `element` itself, and calls `head` for those of which the VR
    is not among the `plain` ones.
    """

    explicit: bool
    order: str
    """The byte order as `struct` names it, "<" or ">"."""
    element: Callable[[Buffer, int], tuple[int, int, bytes, int]]
    """Unpacks the first 8 bytes of an element, item or delimiter: group, element, VR, length."""
    plain: frozenset[bytes]
    """The VRs with which `element` has given the whole head."""
    head: Callable[[Buffer, int], Head]
    """Reads any head. Raises `TruncatedDataSet`."""

    def as_written(self, data: Buffer, offset: int) -> "Encoding":
        """The encoding that the element at this offset shows, where it shows the other of implicit and explicit."""
        vr = bytes(data[offset + 4 : offset + 6])
        if self.explicit:
            return self if _capitals(vr) else IMPLICIT[self.order]
        return EXPLICIT[self.order] if vr in SHORT or vr in LONG else self


def named(tag: int) -> str:
    """A tag as the standard writes it."""
    return f"({tag >> 16:04X},{tag & 0xFFFF:04X})"


def padded(vr: str, value: bytes) -> bytes:
    """Return a value padded to an even length: a UID with NUL, any other text with a space (PS3.5 6.2)."""
    return value + (b"\0" if vr == "UI" else b" ") if len(value) % 2 else value


def _capitals(vr: bytes) -> bool:
    return vr.isalpha() and vr.isupper()


def cut_short(offset: int) -> TruncatedDataSet:
    return TruncatedDataSet(offset, "the data set ends where an element should be")


def _implicit(order: str) -> Encoding:
    element = struct.Struct(f"{order}HH0sI").unpack_from

    def head(data: Buffer, offset: int) -> Head:
        try:
            group, number, vr, length = element(data, offset)
        except struct.error:
            raise cut_short(offset) from None
        return group << 16 | number, vr, length, offset + 8

    return Encoding(False, order, element, frozenset({b""}), head)


def _explicit(order: str) -> Encoding:
    element = struct.Struct(f"{order}HH2sH").unpack_from
    long_length = struct.Struct(f"{order}I").unpack_from
    implicit = _implicit(order).head

    def head(data: Buffer, offset: int) -> Head:
        try:
            group, number, vr, length = element(data, offset)
            if vr in LONG or (length == 0 and vr not in SHORT and _capitals(vr)):
                return group << 16 | number, vr, long_length(data, offset + 8)[0], offset + 12
        except struct.error:
            raise cut_short(offset) from None
        if _capitals(vr):
            return group << 16 | number, vr, length, offset + 8
        return implicit(data, offset)

    return Encoding(True, order, element, SHORT, head)


IMPLICIT: Final = {order: _implicit(order) for order in "<>"}
EXPLICIT: Final = {order: _explicit(order) for order in "<>"}
