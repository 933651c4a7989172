"""The variable items of the A-ASSOCIATE PDUs, as values.

Values only: `reader` and `writer` know the bytes, `negotiation` knows the answers. Texts are Latin-1, so that no byte
of a peer is lost; UIDs and names are without padding. An item of a type that is not in the standard is an
`UnknownItem`: it is ignored (PS3.8 D.2), kept, and written again with its parent.
"""

from collections.abc import Iterable
from enum import IntEnum

from attrs import frozen

DICOM_APPLICATION_CONTEXT = "1.2.840.10008.3.1.1.1"
"""The only application context name of DICOM (PS3.7 A.2.1)."""


class ItemType(IntEnum):
    """Type of an item or sub-item of an A-ASSOCIATE PDU: its first byte."""

    APPLICATION_CONTEXT = 0x10
    """PS3.8 9.3.2.1."""
    PRESENTATION_CONTEXT = 0x20
    """Of an A-ASSOCIATE-RQ: PS3.8 9.3.2.2."""
    PRESENTATION_CONTEXT_RESULT = 0x21
    """Of an A-ASSOCIATE-AC: PS3.8 9.3.3.2."""
    ABSTRACT_SYNTAX = 0x30
    """PS3.8 9.3.2.2.1."""
    TRANSFER_SYNTAX = 0x40
    """PS3.8 9.3.2.2.2 and 9.3.3.2.1."""
    USER_INFORMATION = 0x50
    """PS3.8 9.3.2.3 and 9.3.3.3."""
    MAXIMUM_LENGTH = 0x51
    """PS3.8 D.1.1."""
    IMPLEMENTATION_CLASS_UID = 0x52
    """PS3.7 D.3.3.2.1."""
    ASYNCHRONOUS_OPERATIONS_WINDOW = 0x53
    """PS3.7 D.3.3.3."""
    ROLE_SELECTION = 0x54
    """PS3.7 D.3.3.4."""
    IMPLEMENTATION_VERSION_NAME = 0x55
    """PS3.7 D.3.3.2.3."""
    EXTENDED_NEGOTIATION = 0x56
    """PS3.7 D.3.3.5."""
    COMMON_EXTENDED_NEGOTIATION = 0x57
    """PS3.7 D.3.3.6."""
    USER_IDENTITY = 0x58
    """Of an A-ASSOCIATE-RQ: PS3.7 D.3.3.7.1."""
    USER_IDENTITY_RESPONSE = 0x59
    """Of an A-ASSOCIATE-AC: PS3.7 D.3.3.7.2."""


@frozen(kw_only=True)
class UnknownItem:
    """An item or sub-item of a type that is not in the standard, byte for byte."""

    item_type: int
    data: bytes


@frozen(kw_only=True)
class PresentationContext:
    """A proposed presentation context: an odd ID, an abstract syntax, its transfer syntaxes (PS3.8 9.3.2.2)."""

    id: int
    abstract_syntax: str
    transfer_syntaxes: tuple[str, ...]
    unknown: tuple[UnknownItem, ...] = ()


class ContextResult(IntEnum):
    """The acceptor's decision on one proposal (PS3.8 Table 9-18, byte 7)."""

    ACCEPTANCE = 0
    USER_REJECTION = 1
    NO_REASON = 2
    ABSTRACT_SYNTAX_NOT_SUPPORTED = 3
    TRANSFER_SYNTAXES_NOT_SUPPORTED = 4


@frozen(kw_only=True)
class PresentationContextResult:
    """The answer to one proposed presentation context (PS3.8 9.3.3.2).

    `transfer_syntax` has a meaning with `ACCEPTANCE` only; a refusal carries the item too, and may leave it empty.
    """

    id: int
    result: ContextResult
    transfer_syntax: str = ""
    unknown: tuple[UnknownItem, ...] = ()


@frozen(kw_only=True)
class RoleSelection:
    """SCP/SCU role selection: the roles that a requestor offers, or those that the acceptor allows (PS3.7 D.3.3.4)."""

    sop_class_uid: str
    scu_role: bool
    scp_role: bool


@frozen(kw_only=True)
class AsynchronousOperationsWindow:
    """Operations that may be outstanding, from the requestor's side; 0 means no limit (PS3.7 D.3.3.3)."""

    invoked: int
    performed: int


@frozen(kw_only=True)
class SOPClassExtendedNegotiation:
    """Application information of one service class, opaque here (PS3.7 D.3.3.5)."""

    sop_class_uid: str
    information: bytes


@frozen(kw_only=True)
class SOPClassCommonExtendedNegotiation:
    """The service class of a SOP class and its related general SOP classes (PS3.7 D.3.3.6)."""

    sop_class_uid: str
    service_class_uid: str
    related: tuple[str, ...] = ()


@frozen(kw_only=True)
class UserIdentity:
    """The requestor's claim of an identity.

    `identity_type`: 1 user name, 2 name and passcode, 3 Kerberos ticket, 4 SAML assertion, 5 JSON web token. A `repr`
    never shows the fields, so that no log does (PS3.7 D.3.3.7.1).
    """

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

    `maximum_length`: bytes that its sender can receive in the variable field of a P-DATA-TF; 0 means no limit, and is
    assumed of a peer that leaves it out. `implementation_class_uid` is empty if the peer left it out.
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
    """Return the fault in the presentation context IDs of one PDU: odd, 1 to 255, each once (PS3.8 9.3.2.2)."""
    seen: set[int] = set()
    for context_id in ids:
        if not (1 <= context_id <= 255 and context_id % 2):
            return f"presentation context ID {context_id} is not an odd number between 1 and 255"
        if context_id in seen:
            return f"presentation context ID {context_id} is used twice"
        seen.add(context_id)
    return None
