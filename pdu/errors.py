"""Errors of the peer, each with its reason on the wire, and errors of the caller.

A `ProtocolError` is the peer's. It ends the association with an A-ABORT; its class names the reason (PS3.8 Table
9-26), its text the fault, with text of the peer's own escaped. A `LocalError` is the caller's: a primitive where the
state table has a blank cell, or a value that does not fit its field. It never reaches the wire. `Overtaken` is the only
`LocalError` that a peer can cause.
"""

from typing import ClassVar

from pdu.pdus import AbortReason


class LocalError(RuntimeError):
    """The caller broke the engine's contract; nothing was sent and the state has not changed."""


class Overtaken(LocalError):
    """A primitive came too late: the peer released or aborted, the connection closed, or the timer ran out first.

    Not a bug of the caller. The engine has already indicated the end of the association.
    """


class ProtocolError(Exception):
    """The peer broke PS3.8."""

    abort_reason: ClassVar[AbortReason] = AbortReason.NOT_SPECIFIED


class UnrecognizedPDU(ProtocolError):
    """A PDU type that PS3.8 does not define: often another protocol on our port."""

    abort_reason = AbortReason.UNRECOGNIZED_PDU


class UnexpectedPDU(ProtocolError):
    """A PDU that is not allowed in this state (Table 9-10)."""

    abort_reason = AbortReason.UNEXPECTED_PDU


class UnexpectedParameter(ProtocolError):
    """An item that is repeated or missing."""

    abort_reason = AbortReason.UNEXPECTED_PDU_PARAMETER


class InvalidParameterValue(ProtocolError):
    """A field with a value that the standard does not allow."""

    abort_reason = AbortReason.INVALID_PDU_PARAMETER_VALUE


class Overrun(InvalidParameterValue):
    """An item that ends beyond its parent, or a parent that ends within an item."""


class PDUTooLong(InvalidParameterValue):
    """A length in a PDU header above the cap for its type."""


class ContextNotAccepted(InvalidParameterValue):
    """A PDV on a presentation context that was not accepted."""
