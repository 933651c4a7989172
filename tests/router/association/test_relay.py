"""Relays between a client and a peer of which a test says each word."""

from pathlib import Path
from typing import Any

import attrs
import pytest
from structlog.testing import capture_logs

from pdu import (
    Abort,
    AssociateAC,
    AssociateRJ,
    AsynchronousOperationsWindow,
    ContextResult,
    PresentationContextResult,
    Rejection,
    ReleaseRP,
    ReleaseRQ,
    RoleSelection,
    SOPClassExtendedNegotiation,
)
from router.dimse import Command, CommandField, encode, response_to
from tests.support.harness import (
    ABORT_BY_USER,
    CT,
    IMPLICIT,
    VERIFICATION,
    Modality,
    RunningRouter,
    configuration,
    data_set,
    eventually,
    p_data,
    running_router,
    store_rq,
)
from tests.support.relays import ECHO, N_GET, PRINT, PRIVATE, answer, associate, client_of, peer, relaying
from tests.support.reverse import COMMITMENT, MODALITY, REPORT, store_report

EXPLICIT = "1.2.840.10008.1.2.1"
FIND = Command(field=CommandField.C_FIND_RQ, message_id=7, affected_sop_class_uid=PRIVATE, priority=0)
QUICK = '[timeouts]\nassociation = "300ms"\n'


def results_of(accept: Any) -> list[ContextResult]:
    assert isinstance(accept, AssociateAC)
    return [one.result for one in accept.presentation_contexts]


async def echoes(client: Modality, context_id: int) -> None:
    """Verify the association on a context of the router's own."""
    await client.say(p_data(context_id, encode(ECHO), command=True))
    assert (await client.response()).message_id_being_responded_to == ECHO.message_id


async def ended(router: RunningRouter) -> None:
    """Wait until no association and no conversation is left."""

    async def over() -> bool:
        status = await router.router.status()
        return not status["associations"] and not status["conversations"]

    await eventually(over)


# Negotiation


async def test_the_peer_decides_on_contexts_roles_extended_negotiation_and_window(tmp_path: Path) -> None:
    async with peer() as printer, running_router(relaying(tmp_path, printer.port)) as router:
        async with Modality.connected(router.port) as client:
            role = RoleSelection(sop_class_uid=PRIVATE, scu_role=True, scp_role=True)
            extended = SOPClassExtendedNegotiation(sop_class_uid=PRIVATE, information=b"\1\2\3")
            other = SOPClassExtendedNegotiation(sop_class_uid=VERIFICATION, information=b"\7")
            request = associate(
                PRINT, VERIFICATION, PRIVATE, PRIVATE, PRINT, window=5, roles=(role,), extended=(extended, other)
            )
            contexts = list(request.presentation_contexts)
            contexts[2] = attrs.evolve(contexts[2], transfer_syntaxes=(IMPLICIT, EXPLICIT, "1.2.3.4"))
            await client.say(attrs.evolve(request, presentation_contexts=tuple(contexts)))
            theirs = await printer.called()
            asked = theirs.request
            assert (asked.called_ae_title, asked.calling_ae_title) == ("PRINTER", "ROUTER")
            assert asked.presentation_contexts == tuple(one for one in contexts if one.id != 3)
            assert asked.user_information.roles == (role,)
            assert asked.user_information.extended == (extended,)
            assert asked.user_information.asynchronous_operations_window == AsynchronousOperationsWindow(
                invoked=5, performed=5
            )
            refused = PresentationContextResult(id=1, result=ContextResult.USER_REJECTION)
            accepted = [
                PresentationContextResult(id=5, result=ContextResult.ACCEPTANCE, transfer_syntax="1.2.3.4"),
                PresentationContextResult(id=7, result=ContextResult.TRANSFER_SYNTAXES_NOT_SUPPORTED),
            ]
            await theirs.say(
                answer(
                    asked,
                    refused,
                    *accepted,
                    roles=(attrs.evolve(role, scu_role=False),),
                    extended=(attrs.evolve(extended, information=b"\1\0\0"),),
                    asynchronous_operations_window=AsynchronousOperationsWindow(invoked=3, performed=2),
                )
            )
            accept = await client.hear()
            assert results_of(accept) == [
                ContextResult.USER_REJECTION,
                ContextResult.ACCEPTANCE,
                ContextResult.ACCEPTANCE,
                ContextResult.TRANSFER_SYNTAXES_NOT_SUPPORTED,
                ContextResult.NO_REASON,
            ]
            assert accept.presentation_contexts[2].transfer_syntax == "1.2.3.4"
            information = accept.user_information
            assert information.roles == (attrs.evolve(role, scu_role=False),)
            assert information.extended == (attrs.evolve(extended, information=b"\1\0\0"),)
            assert information.asynchronous_operations_window == AsynchronousOperationsWindow(invoked=3, performed=2)


