"""Storage commitment between real peers, through a router process: Orthanc and pynetdicom in both roles, and DCMTK's
storescp, which knows nothing of it."""

import json
import threading
import urllib.request
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Self

import pytest
from pydicom.dataset import Dataset
from pydicom.uid import generate_uid
from pynetdicom import AE, build_role, evt

from benchmarks.peers.ports import own_port
from tests.support.archive import park_reactor, unpark_reactor
from tests.support.objects import Instance, ct
from tests.support.peers import Orthanc, PynetdicomArchive, Storescp, store_all
from tests.support.ports import HOST, until
from tests.support.router_process import RouterProcess, configuration

pytestmark = pytest.mark.interop

MODEL = "1.2.840.10008.1.20.1"
"""Storage Commitment Push Model SOP Class."""
INSTANCE = "1.2.840.10008.1.20.1.1"
"""Its well-known instance."""


class CommittingModality:
    """pynetdicom as a modality: asks on one association, and listens for the report on others."""

    def __init__(self, ae_title: str = "MODALITY") -> None:
        self.ae_title, self.port = ae_title, own_port()
        self.reports: list[tuple[int, Dataset]] = []
        self._arrival = threading.Condition()
        self._ae = AE(ae_title=ae_title)
        self._ae.add_supported_context(MODEL, scu_role=False, scp_role=True)
        self._ae.add_requested_context(MODEL)

    @property
    def address(self) -> str:
        return f"{HOST}:{self.port}"

    def __enter__(self) -> Self:
        handlers: list[Any] = [(evt.EVT_N_EVENT_REPORT, self._on_report)]
        self._server = self._ae.start_server((HOST, self.port), block=False, evt_handlers=handlers)
        return self

    def __exit__(self, *exc: object) -> None:
        assert self._server
        self._server.shutdown()

    def _on_report(self, event: evt.Event) -> tuple[int, None]:
        request: Any = event.request
        with self._arrival:
            self.reports.append((request.EventTypeID, event.event_information))
            self._arrival.notify_all()
        return 0x0000, None

    def ask(self, router: RouterProcess, instances: Sequence[Instance], *, stays: bool = False) -> int:
        """The status of the N-ACTION. With `stays` the association remains open, until `leave`."""
        request = Dataset()
        request.TransactionUID = self.transaction_uid = generate_uid()
        request.ReferencedSOPSequence = [_item(one) for one in instances]
        self.visit(router)
        park_reactor(self._association)
        status, _ = self._association.send_n_action(request, 1, MODEL, INSTANCE)
        unpark_reactor(self._association)
        if not stays:
            self.leave()
        return int(status.Status)

    def visit(self, router: RouterProcess) -> None:
        """Open an association, on which reports are taken too."""
        handlers: list[Any] = [(evt.EVT_N_EVENT_REPORT, self._on_report)]
        self._association = self._ae.associate(router.host, router.port, ae_title="ROUTER", evt_handlers=handlers)
        assert self._association.is_established

    def hears(self, router: RouterProcess) -> bool:
        """Visit, and stay for a while."""
        self.visit(router)
        with self._arrival:
            if self._arrival.wait_for(lambda: bool(self.reports), 2.0):
                return True
        self.leave()
        return False

    def leave(self) -> None:
        self._association.release()

    def wait(self, seconds: float = 30.0) -> tuple[int, set[str], dict[str, int]]:
        """Event type, what is committed, and what has failed and why."""
        with self._arrival:
            assert self._arrival.wait_for(lambda: bool(self.reports), seconds), "nobody reported"
            event_type, report = self.reports[-1]
        assert report.TransactionUID == self.transaction_uid
        done = report.get("ReferencedSOPSequence") or []
        failed = report.get("FailedSOPSequence") or []
        return (
            event_type,
            {str(one.ReferencedSOPInstanceUID) for one in done},
            {str(one.ReferencedSOPInstanceUID): int(one.FailureReason) for one in failed},
        )


def _item(instance: Instance) -> Dataset:
    item = Dataset()
    item.ReferencedSOPClassUID = instance.sop_class_uid
    item.ReferencedSOPInstanceUID = instance.sop_instance_uid
    return item


class CommittingArchive(PynetdicomArchive):
    """pynetdicom as an archive that reports on an association of its own, as most do."""

    def __init__(self, router_port: int, **how: Any) -> None:
        super().__init__(**how)
        self._router_port = router_port
        self.reports = 0
        self._ae.add_supported_context(MODEL)

    def __enter__(self) -> Self:
        handlers: list[Any] = [
            (evt.EVT_C_STORE, self._on_store),
            (evt.EVT_C_ECHO, lambda event: 0x0000),
            (evt.EVT_N_ACTION, self._on_action),
        ]
        self._server = self._ae.start_server((self.host, self.port), block=False, evt_handlers=handlers)
        return self

    def _on_action(self, event: evt.Event) -> tuple[int, None]:
        threading.Thread(target=self._report, args=(event.action_information,), daemon=True).start()
        return 0x0000, None

    def _report(self, request: Dataset) -> None:
        have = {one.sop_instance_uid for one in self.received}
        report = Dataset()
        report.TransactionUID = request.TransactionUID
        report.RetrieveAETitle = self.ae_title
        report.ReferencedSOPSequence = [
            one for one in request.ReferencedSOPSequence if one.ReferencedSOPInstanceUID in have
        ]
        failed = [one for one in request.ReferencedSOPSequence if one.ReferencedSOPInstanceUID not in have]
        for one in failed:
            one.FailureReason = 0x0112
        if failed:
            report.FailedSOPSequence = failed
        ae = AE(ae_title=self.ae_title)
        ae.add_requested_context(MODEL)
        roles: Any = [build_role(MODEL, scp_role=True)]
        association = ae.associate(HOST, self._router_port, ae_title="ROUTER", ext_neg=roles)
        association.send_n_event_report(report, 2 if failed else 1, MODEL, INSTANCE)
        association.release()
        self.reports += 1


