"""A record and a segment's header as bytes: docs/spool.md, "On the disk".

Pure: no file, no ledger. Encoding gives the parts to write around a data set, so that the data set itself is never
copied; decoding checks one part at a time, since recovery must know which part is broken. All integers are little
endian. A record is a header, an envelope (msgpack), the data set and a trailer.
"""

import struct
from collections.abc import Callable, Sequence
from typing import Any

import msgpack
from attrs import frozen
from isal.isal_zlib import crc32

from router.model import AS_STORED, DeliveryState, Envelope, Purpose, Recipient, SentAs
from router.spool.errors import DamagedMessage
from router.spool.values import Decision

_pack: Callable[[dict[str, Any]], bytes] = msgpack.packb
_unpack: Callable[[bytes], Any] = msgpack.unpackb  # type: ignore[attr-defined]  # msgpack has no types

SEGMENT_MAGIC = b"DRSEGM01"
RECORD_MAGIC = b"DRRECO01"
NONCE_LENGTH = 16

# A segment's header:
#
#   offset  size  field
#   0       8     "DRSEGM01"
#   8       8     segment number, as in the file's name
#   16      16    nonce: random, new for each segment and each use of its file
#   32      28    zero
#   60      4     CRC-32 of the 60 bytes before (_CRC)
_SEGMENT = struct.Struct("<8sQ16s28x")

# A record's header:
#
#   offset  size  field
#   0       8     "DRRECO01"
#   8       16    the segment's nonce
#   24      8     message id; 0 if the record holds decisions
#   32      8     batch: where in the segment the write began that brought this record
#   40      8     length of the data set in this record; 0 if it has a file of its own
#   48      4     length of the envelope
#   52      4     CRC-32 of the envelope
#   56      4     zero
#   60      4     CRC-32 of the 60 bytes before (_CRC)
_HEADER = struct.Struct("<8s16sQQQIIxxxx")

_CRC = struct.Struct("<I")

# A record's trailer. Its second field also covers the nonce and the message id, which are not repeated:
#
#   offset  size  field                                      checked: offset  size  field
#   0       4     CRC-32 of the data set in this record               0       16    the segment's nonce
#   4       4     CRC-32 of the fields on the right                   16      8     message id
#   8       8     length of the whole record                          24      8     length of the whole record
#                                                                     32      4     CRC-32 of the data set
_TRAILER = struct.Struct("<IIQ")
_TRAILER_CHECKED = struct.Struct("<16sQQI")

SEGMENT_HEADER_LENGTH = _SEGMENT.size + _CRC.size
HEADER_LENGTH = _HEADER.size + _CRC.size
TRAILER_LENGTH = _TRAILER.size
END = bytes(HEADER_LENGTH)
"""Written after the last record, where the header of the next one will be."""
_RETAINED = " (commitment)"
"""Earlier records append this to the name of a peer that a message is retained for."""
ENVELOPE_CAP = 1 << 24
"""Bytes: more than a command set of the largest size and a thousand deliveries need; a broken length is mostly more."""


@frozen(kw_only=True)
class OwnFile:
    """The file in `large/` of a data set that has one of its own."""

    name: str
    length: int
    crc: int


@frozen(kw_only=True)
class StoredEnvelope:
    """The envelope as a record holds it, with what the spool itself must remember."""

    envelope: Envelope
    hold: str = ""
    """Why all deliveries begin held; empty if they begin waiting."""
    file: OwnFile | None = None


@frozen(kw_only=True)
class RecordHeader:
    """A record's header, after its CRC and nonce were checked."""

    message_id: int
    """0 if the record holds decisions of operators and not a message."""
    batch: int
    """Offset in the segment of the write that brought this record."""
    data_length: int
    """Bytes of the data set in the record itself."""
    envelope_length: int
    envelope_crc: int

    @property
    def data_offset(self) -> int:
        """Offset of the data set from the beginning of the record."""
        return HEADER_LENGTH + self.envelope_length

    @property
    def length(self) -> int:
        """Bytes of the whole record."""
        return HEADER_LENGTH + self.envelope_length + self.data_length + TRAILER_LENGTH


