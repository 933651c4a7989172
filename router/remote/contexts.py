"""The presentation contexts of an association that is opened for deliveries. Pure.

A delivery that can be encoded in several transfer syntaxes gets one context with all of them, from which the peer
chooses (PS3.8 9.3.3.2). One that leaves as it is stored gets a context with the stored transfer syntax alone, which
keeps the peer from choosing another one.
"""

from collections.abc import Iterable, Mapping

from pdu import AcceptedContext, RoleSelection
from router.model import PendingDelivery
from router.services import DeliveryPolicy

Contexts = Mapping[tuple[str, str], AcceptedContext]
"""Accepted presentation contexts by (abstract syntax, transfer syntax)."""


def offered_syntaxes(delivery: PendingDelivery, services: Mapping[str, DeliveryPolicy]) -> tuple[str, ...]:
    """Return the transfer syntaxes to offer for a delivery, the preferred one first."""
    if delivery.sent_as.transfer_syntaxes:
        return delivery.sent_as.transfer_syntaxes
    service = services.get(delivery.service)  # none: a later version of the router has accepted the message
    return tuple(service.syntaxes(delivery)) if service else (delivery.transfer_syntax,)


def propose(
    plan: Iterable[PendingDelivery], services: Mapping[str, DeliveryPolicy]
) -> list[tuple[str, tuple[str, ...]]]:
    """Return (abstract syntax, transfer syntaxes) of each presentation context that the plan needs, in its order."""
    proposals: dict[tuple[str, frozenset[str]], tuple[str, ...]] = {}
    for delivery in plan:
        syntaxes = offered_syntaxes(delivery, services)
        proposals.setdefault((delivery.abstract_syntax, frozenset(syntaxes)), syntaxes)
    return [(abstract_syntax, syntaxes) for (abstract_syntax, _), syntaxes in proposals.items()]


def propose_roles(plan: Iterable[PendingDelivery], services: Mapping[str, DeliveryPolicy]) -> list[RoleSelection]:
    """Return the role selections that the services propose for the abstract syntaxes of a plan (PS3.7 D.3.3.4)."""
    proposals = {
        abstract_syntax: proposal
        for abstract_syntax in dict.fromkeys(delivery.abstract_syntax for delivery in plan)
        for service in services.values()
        if (proposal := service.proposes(abstract_syntax)) is not None
    }
    return list(proposals.values())


def choose(
    contexts: Contexts, delivery: PendingDelivery, services: Mapping[str, DeliveryPolicy]
) -> AcceptedContext | None:
    """Return the accepted presentation context that a delivery goes on: of the most preferred transfer syntax."""
    for transfer_syntax in offered_syntaxes(delivery, services):
        if context := contexts.get((delivery.abstract_syntax, transfer_syntax)):
            return context
    return None
