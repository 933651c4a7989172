"""The engine's conduct: an association from end to end, and what becomes of a peer that breaks the rules."""

from collections.abc import Callable, Sequence

import pytest
from attrs import evolve

from pdu import (
    Abort,
    AbortIndication,
    AbortReason,
    AbortSource,
    AssociateConfirm,
    AssociateIndication,
    AssociateRJ,
    CloseTransport,
    ContextNotAccepted,
    ContextResult,
    InvalidParameterValue,
    LocalError,
    Overrun,
    PDUTooLong,
    PresentationContext,
    PresentationContextResult,
    ProtocolError,
    ProviderAbort,
    RejectIndication,
    Rejection,
    ReleaseConfirm,
    ReleaseIndication,
    ReleaseRP,
    ReleaseRQ,
    RequestRefused,
    Role,
    StartArtim,
    State,
    StopArtim,
    TransportClosed,
    UnexpectedPDU,
    UnrecognizedPDU,
    UpperLayer,
    encode,
)
from tests.pdu.coupling import IMPLICIT, JPEG_2000, Couple, answer_to, feed, request, sent, told

pieces = pytest.mark.parametrize("size", [1, 2, 7, 1 << 20])
RELEASE_RQ, RELEASE_RP, ABORT = encode(ReleaseRQ()), encode(ReleaseRP()), encode(Abort())


def pdv(data: bytes, context_id: int = 1, control: int = 3) -> bytes:
    return (len(data) + 2).to_bytes(4, "big") + bytes((context_id, control)) + data


def p_data(*pdvs: bytes) -> bytes:
    body = b"".join(pdvs)
    return b"\x04\x00" + len(body).to_bytes(4, "big") + body


def acceptor(maximum_length: int = 131072, associated: bool = True, **options: int) -> UpperLayer:
    """An acceptor in Sta2, or in Sta6 with contexts 1 and 3 accepted."""
    engine = UpperLayer(role=Role.ACCEPTOR, maximum_length=maximum_length, **options)
    engine.transport_connected()
    if associated:
        rq = request()
        feed(engine, encode(rq))
        engine.accept(answer_to(rq, maximum_length))
    return engine


def requestor(associated: bool = True) -> UpperLayer:
    """A requestor in Sta5, or in Sta6."""
    engine = UpperLayer(role=Role.REQUESTOR)
    engine.associate(request())
    engine.transport_connected()
    if associated:
        feed(engine, encode(answer_to(request())))
    return engine


# -- two engines back to back --------------------------------------------------------------------------------------


@pieces
def test_an_association_from_request_to_release(size: int) -> None:
    both = Couple(size=size, maximum_length=64, buffer_size=64)
    both.connect()
    both.run()
    assert both.acceptor.told == [AssociateIndication(both.rq)]
    both.acceptor.perform(both.acceptor.engine.accept(both.ac))
    both.run()
    assert both.requestor.told == [AssociateConfirm(both.ac)]
    both.requestor.told.clear()
    both.acceptor.told.clear()

    data = bytes(range(256))
    both.requestor.outbox += b"".join(both.requestor.engine.send_data(1, b"store", command=True, last=True))
    both.requestor.outbox += b"".join(both.requestor.engine.send_data(1, data, command=False, last=True))
    both.run()
    assert reassembled(both.acceptor.told) == [(1, True, b"store"), (1, False, data)]
    both.acceptor.outbox += b"".join(both.acceptor.engine.send_data(1, b"stored", command=True, last=True))
    both.run()
    assert reassembled(both.requestor.told) == [(1, True, b"stored")]

    both.requestor.told.clear()
    both.acceptor.told.clear()
    both.requestor.perform(both.requestor.engine.release())
    both.run()
    assert both.acceptor.told == [ReleaseIndication()]
    both.acceptor.perform(both.acceptor.engine.respond_release())
    both.run()
    assert both.requestor.told == [ReleaseConfirm()]
    assert both.requestor.closed
    assert both.acceptor.closed
    assert states(both) == (1, 1)


def states(both: Couple) -> tuple[int, int]:
    return int(both.requestor.engine.state), int(both.acceptor.engine.state)


def reassembled(told: Sequence[object]) -> list[tuple[int, bool, bytes]]:
    """Fragments put together, as (context, command?, all data)."""
    messages: list[tuple[int, bool, bytes]] = []
    parts: list[bytes] = []
    for each in told:
        assert isinstance(each, tuple)
        context_id, is_command, is_last, data = each
        parts.append(data)
        if is_last:
            messages.append((context_id, is_command, b"".join(parts)))
            parts.clear()
    assert not parts
    return messages


