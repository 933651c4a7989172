"""Items and fields, to bytes and back: the one place that checks a claimed length against what is there.

Texts are Latin-1 on both ways: no byte of a peer is lost, and a text that is not Latin-1 fits no field.
"""

import struct
from collections.abc import Iterator
from itertools import islice

from pdu.errors import InvalidParameterValue, Overrun, UnexpectedParameter
from pdu.items import UnknownItem

ITEMS_CAP = 1024
"""Items in one container. A real peer comes nowhere near; a hostile one could make us count empty ones for long."""

_ITEM_HEADER = struct.Struct(">BxH")


def text(value: str) -> bytes:
    """A UID, name or title as bytes."""
    return value.encode("latin-1")


def counted(data: bytes) -> bytes:
    """A field after its own length of two bytes."""
    return struct.pack(">H", len(data)) + data


def item(item_type: int, data: bytes) -> bytes:
    """An item with its header: type, a reserved byte, length."""
    return _ITEM_HEADER.pack(item_type, len(data)) + data


def unknown_items(unknown: tuple[UnknownItem, ...]) -> bytes:
    """Items as they were received."""
    return b"".join(item(each.item_type, each.data) for each in unknown)


def items(data: memoryview, parent: str) -> Iterator[tuple[int, memoryview]]:
    """The items that fill `data`, as (type, content); `parent` names their container in an error."""
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
    """A UID or name without its padding: peers pad with NUL or space although an item needs neither."""
    return str(data, "latin-1").strip("\0 ")


class Fields:
    """Reads the fields of one item in order. Errors name the item."""

    def __init__(self, data: memoryview, item: str) -> None:
        self._data = data
        self._item = item
        self._at = 0

    def take(self, length: int) -> memoryview:
        """The next `length` bytes."""
        end = self._at + length
        if end > len(self._data):
            raise Overrun(f"{self._item} is cut short: {length} bytes wanted, {len(self._data) - self._at} left")
        taken = self._data[self._at : end]
        self._at = end
        return taken

    def number(self, size: int) -> int:
        """The next `size` bytes as an unsigned number."""
        return int.from_bytes(self.take(size), "big")

    def counted(self) -> memoryview:
        """A field after its own length of two bytes."""
        return self.take(self.number(2))

    def rest(self) -> memoryview:
        """All that is left."""
        return self.take(len(self._data) - self._at)

    @property
    def exhausted(self) -> bool:
        """Whether nothing is left."""
        return self._at == len(self._data)

    def finish(self) -> None:
        """Nothing may be left."""
        if not self.exhausted:
            raise InvalidParameterValue(f"{self._item} has {len(self._data) - self._at} bytes too many")


class Parts:
    """The items of one container, asked for by type; what nobody asked for is unknown."""

    def __init__(self, data: memoryview, parent: str) -> None:
        self._parent = parent
        self._items = list(islice(items(data, parent), ITEMS_CAP + 1))
        self._asked: set[int] = set()
        if len(self._items) > ITEMS_CAP:
            raise InvalidParameterValue(f"{parent} has more than {ITEMS_CAP} items")

    def all(self, item_type: int) -> list[memoryview]:
        """All items of this type, in order."""
        self._asked.add(item_type)
        return [data for found, data in self._items if found == item_type]

    def one(self, item_type: int) -> memoryview | None:
        """The item of a type that may be there once."""
        found = self.all(item_type)
        if len(found) > 1:
            raise UnexpectedParameter(f"{self._parent} has {len(found)} items of type {item_type:02X}H")
        return found[0] if found else None

    def unknown(self) -> tuple[UnknownItem, ...]:
        """The items of the types that were not asked for so far."""
        return tuple(
            UnknownItem(item_type=item_type, data=bytes(data))
            for item_type, data in self._items
            if item_type not in self._asked
        )
