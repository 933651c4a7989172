"""Objects to route: every real one that pydicom ships, and as many made ones as a test wants.

A data set is always the exact bytes a C-STORE carries: what follows the file meta information, deflated where the
transfer syntax says so. Nothing is downloaded, and nothing here checks an object: several of pydicom's are malformed,
which is what makes them worth routing.
"""

import functools
import math
import random
import struct
import uuid
import zlib
from pathlib import Path
from typing import Any

import pydicom
from attrs import field, frozen
from pydicom.dataset import Dataset, FileMetaDataset
from pydicom.filebase import DicomBytesIO
from pydicom.filewriter import write_dataset, write_file_meta_info
from pydicom.uid import (
    UID,
    CTImageStorage,
    DeflatedExplicitVRLittleEndian,
    ExplicitVRBigEndian,
    ExplicitVRLittleEndian,
    ImplicitVRLittleEndian,
    MediaStorageDirectoryStorage,
)

PHI = ("Mustermann^Erika", "PHI-0815-4711", "19640812", "Heidestrasse 17", "ACC-PHI-99")
"""What every made object says about its patient. None of it may ever be in a log."""


@frozen(kw_only=True)
class Instance:
    """A SOP instance as a C-STORE sees it."""

    sop_class_uid: str
    sop_instance_uid: str
    transfer_syntax: str
    data: bytes = field(repr=False)
    """The encoded data set."""
    path: Path | None = None
    """The file it came from, if any."""

    def part10(self) -> bytes:
        """The instance as a file of PS3.10: preamble, file meta information, data set."""
        return part10_head(self.sop_class_uid, self.sop_instance_uid, self.transfer_syntax) + self.data

    def write(self, folder: Path) -> Path:
        """Write it as a file of PS3.10, named by its SOP Instance UID."""
        path = folder / f"{self.sop_instance_uid}.dcm"
        path.write_bytes(self.part10())
        return path


def part10_head(sop_class_uid: str, sop_instance_uid: str, transfer_syntax: str) -> bytes:
    meta = FileMetaDataset()
    meta.MediaStorageSOPClassUID = UID(sop_class_uid)
    meta.MediaStorageSOPInstanceUID = UID(sop_instance_uid)
    meta.TransferSyntaxUID = UID(transfer_syntax)
    out = DicomBytesIO()
    write_file_meta_info(out, meta, enforce_standard=True)
    return bytes(128) + b"DICM" + out.getvalue()


# --- real objects ---


@functools.cache
def stored_files() -> tuple[Instance, ...]:
    """Every file of the pydicom package whose data set has the UIDs that a C-STORE needs.

    A file without file meta information counts too, in the encoding that pydicom finds it to have.
    """
    return tuple(instance for instance, complete in _package_files() if complete)


@functools.cache
def files_named_by_meta_only() -> tuple[Instance, ...]:
    """The files of which only the file meta information knows the UIDs; a DICOMDIR is none of them."""
    return tuple(
        instance
        for instance, complete in _package_files()
        if not complete and instance.sop_instance_uid and instance.sop_class_uid != MediaStorageDirectoryStorage
    )


@functools.cache
def _package_files() -> tuple[tuple[Instance, bool], ...]:
    folder = Path(pydicom.__file__).parent / "data"
    paths = sorted(path for path in folder.rglob("*") if path.is_file() and path.suffix in {"", ".dcm"})
    return tuple(_read(path) for path in paths if path.name != "README")


def read_file(path: Path) -> Instance:
    """A DICOM file, such as one that an archive wrote, as an instance."""
    return _read(path)[0]


