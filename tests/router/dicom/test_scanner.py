"""The scanner against pydicom, and against bytes that mean harm."""

import mmap
import struct
import zlib
from collections.abc import Iterator
from typing import Any

import pydicom
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from pydicom.dataset import Dataset
from pydicom.uid import (
    DeflatedExplicitVRLittleEndian,
    ExplicitVRBigEndian,
    ExplicitVRLittleEndian,
    ImplicitVRLittleEndian,
    JPEG2000Lossless,
)

from router.dicom import scanner as limits
from router.dicom.encoding import EXPLICIT, MalformedDataSet, TooMuchToRead
from router.dicom.scanner import AT_ONCE, IN_ALL, Bounds, scan
from tests.router.dicom.oracle import (
    SYNTAXES,
    attempt,
    check_against_pydicom,
    damaged,
    data_sets,
    deflate,
    encode,
    read,
)
from tests.support.objects import Instance, files_named_by_meta_only, stored_files

SOP_CLASS_UID, SOP_INSTANCE_UID, MODALITY = 0x00080016, 0x00080018, 0x00080060
FIRST_OF_PIXEL_GROUP = 0x7FE00000
UNDEFINED = 0xFFFFFFFF


def element(group: int, number: int, vr: str, value: bytes) -> bytes:
    """An element in explicit VR little endian with a length of 16 bits."""
    return struct.pack("<HH2sH", group, number, vr.encode(), len(value)) + value


def long_element(group: int, number: int, vr: str, length: int, value: bytes = b"") -> bytes:
    return struct.pack("<HH2sHI", group, number, vr.encode(), 0, length) + value


def implicit(group: int, number: int, length: int, value: bytes = b"") -> bytes:
    return struct.pack("<HHI", group, number, length) + value


ITEM, ITEM_END, SEQUENCE_END = (0xFFFE, 0xE000), (0xFFFE, 0xE00D), (0xFFFE, 0xE0DD)
CT = element(0x0008, 0x0060, "CS", b"CT")


def modality(data: bytes | memoryview, transfer_syntax: str = ExplicitVRLittleEndian) -> tuple[str, ...] | None:
    return scan(data, transfer_syntax, frozenset({MODALITY})).get(MODALITY)


# --- pydicom is the oracle ---


@given(data_set=data_sets(), draw=st.data())
@settings(suppress_health_check=[HealthCheck.too_slow], deadline=None)
def test_any_elements_of_any_data_set_are_what_pydicom_says(data_set: Dataset, draw: st.DataObject) -> None:
    transfer_syntax = draw.draw(st.sampled_from(SYNTAXES))
    data = encode(data_set, transfer_syntax)
    there = sorted(int(tag) for tag, _ in data_set.items())
    wanted = draw.draw(st.frozensets(st.sampled_from([*there, MODALITY, 0x00400001]))) if there else frozenset()
    buffer = draw.draw(st.sampled_from([bytes, bytearray, memoryview]))
    check_against_pydicom(buffer(data), transfer_syntax, read(data, transfer_syntax), wanted)


def scannable() -> list[Instance]:
    return [one for one in stored_files() + files_named_by_meta_only() if one.path is not None]


@pytest.mark.parametrize("instance", scannable(), ids=lambda instance: instance.path.name)
def test_every_element_of_every_file_of_pydicom_is_what_pydicom_says(instance: Instance) -> None:
    assert instance.path is not None
    data_set = pydicom.dcmread(instance.path, force=True, stop_before_pixels=True)
    wanted = frozenset(int(tag) for tag, _ in data_set.items() if tag < FIRST_OF_PIXEL_GROUP)
    if instance.path.name == "rtplan_truncated.dcm":
        with pytest.raises(MalformedDataSet, match=r"\(300A,00B0\) says that it is 976 bytes long, but only 711"):
            scan(instance.data, instance.transfer_syntax, wanted)
        wanted = frozenset(tag for tag in wanted if tag < 0x300A00B0)
    check_against_pydicom(instance.data, instance.transfer_syntax, data_set, wanted)


# --- what is read, and how far ---


