"""The peers themselves, without a router between them: what they can be relied upon to do in the other tests."""

from pathlib import Path
from typing import Any

import pytest
from pydicom.uid import JPEG2000, CTImageStorage, ExplicitVRLittleEndian, ImplicitVRLittleEndian

from tests.support.objects import ct, read_file
from tests.support.peers import (
    Dcmrecv,
    Modality,
    NotAssociated,
    Orthanc,
    PynetdicomArchive,
    Storescp,
    dcmsend,
    echoscu,
    store_all,
    storescu,
)
from tests.support.ports import free_port, until

pytestmark = pytest.mark.interop


def test_the_pynetdicom_archive_keeps_the_bytes_that_storescu_sent(tmp_path: Path) -> None:
    sent = [ct() for _ in range(3)]
    files = [instance.write(tmp_path) for instance in sent]
    with PynetdicomArchive() as archive:
        done = storescu(archive.host, archive.port, files, nodelay=True)
        received = archive.wait_for(3)
    assert done.returncode == 0, done.stdout
    assert [one.data for one in received] == [one.data for one in sent]
    assert {one.calling_ae for one in received} == {"STORESCU"}
    assert len({one.association for one in received}) == 1


def test_the_pynetdicom_archive_keeps_the_transfer_syntax_that_dcmsend_sent(tmp_path: Path) -> None:
    compressed = ct(transfer_syntax=JPEG2000)
    with PynetdicomArchive() as archive:
        done = dcmsend(archive.host, archive.port, [compressed.write(tmp_path)], nodelay=True)
        (received,) = archive.wait_for(1)
    assert done.returncode == 0, done.stdout
    assert received.transfer_syntax == JPEG2000
    assert received.data == compressed.data


@pytest.mark.parametrize("answer", [0xA700, lambda event, received: 0xA700], ids=["status", "callable"])
def test_the_pynetdicom_archive_answers_what_it_is_told_to(answer: Any) -> None:
    with PynetdicomArchive(answer=answer) as archive:
        assert store_all(archive.host, archive.port, [ct()]) == [0xA700]


def test_storescp_writes_the_bytes_that_the_modality_sent(tmp_path: Path) -> None:
    sent = ct(transfer_syntax=JPEG2000)
    with Storescp(tmp_path / "archive", fork=True) as archive:
        assert store_all(archive.host, archive.port, [sent, sent]) == [0x0000, 0x0000]
        until(lambda: len(archive.files()) == 2, "two files")
        assert [read_file(path).data for path in archive.files()] == [sent.data, sent.data]
        assert read_file(archive.files()[0]).transfer_syntax == JPEG2000


def test_storescp_can_refuse_and_abort(tmp_path: Path) -> None:
    with Storescp(tmp_path / "refusing", options=["--refuse"]) as archive, pytest.raises(NotAssociated):
        store_all(archive.host, archive.port, [ct()])
    with Storescp(tmp_path / "aborting", options=["--abort-after"]) as archive:
        assert store_all(archive.host, archive.port, [ct()]) == [None]


def test_dcmrecv_writes_the_bytes_that_the_modality_sent(tmp_path: Path) -> None:
    sent = ct()
    with Dcmrecv(tmp_path / "archive") as archive:
        assert store_all(archive.host, archive.port, [sent]) == [0x0000]
        until(lambda: len(archive.files()) == 1, "one file")
        assert read_file(archive.files()[0]).data == sent.data


def test_orthanc_stores_a_private_sop_class_and_gives_the_file_back(tmp_path: Path) -> None:
    sent = [ct(), ct(sop_class_uid="1.2.826.0.1.3680043.8.498.99"), ct(transfer_syntax=JPEG2000)]
    with Orthanc(tmp_path / "orthanc") as orthanc:
        assert store_all(orthanc.host, orthanc.port, sent) == [0x0000] * 3
        stored = orthanc.instances()
        assert set(stored) == {one.sop_instance_uid for one in sent}
        for one in sent:
            content = orthanc.file(stored[one.sop_instance_uid])
            assert content[128:132] == b"DICM"
            orthanc.delete(stored[one.sop_instance_uid])
        assert not orthanc.instances()


def test_the_modality_reports_each_accepted_pair() -> None:
    pairs = [(CTImageStorage, ImplicitVRLittleEndian), (CTImageStorage, ExplicitVRLittleEndian)]
    with PynetdicomArchive() as archive, Modality(archive.host, archive.port, pairs) as modality:
        assert modality.accepted() == set(pairs)
        assert modality.rejected() == {}


def test_echoscu_says_whether_the_archive_answers() -> None:
    with PynetdicomArchive() as archive:
        assert echoscu(archive.host, archive.port).returncode == 0
    assert echoscu("127.0.0.1", free_port()).returncode != 0