def _read(path: Path) -> tuple[Instance, bool]:
    """The file as an instance, and whether its data set itself has both UIDs."""
    content = path.read_bytes()
    meta, start = _meta_information(content)
    seen = pydicom.dcmread(path, force=True, specific_tags=["SOPClassUID", "SOPInstanceUID"])
    sop_class_uid, sop_instance_uid = seen.get("SOPClassUID", ""), seen.get("SOPInstanceUID", "")
    complete = bool(sop_class_uid and sop_instance_uid)
    instance = Instance(
        sop_class_uid=str(sop_class_uid if complete else meta.get(0x0002, "")),
        sop_instance_uid=str(sop_instance_uid if complete else meta.get(0x0003, "")),
        transfer_syntax=meta.get(0x0010) or _ENCODINGS[seen.original_encoding],
        data=content[start:],
        path=path,
    )
    return instance, complete


def _meta_information(content: bytes) -> tuple[dict[int, str], int]:
    """The UIDs of group 0002 by element number, and where the data set begins (PS3.10 7.1)."""
    if content[128:132] != b"DICM":
        return {}, 0
    values, at = {}, 132
    while content[at : at + 2] == b"\x02\x00":
        element, vr, length = struct.unpack_from("<H2sH", content, at + 2)
        at += 8
        if vr in {b"OB", b"UN"}:
            (length,) = struct.unpack_from("<L", content, at)
            at += 4
        if vr == b"UI":
            values[element] = content[at : at + length].rstrip(b"\0 ").decode("ascii")
        at += length
    return values, at


_ENCODINGS: dict[Any, UID] = {
    (True, True): ImplicitVRLittleEndian,
    (False, True): ExplicitVRLittleEndian,
    (False, False): ExplicitVRBigEndian,
}


# --- made objects ---


def ct(
    size_bytes: int = 12_000,
    *,
    transfer_syntax: str = ExplicitVRLittleEndian,
    sop_class_uid: str = CTImageStorage,
) -> Instance:
    """A CT image with a SOP Instance UID of its own and a data set of about `size_bytes` (2 kB at least).

    In an encapsulated transfer syntax the pixel data is one fragment of noise; deflated, `size_bytes` is what it was
    before, and as the pixels are noise, about what it is after. Made from a template: thousands cost little.
    """
    head, pixels = _template(size_bytes, transfer_syntax, sop_class_uid)
    uid = new_uid()
    data = b"".join([head.replace(_PLACEHOLDER, uid.encode()), _pixel_data(pixels, transfer_syntax)])
    if transfer_syntax == DeflatedExplicitVRLittleEndian:
        data = _deflated(data)
    return Instance(sop_class_uid=sop_class_uid, sop_instance_uid=uid, transfer_syntax=transfer_syntax, data=data)


def write_large_ct(path: Path, size_bytes: int) -> str:
    """Write a CT image of that size in Explicit VR Little Endian without holding it; returns its SOP Instance UID."""
    head, pixels = _template(size_bytes, ExplicitVRLittleEndian, CTImageStorage)
    uid = new_uid()
    with path.open("wb") as out:
        out.write(part10_head(CTImageStorage, uid, ExplicitVRLittleEndian))
        out.write(head.replace(_PLACEHOLDER, uid.encode()))
        out.write(_pixel_header(pixels, ExplicitVRLittleEndian))
        for at in range(0, pixels, len(_NOISE)):
            out.write(_NOISE[: pixels - at])
    return uid


def new_uid() -> str:
    """A UID under 2.25 (PS3.5 B.2), always 44 characters long."""
    while (number := uuid.uuid4().int) < 10**38:
        pass
    return f"2.25.{number}"


_PLACEHOLDER = b"2.25." + b"9" * 39
_NOISE = random.Random(20250101).randbytes(1 << 20)
_NATIVE = {*_ENCODINGS.values(), DeflatedExplicitVRLittleEndian}


