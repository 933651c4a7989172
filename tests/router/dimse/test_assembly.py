"""Fragments to messages: any cut gives the same message, any disorder ends it."""

from collections.abc import Iterable
from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pdu import Fragment
from router.dimse import (
    DATA_SET,
    AssemblyError,
    Command,
    CommandField,
    DataSetPiece,
    MessageAssembler,
    MessageBegin,
    encode,
)

STORE = Command(
    field=CommandField.C_STORE_RQ,
    message_id=1,
    affected_sop_class_uid="1.2",
    affected_sop_instance_uid="1.2.3",
    priority=0,
    data_set_type=DATA_SET,
)
ECHO = Command(field=CommandField.C_ECHO_RQ, message_id=1, affected_sop_class_uid="1.2.840.10008.1.1")


def fragments(context_id: int, data: bytes, cuts: Iterable[int], *, command: bool) -> list[Fragment]:
    edges = [0, *sorted(cut for cut in cuts if cut <= len(data)), len(data)]
    pairs = list(pairwise(edges))
    return [
        Fragment(context_id, command, number == len(pairs) - 1, memoryview(data)[start:end])
        for number, (start, end) in enumerate(pairs)
    ]


@given(st.binary(max_size=64), st.sets(st.integers(0, 200)), st.sets(st.integers(0, 64)))
def test_any_cut_of_a_message_gives_the_message(data: bytes, command_cuts: set[int], data_cuts: set[int]) -> None:
    assembler = MessageAssembler()
    out = [
        assembler.feed(fragment)
        for fragment in fragments(3, encode(STORE), command_cuts, command=True)
        + fragments(3, data, data_cuts, command=False)
    ]
    begins = [piece for piece in out if isinstance(piece, MessageBegin)]
    pieces = [piece for piece in out if isinstance(piece, DataSetPiece)]
    assert begins == [MessageBegin(3, STORE, encode(STORE))]
    assert b"".join(bytes(piece.data) for piece in pieces) == data
    assert [piece.is_last for piece in pieces] == [False] * (len(pieces) - 1) + [True]
    assert not assembler.in_message


def test_messages_follow_one_another_on_any_context() -> None:
    assembler = MessageAssembler()
    for context_id in (1, 3, 1):
        (begin,) = [assembler.feed(f) for f in fragments(context_id, encode(ECHO), (), command=True)]
        assert begin == MessageBegin(context_id, ECHO, encode(ECHO))
        assert not assembler.in_message


@pytest.mark.parametrize(
    ("disorder", "words"),
    [
        (fragments(1, b"data", (), command=False), "without a command set"),
        (fragments(1, encode(STORE), (), command=True) * 2, "inside a data set"),
        (fragments(1, encode(STORE), (9,), command=True)[:1] + fragments(3, b"x", (), command=True), "context 3"),
        (fragments(1, b"\1\2\3\4\5\6\7\x08", (), command=True), "no command set"),
        (fragments(1, encode(STORE), (), command=True) + fragments(3, b"x", (), command=False), "context 3"),
    ],
)
def test_disorder_ends_the_association(disorder: list[Fragment], words: str) -> None:
    assembler = MessageAssembler()
    with pytest.raises(AssemblyError, match=words):
        for fragment in disorder:
            assembler.feed(fragment)


def test_an_endless_command_set_is_cut_off_at_the_cap() -> None:
    assembler = MessageAssembler(command_cap=100)
    with pytest.raises(AssemblyError, match="more than 100 bytes"):
        for _ in range(1000):
            assembler.feed(Fragment(1, True, False, memoryview(b"x" * 10)))