def test_an_element_is_given_without_padding_and_outer_spaces() -> None:
    assert modality(element(0x0008, 0x0060, "CS", b" CT \0")) == ("CT",)


def test_an_empty_element_has_no_values_and_a_missing_one_is_not_there() -> None:
    data = element(0x0008, 0x0060, "CS", b"")
    assert scan(data, ExplicitVRLittleEndian, frozenset({MODALITY, 0x00100010})) == {MODALITY: ()}


def test_empty_values_among_others_are_kept() -> None:
    assert modality(element(0x0008, 0x0060, "CS", b"A\\\\B")) == ("A", "", "B")


def test_nothing_wanted_reads_nothing() -> None:
    assert scan(b"garbage", ExplicitVRLittleEndian, frozenset()) == {}


def test_nothing_after_the_last_wanted_element_is_looked_at() -> None:
    assert modality(CT + b"\xff" * 3) == ("CT",)
    assert modality(CT + long_element(0x0008, 0x1140, "SQ", UNDEFINED)) == ("CT",)


def test_a_larger_tag_ends_the_search_for_a_missing_one() -> None:
    assert modality(element(0x0008, 0x0070, "LO", b"MAKER!") + b"garbage") is None


def test_pixel_data_is_never_reached_even_if_it_is_wanted() -> None:
    data = CT + long_element(0x7FE0, 0x0010, "OW", 0xFFFFFFF0)
    assert scan(data, ExplicitVRLittleEndian, frozenset({MODALITY, 0x7FE00010})) == {MODALITY: ("CT",)}


def test_a_sequence_that_is_wanted_is_there_without_values() -> None:
    for length, end in ((0, b""), (UNDEFINED, implicit(*SEQUENCE_END, 0))):
        data = long_element(0x0008, 0x1140, "SQ", length) + end
        assert scan(data, ExplicitVRLittleEndian, frozenset({0x00081140})) == {0x00081140: ()}


def test_elements_within_sequences_are_not_those_of_the_data_set() -> None:
    items = implicit(*ITEM, len(CT)) + CT + implicit(*ITEM, UNDEFINED) + CT + implicit(*ITEM_END, 0)
    data = long_element(0x0008, 0x0051, "SQ", UNDEFINED) + items + implicit(*SEQUENCE_END, 0)
    assert modality(data) is None
    assert modality(data + element(0x0008, 0x0060, "CS", b"MR")) == ("MR",)


def test_any_other_transfer_syntax_is_explicit_little_endian() -> None:
    assert modality(CT, JPEG2000Lossless) == ("CT",)
    assert modality(CT, "1.2.3.4.5") == ("CT",)


def test_no_more_than_the_longest_value_is_kept_of_a_text() -> None:
    data = long_element(0x0008, 0x0119, "UC", 1 << 20, b"x" * (1 << 20))
    (value,) = scan(data, ExplicitVRLittleEndian, frozenset({0x00080119}))[0x00080119]
    assert len(value) == 1 << 16


# --- value representations ---


@pytest.mark.parametrize(
    ("vr", "value", "texts"),
    [
        ("US", struct.pack("<2H", 1, 65535), ("1", "65535")),
        ("SS", struct.pack("<h", -2), ("-2",)),
        ("UL", struct.pack("<I", 1 << 31), ("2147483648",)),
        ("SL", struct.pack("<i", -5), ("-5",)),
        ("FL", struct.pack("<3f", 0.1, 3.4028235e38, -0.0), ("0.1", "3.4028235e+38", "-0")),
        ("FL", struct.pack("<f", float("inf")) + b"\x01\x00\xc0\x7f", ("inf", "nan")),
        ("FD", struct.pack("<d", 0.1), ("0.1",)),
        ("AT", struct.pack("<HH", 0x0018, 0x00FF), ("(0018,00FF)",)),
        ("US", b"\x01\x00\x02", ("1",)),
        ("ST", b" a\\b ", ("a\\b",)),
        ("CS", b"\0", ()),
        ("CS", b"\\", ("", "")),
    ],
)
def test_values_become_text(vr: str, value: bytes, texts: tuple[str, ...]) -> None:
    assert scan(element(0x0009, 0x1001, vr, value), ExplicitVRLittleEndian, frozenset({0x00091001})) == {
        0x00091001: texts
    }


