"""The destinations of a step, and how it is validated: chosen at its N-CREATE by the routes of three services. Pure."""

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
    """What the routes say of a step."""

    relay: tuple[str, ...]
    """Destinations of its N-CREATE and N-SETs."""
    notify: tuple[str, ...]
    """Peers that get an N-EVENT-REPORT for each of its changes."""
    inform: tuple[str, ...]
    """Peers that get the availability of its instances."""
    answer: str
    """The destination whose response the modality gets; "" for the router's own."""
    strict: bool
    """Messages that lack a required attribute are refused."""

    @property
    def is_empty(self) -> bool:
        """Whether the step has no destination of any kind."""
        return not (self.relay or self.notify or self.inform)


class StepRoutes:
    """The routes of a configuration for the three services."""

    def __init__(self, routes: Iterable[Route]) -> None:
        self._routes = {route.name: route for route in routes}
        self._table = RoutingTable(self._routes.values())
        self.elements: Final = self._table.elements
        """The tags that `Facts.elements` must have of an N-CREATE."""

    def policy_for(self, facts: Facts) -> StepPolicy:
        """Return the policy of a step, by the facts of its N-CREATE; their service does not matter."""
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
