"""Command sets that differ in a few places only: read and write those places, without decoding the whole set.

A peer encodes all its C-STORE requests, and all its responses, alike but for the Message ID, the status and the UID. A
command set of another layout is decoded as usual (`router.dimse`).
"""

import struct
from typing import Final

from router.dimse import Command, encode, response_to

_US: Final = struct.Struct("<H")
_HEADER: Final = struct.Struct("<HHL")


def element_header(element: int, length: int) -> bytes:
    """Return the tag and length that precede the value of (0000,element) in a command set (PS3.7 6.3.1)."""
    return _HEADER.pack(0, element, length)


class RequestLayout:
    """The layout of C-STORE requests, learned from one that was decoded."""

    def __init__(self, encoded: bytes, command: Command) -> None:
        self.command = command
        uid = command.sop_instance_uid.encode("ascii", "replace")
        self._id_at = encoded.find(element_header(0x0110, 2)) + 8
        self._uid_at = encoded.find(element_header(0x1000, len(uid) + len(uid) % 2)) + 8
        self._uid_end = self._uid_at + len(uid) + len(uid) % 2
        self._before = encoded[: self._id_at]
        self._between = encoded[self._id_at + 2 : self._uid_at]
        self._after = encoded[self._uid_end :]
        self._usable = 8 <= self._id_at < self._uid_at and len(uid) > 0

    def read(self, encoded: bytes) -> tuple[int, str] | None:
        """Return the Message ID and the SOP Instance UID of a request; None if it has another layout."""
        if (
            not self._usable
            or encoded[: self._id_at] != self._before
            or encoded[self._id_at + 2 : self._uid_at] != self._between
            or encoded[self._uid_end :] != self._after
        ):
            return None
        (message_id,) = _US.unpack_from(encoded, self._id_at)
        return message_id, encoded[self._uid_at : self._uid_end].decode("latin-1").rstrip("\0 ")


class ResponseForm:
    """The response to requests like `request`, with one status, to fill in for each of them."""

    def __init__(self, request: Command, status: int) -> None:
        self.request = request
        self.encoded = bytearray(encode(response_to(request, status)))
        uid = request.sop_instance_uid
        self._length = len(uid)
        self._id_at = self.encoded.index(element_header(0x0120, 2)) + 8
        self._uid_at = self.encoded.rindex(element_header(0x1000, len(uid) + len(uid) % 2)) + 8 if uid else 0

    def fill(self, message_id: int, uid: str) -> bool:
        """Make it the response to this request. Return False if the UID has another length."""
        if len(uid) != self._length:
            return False
        _US.pack_into(self.encoded, self._id_at, message_id)
        self.encoded[self._uid_at : self._uid_at + len(uid)] = uid.encode("latin-1", "replace")
        return True


class ResponseLayout:
    """The layout of C-STORE responses, learned from one that was decoded."""

    _ID: Final = element_header(0x0120, 2)
    _STATUS: Final = element_header(0x0900, 2)

    def __init__(self, encoded: bytes) -> None:
        self._length = len(encoded)
        self._id_at = encoded.find(self._ID) + 8
        self._status_at = encoded.find(self._STATUS) + 8

    def read(self, encoded: bytes) -> tuple[int, int] | None:
        """Return the Message ID Being Responded To and the status; None if it has another layout."""
        id_at, status_at = self._id_at, self._status_at
        if (
            len(encoded) != self._length
            or encoded[id_at - 8 : id_at] != self._ID
            or encoded[status_at - 8 : status_at] != self._STATUS
        ):
            return None
        return _US.unpack_from(encoded, id_at)[0], _US.unpack_from(encoded, status_at)[0]