@pytest.mark.parametrize("fault", ["no listener", "silence", "rejection", "close", "garbage"])
async def test_without_an_answer_of_the_peer_its_contexts_get_result_2_and_the_others_stand(
    tmp_path: Path, fault: str
) -> None:
    async with peer() as printer:
        port = printer.port if fault != "no listener" else 9
        async with running_router(relaying(tmp_path, port, QUICK)) as router, Modality.connected(router.port) as client:
            await client.say(associate(PRINT, VERIFICATION, PRIVATE))
            if fault != "no listener":
                theirs = await printer.called()
                match fault:
                    case "rejection":
                        await theirs.say(AssociateRJ.because(Rejection.CALLING_AE_TITLE_NOT_RECOGNIZED))
                    case "close":
                        await theirs.stream.aclose()
                    case "garbage":
                        await theirs.say(b"HTTP/1.1 400 Bad Request\r\n\r\n")
            assert results_of(await client.hear()) == [
                ContextResult.NO_REASON,
                ContextResult.ACCEPTANCE,
                ContextResult.NO_REASON,
            ]
            await echoes(client, 3)
            await client.say(ReleaseRQ())
            assert await client.hear() == ReleaseRP()
            await client.stream.aclose()
            await ended(router)


async def test_of_two_destinations_the_later_context_gets_result_3(tmp_path: Path) -> None:
    async with peer() as printer, peer() as other:
        route = '[[routes]]\nname = "ups"\nservice = "relay"\nto = "ups"\nwhen = { sop_class = "*Procedure*" }\n'
        ups = f'[peers.ups]\nae_title = "UPS"\naddress = "127.0.0.1:{other.port}"\n'
        async with running_router(relaying(tmp_path, printer.port, ups, route=route)) as router:
            async with Modality.connected(router.port) as client:
                await client.say(associate("1.2.840.10008.5.1.4.34.6.1", PRINT, VERIFICATION))
                theirs = await other.accepted()
                assert len(theirs.request.presentation_contexts) == 1
                assert results_of(await client.hear()) == [
                    ContextResult.ACCEPTANCE,
                    ContextResult.ABSTRACT_SYNTAX_NOT_SUPPORTED,
                    ContextResult.ACCEPTANCE,
                ]
                await echoes(client, 5)


async def test_an_association_without_relayed_contexts_asks_no_peer(tmp_path: Path) -> None:
    async with running_router(relaying(tmp_path, 9)) as router, Modality.connected(router.port) as client:
        assert (
            results_of(await client.associate((VERIFICATION, (IMPLICIT,)), (CT, (IMPLICIT,))))
            == [ContextResult.ACCEPTANCE] * 2
        )


async def test_a_client_that_gives_up_while_the_peer_is_asked_ends_the_question(tmp_path: Path) -> None:
    async with peer() as printer, running_router(relaying(tmp_path, printer.port)) as router:
        async with Modality.connected(router.port) as client:
            await client.say(associate(PRINT))
            theirs = await printer.called()
            await client.say(ABORT_BY_USER)
            assert await theirs.hear() is None
        await ended(router)


# Messages


async def test_requests_and_responses_pass_with_their_data_sets_byte_for_byte(tmp_path: Path) -> None:
    async with peer() as printer, running_router(relaying(tmp_path, printer.port)) as router:
        async with client_of(router.port, printer) as (client, theirs):
            await client.tell(1, N_GET)
            assert await theirs.message() == (1, N_GET, None)
            attributes = b"not understood" * 7000
            response = response_to(N_GET, 0x0107, data_set_type=1)
            pieces = [attributes[at : at + 16000] for at in range(0, len(attributes), 16000)]
            await theirs.tell(1, response, pieces[0], last=False)
            for piece in pieces[1:]:
                await theirs.say(p_data(1, piece, command=False, last=piece is pieces[-1]))
            assert await client.message() == (1, response, attributes)
            await echoes(client, 3)


