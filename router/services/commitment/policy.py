"""Which archives must commit an instance: by the routes of a configuration, or by the deliveries of the instance. Pure.

Not here: whether they did (transaction.py).
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
    """Of every instance; empty if no route matches: then the archives that get the instances must commit."""
    archives: tuple[str, ...]
    """All that are asked; more than the policy requires if a route says so."""
    deadline: float
    """Seconds until the transaction is decided."""
    grace: float
    """Seconds in which instances that the router has not seen are waited for."""


class CommitmentRoutes:
    """The routes for storage commitment of a configuration."""

    def __init__(self, routes: Iterable[Route], defaults: CommitmentSettings) -> None:
        self._routes = {route.name: route for route in routes if route.service == SERVICE}
        self._table = RoutingTable(self._routes.values())
        self._defaults = defaults

    def policy_for(self, facts: Facts) -> RequestPolicy:
        """Return the policies of all matching routes together, with their latest deadline and longest grace."""
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
    """The policy of each instance of a transaction, and the archives to ask."""

    policies: tuple[Policy, ...]
    policy_of: tuple[int, ...]
    """For each reference, the index of its policy."""
    archives: tuple[str, ...]


def policies_by_deliveries(
    references: Sequence[Reference], found: Mapping[str, Sequence[InstanceDelivery]]
) -> InstancePolicies:
    """Return the policies for a request that no route matches.

    Every archive that an instance was sent to must commit it. For an instance that the router has never seen, the
    archives of all others must. If none was seen, there are no archives, and no instance can be committed.
    """
    addressed = {uid: _archives(deliveries) for uid, deliveries in found.items()}
    archives = tuple(dict.fromkeys(name for names in addressed.values() for name in names))
    indexes: dict[tuple[str, ...], int] = {}
    policy_of = []
    for reference in references:
        names = addressed.get(reference.sop_instance_uid) or archives
        policy_of.append(indexes.setdefault(names, len(indexes)))
    policies = tuple((Quorum(names, len(names)),) if names else () for names in indexes)
    return InstancePolicies(policies, tuple(policy_of), archives)


def _archives(deliveries: Iterable[InstanceDelivery]) -> tuple[str, ...]:
    return tuple(
        sorted(one.destination for one in deliveries if one.destination and one.state is not DeliveryState.DISCARDED)
    )


def undelivered(
    references: Iterable[Reference], archive: str, found: Mapping[str, Sequence[InstanceDelivery]]
) -> set[str]:
    """Return the SOP Instance UIDs whose delivery to an archive is still waiting."""
    return {
        reference.sop_instance_uid
        for reference in references
        for one in found.get(reference.sop_instance_uid, ())
        if one.destination == archive and one.state is DeliveryState.WAITING
    }
