"""The scanner: a few elements of a data set, read no further than the last of them (PS3.5 section 7).

It walks over the top level of a data set in any transfer syntax and copies nothing but the values it is asked for;
sequences are stepped over, the pixel data is never reached, a deflated set is inflated piece by piece and no further
than needed. What is malformed on the way there is a `MalformedDataSet`, which says where and what; what comes after
is not looked at. Two common slips are read as they were meant: a set in the other of implicit and explicit VR than
its transfer syntax says, and single elements in implicit VR within an explicit set. Not here: the layout of an
element (`encoding`) and what the bytes of a value mean (`elements`).
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
"""Levels of sequences; documents of the field stay under 20."""
FIRST_INFLATED: Final = 64 << 10
DEFLATED_PIECE: Final = 16 << 10


@frozen(kw_only=True)
class Bounds:
    """How far one scan may go, so that none of a hostile set takes the processor for itself."""

    heads: int
    """Elements and items."""
    inflated: int
    """Bytes that a deflated data set may come to before the last wanted element."""


IN_ALL: Final = Bounds(heads=1_000_000, inflated=16 << 20)
"""Past these a data set counts as malformed. They take a second, so they are for a worker thread."""
AT_ONCE: Final = Bounds(heads=20_000, inflated=FIRST_INFLATED)
"""What the event loop has time for: 3 to 5 ms. Objects of the field have some 100 elements before the last wanted."""


def scan(
    data: Buffer, transfer_syntax: str, wanted: frozenset[int], bounds: Bounds = IN_ALL
) -> dict[int, tuple[str, ...]]:
    """Return the values of the wanted elements that stand at the top level of a data set.

    An element without a value is an empty tuple, one that is missing is not in the answer.

    Raises:
        MalformedDataSet: and nothing else, whatever the bytes. `TooMuchToRead` where the bounds end the scan.
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
    """One way through a data set."""

    data: Buffer
    most_heads: int
    """At the top level, and within sequences."""
    found: dict[int, Raw] = field(factory=dict)
    """The elements sought that stood at the top level so far."""
    offset: int = 0
    """Of the element at the top level at which the walk stopped."""
    walked: int = 0
    """Elements at the top level before it."""
    heads: int = 0
    """Heads read within sequences."""

    def find(self, encoding: Encoding, sought: Search) -> bool:
        """Go on to the last element sought, or to the end of the data; whether it came past the last one.

        A walk that ended because the data did may be gone on with once there is more of it.
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
        """How the items of a sequence are laid out. One of unknown VR is in Implicit VR Little Endian whatever the
        transfer syntax (PS3.5 6.2.2), unless its first item shows the other byte order."""
        if vr != b"UN":
            return encoding
        return IMPLICIT[">" if self.data[start : start + 1] == b"\xff" else "<"]

    def past_sequence(self, offset: int, encoding: Encoding, depth: int) -> int:
        """Past the end of a sequence of undefined length, or of fragments, of which the first item is at `offset`."""
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
        """Past the end of an item of undefined length, of which the first element is at `offset`."""
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
    """As `_Walk.find`, on twice as much inflated data each time until it is enough. What was walked over is not
    walked over again, but for the one element at the top level that was not whole."""
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
                words = "the deflated data set is too long before the elements needed"
                raise TooMuchToRead(len(inflated), words)
            enough *= 2
    walk.find(EXPLICIT["<"], sought)
    return walk.found


def _inflate(data: Buffer) -> Iterator[bytes]:
    """The inflated data set in pieces of at most `FIRST_INFLATED` bytes, each made when it is asked for."""
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
