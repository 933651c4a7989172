"""Which files `send` finds, and what it takes them for."""

from pathlib import Path

import pydicom
import pytest
from pydicom.data import get_testdata_file
from pydicom.dataset import Dataset, FileMetaDataset
from pydicom.uid import ExplicitVRLittleEndian, MediaStorageDirectoryStorage

from router.dicom.part10 import NotDICOM
from router.tools.send import batches, examine, find
from tests.support.objects import Instance, ct, files_named_by_meta_only, stored_files


def dicomdir(folder: Path, *references: str | list[str]) -> Path:
    """A DICOMDIR with a record for each File ID."""
    directory = Dataset()
    directory.DirectoryRecordSequence = [Dataset() for _ in references]
    for record, reference in zip(directory.DirectoryRecordSequence, references, strict=True):
        record.DirectoryRecordType = "IMAGE"
        record.ReferencedFileID = reference
    directory.file_meta = FileMetaDataset()
    directory.file_meta.TransferSyntaxUID = ExplicitVRLittleEndian
    directory.file_meta.MediaStorageSOPClassUID = MediaStorageDirectoryStorage
    directory.file_meta.MediaStorageSOPInstanceUID = pydicom.uid.generate_uid()
    path = folder / "DICOMDIR"
    directory.save_as(path, enforce_file_format=True)
    return path


@pytest.mark.parametrize(
    "instance", [*stored_files(), *files_named_by_meta_only()], ids=lambda one: one.path.name if one.path else ""
)
def test_a_real_object_is_known_by_its_own_uids_or_else_by_those_of_its_meta_information(instance: Instance) -> None:
    assert instance.path is not None
    found = examine(instance.path)
    assert (found.sop_class_uid, found.sop_instance_uid) == (instance.sop_class_uid, instance.sop_instance_uid)
    assert (found.transfer_syntax, found.length) == (instance.transfer_syntax, len(instance.data))


def test_an_object_without_uids_anywhere_cannot_be_sent(tmp_path: Path) -> None:
    path = tmp_path / "x"
    path.write_bytes(b"\x08\0\x60\0CS\2\0CT")
    with pytest.raises(NotDICOM, match="no SOP Class UID"):
        examine(path)


def test_folders_are_walked_in_order_and_what_is_in_them_is_not_named(tmp_path: Path) -> None:
    for name in ("b/2", "b/1", "a/3", "c"):
        path = tmp_path / name
        path.parent.mkdir(exist_ok=True)
        path.touch()
    found = list(find([tmp_path, tmp_path / "c"]))
    assert [str(one.path.relative_to(tmp_path)) for one in found] == ["c", "a/3", "b/1", "b/2", "c"]
    assert [one.named for one in found] == [False] * 4 + [True]


def test_a_link_to_a_folder_is_not_followed(tmp_path: Path) -> None:
    (tmp_path / "loop").symlink_to(tmp_path)
    assert list(find([tmp_path])) == []


def test_a_dicomdir_in_a_folder_adds_nothing_to_it(tmp_path: Path) -> None:
    image = ct(3000).write(tmp_path)
    dicomdir(tmp_path, image.name)
    assert [one.path for one in find([tmp_path])] == [image]


def test_every_file_that_a_real_dicomdir_names_is_there() -> None:
    path = get_testdata_file("dicomdirtests/DICOMDIR")
    assert isinstance(path, str)
    found = list(find([Path(path)]))
    assert found
    assert all(one.named and one.path.is_file() for one in found)


def test_a_medium_copied_in_small_letters_is_found(tmp_path: Path) -> None:
    (tmp_path / "images").mkdir()
    (tmp_path / "images" / "im1").touch()
    assert [one.path for one in find([dicomdir(tmp_path, ["IMAGES", "IM1"])])] == [tmp_path / "images" / "im1"]


@pytest.mark.parametrize("reference", [["..", "SECRET"], ["", "ETC"], ["A/../../B"], "..", ["."]])
def test_a_dicomdir_names_nothing_outside_of_its_folder(reference: list[str], tmp_path: Path) -> None:
    folder = tmp_path / "medium"
    folder.mkdir()
    for one in find([dicomdir(folder, reference)]):
        assert folder in one.path.parents
        assert ".." not in one.path.parts


def test_a_broken_dicomdir_is_said_so(tmp_path: Path) -> None:
    path = dicomdir(tmp_path, "IM1")
    path.write_bytes(path.read_bytes()[:-30] + b"\xff" * 30)
    with pytest.raises(NotDICOM, match="cannot be read as a DICOMDIR"):
        list(find([path]))


def test_objects_share_an_association_up_to_128_contexts(tmp_path: Path) -> None:
    found = [examine(ct(2500, sop_class_uid=f"2.25.1.{number % 130}").write(tmp_path)) for number in range(260)]
    batch, rest = batches(found)
    assert (len(batch), len(rest)) == (256, 4)
    assert len({one.syntaxes for one in batch}) == 128
