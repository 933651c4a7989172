"""What pydicom says of a data set, to hold the scanner against; and data sets that pydicom wrote.

The scanner gives texts where pydicom gives values of many kinds: `expected` brings the latter to the form of the
former.
"""

import struct
import warnings
import zlib
from typing import Any

from hypothesis import strategies as st
from pydicom.charset import convert_encodings
from pydicom.datadict import dictionary_has_tag
from pydicom.dataelem import DataElement, RawDataElement
from pydicom.dataset import Dataset
from pydicom.filebase import DicomBytesIO
from pydicom.filereader import read_dataset
from pydicom.filewriter import write_dataset
from pydicom.multival import MultiValue
from pydicom.sequence import Sequence
from pydicom.tag import BaseTag, Tag
from pydicom.uid import (
    DeflatedExplicitVRLittleEndian,
    ExplicitVRBigEndian,
    ExplicitVRLittleEndian,
    ImplicitVRLittleEndian,
)

SYNTAXES = (
    ImplicitVRLittleEndian,
    ExplicitVRLittleEndian,
    ExplicitVRBigEndian,
    DeflatedExplicitVRLittleEndian,
)

WITHOUT_TEXT = {"SQ", "OB", "OD", "OF", "OL", "OV", "OW", "OB or OW", "US or OW", "US or SS or OW"}


def encode(data_set: Dataset, transfer_syntax: str) -> bytes:
    """The data set as a C-STORE carries it."""
    out = DicomBytesIO()
    out.is_implicit_VR = transfer_syntax == ImplicitVRLittleEndian
    out.is_little_endian = transfer_syntax != ExplicitVRBigEndian
    write_dataset(out, data_set)
    return deflate(out.getvalue()) if transfer_syntax == DeflatedExplicitVRLittleEndian else out.getvalue()


def deflate(data: bytes) -> bytes:
    compressor = zlib.compressobj(wbits=-zlib.MAX_WBITS)
    return compressor.compress(data) + compressor.flush()


def read(data: bytes, transfer_syntax: str) -> Dataset:
    """The data set as pydicom understands it."""
    if transfer_syntax == DeflatedExplicitVRLittleEndian:
        data = zlib.decompress(data, -zlib.MAX_WBITS)
    implicit = transfer_syntax == ImplicitVRLittleEndian
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return read_dataset(DicomBytesIO(data), implicit, transfer_syntax != ExplicitVRBigEndian)


def expected(data_set: Dataset, tag: int) -> tuple[str, ...] | None:
    """The values of an element as `scan` must give them; None where pydicom does not say."""
    raw = data_set.get_item(Tag(tag))
    if isinstance(raw, RawDataElement) and raw.VR in (None, "UN") and not dictionary_has_tag(tag):
        return _unknown(raw.value or b"")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        element = data_set[tag]
    if element.VR in WITHOUT_TEXT or element.is_empty:
        return ()
    if element.VR == "UN":
        return _unknown(element.value or b"")
    several = isinstance(element.value, MultiValue | list)
    texts = tuple(_text(element.VR, value) for value in (element.value if several else [element.value]))
    return texts if several or texts != ("",) else ()


def _unknown(value: bytes) -> tuple[str, ...] | None:
    if not value.isascii():
        return None
    text = value.decode("ascii")
    return tuple(part.strip(" \0") for part in text.split("\\")) if text.strip(" \0") else ()


def _text(vr: str, value: Any) -> str:
    match vr:
        case "AT":
            return f"({value >> 16:04X},{value & 0xFFFF:04X})"
        case "FL":
            return repr(struct.unpack("f", struct.pack("f", value))[0])
        case "DS" | "IS":
            return str(getattr(value, "original_string", value)).strip(" \0")
        case _:
            return str(value).strip(" \0")


def same(vr: str, found: tuple[str, ...], wanted: tuple[str, ...]) -> bool:
    """Whether the scanner found what pydicom did. A single-precision number has several ways to be written."""
    if vr != "FL":
        return found == wanted
    pack = struct.Struct("f").pack
    return [pack(float(one)) for one in found] == [pack(float(one)) for one in wanted]
