"""Relays through a router process: print management with DCMTK and pynetdicom, long data sets, many in a row."""

import os
import queue
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import attrs
import pydicom
import pytest
import trio
from pydicom.dataset import Dataset
from pydicom.tag import BaseTag
from pynetdicom import AE, evt
from pynetdicom.sop_class import (  # type: ignore[attr-defined]
    BasicFilmSession,
    BasicGrayscalePrintManagementMeta,
    HangingProtocolInformationModelFind,
    PresentationLUT,
    Printer,
    PrinterInstance,
    Verification,
)

from pdu import ReleaseRP, ReleaseRQ
from router.dimse import CommandField, encode, response_to
from tests.support.harness import PATIENCE, eventually, p_data
from tests.support.peers import require
from tests.support.ports import HOST
from tests.support.printing import Dcmprscp, dcmprscu, print_job
from tests.support.relays import N_GET, PRINT, PRIVATE, ROUTE, At, Peer, client_of, memory_of, peer, router_to
from tests.support.router_process import RouterProcess, configuration

META = BasicGrayscalePrintManagementMeta


def test_a_print_job_gets_the_same_statuses_and_the_same_film_as_without_the_router(tmp_path: Path) -> None:
    require("dcmprscu", "dcmprscp", "dcmpsprt")
    job = print_job(tmp_path / "workstation")
    with Dcmprscp(tmp_path / "direct") as direct:
        code, expected = dcmprscu(job, direct.port)
        assert code == 0
        assert [name for name, _ in expected if name.endswith("RQ")] == [
            "N-GET RQ",  # printer
            *["N-CREATE RQ"] * 3,  # presentation LUT, film session, film box
            "N-SET RQ",  # image box
            "N-ACTION RQ",
            *["N-DELETE RQ"] * 3,
        ]
        films = [pydicom.dcmread(path) for path in direct.printed("HG")]
    with Dcmprscp(tmp_path / "relayed") as printer, router_to(tmp_path / "router", printer) as router:
        assert dcmprscu(job, router.port, "ROUTER") == (0, expected)
        line = router.wait_for_log(lambda event: event.get("event") == "conversation")
        assert line["operations"] == {"N-GET": 1, "N-CREATE": 3, "N-SET": 1, "N-ACTION": 1, "N-DELETE": 3}
        assert (line["status"], line["statuses"]) == ("released", {"0000H success": 9})
        assert len(printer.printed("SP")) == len(direct.printed("SP")) == 1
        shown = subprocess.run(
            [sys.executable, "-m", "router", "conversations", "show", str(line["number"]), *router.options],
            capture_output=True,
            text=True,
            check=True,
        )
        assert "of the client: 1 N-GET, 3 N-CREATE, 1 N-SET, 1 N-ACTION, 3 N-DELETE; data sets of" in shown.stdout
        assert "responses: 9 0000H success" in shown.stdout
        relayed = [pydicom.dcmread(path) for path in printer.printed("HG")]
    assert len(films) == len(relayed) == 1
    assert [one.PixelData for one in relayed] == [one.PixelData for one in films]


@attrs.define
class PynetdicomPrinter:
    """A printer of pynetdicom."""

    created: list[int] = attrs.field(factory=list)
    ended: list[str] = attrs.field(factory=list)

    @contextmanager
    def serving(self) -> Iterator[At]:
        entity = AE("PRINTER")
        entity.add_supported_context(META)
        handlers: list[Any] = [
            (evt.EVT_N_GET, self._get),
            (evt.EVT_N_CREATE, self._create),
            (evt.EVT_RELEASED, lambda event: self.ended.append("released")),
            (evt.EVT_ABORTED, lambda event: self.ended.append("aborted")),
        ]
        server = entity.start_server((HOST, 0), block=False, evt_handlers=handlers)
        assert server is not None
        assert server.socket is not None
        try:
            yield At(server.socket.getsockname()[1])
        finally:
            server.shutdown()

    def _get(self, event: Any) -> tuple[int, Dataset]:
        found = Dataset()
        found.PrinterStatus = "NORMAL"
        return 0x0107, found

    def _create(self, event: Any) -> tuple[int, Dataset]:
        self.created.append(event.attribute_list.NumberOfCopies)
        return 0x0000, event.attribute_list