@pytest.mark.parametrize(
    ("vr", "value", "texts"),
    [
        ("SV", struct.pack("<q", -(1 << 63)), ("-9223372036854775808",)),
        ("UV", struct.pack("<Q", (1 << 64) - 1), ("18446744073709551615",)),
        ("UR", b"http://x/a\\b ", ("http://x/a\\b",)),
        ("UN", b"as text", ("as text",)),
        ("OB", b"CT", ()),
        ("ZZ", b"CT", ()),
    ],
)
def test_values_of_a_long_length_become_text(vr: str, value: bytes, texts: tuple[str, ...]) -> None:
    data = long_element(0x0009, 0x1001, vr, len(value), value)
    assert scan(data, ExplicitVRLittleEndian, frozenset({0x00091001})) == {0x00091001: texts}


@pytest.mark.parametrize(("representation", "text"), [(0, "65534"), (1, "-2")])
def test_us_or_ss_follows_the_pixel_representation(representation: int, text: str) -> None:
    data = implicit(0x0028, 0x0103, 2, struct.pack("<H", representation)) + implicit(0x0028, 0x0106, 2, b"\xfe\xff")
    assert scan(data, ImplicitVRLittleEndian, frozenset({0x00280106})) == {0x00280106: (text,)}


def test_an_element_of_unknown_vr_is_read_by_the_dictionary_in_little_endian() -> None:
    """PS3.5 6.2.2, whatever the byte order of the data set."""
    rows = struct.pack("<H", 512)
    big = struct.pack(">HH2sHI", 0x0028, 0x0010, b"UN", 0, 2) + rows
    little = long_element(0x0028, 0x0010, "UN", 2, rows)
    assert scan(big, ExplicitVRBigEndian, frozenset({0x00280010})) == {0x00280010: ("512",)}
    assert scan(little, ExplicitVRLittleEndian, frozenset({0x00280010})) == {0x00280010: ("512",)}


@pytest.mark.parametrize("order", ["<", ">"])
def test_a_sequence_of_unknown_vr_is_in_implicit_vr(order: str) -> None:
    """Little endian by PS3.5 6.2.2; senders that keep to their own byte order are understood too."""
    item = struct.pack(f"{order}HHI", *ITEM, UNDEFINED) + struct.pack(f"{order}HHI2s", 9, 0x1001, 2, b"ab")
    ends = struct.pack(f"{order}HHIHHI", *ITEM_END, 0, *SEQUENCE_END, 0)
    head = struct.pack(">HH2sHI", 0x0008, 0x0051, b"UN", 0, UNDEFINED)
    after = struct.pack(">HH2sH", 0x0008, 0x0060, b"CS", 2) + b"CT"
    assert modality(head + item + ends + after, ExplicitVRBigEndian) == ("CT",)


# --- slips that are read as they were meant ---


def test_a_data_set_in_the_other_vr_than_its_transfer_syntax_says_is_understood() -> None:
    assert modality(CT, ImplicitVRLittleEndian) == ("CT",)
    assert modality(implicit(0x0008, 0x0060, 2, b"CT"), ExplicitVRLittleEndian) == ("CT",)


def test_single_elements_in_implicit_vr_are_understood_in_an_explicit_set() -> None:
    data = element(0x0008, 0x0016, "UI", b"1.2\0") + implicit(0x0008, 0x0050, 2, b"AB") + CT
    assert modality(data) == ("CT",)


def test_a_value_representation_of_the_future_has_a_length_of_32_bits() -> None:
    """PS3.5 7.1.2; but a sender that gave it one of 16 bits is understood too."""
    assert modality(long_element(0x0008, 0x0050, "ZZ", 2, b"AB") + CT) == ("CT",)
    assert modality(element(0x0008, 0x0050, "ZZ", b"AB") + CT) == ("CT",)


def test_items_in_the_other_vr_than_their_data_set_are_understood() -> None:
    item = implicit(*ITEM, UNDEFINED) + implicit(0x0008, 0x0104, 2, b"AB") + implicit(*ITEM_END, 0)
    data = long_element(0x0008, 0x0051, "SQ", UNDEFINED) + item + implicit(*SEQUENCE_END, 0) + CT
    assert modality(data) == ("CT",)


