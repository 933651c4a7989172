"""The layout of data elements: implicit and explicit VR, in either byte order (PS3.5 7.1).

A head is (tag, VR, length, start of the value); in implicit VR the VR is empty. Not here: going from one element to
the next (`scanner`, `dataset`).
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
"""Value representations with a length of 16 bits (PS3.5 table 7.1-2)."""
LONG: Final = frozenset(b"OB OD OF OL OV OW SQ SV UC UN UR UT UV".split())
"""Value representations with 2 reserved bytes and a length of 32 bits, as every future one (PS3.5 table 7.1-1)."""


class MalformedDataSet(Exception):
    """The data set cannot be read as far as needed."""

    def __init__(self, offset: int, message: str) -> None:
        super().__init__(f"{message} (at byte {offset} of the data set)")
        self.offset = offset
        """Bytes from the start of the data set, after inflating a deflated one."""
        self.message = message


class TruncatedDataSet(MalformedDataSet):
    """The data set ends within an element or a sequence."""


class TooMuchToRead(MalformedDataSet):
    """The wanted elements lie beyond the bounds of this scan."""


class Encoding(NamedTuple):
    """One layout of data elements.

    For speed the scan of the top level unpacks heads with `element` and calls `head` only if the VR is not `plain`.
    """

    explicit: bool
    order: str
    """The byte order as `struct` names it, "<" or ">"."""
    element: Callable[[Buffer, int], tuple[int, int, bytes, int]]
    """Unpack the first 8 bytes of an element, item or delimiter: group, element, VR, length."""
    plain: frozenset[bytes]
    """The VRs for which these 8 bytes are the whole head."""
    head: Callable[[Buffer, int], Head]
    """Read any head. Raises `TruncatedDataSet`."""

    def as_written(self, data: Buffer, offset: int) -> "Encoding":
        """Return the encoding that the element at this offset is in: products mix up implicit and explicit VR."""
        vr = bytes(data[offset + 4 : offset + 6])
        if self.explicit:
            return self if _capitals(vr) else IMPLICIT[self.order]
        return EXPLICIT[self.order] if vr in SHORT or vr in LONG else self


def named(tag: int) -> str:
    """Return a tag as the standard writes it."""
    return f"({tag >> 16:04X},{tag & 0xFFFF:04X})"


def padded(vr: str, value: bytes) -> bytes:
    """Return a value padded to an even length: a UID with NUL, any other text with a space (PS3.5 6.2)."""
    return value + (b"\0" if vr == "UI" else b" ") if len(value) % 2 else value


def _capitals(vr: bytes) -> bool:
    return vr.isalpha() and vr.isupper()


def cut_short(offset: int) -> TruncatedDataSet:
    """Return the error for an element that begins at `offset` and does not end."""
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
