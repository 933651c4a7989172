"""Who has to promise what: by the routes of a configuration, or by where the instances went. Pure.

Not here: whether they do (`transaction`).
"""

from collections.abc import Iterable, Mapping, Sequence

from attrs import frozen

from router.config import Route
from router.model import DeliveryState
from router.routing import Facts, RoutingTable
from router.services.commitment.options import SERVICE, CommitmentRouteOptions, CommitmentSettings
from router.services.commitment.transaction import Policy, Quorum, Reference
from router.spool import InstanceDelivery


@frozen(kw_only=True)
class RequestPolicy:
    """What the configuration says of a request."""

    policy: Policy
    """Empty where no route is about it: those promise who got the instances."""
    archives: tuple[str, ...]
    deadline: float
    grace: float


class CommitmentRoutes:
    """The routes of a configuration, as far as they are about storage commitment."""

    def __init__(self, routes: Iterable[Route], defaults: CommitmentSettings) -> None:
        self._routes = {route.name: route for route in routes if route.service == SERVICE}
        self._table = RoutingTable(self._routes.values())
        self._defaults = defaults

    def policy_for(self, facts: Facts) -> RequestPolicy:
        """Every route that matches has its policy met, with the latest deadline and the longest grace of them."""
        match = self._table.match(facts)
        routes = [self._routes[name] for name in match.routes]
        options = [route.options[CommitmentRouteOptions] for route in routes]
        return RequestPolicy(
            policy=tuple(Quorum(*one.require.of(route.to)) for one, route in zip(options, routes, strict=True)),
            archives=match.destinations,
            deadline=max((one.deadline for one in options), default=self._defaults.deadline),
            grace=max((one.grace for one in options), default=self._defaults.grace),
        )


@frozen
class InstancePolicies:
    """For each reference the number of its policy; and who is asked."""

    policies: tuple[Policy, ...]
    policy_of: tuple[int, ...]
    archives: tuple[str, ...]


def policies_by_deliveries(
    references: Sequence[Reference], found: Mapping[str, Sequence[InstanceDelivery]]
) -> InstancePolicies:
    """Without a route: an instance is to be promised by every archive that it was addressed to; one that the router
    never saw, by all archives of the others. Of nothing but such, nobody can promise anything."""
    going = {uid: _archives(deliveries) for uid, deliveries in found.items()}
    archives = tuple(dict.fromkeys(name for names in going.values() for name in names))
    numbers: dict[tuple[str, ...], int] = {}
    policy_of = []
    for reference in references:
        names = going.get(reference.sop_instance_uid) or archives
        policy_of.append(numbers.setdefault(names, len(numbers)))
    policies = tuple((Quorum(names, len(names)),) if names else () for names in numbers)
    return InstancePolicies(policies, tuple(policy_of), archives)


def _archives(deliveries: Iterable[InstanceDelivery]) -> tuple[str, ...]:
    return tuple(
        sorted(one.destination for one in deliveries if one.destination and one.state is not DeliveryState.DISCARDED)
    )


def owed(references: Iterable[Reference], archive: str, found: Mapping[str, Sequence[InstanceDelivery]]) -> set[str]:
    """The SOP Instance UIDs that we still have to deliver to an archive before it can be asked."""
    return {
        reference.sop_instance_uid
        for reference in references
        for one in found.get(reference.sop_instance_uid, ())
        if one.destination == archive and one.state is DeliveryState.WAITING
    }
