"""An operation with several responses: pending ones, C-CANCEL-RQ, an abort, a peer that does not read (PS3.7 9.1.2)."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import attrs
import pytest
import trio
from pydicom import Dataset
from pynetdicom import AE
from pynetdicom.sop_class import Verification  # type: ignore[attr-defined]

from pdu import Abort, AssociateAC, AsynchronousOperationsWindow, SOPClassExtendedNegotiation
from router.association import operation
from router.dimse import DATA_SET, Command, CommandField, Response, Status, encode
from router.services import SERVICES, Replies, Request, Service
from router.spool import Incoming
from tests.router.association.echo_service import REPEATED_ECHO, RepeatedEcho
from tests.support.harness import (
    ABORT_BY_USER,
    IMPLICIT,
    Modality,
    RunningRouter,
    associate_rq,
    configuration,
    data_set,
    eventually,
    p_data,
    running_router,
    store_rq,
)

REGISTERED: tuple[type[Service], ...] = (RepeatedEcho, *SERVICES)
IDENTIFIER = data_set("1.2.3", REPEATED_ECHO)
PENDING, SUCCESS, CANCEL = Status.PENDING, Status.SUCCESS, Status.CANCEL


@pytest.fixture(autouse=True)
def _fresh(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(RepeatedEcho, "pause", 0.0)
    monkeypatch.setattr(RepeatedEcho, "sent", 0)
    monkeypatch.setattr(RepeatedEcho, "cancelled", 0)


@asynccontextmanager
async def router_of(tmp_path: Path, text: str = "") -> AsyncIterator[RunningRouter]:
    config = configuration(tmp_path, text, router='unrouted = "hold"')
    async with running_router(config, services=REGISTERED) as router:
        yield router


def find_rq(message_id: int = 1) -> Command:
    return Command(
        field=CommandField.C_FIND_RQ,
        message_id=message_id,
        affected_sop_class_uid=REPEATED_ECHO,
        priority=0,
        data_set_type=DATA_SET,
    )


def cancel_rq(message_id: int) -> bytes:
    command = Command(field=CommandField.C_CANCEL_RQ, message_id_being_responded_to=message_id)
    return p_data(1, encode(command), command=True)


async def associate(modality: Modality, window: int = 1, repeats: int = 3) -> AssociateAC:
    request = associate_rq((REPEATED_ECHO, (IMPLICIT,)))
    information = attrs.evolve(
        request.user_information,
        asynchronous_operations_window=AsynchronousOperationsWindow(invoked=window, performed=1),
        extended=(SOPClassExtendedNegotiation(sop_class_uid=REPEATED_ECHO, information=bytes([repeats])),),
    )
    await modality.say(attrs.evolve(request, user_information=information))
    accept = await modality.hear()
    assert isinstance(accept, AssociateAC)
    return accept


async def find(modality: Modality, message_id: int = 1, identifier: bytes = IDENTIFIER) -> None:
    await modality.say(p_data(1, encode(find_rq(message_id)), command=True))
    for start in range(0, len(identifier), 16000):
        piece = identifier[start : start + 16000]
        await modality.say(p_data(1, piece, command=False, last=start + 16000 >= len(identifier)))


async def response(modality: Modality) -> tuple[int | None, int | None, bytes]:
    """Hear one response: the Message ID being responded to, the status and the data set."""
    command = await modality.response()
    content, is_last = b"", not command.has_data_set
    while not is_last:
        for pdv in (await modality.hear()).pdvs:
            content, is_last = content + bytes(pdv.data), pdv.is_last
    return command.message_id_being_responded_to, command.status, content


def found_by_pynetdicom(port: int, *, cancels: bool) -> list[tuple[int, str]]:
    """Ask as pynetdicom does; return status and Patient ID of each response. Verify afterwards, on the association."""
    ae = AE(ae_title="SCU")
    ae.add_requested_context(REPEATED_ECHO, IMPLICIT)
    ae.add_requested_context(Verification, IMPLICIT)
    identifier = Dataset()
    identifier.PatientID = "77"
    association = ae.associate("127.0.0.1", port, ae_title="ROUTER")
    assert association.is_established
    found = []
    for status, match in association.send_c_find(identifier, REPEATED_ECHO, msg_id=7):
        found.append((status.Status, match.PatientID if match else ""))
        if cancels and len(found) == 1:
            association.send_c_cancel(7, query_model=REPEATED_ECHO)
    assert association.send_c_echo().Status == 0
    association.release()
    return found


async def test_pynetdicom_gets_three_pending_responses_and_the_final_one(tmp_path: Path) -> None:
    async with router_of(tmp_path) as router:
        found = await trio.to_thread.run_sync(lambda: found_by_pynetdicom(router.port, cancels=False))
    assert found == [(PENDING, "77")] * 3 + [(SUCCESS, "")]


async def test_a_cancel_of_pynetdicom_after_the_first_response_is_answered_fe00h(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(RepeatedEcho, "pause", float("inf"))
    async with router_of(tmp_path) as router:
        found = await trio.to_thread.run_sync(lambda: found_by_pynetdicom(router.port, cancels=True))
    assert found == [(PENDING, "77"), (CANCEL, "")]


async def test_the_answer_to_extended_negotiation_goes_into_the_accept_and_to_the_service(tmp_path: Path) -> None:
    async with router_of(tmp_path) as router, Modality.connected(router.port) as modality:
        accept = await associate(modality, repeats=5)
        (answer,) = accept.user_information.extended
        assert (answer.sop_class_uid, answer.information) == (REPEATED_ECHO, b"\5")
        await find(modality)
        heard = [await response(modality) for _ in range(6)]
    assert heard == [(1, PENDING, IDENTIFIER)] * 5 + [(1, SUCCESS, b"")]


async def test_a_cancel_in_the_same_write_as_its_request_reaches_the_operation(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(RepeatedEcho, "pause", float("inf"))
    async with router_of(tmp_path) as router, Modality.connected(router.port) as modality:
        await associate(modality)
        request = p_data(1, encode(find_rq()), command=True) + p_data(1, IDENTIFIER, command=False)
        await modality.say(request + cancel_rq(1))
        statuses = [(await response(modality))[1] for _ in range(2)]
    assert statuses == [PENDING, CANCEL]


async def test_a_cancel_of_nothing_has_no_response(tmp_path: Path) -> None:
    async with router_of(tmp_path) as router, Modality.connected(router.port) as modality:
        await associate(modality)
        await modality.say(cancel_rq(1))
        await find(modality)
        await modality.say(cancel_rq(9))
        heard = [await response(modality) for _ in range(4)]
        await modality.say(cancel_rq(1))  # after its final response
        await find(modality, 2)
        heard += [await response(modality) for _ in range(4)]
    assert [status for _, status, _ in heard] == [PENDING, PENDING, PENDING, SUCCESS] * 2


@pytest.mark.parametrize("ends", ["abort", "close"])
async def test_the_end_of_the_association_reaches_the_operation(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, ends: str
) -> None:
    monkeypatch.setattr(RepeatedEcho, "pause", float("inf"))
    async with router_of(tmp_path) as router:
        async with Modality.connected(router.port) as modality:
            await associate(modality)
            await find(modality)
            await response(modality)
            if ends == "abort":
                await modality.say(ABORT_BY_USER)

                async def cancelled() -> bool:
                    return RepeatedEcho.cancelled == 1

                await eventually(cancelled)
        await eventually(gone(router))
    assert RepeatedEcho.cancelled == 1


def gone(router: RunningRouter) -> Any:
    async def no_association() -> bool:
        return not (await router.router.status())["associations"]

    return no_association


class IgnoresCancel(RepeatedEcho):
    """Never returns after its first response, whatever happens."""

    async def perform(self, request: Request, data: Incoming | None, replies: Replies) -> Response:
        await replies.send(
            Response(attrs.evolve(find_rq(), field=0x8020, message_id_being_responded_to=1, status=PENDING))
        )
        await trio.sleep_forever()
        raise AssertionError("it never wakes up")


async def test_an_operation_that_does_not_return_after_the_association_is_cancelled(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(operation, "_GRACE", 0.05)
    config = configuration(tmp_path)
    async with running_router(config, services=[IgnoresCancel, *SERVICES]) as router:
        async with Modality.connected(router.port) as modality:
            await associate(modality)
            await find(modality)
            await modality.hear()
        await eventually(gone(router))


async def test_a_peer_that_does_not_read_holds_the_operation_and_no_memory(tmp_path: Path) -> None:
    identifier = data_set("1.2.3", REPEATED_ECHO, size=48 * 1024)
    async with router_of(tmp_path) as router, Modality.connected(router.port) as modality:
        await associate(modality, repeats=255)
        await find(modality, identifier=identifier)
        before, still = -1, 0

        async def held() -> bool:
            nonlocal before, still
            still = still + 1 if RepeatedEcho.sent == before else 0
            before = RepeatedEcho.sent
            return before > 0 and still == 20

        await eventually(held)
        assert RepeatedEcho.sent < 200  # what the kernel's buffers hold
        heard = [await response(modality) for _ in range(256)]
    assert heard == [(1, PENDING, identifier)] * 255 + [(1, SUCCESS, b"")]


async def test_a_peer_that_does_not_read_for_the_write_deadline_ends_the_operation(tmp_path: Path) -> None:
    identifier = data_set("1.2.3", REPEATED_ECHO, size=48 * 1024)
    text = '[timeouts]\nwrite = "200ms"'
    async with router_of(tmp_path, text) as router, Modality.connected(router.port) as modality:
        await associate(modality, repeats=255)
        await find(modality, identifier=identifier)
        await eventually(gone(router))
    assert 0 < RepeatedEcho.sent < 200


async def test_two_operations_of_a_window_are_cancelled_one_by_one(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(RepeatedEcho, "pause", float("inf"))
    async with router_of(tmp_path) as router, Modality.connected(router.port) as modality:
        await associate(modality, window=2)
        await find(modality, 11)
        await find(modality, 12)
        assert {(await response(modality))[:2] for _ in range(2)} == {(11, PENDING), (12, PENDING)}
        await modality.say(cancel_rq(12))
        assert (await response(modality))[:2] == (12, CANCEL)
        await find(modality, 13)
        assert (await response(modality))[:2] == (13, PENDING)
        await modality.say(cancel_rq(11) + cancel_rq(13))
        assert {(await response(modality))[:2] for _ in range(2)} == {(11, CANCEL), (13, CANCEL)}


class OneByOne(RepeatedEcho):
    """Performs one operation of an association at a time."""

    parallel = False


async def test_a_service_that_is_not_parallel_performs_in_order_and_the_association_is_read_meanwhile(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(RepeatedEcho, "pause", float("inf"))
    config = configuration(tmp_path, router='unrouted = "hold"')
    async with (
        running_router(config, services=[OneByOne, *SERVICES]) as router,
        Modality.connected(router.port) as modality,
    ):
        await associate(modality, window=3)
        await find(modality, 1)
        assert (await response(modality))[:2] == (1, PENDING)
        await find(modality, 2)
        await modality.say(p_data(1, encode(store_rq("1.2.3", REPEATED_ECHO, message_id=3)), command=True))
        await modality.say(p_data(1, data_set("1.2.3", REPEATED_ECHO), command=False))
        await modality.say(cancel_rq(1))
        assert [(await response(modality))[:2] for _ in range(2)] == [(1, CANCEL), (2, PENDING)]
        await modality.say(cancel_rq(2))
        assert [(await response(modality))[:2] for _ in range(2)] == [(2, CANCEL), (3, SUCCESS)]


async def test_no_more_operations_are_in_flight_than_the_window_allows(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The request of a peer that sends more than it may waits for the others, and is performed then."""
    monkeypatch.setattr(RepeatedEcho, "pause", 0.1)
    async with router_of(tmp_path) as router, Modality.connected(router.port) as modality:
        await associate(modality, window=1)
        await find(modality, 1)
        await find(modality, 2)
        heard = [(await response(modality))[:2] for _ in range(8)]
    assert heard == [(number, status) for number in (1, 2) for status in (PENDING, PENDING, PENDING, SUCCESS)]


