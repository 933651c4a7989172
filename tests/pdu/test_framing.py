"""P-DATA-TF as a stream: the same bytes however they are cut, bounded memory, work that grows with the bytes."""

import sys
import tracemalloc
from collections.abc import Sequence
from types import FrameType
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pdu import PDV, Fragment, LocalError, PDataTF, ReleaseIndication, ReleaseRQ, Role, UpperLayer, encode
from tests.pdu.coupling import answer_to, feed, request

chunks = st.lists(
    st.builds(PDV, context_id=st.sampled_from([1, 3]), data=st.binary(max_size=50)), min_size=1, max_size=6
)
streams = st.lists(chunks.map(lambda each: PDataTF(pdvs=tuple(each))), min_size=1, max_size=8)


def acceptor(maximum_length: int = 131072, buffer_size: int = 262144) -> UpperLayer:
    engine = UpperLayer(role=Role.ACCEPTOR, maximum_length=maximum_length, buffer_size=buffer_size)
    engine.transport_connected()
    feed(engine, encode(request()))
    engine.accept(answer_to(request(), maximum_length))
    return engine


def joined(fragments: Sequence[object]) -> list[tuple[int, bool, bool, bytes]]:
    """Neighbouring pieces of one PDV, or of PDVs that differ in nothing, put together."""
    out: list[tuple[int, bool, bool, bytes]] = []
    for each in fragments:
        assert isinstance(each, tuple)
        context_id, is_command, is_last, data = each
        if out and out[-1][:3] == (context_id, is_command, False):
            data = out.pop()[3] + data
        if data or is_last:
            out.append((context_id, is_command, is_last, data))
    return out


@given(streams, st.integers(1, 100), st.integers(64, 200))
def test_data_in_pieces_of_any_size_is_the_same_as_whole(stream: list[PDataTF], size: int, room: int) -> None:
    data = b"".join(map(encode, stream))
    sent = [(p.context_id, p.is_command, p.is_last, p.data) for pdu in stream for p in pdu.pdvs]
    engine = acceptor(buffer_size=room)
    got = feed(engine, data + encode(ReleaseRQ()), size)
    assert got.pop() == ReleaseIndication()
    assert joined(got) == joined(sent)


@given(st.binary(max_size=300), st.integers(8, 64) | st.just(0), st.booleans(), st.booleans(), st.integers(1, 50))
def test_what_send_data_cuts_the_peer_puts_together(
    data: bytes, maximum: int, command: bool, last: bool, size: int
) -> None:
    peer = acceptor(maximum_length=maximum)
    engine = UpperLayer(role=Role.REQUESTOR)
    engine.associate(request())
    engine.transport_connected()
    feed(engine, encode(answer_to(request(), maximum_length=maximum)))
    buffers = engine.send_data(3, data, command=command, last=last)
    got = feed(peer, b"".join(buffers), size)
    assert joined(got) == joined([(3, command, last, data)])
    assert [piece[2] for piece in joined(got)] == [last] * len(joined(got))


@pytest.mark.parametrize(
    ("length", "sizes"),
    [(0, [0]), (1, [1]), (10, [10]), (11, [10, 1]), (20, [10, 10]), (21, [10, 10, 1])],
)
@pytest.mark.parametrize("maximum", [16, 17])
def test_data_is_cut_to_the_peers_maximum(length: int, sizes: list[int], maximum: int) -> None:
    """16 bytes of variable field are 10 of data; 17 too, because a fragment is of even length."""
    engine = UpperLayer(role=Role.REQUESTOR)
    engine.associate(request())
    engine.transport_connected()
    feed(engine, encode(answer_to(request(), maximum_length=maximum)))
    assert engine.peer_maximum_length == maximum
    buffers = engine.send_data(1, bytes(length), command=False, last=True)
    assert [len(each) for each in buffers[1::2]] == sizes
    assert [bytes(each)[11] for each in buffers[::2]] == [0] * (len(sizes) - 1) + [2]
    assert all(len(each) == 12 for each in buffers[::2])


def test_a_peer_without_a_maximum_gets_a_mebibyte_at_a_time() -> None:
    engine = UpperLayer(role=Role.REQUESTOR)
    engine.associate(request())
    engine.transport_connected()
    feed(engine, encode(answer_to(request(), maximum_length=0)))
    buffers = engine.send_data(1, bytes(1 << 21), command=False, last=True)
    assert [len(each) for each in buffers[1::2]] == [(1 << 20) - 6, (1 << 20) - 6, 12]


def test_data_goes_out_without_a_copy() -> None:
    engine = acceptor()
    data = bytearray(300_000)
    buffers = engine.send_data(1, data, command=False, last=True)
    assert len(buffers) == 6
    for piece in buffers[1::2]:
        assert isinstance(piece, memoryview)
        assert piece.obj is data