async def test_events_of_the_peer_pass_to_the_client_and_its_responses_back(tmp_path: Path) -> None:
    event = Command(
        field=CommandField.N_EVENT_REPORT_RQ,
        message_id=9,
        affected_sop_class_uid="1.2.840.10008.5.1.1.16",
        affected_sop_instance_uid="1.2.840.10008.5.1.1.17",
        event_type_id=2,
        data_set_type=1,
    )
    async with peer() as printer, running_router(relaying(tmp_path, printer.port)) as router:
        async with client_of(router.port, printer) as (client, theirs):
            await client.tell(1, N_GET)
            await theirs.message()
            await theirs.tell(1, event, b"WARNING ")  # before the response to the request
            assert await client.message() == (1, event, b"WARNING ")
            answered = response_to(event, 0)
            await client.tell(1, answered)
            assert await theirs.message() == (1, answered, None)
            await theirs.tell(1, response_to(N_GET, 0))
            assert (await client.message())[1].status == 0


async def test_a_client_that_does_not_respond_to_events_still_gets_its_responses(tmp_path: Path) -> None:
    event = attrs.evolve(N_GET, field=CommandField.N_EVENT_REPORT_RQ)
    async with peer() as printer, running_router(relaying(tmp_path, printer.port)) as router:
        async with client_of(router.port, printer) as (client, theirs):
            await client.tell(1, N_GET)
            await theirs.message()
            for number in range(1, 4):
                await theirs.tell(1, attrs.evolve(event, message_id=number))
                assert (await client.message())[1].message_id == number
            await theirs.tell(1, response_to(N_GET, 0))
            assert (await client.message())[1].status == 0


async def test_a_request_that_crosses_the_release_has_no_response(tmp_path: Path) -> None:
    async with peer() as printer, running_router(relaying(tmp_path, printer.port)) as router:
        async with client_of(router.port, printer) as (client, theirs):
            await theirs.say(ReleaseRQ())
            assert await client.hear() == ReleaseRQ()
            await client.tell(3, ECHO)
            await client.tell(1, N_GET)
            await client.say(ReleaseRP())
            assert await client.hear() is None
        await ended(router)


async def test_pending_responses_stream_and_a_cancel_reaches_its_own_operation(tmp_path: Path) -> None:
    async with peer() as printer, running_router(relaying(tmp_path, printer.port)) as router:
        async with client_of(router.port, printer, PRIVATE, window=4) as (client, theirs):
            second = attrs.evolve(FIND, message_id=8)
            for request in (FIND, second):
                await client.tell(1, request, b"keys")
                assert await theirs.message() == (1, attrs.evolve(request, data_set_type=1), b"keys")
            for request, status in ((FIND, 0xFF00), (second, 0xFF01), (FIND, 0xFF02), (second, 0xFF00)):
                await theirs.tell(1, response_to(request, status), b"record")
                _, response, data = await client.message()
                assert (response.message_id_being_responded_to, response.status) == (request.message_id, status)
                assert data == b"record"
            cancel = Command(field=CommandField.C_CANCEL_RQ, message_id_being_responded_to=8)
            await client.tell(1, cancel)
            assert await theirs.message() == (1, cancel, None)
            await theirs.tell(1, response_to(second, 0xFE00))
            assert (await client.message())[1].status == 0xFE00
            await client.tell(1, cancel)  # too late: it goes nowhere
            await theirs.tell(1, response_to(FIND, 0))
            assert (await client.message())[1].message_id_being_responded_to == 7
            await client.tell(1, N_GET)
            assert (await theirs.message())[1] == N_GET


async def test_two_operations_under_one_message_id_get_their_own_responses(tmp_path: Path) -> None:
    async with peer() as printer, running_router(relaying(tmp_path, printer.port)) as router:
        async with client_of(router.port, printer, PRIVATE, window=2) as (client, theirs):
            heard = []
            for _ in range(2):
                await client.tell(1, N_GET)
                heard.append((await theirs.message())[1])
            assert len({one.message_id for one in heard}) == 2
            for status, request in ((0x0112, heard[1]), (0, heard[0])):
                await theirs.tell(1, response_to(request, status))
                _, response, _ = await client.message()
                assert (response.message_id_being_responded_to, response.status) == (1, status)


async def test_a_response_to_nothing_is_dropped_with_its_data_set(tmp_path: Path) -> None:
    async with peer() as printer, running_router(relaying(tmp_path, printer.port)) as router:
        async with client_of(router.port, printer) as (client, theirs):
            await theirs.tell(1, response_to(attrs.evolve(N_GET, message_id=4711), 0), b"x" * 10_000)
            await client.tell(1, N_GET)
            await theirs.message()
            await theirs.tell(1, response_to(N_GET, 0))
            assert (await client.message())[1].message_id_being_responded_to == 1


