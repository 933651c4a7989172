"""Bytes to PDUs, for those that are gathered whole: `framing` has seen to their length and to P-DATA-TF.

Everything is read strictly by the lengths on the wire: an item that ends beyond its parent is an `Overrun`, an item
that may be there once is refused the second time. What PS3.8 tells a receiver not to test is not tested: reserved
bytes, the AE titles of an answer, the order of items, types nobody knows.
"""

import struct
from collections.abc import Iterable, Iterator
from typing import assert_never

from pdu.errors import InvalidParameterValue, Overrun, UnexpectedParameter, UnrecognizedPDU
from pdu.fields import Fields, Parts, uid
from pdu.items import ContextResult, PresentationContext, PresentationContextResult, UserInformation, fault_in_ids
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
"""PS3.8 Table 9-11, bytes 1-6, alike in all PDUs: type, length of what follows."""
PDV_HEADER = struct.Struct(">LBB")
"""PS3.8 Table 9-23: length of what follows, context ID, message control header (annex E.2)."""

_PDU_TYPES = {int(known): known for known in PDUType}
_ABORT_REASONS = {int(known): known for known in AbortReason}
_CONTEXT_RESULTS = {int(known): known for known in ContextResult}


def decode(data: Buffer) -> PDU:
    """One whole PDU, header included, and nothing else; `ProtocolError` where it is not one."""
    view = memoryview(data)
    if len(view) < HEADER.size:
        raise Overrun("a PDU header needs six bytes")
    pdu_type, length = HEADER.unpack_from(view)
    if length != len(view) - HEADER.size:
        raise Overrun(f"a PDU of {length} bytes by its header has {len(view) - HEADER.size}")
    return decode_body(known_type(pdu_type), view[HEADER.size :])


def known_type(pdu_type: int) -> PDUType:
    """The PDU type of a header's first byte; `UnrecognizedPDU` where the standard has none."""
    known = _PDU_TYPES.get(pdu_type)
    if known is None:
        raise UnrecognizedPDU(f"PDU type {pdu_type:02X}H is not in the standard")
    return known


def decode_body(pdu_type: PDUType, body: memoryview) -> PDU:
    """A PDU of a known type from what follows its header."""
    match pdu_type:
        case PDUType.A_ASSOCIATE_RQ:
            return _request(body)
        case PDUType.A_ASSOCIATE_AC:
            return _accept(body)
        case PDUType.P_DATA_TF:
            return PDataTF(pdvs=tuple(_pdvs(body)))
        case PDUType.A_ASSOCIATE_RJ:
            _, result, source, reason = _four(pdu_type, body)
            return AssociateRJ(result=result, source=source, reason=reason)
        case PDUType.A_RELEASE_RQ:
            _four(pdu_type, body)
            return ReleaseRQ()
        case PDUType.A_RELEASE_RP:
            _four(pdu_type, body)
            return ReleaseRP()
        case PDUType.A_ABORT:
            _, _, source, reason = _four(pdu_type, body)
            return _abort(source, reason)
        case _:
            assert_never(pdu_type)


def _four(pdu_type: PDUType, body: memoryview) -> memoryview:
    if len(body) != 4:
        raise InvalidParameterValue(f"{pdu_type} of {len(body)} bytes, where the standard has 4")
    return body


def _abort(source: int, reason: int) -> Abort:
    """PS3.8 Table 9-26: of a user's abort the reason is not significant."""
    if source == AbortSource.USER:
        return Abort()
    known = _ABORT_REASONS.get(reason, AbortReason.NOT_SPECIFIED)
    return Abort(source=AbortSource.PROVIDER, reason=known)


def _pdvs(body: memoryview) -> Iterator[PDV]:
    fields = Fields(body, "P-DATA-TF")
    while not fields.exhausted:
        pdv = Fields(fields.take(fields.number(4)), "presentation data value")
        context_id, control = pdv.take(2)
        yield PDV(
            context_id=context_id,
            is_command=bool(control & 1),
            is_last=bool(control & 2),
            data=bytes(pdv.rest()),
        )


def _request(body: memoryview) -> AssociateRQ:
    """PS3.8 Table 9-11."""
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
    contexts = tuple(map(_proposed_context, parts.all(0x20)))
    if not contexts:
        raise UnexpectedParameter("A-ASSOCIATE-RQ proposes no presentation context")
    _check_ids(contexts)
    return AssociateRQ(
        called_ae_title=called,
        calling_ae_title=calling,
        presentation_contexts=contexts,
        user_information=_user_information(parts),
        application_context=uid(parts.one(0x10) or b""),
        protocol_version=version,
        unknown=parts.unknown(),
    )


def _accept(body: memoryview) -> AssociateAC:
    """PS3.8 Table 9-17."""
    version, called, calling, items = _fixed_part(body, "A-ASSOCIATE-AC")
    parts = Parts(items, "A-ASSOCIATE-AC")
    contexts = tuple(map(_judged_context, parts.all(0x21)))
    _check_ids(contexts)
    return AssociateAC(
        called_ae_title=called,
        calling_ae_title=calling,
        presentation_contexts=contexts,
        user_information=_user_information(parts),
        application_context=uid(parts.one(0x10) or b""),
        protocol_version=version,
        unknown=parts.unknown(),
    )


def _fixed_part(body: memoryview, pdu: str) -> tuple[int, str, str, memoryview]:
    """Bytes 7-74: protocol version, called and calling AE title, 32 bytes that are reserved; then the items."""
    fields = Fields(body, pdu)
    version = fields.number(2)
    fields.take(2)
    called = uid(fields.take(16))
    calling = uid(fields.take(16))
    fields.take(32)
    return version, called, calling, fields.rest()


def _check_ids(contexts: Iterable[PresentationContext | PresentationContextResult]) -> None:
    fault = fault_in_ids(context.id for context in contexts)
    if fault:
        raise InvalidParameterValue(fault)


def _user_information(parts: Parts) -> UserInformation:
    data = parts.one(0x50)
    if data is None:
        raise UnexpectedParameter("the user information item is missing")
    return decode_user_information(data)


def _proposed_context(data: memoryview) -> PresentationContext:
    """PS3.8 Table 9-13. A context without transfer syntaxes can be answered, one without a subject cannot."""
    fields = Fields(data, "presentation context item")
    context_id = fields.take(4)[0]
    parts = Parts(fields.rest(), f"presentation context {context_id}")
    abstract_syntax = parts.one(0x30)
    if abstract_syntax is None:
        raise UnexpectedParameter(f"presentation context {context_id} has no abstract syntax")
    return PresentationContext(
        id=context_id,
        abstract_syntax=uid(abstract_syntax),
        transfer_syntaxes=tuple(map(uid, parts.all(0x40))),
        unknown=parts.unknown(),
    )


def _judged_context(data: memoryview) -> PresentationContextResult:
    """PS3.8 Table 9-18. A result that is not in the table is no acceptance."""
    fields = Fields(data, "presentation context item")
    context_id, _, result, _ = fields.take(4)
    parts = Parts(fields.rest(), f"presentation context {context_id}")
    known = _CONTEXT_RESULTS.get(result, ContextResult.NO_REASON)
    transfer_syntax = uid(parts.one(0x40) or b"")
    if known is ContextResult.ACCEPTANCE and not transfer_syntax:
        raise UnexpectedParameter(f"presentation context {context_id} is accepted without a transfer syntax")
    return PresentationContextResult(
        id=context_id, result=known, transfer_syntax=transfer_syntax, unknown=parts.unknown()
    )