def encode_segment_header(number: int, nonce: bytes) -> bytes:
    head = _SEGMENT.pack(SEGMENT_MAGIC, number, nonce)
    return head + _CRC.pack(crc32(head))


def decode_segment_header(data: bytes) -> tuple[int, bytes] | None:
    """Return the number and the nonce; None if the bytes are not a segment header."""
    if len(data) < SEGMENT_HEADER_LENGTH:
        return None
    magic, number, nonce = _SEGMENT.unpack_from(data)
    (crc,) = _CRC.unpack_from(data, _SEGMENT.size)
    if magic != SEGMENT_MAGIC or crc != crc32(data[: _SEGMENT.size]):
        return None
    return number, nonce


def encode_envelope(stored: StoredEnvelope) -> bytes:
    """Encode an envelope.

    Raises:
        ValueError: it is longer than `ENVELOPE_CAP`, or a text holds a lone surrogate; none from pdu/ or dimse/ does.
    """
    envelope = stored.envelope
    fields: dict[str, Any] = {
        "kind": envelope.kind,
        "command": envelope.command,
        "service": envelope.service,
        "abstract_syntax": envelope.abstract_syntax,
        "transfer_syntax": envelope.transfer_syntax,
        "sop_class_uid": envelope.sop_class_uid,
        "sop_instance_uid": envelope.sop_instance_uid,
        "calling_ae": envelope.calling_ae,
        "called_ae": envelope.called_ae,
        "peer": envelope.peer,
        "received": envelope.received,
        "deliveries": [_packed(address) for address in envelope.deliveries],
        "hold": stored.hold,
    }
    if stored.file is not None:
        fields |= {"file": stored.file.name, "length": stored.file.length, "crc": stored.file.crc}
    packed = _pack(fields)
    if len(packed) > ENVELOPE_CAP:
        raise ValueError(f"an envelope of {len(packed)} bytes is more than {ENVELOPE_CAP}")
    return packed


def decode_envelope(data: bytes) -> StoredEnvelope:
    """Decode an envelope; unknown keys are skipped.

    Raises:
        ValueError, TypeError, KeyError: the bytes are not an envelope.
    """
    fields = _unpack(data)
    own_file = fields.get("file")
    return StoredEnvelope(
        envelope=Envelope(
            kind=fields["kind"],
            command=fields["command"],
            service=fields["service"],
            abstract_syntax=fields["abstract_syntax"],
            transfer_syntax=fields["transfer_syntax"],
            sop_class_uid=fields["sop_class_uid"],
            sop_instance_uid=fields["sop_instance_uid"],
            calling_ae=fields["calling_ae"],
            called_ae=fields["called_ae"],
            peer=fields["peer"],
            received=fields["received"],
            deliveries=tuple(_address(*address) for address in fields["deliveries"]),
        ),
        hold=fields["hold"],
        file=OwnFile(name=own_file, length=fields["length"], crc=fields["crc"]) if own_file else None,
    )


def _packed(address: Recipient) -> tuple[object, ...]:
    """Pack a recipient. What has its default at the end is left out."""
    pair, sent_as = (address.destination, address.key), address.sent_as
    if sent_as != AS_STORED:
        return *pair, int(address.purpose), (sent_as.transform, sent_as.version, sent_as.transfer_syntaxes)
    return pair if address.purpose is Purpose.SEND else (*pair, int(address.purpose))


def _address(
    destination: str, key: str, purpose: int = Purpose.SEND, sent_as: Sequence[Any] | None = None
) -> Recipient:
    if destination.endswith(_RETAINED):
        destination, purpose = destination.removesuffix(_RETAINED), Purpose.RETAIN
    return Recipient(
        destination=destination,
        key=key,
        purpose=Purpose(purpose),
        sent_as=_sent_as(*sent_as) if sent_as is not None else AS_STORED,
    )


