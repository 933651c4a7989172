"""Read a few elements of a data set, and no further than the last of them (PS3.5 section 7).

The scan covers the top level of a data set in any transfer syntax and copies the wanted values only. It skips
sequences, never reaches the pixel data, and inflates a deflated data set in pieces as far as needed. A fault before the
last wanted element is a `MalformedDataSet` with its offset; bytes after that element are not read. Two common faults of
products are accepted: a data set in explicit VR where its transfer syntax has implicit VR, or the reverse, and single
elements in implicit VR within explicit VR. Not here: the layout of an element (`encoding`), the text of a value
(`element_values`).
"""

import struct
import zlib
from collections.abc import Iterator
from typing import Final

from attrs import define, field, frozen

from router.dicom.element_values import LONGEST_VALUE, Raw, Search, search, texts
from router.dicom.encoding import (
    EXPLICIT,
    IMPLICIT,
    ITEM,
    ITEM_DELIMITATION,
    SEQUENCE_DELIMITATION,
    UNDEFINED_LENGTH,
    Buffer,
    Encoding,
    MalformedDataSet,
    TooMuchToRead,
    TruncatedDataSet,
    cut_short,
    named,
)
from router.dicom.uids import DEFLATED_SYNTAXES, EXPLICIT_BE, IMPLICIT_SYNTAXES

DELIMITERS: Final = 0xFFFE
"""The group of items and delimiters (PS3.5 7.5)."""
DEEPEST: Final = 64
"""Levels of sequences. Real documents have below 20; the recursion stays far from Python's limit."""
FIRST_INFLATED: Final = 64 << 10
DEFLATED_PIECE: Final = 16 << 10


@frozen(kw_only=True)
class Bounds:
    """The limits of one scan, so that a hostile data set does not block the processor."""

    heads: int
    """Elements and items."""
    inflated: int
    """Inflated bytes of a deflated data set up to the last wanted element."""


IN_ALL: Final = Bounds(heads=1_000_000, inflated=16 << 20)
"""The limits beyond which a data set counts as malformed. Such a scan takes a second: use a worker thread."""
AT_ONCE: Final = Bounds(heads=20_000, inflated=FIRST_INFLATED)
"""The limits in the event loop: 3 to 5 ms. Real objects have about 100 elements before the last wanted one."""


def scan(
    data: Buffer, transfer_syntax: str, wanted: frozenset[int], bounds: Bounds = IN_ALL
) -> dict[int, tuple[str, ...]]:
    """Return the values of the wanted elements at the top level of a data set.

    An element without a value is an empty tuple; a missing one is not in the result.

    Raises:
        MalformedDataSet: the bytes are not a data set; nothing else is raised, whatever the bytes.
        TooMuchToRead: the scan reached `bounds` before the last wanted element.
    """
    if not wanted:
        return {}
    sought = search(wanted)
    if transfer_syntax in DEFLATED_SYNTAXES:
        return texts(_find_deflated(data, sought, bounds), sought)
    if transfer_syntax in IMPLICIT_SYNTAXES:
        encoding = IMPLICIT["<"]
    else:
        encoding = EXPLICIT[">" if transfer_syntax == EXPLICIT_BE else "<"]
    walk = _Walk(data, bounds.heads)
    walk.find(encoding, sought)
    return texts(walk.found, sought)


