"""What can go wrong, each with its answer on the wire.

A `ProtocolError` is the peer's: it ends the association with an A-ABORT whose reason (PS3.8 Table 9-26) its class
names, and its text says in words what was wrong, the peer's own text escaped. A `LocalError` is ours: a primitive
where the state table has a blank, a value that fits no field. It never reaches the wire,
and the one kind a peer can bring about, by being faster than we are, is `Overtaken`.
"""

from typing import ClassVar

from pdu.pdus import AbortReason


class LocalError(RuntimeError):
    """The caller broke the engine's contract; nothing was sent and the state has not changed."""


class Overtaken(LocalError):
    """A primitive that came too late: meanwhile the peer released or aborted, the connection went, or time ran out.
    No bug of the caller; the indication that tells of it has been given."""


class ProtocolError(Exception):
    """The peer broke PS3.8."""

    abort_reason: ClassVar[AbortReason] = AbortReason.NOT_SPECIFIED


class UnrecognizedPDU(ProtocolError):
    """A PDU type that PS3.8 does not have: often another protocol on our port."""

    abort_reason = AbortReason.UNRECOGNIZED_PDU


class UnexpectedPDU(ProtocolError):
    """A PDU that has no business in this state (Table 9-10)."""

    abort_reason = AbortReason.UNEXPECTED_PDU


class UnexpectedParameter(ProtocolError):
    """An item that is there twice, or that is missing."""

    abort_reason = AbortReason.UNEXPECTED_PDU_PARAMETER


class InvalidParameterValue(ProtocolError):
    """A field that says what cannot be."""

    abort_reason = AbortReason.INVALID_PDU_PARAMETER_VALUE


class Overrun(InvalidParameterValue):
    """An item that ends beyond its parent, or a parent that ends within an item."""


class PDUTooLong(InvalidParameterValue):
    """A length over the cap that holds for this PDU type, judged from the header."""


class ContextNotAccepted(InvalidParameterValue):
    """A PDV on a presentation context that was not accepted."""
