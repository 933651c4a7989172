"""Encode PDUs.

`encode` writes any PDU whole; `frame_data` frames data as P-DATA-TF without copying it. A value that does not fit its
field is a `LocalError`. Reserved bytes are zero. Items are in the order of PS3.8, unknown ones last.
"""

import struct
from collections.abc import Iterator
from typing import assert_never

from pdu.errors import LocalError
from pdu.fields import item, text, unknown_items
from pdu.items import ItemType, PresentationContext, PresentationContextResult
from pdu.pdus import (
    PDU,
    Abort,
    AssociateAC,
    AssociateRJ,
    AssociateRQ,
    Buffer,
    PDataTF,
    PDUType,
    ReleaseRP,
    ReleaseRQ,
)
from pdu.user_information import encode_user_information

UNLIMITED_PDU_LENGTH = 1 << 20
"""Bytes that we send in the variable field of a P-DATA-TF to a peer that announces no limit."""

SMALLEST_MAXIMUM_LENGTH = 8
"""Bytes of a PDV header (6, PS3.8 Table 9-23) and of two bytes of data: nothing can be sent below that."""

_ASSOCIATE = struct.Struct(">H2x16s16s32x")
_P_DATA = struct.Struct(">BxLLBB")
_PDV = struct.Struct(">LBB")
_P_DATA_TF = int(PDUType.P_DATA_TF)


def encode(pdu: PDU) -> bytes:
    """Encode a PDU, header included.

    Raises:
        LocalError: a value does not fit its field.
    """
    try:
        return _encoded(pdu)
    except (struct.error, ValueError) as error:
        raise LocalError(f"{type(pdu).__name__} cannot be encoded: {error}") from error


def _encoded(pdu: PDU) -> bytes:
    match pdu:
        case AssociateRQ():
            contexts = b"".join(map(_proposed_context, pdu.presentation_contexts))
            return _framed(PDUType.A_ASSOCIATE_RQ, _associate(pdu, contexts))
        case AssociateAC():
            contexts = b"".join(map(_context_result, pdu.presentation_contexts))
            return _framed(PDUType.A_ASSOCIATE_AC, _associate(pdu, contexts))
        case AssociateRJ():
            return _framed(PDUType.A_ASSOCIATE_RJ, bytes((0, pdu.result, pdu.source, pdu.reason)))
        case PDataTF():
            return _framed(PDUType.P_DATA_TF, b"".join(_pdvs(pdu)))
        case ReleaseRQ():
            return _framed(PDUType.A_RELEASE_RQ, bytes(4))
        case ReleaseRP():
            return _framed(PDUType.A_RELEASE_RP, bytes(4))
        case Abort():
            return _framed(PDUType.A_ABORT, bytes((0, 0, pdu.source, pdu.reason)))
        case _:
            assert_never(pdu)


def _framed(pdu_type: PDUType, body: bytes) -> bytes:
    return struct.pack(">BxL", pdu_type, len(body)) + body


def _associate(pdu: AssociateRQ | AssociateAC, contexts: bytes) -> bytes:
    """Encode PS3.8 Tables 9-11 and 9-17 from byte 7 on: version (7-8), AE titles (11-26, 27-42), items (75 on)."""
    fixed = _ASSOCIATE.pack(pdu.protocol_version, _ae_title(pdu.called_ae_title), _ae_title(pdu.calling_ae_title))
    application_context = item(ItemType.APPLICATION_CONTEXT, text(pdu.application_context))
    user_information = item(ItemType.USER_INFORMATION, encode_user_information(pdu.user_information))
    return fixed + application_context + contexts + user_information + unknown_items(pdu.unknown)


def _ae_title(title: str) -> bytes:
    encoded = text(title)
    if len(encoded) > 16:
        raise LocalError(f"AE title {title!r} is longer than 16 characters")
    return encoded.ljust(16)


def _proposed_context(context: PresentationContext) -> bytes:
    """Encode PS3.8 Table 9-13: context ID (byte 5), then the items (9 on)."""
    abstract_syntax = item(ItemType.ABSTRACT_SYNTAX, text(context.abstract_syntax))
    transfer_syntaxes = b"".join(item(ItemType.TRANSFER_SYNTAX, text(uid)) for uid in context.transfer_syntaxes)
    fixed = struct.pack(">B3x", context.id)
    return item(
        ItemType.PRESENTATION_CONTEXT, fixed + abstract_syntax + transfer_syntaxes + unknown_items(context.unknown)
    )


def _context_result(context: PresentationContextResult) -> bytes:
    """Encode PS3.8 Table 9-18: context ID (byte 5), result (7), then the item (9 on)."""
    transfer_syntax = item(ItemType.TRANSFER_SYNTAX, text(context.transfer_syntax))
    fixed = struct.pack(">BxBx", context.id, context.result)
    return item(ItemType.PRESENTATION_CONTEXT_RESULT, fixed + transfer_syntax + unknown_items(context.unknown))


def _pdvs(pdu: PDataTF) -> Iterator[bytes]:
    for pdv in pdu.pdvs:
        control = pdv.is_command | pdv.is_last << 1
        yield _PDV.pack(len(pdv.data) + 2, pdv.context_id, control) + pdv.data


def frame_data(context_id: int, data: Buffer, *, command: bool, last: bool, maximum_length: int) -> list[Buffer]:
    """Cut `data` into P-DATA-TF PDUs of one PDV each: [header, slice, header, slice, ...], slices of `data` itself.

    `maximum_length`: bytes that the peer accepts in the variable field of a PDU; 0 means no limit. All slices but the
    last have an even length. Empty data gives one empty PDV.
    """
    view = memoryview(data).cast("B")
    size = len(view)
    room = ((maximum_length or UNLIMITED_PDU_LENGTH) - 6) & ~1
    control = 1 if command else 0
    final = control | 2 if last else control
    if size <= room:
        return [_P_DATA.pack(_P_DATA_TF, size + 6, size + 2, context_id, final), view]
    buffers: list[Buffer] = []
    full = _P_DATA.pack(_P_DATA_TF, room + 6, room + 2, context_id, control)
    whole = (size - 1) // room * room
    for at in range(0, whole, room):
        buffers += (full, view[at : at + room])
    rest = size - whole
    buffers += (_P_DATA.pack(_P_DATA_TF, rest + 6, rest + 2, context_id, final), view[whole:])
    return buffers
