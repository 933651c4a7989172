"""A stored data set of MPPS or storage commitment is encoded for a destination, with the same content."""

from io import BytesIO

import pytest
from attrs import evolve
from hypothesis import given
from hypothesis import strategies as st
from pydicom.datadict import dictionary_VR
from pydicom.filereader import read_dataset

from router.dicom.dataset import TRANSFER_SYNTAXES, DataSet, Element, read, reencode, representation, write
from router.dicom.encoding import LONG, SHORT
from router.dicom.uids import EXPLICIT_BE, EXPLICIT_LE, IMPLICIT_LE
from router.model import PendingDelivery
from router.services import SERVICES
from router.services.commitment.scp import StorageCommitment
from router.services.mpps.instance_availability import InstanceAvailability
from router.services.mpps.notification import MPPSNotification
from router.services.mpps.scp import MPPSRelay
from router.services.storage import Storage
from router.services.uncompressed_deliveries import UncompressedDeliveries
from tests.support.mpps_messages import completed, encoded

KNOWN = (0x00080005, 0x00080060, 0x00081155, 0x00100010, 0x00280010, 0x00281101, 0x00400300, 0x00720074, 0x7FE00010)
KNOWN_SEQUENCES = (0x00081111, 0x00081199, 0x00400340)
UNKNOWN = (0x00090010, 0x00091001, 0x00091002, 0x00410010, 0x004110FF, 0x00080FFE, 0x0072FFF0, 0x7FDF1010)
"""Private creators, private elements, and public ones that the dictionary does not have."""
VRS = sorted(vr.decode() for vr in (SHORT | LONG) - {b"SQ"})

values = st.binary(max_size=24).map(lambda value: value + b"\0" * (len(value) % 2))


def element(tag: int, items: st.SearchStrategy[tuple[DataSet, ...]]) -> st.SearchStrategy[Element]:
    """Draw a value for an element, or items where it may be a sequence."""
    if tag in KNOWN_SEQUENCES:
        return st.builds(Element, st.just("SQ"), items)
    vrs = dictionary_VR(tag).split(" or ") if tag in KNOWN else [*VRS, "ZZ"]
    plain = st.builds(Element, st.sampled_from(vrs), values)
    return plain if tag in KNOWN else plain | st.builds(Element, st.just("SQ"), items)


def tree(items: st.SearchStrategy[tuple[DataSet, ...]]) -> st.SearchStrategy[DataSet]:
    tags = (*KNOWN, *KNOWN_SEQUENCES, *UNKNOWN)
    return st.fixed_dictionaries({}, optional={tag: element(tag, items) for tag in tags})


trees = st.recursive(tree(st.just(())), lambda inner: tree(st.lists(inner, max_size=2).map(tuple)), max_leaves=6)
syntaxes = st.sampled_from(TRANSFER_SYNTAXES)


def without_vrs(data_set: DataSet) -> DataSet:
    """Give each element the VR that Implicit VR leaves it: that of the dictionary."""
    return {
        tag: Element(representation(tag), value)
        if isinstance(value, bytes)
        else Element("SQ", tuple(map(without_vrs, value)))
        for tag, (_, value) in data_set.items()
    }


@given(trees, syntaxes, syntaxes)
def test_content_is_the_same_in_every_transfer_syntax(data_set: DataSet, stored: str, wanted: str) -> None:
    kept = write(data_set, stored)
    held = read(kept, stored)
    assert held == (without_vrs(data_set) if stored == IMPLICIT_LE else data_set)

    found = read(reencode(kept, stored, wanted), wanted)

    assert found == (without_vrs(held) if wanted == IMPLICIT_LE else held)


@given(st.binary(max_size=64), syntaxes)
def test_bytes_are_the_same_in_the_stored_transfer_syntax(data: bytes, stored: str) -> None:
    assert reencode(data, stored, stored) is data


@pytest.mark.parametrize("wanted", TRANSFER_SYNTAXES)
@pytest.mark.parametrize("stored", TRANSFER_SYNTAXES)
def test_pydicom_reads_the_same_data_set_in_every_transfer_syntax(stored: str, wanted: str) -> None:
    step = completed()
    step.private_block(0x0041, "SOMEBODY", create=True).add_new(0x01, "US", [1, 256])
    step.add_new(0x00280010, "US", 512)
    kept = encoded(step, stored)

    there = reencode(kept, stored, wanted)

    found = read_dataset(BytesIO(there), wanted == IMPLICIT_LE, wanted != EXPLICIT_BE)
    if IMPLICIT_LE in (stored, wanted):  # the VR of a private element is gone
        assert found[0x00411001].value == b"\x01\x00\x00\x01"
        del found[0x00411001], step[0x00411001]
    assert found == step


def test_group_lengths_are_left_out_where_the_encoding_changes() -> None:
    length = Element("UL", b"\x04\0\0\0")
    item: DataSet = {0x00080000: length, 0x00080060: Element("CS", b"CT")}
    kept = write({0x00080000: length, 0x00081199: Element("SQ", (item,))}, EXPLICIT_LE)

    found = read(reencode(kept, EXPLICIT_LE, IMPLICIT_LE), IMPLICIT_LE)

    assert found == {0x00081199: Element("SQ", ({0x00080060: Element("CS", b"CT")},))}


@pytest.mark.parametrize("wanted", [EXPLICIT_LE, EXPLICIT_BE])
def test_a_value_too_long_for_its_vr_keeps_its_bytes(wanted: str) -> None:
    value = b"\x01\x02" * 40_000

    found = read(reencode(write({0x00281201: Element("US", value)}, IMPLICIT_LE), IMPLICIT_LE, wanted), wanted)

    assert found[0x00281201].value == value


def test_services_offer_the_three_uncompressed_syntaxes_and_storage_the_stored_one(pending: PendingDelivery) -> None:
    in_implicit = evolve(pending, transfer_syntax=IMPLICIT_LE)
    policies: set[type] = {MPPSRelay, MPPSNotification, InstanceAvailability, StorageCommitment}
    assert {service for service in SERVICES if issubclass(service, UncompressedDeliveries)} == policies
    assert UncompressedDeliveries().syntaxes(in_implicit) == (IMPLICIT_LE, EXPLICIT_LE, EXPLICIT_BE)
    assert Storage.syntaxes(Storage.__new__(Storage), in_implicit) == (IMPLICIT_LE,)


def test_a_message_without_a_data_set_has_none_in_every_transfer_syntax(pending: PendingDelivery) -> None:
    policy = UncompressedDeliveries()
    assert {policy.encode(pending, b"", syntax) for syntax in policy.syntaxes(pending)} == {b""}


@pytest.fixture
def pending() -> PendingDelivery:
    """Return a delivery of an N-CREATE that is stored in Explicit VR Little Endian."""
    return PendingDelivery(
        message_id=1,
        destination="ris",
        key="mpps 1.2.3",
        attempts=0,
        born=0.0,
        service="mpps",
        kind="N-CREATE-RQ",
        abstract_syntax="1.2.840.10008.3.1.2.3.3",
        transfer_syntax=EXPLICIT_LE,
        sop_instance_uid="1.2.3",
        calling_ae="CT1",
        data_length=0,
    )
