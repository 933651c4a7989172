"""C-MOVE through a running router: from archives that know the router only, to destinations that no archive knows."""

from contextlib import ExitStack
from pathlib import Path
from typing import Any

import pytest
from pydicom.dataset import Dataset
from pydicom.uid import JPEG2000, CTImageStorage, ExplicitVRLittleEndian, JPEGBaseline8Bit
from pynetdicom import AE, build_role, evt
from pynetdicom.sop_class import StudyRootQueryRetrieveInformationModelGet  # type: ignore[attr-defined]

from tests.support.archives import Dcmqrscp, getscu, movescu
from tests.support.objects import ct, read_file
from tests.support.peers import Orthanc, Storescp, store_all, storescu
from tests.support.ports import free_port, until
from tests.support.retrieves import STUDY, contents, peer, received, route, router

pytestmark = pytest.mark.interop


def test_a_study_reaches_a_station_that_the_archive_does_not_know(tmp_path: Path) -> None:
    port = free_port()
    instances = [ct(8_000) for _ in range(7)]
    with ExitStack() as running:
        archive = running.enter_context(Dcmqrscp(tmp_path / "qr", moves={"ROUTER": port}))
        station = running.enter_context(Storescp(tmp_path / "station", ae_title="STATION"))
        archive.fill(instances, tmp_path / "in")
        peers = {"archive": peer("QRSCP", archive.address), "station": peer("STATION", station.address)}
        running.enter_context(router(tmp_path / "router", port, peers, route("archive")))
        done = movescu(port, "STATION", *STUDY)
        assert done.returncode == 0, done.stdout
        assert done.final == {"status": 0x0000, "completed": 7, "failed": 0, "warning": 0}
        assert all(sum(one.values()) == 7 for one in done.pending)
        assert received(station) == contents(instances)


@pytest.mark.parametrize("operation", ["get", "move"])
def test_orthanc_is_asked_by_either_operation(tmp_path: Path, operation: str) -> None:
    port = free_port()
    instances = [ct(8_000), ct(3_000_000), ct(9_000, transfer_syntax=JPEG2000), ct(transfer_syntax=JPEGBaseline8Bit)]
    with ExitStack() as running:
        orthanc = running.enter_context(
            Orthanc(tmp_path / "orthanc", DicomModalities={"router": ["ROUTER", "127.0.0.1", port]})
        )
        station = running.enter_context(Storescp(tmp_path / "station", ae_title="STATION"))
        for number, option in enumerate([[], ["-xw"], ["-xy"]]):
            (folder := tmp_path / f"in{number}").mkdir()
            some = [instances[:2], instances[2:3], instances[3:]][number]
            files = [one.write(folder) for one in some]
            assert storescu(orthanc.host, orthanc.port, files, options=option, nodelay=True).returncode == 0
        peers = {
            "archive": peer("ORTHANC", orthanc.address, retrieve={"operation": operation}),
            "station": peer("STATION", station.address),
        }
        running.enter_context(router(tmp_path / "router", port, peers, route("archive")))
        done = movescu(port, "STATION", *STUDY)
        assert done.final == {"status": 0x0000, "completed": 4, "failed": 0, "warning": 0}, done.stdout
        uids = orthanc.instances()
        for path in station.files():
            one = read_file(path)
            stored = tmp_path / "stored.dcm"
            stored.write_bytes(orthanc.file(uids[one.sop_instance_uid]))
            assert read_file(stored).data == one.data
            assert read_file(stored).transfer_syntax == one.transfer_syntax


def test_a_destination_that_is_no_peer_is_refused_before_anything_is_asked(tmp_path: Path) -> None:
    port = free_port()
    with router(tmp_path / "router", port, {"archive": peer("QRSCP", "127.0.0.1:1")}, route("archive")):
        assert movescu(port, "NOBODY", *STUDY).final["status"] == 0xA801