@pieces
def test_a_rejection_ends_both_sides(size: int) -> None:
    both = Couple(size=size)
    both.connect()
    both.run()
    rejection = AssociateRJ.because(Rejection.LOCAL_LIMIT_EXCEEDED)
    both.acceptor.perform(both.acceptor.engine.reject(rejection))
    both.run()
    assert both.requestor.told == [RejectIndication(rejection)]
    assert states(both) == (1, 1)


@pieces
def test_a_release_collision_ends_both_sides(size: int) -> None:
    """PS3.8 9.2.3, figure in 7.2.3: the requestor responds first, the acceptor after it has been confirmed."""
    both = Couple(size=size)
    both.associate()
    both.requestor.perform(both.requestor.engine.release())
    both.acceptor.perform(both.acceptor.engine.release())
    both.run()
    assert both.requestor.told == both.acceptor.told == [ReleaseIndication(collision=True)]
    assert states(both) == (9, 10)
    both.requestor.perform(both.requestor.engine.respond_release())
    both.run()
    assert both.acceptor.told[1:] == [ReleaseConfirm()]
    assert states(both) == (11, 12)
    both.acceptor.perform(both.acceptor.engine.respond_release())
    both.run()
    assert both.requestor.told[1:] == [ReleaseConfirm()]
    assert states(both) == (1, 1)


def test_data_still_comes_after_our_release_request() -> None:
    both = Couple()
    both.associate()
    both.requestor.engine.release()
    both.requestor.told = list(feed(both.requestor.engine, p_data(pdv(b"late"))))
    assert both.requestor.told == [(1, True, True, b"late")]


def test_data_may_still_be_sent_after_the_peers_release_request() -> None:
    engine = acceptor()
    feed(engine, RELEASE_RQ)
    assert b"".join(engine.send_data(1, b"last", command=True, last=True)) == p_data(pdv(b"last"))


@pieces
def test_an_abort_ends_both_sides(size: int) -> None:
    both = Couple(size=size)
    both.associate()
    both.requestor.perform(both.requestor.engine.abort())
    both.run()
    assert both.acceptor.told == [AbortIndication(AbortSource.USER, AbortReason.NOT_SPECIFIED)]
    assert states(both) == (1, 1)


def test_both_sides_know_the_accepted_contexts_and_each_others_maximum() -> None:
    both = Couple(maximum_length=16384)
    both.associate()
    for engine in (both.requestor.engine, both.acceptor.engine):
        assert {(each.id, each.transfer_syntax) for each in engine.contexts.values()} == {
            (1, IMPLICIT),
            (3, JPEG_2000),
        }
        assert engine.peer_maximum_length == 16384


# -- before the association ----------------------------------------------------------------------------------------

NO_REQUEST: dict[str, tuple[bytes, type[ProtocolError], str]] = {
    "HTTP": (b"GET / HTTP/1.1\r\nHost: archive\r\n\r\n", UnrecognizedPDU, "47H"),
    "a TLS hello": (bytes.fromhex("160301020001000001fc0303") + bytes(500), UnrecognizedPDU, "16H"),
    "data": (p_data(pdv(b"x")), UnexpectedPDU, "P-DATA-TF"),
    "a release": (RELEASE_RQ, UnexpectedPDU, "A-RELEASE-RQ"),
    "a release response": (RELEASE_RP, UnexpectedPDU, "A-RELEASE-RP"),
    "an accept": (encode(answer_to(request())), UnexpectedPDU, "A-ASSOCIATE-AC"),
    "a reject": (encode(AssociateRJ.because(Rejection.NO_REASON_GIVEN)), UnexpectedPDU, "A-ASSOCIATE-RJ"),
    "a request of 4 GiB": (b"\x01\x00\xff\xff\xff\xff", PDUTooLong, "4294967295"),
    "a request over the cap": (b"\x01\x00\x00\x08\x00\x01", PDUTooLong, "524289"),
    "an empty request": (b"\x01\x00\x00\x00\x00\x00", Overrun, "cut short"),
    "a release of 4 GiB": (b"\x05\x00\xff\xff\xff\xff", InvalidParameterValue, "4294967295"),
}


