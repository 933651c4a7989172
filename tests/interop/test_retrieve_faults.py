"""C-MOVE through a running router: something dies, clients ask at once, a study has very many SOP classes."""

from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from pathlib import Path

import pytest
from pydicom.uid import ExplicitVRLittleEndian, ImplicitVRLittleEndian

from tests.support.archives import Dcmqrscp, movescu
from tests.support.objects import ct, read_file
from tests.support.peers import Orthanc, Storescp, store_all
from tests.support.ports import free_port, until
from tests.support.retrieves import STUDY, contents, peer, received, route, router

pytestmark = pytest.mark.interop


@pytest.mark.parametrize("mode", ["spool", "through"])
def test_two_moves_of_a_study_at_once_bring_all_to_both_stations(tmp_path: Path, mode: str) -> None:
    port = free_port()
    instances = [ct(8_000) for _ in range(40)]
    with ExitStack() as running:
        archive = running.enter_context(Dcmqrscp(tmp_path / "qr", moves={"ROUTER": port}))
        archive.fill(instances, tmp_path / "in")
        stations = [
            running.enter_context(Storescp(tmp_path / name, ae_title=name.upper())) for name in ("left", "right")
        ]
        peers = {
            "archive": peer("QRSCP", archive.address, associations=2, retrieve={"operation": "move"}),
            "left": peer("LEFT", stations[0].address),
            "right": peer("RIGHT", stations[1].address),
        }
        running.enter_context(router(tmp_path / "router", port, peers, route("archive", mode=mode)))
        with ThreadPoolExecutor(2) as threads:
            both = list(threads.map(lambda title: movescu(port, title, *STUDY), ["LEFT", "RIGHT"]))
        for done in both:
            assert done.final == {"status": 0x0000, "completed": 40, "failed": 0, "warning": 0}, done.stdout
        for station in stations:
            assert len(station.files()) == 40
            assert received(station) == contents(instances)


@pytest.mark.parametrize("operation", ["get", "move"])
def test_what_a_killed_archive_has_not_sent_comes_from_the_next(tmp_path: Path, operation: str) -> None:
    """The first archive is killed as soon as the station has something."""
    port = free_port()
    instances = [ct(500_000) for _ in range(60)]
    with ExitStack() as running:
        one: Orthanc | Dcmqrscp
        if operation == "get":
            modalities = {"router": ["ROUTER", "127.0.0.1", port]}
            one = running.enter_context(Orthanc(tmp_path / "one", ae_title="ONE", DicomModalities=modalities))
            assert set(store_all(one.host, one.port, instances)) == {0}
        else:
            one = running.enter_context(Dcmqrscp(tmp_path / "one", ae_title="ONE", moves={"ROUTER": port}))
            one.fill(instances, tmp_path / "in1")
        two = running.enter_context(Dcmqrscp(tmp_path / "two", ae_title="TWO", moves={"ROUTER": port}))
        station = running.enter_context(Storescp(tmp_path / "station", ae_title="STATION"))
        two.fill(instances[10:], tmp_path / "in2")
        peers = {
            "one": peer("ONE", one.address, retrieve={"operation": operation}),
            "two": peer("TWO", two.address),
            "station": peer("STATION", station.address),
        }
        running.enter_context(router(tmp_path / "router", port, peers, route("one", "two")))
        with ThreadPoolExecutor(1) as threads:
            moving = threads.submit(movescu, port, "STATION", *STUDY)
            until(station.files, "the first instance")
            one.__exit__()
            done = moving.result()
        final = done.final
        assert final["completed"] + final["failed"] == 60, done.stdout
        assert final["completed"] >= 50
        assert len(done.failed) == final["failed"]
        assert set(done.failed) == contents(instances).keys() - received(station).keys()
        assert set(done.failed) <= {each.sop_instance_uid for each in instances[:10]}
        assert len(station.files()) == final["completed"]


def test_what_was_spooled_before_the_router_was_killed_goes_after_it(tmp_path: Path) -> None:
    port, later = free_port(), free_port()
    instances = [ct(8_000) for _ in range(5)]
    with ExitStack() as running:
        archive = running.enter_context(Dcmqrscp(tmp_path / "qr", moves={"ROUTER": port}))
        archive.fill(instances, tmp_path / "in")
        peers = {"archive": peer("QRSCP", archive.address), "station": peer("STATION", f"127.0.0.1:{later}")}
        process = running.enter_context(router(tmp_path / "router", port, peers, route("archive")))
        with ThreadPoolExecutor(1) as threads:
            moving = threads.submit(movescu, port, "STATION", *STUDY)
            until(lambda: process.get("/api/status")["spool"]["commits"] == 5, "five instances in the spool")
            process.kill()
            moving.result()
        process.start()
        station = running.enter_context(Storescp(tmp_path / "station", ae_title="STATION", port=later, options=["-d"]))
        until(lambda: len(station.files()) == 5, "five files")
        until(lambda: received(station) == contents(instances), "their bytes")
        assert "Move Originator AE Title      : READER" in station.log()


@pytest.mark.parametrize("mode", ["spool", "through"])
def test_a_study_of_two_hundred_sop_classes_and_transfer_syntaxes(tmp_path: Path, mode: str) -> None:
    port = free_port()
    instances = [
        ct(3_000, sop_class_uid=f"1.2.826.0.1.3680043.9.1234.{number}", transfer_syntax=syntax)
        for number in range(100)
        for syntax in (ExplicitVRLittleEndian, ImplicitVRLittleEndian)
    ]
    with ExitStack() as running:
        orthanc = running.enter_context(
            Orthanc(tmp_path / "orthanc", DicomModalities={"router": ["ROUTER", "127.0.0.1", port]})
        )
        assert set(store_all(orthanc.host, orthanc.port, instances[:100])) == {0}
        assert set(store_all(orthanc.host, orthanc.port, instances[100:])) == {0}
        station = running.enter_context(Storescp(tmp_path / "station", ae_title="STATION"))
        peers = {
            "archive": peer("ORTHANC", orthanc.address, retrieve={"operation": "get"}),
            "station": peer("STATION", station.address),
        }
        running.enter_context(router(tmp_path / "router", port, peers, route("archive", mode=mode)))
        done = movescu(port, "STATION", *STUDY)
        assert done.final == {"status": 0x0000, "completed": 200, "failed": 0, "warning": 0}, done.stdout[-3000:]
        assert received(station) == contents(instances)
        pairs = {(one.sop_class_uid, one.transfer_syntax) for one in map(read_file, station.files())}
        assert len(pairs) == 200