async def test_the_routers_own_response_waits_for_the_end_of_a_relayed_message(tmp_path: Path) -> None:
    async with peer() as printer, running_router(relaying(tmp_path, printer.port)) as router:
        async with client_of(router.port, printer, PRINT, VERIFICATION, window=4) as (client, theirs):
            await client.tell(1, N_GET)
            await theirs.message()
            await theirs.tell(1, response_to(N_GET, 0), b"begun ", last=False)
            assert (await client.pdv()).is_command
            assert (await client.pdv()).data == b"begun "
            await client.tell(3, ECHO)
            await client.tell(1, attrs.evolve(N_GET, message_id=2))
            await theirs.message()  # so the router has read the C-ECHO-RQ before it
            await theirs.say(p_data(1, b"ended ", command=False))
            assert (await client.pdv()).data == b"ended "
            assert (await client.message())[1].message_id_being_responded_to == ECHO.message_id


async def test_a_report_of_the_routers_own_goes_between_relayed_messages(tmp_path: Path) -> None:
    async with peer() as printer, running_router(relaying(tmp_path, printer.port, MODALITY)) as router:
        async with client_of(router.port, printer, PRINT, COMMITMENT) as (client, theirs):
            await client.tell(1, N_GET)
            await theirs.message()
            await theirs.tell(1, response_to(N_GET, 0), b"begun ", last=False)
            assert (await client.pdv()).is_command
            await client.pdv()
            await store_report(router, "modality")
            await theirs.say(p_data(1, b"ended ", command=False))
            assert (await client.pdv()).data == b"ended "
            context_id, report, data = await client.message()
            assert (context_id, report.name, data) == (3, "N-EVENT-REPORT-RQ", REPORT)
            await client.tell(3, response_to(report, 0))
            await router.until("modality", delivered=1)


# The end


async def test_a_release_is_carried_to_the_peer_and_its_answer_back(tmp_path: Path) -> None:
    async with peer() as printer, running_router(relaying(tmp_path, printer.port)) as router:
        with capture_logs() as logs:
            async with client_of(router.port, printer) as (client, theirs):
                await client.tell(1, N_GET)
                await theirs.message()
                await theirs.tell(1, response_to(N_GET, 0), b"data")
                await client.message()
                await client.say(ReleaseRQ())
                assert await theirs.hear() == ReleaseRQ()
                event = attrs.evolve(N_GET, field=CommandField.N_EVENT_REPORT_RQ, message_id=3)
                await theirs.tell(1, event)  # a last word
                assert (await client.message())[1].message_id == 3
                await theirs.say(ReleaseRP())
                assert await client.hear() == ReleaseRP()
            await ended(router)
        (line,) = (one for one in logs if one["event"] == "conversation")
        assert (line["service"], line["status"], line["calling_ae"]) == ("relay", "released", "MODALITY")
        assert line["operations"] == {"N-GET": 1}
        assert line["operations_of_peer"] == {"N-EVENT-REPORT": 1}
        assert (line["data_set_bytes"], line["data_set_bytes_of_peer"]) == (0, 4)
        assert line["archives"]["printer"]["asked"] == 1


@pytest.mark.parametrize("how", ["abort", "close"])
async def test_a_client_gone_in_mid_data_set_aborts_the_peer_which_never_sees_the_end_of_it(
    tmp_path: Path, how: str
) -> None:
    async with peer() as printer, running_router(relaying(tmp_path, printer.port)) as router:
        async with client_of(router.port, printer) as (client, theirs):
            n_set = attrs.evolve(N_GET, field=CommandField.N_SET_RQ)
            await client.tell(1, n_set, b"first part", last=False)
            assert (await theirs.pdv()).is_command
            assert not (await theirs.pdv()).is_last
            if how == "abort":
                await client.say(ABORT_BY_USER)
            else:
                await client.stream.aclose()
            assert isinstance(await theirs.hear(), Abort)
        await ended(router)


