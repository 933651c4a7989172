"""The acceptor, from outside: real sockets, PDUs by hand, what a hostile or hurried peer gets (FAULTS)."""

from pathlib import Path
from typing import Any

import pytest
import trio
from structlog.testing import capture_logs

from pdu import Abort, AbortReason, AbortSource, AssociateAC, AssociateRJ, ContextResult, ReleaseRP, ReleaseRQ
from router.dimse import DATA_SET, NO_DATA_SET, Command, CommandField, encode
from tests.support.harness import (
    ABORT_BY_USER,
    CT,
    IMPLICIT,
    VERIFICATION,
    Archive,
    Modality,
    associate_rq,
    configuration,
    data_set,
    p_data,
    running_router,
    store_rq,
)

UID = "1.2.840.99.1"
UNCOMPRESSED = (IMPLICIT, "1.2.840.10008.1.2.1", "1.2.840.10008.1.2.2")


async def test_c_echo_is_answered_in_all_three_uncompressed_transfer_syntaxes(tmp_path: Path) -> None:
    async with running_router(configuration(tmp_path)) as router, Modality.connected(router.port) as modality:
        accept = await modality.associate(*((VERIFICATION, (syntax,)) for syntax in UNCOMPRESSED))
        assert [c.transfer_syntax for c in accept.presentation_contexts] == list(UNCOMPRESSED)
        echo = Command(field=CommandField.C_ECHO_RQ, message_id=7, affected_sop_class_uid=VERIFICATION)
        for context in accept.presentation_contexts:
            await modality.say(p_data(context.id, encode(echo), command=True))
            response = await modality.response()
            assert (response.name, response.status, response.message_id_being_responded_to) == ("C-ECHO-RSP", 0, 7)
        await modality.say(ReleaseRQ())
        assert await modality.hear() == ReleaseRP()


async def test_an_object_is_acknowledged_and_its_bytes_reach_the_archive(tmp_path: Path) -> None:
    async with Archive().serving() as archive, running_router(configuration(tmp_path, pacs=archive.port)) as router:
        async with Modality.connected(router.port) as modality:
            await modality.associate()
            data = data_set(UID, size=100_000)
            assert (await modality.store(store_rq(UID), data)).status == 0
        (stored,) = await archive.received(1)
        assert (stored.data, stored.transfer_syntax) == (data, IMPLICIT)
        assert stored.command.affected_sop_instance_uid == UID
        numbers = await router.until("pacs", delivered=1)
        assert (numbers["accepted"], numbers["waiting"], numbers["in_flight"], numbers["held"]) == (1, 0, 0, 0)


async def test_in_one_context_the_proposers_order_wins_unless_a_preference_is_configured(tmp_path: Path) -> None:
    jpeg, proposal = "1.2.840.10008.1.2.4.70", ("1.2.840.10008.1.2.4.70", IMPLICIT, "1.2.840.10008.1.2.4.90")
    for preference, expected in (
        ("[]", jpeg),
        ("'ImplicitVRLittleEndian'", IMPLICIT),
        ("['JPEG2000*', 'ImplicitVRLittleEndian']", "1.2.840.10008.1.2.4.90"),
        ("['*.4.*', 'ImplicitVRLittleEndian']", jpeg),
        ("['*bigendian', '*MPEG*']", jpeg),
    ):
        config = configuration(tmp_path, f"[storage]\nprefer = {preference}")
        async with running_router(config) as router, Modality.connected(router.port) as modality:
            accept = await modality.associate((CT, proposal))
            assert accept.presentation_contexts[0].transfer_syntax == expected


@pytest.mark.parametrize(
    ("table", "sop_class", "default"),
    [
        ("verification", VERIFICATION, IMPLICIT),
        ("commitment", "1.2.840.10008.1.20.1", "1.2.840.10008.1.2.1"),
        ("mpps", "1.2.840.10008.3.1.2.3.3", "1.2.840.10008.1.2.1"),
        ("mpps", "1.2.840.10008.3.1.2.3.4", "1.2.840.10008.1.2.1"),
    ],
)
async def test_each_service_has_a_preference_of_its_own(
    tmp_path: Path, table: str, sop_class: str, default: str
) -> None:
    proposal = (IMPLICIT, "1.2.840.10008.1.2.2", "1.2.840.10008.1.2.1")
    for preference, expected in (
        ("[]", default),
        ("['*BigEndian', 'Implicit*']", "1.2.840.10008.1.2.2"),
        ("['JPEG*', 'ImplicitVRLittleEndian']", IMPLICIT),
    ):
        config = configuration(tmp_path, f"[{table}]\nprefer = {preference}")
        async with running_router(config) as router, Modality.connected(router.port) as modality:
            accept = await modality.associate((sop_class, proposal), (sop_class, ("1.2.840.10008.1.2.4.70",)))
        first, second = accept.presentation_contexts
        assert (first.result, first.transfer_syntax) == (ContextResult.ACCEPTANCE, expected)
        assert second.result is ContextResult.TRANSFER_SYNTAXES_NOT_SUPPORTED


