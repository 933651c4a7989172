"""What pydicom says of a data set, to hold the scanner against; and data sets that pydicom wrote.

The scanner gives texts where pydicom gives values of many kinds: `expected` brings the latter to the form of the
former.
"""

import struct
import warnings
import zlib
from io import BytesIO
from typing import Any

import pydicom
from hypothesis import strategies as st
from pydicom.datadict import dictionary_has_tag
from pydicom.dataelem import DataElement, RawDataElement
from pydicom.dataset import Dataset
from pydicom.filebase import DicomBytesIO
from pydicom.filereader import read_dataset
from pydicom.filewriter import write_dataset
from pydicom.multival import MultiValue
from pydicom.sequence import Sequence
from pydicom.tag import Tag
from pydicom.uid import (
    DeflatedExplicitVRLittleEndian,
    ExplicitVRBigEndian,
    ExplicitVRLittleEndian,
    ImplicitVRLittleEndian,
)

from router.dicom.encoding import MalformedDataSet
from router.dicom.scanner import scan

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
        return read_dataset(BytesIO(data), implicit, transfer_syntax != ExplicitVRBigEndian)


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
        case "PN":
            return str(value).strip(" \0").rstrip("=")
        case _:
            return str(value).strip(" \0")


def same(vr: str, found: tuple[str, ...], wanted: tuple[str, ...]) -> bool:
    """Whether the scanner found what pydicom did. A number in single precision can be written in several ways, and
    pydicom drops empty component groups at the end of a name."""
    if vr == "PN":
        return tuple(name.rstrip("=") for name in found) == wanted
    if vr != "FL":
        return found == wanted
    pack = struct.Struct("f").pack
    return [pack(float(one)) for one in found] == [pack(float(one)) for one in wanted]


# --- data sets to scan ---

TEXTS = st.text(
    st.characters(codec="ascii", categories=["L", "N"], include_characters="^ ._-"), min_size=1, max_size=16
)
INTEGERS = {"US": (0, 2**16 - 1), "SS": (-(2**15), 2**15 - 1), "UL": (0, 2**32 - 1), "SL": (-(2**31), 2**31 - 1)}


def _of(vr: str) -> st.SearchStrategy[Any]:
    """Values of a representation, as pydicom takes them."""
    if vr in INTEGERS:
        return st.lists(st.integers(*INTEGERS[vr]), max_size=3)
    values: dict[str, st.SearchStrategy[Any]] = {
        "UI": st.sampled_from(["1.2.840.10008.5.1.4.1.1.2", "1.2.3", ["1.2", "1.3.4"]]),
        "CS": st.sampled_from(["CT", "MR", ["ORIGINAL", "PRIMARY", "AXIAL"], "", ["", "X"]]),
        "DA": st.sampled_from(["20240229", "", "19700101"]),
        "DS": st.sampled_from(["1.5", "-3", ["0.5", "0.25"], "1e-3", ""]),
        "IS": st.sampled_from(["3", "-12", ["1", "2", "3"], ""]),
        "LO": st.one_of(TEXTS, st.lists(TEXTS, min_size=2, max_size=3), st.sampled_from(["Grüße", "", "é\\à"])),
        "LT": st.one_of(TEXTS, st.just("a\\b")),
        "PN": st.sampled_from(["Doe^Jane", "Müller^Jörg", ["A^B", "C^D"], ""]),
        "FL": st.lists(st.floats(width=32, allow_nan=False), max_size=3),
        "FD": st.lists(st.floats(allow_nan=False), max_size=3),
        "AT": st.sampled_from([0x00080060, [0x00100010, 0x7FE00010]]),
        "UT": TEXTS,
        "OB": st.binary(max_size=40),
        "UN": st.binary(max_size=40).filter(lambda value: b"\\" not in value),
    }
    return values[vr]