@define
class _Walk:
    """One pass over a data set."""

    data: Buffer
    most_heads: int
    """Heads allowed at the top level, and again within sequences."""
    found: dict[int, Raw] = field(factory=dict)
    """The wanted elements found at the top level so far."""
    offset: int = 0
    """Offset of the element at the top level at which the pass stopped."""
    walked: int = 0
    """Elements at the top level before `offset`."""
    heads: int = 0
    """Heads read within sequences."""

    def find(self, encoding: Encoding, sought: Search) -> bool:
        """Continue to the last wanted element or to the end of the data; return True if it passed the last one.

        A pass that stopped at the end of the data can be continued when more data is there.
        """
        data, tags, last, end = self.data, sought.tags, sought.last, len(self.data)
        encoding = encoding.as_written(data, 0)
        element, plain = encoding.element, encoding.plain
        found, offset, walked, before = self.found, self.offset, self.walked, self.walked
        try:
            for walked in range(before, self.most_heads):  # noqa: B007 (for the walk that goes on with it)
                try:
                    group, number, vr, length = element(data, offset)
                except struct.error:
                    if offset == end:
                        return False
                    raise cut_short(offset) from None
                tag = group << 16 | number
                start = offset + 8
                if vr not in plain:
                    tag, vr, length, start = encoding.head(data, offset)
                if tag > last:
                    if group == DELIMITERS:
                        raise MalformedDataSet(offset, f"{named(tag)} stands outside of any sequence")
                    return True
                if length == UNDEFINED_LENGTH:
                    stop = self.past_sequence(start, self.within(vr, start, encoding), 1)
                    vr = b"SQ"
                else:
                    stop = start + length
                    if stop > end:
                        raise _too_long(offset, tag, length, end - start)
                if tag in tags:
                    value = bytes(data[start : min(stop, start + LONGEST_VALUE)])
                    found[tag] = Raw(vr, value, encoding.order)
                    if tag == last:
                        return True
                offset = stop
            raise self.endless(offset)
        finally:
            self.offset, self.walked = offset, walked

    def within(self, vr: bytes, start: int, encoding: Encoding) -> Encoding:
        """Return the encoding of the items of a sequence.

        A sequence of VR UN is in Implicit VR Little Endian in any transfer syntax (PS3.5 6.2.2), unless its first item
        is in the other byte order.
        """
        if vr != b"UN":
            return encoding
        return IMPLICIT[">" if self.data[start : start + 1] == b"\xff" else "<"]

    def past_sequence(self, offset: int, encoding: Encoding, depth: int) -> int:
        """Return the offset after a sequence of undefined length, or of fragments, whose first item is at `offset`."""
        if depth > DEEPEST:
            raise MalformedDataSet(offset, f"sequences are nested more than {DEEPEST} deep")
        end = len(self.data)
        item = IMPLICIT[encoding.order].head
        while True:
            self.count(offset)
            tag, _, length, start = item(self.data, offset)
            if tag == SEQUENCE_DELIMITATION:
                return start
            if tag != ITEM:
                raise MalformedDataSet(offset, f"{named(tag)} stands where an item of a sequence should")
            if length == UNDEFINED_LENGTH:
                offset = self.past_item(start, encoding, depth)
            else:
                stop = start + length
                if stop > end:
                    raise _too_long(offset, tag, length, end - start)
                offset = stop

    def past_item(self, offset: int, encoding: Encoding, depth: int) -> int:
        """Return the offset after an item of undefined length whose first element is at `offset`."""
        end = len(self.data)
        encoding = encoding.as_written(self.data, offset)
        while True:
            self.count(offset)
            tag, vr, length, start = encoding.head(self.data, offset)
            if tag == ITEM_DELIMITATION:
                return start
            if length == UNDEFINED_LENGTH:
                offset = self.past_sequence(start, self.within(vr, start, encoding), depth + 1)
            else:
                stop = start + length
                if stop > end:
                    raise _too_long(offset, tag, length, end - start)
                offset = stop

    def count(self, offset: int) -> None:
        self.heads += 1
        if self.heads > self.most_heads:
            raise self.endless(offset)

    def endless(self, offset: int) -> MalformedDataSet:
        return TooMuchToRead(offset, f"there are more than {self.most_heads} elements before the last one needed")


def _find_deflated(data: Buffer, sought: Search, bounds: Bounds) -> dict[int, Raw]:
    """Find elements as `_Walk.find` does, on twice as much inflated data each time until it is enough.

    Only the element at the top level that was incomplete is read again.
    """
    inflated = bytearray()
    walk = _Walk(inflated, bounds.heads)
    enough = FIRST_INFLATED
    for piece in _inflate(data):
        inflated += piece
        if len(inflated) >= enough:
            before = walk.heads
            try:
                arrived = walk.find(EXPLICIT["<"], sought)
            except TruncatedDataSet:
                arrived, walk.heads = False, before
            if arrived:
                return walk.found
            if len(inflated) >= bounds.inflated:
                raise TooMuchToRead(len(inflated), "the deflated data set is too long before the elements needed")
            enough *= 2
    walk.find(EXPLICIT["<"], sought)
    return walk.found


def _inflate(data: Buffer) -> Iterator[bytes]:
    """Yield the inflated data set in pieces of at most `FIRST_INFLATED` bytes."""
    inflater = zlib.decompressobj(-zlib.MAX_WBITS)  # PS3.5 A.5: RFC 1951 without a zlib header
    offset = 0
    made = 0
    while True:
        deflated = inflater.unconsumed_tail
        if not deflated:
            deflated = bytes(data[offset : offset + DEFLATED_PIECE])
            offset += len(deflated)
        try:
            piece = inflater.decompress(deflated, FIRST_INFLATED)
        except zlib.error as error:
            raise MalformedDataSet(made, f"the deflated data set cannot be inflated: {error}") from error
        made += len(piece)
        yield piece
        if inflater.eof:
            return
        if not piece and offset >= len(data):
            raise TruncatedDataSet(made, "the deflated data set ends too early")


def _too_long(offset: int, tag: int, length: int, left: int) -> MalformedDataSet:
    what = "an item" if tag == ITEM else named(tag)
    return TruncatedDataSet(offset, f"{what} says that it is {length} bytes long, but only {left} are left")
