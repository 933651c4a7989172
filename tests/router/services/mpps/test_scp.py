"""The hub as a modality and its RIS see it: answers, order, what happens to what a RIS does not like."""

from pathlib import Path

import pytest
import trio
from pydicom.dataset import Dataset

from router.dicom.uids import EXPLICIT_BE, EXPLICIT_LE, IMPLICIT_LE
from router.dimse import Status
from router.spool import Selection
from tests.support.harness import RunningRouter, eventually, running_router
from tests.support.mpps import WHOLE, perform
from tests.support.mpps_messages import UID, completed, encoded, in_progress, progress
from tests.support.mpps_peers import RIS, Scanner, hub


async def held(router: RunningRouter) -> list[str]:
    rows = await router.spool.queue.list_deliveries(Selection())
    return [row.kind for row in rows if row.state.value == "held"]


@pytest.mark.parametrize("transfer_syntax", [IMPLICIT_LE, EXPLICIT_LE, EXPLICIT_BE])
async def test_a_step_is_answered_and_relayed_in_order_bit_for_bit(tmp_path: Path, transfer_syntax: str) -> None:
    async with RIS().serving() as one, RIS().serving() as two:
        async with running_router(hub(tmp_path, one=one.port, two=two.port)) as router:
            async with Scanner.connected(router.port, transfer_syntax=transfer_syntax) as scanner:
                await perform(scanner)
            await router.until("one", delivered=3)
            await router.until("two", delivered=3)

    for ris in (one, two):
        assert ris.messages() == WHOLE
        assert [message.data for message in ris.heard] == [
            encoded(data_set, transfer_syntax) for data_set in (in_progress(), progress("on the way"), completed())
        ]
        assert {message.transfer_syntax for message in ris.heard} == {transfer_syntax}


async def test_a_step_without_a_uid_gets_one_that_everybody_hears(tmp_path: Path) -> None:
    async with RIS().serving() as one, RIS().serving() as two:
        async with running_router(hub(tmp_path, one=one.port, two=two.port)) as router:
            async with Scanner.connected(router.port) as scanner:
                response = await scanner.create(None, in_progress())
                again = await scanner.create(None, in_progress())
                other = await scanner.create(None, in_progress("2"))
                uid = response.command.affected_sop_instance_uid or ""
                assert (await scanner.set(uid, completed())).status == Status.SUCCESS
            await one.until(uid, "COMPLETED")
            await two.until(uid, "COMPLETED")
    assert uid.startswith("2.25.")
    assert again.command.affected_sop_instance_uid == uid
    assert other.command.affected_sop_instance_uid != uid


async def test_what_the_standard_refuses_is_refused_with_its_status(tmp_path: Path) -> None:
    other = in_progress()
    other.PerformedProcedureStepStatus = "COMPLETED"
    async with RIS().serving() as ris, running_router(hub(tmp_path, ris=ris.port)) as router:
        async with Scanner.connected(router.port) as scanner:
            unknown = await scanner.set(UID, completed())
            not_begun = await scanner.create(UID, other)
            await perform(scanner)
            duplicate = await scanner.create(UID, in_progress("2"))
            late = await scanner.set(UID, progress("too late"))
        await router.until("ris", delivered=3)

    assert unknown.status == Status.NO_SUCH_SOP_INSTANCE
    assert not_begun.status == Status.INVALID_ATTRIBUTE_VALUE
    assert not_begun.command.attribute_identifier_list == (0x00400252,)
    assert b"COMPLETED" in not_begun.data_set
    assert duplicate.status == Status.DUPLICATE_SOP_INSTANCE
    assert late.status == Status.PROCESSING_FAILURE
    assert late.command.error_id == 0xA710
    assert late.command.error_comment == "Performed Procedure Step Object may no longer be updated"
    assert ris.messages() == WHOLE


async def test_a_repeated_message_is_answered_again_and_not_passed_on(tmp_path: Path) -> None:
    async with RIS().serving() as ris, running_router(hub(tmp_path, ris=ris.port)) as router:
        async with Scanner.connected(router.port) as scanner:
            first = [await scanner.create(UID, in_progress()) for _ in range(2)]
            last = [await scanner.set(UID, completed()) for _ in range(2)]
        await router.until("ris", delivered=2)
    assert {response.status for response in first + last} == {Status.SUCCESS}
    assert len(ris.heard) == 2


