"""Options of query and worklist in router.toml: [query], [worklist], keys of their routes, and of their peers."""

from typing import Annotated, ClassVar, Final, Literal

from attrs import frozen

from router.config import Globs, Peer, RouteOptions, ServiceAE, ServiceOptions
from router.config.identifiers import line, one_of
from router.config.keys import ANYTHING, Flag, Patterns, RankedTransferSyntaxes, Wait
from router.config.quantities import between, shown
from router.config.reading import Each, One
from router.dicom.charset import is_known
from router.dicom.information_models import QUERY_RETRIEVE_MODELS
from router.services.query.ask import Deadlines

QUERY: Final = "query"
WORKLIST: Final = "worklist"

NOBODY: Final = Globs(())


def _optional_line(value: object) -> str:
    """Read one line of text, or "" for none."""
    return line(value) if value != "" else ""


def _character_set(value: object) -> str:
    """Read a Specific Character Set, or "" for none."""
    terms = _optional_line(value)
    for term in terms.split("\\"):
        if not is_known(term):
            raise ValueError(f"has {shown(term)}, which is no defined term of a character set, such as 'ISO_IR 192'")
    return terms


@frozen(kw_only=True)
class FindSettings:
    """Access to C-FIND, and how it is answered."""

    calling_ae: Patterns = ANYTHING
    denied: Annotated[Literal["status", "context"], One(one_of("status", "context"))] = "status"
    """How others are told: 0124H to each query, or no presentation context."""
    prefer: RankedTransferSyntaxes = ()
    person_names: Annotated[Literal["insensitive", "exact"], One(one_of("insensitive", "exact"))] = "insensitive"
    """How names are compared where the router filters answers."""
    plain_pending: Patterns = NOBODY
    """Calling AE titles that know FF00H only: they get it in place of FF01H."""


@frozen(kw_only=True)
class QuerySettings(FindSettings):
    """[query]."""


@frozen(kw_only=True)
class WorklistSettings(FindSettings):
    """[worklist]."""


@frozen(kw_only=True)
class FindRouteOptions(RouteOptions):
    """How the answers of the peers of a route become one answer."""

    partial: Annotated[Literal["fail", "success"], One(one_of("fail", "success"))] = "fail"
    merge: Annotated[Literal["stream", "ordered"], One(one_of("stream", "ordered"))] = "stream"
    limit: Annotated[int, One(between(1, 10_000_000))] = 10_000
    connect: Wait = 5.0
    first_answer: Wait = 20.0
    between_answers: Wait = 20.0
    deadline: Wait = 60.0

    @property
    def deadlines(self) -> Deadlines:
        """The deadlines of the query at one peer."""
        return Deadlines(
            connect=self.connect,
            first_answer=self.first_answer,
            between_answers=self.between_answers,
            deadline=self.deadline,
        )


@frozen(kw_only=True)
class QueryRouteOptions(FindRouteOptions):
    """The keys of routes for query."""

    OWN_KEYS: ClassVar[frozenset[str]] = frozenset({"information_model", "level"})


@frozen(kw_only=True)
class WorklistRouteOptions(FindRouteOptions):
    """The keys of routes for worklist."""


@frozen(kw_only=True)
class PeerFind(ServiceAE):
    """Habits of a peer as SCP of C-FIND."""

    append_wildcard: Flag = False
    """Append "*" to names that have no wildcard."""
    character_set: Annotated[str, One(_character_set)] = ""
    """The Specific Character Set of keys; "" leaves that of the client, "ISO_IR 6" is the default repertoire."""
    issuer: Annotated[str, One(_optional_line)] = ""
    """The issuer of its patient IDs where its answers name none."""
    extended_negotiation: Flag = True
    """Propose SOP Class Extended Negotiation to it."""


@frozen(kw_only=True)
class PeerQuery(PeerFind):
    """peers.NAME.query."""

    service: ClassVar[str] = QUERY

    model: Annotated[tuple[str, ...], Each(one_of(*(model.name for model in QUERY_RETRIEVE_MODELS)))] = ()
    """The information models that it knows; () for all. A query in another one is asked in the first that can do it."""
    uid_lists: Flag = True
    """Whether it matches a list of UIDs; if not, it is asked once for each."""
    modality_lists: Flag = True
    """Whether it matches several values of Modalities in Study; if not, it is asked once for each."""


@frozen(kw_only=True)
class PeerWorklist(PeerFind):
    """peers.NAME.worklist."""

    service: ClassVar[str] = WORKLIST


@frozen(kw_only=True)
class QueryPeerOptions:
    """The key that query adds to [peers.NAME]."""

    query: PeerQuery = PeerQuery()


@frozen(kw_only=True)
class WorklistPeerOptions:
    """The key that worklist adds to [peers.NAME]."""

    worklist: PeerWorklist = PeerWorklist()


QUERY_OPTIONS: Final = ServiceOptions(route=QueryRouteOptions, peer=QueryPeerOptions, tables={QUERY: QuerySettings})
WORKLIST_OPTIONS: Final = ServiceOptions(
    route=WorklistRouteOptions, peer=WorklistPeerOptions, tables={WORKLIST: WorklistSettings}
)


def query_of(peer: Peer) -> PeerQuery:
    """Return `query` of a peer."""
    return peer.options[QueryPeerOptions].query


def query_ae(peer: Peer) -> Peer:
    """Return the AE that queries to a peer go to: itself, or another AE of the same system."""
    return peer.ae_for(query_of(peer))