@contextmanager
def routed(
    folder: Path,
    port: int,
    modality: Any,
    archives: dict[str, Any],
    *,
    require: Any = "all",
    same: bool = False,
    address: bool = True,
    entry: bool = True,
    **peers: Any,
) -> Iterator[RouterProcess]:
    """A router on a port that everybody knows; without `entry` it knows no peer of the modality's title."""
    content = configuration(archives, router={"listen": [f"{HOST}:{port}"]}, peers=peers)
    known = {"ae_title": modality.ae_title, "linger": "200ms", "commitment": {"reply": "same" if same else "new"}}
    known |= {"address": modality.address} if address else {}
    if entry:
        content["peers"]["modality"] = {**known, "retry": {"first": "200ms", "max": "1s"}}
    content["routes"].append(
        {
            "name": "commitment",
            "service": "storage-commitment",
            "to": list(archives),
            "require": require,
            "deadline": "20s",
            "grace": "1s",
        }
    )
    with RouterProcess(folder, content) as router:
        yield router


def orthanc(folder: Path, router_port: int, title: str = "ORTHANC") -> Orthanc:
    """Orthanc that knows the router."""
    return Orthanc(
        folder, ae_title=title, DicomModalities={"router": ["ROUTER", HOST, router_port]}, DicomCheckModalityHost=False
    )


def test_orthanc_and_pynetdicom_promise_and_the_modality_hears_of_it(tmp_path: Path) -> None:
    port, sent = own_port(), [ct() for _ in range(5)]
    with CommittingModality() as modality, CommittingArchive(port, ae_title="PYNET") as pynet:
        with orthanc(tmp_path / "orthanc", port) as archive:
            with routed(tmp_path / "router", port, modality, {"orthanc": archive, "pynet": pynet}) as router:
                assert store_all(HOST, port, sent, calling_ae="MODALITY") == [0x0000] * 5
                assert modality.ask(router, sent) == 0x0000
                event_type, committed, failed = modality.wait()
    assert (event_type, failed) == (1, {})
    assert committed == {one.sop_instance_uid for one in sent}


def test_what_orthanc_has_lost_is_not_reported_as_committed(tmp_path: Path) -> None:
    port, sent = own_port(), [ct() for _ in range(3)]
    lost = sent[1].sop_instance_uid
    with CommittingModality() as modality, orthanc(tmp_path / "orthanc", port) as archive:
        with routed(tmp_path / "router", port, modality, {"orthanc": archive}) as router:
            store_all(HOST, port, sent, calling_ae="MODALITY")
            until(lambda: len(archive.instances()) == 3, "Orthanc has all three")
            archive.delete(archive.instances()[lost])
            assert modality.ask(router, sent) == 0x0000
            event_type, committed, failed = modality.wait()
    assert event_type == 2
    assert committed == {one.sop_instance_uid for one in sent} - {lost}
    assert failed == {lost: 0x0112}


def test_orthanc_asks_the_router_and_hears_of_it(tmp_path: Path) -> None:
    port, sent = own_port(), [ct() for _ in range(2)]
    with orthanc(tmp_path / "edge", port, "EDGE") as edge, CommittingArchive(port, ae_title="PYNET") as pynet:
        with routed(tmp_path / "router", port, edge, {"pynet": pynet}):
            store_all(HOST, port, sent, calling_ae="EDGE")
            asked = [{"SOPClassUID": one.sop_class_uid, "SOPInstanceUID": one.sop_instance_uid} for one in sent]
            body = json.dumps({"DicomInstances": asked}).encode()
            address = f"http://{HOST}:{edge.http_port}"
            request = urllib.request.Request(f"{address}/modalities/router/storage-commitment", body, method="POST")
            with urllib.request.urlopen(request, timeout=30) as response:
                path = json.load(response)["Path"]

            def status() -> dict[str, Any]:
                with urllib.request.urlopen(address + path, timeout=30) as response:
                    found: dict[str, Any] = json.load(response)
                    return found

            until(lambda: status()["Status"] != "Pending", "Orthanc has heard")
            assert status()["Status"] == "Success"
            assert len(status()["Success"]) == 2