async def test_repeated_messages_are_refused_where_the_configuration_says_so(tmp_path: Path) -> None:
    async with RIS().serving() as ris:
        config = hub(tmp_path, ris=ris.port, extra="[mpps]\nretransmissions = false")
        async with running_router(config) as router, Scanner.connected(router.port) as scanner:
            first = [(await scanner.create(UID, in_progress())).status for _ in range(2)]
            last = [(await scanner.set(UID, completed())).status for _ in range(2)]
    assert first == [Status.SUCCESS, Status.DUPLICATE_SOP_INSTANCE]
    assert last == [Status.SUCCESS, Status.PROCESSING_FAILURE]


async def test_strict_validation_refuses_what_lenient_validation_lets_pass(tmp_path: Path) -> None:
    poor, unfinished = in_progress(), Dataset()
    del poor.PerformedStationAETitle
    unfinished.PerformedProcedureStepStatus = "COMPLETED"
    statuses = {}
    for validation in ("lenient", "strict"):
        async with RIS().serving() as ris:
            (tmp_path / validation).mkdir()
            route = f'service = "mpps"\nto = ["ris"]\nvalidation = "{validation}"'
            async with running_router(hub(tmp_path / validation, route, ris=ris.port)) as router:
                async with Scanner.connected(router.port) as scanner:
                    responses = [
                        await scanner.create("1.2.3", poor),
                        await scanner.create(UID, in_progress()),
                        await scanner.set(UID, in_progress()),
                        await scanner.set(UID, unfinished),
                    ]
        statuses[validation] = [response.status for response in responses]
    assert statuses["lenient"] == [Status.SUCCESS] * 4
    assert statuses["strict"] == [
        Status.MISSING_ATTRIBUTE,
        Status.SUCCESS,
        Status.NO_SUCH_ATTRIBUTE,
        Status.MISSING_ATTRIBUTE_VALUE,
    ]


async def test_a_step_that_no_route_takes_is_refused(tmp_path: Path) -> None:
    async with RIS().serving() as ris:
        config = hub(tmp_path, 'service = "mpps"\nto = ["ris"]\nwhen = { Modality = "MR" }', ris=ris.port)
        async with running_router(config) as router, Scanner.connected(router.port) as scanner:
            assert (await scanner.create(UID, in_progress())).status == Status.PROCESSING_FAILURE
            assert (await scanner.create(UID, in_progress(modality="MR"))).status == Status.SUCCESS


async def test_a_step_keeps_its_destinations_when_the_table_changes(tmp_path: Path) -> None:
    async with RIS().serving() as one, RIS().serving() as two:
        config, changed = (
            hub(tmp_path, f'service = "mpps"\nto = ["{name}"]', one=one.port, two=two.port) for name in ("one", "two")
        )
        async with running_router(config) as router, Scanner.connected(router.port) as scanner:
            await scanner.create(UID, in_progress())
            router.router.reload(changed)
            await scanner.set(UID, completed())
            await one.until(UID, "COMPLETED")
    assert two.heard == []


async def test_a_data_set_that_is_none_is_refused(tmp_path: Path) -> None:
    async with RIS().serving() as ris, running_router(hub(tmp_path, ris=ris.port)) as router:
        async with Scanner.connected(router.port) as scanner:
            command = Scanner.create_command(UID)
            await scanner.tell(command, encoded(in_progress())[:-3])
            assert (await scanner.hear()).status == Status.PROCESSING_FAILURE


# What a RIS does


async def test_a_ris_that_is_down_gets_its_steps_in_order_when_it_is_back(tmp_path: Path) -> None:
    async with RIS().serving() as down:
        port = down.port
    async with RIS().serving() as up, running_router(hub(tmp_path, up=up.port, down=port)) as router:
        async with Scanner.connected(router.port) as scanner:
            for number in range(5):
                await perform(scanner, f"{UID}.{number}")
        await router.until("up", delivered=15)
        async with RIS(port=port).serving() as back:
            await router.until("down", delivered=15)
    for number in range(5):
        assert back.messages(f"{UID}.{number}") == WHOLE
        assert up.messages(f"{UID}.{number}") == WHOLE


