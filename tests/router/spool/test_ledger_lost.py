"""The ledger is an index: a router that finds none at its start loses nothing, and mis-times nothing."""

import os
from pathlib import Path

import trio

from router.config import Config
from router.spool import Spool
from router.spool.disk.counters import Counters, CountersFile
from router.spool.disk.filesystem import REAL
from tests.support.commitment import ROUTE, STORAGE, store
from tests.support.commitment_peers import CommittingArchive, Modality, ask, instances
from tests.support.harness import configuration, eventually, running_router
from tests.support.mpps_messages import completed, in_progress, progress
from tests.support.mpps_peers import RIS, Scanner, hub

UID = "1.2.3.4"


def lose_ledger(config: Config) -> None:
    for path in config.router.spool.glob("ledger.sqlite*"):
        path.unlink()


def let_time_pass(config: Config, seconds: float) -> None:
    """A router has run for so long, in which nothing happened."""
    folder = os.open(config.router.spool, os.O_RDONLY)
    counters = Counters()
    file = CountersFile(REAL, folder, counters)
    counters.advance(clock=counters.clock() + seconds)
    file.save()
    os.close(folder)


async def test_a_step_that_has_ended_is_sent_again_and_held_nowhere(tmp_path: Path) -> None:
    async with RIS().serving() as ris:
        config = hub(tmp_path, ris=ris.port)
        async with running_router(config) as router, Scanner.connected(router.port) as scanner:
            await scanner.create(UID, in_progress())
            await scanner.set(UID, progress("so far"))
            await scanner.set(UID, completed())
            await router.until("ris", delivered=3)
        lose_ledger(config)
        async with running_router(config) as router, Scanner.connected(router.port) as scanner:
            assert router.spool.recovery.recovered == 3
            await router.until("ris", delivered=3)
            await scanner.create("1.2.3.5", in_progress("2"))
            await router.until("ris", delivered=4)
            assert {row.message_id for row in await router.spool.queue.list_deliveries()} == {1, 2, 3, 4}
    assert ris.steps == {UID: "COMPLETED", "1.2.3.5": "IN PROGRESS"}


async def test_a_commitment_ends_at_its_deadline(tmp_path: Path) -> None:
    references = instances(1)
    async with (
        trio.open_nursery() as nursery,
        CommittingArchive(title="PACS", nursery=nursery, behaviour="is silent").serving() as pacs,
        Modality().serving() as modality,
    ):
        peer = f'[peers.modality]\nae_title = "MODALITY"\naddress = "127.0.0.1:{modality.port}"\n'
        text = peer + STORAGE + ROUTE.replace("10s", "1h")
        config = configuration(tmp_path, text, pacs=pacs.port)
        Spool.open(config.router.spool, config.spool).close()
        let_time_pass(config, 58 * 86400.0)
        async with running_router(config) as router:
            await store(router.port, *references)
            assert await ask(router.port, references, uid=UID) == 0

            async def asked() -> bool:
                return bool(pacs.asked)

            await eventually(asked)
        lose_ledger(config)
        let_time_pass(config, 3600.0)
        async with running_router(config):
            (report,) = await modality.reports()
        nursery.cancel_scope.cancel()
    assert report.failures.keys() == {references[0].sop_instance_uid}
