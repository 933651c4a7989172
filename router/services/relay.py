"""Relay of SOP classes that no other service has, live, to one peer: print management, UPS, private ones.

Decides at the A-ASSOCIATE-RQ which presentation contexts a peer negotiates in the router's place; from then on the
association passes their messages on, and no content is understood (`association.paired`). A context is relayed if a
route for it matches and no other service accepts it. Pure.
"""

from collections.abc import Callable, Iterator, Mapping
from functools import partial
from typing import ClassVar, Final

from attrs import frozen

from pdu import AssociateRQ, ContextResult, PresentationContext
from router.config import Config, Route, RouteOptions, ServiceOptions, UIDs
from router.config.patterns import sop_classes
from router.dicom.uids import is_presumed_storage_sop_class, is_standard_storage_sop_class, uid_name
from router.routing import Facts, RoutingTable
from router.services.base import Change, Sender, Service, ServiceContext
from router.services.conversations import Conversation

PRINT_MANAGEMENT: Final = "1.2.840.10008.5.1.1."
"""Root of the SOP classes of print management (PS3.4 annex H), which work together on one association."""

_MOST_NAMED: Final = 8
"""SOP classes of a relayed association that are named in its conversation."""

_NAMES_NOTHING: Final = frozenset({"*"})
"""Patterns of a route that fit every SOP class, and so name none."""


@frozen(kw_only=True)
class RelayRouteOptions(RouteOptions):
    """No keys of its own: a relay has one destination, and is chosen before there is a message."""

    WHEN: ClassVar[frozenset[str] | None] = frozenset({"calling_ae", "called_ae", "peer", "sop_class"})

    def faults(self, to: tuple[str, ...], config: Config) -> Iterator[tuple[str, str]]:
        """Yield a fault if the route leads to several peers."""
        if len(to) > 1:
            yield "to", "must be exactly one peer: the responses of a relay are those of its destination"


@frozen(kw_only=True)
class RelayPlan:
    """The presentation contexts of one association that a peer is asked for."""

    peer: str
    """Name of the destination."""
    route: str
    """Name of the route that decided."""
    contexts: tuple[PresentationContext, ...]
    """As proposed, in the order of the requestor."""
    refused: Mapping[int, ContextResult]
    """Results of contexts whose routes lead to other destinations, by ID."""


@frozen
class _Way:
    """The destination of one context, and the first route that leads there."""

    peer: str
    route: str


class Relay(Service):
    """The choice of a peer for the presentation contexts that are relayed."""

    name: ClassVar[str] = "relay"
    options: ClassVar[ServiceOptions] = ServiceOptions(route=RelayRouteOptions)

    def __init__(self, context: ServiceContext) -> None:
        self._conversations = context.conversations
        super().__init__(context)

    def prepare(self, config: Config) -> Change:
        routes = tuple(route for route in config.routes if route.service == self.name)
        return partial(self._use, RoutingTable(routes), {route.name: _named_by(route) for route in routes})

    def _use(self, table: RoutingTable, named: Mapping[str, UIDs]) -> None:
        self._table = table
        self._named = named
        """By route, the SOP classes that it names."""

    @property
    def has_routes(self) -> bool:
        """Whether anything can be relayed."""
        return bool(self._named)

    def plan(
        self, request: AssociateRQ, requestor: Sender, is_served: Callable[[PresentationContext], bool]
    ) -> RelayPlan | None:
        """Return what a peer is to be asked for; None if nothing is relayed on this association.

        `is_served`: whether another service accepts the context.
        """
        ways = self._ways_of(request, requestor, is_served)
        if not ways:
            return None
        by_id = {context.id: context for context in request.presentation_contexts if context.id in ways}
        first = ways[next(iter(by_id))]
        others = [key for key in by_id if ways[key].peer != first.peer]
        return RelayPlan(
            peer=first.peer,
            route=first.route,
            contexts=tuple(context for key, context in by_id.items() if key not in others),
            refused=dict.fromkeys(others, ContextResult.ABSTRACT_SYNTAX_NOT_SUPPORTED),
        )

    def begin(self, plan: RelayPlan, requestor: Sender, association: int) -> Conversation:
        """Begin the conversation of a relayed association. `association`: its number in the log."""
        sop_classes = dict.fromkeys(uid_name(context.abstract_syntax) for context in plan.contexts)
        return self._conversations.begin(
            service=self.name,
            calling_ae=requestor.calling_ae,
            called_ae=requestor.called_ae,
            peer=requestor.peer,
            association=association,
            what=", ".join(list(sop_classes)[:_MOST_NAMED]),
        )

    def _ways_of(
        self, request: AssociateRQ, requestor: Sender, is_served: Callable[[PresentationContext], bool]
    ) -> dict[int, _Way]:
        """Return the way of each context that is relayed, by ID."""
        ways: dict[int, _Way] = {}
        for context in request.presentation_contexts:
            way = self._match(context, requestor)
            if way is not None and (self._wins_over_storage(way, context) or not is_served(context)):
                ways[context.id] = way
        prints = [context for context in request.presentation_contexts if _is_print(context.abstract_syntax)]
        way = next((ways[context.id] for context in prints if context.id in ways), None)
        return ways | {context.id: way for context in prints if way is not None and context.id not in ways}

    def _match(self, context: PresentationContext, requestor: Sender) -> _Way | None:
        facts = Facts(
            service=self.name,
            calling_ae=requestor.calling_ae,
            called_ae=requestor.called_ae,
            peer=requestor.peer,
            sop_class=context.abstract_syntax,
            transfer_syntax="",
        )
        match = self._table.match(facts)
        return _Way(match.destinations[0], match.routes[0]) if match.destinations else None

    def _wins_over_storage(self, way: _Way, context: PresentationContext) -> bool:
        """Whether Storage would only presume that the SOP class is its own, and the route names it."""
        uid = context.abstract_syntax
        return is_presumed_storage_sop_class(uid) and self._named[way.route].matches(uid)


def _is_print(uid: str) -> bool:
    return uid.startswith(PRINT_MANAGEMENT) and not is_standard_storage_sop_class(uid)


def _named_by(route: Route) -> UIDs:
    """Return the SOP classes that a route names, by more than "any"."""
    values = [str(value) for one in route.when if one.key == "sop_class" for value in one.values]
    return sop_classes(tuple(value for value in values if value not in _NAMES_NOTHING))
