"""Where a step goes and how it is judged: decided once, at its N-CREATE, by the routes of three services. Pure."""

from collections.abc import Iterable
from typing import Final

from attrs import evolve, frozen

from router.config import Route
from router.routing import Facts, RoutingTable
from router.services.mpps.options import ROUTER, MPPSRouteOptions

RELAY: Final = "mpps"
NOTIFY: Final = "mpps-notification"
INFORM: Final = "instance-availability"


@frozen(kw_only=True)
class StepPolicy:
    """What the routing table says of a step."""

    relay: tuple[str, ...]
    notify: tuple[str, ...]
    inform: tuple[str, ...]
    answer: str
    """The destination whose answer the modality gets; "" for the router's own."""
    strict: bool

    @property
    def is_empty(self) -> bool:
        return not (self.relay or self.notify or self.inform)


class StepRoutes:
    """The routes of a configuration, as far as they are about steps."""

    def __init__(self, routes: Iterable[Route]) -> None:
        self._routes = {route.name: route for route in routes}
        self._table = RoutingTable(self._routes.values())
        self.elements: Final = self._table.elements
        """What `Facts.elements` must tell of an N-CREATE."""

    def policy_for(self, facts: Facts) -> StepPolicy:
        """`facts` of an N-CREATE; their service does not matter."""
        relay = self._table.match(evolve(facts, service=RELAY))
        matched = [self._routes[name].options[MPPSRouteOptions] for name in relay.routes]
        answers = [options.answer for options in matched if options.answer != ROUTER]
        return StepPolicy(
            relay=relay.destinations,
            notify=self._table.match(evolve(facts, service=NOTIFY)).destinations,
            inform=self._table.match(evolve(facts, service=INFORM)).destinations,
            answer=answers[0] if answers else "",
            strict=any(options.validation == "strict" for options in matched),
        )