def test_who_may_not_is_refused_before_anything_is_asked(tmp_path: Path) -> None:
    port = free_port()
    peers = {"archive": peer("QRSCP", "127.0.0.1:1"), "station": peer("STATION", "127.0.0.1:2")}
    denied = [
        (route("archive", when={"destination": "work*"}), {}),
        (route("archive"), {"retrieve": {"calling_ae": "OTHER*"}}),
    ]
    for number, (one, tables) in enumerate(denied):
        with router(tmp_path / f"router{number}", port, peers, one, **tables) as running:
            assert movescu(port, "STATION", *STUDY).final["status"] == 0x0124
            assert not [line for line in running.logs if line.get("event") == "conversation"]


def test_a_destination_that_is_down_for_a_while_gets_all(tmp_path: Path) -> None:
    port, later = free_port(), free_port()
    instances = [ct(8_000) for _ in range(3)]
    with ExitStack() as running:
        archive = running.enter_context(Dcmqrscp(tmp_path / "qr", moves={"ROUTER": port}))
        archive.fill(instances, tmp_path / "in")
        peers = {"archive": peer("QRSCP", archive.address), "station": peer("STATION", f"127.0.0.1:{later}")}
        running.enter_context(router(tmp_path / "router", port, peers, route("archive", within="1s")))
        done = movescu(port, "STATION", *STUDY)
        assert done.final == {"status": 0xA702, "completed": 0, "failed": 3, "warning": 0}
        assert set(done.failed) == set(contents(instances))
        station = running.enter_context(Storescp(tmp_path / "station", ae_title="STATION", port=later))
        until(lambda: len(station.files()) == 3, "three files")
        until(lambda: received(station) == contents(instances), "their bytes")


def test_an_instance_in_two_archives_is_fetched_once_and_a_dead_archive_is_named(tmp_path: Path) -> None:
    port = free_port()
    shared, first, second = ct(8_000), ct(8_000), ct(8_000)
    with ExitStack() as running:
        one = running.enter_context(Dcmqrscp(tmp_path / "one", ae_title="ONE", moves={"ROUTER": port}))
        two = running.enter_context(Dcmqrscp(tmp_path / "two", ae_title="TWO", moves={"ROUTER": port}))
        station = running.enter_context(Storescp(tmp_path / "station", ae_title="STATION"))
        one.fill([shared, first], tmp_path / "in1")
        two.fill([shared, second], tmp_path / "in2")
        peers = {
            "one": peer("ONE", one.address),
            "two": peer("TWO", two.address),
            "station": peer("STATION", station.address),
        }
        running.enter_context(router(tmp_path / "router", port, peers, route("one", "two")))
        done = movescu(port, "STATION", *STUDY)
        assert done.final == {"status": 0x0000, "completed": 3, "failed": 0, "warning": 0}
        assert len(station.files()) == 3
        assert received(station) == contents([shared, first, second])
        two.__exit__()
        done = movescu(port, "STATION", *STUDY)
        assert done.final == {"status": 0xA701, "completed": 2, "failed": 0, "warning": 0}
        assert "no answer from two" in done.stdout


@pytest.mark.parametrize("associations", ["per-move", "per-instance"])
def test_a_study_goes_through_without_the_spool(tmp_path: Path, associations: str) -> None:
    port = free_port()
    instances = [ct(8_000), ct(8_000), ct(3_000_000), ct(8_000)]
    with ExitStack() as running:
        archive = running.enter_context(Dcmqrscp(tmp_path / "qr", moves={"ROUTER": port}))
        station = running.enter_context(Storescp(tmp_path / "station", ae_title="STATION", options=["-v"]))
        archive.fill(instances, tmp_path / "in")
        peers = {"archive": peer("QRSCP", archive.address), "station": peer("STATION", station.address)}
        one = route("archive", mode="through", associations=associations)
        process = running.enter_context(router(tmp_path / "router", port, peers, one))
        done = movescu(port, "STATION", *STUDY)
        assert done.final == {"status": 0x0000, "completed": 4, "failed": 0, "warning": 0}, done.stdout
        assert all(sum(one.values()) == 4 for one in done.pending)
        assert received(station) == contents(instances)
        assert process.get("/api/status")["spool"]["commits"] == 0
        expected = 1 if associations == "per-move" else 4
        assert station.log().count("Association Acknowledged") == expected
        station.__exit__()
        done = movescu(port, "STATION", *STUDY)
        assert done.final == {"status": 0xA702, "completed": 0, "failed": 4, "warning": 0}
        assert set(done.failed) == set(contents(instances))