async def test_none_acceptable_is_an_acceptance_with_refused_contexts(tmp_path: Path) -> None:
    config = configuration(tmp_path, "[storage]\ntransfer_syntaxes = ['ImplicitVRLittleEndian']")
    async with running_router(config) as router, Modality.connected(router.port) as modality:
        find = "1.2.840.10008.5.1.4.1.2.2.1"
        accept = await modality.associate((find, (IMPLICIT,)), (CT, ("1.2.840.10008.1.2.4.70",)))
        assert isinstance(accept, AssociateAC)
        assert [context.result for context in accept.presentation_contexts] == [
            ContextResult.ABSTRACT_SYNTAX_NOT_SUPPORTED,
            ContextResult.TRANSFER_SYNTAXES_NOT_SUPPORTED,
        ]


@pytest.mark.parametrize(
    ("text", "titles", "rejection"),
    [
        ("[access]\ncalling_ae = ['CT*']", {"calling": "MR1"}, (1, 1, 3)),
        ("[access]\ncalled_ae = ['ROUTER']", {"called": "OTHER"}, (1, 1, 7)),
        ("[access]\npeer = ['10.0.0.0/8']", {}, (1, 1, 1)),
        ("[limits]\nassociations = 1", {}, (2, 3, 2)),
        ("[limits]\nassociations_per_peer = 1", {}, (2, 3, 2)),
    ],
)
async def test_who_may_not_come_in_is_rejected_with_the_reason(
    tmp_path: Path, text: str, titles: dict[str, str], rejection: tuple[int, int, int]
) -> None:
    async with running_router(configuration(tmp_path, text)) as router, Modality.connected(router.port) as first:
        if rejection[0] == 2:
            assert isinstance(await first.associate(), AssociateAC)
        async with Modality.connected(router.port) as second:
            result, source, reason = rejection
            assert await second.associate(**titles) == AssociateRJ(result=result, source=source, reason=reason)
        if rejection[0] == 2:  # a place that becomes free is given away again
            await first.say(ReleaseRQ())
            await first.hear()
            async with Modality.connected(router.port) as third:
                assert isinstance(await third.associate(), AssociateAC)


@pytest.mark.parametrize(
    ("command", "data", "status", "words"),
    [
        (store_rq(UID), data_set("1.2.3"), 0xA900, "differs"),
        (store_rq(UID), data_set(UID, "1.2.840.10008.5.1.4.1.1.4"), 0xA900, "differs"),
        (store_rq(UID), b"", 0xA900, "has no SOP Class UID"),
        (store_rq(UID, affected_sop_instance_uid=None), data_set(UID), 0xA900, "without affected sop instance uid"),
        (store_rq(UID, "1.2.840.10008.5.1.4.1.1.4"), data_set(UID), 0x0122, "presentation context"),
        (store_rq("1.2/../../x"), data_set(UID), 0x0117, "no UID"),
        (store_rq(UID), data_set(UID)[:-20], 0, ""),  # nothing needs to read that far
        (store_rq(UID), b"\x08\x00\x16\x00\xff\xff\x00\x00", 0xC000, ""),
        (store_rq(UID, field=CommandField.C_FIND_RQ), data_set(UID), 0x0211, "no operation"),
        (store_rq(UID, field=0x0BAD), data_set(UID), 0x0211, "0BADH"),
    ],
)
async def test_what_cannot_be_stored_is_refused_in_words_and_the_association_goes_on(
    tmp_path: Path, command: Command, data: bytes, status: int, words: str
) -> None:
    config = configuration(tmp_path, pacs=1)
    async with running_router(config) as router, Modality.connected(router.port) as modality:
        await modality.associate()
        response = await modality.store(command, data)
        assert f"{response.status:04X}" == f"{status:04X}"
        assert words in (response.error_comment or "")
        assert (await modality.store(store_rq("1.2.9"), data_set("1.2.9"))).status == 0


async def test_a_sender_that_may_not_store_is_answered_0124h(tmp_path: Path) -> None:
    config = configuration(tmp_path, "[storage]\ncalling_ae = ['CT*']", pacs=1)
    async with running_router(config) as router, Modality.connected(router.port) as modality:
        await modality.associate()
        assert (await modality.store(store_rq(UID), data_set(UID))).status == 0x0124
        assert (await router.totals("pacs")).get("accepted", 0) == 0