def _sent_as(transform: str, version: int, transfer_syntaxes: Sequence[str]) -> SentAs:
    return SentAs(transform=transform, version=version, transfer_syntaxes=tuple(transfer_syntaxes))


def encode_decisions(decisions: Sequence[Decision]) -> bytes:
    """Encode the envelope of a record of decisions, whose message id is 0.

    Raises:
        ValueError: it is longer than `ENVELOPE_CAP`, or a text holds a lone surrogate.
    """
    rows = [(one.message_id, one.destination, int(one.purpose), one.state.value, one.reason) for one in decisions]
    packed = _pack({"decisions": rows})
    if len(packed) > ENVELOPE_CAP:
        raise ValueError(f"decisions of {len(packed)} bytes are more than {ENVELOPE_CAP}")
    return packed


def decode_decisions(data: bytes) -> tuple[Decision, ...]:
    """Decode the envelope of a record of decisions.

    Raises:
        ValueError, TypeError, KeyError: the bytes are not decisions.
    """
    return tuple(
        Decision(
            message_id=message_id,
            destination=destination,
            purpose=Purpose(purpose),
            state=DeliveryState(state),
            reason=reason,
        )
        for message_id, destination, purpose, state, reason in _unpack(data)["decisions"]
    )


def encode_header(nonce: bytes, message_id: int, batch: int, data_length: int, envelope: bytes) -> bytes:
    head = _HEADER.pack(RECORD_MAGIC, nonce, message_id, batch, data_length, len(envelope), crc32(envelope))
    return head + _CRC.pack(crc32(head))


def decode_header(data: bytes, nonce: bytes) -> RecordHeader | None:
    """Decode a record's header; None if the bytes are not one in the segment with this nonce."""
    if len(data) < HEADER_LENGTH or not data.startswith(RECORD_MAGIC):
        return None
    _, its_nonce, message_id, batch, data_length, envelope_length, envelope_crc = _HEADER.unpack_from(data)
    (crc,) = _CRC.unpack_from(data, _HEADER.size)
    if its_nonce != nonce or crc != crc32(data[: _HEADER.size]) or envelope_length > ENVELOPE_CAP:
        return None
    return RecordHeader(
        message_id=message_id,
        batch=batch,
        data_length=data_length,
        envelope_length=envelope_length,
        envelope_crc=envelope_crc,
    )


def check_body(header: RecordHeader, nonce: bytes, envelope: bytes, data: bytes, trailer: bytes) -> int:
    """Check the three parts of a record, and return the CRC of the data set.

    Raises:
        DamagedMessage: a part is not what was written.
    """
    if crc32(envelope) != header.envelope_crc:
        raise DamagedMessage("the envelope does not fit its checksum")
    crc = decode_trailer(trailer, nonce, header)
    if crc is None:
        raise DamagedMessage("the trailer is broken or missing")
    if crc32(data) != crc:
        raise DamagedMessage("the data set does not fit its checksum")
    return crc


def encode_trailer(nonce: bytes, message_id: int, length: int, data_crc: int) -> bytes:
    """Encode a trailer. `length`: bytes of the whole record; `data_crc`: CRC-32 of the data set in it."""
    check = crc32(_TRAILER_CHECKED.pack(nonce, message_id, length, data_crc))
    return _TRAILER.pack(data_crc, check, length)


def decode_trailer(data: bytes, nonce: bytes, header: RecordHeader) -> int | None:
    """Return the CRC that the data set must have; None if the bytes are not this record's trailer."""
    if len(data) < TRAILER_LENGTH:
        return None
    data_crc: int = _TRAILER.unpack_from(data)[0]
    if data[:TRAILER_LENGTH] != encode_trailer(nonce, header.message_id, header.length, data_crc):
        return None
    return data_crc
