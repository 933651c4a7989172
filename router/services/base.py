"""The contract between a service class and the rest of the router.

A service is one file in this package and one line in `router/services/__init__.py`. Its class is an `SCP` if it
performs operations, a `DeliveryPolicy` if its messages are delivered to destinations, or both. It never sees a socket;
what it accepts, it gives to the spool.
"""

from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence
from functools import partial
from typing import ClassVar, Final, Protocol

import trio
from attrs import field, frozen

from pdu import ContextResult, PresentationContext, RoleSelection, SOPClassCommonExtendedNegotiation, prefer
from router.config import STANDARD_STATUSES, Config, Listener, ServiceOptions, Statuses
from router.config.patterns import UIDs
from router.dimse import Command, Response
from router.model import AttemptResult, PendingDelivery, Result
from router.services.arrivals import Arrivals
from router.services.conversations import Conversations
from router.services.peers import Buffer, Peers
from router.spool import Incoming, Spool
from router.state_store import StateStore


@frozen(kw_only=True)
class Sender:
    """The AE that invokes operations on an association."""

    calling_ae: str
    """Its AE title, whichever side opened the association."""
    called_ae: str
    peer: str
    """Its IP address; on an association that the router opened, the host that was called."""
    listener: Listener | None = None
    """The listener that it connected to; None on an association that the router opened."""


@frozen(kw_only=True)
class Proposal:
    """A presentation context as proposed, with what the requestor says about its SOP class."""

    context: PresentationContext
    requestor: Sender
    role: RoleSelection | None = None
    """The roles that the requestor offers to take (PS3.7 D.3.3.4)."""
    extended: bytes | None = None
    """Service-class-application-information of the SOP Class Extended Negotiation (PS3.7 D.3.3.5)."""
    common_extended: SOPClassCommonExtendedNegotiation | None = None
    """The service class and the related general SOP classes of the SOP class (PS3.7 D.3.3.6)."""

    @property
    def abstract_syntax(self) -> str:
        return self.context.abstract_syntax

    @property
    def transfer_syntaxes(self) -> tuple[str, ...]:
        """In the order of the requestor."""
        return self.context.transfer_syntaxes

    def choose(
        self, accepts: Callable[[str], bool], preferred: Sequence[UIDs], order: Sequence[str] = ()
    ) -> str | ContextResult:
        """Return the transfer syntax to accept, or the refusal of a context without an acceptable one.

        Among the acceptable ones the first that `preferred` names wins; then the first in `order`; then the first of
        the requestor's. Of several that one glob of `preferred` matches, the requestor's order decides.
        """
        proposed = self.transfer_syntaxes
        ranked = [uid for uids in preferred for uid in proposed if uids.matches(uid)]
        return prefer(proposed, accepts, [*ranked, *order]) or ContextResult.TRANSFER_SYNTAXES_NOT_SUPPORTED


@frozen(kw_only=True)
class NegotiatedTerms:
    """The part of the negotiation that holds for a SOP class, not for one presentation context."""

    role: RoleSelection | None = None
    """The roles that the requestor has; None is the standard's default, SCU."""
    extended: bytes | None = None
    """The answer to its SOP Class Extended Negotiation; None: none was given."""
    common_extended: SOPClassCommonExtendedNegotiation | None = None
    """As proposed: this negotiation has no answer (PS3.7 D.3.3.6)."""


DEFAULT_TERMS: Final = NegotiatedTerms()


@frozen(kw_only=True, slots=False)  # without slots it is built in half of the time
class Request:
    """A request without its data set."""

    sender: Sender
    association: int
    """The number of the association in the log; 0 for one that the router opened."""
    abstract_syntax: str
    transfer_syntax: str
    command: Command
    command_bytes: bytes
    """The command set as received."""
    statuses: Statuses = STANDARD_STATUSES
    """The status codes of refusals towards this sender."""
    terms: NegotiatedTerms = DEFAULT_TERMS


@frozen(kw_only=True)
class Allowance:
    """The length of data set that is read before the service performs the request."""

    largest: int | None
    """Bytes. A longer data set is refused, and the rest of it dropped. 0: the data set is dropped, and the request is
    performed without it. None: limited by the disk only."""
    from_reserve: bool = False
    """Accept the data set below the free-space floor too, because the request helps to empty the spool."""

    @property
    def needs_room(self) -> bool:
        """Whether the request is refused below the free-space floor."""
        return self.largest != 0 and not self.from_reserve


NO_DATA_SET: Final = Allowance(largest=0)


Change = Callable[[], None]
"""Puts a prepared configuration in force. Never raises."""


@frozen(kw_only=True)
class Prelude:
    """A request that a destination needs before it can accept a delivery."""

    command: Command
    data_set: bytes
    """In the delivery's transfer syntax."""


@frozen(kw_only=True)
class ServiceContext:
    """The parts of the router that every service works with."""

    config: Config
    spool: Spool
    state: StateStore
    peers: Peers
    conversations: Conversations = field(factory=Conversations)
    arrivals: Arrivals = field(factory=Arrivals)
    last_extended: dict[tuple[str, str], bytes | None] = field(factory=dict)
    """The last answer to SOP Class Extended Negotiation of each AE that is queried, for each SOP class of C-FIND, since
    the start; None if it gave none."""


class ConversationEnded(Exception):
    """No response can be sent any more, because the association has ended."""


