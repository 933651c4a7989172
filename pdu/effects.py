"""Effects for the transport and indications for the service user.

Both come in ONE list, which the transport carries out in order: a `Send` before a `CloseTransport` is written before
the connection closes; an indication before a `Send` tells of something that the peer sent earlier. Nothing here acts.
"""

from typing import NamedTuple, TypeAlias

from attrs import frozen

from pdu.errors import ProtocolError
from pdu.pdus import AbortReason, AbortSource, AssociateAC, AssociateRJ, AssociateRQ, Buffer


@frozen
class Send:
    """Write all of these buffers before carrying out the next effect; a transport that cannot closes."""

    buffers: list[Buffer]


@frozen
class StartArtim:
    """Start the Association Request/Reject/Release Timer, or restart it if it runs (PS3.8 9.1.5).

    Call `artim_expired` when it runs out.
    """


@frozen
class StopArtim:
    """Stop the timer if it runs."""


@frozen
class CloseTransport:
    """Close the transport connection; do nothing if it is closed."""


Effect: TypeAlias = Send | StartArtim | StopArtim | CloseTransport


@frozen
class AssociateIndication:
    """A peer requests an association that the engine itself does not refuse: `accept`, `reject` or `abort` it."""

    request: AssociateRQ


@frozen
class RequestRefused:
    """The engine itself rejected a request (action AE-6). For the log: nothing remains to be done."""

    request: AssociateRQ
    rejection: AssociateRJ
    why: str


@frozen
class AssociateConfirm:
    """The peer accepted our request. `accept` answers proposed presentation contexts only."""

    accept: AssociateAC


@frozen
class RejectIndication:
    """The peer rejected our request; the connection ends."""

    rejection: AssociateRJ


class Fragment(NamedTuple):
    """A piece of a command or data set as it arrived: P-DATA indication.

    `data` is a view into the receive buffer, valid until the next `writable()`. `is_last` is set on the piece that ends
    the command or data set and on no other; that piece may be empty.
    """

    context_id: int
    is_command: bool
    is_last: bool
    data: memoryview


@frozen
class ReleaseIndication:
    """The peer requests the release of the association: `respond_release`.

    `collision`: both sides requested it at the same time. The requestor of the association responds at once, its
    acceptor after the `ReleaseConfirm` (PS3.8 7.2.3).
    """

    collision: bool = False


@frozen
class ReleaseConfirm:
    """The peer confirmed our release."""


@frozen
class AbortIndication:
    """The peer sent an A-ABORT; the association has ended."""

    source: AbortSource
    reason: AbortReason


@frozen
class ProviderAbort:
    """The engine aborted because the peer broke the protocol; the association, if there was one, has ended.

    In Sta2, before an association exists, the standard's table names no primitive; the engine indicates the error
    there too, so that the log can name it.
    """

    error: ProtocolError


@frozen
class TransportClosed:
    """The connection closed under the association (A-P-ABORT without a PDU of the peer)."""


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
