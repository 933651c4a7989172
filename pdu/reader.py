"""Decode the PDUs that are gathered whole. `framing` has checked their length, and parses P-DATA-TF itself.

Lengths on the wire are binding: an item that ends beyond its parent is an `Overrun`, a repeated item that may occur
once is an `UnexpectedParameter`. Fields that PS3.8 tells a receiver not to test are not tested: reserved bytes, the AE
titles of an answer, the order of items, unknown types. Comments give the byte numbers of the tables of PS3.8.
"""

import struct
from collections.abc import Iterable, Iterator
from typing import assert_never

from pdu.errors import InvalidParameterValue, Overrun, UnexpectedParameter, UnrecognizedPDU
from pdu.fields import Fields, Parts, uid
from pdu.items import (
    ContextResult,
    ItemType,
    PresentationContext,
    PresentationContextResult,
    UserInformation,
    fault_in_ids,
)
from pdu.pdus import (
    PDU,
    PDV,
    Abort,
    AbortReason,
    AbortSource,
    AssociateAC,
    AssociateRJ,
    AssociateRQ,
    Buffer,
    PDataTF,
    PDUType,
    ReleaseRP,
    ReleaseRQ,
)
from pdu.user_information import decode_user_information

HEADER = struct.Struct(">BxL")
"""Bytes 1-6 of every PDU: type (1), reserved (2), length of what follows (3-6); PS3.8 Table 9-11."""
PDV_HEADER = struct.Struct(">LBB")
"""Bytes 1-6 of a PDV item: length of the rest (1-4), context ID (5), message control header (6); PS3.8 9.3.5.1, E.2."""

_PDU_TYPES = {int(known): known for known in PDUType}
_ABORT_REASONS = {int(known): known for known in AbortReason}
_CONTEXT_RESULTS = {int(known): known for known in ContextResult}


def decode(data: Buffer) -> PDU:
    """Decode one whole PDU, header included.

    Raises:
        ProtocolError: `data` is not exactly one PDU.
    """
    view = memoryview(data)
    if len(view) < HEADER.size:
        raise Overrun("a PDU header needs six bytes")
    pdu_type, length = HEADER.unpack_from(view)
    if length != len(view) - HEADER.size:
        raise Overrun(f"a PDU of {length} bytes by its header has {len(view) - HEADER.size}")
    return decode_body(known_type(pdu_type), view[HEADER.size :])


def known_type(pdu_type: int) -> PDUType:
    """Return the PDU type of the first byte of a header.

    Raises:
        UnrecognizedPDU: the standard has no such type.
    """
    known = _PDU_TYPES.get(pdu_type)
    if known is None:
        raise UnrecognizedPDU(f"PDU type {pdu_type:02X}H is not in the standard")
    return known


def decode_body(pdu_type: PDUType, body: memoryview) -> PDU:
    """Decode the bytes that follow the header of a PDU.

    Raises:
        ProtocolError: the body does not have the layout of its type.
    """
    match pdu_type:
        case PDUType.A_ASSOCIATE_RQ:
            return _request(body)
        case PDUType.A_ASSOCIATE_AC:
            return _accept(body)
        case PDUType.P_DATA_TF:
            return PDataTF(pdvs=tuple(_pdvs(body)))
        case PDUType.A_ASSOCIATE_RJ:
            _, result, source, reason = _four_bytes(pdu_type, body)  # Table 9-21, bytes 7-10
            return AssociateRJ(result=result, source=source, reason=reason)
        case PDUType.A_RELEASE_RQ:
            _four_bytes(pdu_type, body)  # Table 9-24, bytes 7-10: reserved
            return ReleaseRQ()
        case PDUType.A_RELEASE_RP:
            _four_bytes(pdu_type, body)  # Table 9-25, bytes 7-10: reserved
            return ReleaseRP()
        case PDUType.A_ABORT:
            _, _, source, reason = _four_bytes(pdu_type, body)  # Table 9-26, bytes 7-10
            return _abort(source, reason)
        case _:
            assert_never(pdu_type)


def _four_bytes(pdu_type: PDUType, body: memoryview) -> memoryview:
    if len(body) != 4:
        raise InvalidParameterValue(f"{pdu_type} of {len(body)} bytes, where the standard has 4")
    return body


def _abort(source: int, reason: int) -> Abort:
    """Build an A-ABORT; the reason is not significant in a user's (PS3.8 Table 9-26)."""
    if source == AbortSource.USER:
        return Abort()
    known = _ABORT_REASONS.get(reason, AbortReason.NOT_SPECIFIED)
    return Abort(source=AbortSource.PROVIDER, reason=known)