@pytest.mark.parametrize("require", ["all", "any"])
def test_storescp_cannot_promise_and_is_excused_or_not(tmp_path: Path, require: str) -> None:
    port, sent = own_port(), [ct() for _ in range(2)]
    uids = {one.sop_instance_uid for one in sent}
    with (
        CommittingModality() as modality,
        CommittingArchive(port, ae_title="PYNET") as pynet,
        Storescp(tmp_path / "storescp", sop_classes=[sent[0].sop_class_uid]) as storescp,
    ):
        archives = {"dcmtk": storescp, "pynet": pynet}
        with routed(tmp_path / "router", port, modality, archives, require=require) as router:
            store_all(HOST, port, sent, calling_ae="MODALITY")
            assert modality.ask(router, sent) == 0x0000
            event_type, committed, failed = modality.wait()
            until(lambda: pynet.reports == 1, "the archive has reported, heard or not")
    if require == "any":
        assert (event_type, committed, failed) == (1, uids, {})
    else:
        assert (event_type, committed, failed) == (2, set(), dict.fromkeys(uids, 0x0122))


def test_the_router_itself_asks_orthanc_and_sends_again_what_it_has_lost(tmp_path: Path) -> None:
    port, sent = own_port(), [ct() for _ in range(20)]
    with CommittingModality() as modality, orthanc(tmp_path / "orthanc", port) as archive:
        pinned = {"commitment": {"request": True, "after": "2s"}}
        with routed(tmp_path / "router", port, modality, {"orthanc": archive}, orthanc=pinned) as router:
            store_all(HOST, port, sent, calling_ae="MODALITY")
            until(lambda: len(archive.instances()) == 20, "Orthanc has all of it")
            archive.delete(archive.instances()[sent[7].sop_instance_uid])

            def committed() -> bool:
                return bool(router.get("/api/status")["destinations"]["orthanc"].get("committed") == 20)

            until(committed, "everything is committed")
            assert len(archive.instances()) == 20


@pytest.mark.parametrize("stays", [True, False], ids=["on the same association", "on the next one"])
def test_a_modality_hears_of_it_on_an_association_of_its_own(tmp_path: Path, stays: bool) -> None:
    port, sent = own_port(), [ct() for _ in range(2)]
    listening = CommittingModality()
    with CommittingArchive(port, ae_title="PYNET") as pynet:
        with routed(tmp_path / "router", port, listening, {"pynet": pynet}, same=stays, address=stays) as router:
            store_all(HOST, port, sent, calling_ae="MODALITY")
            assert listening.ask(router, sent, stays=stays) == 0x0000
            if not stays:
                until(lambda: router.get("/api/queue?destination=modality&state=waiting")["deliveries"], "it waits")
                until(lambda: listening.hears(router), "it hears on one of its visits")
            event_type, committed, failed = listening.wait()
            delivered = "its answer is in the ledger"
            until(lambda: router.get("/api/status")["destinations"]["modality"]["delivered"] == 1, delivered)
            listening.leave()
    assert (event_type, failed) == (1, {})
    assert committed == {one.sop_instance_uid for one in sent}


def test_a_modality_without_an_entry_hears_of_it_on_the_same_association(tmp_path: Path) -> None:
    port, sent = own_port(), [ct() for _ in range(2)]
    listening = CommittingModality()
    with CommittingArchive(port, ae_title="PYNET") as pynet:
        with routed(tmp_path / "router", port, listening, {"pynet": pynet}, entry=False) as router:
            store_all(HOST, port, sent, calling_ae="MODALITY")
            assert listening.ask(router, sent, stays=True) == 0x0000
            event_type, committed, failed = listening.wait()
            listening.leave()
    assert (event_type, failed) == (1, {})
    assert committed == {one.sop_instance_uid for one in sent}


class CommitmentAE(CommittingArchive):
    """The AE of a system that does storage commitment for another one, which stores."""

    def __init__(self, router_port: int, storage: PynetdicomArchive, **how: Any) -> None:
        super().__init__(router_port, **how)
        self._ae.require_called_aet = True
        self.received = storage.received


@pytest.mark.parametrize("own", [False, True], ids=["asked by a modality", "of the router's own accord"])
def test_an_archive_commits_under_an_ae_of_its_own(tmp_path: Path, own: bool) -> None:
    port, sent = own_port(), [ct() for _ in range(4)]
    with CommittingModality() as modality, PynetdicomArchive(ae_title="PYNET") as storage:
        storage._ae.require_called_aet = True
        with CommitmentAE(port, storage, ae_title="PYNET_SC") as another:
            keys = {"ae_title": another.ae_title, "address": another.address, "request": own, "after": "1s"}
            archives = {"pynet": storage}
            with routed(tmp_path / "router", port, modality, archives, pynet={"commitment": keys}) as router:
                assert store_all(HOST, port, sent, calling_ae="MODALITY") == [0x0000] * 4
                if own:

                    def is_committed() -> bool:
                        return bool(router.get("/api/status")["destinations"]["pynet"].get("committed") == 4)

                    until(is_committed, "everything is committed")
                else:
                    assert modality.ask(router, sent) == 0x0000
                    event_type, committed, failed = modality.wait()
                    assert (event_type, failed) == (1, {})
                    assert committed == {one.sop_instance_uid for one in sent}
