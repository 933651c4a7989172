"""The seven PDUs of PS3.8 9.3 as values, and the codes of their tables.

Not here: bytes (`reader`, `writer`). A P-DATA-TF is a value for tests and tools only; the router receives fragments
as they arrive (`framing`) and never builds one.
"""

from enum import Enum, IntEnum
from typing import Self, TypeAlias

from attrs import frozen

from pdu.items import (
    DICOM_APPLICATION_CONTEXT,
    PresentationContext,
    PresentationContextResult,
    UnknownItem,
    UserInformation,
)

Buffer: TypeAlias = bytes | bytearray | memoryview
"""Types that bytes are passed in. Wrap any other object with the buffer protocol: `memoryview(mmap)`."""


class PDUType(IntEnum):
    """Byte 1 of every PDU."""

    A_ASSOCIATE_RQ = 0x01
    A_ASSOCIATE_AC = 0x02
    A_ASSOCIATE_RJ = 0x03
    P_DATA_TF = 0x04
    A_RELEASE_RQ = 0x05
    A_RELEASE_RP = 0x06
    A_ABORT = 0x07

    def __str__(self) -> str:
        return self.name.replace("_", "-")


@frozen(kw_only=True)
class AssociateRQ:
    """A-ASSOCIATE-RQ (PS3.8 9.3.2). AE titles have at most 16 characters and no padding.

    In another protocol version only the version and the titles are read: the layout of the rest is unknown.
    """

    called_ae_title: str
    calling_ae_title: str
    presentation_contexts: tuple[PresentationContext, ...]
    user_information: UserInformation
    application_context: str = DICOM_APPLICATION_CONTEXT
    protocol_version: int = 1
    unknown: tuple[UnknownItem, ...] = ()


@frozen(kw_only=True)
class AssociateAC:
    """A-ASSOCIATE-AC (PS3.8 9.3.3). The AE titles repeat those of the request; a receiver does not test them."""

    called_ae_title: str
    calling_ae_title: str
    presentation_contexts: tuple[PresentationContextResult, ...]
    user_information: UserInformation
    application_context: str = DICOM_APPLICATION_CONTEXT
    protocol_version: int = 1
    unknown: tuple[UnknownItem, ...] = ()


class RejectResult(IntEnum):
    """PS3.8 Table 9-21, byte 8."""

    PERMANENT = 1
    TRANSIENT = 2


class RejectSource(IntEnum):
    """PS3.8 Table 9-21, byte 9."""

    SERVICE_USER = 1
    SERVICE_PROVIDER_ACSE = 2
    SERVICE_PROVIDER_PRESENTATION = 3


class Rejection(Enum):
    """The rows of PS3.8 Table 9-21 as (result, source, reason), with the result that is usual for each."""

    NO_REASON_GIVEN = (1, 1, 1)
    APPLICATION_CONTEXT_NAME_NOT_SUPPORTED = (1, 1, 2)
    CALLING_AE_TITLE_NOT_RECOGNIZED = (1, 1, 3)
    CALLED_AE_TITLE_NOT_RECOGNIZED = (1, 1, 7)
    NO_REASON_GIVEN_BY_ACSE = (1, 2, 1)
    PROTOCOL_VERSION_NOT_SUPPORTED = (1, 2, 2)
    TEMPORARY_CONGESTION = (2, 3, 1)
    LOCAL_LIMIT_EXCEEDED = (2, 3, 2)


@frozen(kw_only=True)
class AssociateRJ:
    """A-ASSOCIATE-RJ (PS3.8 9.3.4). The codes are plain numbers, because peers send reserved ones."""

    result: int
    source: int
    reason: int

    @classmethod
    def because(cls, rejection: Rejection) -> Self:
        """Return the PDU of a rejection."""
        result, source, reason = rejection.value
        return cls(result=result, source=source, reason=reason)

    @property
    def transient(self) -> bool:
        """True if the same request may be accepted later."""
        return self.result == RejectResult.TRANSIENT

    @property
    def message(self) -> str:
        """The text for a log, such as "rejected for now: local limit exceeded (2,3,2)"."""
        names = {row.value[1:]: row.name.lower().replace("_", " ") for row in Rejection}
        name = names.get((self.source, self.reason), "reserved reason").replace(" ae ", " AE ")
        when = "rejected for now" if self.transient else "rejected"
        return f"{when}: {name} ({self.result},{self.source},{self.reason})"


@frozen(kw_only=True)
class PDV:
    """One presentation data value item (PS3.8 9.3.5.1) with the two bits of its control header (annex E.2)."""

    context_id: int
    is_command: bool
    is_last: bool
    data: bytes


@frozen(kw_only=True)
class PDataTF:
    """P-DATA-TF (PS3.8 9.3.5): one or more PDVs."""

    pdvs: tuple[PDV, ...]


@frozen
class ReleaseRQ:
    """A-RELEASE-RQ (PS3.8 9.3.6)."""


@frozen
class ReleaseRP:
    """A-RELEASE-RP (PS3.8 9.3.7)."""


class AbortSource(IntEnum):
    """PS3.8 Table 9-26, byte 9. The reserved value 1 is read as the provider."""

    USER = 0
    PROVIDER = 2


class AbortReason(IntEnum):
    """PS3.8 Table 9-26, byte 10; significant in an abort by the provider only. Reserved values are read as 0."""

    NOT_SPECIFIED = 0
    UNRECOGNIZED_PDU = 1
    UNEXPECTED_PDU = 2
    UNRECOGNIZED_PDU_PARAMETER = 4
    UNEXPECTED_PDU_PARAMETER = 5
    INVALID_PDU_PARAMETER_VALUE = 6


@frozen(kw_only=True)
class Abort:
    """A-ABORT (PS3.8 9.3.8)."""

    source: AbortSource = AbortSource.USER
    reason: AbortReason = AbortReason.NOT_SPECIFIED


PDU: TypeAlias = AssociateRQ | AssociateAC | AssociateRJ | PDataTF | ReleaseRQ | ReleaseRP | Abort
