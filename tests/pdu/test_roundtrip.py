"""What is written is read again, whatever it is; what is read is written again, whatever it was."""

from hypothesis import given
from hypothesis import strategies as st

from pdu import PDU, ProtocolError, decode, encode
from tests.pdu.examples import EXAMPLES
from tests.pdu.strategies import pdus


@given(pdus)
def test_every_pdu_survives_the_round_trip(pdu: PDU) -> None:
    """Unknown items and hostile characters included."""
    assert decode(encode(pdu)) == pdu


@given(st.sampled_from([data for _, data in EXAMPLES.values()]), st.data())
def test_a_damaged_pdu_is_refused_or_read_as_what_it_says(data: bytes, draw: st.DataObject) -> None:
    """No other error, and what is read once is read the same from its own bytes."""
    damaged = bytearray(data)
    for _ in range(draw.draw(st.integers(1, 4))):
        damaged[draw.draw(st.integers(0, len(data) - 1))] = draw.draw(st.integers(0, 255))
    try:
        pdu = decode(damaged)
    except ProtocolError:
        return
    assert decode(encode(pdu)) == pdu
