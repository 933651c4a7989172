"""Options of retrieve in router.toml: [retrieve], keys of its routes, and `retrieve` of a peer."""

from typing import Annotated, ClassVar, Final, Literal

from attrs import frozen

from router.config import Peer, RouteOptions, ServiceAE, ServiceOptions
from router.config.identifiers import one_of
from router.config.keys import ANYTHING, Patterns, RankedTransferSyntaxes, Wait
from router.config.reading import One
from router.services.retrieve.plan import Operation

SERVICE: Final = "retrieve"


@frozen(kw_only=True)
class RetrieveSettings:
    """[retrieve]: access to retrieve, and what a retrieve without a match is answered."""

    calling_ae: Patterns = ANYTHING
    prefer: RankedTransferSyntaxes = ()
    no_match: Annotated[Literal["success", "refuse"], One(one_of("success", "refuse"))] = "success"


@frozen(kw_only=True)
class RetrieveRouteOptions(RouteOptions):
    """How instances come from the archives of a route, and go to where the client wants them."""

    OWN_KEYS: ClassVar[frozenset[str]] = frozenset({"information_model", "level", "destination"})

    mode: Annotated[Literal["spool", "through", "pass"], One(one_of("spool", "through", "pass"))] = "spool"
    within: Wait = 600.0
    pending_every: Wait = 5.0
    associations: Annotated[Literal["per-move", "per-instance"], One(one_of("per-move", "per-instance"))] = "per-move"
    on_client_lost: Annotated[Literal["cancel", "continue"], One(one_of("cancel", "continue"))] = "cancel"
    on_timeout: Annotated[Literal["keep", "withdraw"], One(one_of("keep", "withdraw"))] = "keep"
    connect: Wait = 5.0
    first_answer: Wait = 60.0
    between_answers: Wait = 60.0
    deadline: Wait = 86400.0


_OPERATIONS: Final = {
    "auto": (Operation.GET, Operation.MOVE),
    "get": (Operation.GET,),
    "move": (Operation.MOVE,),
}


@frozen(kw_only=True)
class PeerRetrieve(ServiceAE):
    """peers.NAME.retrieve: the AE that the router retrieves from, and by which operations."""

    service: ClassVar[str] = SERVICE

    operation: Annotated[Literal["auto", "get", "move"], One(one_of("auto", "get", "move"))] = "auto"

    @property
    def operations(self) -> tuple[Operation, ...]:
        """The operations to ask by, the preferred one first."""
        return _OPERATIONS[self.operation]


@frozen(kw_only=True)
class RetrievePeerOptions:
    """The key that retrieve adds to [peers.NAME]."""

    retrieve: PeerRetrieve = PeerRetrieve()


OPTIONS: Final = ServiceOptions(
    route=RetrieveRouteOptions, peer=RetrievePeerOptions, tables={SERVICE: RetrieveSettings}
)


def retrieve_of(peer: Peer) -> PeerRetrieve:
    """Return `retrieve` of a peer."""
    return peer.options[RetrievePeerOptions].retrieve


def retrieve_ae(peer: Peer) -> Peer:
    """Return the AE that is asked for instances: the peer, or another AE of its system."""
    return peer.ae_for(retrieve_of(peer))