@pytest.mark.parametrize("end", ["released", "aborted"])
def test_a_pynetdicom_workstation_prints_and_verifies_on_one_association(tmp_path: Path, end: str) -> None:
    printer = PynetdicomPrinter()
    with printer.serving() as at, router_to(tmp_path, at) as router:
        entity = AE("WORKSTATION")
        for sop_class in (Verification, META):
            entity.add_requested_context(sop_class)
        association = entity.associate(HOST, router.port)
        assert association.is_established
        assert association.send_c_echo().Status == 0
        status, attributes = association.send_n_get([BaseTag(0x21100010)], Printer, PrinterInstance, meta_uid=META)
        assert attributes is not None
        assert (status.Status, attributes.PrinterStatus) == (0x0107, "NORMAL")
        session = Dataset()
        session.NumberOfCopies = "2"
        status, _ = association.send_n_create(session, BasicFilmSession, "1.2.3.4", meta_uid=META)
        assert status.Status == 0
        if end == "released":
            association.release()
        else:
            association.abort()
        router.wait_for_log(lambda event: event.get("event") == "conversation")
    assert printer.created == [2]
    assert printer.ended == [end]


def test_a_printer_reports_events_on_the_association_of_the_client(tmp_path: Path) -> None:
    """Each member of print management in a context of its own, as some workstations propose them."""
    members = [BasicFilmSession, Printer, PresentationLUT]
    heard: queue.Queue[tuple[int, str]] = queue.Queue()
    answered: queue.Queue[int] = queue.Queue()

    def report(association: Any) -> None:
        information = Dataset()
        information.PrinterName = "FILM 1"
        status, _ = association.send_n_event_report(information, 2, Printer, PrinterInstance)
        answered.put(status.Status)

    def created(event: Any) -> tuple[int, Dataset]:
        threading.Thread(target=report, args=(event.assoc,), daemon=True).start()
        return 0x0000, event.attribute_list

    def reported(event: Any) -> tuple[int, None]:
        heard.put((event.event_type, event.event_information.PrinterName))
        return 0x0000, None

    printer = AE("PRINTER")
    for sop_class in members:
        printer.add_supported_context(sop_class)
    server = printer.start_server((HOST, 0), block=False, evt_handlers=[(evt.EVT_N_CREATE, created)])
    assert server is not None
    assert server.socket is not None
    try:
        with router_to(tmp_path, At(server.socket.getsockname()[1])) as router:
            workstation = AE("WORKSTATION")
            for sop_class in members:
                workstation.add_requested_context(sop_class)
            handlers: list[Any] = [(evt.EVT_N_EVENT_REPORT, reported)]
            association = workstation.associate(HOST, router.port, evt_handlers=handlers)
            assert [context.abstract_syntax for context in association.accepted_contexts] == members
            shape = Dataset()
            shape.PresentationLUTShape = "IDENTITY"
            status, _ = association.send_n_create(shape, PresentationLUT, "1.2.3.4")
            assert status.Status == 0
            assert heard.get(timeout=PATIENCE) == (2, "FILM 1")
            assert answered.get(timeout=PATIENCE) == 0
            association.release()
            line = router.wait_for_log(lambda event: event.get("event") == "conversation")
            assert line["operations_of_peer"] == {"N-EVENT-REPORT": 1}
    finally:
        server.shutdown()


