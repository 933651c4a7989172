"""The asynchronous operations window (PS3.7 D.3.3.3): several requests outstanding on one association, both roles."""

from pathlib import Path

import attrs
import pytest

from pdu import AsynchronousOperationsWindow
from router.dimse import Command, encode
from tests.support.configurations import peer_with_window
from tests.support.harness import (
    Archive,
    Modality,
    configuration,
    data_set,
    p_data,
    running_router,
    store_rq,
)
from tests.support.reverse import associate_with_window

UIDS = [f"1.2.9.{number}" for number in range(1, 9)]


@pytest.mark.parametrize(("proposed", "granted"), [(1, 1), (4, 4), (1000, 5), (0, 5)])
async def test_as_acceptor_we_grant_what_is_proposed_up_to_our_limit(
    proposed: int, granted: int, tmp_path: Path
) -> None:
    async with (
        running_router(configuration(tmp_path, "[limits]\nwindow = 5")) as router,
        Modality.connected(router.port) as modality,
    ):
        accept = await associate_with_window(modality, AsynchronousOperationsWindow(invoked=proposed, performed=3))
        answer = accept.user_information.asynchronous_operations_window
        assert answer == AsynchronousOperationsWindow(invoked=granted, performed=1)


async def test_where_none_is_proposed_none_is_answered(tmp_path: Path) -> None:
    async with running_router(configuration(tmp_path)) as router, Modality.connected(router.port) as modality:
        accept = await associate_with_window(modality, None)
        assert accept.user_information.asynchronous_operations_window is None


async def test_as_acceptor_all_requests_of_a_window_are_answered_and_kept(tmp_path: Path) -> None:
    async with (
        Archive().serving() as archive,
        running_router(configuration(tmp_path, pacs=archive.port)) as router,
        Modality.connected(router.port) as modality,
    ):
        await associate_with_window(modality, AsynchronousOperationsWindow(invoked=4, performed=1))
        for number, uid in enumerate(UIDS, 1):
            await modality.say(p_data(1, encode(attrs.evolve(store_rq(uid), message_id=number)), command=True))
            await modality.say(p_data(1, data_set(uid), command=False))
        answers = [await modality.response() for _ in UIDS]
        assert {answer.message_id_being_responded_to for answer in answers} == set(range(1, len(UIDS) + 1))
        assert {answer.status for answer in answers} == {0}
        stored = await archive.received(len(UIDS))
        assert {one.command.affected_sop_instance_uid for one in stored} == set(UIDS)


async def test_as_requestor_we_send_on_before_the_answers_and_take_them_in_any_order(tmp_path: Path) -> None:
    async with (
        Archive(window=4, gathers=4).serving() as archive,
        running_router(configuration(tmp_path, peer_with_window(archive.port, 16))) as router,
        Modality.connected(router.port) as modality,
    ):
        await modality.associate()
        for uid in UIDS:
            assert (await modality.store(store_rq(uid), data_set(uid))).status == 0
        await router.until("pacs", delivered=len(UIDS), waiting=0, in_flight=0)
        assert archive.associations == 1


async def test_a_peer_that_grants_no_window_gets_one_request_at_a_time(tmp_path: Path) -> None:
    most = 0
    async with (
        Archive(window=0).serving() as archive,
        running_router(configuration(tmp_path, peer_with_window(archive.port, 16))) as router,
        Modality.connected(router.port) as modality,
    ):
        await modality.associate()
        for uid in UIDS:
            assert (await modality.store(store_rq(uid), data_set(uid))).status == 0
            most = max(most, (await router.totals("pacs"))["in_flight"])
        await router.until("pacs", delivered=len(UIDS))
        assert most <= 1


async def test_when_the_association_breaks_all_that_was_under_way_is_sent_again(tmp_path: Path) -> None:
    def script(command: Command) -> int | str:
        if archive.associations > 1:
            archive.gathers = 1
        elif command.sop_instance_uid == UIDS[3]:
            return "abort"
        return 0

    async with (
        Archive(script, window=8, gathers=8).serving() as archive,
        running_router(configuration(tmp_path, peer_with_window(archive.port, 8))) as router,
        Modality.connected(router.port) as modality,
    ):
        await modality.associate()
        for uid in UIDS:
            assert (await modality.store(store_rq(uid), data_set(uid))).status == 0
        await router.until("pacs", delivered=len(UIDS), waiting=0, in_flight=0)
        assert archive.associations >= 2
