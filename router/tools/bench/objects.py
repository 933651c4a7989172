"""Objects in memory, to be sent again and again under other UIDs.

A template gives its data set piece by piece, as views of what lies in memory anyway: a made object's pixels are one
block of noise over and over, so that 2 GiB need no more memory than 12 kB; a file's are its mapping.
"""

import mmap
from pathlib import Path
from typing import Final, Protocol

from attrs import frozen

from router.tools.bench.errors import BenchError
from router.tools.bench.uids import LONGEST, SHORTEST

PIECE: Final = 1 << 20
"""Bytes that `Content.piece` gives at the most."""

_SEARCHED: Final = 1 << 16
"""Bytes at the beginning of a file's data set in which its UID must stand."""
_TAGS: Final = (b"\x08\x00\x18\x00", b"\x00\x08\x00\x18")
"""(0008,0018) SOP Instance UID, in either byte order."""


class Content(Protocol):
    """The bytes of a data set."""

    def piece(self, offset: int, length: int) -> memoryview: ...


@frozen(kw_only=True)
class Template:
    """A data set, and where in it its SOP Instance UID stands."""

    sop_class_uid: str
    transfer_syntax: str
    length: int
    """Bytes of the data set."""
    uid_at: int
    uid_length: int
    """Bytes of the UID's value, padding included: all of it is written over."""
    content: Content

    @property
    def pair(self) -> tuple[str, str]:
        """What its presentation context must be for."""
        return self.sop_class_uid, self.transfer_syntax


@frozen
class Whole:
    """A data set that lies in memory."""

    data: memoryview

    def piece(self, offset: int, length: int) -> memoryview:
        return self.data[offset : offset + length]


def template_of_file(
    path: Path, *, offset: int, sop_class_uid: str, sop_instance_uid: str, transfer_syntax: str
) -> Template:
    """A file whose data set begins at `offset`; it is mapped for as long as the template lives.

    Raises:
        BenchError: its UID is not found, as in a deflated data set, or has no length that another one could have.
        OSError: it cannot be read.
    """
    with path.open("rb") as file:
        data = memoryview(mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ))[offset:]
    uid_at, uid_length = _find(bytes(data[:_SEARCHED]), sop_instance_uid)
    if not SHORTEST <= uid_length <= LONGEST:
        raise BenchError(f"{path}: its SOP Instance UID is too short to be exchanged for another one")
    return Template(
        sop_class_uid=sop_class_uid,
        transfer_syntax=transfer_syntax,
        length=len(data),
        uid_at=uid_at,
        uid_length=uid_length,
        content=Whole(data),
    )


def _find(head: bytes, uid: str) -> tuple[int, int]:
    """Where the value of (0008,0018) stands, and its length in bytes."""
    value = uid.encode("ascii") + b"\0" * (len(uid) % 2)
    at = head.find(value)
    while at >= 0:
        if at >= 8 and head[at - 8 : at - 4] in _TAGS:
            return at, len(value)
        at = head.find(value, at + 1)
    raise BenchError(f"SOP Instance UID {uid} does not stand readable at the beginning of the data set")
