"""`dicom-router retrieve`: into a folder without a running router; by the running router, to a peer or its routes."""

import signal
import sys
from collections.abc import Iterator
from functools import partial
from pathlib import Path
from typing import Any

import pytest
import trio
from pydicom.uid import (
    CTImageStorage,
    ExplicitVRLittleEndian,
    ImplicitVRLittleEndian,
    MRImageStorage,
    SecondaryCaptureImageStorage,
)

from tests.support.command_line import command, json_output
from tests.support.harness import eventually
from tests.support.objects import Instance, read_file
from tests.support.peers import Orthanc, Storescp, store_all
from tests.support.ports import HOST, free_port, until
from tests.support.query_archive import QueryArchive, until_cancelled
from tests.support.query_servers import Dcmqrscp, image
from tests.support.router_process import RouterProcess, configuration

pytestmark = pytest.mark.interop

OBJECTS = [
    image("P1", "1.2.1", series=f"1.2.1.{number % 2 + 1}", sop_class=sop_class, transfer_syntax=syntax)
    for number in range(4)
    for sop_class in (CTImageStorage, MRImageStorage, SecondaryCaptureImageStorage)
    for syntax in (ExplicitVRLittleEndian, ImplicitVRLittleEndian)
]
OTHERS = [image("P2", "1.2.2"), image("P2", "1.2.3")]


@pytest.fixture(scope="module")
def storage(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Storescp]:
    with Storescp(tmp_path_factory.mktemp("retrieve") / "store", ae_title="STORE", fork=True) as scp:
        yield scp


@pytest.fixture(scope="module")
def archive(tmp_path_factory: pytest.TempPathFactory, storage: Storescp) -> Iterator[Dcmqrscp]:
    folder = tmp_path_factory.mktemp("retrieve") / "archive"
    archive = Dcmqrscp(folder, destinations={"STORE": storage.port})
    archive.add([*OBJECTS, *OTHERS])
    with archive:
        yield archive


def by_uid(instances: list[Instance]) -> dict[str, tuple[str, bytes]]:
    return {one.sop_instance_uid: (one.transfer_syntax, one.data) for one in instances}