async def test_an_operation_goes_to_the_service_that_performs_it_not_to_the_context_as_a_whole(tmp_path: Path) -> None:
    echo = Command(field=CommandField.C_ECHO_RQ, message_id=5, affected_sop_class_uid=REPEATED_ECHO)
    async with router_of(tmp_path) as router, Modality.connected(router.port) as modality:
        await associate(modality)
        stored = await modality.store(store_rq("1.2.3", REPEATED_ECHO), data_set("1.2.3", REPEATED_ECHO))
        await modality.say(p_data(1, encode(echo), command=True))
        unknown = await modality.response()
        await find(modality)
        found = [(await response(modality))[1] for _ in range(4)]
    assert (stored.status, unknown.status) == (SUCCESS, Status.UNRECOGNIZED_OPERATION)
    assert found == [PENDING, PENDING, PENDING, SUCCESS]


async def test_a_stop_of_the_router_waits_for_the_operation(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(RepeatedEcho, "pause", float("inf"))
    heard: list[Any] = []
    async with router_of(tmp_path) as router, Modality.connected(router.port) as modality:
        await associate(modality)
        await find(modality)
        await response(modality)
        router.router.stop()
        await modality.say(cancel_rq(1))
        heard += [await response(modality), await modality.hear()]
    assert heard[0][:2] == (1, CANCEL)
    assert isinstance(heard[1], Abort)
