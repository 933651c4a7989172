"""What a service class is to the rest of the house.

A service is one file beside this one and one line in `router/services/__init__.py`. As SCP it says which
presentation contexts are its own, refuses a request by its command set alone or says how much of a data set it may
bring, and performs the rest. As SCU it says what the peer's
answer means for the delivery. It never sees a socket; what it accepts, it gives to the spool.
"""

from collections.abc import Awaitable, Callable, Sequence
from functools import partial
from typing import ClassVar, Final, Protocol

import trio
from attrs import frozen

from pdu import ContextResult, PresentationContext, RoleSelection
from router.config import STANDARD_STATUSES, Config, ServiceOptions, Statuses
from router.dimse import Command, Response
from router.model import AttemptResult, PendingDelivery, Result
from router.spool import Incoming, Spool
from router.state_store import StateStore


@frozen(kw_only=True)
class Sender:
    """Who is at the other end of an association."""

    calling_ae: str
    """The title of the one who invokes the operation."""
    called_ae: str
    peer: str
    """IP address; where we opened the association, the host that we called."""


@frozen(kw_only=True)
class Request:
    """One request as it came, without its data set."""

    sender: Sender
    association: int
    """The number of the association, as the log has it; 0 for one that we opened."""
    abstract_syntax: str
    transfer_syntax: str
    command: Command
    command_bytes: bytes
    statuses: Statuses = STANDARD_STATUSES
    """The codes that refusals have towards this sender."""


@frozen(kw_only=True)
class Allowance:
    """How much of a request's data set is read before the service performs the request."""

    largest: int | None
    """Bytes. A longer data set is refused, and dropped from there on. 0: whatever comes is dropped, and the request
    is performed without it. None: as long as the disk has room."""
    from_reserve: bool = False
    """Whether it is taken below the free-space floor too, because it helps to empty the spool."""

    @property
    def needs_room(self) -> bool:
        """Whether the request is refused below the free-space floor."""
        return self.largest != 0 and not self.from_reserve


NO_DATA_SET: Final = Allowance(largest=0)


Change = Callable[[], None]
"""Puts a configuration that has been prepared in force. Never raises."""


class PeerUnanswered(Exception):
    """A peer that was asked at once gave no answer; in words, why."""


@frozen(kw_only=True)
class PeerRequest:
    """An operation to invoke at a peer now, by the side of its queue."""

    peer: str
    """As the configuration names it."""
    abstract_syntax: str
    transfer_syntax: str
    command: Command
    data_set: bytes = b""
    deadline: float = 10.0
    """Seconds until the answer has to be in, the association's opening included."""


@frozen(kw_only=True)
class Prelude:
    """A request that a destination needs before it can make sense of a delivery."""

    command: Command
    data_set: bytes
    """In the delivery's transfer syntax."""


@frozen(kw_only=True)
class ServiceContext:
    """What every service class works with."""

    config: Config
    spool: Spool
    state: StateStore
    ask: Callable[[PeerRequest], Awaitable[Response]]
    """Raises PeerUnanswered."""


class Service(Protocol):
    """One service class, both roles."""

    name: ClassVar[str]
    """As `service` in a route names it."""
    options: ClassVar[ServiceOptions]
    """Its keys of router.toml."""
    requests: ClassVar[frozenset[int]]
    """The Command Fields that the SCP performs."""
    parallel: ClassVar[bool]
    """Whether operations of one association may be performed at the same time, where its window allows several."""

    def __init__(self, house: ServiceContext) -> None: ...

    def judge(self, context: PresentationContext) -> str | ContextResult | None:
        """The transfer syntax to accept, the reason to refuse, or None: not this service's abstract syntax."""

    def roles(self, abstract_syntax: str) -> tuple[bool, bool]:
        """(SCU, SCP): the roles that whoever opens an association to us may take (PS3.7 D.3.3.4)."""

    def admit(self, request: Request) -> Command | Allowance:
        """Judge a request by its command set, before the first byte of its data set: the response that refuses it, or
        how much of a data set it may bring."""

    async def perform(self, request: Request, data: Incoming | None) -> Response:
        """Do what is asked, and give the response. `data` is whole, and None where the request has none or `admit`
        allowed none; what is not committed is discarded for it."""

    def proposes(self, abstract_syntax: str) -> RoleSelection | None:
        """The role selection to propose where we open an association for a delivery of this service; None is the
        standard's default, SCU."""

    def syntaxes(self, delivery: PendingDelivery) -> Sequence[str]:
        """Return the transfer syntaxes to offer for a delivery, the preferred one first."""

    def encode(self, delivery: PendingDelivery, data_set: bytes, transfer_syntax: str) -> bytes:
        """Encode a data set of a delivery, or of its prelude, in a transfer syntax that `syntaxes` offers. Pure."""

    def outcome(self, delivery: PendingDelivery, response: Response) -> Result:
        """What the answer of a destination means for the delivery (DESIGN: delivered, retry or held)."""

    async def prelude(self, delivery: PendingDelivery, response: Response) -> Sequence[Prelude]:
        """Where the outcome is RETRY: what to send first on the same association, before the delivery is tried once
        more at once. Each is answered and has an outcome as a delivery has; none is the rule."""

    async def reconsider(self, delivery: PendingDelivery, response: Response) -> tuple[Result, str]:
        """Where the outcome is HELD: the last word after a look into the ledger, and what to say to operators beside
        the status."""

    def settled(self, delivery: PendingDelivery, result: AttemptResult) -> None:
        """Any service's delivery has come to this. Told at once, in the destination's task: quick, and never raises."""

    async def run(self) -> None:
        """Whatever it does in the background, for as long as the router runs. Started again where it crashes."""

    def prepare(self, config: Config) -> Change:
        """Build what `config` means for this service. Nothing changes before the returned function is called."""


class BaseService:
    """The answers of a service class that has nothing special to say."""

    options: ClassVar[ServiceOptions] = ServiceOptions()
    parallel: ClassVar[bool] = False

    def roles(self, abstract_syntax: str) -> tuple[bool, bool]:
        return True, False

    def admit(self, request: Request) -> Command | Allowance:
        return NO_DATA_SET

    def proposes(self, abstract_syntax: str) -> RoleSelection | None:
        return None

    def syntaxes(self, delivery: PendingDelivery) -> Sequence[str]:
        return (delivery.transfer_syntax,)

    def encode(self, delivery: PendingDelivery, data_set: bytes, transfer_syntax: str) -> bytes:
        assert transfer_syntax == delivery.transfer_syntax, "no other transfer syntax is offered"
        return data_set

    async def prelude(self, delivery: PendingDelivery, response: Response) -> Sequence[Prelude]:
        return ()

    async def reconsider(self, delivery: PendingDelivery, response: Response) -> tuple[Result, str]:
        return Result.HELD, ""

    def settled(self, delivery: PendingDelivery, result: AttemptResult) -> None:
        pass

    async def run(self) -> None:
        await trio.sleep_forever()

    def prepare(self, config: Config) -> Change:
        return partial(self.reload, config)

    def reload(self, config: Config) -> None:
        """Judge what comes next by `config`. A service where this may raise overrides `prepare` instead."""