@pytest.mark.parametrize("operation", ["get", "move"])
def test_a_client_gets_what_it_has_contexts_for(tmp_path: Path, operation: str) -> None:
    port = free_port()
    instances = [ct(8_000), ct(2_000_000), ct(8_000)]
    private = ct(8_000, sop_class_uid="1.2.826.0.1.3680043.9.1234.1")
    with ExitStack() as running:
        orthanc = running.enter_context(
            Orthanc(tmp_path / "orthanc", DicomModalities={"router": ["ROUTER", "127.0.0.1", port]})
        )
        assert set(store_all(orthanc.host, orthanc.port, [*instances, private])) == {0}
        peers = {"archive": peer("ORTHANC", orthanc.address, retrieve={"operation": operation})}
        running.enter_context(router(tmp_path / "router", port, peers, route("archive")))
        done = getscu(port, tmp_path / "got", *STUDY)
        assert done.final == {"status": 0xB000, "completed": 3, "failed": 1, "warning": 0}, done.stdout
        assert all(sum(one.values()) == 4 for one in done.pending)
        got = {one.sop_instance_uid for one in map(read_file, (tmp_path / "got").iterdir())}
        assert got == set(contents(instances))


def test_the_failed_list_of_a_get_names_what_the_client_has_no_context_for(tmp_path: Path) -> None:
    port = free_port()
    instances = [ct(8_000) for _ in range(3)]
    private = ct(8_000, sop_class_uid="1.2.826.0.1.3680043.9.1234.1")
    with ExitStack() as running:
        orthanc = running.enter_context(
            Orthanc(tmp_path / "orthanc", DicomModalities={"router": ["ROUTER", "127.0.0.1", port]})
        )
        assert set(store_all(orthanc.host, orthanc.port, [*instances, private])) == {0}
        running.enter_context(
            router(tmp_path / "router", port, {"archive": peer("ORTHANC", orthanc.address)}, route("archive"))
        )
        got: dict[str, bytes] = {}

        def on_store(event: Any) -> int:
            got[event.request.AffectedSOPInstanceUID] = event.request.DataSet.getvalue()
            return 0

        ae = AE(ae_title="READER")
        ae.add_requested_context(StudyRootQueryRetrieveInformationModelGet)
        ae.add_requested_context(CTImageStorage, ExplicitVRLittleEndian)
        association = ae.associate(
            "127.0.0.1",
            port,
            ae_title="ROUTER",
            ext_neg=[build_role(CTImageStorage, scp_role=True)],
            evt_handlers=[(evt.EVT_C_STORE, on_store)],
        )
        assert association.is_established
        keys = Dataset()
        keys.QueryRetrieveLevel, keys.StudyInstanceUID = "STUDY", "2.25.1"
        *pending, (status, failed) = association.send_c_get(keys, StudyRootQueryRetrieveInformationModelGet)
        association.release()
        assert [one.Status for one, _ in pending] == [0xFF00] * len(pending)
        assert status.Status == 0xB000
        assert failed is not None
        assert failed.FailedSOPInstanceUIDList == private.sop_instance_uid
        assert got == contents(instances)


def test_an_archive_that_knows_the_station_sends_to_it_itself(tmp_path: Path) -> None:
    port = free_port()
    instances = [ct(8_000) for _ in range(4)]
    with ExitStack() as running:
        station = running.enter_context(Storescp(tmp_path / "station", ae_title="STATION"))
        archive = running.enter_context(Dcmqrscp(tmp_path / "qr", moves={"STATION": station.port}))
        archive.fill(instances, tmp_path / "in")
        peers = {"archive": peer("QRSCP", archive.address), "station": peer("STATION", station.address)}
        process = running.enter_context(router(tmp_path / "router", port, peers, route("archive", mode="pass")))
        done = movescu(port, "STATION", *STUDY)
        assert done.final == {"status": 0x0000, "completed": 4, "failed": 0, "warning": 0}, done.stdout
        assert received(station) == contents(instances)
        assert process.get("/api/status")["spool"]["commits"] == 0
        archive.__exit__()
        assert movescu(port, "STATION", *STUDY).final["status"] == 0xA701
