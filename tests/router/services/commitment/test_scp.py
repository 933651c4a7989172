"""Storage commitment of a whole router: what is answered, what is asked, when, and what survives a restart."""

from functools import partial
from pathlib import Path
from typing import Any

import pytest
import trio

from router.services.commitment.attributes import STORAGE_COMMITMENT, CommitmentRequest, write_request
from router.services.commitment.transaction import COMMITTED
from router.spool import QueueAction, Selection
from tests.support.commitment import ROUTE, STORAGE, commitment_router, store, until_asked
from tests.support.commitment_peers import UID, CommittingArchive, ask, instances, invoke, n_action
from tests.support.harness import (
    CT,
    IMPLICIT,
    eventually,
)

ONE, TWO = instances(2)


@pytest.mark.parametrize(
    ("changes", "status"),
    [
        ({"requested_sop_class_uid": CT}, 0x0118),
        ({"requested_sop_instance_uid": "1.2.3"}, 0x0112),
        ({"requested_sop_instance_uid": "1.2.840.10008.5.1.1.17"}, 0x0119),
        ({"action_type_id": 2}, 0x0123),
    ],
)
async def test_a_request_for_something_else_is_refused(tmp_path: Path, changes: dict[str, Any], status: int) -> None:
    async with commitment_router(tmp_path) as (running, _, _):
        request = write_request(CommitmentRequest(transaction_uid=UID, references=(ONE,)), IMPLICIT)
        answer = await invoke(running.port, n_action(**changes), request, calling="MODALITY")
        assert answer.status == status


async def test_a_request_without_references_is_refused(tmp_path: Path) -> None:
    async with commitment_router(tmp_path) as (running, _, _):
        assert await ask(running.port, ()) == 0x0121


async def test_who_is_no_peer_or_not_allowed_is_refused(tmp_path: Path) -> None:
    async with commitment_router(tmp_path, '[commitment]\ncalling_ae = "M*"\n' + ROUTE) as (running, _, _):
        assert await ask(running.port, (ONE,), calling="NOBODY") == 0x0124
        assert await ask(running.port, (ONE,), calling="PACS") == 0x0124


async def test_a_retransmission_is_answered_and_makes_no_new_work(tmp_path: Path) -> None:
    async with commitment_router(tmp_path, behaviour="is silent") as (running, pacs, _):
        assert await ask(running.port, (ONE, TWO)) == 0
        await until_asked(pacs)
        assert await ask(running.port, (TWO, ONE)) == 0
        assert await ask(running.port, (ONE,)) == 0x0131
        assert len(pacs.asked) == 1


async def test_who_asks_again_after_the_report_gets_the_same_report_again(tmp_path: Path) -> None:
    async with commitment_router(tmp_path, misses=frozenset({ONE.sop_instance_uid})) as (running, pacs, modality):
        await ask(running.port, (ONE, TWO))
        await modality.reports()
        pacs.misses = frozenset()

        async def finished() -> bool:
            return (await running.totals("modality")).get("delivered") == 1

        await eventually(finished)
        assert await ask(running.port, (ONE, TWO)) == 0
        first, second = await modality.reports(2)
        assert first.data_set == second.data_set
        assert len(pacs.asked) == 1


async def test_the_archive_is_asked_under_a_transaction_uid_of_our_own(tmp_path: Path) -> None:
    async with commitment_router(tmp_path) as (running, pacs, modality):
        await ask(running.port, (ONE, TWO))
        request = await until_asked(pacs)
        assert request.transaction_uid != UID
        assert request.references == (ONE, TWO)
        (heard,) = await modality.reports()
        assert (heard.transaction_uid, heard.event_type) == (UID, 1)
        assert modality.roles_offered == [(True, True)]
        assert pacs.answers == [0]


async def test_the_archive_is_asked_only_when_it_has_all_that_it_is_owed(tmp_path: Path) -> None:
    async with commitment_router(tmp_path, ROUTE + STORAGE, full=True) as (running, pacs, modality):
        await store(running.port, ONE, TWO)
        await ask(running.port, (ONE, TWO))
        await running.until("pacs", waiting=2)
        assert not pacs.asked
        pacs.full = False
        await until_asked(pacs)
        assert len(pacs.stored) == 2
        (heard,) = await modality.reports()
        assert heard.event_type == 1


async def test_what_a_person_holds_is_not_waited_for(tmp_path: Path) -> None:
    missing = frozenset({TWO.sop_instance_uid})
    async with commitment_router(tmp_path, ROUTE + STORAGE, full=True, misses=missing) as (running, pacs, modality):
        await store(running.port, ONE, TWO)
        await running.spool.queue.change(Selection(sop_instance_uid=TWO.sop_instance_uid), QueueAction.HOLD)
        running.router._dispatcher.rescan()
        pacs.full = False
        await ask(running.port, (ONE, TWO))
        (heard,) = await modality.reports()
        assert heard.failures == {TWO.sop_instance_uid: 0x0112}


async def test_instances_that_come_after_the_request_are_waited_for(tmp_path: Path) -> None:
    async with commitment_router(tmp_path, ROUTE.replace('grace = "0s"', 'grace = "15s"') + STORAGE) as (
        running,
        pacs,
        modality,
    ):
        await ask(running.port, (ONE, TWO))
        await store(running.port, ONE)
        assert not pacs.asked
        await store(running.port, TWO)
        await until_asked(pacs)
        assert len(pacs.stored) == 2
        (heard,) = await modality.reports()
        assert heard.event_type == 1