PUBLIC = {
    0x00080016: "UI", 0x00080018: "UI", 0x00080020: "DA", 0x00080060: "CS", 0x00080008: "CS", 0x00081030: "LO",
    0x00100010: "PN", 0x00100020: "LO", 0x00101030: "DS", 0x001021B0: "LT", 0x00180050: "DS", 0x00189073: "FD",
    0x00186020: "SL", 0x00186024: "SL", 0x0018602C: "FD", 0x00200011: "IS", 0x00280009: "AT", 0x00280010: "US",
    0x00280030: "DS", 0x00284000: "LT", 0x0040A160: "UT", 0x00720074: "FD", 0x00720076: "FL",
    0x0072007C: "SL", 0x0072007E: "SS",
}  # fmt: skip
"""Elements of the dictionary, all told by tag and value representation."""
SEQUENCES = (0x00081032, 0x00081140, 0x00400275, 0x00720080)
PRIVATE = {0x00091001: "LO", 0x00091002: "US", 0x00091003: "OB", 0x00091004: "UN", 0x00191010: "FD", 0x00191011: "CS"}


@st.composite
def data_sets(draw: st.DrawFn, depth: int = 2) -> Dataset:
    """Data sets with nested sequences and items of defined and undefined length, private elements, unknown value
    representations and values of odd length."""
    data_set = Dataset()
    if depth == 2 and draw(st.booleans()):
        data_set.SpecificCharacterSet = draw(st.sampled_from(["ISO_IR 100", "ISO_IR 192"]))
    for tag in draw(st.sets(st.sampled_from(sorted(PUBLIC | PRIVATE)), max_size=8)):
        vr = (PUBLIC | PRIVATE)[tag]
        value = draw(_of(vr))
        if vr in ("LO", "PN", "LT") and "SpecificCharacterSet" not in data_set and not str(value).isascii():
            value = "plain"
        data_set.add(DataElement(tag, vr, value))
    for tag in (0x00090010, 0x00190010):
        if any(key >> 16 == tag >> 16 for key, _ in data_set.items()):
            data_set.add(DataElement(tag, "LO", "HOUSE OF TESTS"))
    if draw(st.booleans()):
        odd = draw(st.binary(min_size=1, max_size=15).filter(lambda value: len(value) % 2 == 1))
        data_set[0x00104000] = RawDataElement(Tag(0x00104000), "LT", len(odd), b"x" * len(odd), 0, False, True)
    for tag in draw(st.sets(st.sampled_from(SEQUENCES), max_size=2)) if depth else ():
        data_set.add(draw(_sequences(tag, depth)))
    return data_set


@st.composite
def _sequences(draw: st.DrawFn, tag: int, depth: int) -> DataElement:
    items = draw(st.lists(data_sets(depth=depth - 1), max_size=3))
    for item in items:
        item.is_undefined_length_sequence_item = draw(st.booleans())
    element = DataElement(tag, "SQ", Sequence(items))
    element.is_undefined_length = draw(st.booleans())
    return element


def check_against_pydicom(data: bytes, transfer_syntax: str, data_set: Dataset, wanted: frozenset[int]) -> None:
    found = scan(data, transfer_syntax, wanted)
    assert found.keys() == {tag for tag in wanted if tag in data_set}
    for tag, values in found.items():
        said = expected(data_set, tag)
        assert said is None or same(data_set[tag].VR, values, said), pydicom.tag.Tag(tag)


@st.composite
def damaged(draw: st.DrawFn, data: bytes) -> bytes:
    """Cut off somewhere, or with a few bits turned over."""
    if draw(st.booleans()):
        return data[: draw(st.integers(0, len(data)))]
    changed = bytearray(data)
    for _ in range(draw(st.integers(1, 4)) if data else 0):
        changed[draw(st.integers(0, len(data) - 1))] ^= 1 << draw(st.integers(0, 7))
    return bytes(changed)


def attempt(data: bytes, transfer_syntax: str) -> None:
    """Scan for all sorts of elements; fails on anything but an answer or `MalformedDataSet`."""
    wanted = frozenset({0x00080016, 0x00080018, 0x00080060, 0x00100010, 0x00280106, 0x00720076, 0x60000010})
    try:
        found = scan(data, transfer_syntax, wanted)
    except MalformedDataSet:
        return
    assert found.keys() <= wanted
