"""Heads of files: what pydicom writes is read, what is written pydicom reads, and what is broken is said."""

import io
import struct
from pathlib import Path

import pydicom
import pytest
from pydicom.uid import CTImageStorage, ExplicitVRBigEndian, ExplicitVRLittleEndian, ImplicitVRLittleEndian

from router.dicom.part10 import Head, NotDICOM, encode_head, read_head
from tests.support.objects import Instance, ct, files_named_by_meta_only, stored_files

META = b"\2\0\x10\0UI\x14\x001.2.840.10008.1.2.1\0"
START = bytes(128) + b"DICM"


def head_of(path: Path, content: bytes) -> Head:
    path.write_bytes(content)
    with path.open("rb") as file:
        return read_head(file)


@pytest.mark.parametrize(
    "instance", [*stored_files(), *files_named_by_meta_only()], ids=lambda one: one.path.name if one.path else ""
)
def test_every_real_file_is_read_up_to_its_data_set(instance: Instance) -> None:
    assert instance.path is not None
    with instance.path.open("rb") as file:
        head = read_head(file)
        file.seek(head.length)
        assert (head.transfer_syntax, file.read()) == (instance.transfer_syntax, instance.data)


@pytest.mark.parametrize("name", ["ROUTER", "ODD"])
@pytest.mark.parametrize("uid", ["1.2.3", "1.2.34"])
def test_what_is_written_is_read_by_pydicom_and_by_us(name: str, uid: str, tmp_path: Path) -> None:
    written = encode_head(
        sop_class_uid=CTImageStorage,
        sop_instance_uid=uid,
        transfer_syntax=ExplicitVRLittleEndian,
        implementation_class_uid="1.2.3.4",
        implementation_version_name=name,
        source_ae_title=name,
    )
    data = ct(3000).data
    meta = pydicom.dcmread(io.BytesIO(written + data)).file_meta
    assert meta.FileMetaInformationGroupLength == len(written) - 144
    assert (meta.MediaStorageSOPInstanceUID, meta.ImplementationVersionName) == (uid, name)
    assert meta.SourceApplicationEntityTitle == name
    assert head_of(tmp_path / "x", written + data) == Head(
        sop_class_uid=CTImageStorage,
        sop_instance_uid=uid,
        transfer_syntax=ExplicitVRLittleEndian,
        length=len(written),
    )


@pytest.mark.parametrize(
    ("first", "transfer_syntax"),
    [
        (b"\x08\0\x16\0UI\4\x001.2\0", ExplicitVRLittleEndian),
        (b"\x08\0\x16\0\4\0\0\x001.2\0", ImplicitVRLittleEndian),
        (b"\0\x08\0\x16UI\0\x041.2\0", ExplicitVRBigEndian),
    ],
    ids=["explicit little", "implicit little", "explicit big"],
)
@pytest.mark.parametrize("start", [b"", START], ids=["bare", "with a preamble and no meta information"])
def test_without_a_transfer_syntax_the_first_element_tells_it(
    start: bytes, first: bytes, transfer_syntax: str, tmp_path: Path
) -> None:
    head = head_of(tmp_path / "x", start + first)
    assert (head.transfer_syntax, head.length) == (transfer_syntax, len(start))


def test_meta_information_without_a_preamble_is_read(tmp_path: Path) -> None:
    assert head_of(tmp_path / "x", META + b"\x08\0").length == len(META)


def test_meta_information_in_implicit_vr_is_read(tmp_path: Path) -> None:
    implicit = b"\2\0\x10\0\x14\0\0\x001.2.840.10008.1.2.1\0"
    assert head_of(tmp_path / "x", START + implicit).transfer_syntax == ExplicitVRLittleEndian


@pytest.mark.parametrize(
    "content",
    [
        b"",
        b"short",
        b"GIF89a" + bytes(1000),
        bytes(5000),
        START,
        START + b"not a data set",
        START + META[:-4],
        START + b"\2\0\x02\x01OB\0\0" + struct.pack("<L", 0xFFFFFFF0),
        START + b"\2\0\0\x01UI\0\0" * 200_000,
    ],
    ids=["empty", "short", "GIF", "zeros", "no more", "nonsense", "cut short", "too long an element", "endless"],
)
def test_what_is_no_dicom_file_is_said_so(content: bytes, tmp_path: Path) -> None:
    with pytest.raises(NotDICOM):
        head_of(tmp_path / "x", content)
