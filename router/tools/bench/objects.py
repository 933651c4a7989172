"""Objects to send again and again, each time under another SOP Instance UID: files, and CT images of any size.

A template gives its data set piece by piece, as views of memory that exists anyway: the pixels of a made image are one
block of noise over and over, so that 2 GiB need no more memory than 12 kB; a file is mapped.

A UID is a root under 2.25 (PS3.5 B.2) that is drawn once for each run, and the object's number. It is as long as the
UID in the object that is sent, so that nothing else in the object has to change.
"""

import math
import mmap
import random
import secrets
import struct
from functools import cache
from pathlib import Path
from typing import Final, Protocol

from attrs import frozen
from pydicom.dataset import Dataset
from pydicom.filebase import DicomBytesIO
from pydicom.filewriter import write_dataset
from pydicom.uid import CTImageStorage, ExplicitVRLittleEndian

from router.dicom.encoding import padded
from router.tools.bench.errors import BenchError

UID_LENGTH: Final = 44
"""Bytes of the UIDs of made objects."""
SHORTEST_UID: Final = 28
LONGEST_UID: Final = 64
"""PS3.5 9.1."""
SMALLEST: Final = 2000
LARGEST: Final = 4 << 30
"""Bytes of a data set whose pixel data has a defined length."""
PIECE: Final = 1 << 20
"""Most bytes that `Content.piece` gives at once."""

_UID_PREFIX: Final = "2.25."
_UID_SERIAL_DIGITS: Final = 13
"""Least digits of the number: the first is 1, the other twelve count."""
_UID_ROOT_DIGITS: Final = 38
"""Most digits of the root, which stays below 2 ** 128."""
_PLACEHOLDER: Final = _UID_PREFIX + "9" * (UID_LENGTH - len(_UID_PREFIX))
_MOST_ROWS: Final = 65535
_SEARCHED: Final = 1 << 16
"""Bytes at the beginning of a file's data set that are searched for its UID."""
_UID_TAGS: Final = (b"\x08\x00\x18\x00", b"\x00\x08\x00\x18")
"""(0008,0018) SOP Instance UID, in either byte order."""


class InstanceUIDs:
    """The SOP Instance UIDs of one run, by the numbers of its objects."""

    def __init__(self, run: str | None = None) -> None:
        """`run`: 38 digits that no other run has; None draws them."""
        self._run = run or "".join(
            ["123456789"[secrets.randbelow(9)], *(str(secrets.randbelow(10)) for _ in range(37))]
        )

    def uid(self, number: int, length: int = UID_LENGTH) -> str:
        """Return the UID of object `number`, of exactly `length` characters.

        Raises:
            BenchError: the length has no room for it.
        """
        root, digits = self.parts(length)
        return f"{root}{10 ** (digits - 1) + number}"

    def number(self, uid: str) -> int | None:
        """Return the number of the object that has this UID; None if it does not belong to this run."""
        try:
            root, digits = self.parts(len(uid))
        except BenchError:
            return None
        tail = uid[len(root) :]
        if not uid.startswith(root) or not tail.isdigit():
            return None
        first: int = 10 ** (digits - 1)
        return int(tail) - first

    def parts(self, length: int) -> tuple[str, int]:
        """Return the root with its last dot, and the number of digits that follow, the first of which is 1."""
        if not SHORTEST_UID <= length <= LONGEST_UID:
            raise BenchError(f"a SOP Instance UID of {length} characters cannot be replaced by another one")
        run = min(_UID_ROOT_DIGITS, length - len(_UID_PREFIX) - 1 - _UID_SERIAL_DIGITS)
        root = f"{_UID_PREFIX}{self._run[:run]}."
        return root, length - len(root)


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
    """Offset of the UID's value in the data set, in bytes."""
    uid_length: int
    """Bytes of the UID's value, padding included: all of it is overwritten."""
    content: Content

    @property
    def syntaxes(self) -> tuple[str, str]:
        """The abstract and the transfer syntax of its presentation context."""
        return self.sop_class_uid, self.transfer_syntax


def file_template(
    path: Path, *, offset: int, sop_class_uid: str, sop_instance_uid: str, transfer_syntax: str
) -> Template:
    """Return a template of a file whose data set begins at `offset`. The file stays mapped while the template lives.

    Raises:
        BenchError: the UID is not found, as in a deflated data set, or is too short to be replaced.
        OSError: the file cannot be read.
    """
    with path.open("rb") as file:
        data = memoryview(mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ))[offset:]
    uid_at, uid_length = _find_uid(bytes(data[:_SEARCHED]), sop_instance_uid)
    if not SHORTEST_UID <= uid_length <= LONGEST_UID:
        raise BenchError(f"{path}: its SOP Instance UID is too short to be replaced by another one")
    return Template(
        sop_class_uid=sop_class_uid,
        transfer_syntax=transfer_syntax,
        length=len(data),
        uid_at=uid_at,
        uid_length=uid_length,
        content=_InMemory(data),
    )