def test_data_comes_in_without_a_copy() -> None:
    engine = acceptor()
    pdu = encode(PDataTF(pdvs=(PDV(context_id=1, is_command=False, is_last=True, data=b"data"),)))
    room = engine.writable()
    room[: len(pdu)] = pdu
    [fragment] = engine.received(len(pdu))
    assert isinstance(fragment, Fragment)
    room[12:16] = b"seen"
    assert bytes(fragment.data) == b"seen"


def test_a_pdu_of_4_gib_needs_no_more_than_the_lent_buffer() -> None:
    engine = acceptor(maximum_length=0)
    feed(engine, b"\x04\x00\xff\xff\xff\xff\xff\xff\xff\xfb\x01\x02")
    left = 0xFFFFFFFF - 6
    tracemalloc.start()
    try:
        while left:
            step = min(left, len(engine.writable()))
            [fragment] = engine.received(step)
            assert isinstance(fragment, Fragment)
            left -= len(fragment.data)
            assert fragment.is_last == (not left)
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert peak < 65536


def lines_run(engine: UpperLayer, data: bytes) -> int:
    """How many lines of Python the engine runs to receive `data` at one go."""
    lines = 0

    def trace(frame: FrameType, event: str, _: object) -> Any:
        nonlocal lines
        lines += event == "line" and frame.f_globals["__name__"].startswith("pdu.")
        return trace

    engine.writable()[: len(data)] = data
    before = sys.gettrace()
    sys.settrace(trace)
    try:
        engine.received(len(data))
    finally:
        sys.settrace(before)
    return lines


@pytest.mark.parametrize("pdv", [b"\x00\x00\x00\x03\x01\x00!", b"\x00\x00\x00\x02\x01\x00"], ids=["tiny", "empty"])
def test_the_work_for_tiny_pdvs_grows_with_their_number_and_no_faster(pdv: bytes) -> None:
    def lines(count: int) -> int:
        data = pdv * count
        return lines_run(acceptor(), b"\x04\x00" + len(data).to_bytes(4, "big") + data)

    fixed = lines(1)
    per_pdv = (lines(1001) - fixed) / 1000
    assert per_pdv < 20
    assert lines(4001) - fixed == 4000 * per_pdv


def test_a_violation_in_a_full_buffer_leaves_room_for_what_follows() -> None:
    """An empty buffer to receive into would look like the end of the stream."""
    engine = acceptor(buffer_size=64)
    feed(engine, b"\x04\x00\x00\x00\x00\x3a" + b"\x00\x00\x00\x00\x01\x00" * 9 + bytes(4))
    assert engine.state == 13
    assert len(engine.writable()) == 64


def test_empty_pdvs_that_end_nothing_leave_nothing_behind() -> None:
    engine = acceptor()
    body = b"\x00\x00\x00\x02\x01\x00" * 20_000
    assert feed(engine, b"\x04\x00" + len(body).to_bytes(4, "big") + body) == []


@given(st.lists(st.integers(1, 40), min_size=1, max_size=30))
def test_never_more_than_a_header_is_moved_between_reads(cuts: list[int]) -> None:
    """No memmove per PDV: what stays in the lent buffer after a read is less than one header."""
    engine = acceptor(buffer_size=64)
    body = b"\x00\x00\x00\x03\x01\x00!" * 9
    data = (b"\x04\x00" + len(body).to_bytes(4, "big") + body) * 20
    for cut in cuts:
        feed(engine, data[:cut])
        data = data[cut:]
        assert len(engine.writable()) >= 64 - 5


@given(streams, st.lists(st.integers(1, 40), min_size=1), st.randoms(use_true_random=False))
def test_a_buffer_that_is_lent_for_each_read_and_overwritten_afterwards_changes_nothing(
    stream: list[PDataTF], cuts: list[int], random: Any
) -> None:
    """What is kept of a buffer that was given back is a copy, and less than a header."""
    data = b"".join(map(encode, stream))
    whole = acceptor()
    expected = joined(feed(whole, data))
    engine = acceptor()
    answers: list[object] = []
    at = 0
    for turn in range(len(data)):
        buffer = memoryview(bytearray(64 + random.randrange(64)))
        engine.lend(buffer)
        room = engine.writable()
        assert len(room) >= len(buffer) - 5
        step = min(cuts[turn % len(cuts)], len(data) - at, len(room))
        room[:step] = data[at : at + step]
        answers += [(*one[:3], bytes(one.data)) if isinstance(one, Fragment) else one for one in engine.received(step)]
        at += step
        engine.give_back()
        buffer[:] = bytes(len(buffer))
        if at == len(data):
            break
    assert joined(answers) == expected


def test_an_engine_whose_buffer_was_given_back_and_not_lent_again_has_one_of_its_own() -> None:
    engine = acceptor(buffer_size=64)
    engine.lend(memoryview(bytearray(100)))
    assert len(engine.writable()) == 100
    engine.give_back()
    assert len(engine.writable()) == 64


def test_a_buffer_without_room_for_a_header_is_not_taken() -> None:
    with pytest.raises(LocalError, match="too small"):
        acceptor().lend(memoryview(bytearray(63)))
