"""Files of PS3.10: what stands before the data set, read and written. The data set itself is never touched.

Reading goes as far as the data set's first byte. Files without preamble, or without any file meta information, are
common enough to be taken: their encoding is told by the first element. Not here: what is in the data set
(`router.routing.scan`).
"""

import os
import struct
from typing import BinaryIO, Final

from attrs import frozen

from router.dicom.encoding import LONG, padded
from router.dicom.uids import EXPLICIT_BE, EXPLICIT_LE, IMPLICIT_LE

PREAMBLE_LENGTH: Final = 128
PREFIX: Final = b"DICM"

_SHORT: Final = struct.Struct("<HH2sH")
"""Group, element, VR, length: the head of an element of the meta information with a length of 16 bits."""
_META_CAP: Final = 1 << 20
"""Bytes of meta information. A file with more is not a DICOM file."""
_UID_CAP: Final = 128
"""Bytes of a UID that are read. PS3.5 allows 64."""


class NotDICOM(ValueError):
    """The file is neither a file of PS3.10 nor a bare data set."""


@frozen(kw_only=True)
class Head:
    """The information of a file before its data set."""

    sop_class_uid: str
    """Media Storage SOP Class UID (0002,0002); "" if it is missing."""
    sop_instance_uid: str
    """Media Storage SOP Instance UID (0002,0003); "" if it is missing."""
    transfer_syntax: str
    """Transfer Syntax UID (0002,0010), or the encoding of the first element."""
    length: int
    """Bytes before the data set."""


def read_head(file: BinaryIO) -> Head:
    """Read the part of a seekable file before its data set.

    Raises:
        NotDICOM: the text tells what is missing.
    """
    file.seek(0)
    start = file.read(PREAMBLE_LENGTH + len(PREFIX))
    begin = len(start) if start[PREAMBLE_LENGTH:] == PREFIX else 0
    values, length = _read_meta(file, begin)
    file.seek(length)
    transfer_syntax = values.get(0x0010) or _encoding(file.read(6))
    if not transfer_syntax:
        raise NotDICOM("no transfer syntax in its meta information" if begin else "not a DICOM file")
    return Head(
        sop_class_uid=values.get(0x0002, ""),
        sop_instance_uid=values.get(0x0003, ""),
        transfer_syntax=transfer_syntax,
        length=length,
    )


def _read_meta(file: BinaryIO, begin: int) -> tuple[dict[int, str], int]:
    """Return the UIDs of group 0002 by element number, and the offset after the group."""
    values: dict[int, str] = {}
    at = begin
    while True:
        file.seek(at)
        header = file.read(12)
        if len(header) < _SHORT.size or header[:2] != b"\x02\x00":
            return values, at
        if at - begin > _META_CAP:
            raise NotDICOM("its meta information does not end")
        _, element, vr, length = _SHORT.unpack_from(header)
        at += _SHORT.size
        if vr in LONG:
            length = int.from_bytes(header[8:12], "little")
            at += 4
        elif not vr.isalpha():  # against PS3.10 7.1, in Implicit VR: such files exist
            length = int.from_bytes(header[4:8], "little")
        if element in (0x0002, 0x0003, 0x0010):
            file.seek(at)
            values[element] = file.read(min(length, _UID_CAP)).decode("latin-1").strip("\0 ")
        at += length
        if at > os.fstat(file.fileno()).st_size:
            raise NotDICOM("it ends inside its meta information")


def _encoding(first: bytes) -> str:
    """Guess the transfer syntax of an uncompressed data set from its first 6 bytes; "" if there is none."""
    explicit = first[4:6].isalpha() and first[4:6].isupper()
    if first[:2] == b"\x08\x00":
        return EXPLICIT_LE if explicit else IMPLICIT_LE
    return EXPLICIT_BE if first[:2] == b"\x00\x08" and explicit else ""


def encode_head(
    *,
    sop_class_uid: str,
    sop_instance_uid: str,
    transfer_syntax: str,
    implementation_class_uid: str,
    implementation_version_name: str,
    source_ae_title: str = "",
) -> bytes:
    """Encode preamble, prefix and file meta information; the bytes of the data set follow unchanged (PS3.10 7.1)."""
    elements = [
        _long(0x0001, b"OB", b"\0\1"),
        _text(0x0002, "UI", sop_class_uid),
        _text(0x0003, "UI", sop_instance_uid),
        _text(0x0010, "UI", transfer_syntax),
        _text(0x0012, "UI", implementation_class_uid),
        _text(0x0013, "SH", implementation_version_name),
    ]
    if source_ae_title:
        elements.append(_text(0x0016, "AE", source_ae_title))
    group = b"".join(elements)
    group_length = _SHORT.pack(2, 0, b"UL", 4) + struct.pack("<L", len(group))
    return bytes(PREAMBLE_LENGTH) + PREFIX + group_length + group


def _text(element: int, vr: str, text: str) -> bytes:
    value = padded(vr, text.encode("latin-1", "replace"))
    return _SHORT.pack(2, element, vr.encode(), len(value)) + value


def _long(element: int, vr: bytes, value: bytes) -> bytes:
    return _SHORT.pack(2, element, vr, 0) + struct.pack("<L", len(value)) + value
