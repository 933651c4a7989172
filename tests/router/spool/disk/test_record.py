"""The record format: what is written is what is read, and nothing else is taken for it."""

import zlib

import msgpack
import pytest
from hypothesis import given
from hypothesis import strategies as st

from router.model import AS_STORED, Envelope, Purpose, Recipient, SentAs
from router.spool import DamagedMessage
from router.spool.disk import record
from router.spool.disk.record import OwnFile, StoredEnvelope
from tests.router.spool.driver import envelope

NONCE = bytes(range(16))

text = st.text(st.characters(codec="utf-8"), max_size=20)
forms = st.builds(
    SentAs, transform=text, version=st.integers(0, 2**31), transfer_syntaxes=st.lists(text, max_size=3).map(tuple)
)
names = text.filter(lambda name: not name.endswith(" (commitment)"))  # means something in earlier records
addresses = st.builds(Recipient, destination=names, key=text, purpose=st.sampled_from(Purpose), sent_as=forms)
envelopes = st.builds(
    Envelope,
    kind=text,
    command=st.binary(max_size=100),
    service=text,
    abstract_syntax=text,
    transfer_syntax=text,
    sop_class_uid=text,
    sop_instance_uid=text,
    calling_ae=text,
    called_ae=text,
    peer=text,
    received=st.floats(allow_nan=False),
    deliveries=st.lists(addresses, max_size=3).map(tuple),
)
files = st.builds(OwnFile, name=st.just("0" * 32), length=st.integers(0, 2**63), crc=st.integers(0, 2**32 - 1))


@given(st.builds(StoredEnvelope, envelope=envelopes, hold=text, file=st.none() | files))
def test_an_envelope_survives_the_round_trip(stored: StoredEnvelope) -> None:
    assert record.decode_envelope(record.encode_envelope(stored)) == stored


def test_an_earlier_record_says_by_a_suffix_what_is_retained() -> None:
    stored = StoredEnvelope(envelope=envelope(destinations=("pacs", "pacs (commitment)")))
    earlier = record.encode_envelope(stored)
    assert record.decode_envelope(earlier).envelope.deliveries == (
        Recipient(destination="pacs"),
        Recipient(destination="pacs", purpose=Purpose.RETAIN),
    )


def test_an_earlier_record_says_nothing_of_a_change_and_is_sent_as_stored() -> None:
    packed = record.encode_envelope(StoredEnvelope(envelope=envelope(destinations=("pacs",))))
    assert msgpack.unpackb(packed)["deliveries"] == [["pacs", ""]]  # type: ignore[attr-defined]
    assert record.decode_envelope(packed).envelope.deliveries[0].sent_as == AS_STORED


@given(st.integers(1, 2**63), st.integers(0, 2**63), st.integers(0, 2**40), st.binary(max_size=50))
def test_a_header_survives_the_round_trip(message_id: int, batch: int, length: int, packed: bytes) -> None:
    data = record.encode_header(NONCE, message_id, batch, length, packed)
    header = record.decode_header(data, NONCE)
    assert header is not None
    assert (header.message_id, header.batch, header.data_length) == (message_id, batch, length)
    assert (header.envelope_length, header.envelope_crc) == (len(packed), zlib.crc32(packed))
    assert len(data) == record.HEADER_LENGTH == 64


@given(st.integers(0, 63), st.integers(0, 7))
def test_a_header_with_a_flipped_bit_is_none(at: int, bit: int) -> None:
    data = bytearray(record.encode_header(NONCE, 7, 64, 12_000, b"envelope"))
    data[at] ^= 1 << bit
    assert record.decode_header(bytes(data), NONCE) is None


def test_a_header_with_another_nonce_is_none() -> None:
    assert record.decode_header(record.encode_header(bytes(16), 7, 64, 0, b""), NONCE) is None


@pytest.mark.parametrize("length", [0, 1, 63])
def test_a_header_that_is_cut_short_is_none(length: int) -> None:
    assert record.decode_header(record.encode_header(NONCE, 7, 64, 0, b"")[:length], NONCE) is None


def test_a_segment_header_survives_the_round_trip() -> None:
    data = record.encode_segment_header(17, NONCE)
    assert len(data) == record.SEGMENT_HEADER_LENGTH == 64
    assert record.decode_segment_header(data) == (17, NONCE)
    assert record.decode_segment_header(data[:-1]) is None
    assert record.decode_segment_header(bytes(64)) is None


@pytest.mark.parametrize("part", [0, 1, 2])
def test_a_flipped_bit_anywhere_in_the_body_raises_damaged_message(part: int) -> None:
    packed = record.encode_envelope(StoredEnvelope(envelope=envelope()))
    data = b"data set"
    header = record.decode_header(record.encode_header(NONCE, 7, 64, len(data), packed), NONCE)
    assert header is not None
    parts = [
        bytearray(packed),
        bytearray(data),
        bytearray(record.encode_trailer(NONCE, 7, header.length, zlib.crc32(data))),
    ]
    assert record.check_body(header, NONCE, *map(bytes, parts)) == zlib.crc32(data)
    parts[part][3] ^= 4
    with pytest.raises(DamagedMessage):
        record.check_body(header, NONCE, *map(bytes, parts))


def test_the_trailer_of_another_record_is_none() -> None:
    header = record.decode_header(record.encode_header(NONCE, 7, 64, 0, b""), NONCE)
    assert header is not None
    assert record.decode_trailer(record.encode_trailer(NONCE, 8, header.length, 0), NONCE, header) is None
    assert record.decode_trailer(record.encode_trailer(NONCE, 7, header.length + 1, 0), NONCE, header) is None