@functools.lru_cache(maxsize=1024)
def _template(size_bytes: int, transfer_syntax: str, sop_class_uid: str) -> tuple[bytes, int]:
    """All of the data set that stands before the pixel data, and the pixel data's length in bytes."""
    pixels = max(1, (size_bytes - len(_head(1, 1, transfer_syntax, sop_class_uid)) - 12) // 2)
    columns = math.isqrt(pixels)
    rows = pixels // columns
    return _head(rows, columns, transfer_syntax, sop_class_uid), 2 * rows * columns


def _head(rows: int, columns: int, transfer_syntax: str, sop_class_uid: str) -> bytes:
    ct = Dataset()
    ct.SpecificCharacterSet = "ISO_IR 192"
    ct.ImageType = ["ORIGINAL", "PRIMARY", "AXIAL"]
    ct.SOPClassUID = sop_class_uid
    ct.SOPInstanceUID = _PLACEHOLDER.decode()
    ct.StudyDate = ct.SeriesDate = ct.AcquisitionDate = ct.ContentDate = "20250203"
    ct.StudyTime = ct.SeriesTime = ct.AcquisitionTime = ct.ContentTime = "101112"
    ct.Modality = "CT"
    ct.Manufacturer = "Loopback Scanners"
    ct.ReferringPhysicianName = "Doe^Jane"
    ct.PatientName, ct.PatientID, ct.PatientBirthDate, ct.PatientAddress, ct.AccessionNumber = PHI
    ct.PatientSex = "F"
    ct.StudyInstanceUID, ct.SeriesInstanceUID, ct.FrameOfReferenceUID = "2.25.1", "2.25.2", "2.25.3"
    ct.StudyID, ct.SeriesNumber, ct.AcquisitionNumber, ct.InstanceNumber = "1", 2, 1, 1
    ct.ImagePositionPatient, ct.ImageOrientationPatient = [0, 0, 0], [1, 0, 0, 0, 1, 0]
    ct.KVP, ct.SliceThickness, ct.PixelSpacing = "120", "1", [0.5, 0.5]
    ct.SamplesPerPixel, ct.PhotometricInterpretation = 1, "MONOCHROME2"
    ct.Rows, ct.Columns = rows, columns
    ct.BitsAllocated, ct.BitsStored, ct.HighBit, ct.PixelRepresentation = 16, 16, 15, 0
    ct.RescaleIntercept, ct.RescaleSlope, ct.RescaleType = "-1024", "1", "HU"
    out = DicomBytesIO()
    out.is_implicit_VR = transfer_syntax == ImplicitVRLittleEndian
    out.is_little_endian = transfer_syntax != ExplicitVRBigEndian
    write_dataset(out, ct)
    return out.getvalue()


def _pixel_header(length: int, transfer_syntax: str) -> bytes:
    if transfer_syntax == ImplicitVRLittleEndian:
        return struct.pack("<HHL", 0x7FE0, 0x0010, length)
    order = ">" if transfer_syntax == ExplicitVRBigEndian else "<"
    return struct.pack(f"{order}HH2sHL", 0x7FE0, 0x0010, b"OW", 0, length)


def _pixel_data(length: int, transfer_syntax: str) -> bytes:
    value = (_NOISE * (length // len(_NOISE) + 1))[:length]
    if transfer_syntax in _NATIVE:
        return _pixel_header(length, transfer_syntax) + value
    # PS3.5 A.4: an empty offset table, one fragment, the sequence delimiter.
    undefined = struct.pack("<HH2sHL", 0x7FE0, 0x0010, b"OB", 0, 0xFFFFFFFF)
    return b"".join([undefined, _item(b""), _item(value), struct.pack("<HHL", 0xFFFE, 0xE0DD, 0)])


def _item(value: bytes) -> bytes:
    return struct.pack("<HHL", 0xFFFE, 0xE000, len(value)) + value


def _deflated(data: bytes) -> bytes:
    """PS3.5 A.5: a raw deflate stream, padded to even length."""
    stream = zlib.compressobj(level=1, wbits=-zlib.MAX_WBITS)
    deflated = stream.compress(data) + stream.flush()
    return deflated + b"\0" * (len(deflated) % 2)