@pytest.mark.parametrize("fault", ["abort", "abort after", "close", Status.RESOURCE_LIMITATION])
@pytest.mark.parametrize("position", range(3))
async def test_what_fails_for_the_moment_is_sent_again_in_order(tmp_path: Path, fault: str, position: int) -> None:
    async with RIS().serving() as ris:
        ris.faults.extend([None] * position + [fault])
        async with running_router(hub(tmp_path, ris=ris.port)) as router:
            async with Scanner.connected(router.port) as scanner:
                await perform(scanner)
            await router.until("ris", delivered=3)
    kinds = [message.kind for message in ris.heard]
    assert kinds == sorted(kinds)
    assert ris.steps == {UID: "COMPLETED"}
    assert len(ris.heard) == 4


async def test_a_ris_that_has_forgotten_a_step_gets_it_from_its_beginning(tmp_path: Path) -> None:
    async with RIS().serving() as ris, running_router(hub(tmp_path, ris=ris.port)) as router:
        async with Scanner.connected(router.port) as scanner:
            await scanner.create(UID, in_progress())
            await scanner.set(UID, progress("on the way"))
            await router.until("ris", delivered=2)
            ris.steps.clear()
            ris.heard.clear()
            await scanner.set(UID, completed())
        await ris.until(UID, "COMPLETED")
    assert ris.messages() == [
        ("N-SET-RQ", "COMPLETED", 0x0112),
        ("N-CREATE-RQ", "IN PROGRESS", 0),
        ("N-SET-RQ", "", 0),
        ("N-SET-RQ", "COMPLETED", 0),
    ]
    assert ris.heard[1].data == encoded(in_progress())
    assert b"on the way" in ris.heard[2].data


async def test_a_refused_message_holds_its_step_at_that_ris_only(tmp_path: Path) -> None:
    async with RIS().serving() as picky, RIS().serving() as other:
        picky.judged = lambda heard: 0x0120 if heard.uid == UID and heard.kind == "N-CREATE-RQ" else None
        async with running_router(hub(tmp_path, picky=picky.port, other=other.port)) as router:
            async with Scanner.connected(router.port) as scanner:
                await perform(scanner)
                await perform(scanner, "1.2.3")
            await router.until("picky", delivered=3, held=1, waiting=2)
            await router.until("other", delivered=6)
            assert await held(router) == ["N-CREATE-RQ"]
    assert picky.steps == {"1.2.3": "COMPLETED"}
    assert other.steps == {UID: "COMPLETED", "1.2.3": "COMPLETED"}


async def test_a_step_survives_a_restart_in_the_middle(tmp_path: Path) -> None:
    async with RIS().serving() as ris:
        config = hub(tmp_path, ris=ris.port)
        async with running_router(config) as router, Scanner.connected(router.port) as scanner:
            await scanner.create(UID, in_progress())
        async with running_router(config) as router, Scanner.connected(router.port) as scanner:
            assert (await scanner.create(UID, in_progress("2"))).status == Status.DUPLICATE_SOP_INSTANCE
            assert (await scanner.set(UID, completed())).status == Status.SUCCESS
            await ris.until(UID, "COMPLETED")
    assert ris.messages() == [("N-CREATE-RQ", "IN PROGRESS", 0), ("N-SET-RQ", "COMPLETED", 0)]


async def test_the_last_n_set_to_a_ris_that_says_that_the_step_has_ended_is_delivered(tmp_path: Path) -> None:
    async with RIS().serving() as ris:
        config = hub(tmp_path, ris=ris.port)
        async with running_router(config) as router, Scanner.connected(router.port) as scanner:
            await scanner.create(UID, in_progress())
            await ris.until(UID, "IN PROGRESS")
            ris.steps[UID] = "COMPLETED"
            await scanner.set(UID, completed())
            await router.until("ris", delivered=2)


async def test_an_unexplained_failure_of_the_last_n_set_is_held_at_first_and_delivered_when_it_may_be_a_repeat(
    tmp_path: Path,
) -> None:
    async with RIS().serving() as ris, running_router(hub(tmp_path, ris=ris.port)) as router:
        ris.says_why = False
        async with Scanner.connected(router.port) as scanner:
            await scanner.create(UID, in_progress())
            await scanner.create("1.2.3", in_progress("2"))
            await router.until("ris", delivered=2)
            ris.faults.extend([Status.PROCESSING_FAILURE, "abort after"])
            await scanner.set(UID, completed())
            await router.until("ris", held=1)
            await scanner.set("1.2.3", completed())
            await router.until("ris", delivered=3, held=1)
    assert ris.messages("1.2.3")[1:] == [("N-SET-RQ", "COMPLETED", "abort after"), ("N-SET-RQ", "COMPLETED", 0x0110)]


