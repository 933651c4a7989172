"""Message ids: a node and a sequence number in one integer."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from router.spool.message_id import message_id, node_of, sequence_of


@given(st.integers(1, 2**40 - 1), st.integers(0, 2**12 - 1))
def test_an_id_gives_back_its_node_and_its_sequence_number(sequence: int, node: int) -> None:
    made = message_id(sequence, node)
    assert (node_of(made), sequence_of(made)) == (node, sequence)
    assert made < 2**52  # JSON numbers are exact up to there in any reader


@given(st.integers(1, 2**40 - 1))
def test_the_ids_of_a_router_that_stands_alone_are_its_sequence_numbers(sequence: int) -> None:
    assert message_id(sequence) == sequence


@pytest.mark.parametrize(("sequence", "node"), [(0, 0), (2**40, 0), (1, -1), (1, 2**12)])
def test_an_id_out_of_range_is_refused(sequence: int, node: int) -> None:
    with pytest.raises(ValueError, match="no message id"):
        message_id(sequence, node)
