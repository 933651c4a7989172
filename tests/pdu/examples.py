"""PDUs beside their bytes, laid out by hand from the tables of PS3.8 9.3, PS3.8 D.1 and PS3.7 D.3.3."""

from pdu import (
    PDU,
    PDV,
    Abort,
    AbortReason,
    AbortSource,
    AssociateAC,
    AssociateRJ,
    AssociateRQ,
    AsynchronousOperationsWindow,
    ContextResult,
    PDataTF,
    PresentationContext,
    PresentationContextResult,
    Rejection,
    ReleaseRP,
    ReleaseRQ,
    RoleSelection,
    SOPClassCommonExtendedNegotiation,
    SOPClassExtendedNegotiation,
    UnknownItem,
    UserIdentity,
    UserIdentityResponse,
    UserInformation,
)

APPLICATION_CONTEXT = b"\x10\x00\x00\x15" + b"1.2.840.10008.3.1.1.1"


def titles(called: bytes, calling: bytes) -> bytes:
    """Protocol version 1, two reserved bytes, both AE titles padded to 16, 32 reserved bytes."""
    return b"\x00\x01\x00\x00" + called.ljust(16) + calling.ljust(16) + bytes(32)


EXAMPLES: dict[str, tuple[PDU, bytes]] = {
    "the smallest request": (
        AssociateRQ(
            called_ae_title="ARCHIVE",
            calling_ae_title="CT1",
            presentation_contexts=(PresentationContext(id=1, abstract_syntax="1.2", transfer_syntaxes=("1.3",)),),
            user_information=UserInformation(maximum_length=16384, implementation_class_uid="1.9"),
        ),
        b"\x01\x00\x00\x00\x00\x86"
        + titles(b"ARCHIVE", b"CT1")
        + APPLICATION_CONTEXT
        + b"\x20\x00\x00\x12\x01\x00\x00\x00"
        + b"\x30\x00\x00\x03"
        + b"1.2"
        + b"\x40\x00\x00\x03"
        + b"1.3"
        + b"\x50\x00\x00\x0f"
        + b"\x51\x00\x00\x04\x00\x00\x40\x00"
        + b"\x52\x00\x00\x03"
        + b"1.9",
    ),
    "a request with every item there is": (
        AssociateRQ(
            called_ae_title="SIXTEEN-LONG-AET",
            calling_ae_title="M\xfcNCHEN",
            presentation_contexts=(
                PresentationContext(id=1, abstract_syntax="1.2", transfer_syntaxes=("1.3", "1.4")),
                PresentationContext(
                    id=255,
                    abstract_syntax="1.5",
                    transfer_syntaxes=("1.3",),
                    unknown=(UnknownItem(item_type=0x41, data=b"?"),),
                ),
            ),
            user_information=UserInformation(
                maximum_length=0,
                implementation_class_uid="1.9",
                implementation_version_name="NAME_1",
                asynchronous_operations_window=AsynchronousOperationsWindow(invoked=5, performed=0),
                roles=(RoleSelection(sop_class_uid="1.2", scu_role=False, scp_role=True),),
                extended=(SOPClassExtendedNegotiation(sop_class_uid="1.2", information=b"\x02\x00\x01"),),
                common_extended=(
                    SOPClassCommonExtendedNegotiation(
                        sop_class_uid="1.2", service_class_uid="1.6", related=("1.7", "1.80")
                    ),
                ),
                user_identity=UserIdentity(
                    identity_type=2,
                    positive_response_requested=True,
                    primary_field=b"joe",
                    secondary_field=b"pw",
                ),
                unknown=(UnknownItem(item_type=0x5A, data=b"new"),),
            ),
            unknown=(UnknownItem(item_type=0x99, data=b""),),
        ),
        b"\x01\x00\x00\x00\x01\x06"
        + titles(b"SIXTEEN-LONG-AET", b"M\xfcNCHEN")
        + APPLICATION_CONTEXT
        + b"\x20\x00\x00\x19\x01\x00\x00\x00"
        + b"\x30\x00\x00\x03"
        + b"1.2"
        + b"\x40\x00\x00\x03"
        + b"1.3"
        + b"\x40\x00\x00\x03"
        + b"1.4"
        + b"\x20\x00\x00\x17\xff\x00\x00\x00"
        + b"\x30\x00\x00\x03"
        + b"1.5"
        + b"\x40\x00\x00\x03"
        + b"1.3"
        + b"\x41\x00\x00\x01"
        + b"?"
        + b"\x50\x00\x00\x69"
        + b"\x51\x00\x00\x04\x00\x00\x00\x00"
        + b"\x52\x00\x00\x03"
        + b"1.9"
        + b"\x53\x00\x00\x04\x00\x05\x00\x00"
        + b"\x54\x00\x00\x07\x00\x03"
        + b"1.2"
        + b"\x00\x01"
        + b"\x55\x00\x00\x06"
        + b"NAME_1"
        + b"\x56\x00\x00\x08\x00\x03"
        + b"1.2"
        + b"\x02\x00\x01"
        + b"\x57\x00\x00\x17\x00\x03"
        + b"1.2"
        + b"\x00\x03"
        + b"1.6"
        + b"\x00\x0b"
        + b"\x00\x03"
        + b"1.7"
        + b"\x00\x04"
        + b"1.80"
        + b"\x58\x00\x00\x0b\x02\x01\x00\x03"
        + b"joe"
        + b"\x00\x02"
        + b"pw"
        + b"\x5a\x00\x00\x03"
        + b"new"
        + b"\x99\x00\x00\x00",
    ),
    "an answer with every result": (
        AssociateAC(
            called_ae_title="ARCHIVE",
            calling_ae_title="CT1",
            presentation_contexts=(
                PresentationContextResult(id=1, result=ContextResult.ACCEPTANCE, transfer_syntax="1.3"),
                PresentationContextResult(id=3, result=ContextResult.USER_REJECTION, transfer_syntax="1.3"),
                PresentationContextResult(id=5, result=ContextResult.NO_REASON),
                PresentationContextResult(id=7, result=ContextResult.ABSTRACT_SYNTAX_NOT_SUPPORTED),
                PresentationContextResult(id=9, result=ContextResult.TRANSFER_SYNTAXES_NOT_SUPPORTED),
            ),
            user_information=UserInformation(
                maximum_length=131072,
                implementation_class_uid="1.9",
                user_identity_response=UserIdentityResponse(server_response=b"ok"),
            ),
        ),
        b"\x02\x00\x00\x00\x00\xba"
        + titles(b"ARCHIVE", b"CT1")
        + APPLICATION_CONTEXT
        + b"\x21\x00\x00\x0b\x01\x00\x00\x00\x40\x00\x00\x03"
        + b"1.3"
        + b"\x21\x00\x00\x0b\x03\x00\x01\x00\x40\x00\x00\x03"
        + b"1.3"
        + b"\x21\x00\x00\x08\x05\x00\x02\x00\x40\x00\x00\x00"
        + b"\x21\x00\x00\x08\x07\x00\x03\x00\x40\x00\x00\x00"
        + b"\x21\x00\x00\x08\x09\x00\x04\x00\x40\x00\x00\x00"
        + b"\x50\x00\x00\x17"
        + b"\x51\x00\x00\x04\x00\x02\x00\x00"
        + b"\x52\x00\x00\x03"
        + b"1.9"
        + b"\x59\x00\x00\x04\x00\x02"
        + b"ok",
    ),
    "a permanent rejection": (
        AssociateRJ.because(Rejection.CALLED_AE_TITLE_NOT_RECOGNIZED),
        b"\x03\x00\x00\x00\x00\x04\x00\x01\x01\x07",
    ),
    "a transient rejection": (
        AssociateRJ.because(Rejection.LOCAL_LIMIT_EXCEEDED),
        b"\x03\x00\x00\x00\x00\x04\x00\x02\x03\x02",
    ),
    "a rejection for a reserved reason": (
        AssociateRJ(result=1, source=1, reason=10),
        b"\x03\x00\x00\x00\x00\x04\x00\x01\x01\x0a",
    ),
    "data: a command and a data set in one PDU": (
        PDataTF(
            pdvs=(
                PDV(context_id=1, is_command=True, is_last=True, data=b"command"),
                PDV(context_id=1, is_command=False, is_last=False, data=b"data"),
            )
        ),
        b"\x04\x00\x00\x00\x00\x17" + b"\x00\x00\x00\x09\x01\x03" + b"command" + b"\x00\x00\x00\x06\x01\x00" + b"data",
    ),
    "data: an empty last PDV": (
        PDataTF(pdvs=(PDV(context_id=3, is_command=False, is_last=True, data=b""),)),
        b"\x04\x00\x00\x00\x00\x06" + b"\x00\x00\x00\x02\x03\x02",
    ),
    "a release request": (ReleaseRQ(), b"\x05\x00\x00\x00\x00\x04\x00\x00\x00\x00"),
    "a release response": (ReleaseRP(), b"\x06\x00\x00\x00\x00\x04\x00\x00\x00\x00"),
    "an abort by the user": (Abort(), b"\x07\x00\x00\x00\x00\x04\x00\x00\x00\x00"),
    "an abort by the provider": (
        Abort(source=AbortSource.PROVIDER, reason=AbortReason.UNEXPECTED_PDU),
        b"\x07\x00\x00\x00\x00\x04\x00\x00\x02\x02",
    ),
}
