"""An AE without an entry under [peers] asks, and hears of it on an association that it has opened."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import trio

from router.dimse import CommandField, response_to
from router.services.commitment.attributes import STORAGE_COMMITMENT, CommitmentRequest, read_report, write_request
from router.services.commitment.transaction import COMMITTED, Reference
from tests.support.commitment import ROUTE
from tests.support.commitment_peers import UID, CommittingArchive, instances, n_action
from tests.support.harness import IMPLICIT, RunningRouter, configuration, eventually, running_router
from tests.support.mpps_peers import Scanner

ONE, TWO = instances(2)
NAME = "AE:CT9"


@asynccontextmanager
async def house(
    folder: Path, text: str = ROUTE, **archive: Any
) -> AsyncIterator[tuple[RunningRouter, CommittingArchive]]:
    async with trio.open_nursery() as nursery:
        async with CommittingArchive(title="PACS", nursery=nursery, **archive).serving() as pacs:
            async with running_router(configuration(folder, text, pacs=pacs.port)) as running:
                pacs.router = running.port
                yield running, pacs


@asynccontextmanager
async def stranger(running: RunningRouter, title: str = "CT9") -> AsyncIterator[Scanner]:
    connected = Scanner.connected(running.port, transfer_syntax=IMPLICIT, sop_class=STORAGE_COMMITMENT, calling=title)
    async with connected as scanner:
        yield scanner


async def ask(scanner: Scanner, *references: Reference, uid: str = UID) -> int:
    request = write_request(CommitmentRequest(transaction_uid=uid, references=references), IMPLICIT)
    await scanner.tell(n_action(), request)
    return (await scanner.hear()).status


async def hear_report(scanner: Scanner) -> dict[str, int]:
    """Take the report that comes on this association, and answer it."""
    with trio.fail_after(20):
        report = await scanner.hear()
    assert report.command.field == CommandField.N_EVENT_REPORT_RQ
    await scanner.tell(response_to(report.command, 0))
    said = read_report(report.data_set, IMPLICIT, report.command.event_type_id or 0)
    assert said.transaction_uid == UID
    return {uid: word.reason for uid, word in said.results.items()}


async def test_who_has_no_entry_hears_on_the_association_on_which_it_asked(tmp_path: Path) -> None:
    async with house(tmp_path) as (running, _), stranger(running) as scanner:
        assert await ask(scanner, ONE, TWO) == 0
        assert await hear_report(scanner) == {ONE.sop_instance_uid: COMMITTED, TWO.sop_instance_uid: COMMITTED}
        await running.until(NAME, delivered=1)


async def test_a_report_that_finds_the_association_gone_waits_for_the_next_one(tmp_path: Path) -> None:
    async with house(tmp_path, behaviour="is silent") as (running, pacs):
        async with stranger(running) as scanner:
            assert await ask(scanner, ONE) == 0

            async def is_asked() -> bool:
                return bool(pacs.asked)

            await eventually(is_asked)
        assert await pacs.report(pacs.asked[0]) == 0
        await running.until(NAME, waiting=1)
    async with house(tmp_path) as (running, _), stranger(running) as scanner:
        assert await hear_report(scanner) == {ONE.sop_instance_uid: COMMITTED}
        await running.until(NAME, delivered=1)


async def test_a_report_goes_to_nobody_of_another_title(tmp_path: Path) -> None:
    async with house(tmp_path) as (running, _):
        async with stranger(running, "MR1") as other, stranger(running) as scanner:
            assert await ask(scanner, ONE) == 0
            await hear_report(scanner)
            await running.until(NAME, delivered=1)
            assert await ask(other, TWO, uid="2.25.1") == 0
            with trio.fail_after(20):
                report = await other.hear()
            said = read_report(report.data_set, IMPLICIT, report.command.event_type_id or 0)
            assert said.transaction_uid == "2.25.1", "the first that it hears is its own"


async def test_who_may_not_ask_is_refused_with_or_without_an_entry(tmp_path: Path) -> None:
    only = '[commitment]\ncalling_ae = "MR*"\n' + ROUTE
    async with house(tmp_path, only) as (running, _), stranger(running) as scanner:
        assert await ask(scanner, ONE) == 0x0124


async def test_a_reload_leaves_who_has_no_entry_what_it_is_owed(tmp_path: Path) -> None:
    async with house(tmp_path, behaviour="is silent") as (running, pacs), stranger(running) as scanner:
        assert await ask(scanner, ONE) == 0

        async def is_asked() -> bool:
            return bool(pacs.asked)

        await eventually(is_asked)
        running.router.reload(running.config)
        assert await pacs.report(pacs.asked[0]) == 0
        assert await hear_report(scanner) == {ONE.sop_instance_uid: COMMITTED}


async def test_nothing_is_left_of_those_who_have_gone(tmp_path: Path) -> None:
    async with house(tmp_path) as (running, _):
        dispatcher = running.router._dispatcher
        for number in range(5):
            async with stranger(running, f"CT{number}"):
                pass

        async def is_forgotten() -> bool:
            return set(dispatcher._destinations) == {"pacs"} and not dispatcher._leaving

        await eventually(is_forgotten)
