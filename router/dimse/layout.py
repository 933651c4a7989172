"""Command sets that repeat: decode and encode what differs from an earlier one, and nothing else.

A peer encodes all its C-STORE-RQs, and all its C-STORE-RSPs, alike but for the Message ID and the SOP Instance UID.
`LayoutDecoder` compares all other bytes with those of a command set that `decode` has read; bytes that differ anywhere
else go to `decode`. `encode` does the same with attributes. Either way the result is that of `command`, which has the
whole codec.
"""

import struct
from operator import itemgetter
from typing import Final

from attrs import fields, frozen

from router.dicom.encoding import padded
from router.dimse import command as whole
from router.dimse.command import Command

_US: Final = struct.Struct("<H")
_LONGEST: Final = 1024
"""Bytes of a command set whose layout is kept."""
_MOST_DECODED: Final = 16
"""Layouts that an association keeps: of each of its presentation contexts, for each length of the UIDs."""
_MOST_ENCODED: Final = 256
"""Layouts of what the router sends."""
_MESSAGE_IDS: Final = ((0x0110, "message_id"), (0x0120, "message_id_being_responded_to"))
_UID: Final = 0x1000
_VARYING: Final = ("affected_sop_instance_uid", "message_id", "message_id_being_responded_to")
_varying: Final = itemgetter(*_VARYING)
_fixed: Final = itemgetter(*(one.name for one in fields(Command) if one.name not in _VARYING))


@frozen
class _Layout:
    """The bytes of a command set around its Message ID and its Affected SOP Instance UID."""

    id_name: str
    id_at: int
    uid_at: int
    uid_end: int
    before: bytes
    between: bytes
    after: bytes


def _layout(encoded: bytes) -> _Layout | None:
    """Return the layout of a valid command set; None if the UID stands before the Message ID."""
    positions = whole.value_positions(encoded)
    for element, name in _MESSAGE_IDS:
        if element in positions:
            id_at, id_end = positions[element]
            uid_at, uid_end = positions.get(_UID, (len(encoded), len(encoded)))
            if uid_at < id_end:
                return None
            parts = encoded[:id_at], encoded[id_end:uid_at], encoded[uid_end:]
            return _Layout(name, id_at, uid_at, uid_end, *parts)
    return None


class LayoutDecoder:
    """Decodes the command sets of one association."""

    def __init__(self) -> None:
        self._known: dict[tuple[int, int], tuple[_Layout, Command]] = {}
        """A command set that was decoded, and its layout, by presentation context and length in bytes."""

    def decode(self, context_id: int, encoded: bytes) -> Command:
        """Decode one whole command set.

        Raises:
            InvalidCommandSet: as `command.decode`.
        """
        place = context_id, len(encoded)
        if known := self._known.get(place):
            layout, command = known
            id_at, uid_at, uid_end = layout.id_at, layout.uid_at, layout.uid_end
            if (
                encoded[id_at + 2 : uid_at] == layout.between
                and encoded[:id_at] == layout.before
                and encoded[uid_end:] == layout.after
            ):
                uid = encoded[uid_at:uid_end].decode("latin-1").strip("\0 ") or None
                message_id = encoded[id_at] | encoded[id_at + 1] << 8
                return command.changed(**{layout.id_name: message_id, "affected_sop_instance_uid": uid})
        command = whole.decode(encoded)
        if len(encoded) <= _LONGEST and (learned := _layout(encoded)):
            if len(self._known) >= _MOST_DECODED:
                self._known.clear()
            self._known[place] = learned, command
        return command


_encoded: Final[dict[tuple[object, ...], _Layout]] = {}


def encode(command: Command) -> bytes:
    """Encode a command set as `command.encode` does."""
    uid, request, answered = _varying(vars(command))
    if uid is None or (request is None) == (answered is None):
        return whole.encode(command)
    value = padded("UI", uid.encode("latin-1", "replace"))
    key = request is None, len(value), *_fixed(vars(command))
    layout = _encoded.get(key)
    if layout is not None:
        message_id = _US.pack(answered if request is None else request)
        return b"".join((layout.before, message_id, layout.between, value, layout.after))
    encoded = whole.encode(command)
    if len(encoded) <= _LONGEST and (learned := _layout(encoded)):
        if len(_encoded) >= _MOST_ENCODED:
            _encoded.clear()
        _encoded[key] = learned
    return encoded