# --- malformed data sets ---


@pytest.mark.parametrize(
    ("data", "offset", "message"),
    [
        (b"\x08\x00\x16", 0, "the data set ends where an element should be"),
        (long_element(0x0008, 0x0050, "UT", 0)[:10], 0, "the data set ends where an element should be"),
        (element(0x0008, 0x0050, "SH", b"AB")[:-1], 0, "(0008,0050) says that it is 2 bytes long, but only 1 are left"),
        (long_element(0x0008, 0x0051, "SQ", UNDEFINED), 12, "the data set ends where an element should be"),
        (
            long_element(0x0008, 0x0051, "SQ", UNDEFINED) + CT,
            12,
            "(0008,0060) stands where an item of a sequence should",
        ),
        (
            long_element(0x0008, 0x0051, "SQ", UNDEFINED) + implicit(*ITEM, 9),
            12,
            "an item says that it is 9 bytes long, but only 0 are left",
        ),
        (
            long_element(0x0008, 0x0051, "SQ", UNDEFINED)
            + implicit(*ITEM, UNDEFINED)
            + element(8, 8, "CS", b"AB")[:-2],
            20,
            "(0008,0008) says that it is 2 bytes long, but only 0 are left",
        ),
        (implicit(*ITEM_END, 0), 0, "(FFFE,E00D) stands outside of any sequence"),
    ],
)
def test_a_malformed_data_set_is_told_with_its_place(data: bytes, offset: int, message: str) -> None:
    with pytest.raises(MalformedDataSet) as raised:
        modality(data)
    assert (raised.value.offset, raised.value.message) == (offset, message)


@pytest.mark.parametrize("transfer_syntax", SYNTAXES)
def test_nothing_keeps_hold_of_the_data_after_a_fault(transfer_syntax: str) -> None:
    """The caller may close the file that it has mapped as soon as `scan` is over, the exception still in hand."""
    with mmap.mmap(-1, 4097) as mapped:
        with memoryview(mapped) as view, pytest.raises(MalformedDataSet) as raised:
            modality(view, transfer_syntax)
    assert mapped.closed
    assert raised.value.__traceback__


def test_nesting_has_an_end() -> None:
    level = long_element(0x0008, 0x0051, "SQ", UNDEFINED) + implicit(*ITEM, UNDEFINED)
    with pytest.raises(MalformedDataSet, match="nested more than 64 deep"):
        modality(level * 100_000)


@pytest.mark.parametrize(
    "data",
    [
        element(0x0008, 0x0000, "UL", b"") * 1000,
        long_element(0x0008, 0x0051, "SQ", UNDEFINED) + implicit(*ITEM, 0) * 1000,
        long_element(0x0008, 0x0051, "SQ", UNDEFINED) + implicit(*ITEM, UNDEFINED) + element(8, 0, "UL", b"") * 1000,
    ],
)
def test_the_number_of_elements_on_the_way_has_an_end(data: bytes) -> None:
    with pytest.raises(TooMuchToRead, match="more than 500 elements"):
        scan(data, ExplicitVRLittleEndian, frozenset({MODALITY}), Bounds(heads=500, inflated=1 << 20))


# --- deflated data sets ---