async def test_without_a_route_those_promise_who_got_the_instances(tmp_path: Path) -> None:
    async with commitment_router(tmp_path, '[commitment]\ngrace = "0s"\n' + STORAGE) as (running, pacs, modality):
        await store(running.port, ONE)
        await ask(running.port, (ONE, TWO))
        (heard,) = await modality.reports()
        assert heard.event_type == 1
        assert (await until_asked(pacs)).references == (ONE, TWO)


async def test_what_nobody_got_and_no_route_is_about_fails_at_once(tmp_path: Path) -> None:
    async with commitment_router(tmp_path, '[commitment]\ngrace = "0s"\n' + STORAGE) as (running, pacs, modality):
        await ask(running.port, (ONE,))
        (heard,) = await modality.reports()
        assert heard.failures == {ONE.sop_instance_uid: 0x0112}
        assert not pacs.asked


async def test_a_report_of_another_ae_is_not_believed(tmp_path: Path) -> None:
    async with commitment_router(tmp_path, behaviour="is silent") as (running, pacs, modality):
        await ask(running.port, (ONE,))
        request = await until_asked(pacs)
        assert await pacs.report(request, calling="EVIL") == 0x0124
        assert not modality.heard
        assert await pacs.report(request) == 0
        (heard,) = await modality.reports()
        assert heard.event_type == 1


async def test_a_report_on_a_transaction_that_nobody_knows_is_refused(tmp_path: Path) -> None:
    async with commitment_router(tmp_path) as (_, pacs, _):
        stray = CommitmentRequest(transaction_uid="2.25.404", references=(ONE,))
        assert await pacs.report(stray) == 0x0115


async def test_a_late_report_is_taken_and_changes_nothing(tmp_path: Path) -> None:
    short = ROUTE.replace('"10s"', '"200ms"')
    async with commitment_router(tmp_path, short, behaviour="is silent") as (running, pacs, modality):
        await ask(running.port, (ONE,))
        (heard,) = await modality.reports()
        assert heard.failures == {ONE.sop_instance_uid: 0x0110}
        assert await pacs.report(await until_asked(pacs)) == 0
        assert len(modality.heard) == 1


async def test_an_archive_that_refuses_the_request_says_why_the_instances_fail(tmp_path: Path) -> None:
    async with commitment_router(tmp_path, behaviour="refuses") as (running, _, modality):
        await ask(running.port, (ONE,))
        (heard,) = await modality.reports()
        assert heard.failures == {ONE.sop_instance_uid: 0x0112}


async def test_the_report_is_owed_until_it_is_answered_0000(tmp_path: Path) -> None:
    async with commitment_router(tmp_path) as (running, _, modality):
        modality.statuses = [0x0110, 0x0213]
        await ask(running.port, (ONE,))
        await modality.reports()
        await running.until("modality", delivered=1)


async def test_a_configured_retrieve_ae_title_stands_in_for_one_that_was_not_given(tmp_path: Path) -> None:
    async with trio.open_nursery() as nursery, CommittingArchive(title="VNA", nursery=nursery).serving() as vna:
        peer = f'[peers.vna]\nae_title = "VNA"\naddress = "127.0.0.1:{vna.port}"\nretrieve_ae = "READ_HERE"\n'
        async with commitment_router(tmp_path, peer + ROUTE.replace("pacs", "vna")) as (running, _, modality):
            await ask(running.port, (ONE,))
            (heard,) = await modality.reports()
            assert heard.words[ONE.sop_instance_uid].retrieve_ae == "READ_HERE"


async def test_a_report_to_a_modality_without_an_address_is_kept(tmp_path: Path) -> None:
    async with commitment_router(tmp_path, address=False) as (running, _, _):
        await ask(running.port, (ONE,))
        await running.until("modality", waiting=1)
        (row,) = await running.spool.queue.list_deliveries(Selection(destination="modality"))
        assert (row.kind, row.sop_instance_uid, row.sop_class_uid) == ("N-EVENT-REPORT-RQ", UID, STORAGE_COMMITMENT)


async def test_a_transaction_goes_on_after_a_restart_with_the_time_that_it_has_left(tmp_path: Path) -> None:
    async with commitment_router(tmp_path, behaviour="is silent") as (running, pacs, _):
        await ask(running.port, (ONE, TWO))
        request = await until_asked(pacs)
    async with commitment_router(tmp_path, misses=frozenset({TWO.sop_instance_uid})) as (running, pacs, modality):
        assert await pacs.report(request) == 0
        (heard,) = await modality.reports()
        assert heard.failures == {TWO.sop_instance_uid: 0x0112}
        assert heard.words[ONE.sop_instance_uid].reason == COMMITTED
        assert not pacs.asked


async def test_a_report_that_comes_with_an_answer_is_taken_although_more_is_to_be_sent(tmp_path: Path) -> None:
    async with commitment_router(tmp_path) as (running, pacs, modality), trio.open_nursery() as nursery:
        for number in range(30):
            uid = f"{UID}.{number}"
            nursery.start_soon(partial(ask, running.port, instances(2, uid), uid=uid))
        heard = await modality.reports(30)
        assert {one.transaction_uid for one in heard} == {f"{UID}.{number}" for number in range(30)}
        assert pacs.answers == [0] * 30