@pytest.mark.parametrize(("data", "error", "words"), NO_REQUEST.values(), ids=NO_REQUEST)
@pieces
def test_what_is_no_request_is_aborted_once(data: bytes, error: type[ProtocolError], words: str, size: int) -> None:
    """AA-1. Bytes beyond the violation are nobody's: no abort after the abort, whatever they look like."""
    engine = acceptor(associated=False)
    answer = feed(engine, data, size)
    assert sent(answer) == ABORT
    [indication] = told(answer)
    assert isinstance(indication, ProviderAbort)
    assert type(indication.error) is error
    assert words in str(indication.error)
    assert answer[-1] == StartArtim()
    assert engine.state is State.STA13
    if error is UnexpectedPDU:  # its end was known: AA-7, but no more than once
        assert sent(feed(engine, b"\xff" * 1000)) == b"\x07\x00\x00\x00\x00\x04\x00\x00\x02\x01"
    assert feed(engine, b"\xff" * 1000) == []
    assert engine.artim_expired() == [StopArtim(), CloseTransport()]


def test_a_hostile_length_is_refused_from_the_header_alone() -> None:
    engine = acceptor(associated=False)
    assert feed(engine, b"\x01\x00\xff\xff\xff") == []
    [abort, *_] = feed(engine, b"\xff")
    assert sent([abort]) == ABORT


def test_memory_for_a_request_grows_only_as_it_arrives() -> None:
    engine = acceptor(associated=False)
    feed(engine, b"\x01\x00\x00\x04\x00\x00" + bytes(100))
    gathered = engine._framing._gathered
    assert gathered is not None
    assert len(gathered) == 100


def test_the_timer_covers_the_whole_request_however_it_drips() -> None:
    engine = acceptor(associated=False)
    data = encode(request())
    assert feed(engine, data[:-1], 1) == []
    assert feed(engine, data[-1:])[0] == StopArtim()


def test_connect_and_close_is_no_event_for_anyone() -> None:
    engine = acceptor(associated=False)
    assert engine.received(0) == [StopArtim(), CloseTransport()]
    assert engine.state is State.STA1


def test_a_silent_peer_is_closed_on_at_the_timer() -> None:
    engine = acceptor(associated=False)
    assert engine.artim_expired() == [StopArtim(), CloseTransport()]


ICI = "1.2.840.10008.3.1.1.2"
REFUSED = {
    "protocol version": (evolve(request(), protocol_version=2), (1, 2, 2)),
    "application context": (evolve(request(), application_context=ICI), (1, 1, 2)),
    "no application context": (evolve(request(), application_context=""), (1, 1, 2)),
    "blank called": (evolve(request(), called_ae_title=""), (1, 1, 7)),
    "blank calling": (evolve(request(), calling_ae_title="  "), (1, 1, 3)),
    "path in called": (evolve(request(), called_ae_title="../../etc"), (1, 1, 7)),
    "path in calling": (evolve(request(), calling_ae_title="A/../B"), (1, 1, 3)),
    "line feed": (evolve(request(), calling_ae_title="A\r\nB"), (1, 1, 3)),
    "escape": (evolve(request(), calling_ae_title="\x1b[2JB"), (1, 1, 3)),
    "C1 control": (evolve(request(), calling_ae_title="\x9b2JB"), (1, 1, 3)),
    "NUL inside": (evolve(request(), called_ae_title="A\x00B"), (1, 1, 7)),
    "backslash": (evolve(request(), called_ae_title="A\\B"), (1, 1, 7)),
    "no room": (request(maximum_length=7), (1, 2, 1)),
}


@pytest.mark.parametrize(("rq", "triple"), REFUSED.values(), ids=REFUSED)
def test_the_engine_rejects_a_request_by_itself(rq: object, triple: tuple[int, int, int]) -> None:
    engine = acceptor(associated=False)
    answer = feed(engine, encode(rq))  # type: ignore[arg-type]
    assert sent(answer) == b"\x03\x00\x00\x00\x00\x04\x00" + bytes(triple)
    [refused] = told(answer)
    assert isinstance(refused, RequestRefused)
    assert refused.why.isascii()
    assert refused.why.isprintable()
    assert answer[0] == StopArtim()
    assert answer[-1] == StartArtim()


def test_no_acceptable_context_is_an_accept_not_a_reject() -> None:
    engine = acceptor(associated=False)
    context = PresentationContext(id=1, abstract_syntax="1.2.3.4", transfer_syntaxes=(IMPLICIT,))
    rq = request(contexts=[context])
    feed(engine, encode(rq))
    ac = answer_to(rq)
    assert [each.result for each in ac.presentation_contexts] == [ContextResult.ABSTRACT_SYNTAX_NOT_SUPPORTED]
    assert sent(engine.accept(ac)) == encode(ac)
    assert engine.state is State.STA6
    assert engine.contexts == {}


