"""CT images of any size, made in memory: a real header, and pixels of noise."""

import math
import random
import struct
from typing import Final

from attrs import frozen
from pydicom.dataset import Dataset
from pydicom.filebase import DicomBytesIO
from pydicom.filewriter import write_dataset
from pydicom.uid import CTImageStorage, ExplicitVRLittleEndian

from router.tools.bench.errors import BenchError
from router.tools.bench.objects import PIECE, Template
from router.tools.bench.uids import LENGTH

SMALLEST: Final = 2000
LARGEST: Final = 4 << 30
"""Bytes of a data set: what pixel data of a defined length can have."""

_PLACEHOLDER: Final = "2.25." + "9" * (LENGTH - 5)
_ROWS: Final = 65535


def made(size: int) -> Template:
    """A CT image in Explicit VR Little Endian whose data set has very nearly `size` bytes.

    Raises:
        BenchError: nobody can have a CT image of that size.
    """
    if not SMALLEST <= size <= LARGEST:
        raise BenchError(f"an object of {size} bytes cannot be made: from {SMALLEST} bytes to 4 GiB they can")
    pixels = (size - len(_head(1, 1)) - 12) // 2
    rows, columns = _shape(pixels)
    head = _head(rows, columns) + struct.pack("<HH2sHL", 0x7FE0, 0x0010, b"OW", 0, 2 * rows * columns)
    return Template(
        sop_class_uid=CTImageStorage,
        transfer_syntax=ExplicitVRLittleEndian,
        length=len(head) + 2 * rows * columns,
        uid_at=head.index(_PLACEHOLDER.encode()),
        uid_length=LENGTH,
        content=_Noisy(head),
    )


def _shape(pixels: int) -> tuple[int, int]:
    """Rows and columns of nearly so many pixels, nearly a square."""
    root = math.isqrt(pixels)
    columns = min(range(root, max(root - 64, 0), -1), key=lambda each: pixels % each)
    if pixels // columns > _ROWS:
        raise BenchError(f"an image of {pixels} pixels has no rows and columns that 16 bits can say")
    return pixels // columns, columns


@frozen
class _Noisy:
    """A head, and noise for ever."""

    head: bytes

    def piece(self, offset: int, length: int) -> memoryview:
        behind = offset - len(self.head)
        if behind < 0:
            return memoryview(self.head[offset:] + _noise()[: max(length + behind, 0)])[:length]
        return memoryview(_noise())[behind % PIECE :][:length]


_block = b""


def _noise() -> bytes:
    """Twice the same block, so that a piece of it never has to be put together. Made when it is first asked for."""
    global _block
    if not _block:
        _block = random.Random(20250101).randbytes(PIECE) * 2
    return _block


def _head(rows: int, columns: int) -> bytes:
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