@frozen
class _InMemory:
    """A data set that lies in memory."""

    data: memoryview

    def piece(self, offset: int, length: int) -> memoryview:
        return self.data[offset : offset + length]


def _find_uid(head: bytes, uid: str) -> tuple[int, int]:
    """Return where the value of (0008,0018) stands, and its length in bytes."""
    value = padded("UI", uid.encode("ascii"))
    at = head.find(value)
    while at >= 0:
        if at >= 8 and head[at - 8 : at - 4] in _UID_TAGS:
            return at, len(value)
        at = head.find(value, at + 1)
    raise BenchError(f"SOP Instance UID {uid} not found at the beginning of the data set")


def ct_template(size: int) -> Template:
    """Return a template of a CT image in Explicit VR Little Endian whose data set has very nearly `size` bytes.

    Raises:
        BenchError: no CT image has that size.
    """
    if not SMALLEST <= size <= LARGEST:
        raise BenchError(f"cannot make an object of {size} bytes: expected from {SMALLEST} bytes to 4 GiB")
    pixels = (size - len(_ct_head(1, 1)) - 12) // 2
    rows, columns = _shape(pixels)
    head = _ct_head(rows, columns) + struct.pack("<HH2sHL", 0x7FE0, 0x0010, b"OW", 0, 2 * rows * columns)
    return Template(
        sop_class_uid=CTImageStorage,
        transfer_syntax=ExplicitVRLittleEndian,
        length=len(head) + 2 * rows * columns,
        uid_at=head.index(_PLACEHOLDER.encode()),
        uid_length=UID_LENGTH,
        content=_HeadAndNoise(head),
    )


def _shape(pixels: int) -> tuple[int, int]:
    """Return rows and columns of nearly this many pixels, nearly a square."""
    root = math.isqrt(pixels)
    columns = min(range(root, max(root - 64, 0), -1), key=lambda each: pixels % each)
    if pixels // columns > _MOST_ROWS:
        raise BenchError(f"cannot make an image of {pixels} pixels: its rows and columns do not fit into 16 bits")
    return pixels // columns, columns


@frozen
class _HeadAndNoise:
    """A head, and after it noise of any length."""

    head: bytes

    def piece(self, offset: int, length: int) -> memoryview:
        after_head = offset - len(self.head)
        if after_head < 0:
            return memoryview(self.head[offset:] + _noise()[: max(length + after_head, 0)])[:length]
        return memoryview(_noise())[after_head % PIECE :][:length]


@cache
def _noise() -> bytes:
    """Return the same block twice, so that a piece of noise never has to be joined."""
    return random.Random(20250101).randbytes(PIECE) * 2


def _ct_head(rows: int, columns: int) -> bytes:
    """Return the encoded data set of a CT image up to its pixel data."""
    ct = Dataset()
    ct.SpecificCharacterSet = "ISO_IR 192"
    ct.ImageType = ["ORIGINAL", "PRIMARY", "AXIAL"]
    ct.SOPClassUID, ct.SOPInstanceUID = CTImageStorage, _PLACEHOLDER
    ct.StudyDate = ct.SeriesDate = ct.AcquisitionDate = ct.ContentDate = "20250203"
    ct.StudyTime = ct.SeriesTime = ct.AcquisitionTime = ct.ContentTime = "101112"
    ct.Modality, ct.Manufacturer = "CT", "dicom-router bench"
    ct.AccessionNumber, ct.StudyID, ct.PatientID, ct.PatientName = "", "1", "BENCH", "Bench^Load"
    ct.PatientBirthDate, ct.PatientSex, ct.ReferringPhysicianName = "", "O", ""
    ct.StudyInstanceUID, ct.SeriesInstanceUID, ct.FrameOfReferenceUID = "2.25.1", "2.25.2", "2.25.3"
    ct.SeriesNumber, ct.AcquisitionNumber, ct.InstanceNumber = 1, 1, 1
    ct.ImagePositionPatient, ct.ImageOrientationPatient = [0, 0, 0], [1, 0, 0, 0, 1, 0]
    ct.KVP, ct.SliceThickness, ct.PixelSpacing = "120", "1", [0.5, 0.5]
    ct.SamplesPerPixel, ct.PhotometricInterpretation = 1, "MONOCHROME2"
    ct.Rows, ct.Columns = rows, columns
    ct.BitsAllocated, ct.BitsStored, ct.HighBit, ct.PixelRepresentation = 16, 16, 15, 0
    ct.RescaleIntercept, ct.RescaleSlope, ct.RescaleType = "-1024", "1", "HU"
    out = DicomBytesIO()
    out.is_little_endian, out.is_implicit_VR = True, False
    write_dataset(out, ct)
    return out.getvalue()