def test_a_c_find_of_an_unknown_service_streams_and_is_cancelled(tmp_path: Path) -> None:
    """Hanging Protocol FIND stands for all that the router does not know."""
    cancelled = threading.Event()

    def found(event: Any) -> Iterator[tuple[int, Dataset | None]]:
        for number in range(1000):
            if event.is_cancelled:
                cancelled.set()
                yield 0xFE00, None
                return
            match = Dataset()
            match.HangingProtocolName = f"N{number}"
            yield 0xFF00, match
            if number > 10:
                cancelled.wait(0.01)

    archive = AE("ARCHIVE")
    archive.add_supported_context(HangingProtocolInformationModelFind)
    server = archive.start_server((HOST, 0), block=False, evt_handlers=[(evt.EVT_C_FIND, found)])
    assert server is not None
    assert server.socket is not None
    route = ROUTE | {"when": {"sop_class": "HangingProtocol*"}}
    try:
        at = At(server.socket.getsockname()[1])
        with RouterProcess(tmp_path, configuration({"printer": at}, routes=[route])) as router:
            workstation = AE("WORKSTATION")
            workstation.add_requested_context(HangingProtocolInformationModelFind)
            association = workstation.associate(HOST, router.port)
            query = Dataset()
            query.HangingProtocolName = ""
            names, last = [], None
            for status, match in association.send_c_find(query, HangingProtocolInformationModelFind, msg_id=77):
                last = status.Status
                if match is not None:
                    names.append(match.HangingProtocolName)
                if len(names) == 5:
                    association.send_c_cancel(77, query_model=HangingProtocolInformationModelFind)
            assert last == 0xFE00
            assert cancelled.is_set()
            assert names == [f"N{number}" for number in range(len(names))]
            assert len(names) < 1000
            association.release()
    finally:
        server.shutdown()


async def drain(end: Any, size: int) -> int:
    """Read that many bytes of a data set, and return the bytes of P-DATA that came."""
    received = 0
    with trio.fail_after(2 * PATIENCE):
        while received < size:
            chunk = await end.stream.receive_some(1 << 20)
            assert chunk, "the connection was closed"
            received += len(chunk)
    return received


async def test_a_long_data_set_needs_no_memory_and_the_slower_side_sets_the_pace(tmp_path: Path) -> None:
    size, part = 240 * 1_000_000, 15_000
    async with peer() as printer:
        with router_to(tmp_path, At(printer.port)) as router:
            async with client_of(router.port, printer, PRIVATE) as (client, theirs):
                before = memory_of(router)
                n_set = attrs.evolve(N_GET, field=CommandField.N_SET_RQ, data_set_type=1)
                await client.say(p_data(1, encode(n_set), command=True))
                sent = 0

                async def send() -> None:
                    nonlocal sent
                    piece = p_data(1, bytes(part), command=False, last=False)
                    many = piece * 64
                    while sent < size:
                        await client.stream.send_all(many)
                        sent += 64 * part
                    await client.say(p_data(1, b"", command=False))

                async with trio.open_nursery() as nursery:
                    nursery.start_soon(send)
                    stuck = -1
                    while stuck != sent:  # the peer does not read: so the client cannot go on for ever
                        stuck = sent
                        await trio.sleep(0.3)
                    assert sent < 50_000_000
                    await drain(theirs, size)
                    assert memory_of(router) - before < 8_000_000
                    nursery.cancel_scope.deadline = trio.current_time() + PATIENCE
                assert memory_of(router) - before < 8_000_000


async def test_after_500_relays_in_a_row_nothing_is_left(tmp_path: Path) -> None:
    async with peer() as printer:
        with router_to(tmp_path, At(printer.port)) as router:

            def files() -> int:
                return len(os.listdir(f"/proc/{router.pid}/fd"))

            await relay_once(router, printer, "release")
            await until_idle(router)
            before, memory = files(), 0
            for number in range(500):
                await relay_once(router, printer, ("release", "abort", "peer aborts")[number % 3])
                if number == 100:
                    memory = memory_of(router)
            await until_idle(router)
            await eventually(lambda: files() <= before)  # the connection of the admin API closes, too
            assert memory_of(router) - memory < 16_000_000  # the conversations that can be listed


async def relay_once(router: RouterProcess, printer: Peer, end: str) -> None:
    async with client_of(router.port, printer, PRINT) as (client, theirs):
        await client.tell(1, N_GET)
        await theirs.message()
        await theirs.tell(1, response_to(N_GET, 0), b"data")
        await client.message()
        if end == "release":
            await client.say(ReleaseRQ())
            await theirs.hear()
            await theirs.say(ReleaseRP())
            assert await client.hear() == ReleaseRP()
        else:
            await (client if end == "abort" else theirs).stream.aclose()


async def until_idle(router: RouterProcess) -> None:
    def idle() -> bool:
        status = router.get("/api/status")
        return not status["associations"] and not status["conversations"]

    await eventually(idle)
