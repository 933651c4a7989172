"""Items and fields to bytes and back: the only place that checks a claimed length against the bytes present.

Texts are Latin-1 in both directions: no byte of a peer is lost, and a text outside Latin-1 does not fit a field.
"""

import struct
from collections.abc import Iterator
from itertools import islice

from pdu.errors import InvalidParameterValue, Overrun, UnexpectedParameter
from pdu.items import UnknownItem

ITEMS_CAP = 1024
"""Items in one container.

The standard allows 128 presentation contexts (odd IDs up to 255) and hence at most 128 roles, 128 extended and 128
common extended negotiations, one for each SOP class: about 520 sub-items. Twice that is allowed. Without a cap a
container of 64 KiB could hold 16,384 empty items, each of which costs an object.
"""

_ITEM_HEADER = struct.Struct(">BxH")


def text(value: str) -> bytes:
    """Encode a UID, name or title."""
    return value.encode("latin-1")


def counted(data: bytes) -> bytes:
    """Return a field preceded by its length in two bytes."""
    return struct.pack(">H", len(data)) + data


def item(item_type: int, data: bytes) -> bytes:
    """Return an item with its header: type (byte 1), reserved (2), length of what follows (3-4)."""
    return _ITEM_HEADER.pack(item_type, len(data)) + data


def unknown_items(unknown: tuple[UnknownItem, ...]) -> bytes:
    """Return items as they were received."""
    return b"".join(item(each.item_type, each.data) for each in unknown)


def items(data: memoryview, parent: str) -> Iterator[tuple[int, memoryview]]:
    """Yield the items that fill `data` as (type, content); `parent` names their container in an error.

    Raises:
        Overrun: an item ends beyond `data`, or `data` ends within an item header.
    """
    at = 0
    while at < len(data):
        if len(data) - at < _ITEM_HEADER.size:
            raise Overrun(f"{parent} ends within an item header")
        item_type, length = _ITEM_HEADER.unpack_from(data, at)
        at += _ITEM_HEADER.size
        if length > len(data) - at:
            raise Overrun(f"item {item_type:02X}H of {length} bytes in {parent}, where {len(data) - at} are left")
        yield item_type, data[at : at + length]
        at += length


def uid(data: bytes | memoryview) -> str:
    """Decode a UID or name and strip its padding: peers pad with NUL or space although an item needs neither."""
    return str(data, "latin-1").strip("\0 ")


class Fields:
    """The fields of one item, read in order. Errors name the item."""

    def __init__(self, data: memoryview, item: str) -> None:
        self._data = data
        self._item = item
        self._at = 0

    def read(self, length: int) -> memoryview:
        """Return the next `length` bytes.

        Raises:
            Overrun: fewer bytes are left.
        """
        end = self._at + length
        if end > len(self._data):
            raise Overrun(f"{self._item} is cut short: {length} bytes wanted, {len(self._data) - self._at} left")
        start, self._at = self._at, end
        return self._data[start:end]

    def number(self, size: int) -> int:
        """Return the next `size` bytes as an unsigned number."""
        return int.from_bytes(self.read(size), "big")

    def counted(self) -> memoryview:
        """Return a field that is preceded by its length in two bytes."""
        return self.read(self.number(2))

    def rest(self) -> memoryview:
        """Return the bytes that are left."""
        return self.read(len(self._data) - self._at)

    @property
    def exhausted(self) -> bool:
        """True if no bytes are left."""
        return self._at == len(self._data)

    def finish(self) -> None:
        """Check that no bytes are left.

        Raises:
            InvalidParameterValue: bytes are left.
        """
        if not self.exhausted:
            raise InvalidParameterValue(f"{self._item} has {len(self._data) - self._at} bytes too many")


class Parts:
    """The items of one container, by type. The types that were never asked for are the unknown ones."""

    def __init__(self, data: memoryview, parent: str) -> None:
        self._parent = parent
        self._items = list(islice(items(data, parent), ITEMS_CAP + 1))
        self._asked: set[int] = set()
        if len(self._items) > ITEMS_CAP:
            raise InvalidParameterValue(f"{parent} has more than {ITEMS_CAP} items")

    def all(self, item_type: int) -> list[memoryview]:
        """Return all items of a type, in order."""
        self._asked.add(item_type)
        return [data for found, data in self._items if found == item_type]

    def one(self, item_type: int) -> memoryview | None:
        """Return the item of a type that may occur once; None if it is missing.

        Raises:
            UnexpectedParameter: the item is repeated.
        """
        found = self.all(item_type)
        if len(found) > 1:
            raise UnexpectedParameter(f"{self._parent} has {len(found)} items of type {item_type:02X}H")
        return found[0] if found else None

    def unknown(self) -> tuple[UnknownItem, ...]:
        """Return the items of the types that were not asked for so far."""
        return tuple(
            UnknownItem(item_type=item_type, data=bytes(data))
            for item_type, data in self._items
            if item_type not in self._asked
        )
