"""Operations that a service invokes at a peer at once, beside the peer's queue: one response, or a stream of them.

The supervisor fills `Peers`; a service that uses it knows neither associations nor what else goes to the peer.
"""

from collections.abc import AsyncIterator, Callable
from contextlib import AbstractAsyncContextManager
from typing import Protocol

from attrs import frozen

from pdu import RoleSelection, SOPClassExtendedNegotiation
from router.dimse import Command, Response

Buffer = bytes | memoryview
"""Bytes of a data set."""


class PeerUnanswered(Exception):
    """The peer has given no response, or no further one. The text says why."""


class ContextRefused(PeerUnanswered):
    """The peer has accepted no presentation context for the request, so that it was not sent."""


@frozen(kw_only=True)
class PeerContext:
    """The presentation context that a peer has accepted for a request."""

    transfer_syntax: str
    extended: bytes | None = None
    """Its answer to SOP Class Extended Negotiation for the request's SOP class (PS3.7 D.3.3.5); None without one."""


@frozen(kw_only=True)
class PeerRequest:
    """An operation to invoke at a peer of the configuration."""

    peer: str
    """The name of the peer in the configuration, or of its AE for one service (`Peer.aes`)."""
    abstract_syntax: str
    transfer_syntaxes: tuple[str, ...]
    """Offered in one presentation context, the preferred one first; the peer chooses."""
    command: Command
    """Without a Message ID, which the association assigns."""
    data_set: Callable[[PeerContext], bytes] | None = None
    """Encodes the data set for the accepted presentation context; it may raise `PeerUnanswered`. None sends none."""
    deadline: float = 10.0
    """Seconds. For `invoke`, until the response is in; for `converse`, until the request can be sent. Waiting for an
    association and opening it count."""
    connect: float | None = None
    """Seconds to connect, and seconds for the answer to the A-ASSOCIATE-RQ; None is as in [timeouts]."""
    patience: float | None = None
    """`converse`: seconds that each response may take; None is `timeouts.dimse`."""
    further: tuple[tuple[str, tuple[str, ...]], ...] = ()
    """Further presentation contexts (abstract syntax, transfer syntaxes), such as those of the objects that a C-GET
    brings."""
    roles: tuple[RoleSelection, ...] = ()
    """Proposed with it. The router's services perform what the peer invokes on a SOP class with the role of SCP."""
    extended: tuple[SOPClassExtendedNegotiation, ...] = ()
    """Proposed with it."""
    performer: object | None = None
    """The `SCP` that performs what the peer invokes on the association, in place of the router's services."""
    lingers: bool = True
    """Whether the association may be used again by a later request."""
    content: Buffer | None = None
    """The data set, encoded in the one transfer syntax that is offered, in place of `data_set`."""
    pool: str = ""
    """The associations of requests with the same name are counted together, and apart from all others of the peer:
    a retrieve can take hours, in which queries and deliveries must not wait for it."""


@frozen
class PeerResponse:
    """The one response to a request."""

    response: Response
    context: PeerContext
    """Its data set is in this context's transfer syntax."""


class PeerConversation(Protocol):
    """The responses to one request, read one at a time; the last one is final. The peer waits while none is read."""

    @property
    def context(self) -> PeerContext:
        """The presentation context of the request and its responses."""

    @property
    def request_message_id(self) -> int:
        """The Message ID of the request."""

    def __aiter__(self) -> AsyncIterator[Response]: ...

    async def __anext__(self) -> Response:
        """Return the next response. May be cancelled and called again: nothing is lost.

        Raises:
            PeerUnanswered: no response came within `patience`, or the association has ended.
        """

    @property
    def has_arrived(self) -> bool:
        """Whether the next response, or a part of it, can be read without waiting."""

    async def cancel(self) -> None:
        """Send a C-CANCEL-RQ: the peer is to end with a final response soon, which has to be read."""


class Peers(Protocol):
    """The peers of the configuration."""

    async def invoke(self, request: PeerRequest) -> PeerResponse:
        """Return the response to a request that has one.

        Raises:
            PeerUnanswered: there is none: no such peer, no association, no presentation context, no response in time.
        """

    def converse(self, request: PeerRequest) -> AbstractAsyncContextManager[PeerConversation]:
        """Send a request that may have pending responses.

        A block that ends before the final response is read aborts the association.

        Raises:
            PeerUnanswered: the request could not be sent.
        """
