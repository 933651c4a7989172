"""The objects of the tests are what they claim to be; pydicom is the judge."""

from collections import Counter
from io import BytesIO
from pathlib import Path

import pydicom
import pytest
from pydicom.uid import (
    JPEG2000,
    UID,
    DeflatedExplicitVRLittleEndian,
    ExplicitVRBigEndian,
    ExplicitVRLittleEndian,
    ImplicitVRLittleEndian,
    RLELossless,
)

from tests.support.objects import PHI, Instance, ct, files_named_by_meta_only, new_uid, stored_files, write_large_ct

SYNTAXES = [
    ImplicitVRLittleEndian,
    ExplicitVRLittleEndian,
    ExplicitVRBigEndian,
    DeflatedExplicitVRLittleEndian,
    JPEG2000,
    RLELossless,
]


def read(instance: Instance) -> pydicom.FileDataset:
    return pydicom.dcmread(BytesIO(instance.part10()))


@pytest.mark.parametrize("transfer_syntax", SYNTAXES, ids=lambda uid: UID(uid).keyword)
@pytest.mark.parametrize("size", [12_000, 525_000])
def test_a_made_ct_is_read_back_in_its_transfer_syntax_and_about_its_size(transfer_syntax: UID, size: int) -> None:
    instance = ct(size, transfer_syntax=transfer_syntax)
    dataset = read(instance)
    assert dataset.file_meta.TransferSyntaxUID == transfer_syntax
    assert dataset.SOPInstanceUID == dataset.file_meta.MediaStorageSOPInstanceUID == instance.sop_instance_uid
    assert (dataset.PatientName, dataset.PatientID) == PHI[:2]
    assert 0.9 * size < len(instance.data) <= 1.01 * size
    assert len(instance.data) % 2 == 0
    if not transfer_syntax.is_encapsulated:
        assert dataset.pixel_array.shape == (dataset.Rows, dataset.Columns)


def test_two_made_cts_differ_in_their_sop_instance_uid_alone() -> None:
    one, other = ct(), ct()
    assert one.sop_instance_uid != other.sop_instance_uid
    assert one.data.replace(one.sop_instance_uid.encode(), other.sop_instance_uid.encode()) == other.data


def test_a_made_uid_is_valid_and_always_as_long() -> None:
    uids = [UID(new_uid()) for _ in range(100)]
    assert all(uid.is_valid and len(uid) == 44 for uid in uids)
    assert len(set(uids)) == 100


def test_a_large_ct_has_its_size_and_reads_back(tmp_path: Path) -> None:
    path = tmp_path / "large.dcm"
    uid = write_large_ct(path, 5_000_000)
    dataset = pydicom.dcmread(path)
    assert dataset.SOPInstanceUID == uid
    assert dataset.pixel_array.nbytes == pytest.approx(5_000_000, rel=0.01)


def test_the_data_sets_of_the_stored_files_are_the_tails_of_the_files() -> None:
    for instance in stored_files():
        assert instance.path is not None
        assert instance.path.read_bytes().endswith(instance.data)
        assert read(instance).SOPInstanceUID == instance.sop_instance_uid


def test_the_stored_files_of_pydicom_and_their_transfer_syntaxes_are_counted() -> None:
    syntaxes = Counter(UID(instance.transfer_syntax).keyword for instance in stored_files())
    print(f"{len(stored_files())} files in {len(syntaxes)} transfer syntaxes: {dict(syntaxes.most_common())}")
    assert len(stored_files()) >= 100
    assert len(syntaxes) >= 10
    assert len(files_named_by_meta_only()) >= 1