async def test_what_no_route_takes_is_refused_or_held_as_configured(tmp_path: Path) -> None:
    route = "[[routes]]\nname = 'mr'\nservice = 'storage'\nwhen = { Modality = 'MR' }\nto = 'pacs'"
    config = configuration(tmp_path, route, pacs=1)
    async with running_router(config) as router, Modality.connected(router.port) as modality:
        await modality.associate()
        response = await modality.store(store_rq(UID), data_set(UID))
        assert response.status == 0xC000
        assert "no route" in (response.error_comment or "")
    config = configuration(tmp_path, route, router="unrouted = 'hold'", pacs=1)
    async with running_router(config) as router, Modality.connected(router.port) as modality:
        await modality.associate()
        assert (await modality.store(store_rq(UID), data_set(UID))).status == 0
        assert (await router.totals(""))["held"] == 1


ECHO = Command(field=CommandField.C_ECHO_RQ, message_id=1, affected_sop_class_uid=VERIFICATION)


@pytest.mark.parametrize(
    ("bad", "reason"),
    [
        (p_data(1, b"\1\2\3\4\5\6\7\x08", command=True), None),
        (p_data(1, b"data", command=False), None),
        (p_data(1, encode(store_rq(UID)), command=True) * 2, None),
        (p_data(1, b"\0" * 16000, command=True, last=False) * 5, None),
        (p_data(9, encode(ECHO), command=True), AbortReason.INVALID_PDU_PARAMETER_VALUE),
        (b"\x04\x00" + (1 << 20).to_bytes(4, "big"), AbortReason.INVALID_PDU_PARAMETER_VALUE),
        (b"\x04\x00\xff\xff\xff\xff", AbortReason.INVALID_PDU_PARAMETER_VALUE),
        (b"\x99\x00\x00\x00\x00\x04abcd", AbortReason.UNRECOGNIZED_PDU),
        (associate_rq(), AbortReason.UNEXPECTED_PDU),
        (ReleaseRP(), AbortReason.UNEXPECTED_PDU),
    ],
)
async def test_what_breaks_the_protocol_aborts_this_association_and_no_other(
    tmp_path: Path, bad: Any, reason: AbortReason | None
) -> None:
    async with (
        running_router(configuration(tmp_path, pacs=1)) as router,
        Modality.connected(router.port) as bystander,
        Modality.connected(router.port) as modality,
    ):
        await bystander.associate()
        await modality.associate()
        await modality.say(bad)
        source = AbortSource.USER if reason is None else AbortSource.PROVIDER
        assert await modality.hear() == Abort(source=source, reason=reason or AbortReason.NOT_SPECIFIED)
        assert (await bystander.store(store_rq(UID), data_set(UID))).status == 0


