"""Associations that we open, towards peers that answer late, wrongly, or not at all."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import attrs
import pytest
import trio

from pdu import Abort
from router.association import Aborted, NoResponse, Requestor, plan_contexts
from router.association.transport import Transport
from router.config import Timeouts
from router.dimse import Command, CommandField, MessageBegin, encode, response_to
from tests.support.harness import (
    IMPLICIT,
    PATIENCE,
    Archive,
    Modality,
    configuration,
    data_set,
    eventually,
    p_data,
    running_router,
    store_rq,
)
from tests.support.requestor import PAIR, remote_at
from tests.support.reverse import COMMITMENT, MODALITY, hear_report, store_report

UNANSWERED = "1.2.9"


@attrs.define
class LosesOneResponse(Archive):
    """Answers every request but the one for UNANSWERED."""

    async def _answer(self, transport: Transport, begin: MessageBegin, data: bytes) -> None:
        if begin.command.sop_instance_uid != UNANSWERED:
            await super()._answer(transport, begin, data)


@attrs.define
class Answers(Archive):
    """Answers with what `response` makes of the right response."""

    response: Callable[[Command], Command] = lambda right: right

    async def _answer(self, transport: Transport, begin: MessageBegin, data: bytes) -> None:
        await self._respond(transport, begin.context_id, self.response(response_to(begin.command, 0)))


async def test_a_request_that_is_never_answered_times_out_while_others_are_answered() -> None:
    others = 0
    async with LosesOneResponse(window=4).serving() as archive:
        opening = Requestor.open(remote_at(archive.port, window=4), plan_contexts([PAIR]), Timeouts(dimse=0.3))
        async with await opening as association:
            assert association.window == 4
            await association.send(association.contexts[PAIR], without_data_set(UNANSWERED))
            with trio.fail_after(PATIENCE), pytest.raises(NoResponse, match="no response to C-STORE-RQ within"):
                while True:
                    await association.send(association.contexts[PAIR], without_data_set(f"1.3.{others}"))
                    await association.receive()
                    others += 1
    assert others > 1


def without_data_set(uid: str) -> Command:
    """A C-STORE-RQ without a data set, which the archives here do not miss."""
    return attrs.evolve(store_rq(uid), data_set_type=0x0101)


async def test_a_response_that_came_in_time_is_read_however_late_the_caller_asks() -> None:
    async with Archive().serving() as archive:
        opening = Requestor.open(remote_at(archive.port), plan_contexts([PAIR]), Timeouts(dimse=0.2))
        async with await opening as association:
            await association.send(association.contexts[PAIR], without_data_set("1.2"))
            await archive.received(1)
            await trio.sleep(0.4)  # longer than the deadline
            assert (await association.receive()).status == 0


@pytest.mark.parametrize(
    "response",
    [
        lambda right: attrs.evolve(right, field=CommandField.N_SET_RSP),
        lambda right: attrs.evolve(right, affected_sop_instance_uid="1.2.999"),
        lambda right: attrs.evolve(right, affected_sop_class_uid="1.2.998"),
        lambda right: attrs.evolve(right, message_id_being_responded_to=999),
    ],
    ids=["kind", "instance", "class", "message id"],
)
async def test_a_success_that_does_not_fit_the_request_delivers_nothing(
    response: Callable[[Command], Command], tmp_path: Path
) -> None:
    async with (
        Answers(response=response).serving() as archive,
        running_router(configuration(tmp_path, pacs=archive.port)) as router,
        Modality.connected(router.port) as modality,
    ):
        await modality.associate()
        assert (await modality.store(store_rq("1.2"), data_set("1.2"))).status == 0

        async def tried_thrice() -> bool:
            return archive.associations >= 3

        await eventually(tried_thrice)
        assert (await router.totals("pacs"))["delivered"] == 0


async def test_a_c_cancel_on_our_association_is_not_a_response_and_not_answered() -> None:
    """The peer's C-CANCEL-RQ comes before the response, and has a data set, which it must not."""

    @attrs.define
    class Cancels(Archive):
        async def _answer(self, transport: Transport, begin: MessageBegin, data: bytes) -> None:
            if begin.command.is_response:
                raise AssertionError("a C-CANCEL-RQ was answered")
            cancel = Command(
                field=CommandField.C_CANCEL_RQ,
                message_id_being_responded_to=begin.command.message_id,
                data_set_type=1,
            )
            await self._respond(transport, begin.context_id, cancel)
            layer = transport.upper_layer
            await transport.send(layer.send_data(begin.context_id, b"12", command=False, last=True))
            await super()._answer(transport, begin, data)

    async with Cancels(lambda command: 0xC001).serving() as archive:
        opening = Requestor.open(remote_at(archive.port), plan_contexts([PAIR]), Timeouts())
        async with await opening as association:
            for uid in ("1.2", "1.3"):
                response = await association.request(association.contexts[PAIR], without_data_set(uid))
                assert (response.status, response.command.sop_instance_uid) == (0xC001, uid)


async def test_a_response_of_another_kind_aborts_and_says_why() -> None:
    def other_kind(right: Command) -> Command:
        return attrs.evolve(right, field=CommandField.C_ECHO_RSP)

    async with Answers(response=other_kind).serving() as archive:
        opening = Requestor.open(remote_at(archive.port), plan_contexts([PAIR]), Timeouts())
        with pytest.raises(Aborted, match="C-ECHO-RSP in response to C-STORE-RQ"):
            async with await opening as association:
                await association.request(association.contexts[PAIR], without_data_set("1.2"))


# On an association that the peer has opened


async def test_a_c_cancel_is_no_response_to_a_report_either(tmp_path: Path) -> None:
    async with running_router(configuration(tmp_path, MODALITY)) as router, Modality.connected(router.port) as modality:
        await store_report(router, "modality")
        await modality.associate((COMMITMENT, (IMPLICIT,)))
        report = await hear_report(modality)
        cancel = Command(field=CommandField.C_CANCEL_RQ, message_id_being_responded_to=report.message_id)
        await modality.say(p_data(1, encode(cancel), command=True))
        await modality.say(p_data(1, encode(response_to(report, 0)), command=True))
        await router.until("modality", delivered=1)


@pytest.mark.parametrize("changes", [{"field": CommandField.C_STORE_RSP}, {"affected_sop_instance_uid": "1.2.999"}])
async def test_a_response_that_does_not_fit_a_report_aborts_the_association(
    changes: dict[str, Any], tmp_path: Path
) -> None:
    async with running_router(configuration(tmp_path, MODALITY)) as router, Modality.connected(router.port) as modality:
        await store_report(router, "modality")
        await modality.associate((COMMITMENT, (IMPLICIT,)))
        report = await hear_report(modality)
        await modality.say(p_data(1, encode(attrs.evolve(response_to(report, 0), **changes)), command=True))
        assert isinstance(await modality.hear(), Abort)
        await router.until("modality", delivered=0, waiting=1)