async def test_a_failure_of_an_n_set_that_ends_nothing_is_held(tmp_path: Path) -> None:
    async with RIS().serving() as ris, running_router(hub(tmp_path, ris=ris.port)) as router:
        ris.faults.extend([None, Status.PROCESSING_FAILURE])
        async with Scanner.connected(router.port) as scanner:
            await perform(scanner)
        await router.until("ris", delivered=1, held=1, waiting=1)


async def test_what_is_replayed_goes_in_the_transfer_syntax_of_what_needs_it(tmp_path: Path) -> None:
    async with RIS(prefers=IMPLICIT_LE).serving() as ris, running_router(hub(tmp_path, ris=ris.port)) as router:
        async with Scanner.connected(router.port, transfer_syntax=EXPLICIT_BE) as scanner:
            await scanner.create(UID, in_progress())
            await router.until("ris", delivered=1)
        ris.steps.clear()
        async with Scanner.connected(router.port, transfer_syntax=IMPLICIT_LE) as scanner:
            await scanner.set(UID, completed())
            await ris.until(UID, "COMPLETED")
    assert [(one.kind, one.transfer_syntax) for one in ris.heard[2:]] == [
        ("N-CREATE-RQ", IMPLICIT_LE),
        ("N-SET-RQ", IMPLICIT_LE),
    ]
    assert ris.heard[2].data == encoded(in_progress(), IMPLICIT_LE)


async def test_a_ris_that_refuses_what_it_has_forgotten_gets_no_more_of_the_step(tmp_path: Path) -> None:
    async with RIS().serving() as ris, running_router(hub(tmp_path, ris=ris.port)) as router:
        async with Scanner.connected(router.port) as scanner:
            await scanner.create(UID, in_progress())
            await router.until("ris", delivered=1)
            ris.steps.clear()
            ris.faults.extend([None, 0x0106])
            await scanner.set(UID, completed())
            await router.until("ris", delivered=1, held=1)
            (row,) = [row for row in await router.spool.queue.list_deliveries(Selection()) if row.kind == "N-SET-RQ"]
    assert row.reason == "its N-CREATE-RQ, sent again: 0106H invalid attribute value"


async def test_a_step_without_a_route_is_held_where_the_configuration_says_so(tmp_path: Path) -> None:
    async with RIS().serving() as ris:
        route = 'service = "mpps"\nto = ["ris"]\nwhen = { Modality = "MR" }'
        async with running_router(hub(tmp_path, route, top='unrouted = "hold"', ris=ris.port)) as router:
            async with Scanner.connected(router.port) as scanner:
                await perform(scanner)
            await router.until("", held=3)
    assert ris.heard == []


async def test_only_those_who_may_report_steps_can(tmp_path: Path) -> None:
    async with RIS().serving() as ris:
        config = hub(tmp_path, ris=ris.port, extra='[mpps]\ncalling_ae = "CT*"')
        async with running_router(config) as router:
            async with Scanner.connected(router.port, calling="US1") as scanner:
                assert (await scanner.create(UID, in_progress())).status == Status.NOT_AUTHORIZED
            async with Scanner.connected(router.port, calling="CT1") as scanner:
                assert (await scanner.create(UID, in_progress())).status == Status.SUCCESS


async def test_many_at_once_about_one_step_leave_one_step(tmp_path: Path) -> None:
    async with RIS().serving() as ris, running_router(hub(tmp_path, ris=ris.port)) as router:
        statuses: list[int] = []

        async def one(number: int) -> None:
            async with Scanner.connected(router.port) as scanner:
                statuses.append((await scanner.create(UID, in_progress(str(number)))).status)

        async with trio.open_nursery() as nursery:
            for number in range(8):
                nursery.start_soon(one, number)
        await router.until("ris", delivered=1)

        async def quiet() -> bool:
            return len(ris.heard) == 1

        await eventually(quiet)
    assert sorted(statuses) == [0] + [Status.DUPLICATE_SOP_INSTANCE] * 7
