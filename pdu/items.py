"""The variable items of the A-ASSOCIATE PDUs, as values.

Shapes only: `reader` and `writer` know the bytes, `negotiation` knows what to answer. Texts are Latin-1 so that no
byte of a peer is lost; UIDs and names come without their padding. An item nobody here knows is an `UnknownItem`: it
is ignored (PS3.8 D.2), kept, and written again where its parent is.
"""

from collections.abc import Iterable
from enum import IntEnum

from attrs import frozen

DICOM_APPLICATION_CONTEXT = "1.2.840.10008.3.1.1.1"
"""The one application context name of DICOM (PS3.7 A.2.1)."""


@frozen(kw_only=True)
class UnknownItem:
    """An item or sub-item of a type that is not in the standard, byte for byte."""

    item_type: int
    data: bytes


@frozen(kw_only=True)
class PresentationContext:
    """One proposal of an A-ASSOCIATE-RQ (PS3.8 9.3.2.2): an odd ID of 1-255, what, and in which encodings."""

    id: int
    abstract_syntax: str
    transfer_syntaxes: tuple[str, ...]
    unknown: tuple[UnknownItem, ...] = ()


class ContextResult(IntEnum):
    """What the acceptor made of one proposal (PS3.8 Table 9-18, byte 7)."""

    ACCEPTANCE = 0
    USER_REJECTION = 1
    NO_REASON = 2
    ABSTRACT_SYNTAX_NOT_SUPPORTED = 3
    TRANSFER_SYNTAXES_NOT_SUPPORTED = 4


@frozen(kw_only=True)
class PresentationContextResult:
    """One answer of an A-ASSOCIATE-AC (PS3.8 9.3.3.2).

    `transfer_syntax` counts only beside `ACCEPTANCE`; a refusal still carries the item on the wire, and may leave
    it empty.
    """

    id: int
    result: ContextResult
    transfer_syntax: str = ""
    unknown: tuple[UnknownItem, ...] = ()


@frozen(kw_only=True)
class RoleSelection:
    """SCP/SCU role selection (PS3.7 D.3.3.4): in a request what the requestor offers to be, in an answer what it
    may be."""

    sop_class_uid: str
    scu_role: bool
    scp_role: bool


@frozen(kw_only=True)
class AsynchronousOperationsWindow:
    """How many operations may be outstanding (PS3.7 D.3.3.3), seen from the requestor; 0 means no limit."""

    invoked: int
    performed: int


@frozen(kw_only=True)
class SOPClassExtendedNegotiation:
    """Application information of one service class (PS3.7 D.3.3.5), opaque here."""

    sop_class_uid: str
    information: bytes


@frozen(kw_only=True)
class SOPClassCommonExtendedNegotiation:
    """Which service class a SOP class belongs to and which general ones it is related to (PS3.7 D.3.3.6)."""

    sop_class_uid: str
    service_class_uid: str
    related: tuple[str, ...] = ()


@frozen(kw_only=True)
class UserIdentity:
    """Who the requestor says it is (PS3.7 D.3.3.7.1). Types: 1 user name, 2 name and passcode, 3 Kerberos ticket,
    4 SAML assertion, 5 JSON web token. The fields never show in a `repr`, so never in a log."""

    identity_type: int
    positive_response_requested: bool
    primary_field: bytes
    secondary_field: bytes = b""

    def __repr__(self) -> str:
        return f"UserIdentity(identity_type={self.identity_type}, ...)"


@frozen(kw_only=True)
class UserIdentityResponse:
    """The acceptor's positive answer to a user identity (PS3.7 D.3.3.7.2)."""

    server_response: bytes = b""


@frozen(kw_only=True)
class UserInformation:
    """The user information item (PS3.8 9.3.2.3, sub-items in its annex D and in PS3.7 annex D).

    `maximum_length` is the longest variable field of a P-DATA-TF its sender can receive, in bytes; 0 means no limit,
    and is what a peer that says nothing gets. An empty `implementation_class_uid` means that the peer left it out.
    """

    maximum_length: int
    implementation_class_uid: str
    implementation_version_name: str | None = None
    asynchronous_operations_window: AsynchronousOperationsWindow | None = None
    roles: tuple[RoleSelection, ...] = ()
    extended: tuple[SOPClassExtendedNegotiation, ...] = ()
    common_extended: tuple[SOPClassCommonExtendedNegotiation, ...] = ()
    user_identity: UserIdentity | None = None
    user_identity_response: UserIdentityResponse | None = None
    unknown: tuple[UnknownItem, ...] = ()


def fault_in_ids(ids: Iterable[int]) -> str | None:
    """Say what is wrong with the presentation context IDs of one PDU (PS3.8 9.3.2.2: odd, 1-255, each once)."""
    seen: set[int] = set()
    for context_id in ids:
        if not (1 <= context_id <= 255 and context_id % 2):
            return f"presentation context ID {context_id} is not an odd number between 1 and 255"
        if context_id in seen:
            return f"presentation context ID {context_id} is used twice"
        seen.add(context_id)
    return None
