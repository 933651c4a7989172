"""The spool and the state of an earlier revision, opened by today's code: nothing is lost, and nothing is sent again.

`make_spool.py` made it, and says what is in it.
"""

import sqlite3
import subprocess
import sys
import tarfile
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager, closing
from pathlib import Path

import trio
from attrs import define

from router.model import DeliveryState, Purpose
from router.services.commitment import archive_store, transaction_store
from router.services.commitment.attributes import CommitmentRequest
from router.spool import QueueAction, Selection
from router.spool.ledger.schema import EARLIER
from router.state_store import StateTransaction
from tests.support.commitment_peers import CommittingArchive, Modality, instances
from tests.support.harness import Archive, RunningRouter, configuration, data_set, eventually, running_router
from tests.support.mpps_messages import completed
from tests.support.mpps_peers import RIS, Scanner

SPOOL = Path(__file__).parent / "spool-6426320.tar.gz"
STEP = "1.2.826.0.1.3680043.8.498.4711"
UID = "2.25.4711"
"""Of the modality's transaction."""
RETAINED = "pacs (commitment)"
ROUTES = """
[[routes]]
name = "steps"
service = "mpps"
to = ["ris"]
[[routes]]
name = "promises"
service = "storage-commitment"
to = ["pacs"]
"""
WAITING = {f"2.25.4.{number}": data_set(f"2.25.4.{number}", size=200 + number) for number in range(3)} | {
    "2.25.5": data_set("2.25.5", size=2 << 20)
}


@define
class House:
    """A router on the old spool, and the peers that it knows."""

    running: RunningRouter
    pacs: CommittingArchive
    strict: Archive
    vna: Archive
    ris: RIS
    modality: Modality

    async def everything_sent(self) -> None:
        await self.running.until("vna", waiting=0, in_flight=0)

    def sent(self) -> dict[str, list[str]]:
        """SOP Instance UIDs by archive, in order."""
        archives = {"pacs": self.pacs, "strict": self.strict, "vna": self.vna}
        return {
            name: sorted(one.command.sop_instance_uid for one in archive.stored) for name, archive in archives.items()
        }


@asynccontextmanager
async def upgraded(folder: Path) -> AsyncIterator[House]:
    """Today's router on the spool in a folder, where there is one by now; else on the one of the earlier revision."""
    if not (folder / "spool").exists():
        with tarfile.open(SPOOL) as archive:
            archive.extractall(folder, filter="data")
    async with AsyncExitStack() as stack:
        nursery = await stack.enter_async_context(trio.open_nursery())
        silent = CommittingArchive(title="PACS", nursery=nursery, behaviour="is silent")
        pacs = await stack.enter_async_context(silent.serving())
        strict = await stack.enter_async_context(Archive().serving())
        vna = await stack.enter_async_context(Archive().serving())
        ris = await stack.enter_async_context(RIS(steps={STEP: "IN PROGRESS"}).serving())
        modality = await stack.enter_async_context(Modality().serving())
        ports = {"strict": strict.port, "vna": vna.port, "ris": ris.port, "modality": modality.port}
        lines = [
            *("[peers.pacs]", 'ae_title = "PACS"', f'address = "127.0.0.1:{pacs.port}"', 'linger = "50ms"'),
            'commitment = { request = true, after = "50ms", within = "30d" }',
        ]
        text = "\n".join([*lines, ROUTES])
        async with running_router(configuration(folder, text, router='unrouted = "hold"', **ports)) as running:
            pacs.router = running.port
            yield House(running, pacs, strict, vna, ris, modality)


async def test_what_waits_is_sent_once_and_nothing_else_is(tmp_path: Path) -> None:
    async with upgraded(tmp_path) as house:
        report = house.running.spool.recovery
        assert (report.ledger, report.lost, report.damaged, report.recovered) == ("intact", (), (), 0)
        await house.everything_sent()
        assert house.sent() == {"pacs": [], "strict": [], "vna": sorted(WAITING)}
        assert {one.command.sop_instance_uid: one.data for one in house.vna.stored} == WAITING
        vna = await house.running.totals("vna")
        assert (vna["delivered"], vna["held"], vna["discarded"]) == (4, 1, 1)
        assert (await house.running.totals("strict"))["held"] == 1
        assert (await house.running.totals(""))["held"] == 1
        assert (await house.running.totals(RETAINED))["waiting"] == 2
        assert house.ris.heard == []
    async with upgraded(tmp_path) as house:
        await house.everything_sent()
        assert house.sent() == {"pacs": [], "strict": [], "vna": []}


def test_the_spool_of_a_later_version_is_refused_and_not_touched(tmp_path: Path) -> None:
    with tarfile.open(SPOOL) as archive:
        archive.extractall(tmp_path, filter="data")
    ledger = tmp_path / "spool" / "ledger.sqlite"
    with sqlite3.connect(ledger) as connection:
        connection.execute("PRAGMA user_version = 99")
    connection.close()
    config = tmp_path / "router.toml"
    config.write_text('[router]\nlisten = ["127.0.0.1:0"]\nspool = "spool"\n[admin]\nlisten = "127.0.0.1:0"\n')
    before = ledger.read_bytes()
    command = [sys.executable, "-m", "router", "run", "--config", str(config)]
    ended = subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)
    assert ended.returncode == 1
    assert "written by a later version of the router" in ended.stderr
    assert "Traceback" not in ended.stderr
    assert ledger.read_bytes() == before


