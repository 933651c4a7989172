"""What waits for a peer that nobody can call goes out when the peer comes, on the peer's own association."""

from pathlib import Path

import attrs
import trio

from pdu import AssociateAC
from router.dimse import Command, CommandField, encode
from tests.support.harness import CT, IMPLICIT, Modality, configuration, p_data, running_router
from tests.support.reverse import COMMITMENT, MODALITY, answer_report, hear_report, store_report


async def test_a_report_for_a_peer_without_an_address_waits_until_the_peer_comes(tmp_path: Path) -> None:
    async with running_router(configuration(tmp_path, MODALITY)) as router:
        await store_report(router, "modality")
        await router.until("modality", waiting=1)
        async with Modality.connected(router.port) as modality:
            assert isinstance(await modality.associate((COMMITMENT, (IMPLICIT,))), AssociateAC)
            report = await hear_report(modality)
            assert (await router.totals("modality"))["delivered"] == 0
            await answer_report(modality, report)
            await router.until("modality", delivered=1, waiting=0, in_flight=0)


async def test_a_report_reaches_a_peer_whose_association_is_open_already(tmp_path: Path) -> None:
    async with running_router(configuration(tmp_path, MODALITY)) as router, Modality.connected(router.port) as modality:
        await modality.associate((COMMITMENT, (IMPLICIT,)))
        for _ in range(3):
            await store_report(router, "modality")
            await answer_report(modality, await hear_report(modality))
        await router.until("modality", delivered=3, waiting=0)


async def test_a_peer_that_leaves_without_an_answer_gets_the_report_again(tmp_path: Path) -> None:
    content = MODALITY + 'retry = { first = "20ms", max = "100ms" }'
    async with running_router(configuration(tmp_path, content)) as router:
        await store_report(router, "modality")
        async with Modality.connected(router.port) as modality:
            await modality.associate((COMMITMENT, (IMPLICIT,)))
            await hear_report(modality)
        await router.until("modality", delivered=0, waiting=1, in_flight=0)
        async with Modality.connected(router.port) as modality:
            await modality.associate((COMMITMENT, (IMPLICIT,)))
            await answer_report(modality, await hear_report(modality))
            await router.until("modality", delivered=1)


async def test_nobody_else_and_no_other_context_gets_it(tmp_path: Path) -> None:
    async with running_router(configuration(tmp_path, MODALITY)) as router:
        await store_report(router, "modality")
        async with Modality.connected(router.port) as stranger, Modality.connected(router.port) as modality:
            await stranger.associate((COMMITMENT, (IMPLICIT,)), calling="STRANGER")
            await modality.associate((CT, (IMPLICIT,)))
            for one in (stranger, modality):
                with trio.move_on_after(0.3) as patience:
                    await one.stream.receive_some()
                assert patience.cancelled_caught
        assert (await router.totals("modality"))["waiting"] == 1


async def test_an_answer_to_something_else_is_not_taken_for_the_reports(tmp_path: Path) -> None:
    async with running_router(configuration(tmp_path, MODALITY)) as router, Modality.connected(router.port) as modality:
        await store_report(router, "modality")
        await modality.associate((COMMITMENT, (IMPLICIT,)))
        report = await hear_report(modality)
        await answer_report(modality, attrs.evolve(report, message_id=4711))
        assert (await router.totals("modality"))["delivered"] == 0
        await answer_report(modality, report)
        await router.until("modality", delivered=1)


async def test_a_cancel_is_not_taken_for_the_response_to_the_report(tmp_path: Path) -> None:
    async with running_router(configuration(tmp_path, MODALITY)) as router, Modality.connected(router.port) as modality:
        await store_report(router, "modality")
        await modality.associate((COMMITMENT, (IMPLICIT,)))
        report = await hear_report(modality)
        cancel = Command(field=CommandField.C_CANCEL_RQ, message_id_being_responded_to=report.message_id)
        await modality.say(p_data(1, encode(cancel), command=True))
        await answer_report(modality, report)
        await router.until("modality", delivered=1)