@pytest.mark.parametrize("cut", [1, 5, 100])
def test_an_abort_right_behind_the_request_is_heard(cut: int) -> None:
    engine = acceptor(associated=False)
    answer = feed(engine, encode(request()) + ABORT)
    assert answer == [
        StopArtim(),
        AssociateIndication(request()),
        AbortIndication(AbortSource.USER, AbortReason.NOT_SPECIFIED),
        CloseTransport(),
    ]


# -- the answer to our request -------------------------------------------------------------------------------------


def test_an_answer_to_a_context_that_was_not_proposed_aborts() -> None:
    ac = answer_to(request())
    stray = PresentationContextResult(id=99, result=ContextResult.ACCEPTANCE, transfer_syntax=IMPLICIT)
    ac = evolve(ac, presentation_contexts=(*ac.presentation_contexts, stray))
    engine = requestor(associated=False)
    answer = feed(engine, encode(ac))
    assert sent(answer) == b"\x07\x00\x00\x00\x00\x04\x00\x00\x02\x06"
    assert engine.state is State.STA13


def test_a_context_accepted_in_a_foreign_transfer_syntax_is_refused_and_the_others_stand() -> None:
    ac = answer_to(request())
    first, second, third = ac.presentation_contexts
    wrong = evolve(second, transfer_syntax="1.2.840.10008.1.2.4.50")
    engine = requestor(associated=False)
    [confirm] = feed(engine, encode(evolve(ac, presentation_contexts=(first, wrong, third))))
    assert isinstance(confirm, AssociateConfirm)
    assert [each.result for each in confirm.accept.presentation_contexts] == [0, 4, 3]
    assert set(engine.contexts) == {1}


def test_an_answer_whose_maximum_leaves_no_room_aborts() -> None:
    engine = requestor(associated=False)
    answer = feed(engine, encode(answer_to(request(), maximum_length=7)))
    assert sent(answer) == b"\x07\x00\x00\x00\x00\x04\x00\x00\x02\x06"


# -- data ----------------------------------------------------------------------------------------------------------

INVALID_DATA: dict[str, tuple[bytes, type[ProtocolError], str]] = {
    "over our maximum": (b"\x04\x00\x00\x02\x00\x01", PDUTooLong, "131073"),
    "4 GiB": (b"\x04\x00\xff\xff\xff\xff", PDUTooLong, "4294967295"),
    "no PDV": (p_data(), InvalidParameterValue, "no room"),
    "half a PDV header": (p_data(b"\x00\x00\x00"), InvalidParameterValue, "no room"),
    "a PDV beyond its PDU": (p_data(b"\x00\x00\x00\x09\x01\x03!"), Overrun, "PDV of 9"),
    "a PDV of 4 GiB": (p_data(b"\xff\xff\xff\xff\x01\x03!"), Overrun, "PDV of 4294967295"),
    "a PDV without control header": (p_data(b"\x00\x00\x00\x01\x01\x03!"), Overrun, "PDV of 1"),
    "a PDV of nothing": (p_data(b"\x00\x00\x00\x00\x01\x03!"), Overrun, "PDV of 0"),
    "a tail behind the PDV": (p_data(pdv(b"x") + b"\x00\x00\x00\x02\x01"), Overrun, "PDV of 3"),
    "a context that was refused": (p_data(pdv(b"x", 5)), ContextNotAccepted, "context 5"),
    "a context that was not proposed": (p_data(pdv(b"x", 7)), ContextNotAccepted, "context 7"),
    "an even context": (p_data(pdv(b"x", 2)), ContextNotAccepted, "context 2"),
}


@pytest.mark.parametrize(("data", "error", "words"), INVALID_DATA.values(), ids=INVALID_DATA)
@pieces
def test_invalid_data_aborts(data: bytes, error: type[ProtocolError], words: str, size: int) -> None:
    engine = acceptor()
    before = p_data(pdv(b"good"))
    answer = feed(engine, before + data + before, size)
    assert sent(answer) == b"\x07\x00\x00\x00\x00\x04\x00\x00\x02\x06"
    *fragments, indication = told(answer)
    assert reassembled(fragments) == [(1, True, b"good")]
    assert isinstance(indication, ProviderAbort)
    assert type(indication.error) is error
    assert words in str(indication.error)
    assert engine.state is State.STA13


def test_without_a_maximum_of_ours_a_pdu_may_be_of_any_length() -> None:
    engine = acceptor(maximum_length=0)
    assert feed(engine, b"\x04\x00\xff\xff\xff\xff\xff\xff\xff\xfb\x01\x00" + b"data") == [(1, False, False, b"data")]


