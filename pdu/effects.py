"""What the engine answers: effects for the transport, indications for the service user.

Both come in ONE ordered list, and the transport goes through it in order: what stands before a `CloseTransport` is
sent before the connection closes, what stands before a `Send` was said by the peer before. Nothing here acts.
"""

from typing import NamedTuple, TypeAlias

from attrs import frozen

from pdu.errors import ProtocolError
from pdu.pdus import AbortReason, AbortSource, AssociateAC, AssociateRJ, AssociateRQ, Buffer


@frozen
class Send:
    """Write these buffers, all of them, before anything that follows. A transport that cannot must close."""

    buffers: list[Buffer]


@frozen
class StartArtim:
    """Start the Association Request/Reject/Release Timer (PS3.8 9.1.5), or start it again where it runs; when it is
    over call `artim_expired`."""


@frozen
class StopArtim:
    """Stop the timer if it runs."""


@frozen
class CloseTransport:
    """Close the transport connection; on one that is closed already, do nothing."""


Effect: TypeAlias = Send | StartArtim | StopArtim | CloseTransport


@frozen
class AssociateIndication:
    """A peer asks for an association and the engine has nothing against it: `accept`, `reject` or `abort`."""

    request: AssociateRQ


@frozen
class RequestRefused:
    """The engine itself rejected a request (action AE-6), and why, in words. For the log; nothing to be done."""

    request: AssociateRQ
    rejection: AssociateRJ
    why: str


@frozen
class AssociateConfirm:
    """The peer accepted: the association stands. `accept` holds only answers to what was proposed."""

    accept: AssociateAC


@frozen
class RejectIndication:
    """The peer rejected our request; the connection is over."""

    rejection: AssociateRJ


class Fragment(NamedTuple):
    """A piece of a command or data set, as it arrived: P-DATA indication.

    `data` is a view into the receive buffer, good until the next `writable()`. `is_last` is set on the piece that ends
    the command or data set, and only there; that piece may be empty.
    """

    context_id: int
    is_command: bool
    is_last: bool
    data: memoryview


@frozen
class ReleaseIndication:
    """The peer wants to end the association: `respond_release`. `collision` where both sides asked at once
    (PS3.8 7.2.3): the requestor responds at once, the acceptor after its own `ReleaseConfirm`."""

    collision: bool = False


@frozen
class ReleaseConfirm:
    """The peer agreed to our release."""


@frozen
class AbortIndication:
    """The peer sent an A-ABORT; the association is gone."""

    source: AbortSource
    reason: AbortReason


@frozen
class ProviderAbort:
    """The engine aborted because of what the peer sent; the association, if there was one, is gone.

    Before an association exists (Sta2) the table names no primitive; it is given there too, so that the log can
    say why.
    """

    error: ProtocolError


@frozen
class TransportClosed:
    """The connection went away under the association (A-P-ABORT without a word from the peer)."""


Indication: TypeAlias = (
    Fragment
    | AssociateIndication
    | RequestRefused
    | AssociateConfirm
    | RejectIndication
    | ReleaseIndication
    | ReleaseConfirm
    | AbortIndication
    | ProviderAbort
    | TransportClosed
)