def names_in(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


async def test_a_study_comes_into_a_folder_byte_for_byte_from_an_archive_that_names_no_sop_class(
    tmp_path: Path, archive: Dcmqrscp
) -> None:
    done = await json_output(
        *("retrieve", archive.address, "--called", archive.ae_title, "StudyInstanceUID=1.2.1"),
        *("--output", str(tmp_path / "out")),
    )
    assert (done["found"], done["retrieved"], done["missing"]) == (len(OBJECTS), len(OBJECTS), [])
    came = by_uid([read_file(Path(path)) for path in done["files"]])
    assert came.keys() == by_uid(OBJECTS).keys()
    exact = {uid: one for uid, one in by_uid(OBJECTS).items() if one[0] == ExplicitVRLittleEndian}
    assert {uid: came[uid] for uid in exact} == exact  # dcmqrscp converts Implicit VR by itself
    assert names_in(tmp_path / "out") == sorted(f"{uid}.dcm" for uid in came)


async def test_a_study_comes_into_a_folder_from_orthanc(tmp_path: Path) -> None:
    with Orthanc(tmp_path / "orthanc", DicomAlwaysAllowFind=True, DicomAlwaysAllowGet=True) as orthanc:
        assert set(store_all(orthanc.host, orthanc.port, OBJECTS)) == {0}
        done = await json_output(
            *("retrieve", orthanc.address, "--called", orthanc.ae_title, "StudyInstanceUID=1.2.1"),
            *("--output", str(tmp_path / "out")),
        )
    came = by_uid([read_file(Path(path)) for path in done["files"]])
    assert {uid: syntax for uid, (syntax, _) in came.items()} == {
        uid: syntax for uid, (syntax, _) in by_uid(OBJECTS).items()
    }
    assert (done["retrieved"], done["missing"]) == (len(OBJECTS), [])


@pytest.mark.parametrize(
    ("keys", "count"),
    [
        (("PatientID=P2", "--model", "patient"), 2),
        (("StudyInstanceUID=1.2.1", "SeriesInstanceUID=1.2.1.1"), len(OBJECTS) // 2),
        (("StudyInstanceUID=1.2.2\\1.2.3",), 2),
    ],
)
async def test_each_level_gives_its_instances(
    tmp_path: Path, archive: Dcmqrscp, keys: tuple[str, ...], count: int
) -> None:
    base = ("retrieve", archive.address, "--called", archive.ae_title)
    done = await json_output(*base, *keys, "--output", str(tmp_path))
    assert done["retrieved"] == count


async def test_a_study_goes_to_a_peer_that_the_archive_does_not_know_and_nowhere_else(
    tmp_path: Path, storage: Storescp
) -> None:
    port = free_port()
    archive = Dcmqrscp(tmp_path / "archive", destinations={"ROUTER": port})
    archive.add([*OBJECTS, *OTHERS])
    with archive, Storescp(tmp_path / "reader", ae_title="READER", fork=True) as reader:
        content = configuration(
            {"store": storage, "reader": reader},
            router={"listen": [f"{HOST}:{port}"]},
            peers={"pacs": {"ae_title": archive.ae_title, "address": archive.address}},
            routes=[{"name": "all", "service": "storage", "to": ["store"]}],
        )
        with RouterProcess(tmp_path / "router", content) as router:
            before = len(storage.files())
            study = ("retrieve", "pacs", "StudyInstanceUID=1.2.1")
            for who, to in (("pacs", "NOBODY"), ("pacs", "READER"), ("nobody", "reader")):
                result = await command(*("retrieve", who, "StudyInstanceUID=1.2.1", "--to", to), *router.options)
                assert result.exit_code == 2
                assert "is no peer" in result.stderr
            assert (await json_output("conversations", "list", *router.options))["finished"] == []
            done = await json_output(*study, "--to", "reader", *router.options)
            counts = {name: done[name] for name in ("completed", "failed", "warning", "remaining")}
            assert counts == {"completed": len(OBJECTS), "failed": 0, "warning": 0, "remaining": 0}
            came = by_uid([read_file(path) for path in reader.files()])  # delivered before it is counted
            assert came.keys() == by_uid(OBJECTS).keys()
            destinations = router.get("/api/status")["destinations"]
            assert (destinations["reader"]["delivered"], destinations["reader"]["waiting"]) == (len(OBJECTS), 0)
            assert destinations["store"]["delivered"] == 0
            assert len(storage.files()) == before
            shown = await command(*study, "--to", "reader", *router.options)
            assert shown.exit_code == 0
            assert f"sent to reader: 0 remaining, {len(OBJECTS)} completed, 0 failed" in shown.stdout


async def test_ctrl_c_of_a_retrieve_to_a_peer_withdraws_what_waits_for_it(tmp_path: Path) -> None:
    port = free_port()
    archive = Dcmqrscp(tmp_path / "archive", destinations={"ROUTER": port})
    archive.add(OBJECTS)
    peers = {
        "pacs": {"ae_title": archive.ae_title, "address": archive.address},
        "reader": {"ae_title": "READER", "address": f"{HOST}:{free_port()}"},  # nobody listens
    }
    routes = [{"name": "all", "service": "storage", "to": ["reader"]}]
    content = configuration({}, router={"listen": [f"{HOST}:{port}"]}, peers=peers, routes=routes)
    with archive, RouterProcess(tmp_path / "router", content) as router:
        arguments = [sys.executable, "-m", "router", "retrieve", "pacs", "StudyInstanceUID=1.2.1", "--to", "reader"]
        async with trio.open_nursery() as nursery:
            run = partial(trio.run_process, [*arguments, *router.options], capture_stdout=True, check=False)
            process: trio.Process = await nursery.start(run)
            until(lambda: router.get("/api/status")["destinations"]["reader"]["waiting"] == len(OBJECTS), "the queue")
            process.send_signal(signal.SIGINT)
            await process.wait()
            assert process.returncode == 1
        until(lambda: router.get("/api/status")["destinations"]["reader"]["waiting"] == 0, "the withdrawal")
        (one,) = (await json_output("conversations", "list", *router.options))["finished"]
        assert one["status"].startswith("FE00H")


async def test_a_study_is_fetched_by_the_running_router_and_goes_through_its_routes(
    tmp_path: Path, storage: Storescp
) -> None:
    port = free_port()
    folder = tmp_path / "archive"
    archive = Dcmqrscp(folder, destinations={"ROUTER": port})
    archive.add([*OBJECTS, *OTHERS])
    content = configuration(
        {"store": storage},
        router={"listen": [f"{HOST}:{port}"]},
        peers={"pacs": {"ae_title": archive.ae_title, "address": archive.address}},
        routes=[{"name": "CT", "service": "storage", "when": {"calling_ae": archive.ae_title}, "to": ["store"]}],
    )
    with archive, RouterProcess(tmp_path / "router", content) as router:
        before = {path.name for path in storage.files()}
        done = await json_output("retrieve", "pacs", "StudyInstanceUID=1.2.1", *router.options)
        assert (done["completed"], done["failed"], done["remaining"]) == (len(OBJECTS), 0, 0)
        until(lambda: router.get("/api/status")["destinations"]["store"]["delivered"] == len(OBJECTS), "deliveries")
        came = by_uid([read_file(path) for path in storage.files() if path.name not in before])
        assert came.keys() == by_uid(OBJECTS).keys()
        (one,) = (await json_output("conversations", "list", *router.options))["finished"]
        assert one["number"] == done["conversation"]
        result = await command("retrieve", "pacs", "StudyInstanceUID=1.9", *router.options)
        assert result.exit_code == 1
        result = await command("retrieve", "nobody", "StudyInstanceUID=1.9", *router.options)
        assert "nobody is no peer" in result.stderr
        assert result.exit_code == 2


async def test_what_is_not_there_or_nobody_answers_is_told(tmp_path: Path, archive: Dcmqrscp) -> None:
    base = ("retrieve", archive.address, "--called", archive.ae_title)
    result = await command(*base, "StudyInstanceUID=1.9", "--output", str(tmp_path))
    assert result.exit_code == 1
    assert "0 of 0 instances" in result.stdout
    result = await command("retrieve", f"127.0.0.1:{free_port()}", "StudyInstanceUID=1.9", "--output", str(tmp_path))
    assert result.exit_code == 1
    assert "no connection" in result.stderr
    assert names_in(tmp_path) == []


@pytest.mark.parametrize(
    "arguments",
    [
        ("PatientName=X", "--output", "x"),
        ("StudyInstanceUID=", "--output", "x"),
        ("StudyInstanceUID=1.2", "--output", "x", "--to", "STORE"),
        ("StudyInstanceUID=abc", "--output", "x"),
        ("StudyInstanceUID=1.2", "--to", "x", "--called", "PACS"),
        ("--output", "x"),
        (),
    ],
)
async def test_a_wrong_retrieve_is_a_fault_of_usage(arguments: tuple[str, ...]) -> None:
    assert (await command("retrieve", "127.0.0.1:1", *arguments)).exit_code == 2


async def test_ctrl_c_cancels_at_the_peer(tmp_path: Path) -> None:
    async with QueryArchive(find=until_cancelled).serving() as peer, trio.open_nursery() as nursery:
        peers = {"pacs": {"ae_title": "PACS", "address": f"127.0.0.1:{peer.port}"}}
        peers["reader"] = {"ae_title": "READER", "address": f"{HOST}:{free_port()}"}
        routes = [{"name": "all", "service": "storage", "to": ["reader"]}]
        with RouterProcess(tmp_path / "router", configuration({}, peers=peers, routes=routes)) as router:
            arguments: list[Any] = [sys.executable, "-m", "router", "retrieve", "pacs", "StudyInstanceUID=1.2"]
            arguments += ["--to", "reader", *router.options]
            run = partial(trio.run_process, arguments, capture_stdout=True, capture_stderr=True, check=False)
            process: trio.Process = await nursery.start(run)

            async def has_answered() -> bool:
                return peer.sent > 3

            await eventually(has_answered)
            process.send_signal(signal.SIGINT)
            await process.wait()
            assert process.returncode == 1

            async def is_cancelled() -> bool:
                return len(peer.cancels) == 1

            await eventually(is_cancelled)
