"""Command sets that differ in a few places only: where these are, so that one need not be decoded as a whole.

A peer writes all its C-STOREs, and all its responses, alike but for the Message ID, the status and the UID. What
does not look as expected is decoded as any command set is (`router.dimse`).
"""

import struct
from typing import Final

from router.dimse import Command, encode, response_to

_US: Final = struct.Struct("<H")
_HEADER: Final = struct.Struct("<HHL")


def header(element: int, length: int) -> bytes:
    """What stands before the value of (0000,element) in a command set."""
    return _HEADER.pack(0, element, length)


class RequestLayout:
    """C-STORE requests like one that was decoded."""

    def __init__(self, encoded: bytes, command: Command) -> None:
        self.command = command
        uid = command.sop_instance_uid.encode("ascii", "replace")
        self._id_at = encoded.find(header(0x0110, 2)) + 8
        self._uid_at = encoded.find(header(0x1000, len(uid) + len(uid) % 2)) + 8
        self._uid_end = self._uid_at + len(uid) + len(uid) % 2
        self._before = encoded[: self._id_at]
        self._between = encoded[self._id_at + 2 : self._uid_at]
        self._after = encoded[self._uid_end :]
        self._usable = 8 <= self._id_at < self._uid_at and len(uid) > 0

    def read(self, encoded: bytes) -> tuple[int, str] | None:
        """The Message ID and the SOP Instance UID of a request like it; None of another one."""
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
    """The response to requests like one, with one status."""

    def __init__(self, request: Command, status: int) -> None:
        self.request = request
        self.encoded = bytearray(encode(response_to(request, status)))
        uid = request.sop_instance_uid
        self._length = len(uid)
        self._id_at = self.encoded.index(header(0x0120, 2)) + 8
        self._uid_at = self.encoded.rindex(header(0x1000, len(uid) + len(uid) % 2)) + 8 if uid else 0

    def fill(self, message_id: int, uid: str) -> bool:
        """Make it the response to this request; False where the UID does not fit."""
        if len(uid) != self._length:
            return False
        _US.pack_into(self.encoded, self._id_at, message_id)
        self.encoded[self._uid_at : self._uid_at + len(uid)] = uid.encode("latin-1", "replace")
        return True


class ResponseLayout:
    """C-STORE responses like one that was decoded."""

    _ID: Final = header(0x0120, 2)
    _STATUS: Final = header(0x0900, 2)

    def __init__(self, encoded: bytes) -> None:
        self._length = len(encoded)
        self._id_at = encoded.find(self._ID) + 8
        self._status_at = encoded.find(self._STATUS) + 8

    def read(self, encoded: bytes) -> tuple[int, int] | None:
        """The Message ID that is responded to, and the status; None where it looks otherwise."""
        id_at, status_at = self._id_at, self._status_at
        if (
            len(encoded) != self._length
            or encoded[id_at - 8 : id_at] != self._ID
            or encoded[status_at - 8 : status_at] != self._STATUS
        ):
            return None
        return _US.unpack_from(encoded, id_at)[0], _US.unpack_from(encoded, status_at)[0]