@pytest.mark.parametrize(
    "hello", [b"GET / HTTP/1.1\r\nHost: x\r\n\r\n", b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03"]
)
async def test_another_protocols_hello_is_aborted(tmp_path: Path, hello: bytes) -> None:
    async with running_router(configuration(tmp_path)) as router, Modality.connected(router.port) as modality:
        await modality.say(hello)
        assert isinstance(await modality.hear(), Abort)


@pytest.mark.parametrize("first", [b"", b"\x01", b"\x01\x00\x00\x00\x01\x00half"])
async def test_who_does_not_finish_its_first_pdu_is_gone_at_artim(tmp_path: Path, first: bytes) -> None:
    config = configuration(tmp_path, "[timeouts]\nartim = '100ms'")
    async with running_router(config) as router, Modality.connected(router.port) as modality:
        await modality.say(first)
        assert await modality.hear() is None


async def test_artim_covers_the_whole_first_pdu_however_slowly_it_drips(tmp_path: Path) -> None:
    config = configuration(tmp_path, "[timeouts]\nartim = '300ms'")
    async with running_router(config) as router, Modality.connected(router.port) as modality:
        with trio.fail_after(10):
            try:
                for _ in range(1000):
                    await modality.say(b"\x01\x00\x00\x00\x40\x00" if _ == 0 else b"\0")
                    await trio.sleep(0.02)
            except trio.BrokenResourceError:
                return
        pytest.fail("the router listened to the end")


async def test_an_idle_association_and_a_stall_in_the_middle_of_a_pdu_are_aborted(tmp_path: Path) -> None:
    config = configuration(tmp_path, "[timeouts]\nidle = '100ms'")
    for last_words in (b"", p_data(1, encode(store_rq(UID)), command=True) + p_data(1, b"x" * 99, command=False)[:50]):
        async with running_router(config) as router, Modality.connected(router.port) as modality:
            await modality.associate()
            await modality.say(last_words)
            assert await modality.hear() == ABORT_BY_USER


@pytest.mark.parametrize("end", ["fin", "abort", "reset"])
async def test_an_object_that_is_only_partly_in_leaves_no_trace(tmp_path: Path, end: str) -> None:
    config = configuration(tmp_path, pacs=1)
    async with running_router(config) as router:
        async with Modality.connected(router.port) as modality:
            await modality.associate()
            await modality.say(p_data(1, encode(store_rq(UID)), command=True))
            for _ in range(200):
                await modality.say(p_data(1, data_set(UID, size=15_000), command=False, last=False))
            if end == "abort":
                await modality.say(ABORT_BY_USER)
            elif end == "reset":
                modality.stream.setsockopt(1, 13, b"\1\0\0\0\0\0\0\0")  # SO_LINGER with no time: close is a reset
        async with Modality.connected(router.port) as next_one:
            await next_one.associate()
            assert (await next_one.store(store_rq("1.2.9"), data_set("1.2.9"))).status == 0
        assert router.spool.statistics().memory == 0
        assert (await router.totals("pacs"))["accepted"] == 1
    assert not [path for path in (tmp_path / "spool" / "large").iterdir() if path.stat().st_size]


async def test_a_stray_response_and_a_c_cancel_are_ignored(tmp_path: Path) -> None:
    config = configuration(tmp_path, pacs=1)
    async with running_router(config) as router, Modality.connected(router.port) as modality:
        await modality.associate()
        for field in (CommandField.C_STORE_RSP, CommandField.C_CANCEL_RQ):
            stray = Command(field=field, message_id_being_responded_to=1, status=0, data_set_type=NO_DATA_SET)
            await modality.say(p_data(1, encode(stray), command=True))
        late = Command(field=0x8020, message_id_being_responded_to=1, status=0xFF00, data_set_type=DATA_SET)
        await modality.say(p_data(1, encode(late), command=True) + p_data(1, b"late data", command=False))
        assert (await modality.store(store_rq(UID), data_set(UID))).status == 0


async def test_the_end_of_an_association_is_one_line_of_the_log_without_data_set_content(tmp_path: Path) -> None:
    name = b"\x10\x00\x10\x00\x0a\x00\x00\x00DOE^SECRET"
    with capture_logs() as logs:
        async with running_router(configuration(tmp_path, pacs=1)) as router:
            async with Modality.connected(router.port) as modality:
                assert isinstance(await modality.associate(calling="CT\x1b[1"), AssociateRJ)
            async with Modality.connected(router.port) as modality:
                await modality.associate(calling="CT1")
                await modality.store(store_rq(UID), data_set(UID, extra=name))
                await modality.say(ReleaseRQ())
                await modality.hear()
    lines = [line for line in logs if line["event"] == "association"]
    assert "control character" in lines[0]["outcome"]
    assert lines[1]["outcome"] == "released"
    assert (lines[1]["calling_ae"], lines[1]["messages"], lines[1]["contexts"]) == ("CT1", 1, 1)
    assert lines[1]["statuses"] == {"0000H success": 1}
    assert "SECRET" not in str(logs)
    assert "\x1b" not in str(lines[0]["calling_ae"])


async def test_a_load_balancers_connect_and_close_is_not_worth_a_line(tmp_path: Path) -> None:
    with capture_logs() as logs:
        async with running_router(configuration(tmp_path)) as router:
            for _ in range(20):
                async with Modality.connected(router.port):
                    pass
            async with Modality.connected(router.port) as modality:
                assert isinstance(await modality.associate(), AssociateAC)
    assert [line for line in logs if line["event"] == "association" and line["log_level"] != "debug"][1:] == []


async def test_at_shutdown_a_message_in_flight_is_still_answered_and_idle_associations_are_aborted(
    tmp_path: Path,
) -> None:
    async with (
        running_router(configuration(tmp_path, pacs=1)) as router,
        Modality.connected(router.port) as idle,
        Modality.connected(router.port) as busy,
    ):
        await idle.associate()
        await busy.associate()
        data = data_set(UID)
        await busy.say(p_data(1, encode(store_rq(UID)), command=True) + p_data(1, data[:20], command=False, last=False))
        router.router.stop()
        assert await idle.hear() == ABORT_BY_USER
        await busy.say(p_data(1, data[20:], command=False))
        assert (await busy.response()).status == 0
        assert await busy.hear() == ABORT_BY_USER