def test_reserved_bits_of_the_control_header_are_not_tested() -> None:
    assert feed(acceptor(), p_data(pdv(b"x", control=0xFF))) == [(1, True, True, b"x")]
    assert feed(acceptor(), p_data(pdv(b"x", control=0xFC))) == [(1, False, False, b"x")]


@pieces
def test_an_empty_last_pdv_ends_a_data_set(size: int) -> None:
    engine = acceptor()
    answer = feed(engine, p_data(pdv(b"ab", control=0)) + p_data(pdv(b"", control=2)), size)
    assert reassembled(answer) == [(1, False, b"ab")]
    assert answer[-1] == (1, False, True, b"")


@pieces
def test_a_local_abort_in_the_middle_of_a_pdu_skips_the_rest_of_it(size: int) -> None:
    engine = acceptor()
    data = p_data(pdv(b"0123456789", control=0), pdv(b"ABCDEF"))
    for cut in range(1, len(data)):
        engine = acceptor()
        feed(engine, data[:cut], size)
        engine.abort()
        assert feed(engine, data[cut:], size) == []
        assert feed(engine, ABORT) == [StopArtim(), CloseTransport()]


def test_unexpected_pdus_in_data_transfer_abort_once() -> None:
    stray: list[Callable[[], bytes]] = [
        lambda: encode(request()),
        lambda: encode(answer_to(request())),
        lambda: RELEASE_RP,
    ]
    for make in stray:
        engine = acceptor()
        answer = feed(engine, make() * 3)
        assert sent(answer).startswith(b"\x07\x00\x00\x00\x00\x04\x00\x00\x02\x02")
        assert len(told(answer)) == 1
        assert len(sent(answer)) <= 20


def test_after_a_rejection_a_flood_of_requests_is_answered_once() -> None:
    engine = acceptor(associated=False)
    feed(engine, encode(request()))
    engine.reject(AssociateRJ.because(Rejection.TEMPORARY_CONGESTION))
    assert sent(feed(engine, encode(request()) * 100)) == b"\x07\x00\x00\x00\x00\x04\x00\x00\x02\x02"
    assert engine.state is State.STA13


@pytest.mark.parametrize("until", [0, 3, 10, 14])
def test_the_end_of_the_stream_anywhere_is_told(until: int) -> None:
    engine = acceptor()
    feed(engine, p_data(pdv(b"0123456789"))[:until])
    assert engine.received(0) == [TransportClosed(), CloseTransport()]
    assert engine.state is State.STA1


# -- local misuse --------------------------------------------------------------------------------------------------


def test_sending_on_a_context_that_is_not_accepted_is_our_error() -> None:
    with pytest.raises(LocalError, match="context 5"):
        acceptor().send_data(5, b"x", command=True, last=True)


def test_an_announcement_that_the_engine_would_not_hold_to_is_our_error() -> None:
    with pytest.raises(LocalError, match="16384"):
        UpperLayer(role=Role.REQUESTOR).associate(request(maximum_length=16384))


@pytest.mark.parametrize(
    "contexts",
    [
        (),
        (PresentationContext(id=2, abstract_syntax="1.2", transfer_syntaxes=()),),
        (PresentationContext(id=1, abstract_syntax="1.2", transfer_syntaxes=()),) * 2,
    ],
    ids=["none", "even", "twice"],
)
def test_a_request_that_no_peer_would_take_is_our_error(contexts: tuple[PresentationContext, ...]) -> None:
    engine = UpperLayer(role=Role.REQUESTOR)
    with pytest.raises(LocalError):
        engine.associate(evolve(request(), presentation_contexts=contexts))
    assert engine.state is State.STA1


@pytest.mark.parametrize(
    "result",
    [
        PresentationContextResult(id=99, result=ContextResult.NO_REASON),
        PresentationContextResult(id=1, result=ContextResult.ACCEPTANCE, transfer_syntax=JPEG_2000),
    ],
    ids=["not proposed", "foreign transfer syntax"],
)
def test_an_answer_to_what_was_not_asked_is_our_error(result: PresentationContextResult) -> None:
    engine = acceptor(associated=False)
    feed(engine, encode(request()))
    with pytest.raises(LocalError):
        engine.accept(evolve(answer_to(request()), presentation_contexts=(result,)))
    assert engine.state is State.STA3


@pytest.mark.parametrize("count", [-1, 65])
def test_more_bytes_than_were_lent_are_our_error(count: int) -> None:
    with pytest.raises(LocalError, match="cannot have been received"):
        acceptor(associated=False, buffer_size=64).received(count)
