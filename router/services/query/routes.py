"""The routes for C-FIND of one service: which archives a query goes to, and how their answers become one (pure)."""

from collections.abc import Iterable

from attrs import frozen

from router.config import Route
from router.routing import Facts, RoutingTable
from router.services.query.options import FindRouteOptions


@frozen(kw_only=True)
class FindPlan:
    """What the routes say of a query."""

    archives: tuple[tuple[str, FindRouteOptions], ...]
    """The names of the peers, in order, each with the options of the first route that leads to it."""
    is_ordered: bool
    """Whether any of the routes orders the answers."""
    limit: int
    """The smallest of the routes'."""


class FindRoutes:
    """The routes of a configuration for one service."""

    def __init__(self, routes: Iterable[Route], service: str, options: type[FindRouteOptions]) -> None:
        self._routes = {route.name: route for route in routes if route.service == service}
        self._table = RoutingTable(self._routes.values())
        self._class = options
        self.elements = self._table.elements
        """Tags of the keys in conditions."""

    def __bool__(self) -> bool:
        """Whether there is a route."""
        return bool(self._routes)

    def plan_for(self, facts: Facts) -> FindPlan | None:
        """Return what the matching routes say; None if none matches."""
        match = self._table.match(facts)
        routes = [self._routes[name] for name in match.routes]
        options = {route.name: route.options[self._class] for route in routes}
        if not routes:
            return None
        return FindPlan(
            archives=tuple(
                (name, next(options[route.name] for route in routes if name in route.to)) for name in match.destinations
            ),
            is_ordered=any(one.merge == "ordered" for one in options.values()),
            limit=min(one.limit for one in options.values()),
        )

    def reachable(self, facts: Facts) -> tuple[str, ...]:
        """Return the peers that a query on an association may go to."""
        return self._table.reachable(facts)