def test_a_deflated_set_is_inflated_until_the_last_wanted_element_is_there() -> None:
    """In the second half of the deflated bytes stands nothing that could be inflated."""
    noise = bytes(zlib.crc32(index.to_bytes(4, "big")) & 0xFF for index in range(400_000))
    data = deflate(CT + long_element(0x0009, 0x1001, "OB", len(noise), noise))
    assert modality(data[: len(data) // 2] + b"\xff" * 1000, DeflatedExplicitVRLittleEndian) == ("CT",)


def test_an_element_far_into_a_deflated_set_is_found() -> None:
    far = long_element(0x0008, 0x0050, "UT", 3_000_000, bytes(3_000_000)) + CT
    assert modality(deflate(far), DeflatedExplicitVRLittleEndian) == ("CT",)


def test_a_deflate_bomb_is_not_inflated_beyond_the_cap(monkeypatch: pytest.MonkeyPatch) -> None:
    bomb = deflate(long_element(0x0008, 0x0050, "UT", 1 << 28, bytes(1 << 26)) + CT)
    inflated = 0
    inflate = limits._inflate

    def counting(data: bytes) -> Iterator[bytes]:
        nonlocal inflated
        for piece in inflate(data):
            inflated += len(piece)
            yield piece

    monkeypatch.setattr(limits, "_inflate", counting)
    with pytest.raises(MalformedDataSet, match="too long before the elements needed"):
        modality(bomb, DeflatedExplicitVRLittleEndian)
    assert inflated <= IN_ALL.inflated + limits.FIRST_INFLATED


def test_what_was_inflated_and_walked_over_is_not_walked_over_again(monkeypatch: pytest.MonkeyPatch) -> None:
    count, heads = 300_000, 0
    plain = EXPLICIT["<"]

    def counting(data: Any, offset: int) -> tuple[int, int, bytes, int]:
        nonlocal heads
        heads += 1
        return plain.element(data, offset)

    monkeypatch.setitem(EXPLICIT, "<", plain._replace(element=counting))
    assert modality(deflate(element(0x0008, 0x0000, "UL", b"") * count + CT), DeflatedExplicitVRLittleEndian) == ("CT",)
    assert count < heads < count + 20


def test_a_sequence_that_is_not_whole_yet_counts_once(monkeypatch: pytest.MonkeyPatch) -> None:
    """It is walked over again from its beginning, when there is twice as much of it."""
    many = element(0x0008, 0x0000, "UL", b"") * 200_000
    nested = long_element(0x0008, 0x0051, "SQ", UNDEFINED) + implicit(*ITEM, UNDEFINED) + many
    ended = nested + implicit(0xFFFE, 0xE00D, 0) + implicit(0xFFFE, 0xE0DD, 0) + CT
    bounds = Bounds(heads=200_010, inflated=16 << 20)
    found = scan(deflate(ended), DeflatedExplicitVRLittleEndian, frozenset({MODALITY}), bounds)
    assert found == {MODALITY: ("CT",)}


@pytest.mark.parametrize(
    "data",
    [element(0x0008, 0x0000, "UL", b"") * 30_000, long_element(0x0008, 0x0050, "UT", 1 << 20, bytes(1 << 20))],
    ids=["many elements", "a long one"],
)
def test_what_takes_long_is_not_read_at_once(data: bytes) -> None:
    with pytest.raises(TooMuchToRead):
        scan(deflate(data + CT), DeflatedExplicitVRLittleEndian, frozenset({MODALITY}), AT_ONCE)
    assert modality(deflate(data + CT), DeflatedExplicitVRLittleEndian) == ("CT",)


@pytest.mark.parametrize(
    ("data", "words"),
    [
        (b"\xff\xff\xff\xff", "cannot be inflated"),
        (deflate(CT)[:-3], "ends too early"),
        (b"", "ends too early"),
        (deflate(CT[:-1]), "only 1 are left"),
    ],
)
def test_a_deflated_set_that_is_none_is_malformed(data: bytes, words: str) -> None:
    with pytest.raises(MalformedDataSet, match=words):
        scan(data, DeflatedExplicitVRLittleEndian, frozenset({MODALITY, 0x00400001}))


# --- whatever the bytes ---


@given(data=st.binary(max_size=200), transfer_syntax=st.sampled_from(SYNTAXES))
def test_any_bytes_are_a_data_set_or_a_malformed_one(data: bytes, transfer_syntax: str) -> None:
    attempt(data, transfer_syntax)


@given(data_set=data_sets(), draw=st.data())
@settings(suppress_health_check=[HealthCheck.too_slow], deadline=None)
def test_a_damaged_data_set_is_a_data_set_or_a_malformed_one(data_set: Dataset, draw: st.DataObject) -> None:
    transfer_syntax = draw.draw(st.sampled_from(SYNTAXES))
    attempt(draw.draw(damaged(encode(data_set, transfer_syntax))), transfer_syntax)