class Replies(Protocol):
    """The way to the invoker of an operation while the operation is performed."""

    @property
    def cancelled(self) -> trio.Event:
        """Set when the peer cancels the operation (C-CANCEL-RQ, PS3.7 9.3.2.3) and when the association has ended."""

    @property
    def has_ended(self) -> bool:
        """Whether the association has ended, so that no response can be sent."""

    @property
    def storable(self) -> frozenset[tuple[str, str]]:
        """The (SOP class, transfer syntax) pairs of what the invoker stores on the association (PS3.4 C.5.3)."""

    async def send_instance(self, command: Command, transfer_syntax: str, content: Buffer) -> Response:
        """Have the invoker store an instance on the association, and return its response (PS3.4 C.4.3.2).

        Raises:
            PeerUnanswered: there was none, or the association has ended.
        """

    async def send(self, *responses: Response) -> None:
        """Send pending responses (FF00H, FF01H) in one write.

        Wait while the peer does not read, up to `timeouts.write`.

        Raises:
            ConversationEnded: the association has ended.
        """


class Service:
    """The part that every service has: a name, a background task and a configuration."""

    name: ClassVar[str]
    """As in the `service` key of a route."""
    options: ClassVar[ServiceOptions] = ServiceOptions()
    """Its keys of router.toml."""

    def __init__(self, context: ServiceContext) -> None:
        self.prepare(context.config)()

    async def run(self) -> None:
        """Do the service's background work for as long as the router runs. Started again after a crash."""
        await trio.sleep_forever()

    def prepare(self, config: Config) -> Change:
        """Build what `config` means for this service. Nothing changes before the returned function is called."""
        return partial(self.reload, config)

    def reload(self, config: Config) -> None:
        """Use `config` from now on. A service where this may raise overrides `prepare` instead."""


class SCP(Service, ABC):
    """A service that performs operations."""

    requests: ClassVar[frozenset[int]]
    """The Command Fields of the operations that it performs."""
    parallel: ClassVar[bool] = False
    """Whether operations of one association may be performed at the same time, if its window allows several."""
    conversational: ClassVar[bool] = False
    """Whether operations send pending responses or can be cancelled: C-FIND, C-GET and C-MOVE.

    Such an operation has its own task, so that the association is read meanwhile: a C-CANCEL-RQ, an abort and a lost
    connection reach it at once. Any other operation is performed to its end whatever happens to the association:
    C-CANCEL-RQ is not defined for it (PS3.7 9.3.2.3), and its sender would only have to repeat it. If the window is 1,
    its sender has nothing to send before the response, so it needs no task: that saves 26 of 340 us of CPU time for a
    C-STORE of 12 kB."""

    @abstractmethod
    def negotiate(self, proposal: Proposal) -> str | ContextResult | None:
        """Return the transfer syntax to accept, or the reason to refuse.

        None if the abstract syntax belongs to other services only. Several services may share an abstract syntax: each
        operation goes to the first one that performs it.
        """

    def roles(self, proposal: Proposal) -> tuple[bool, bool]:
        """Return the roles (SCU, SCP) that the requestor may take, whichever it offers (PS3.7 D.3.3.4)."""
        return True, False

    def extended(self, proposal: Proposal) -> bytes | None:
        """Return the answer to `proposal.extended`, or None to give none (PS3.7 D.3.3.5)."""
        return None

    def admit(self, request: Request) -> Command | Allowance:
        """Return the response that refuses the request, or the length of data set that it may have.

        Called with the command set, before the first byte of the data set is read.
        """
        return NO_DATA_SET

    @abstractmethod
    async def perform(self, request: Request, data: Incoming | None, replies: Replies) -> Response:
        """Perform the operation and return its final response.

        `data` is complete, or None if the request has no data set or `admit` allowed none; it is discarded unless
        committed. `replies` is for pending responses. An operation of a `conversational` service that has not returned
        some seconds after the association ended is cancelled.
        """


class DeliveryPolicy(Service, ABC):
    """A service whose messages are delivered: what to propose, and what a destination's response means."""

    def proposes(self, abstract_syntax: str) -> RoleSelection | None:
        """Return the role selection to propose on an association opened for a delivery; None is the default, SCU."""
        return None

    def syntaxes(self, delivery: PendingDelivery) -> Sequence[str]:
        """Return the transfer syntaxes to offer for a delivery, the preferred one first."""
        return (delivery.transfer_syntax,)

    def encode(self, delivery: PendingDelivery, data_set: bytes, transfer_syntax: str) -> bytes:
        """Encode a data set of a delivery, or of its prelude, in a transfer syntax that `syntaxes` offers. Pure."""
        assert transfer_syntax == delivery.transfer_syntax, "no other transfer syntax is offered"
        return data_set

    @abstractmethod
    def outcome(self, delivery: PendingDelivery, response: Response) -> Result:
        """Return what the response of a destination means for the delivery: delivered, retry or held."""

    async def prelude(self, delivery: PendingDelivery, response: Response) -> Sequence[Prelude]:
        """Return the requests to send on the same association before the delivery is tried again at once.

        Called if the outcome is RETRY. The response to each has an outcome as that to a delivery has.
        """
        return ()

    async def reconsider(self, delivery: PendingDelivery, response: Response) -> tuple[Result, str]:
        """Return the final outcome after a look into the ledger, and a remark on it for operators.

        Called if the outcome is HELD.
        """
        return Result.HELD, ""

    def settled(self, delivery: PendingDelivery, result: AttemptResult) -> None:
        """Note the result of a delivery of any service. Called in the destination's task: fast, and never raises."""
