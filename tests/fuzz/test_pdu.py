"""Hostile bytes and careless callers against the engine.

Whatever a peer sends and whatever the service user asks for in between: nothing but `LocalError` comes out of a
primitive, nothing at all out of `received`; fragments stay within the lent buffer; at most two aborts are sent, and
the connection ends as the table says. The short version runs with every test, the long one with `make fuzz`.
"""

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from pdu import (
    Abort,
    Answer,
    AssociateRJ,
    CloseTransport,
    Fragment,
    LocalError,
    ProtocolError,
    Rejection,
    ReleaseRP,
    ReleaseRQ,
    Role,
    Send,
    State,
    UpperLayer,
    decode,
    encode,
)
from tests.pdu.coupling import answer_to, request
from tests.pdu.examples import EXAMPLES
from tests.pdu.strategies import pdus

RQ = request()
AC = answer_to(RQ)
DATA = b"\x04\x00\x00\x00\x00\x0f\x00\x00\x00\x0b\x01\x03123456789"
words = [encode(RQ), encode(AC), encode(Abort()), encode(ReleaseRQ()), encode(ReleaseRP()), DATA, DATA[:9]]
words += [data for _, data in EXAMPLES.values()]
speech = st.one_of(
    st.sampled_from(words),
    st.sampled_from(words).flatmap(lambda word: st.integers(0, len(word)).map(lambda end: word[:end])),
    st.builds(lambda pdu: encode(pdu), pdus),
    st.binary(max_size=40),
    st.builds(
        lambda kind, length, body: bytes((kind, 0)) + length.to_bytes(4, "big") + body,
        st.integers(0, 8),
        st.integers(0, 0xFFFFFFFF) | st.integers(0, 64),
        st.binary(max_size=64),
    ),
)
primitives = st.sampled_from(
    ["accept", "reject", "release", "respond_release", "abort", "send_data", "artim_expired", "closed", "end"]
)
plays = st.tuples(st.sampled_from(Role), st.integers(1, 300), st.lists(speech | primitives, max_size=12))


def ask(engine: UpperLayer, primitive: str) -> Answer:
    match primitive:
        case "accept":
            return engine.accept(AC)
        case "reject":
            return engine.reject(AssociateRJ.because(Rejection.NO_REASON_GIVEN))
        case "send_data":
            return [Send(engine.send_data(1, b"12345678901", command=False, last=True))]
        case "closed":
            return engine.transport_closed()
        case "end":
            return engine.received(0)
        case _:
            answer: Answer = getattr(engine, primitive)()
            return answer


def receive(engine: UpperLayer, data: bytes, size: int) -> list[Answer]:
    """Feed pieces until the engine closes; views are judged while they are good."""
    answers: list[Answer] = []
    while data and engine.state is not State.STA1:
        room = engine.writable()
        assert room
        step = min(size, len(room), len(data))
        room[:step] = data[:step]
        answer = engine.received(step)
        fragments = [each for each in answer if isinstance(each, Fragment)]
        assert sum(len(each.data) for each in fragments) <= 64
        assert all(each.context_id in engine.contexts for each in fragments)
        answers.append(answer)
        data = data[step:]
    return answers


def play(role: Role, size: int, acts: list[bytes | str]) -> None:
    engine = UpperLayer(role=role, buffer_size=64, associate_cap=4096)
    if role is Role.REQUESTOR:
        engine.associate(RQ)
    engine.transport_connected()
    answers: list[Answer] = []
    for act in acts:
        if isinstance(act, bytes):
            answers += receive(engine, act, size)
            continue
        before = engine.state
        try:
            answers.append(ask(engine, act))
        except LocalError:
            assert engine.state is before
    everything = [each for answer in answers for each in answer]
    sent = [b"".join(map(bytes, each.buffers)) for each in everything if isinstance(each, Send)]
    assert sum(data.startswith(b"\x07") for data in sent) <= 2
    assert all(decode(data) for data in sent)
    assert everything.count(CloseTransport()) == (engine.state is State.STA1)
    if engine.state is State.STA1 and everything:
        assert everything[-1] == CloseTransport()


def read(data: bytes) -> None:
    try:
        pdu = decode(data)
    except ProtocolError as error:
        assert error.abort_reason  # noqa: PT017
        return
    assert decode(encode(pdu)) == pdu


quick = settings(deadline=None, suppress_health_check=[HealthCheck.too_slow])
long = settings(quick, max_examples=30_000)


@quick
@given(plays)
def test_no_peer_and_no_caller_brings_the_engine_down(script: tuple[Role, int, list[bytes | str]]) -> None:
    play(*script)


@quick
@given(speech)
def test_any_bytes_are_a_pdu_or_a_protocol_error(data: bytes) -> None:
    read(data)


@pytest.mark.fuzz
@long
@given(plays)
def test_no_peer_and_no_caller_brings_the_engine_down_for_long(
    script: tuple[Role, int, list[bytes | str]],
) -> None:
    play(*script)


@pytest.mark.fuzz
@long
@given(speech)
def test_any_bytes_are_a_pdu_or_a_protocol_error_for_long(data: bytes) -> None:
    read(data)