@pytest.mark.parametrize("fault", ["abort", "close", "garbage", "wrong context", "half a message"])
async def test_when_the_peers_association_ends_the_clients_is_aborted(tmp_path: Path, fault: str) -> None:
    async with peer() as printer, running_router(relaying(tmp_path, printer.port)) as router:
        async with client_of(router.port, printer) as (client, theirs):
            await client.tell(1, N_GET)
            await theirs.message()
            match fault:
                case "abort":
                    await theirs.say(ABORT_BY_USER)
                case "close":
                    await theirs.stream.aclose()
                case "garbage":
                    await theirs.say(bytes(range(200, 256)))
                case "wrong context":
                    await theirs.say(p_data(77, b"xx", command=True))
                case "half a message":
                    await theirs.say(p_data(1, b"not a command set", command=True))
            assert isinstance(await client.hear(), Abort)
        await ended(router)


async def test_a_release_of_the_peer_becomes_one_to_the_client(tmp_path: Path) -> None:
    async with peer() as printer, running_router(relaying(tmp_path, printer.port)) as router:
        async with client_of(router.port, printer) as (client, theirs):
            await theirs.say(ReleaseRQ())
            assert await theirs.hear() == ReleaseRP()
            assert await client.hear() == ReleaseRQ()
            await client.say(ReleaseRP())
            assert await client.hear() is None
        await ended(router)


async def test_when_both_sides_ask_for_the_release_at_once_both_get_it(tmp_path: Path) -> None:
    async with peer() as printer, running_router(relaying(tmp_path, printer.port)) as router:
        async with client_of(router.port, printer) as (client, theirs):
            await theirs.say(ReleaseRQ())
            assert await client.hear() == ReleaseRQ()
            await client.say(ReleaseRQ())  # PS3.8 7.2.3: the requestor responds, then the acceptor
            await client.say(ReleaseRP())
            assert await client.hear() == ReleaseRP()
        await ended(router)


async def test_an_operation_of_the_routers_own_ends_before_the_association_does(tmp_path: Path) -> None:
    async with peer() as printer:
        route = '[[routes]]\nname = "all"\nservice = "storage"\nto = "printer"\n'
        config = relaying(tmp_path, printer.port, route=route)
        async with running_router(config) as router, client_of(router.port, printer, PRINT, CT) as (client, theirs):
            whole = data_set("1.2.3.4")
            await client.tell(3, store_rq("1.2.3.4"), whole[:10], last=False)
            await theirs.say(ABORT_BY_USER)
            await eventually(lambda: not router.router._conversations.live())
            await client.say(p_data(3, whole[10:], command=False))
            assert (await client.message())[1].status == 0
            assert isinstance(await client.hear(), Abort)


async def test_a_peer_that_is_silent_for_too_long_ends_both_associations(tmp_path: Path) -> None:
    async with peer() as printer:
        config = relaying(tmp_path, printer.port, '[timeouts]\ndimse = "300ms"\n')
        async with running_router(config) as router, client_of(router.port, printer) as (client, theirs):
            await client.tell(1, N_GET)
            await theirs.message()
            assert isinstance(await client.hear(), Abort)
            assert isinstance(await theirs.hear(), Abort)


async def test_a_client_that_is_idle_for_too_long_ends_both_associations(tmp_path: Path) -> None:
    async with peer() as printer:
        config = relaying(tmp_path, printer.port, '[timeouts]\nidle = "300ms"\n')
        async with running_router(config) as router, client_of(router.port, printer) as (client, theirs):
            assert isinstance(await client.hear(), Abort)
            assert isinstance(await theirs.hear(), Abort)


async def test_a_router_that_stops_lets_a_relayed_operation_end(tmp_path: Path) -> None:
    async with peer() as printer, running_router(relaying(tmp_path, printer.port)) as router:
        async with client_of(router.port, printer) as (client, theirs):
            await client.tell(1, N_GET)
            await theirs.message()
            router.router.stop()
            await theirs.tell(1, response_to(N_GET, 0))
            assert (await client.message())[1].status == 0
            assert isinstance(await client.hear(), Abort)
            assert isinstance(await theirs.hear(), Abort)


async def test_a_live_relay_stands_in_the_status(tmp_path: Path) -> None:
    async with peer() as printer, running_router(relaying(tmp_path, printer.port)) as router:
        async with client_of(router.port, printer) as (client, theirs):
            await client.tell(1, N_GET)
            await theirs.message()
            (live,) = (await router.router.status())["conversations"]
            assert live["operations"] == {"N-GET": 1}
            assert live["archives"]["printer"]["asked"] == 1
            assert live["live"]


def test_a_relay_route_needs_no_other_route(tmp_path: Path) -> None:
    assert configuration(tmp_path, '[[routes]]\nname = "r"\nservice = "relay"\nto = "printer"\n', printer=9).routes