async def test_what_was_discarded_or_held_stays_so_when_the_ledger_is_lost_later(tmp_path: Path) -> None:
    """The earlier revision had it in the ledger alone; the upgrade has written it to a segment."""
    async with upgraded(tmp_path) as house:
        await house.everything_sent()

        async def written() -> bool:
            await house.running.spool.queue.totals()  # then the ledger is up to date
            ledger = sqlite3.connect(house.running.config.router.spool / "ledger.sqlite")
            with closing(ledger):
                return not ledger.execute("SELECT 1 FROM deliveries WHERE decided = ?", (EARLIER,)).fetchall()

        await eventually(written)
    for file in (tmp_path / "spool").glob("ledger.sqlite*"):
        file.unlink()
    async with upgraded(tmp_path) as house:
        assert house.running.spool.recovery.ledger == "it was missing"
        await house.everything_sent()
        assert "2.25.6" not in house.sent()["vna"]
        assert "2.25.7" not in house.sent()["vna"]
        rows = await house.running.spool.queue.list_deliveries(Selection(destination="vna"))
        states = {row.sop_instance_uid: (row.state, row.reason) for row in rows}
        assert states["2.25.6"] == (DeliveryState.HELD, "held by hand")
        assert states["2.25.7"] == (DeliveryState.DISCARDED, "discarded by hand")


async def test_what_was_held_goes_when_it_is_released_and_what_was_discarded_never(tmp_path: Path) -> None:
    async with upgraded(tmp_path) as house:
        await house.everything_sent()
        rows = await house.running.spool.queue.list_deliveries(Selection(states=frozenset({DeliveryState.HELD})))
        assert [(row.sop_instance_uid, row.destination, row.reason.partition(" ")[0]) for row in rows] == [
            ("2.25.3", "strict", "C000H"),
            ("2.25.6", "vna", "held"),
            ("2.25.8", "", "no"),
        ]
        assert await house.running.spool.queue.change(Selection(), QueueAction.RELEASE, "vna") == 3
        house.running.router._dispatcher.rescan()
        await house.running.until("vna", delivered=6, waiting=0, in_flight=0)
        await house.running.until("strict", delivered=1)
        assert house.sent() == {"pacs": [], "strict": ["2.25.3"], "vna": sorted([*WAITING, "2.25.6", "2.25.8"])}


async def test_the_open_step_takes_its_end(tmp_path: Path) -> None:
    async with upgraded(tmp_path) as house:
        async with Scanner.connected(house.running.port) as scanner:
            assert (await scanner.set(STEP, completed())).status == 0
        await house.ris.until(STEP, "COMPLETED")
        assert house.ris.messages() == [("N-SET-RQ", "COMPLETED", 0)]


async def test_the_open_transaction_is_reported_to_the_modality(tmp_path: Path) -> None:
    async with upgraded(tmp_path) as house:
        archive_uid = await asked_under(house, UID)
        request = CommitmentRequest(transaction_uid=archive_uid, references=instances(2))
        assert await house.pacs.report(request) == 0
        (heard,) = await house.modality.reports()
        assert (heard.transaction_uid, heard.event_type, heard.failures) == (UID, 1, {})
        assert set(heard.words) == {one.sop_instance_uid for one in instances(2)}


async def test_what_is_retained_is_freed_by_a_report_of_its_archive_and_not_sent_again(tmp_path: Path) -> None:
    """The transaction that was open does not say which messages it is about: they are asked about once more."""
    async with upgraded(tmp_path) as house:
        (own,) = await house.running.router._state.read(own_transactions)
        request = CommitmentRequest(transaction_uid=await asked_under(house, own), references=instances(2))
        house.pacs.behaviour = "commits"
        assert await house.pacs.report(request) == 0
        await house.running.until(RETAINED, delivered=2, waiting=0)
        assert [set(one.references) for one in house.pacs.asked] == [set(instances(2))]
        assert house.pacs.stored == []
        rows = await house.running.spool.queue.list_deliveries(Selection(destination="pacs", purpose=Purpose.RETAIN))
        assert {row.state for row in rows} <= {DeliveryState.DELIVERED}


def own_transactions(connection: StateTransaction) -> list[str]:
    """Those that the router itself began."""
    return [one.uid for one in transaction_store.load_unfinished(connection) if not one.reply_to]


async def asked_under(house: House, uid: str) -> str:
    """The Transaction UID under which the archive was asked by the earlier revision."""

    def read(connection: StateTransaction) -> str:
        commitment = transaction_store.load(connection, uid=uid)
        assert commitment is not None
        (inquiry,) = archive_store.load(connection, commitment.id)
        return inquiry.uid

    return await house.running.router._state.read(read)