def _pdvs(body: memoryview) -> Iterator[PDV]:
    fields = Fields(body, "P-DATA-TF")
    while not fields.exhausted:
        pdv = Fields(fields.read(fields.number(4)), "presentation data value")  # Table 9-23, bytes 1-4
        context_id, control = pdv.read(2)  # bytes 5 and 6
        yield PDV(
            context_id=context_id,
            is_command=bool(control & 1),
            is_last=bool(control & 2),
            data=bytes(pdv.rest()),
        )


def _request(body: memoryview) -> AssociateRQ:
    """Decode PS3.8 Table 9-11."""
    version, called, calling, items = _fixed_part(body, "A-ASSOCIATE-RQ")
    if not version & 1:
        return AssociateRQ(
            called_ae_title=called,
            calling_ae_title=calling,
            presentation_contexts=(),
            user_information=UserInformation(maximum_length=0, implementation_class_uid=""),
            application_context="",
            protocol_version=version,
        )
    parts = Parts(items, "A-ASSOCIATE-RQ")
    contexts = tuple(map(_proposed_context, parts.all(ItemType.PRESENTATION_CONTEXT)))
    if not contexts:
        raise UnexpectedParameter("A-ASSOCIATE-RQ proposes no presentation context")
    _check_ids(contexts)
    return AssociateRQ(
        called_ae_title=called,
        calling_ae_title=calling,
        presentation_contexts=contexts,
        user_information=_user_information(parts),
        application_context=uid(parts.one(ItemType.APPLICATION_CONTEXT) or b""),
        protocol_version=version,
        unknown=parts.unknown(),
    )


def _accept(body: memoryview) -> AssociateAC:
    """Decode PS3.8 Table 9-17."""
    version, called, calling, items = _fixed_part(body, "A-ASSOCIATE-AC")
    parts = Parts(items, "A-ASSOCIATE-AC")
    contexts = tuple(map(_context_result, parts.all(ItemType.PRESENTATION_CONTEXT_RESULT)))
    _check_ids(contexts)
    return AssociateAC(
        called_ae_title=called,
        calling_ae_title=calling,
        presentation_contexts=contexts,
        user_information=_user_information(parts),
        application_context=uid(parts.one(ItemType.APPLICATION_CONTEXT) or b""),
        protocol_version=version,
        unknown=parts.unknown(),
    )


def _fixed_part(body: memoryview, pdu: str) -> tuple[int, str, str, memoryview]:
    """Decode bytes 7-74 and return (protocol version, called and calling AE title, the items from byte 75 on)."""
    fields = Fields(body, pdu)
    version = fields.number(2)  # 7-8: protocol version
    fields.read(2)  # 9-10: reserved
    called = uid(fields.read(16))  # 11-26: Called-AE-title
    calling = uid(fields.read(16))  # 27-42: Calling-AE-title
    fields.read(32)  # 43-74: reserved
    return version, called, calling, fields.rest()


def _check_ids(contexts: Iterable[PresentationContext | PresentationContextResult]) -> None:
    fault = fault_in_ids(context.id for context in contexts)
    if fault:
        raise InvalidParameterValue(fault)


def _user_information(parts: Parts) -> UserInformation:
    data = parts.one(ItemType.USER_INFORMATION)
    if data is None:
        raise UnexpectedParameter("the user information item is missing")
    return decode_user_information(data)


def _proposed_context(data: memoryview) -> PresentationContext:
    """Decode PS3.8 Table 9-13. A context without transfer syntaxes can be refused; the abstract syntax is required."""
    fields = Fields(data, "presentation context item")
    context_id = fields.read(4)[0]  # 5: context ID; 6-8: reserved
    parts = Parts(fields.rest(), f"presentation context {context_id}")
    abstract_syntax = parts.one(ItemType.ABSTRACT_SYNTAX)
    if abstract_syntax is None:
        raise UnexpectedParameter(f"presentation context {context_id} has no abstract syntax")
    return PresentationContext(
        id=context_id,
        abstract_syntax=uid(abstract_syntax),
        transfer_syntaxes=tuple(map(uid, parts.all(ItemType.TRANSFER_SYNTAX))),
        unknown=parts.unknown(),
    )


def _context_result(data: memoryview) -> PresentationContextResult:
    """Decode PS3.8 Table 9-18. A result that is not in the table counts as a refusal."""
    fields = Fields(data, "presentation context item")
    context_id, _, result, _ = fields.read(4)  # 5: context ID; 6: reserved; 7: result; 8: reserved
    parts = Parts(fields.rest(), f"presentation context {context_id}")
    known = _CONTEXT_RESULTS.get(result, ContextResult.NO_REASON)
    transfer_syntax = uid(parts.one(ItemType.TRANSFER_SYNTAX) or b"")
    if known is ContextResult.ACCEPTANCE and not transfer_syntax:
        raise UnexpectedParameter(f"presentation context {context_id} is accepted without a transfer syntax")
    return PresentationContextResult(
        id=context_id, result=known, transfer_syntax=transfer_syntax, unknown=parts.unknown()
    )
