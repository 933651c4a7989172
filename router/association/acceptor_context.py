"""The values that the acceptors of a router share, and what follows from them for one A-ASSOCIATE-RQ."""

from collections.abc import Awaitable, Callable
from contextlib import ExitStack
from typing import Final

from attrs import define

from pdu import AcceptedContext, AssociateRJ, AssociateRQ, Rejection
from router.access.limits import AssociationLimits
from router.access.policy import check_access
from router.association.agreement import Agreement, served_contexts
from router.association.client_relay import ClientRelay
from router.association.message_turns import MessageSender
from router.association.reverse import ReverseAssociation
from router.association.transport import Transport
from router.config import Config, Listener
from router.dicom.uids import is_storage_sop_class
from router.services import DeliveryPolicy, Relay, Sender, Service
from router.spool import Spool

_OWN_MESSAGE_IDS: Final = 0x8000
"""Message IDs of the instances that a peer gets come after it: those before it are of deliveries to the peer."""


@define(kw_only=True)
class AcceptorContext:
    """The values that all acceptors of a router share. A reload replaces `config` as a whole."""

    config: Config
    services: tuple[Service, ...]
    spool: Spool
    limits: AssociationLimits
    deliver_on: Callable[[str, ReverseAssociation], Awaitable[None]]
    """Deliver on an association that a peer of this AE title has opened, until the association has ended."""

    def rejection(self, request: AssociateRQ, peer: str, listener: Listener, counted: ExitStack) -> AssociateRJ | None:
        """Return why the association is rejected; None if it is not, and then `counted` counts it.

        `peer`: the IP address.
        """
        if rejection := check_access(request, peer, self.config.access, listener.ae_title):
            return rejection
        if not counted.enter_context(self.limits.count_association(peer)):
            return AssociateRJ.because(Rejection.LOCAL_LIMIT_EXCEEDED)
        return None

    def invocable(self, agreement: Agreement) -> dict[tuple[str, str], AcceptedContext]:
        """Return the presentation contexts on which deliveries go out, by (abstract syntax, transfer syntax)."""
        policies = [service for service in self.services if isinstance(service, DeliveryPolicy)]
        return {
            (context.abstract_syntax, context.transfer_syntax): context
            for context in agreement.contexts.values()
            if any(policy.proposes(context.abstract_syntax) is not None for policy in policies)
        }

    def storing_on(self, agreement: Agreement, transport: MessageSender) -> ReverseAssociation | None:
        """Return the side of an association on which the peer is SCP of Storage, to get instances, if it is."""
        contexts = {
            (context.abstract_syntax, context.transfer_syntax): context
            for context in agreement.contexts.values()
            if context.id in agreement.services  # else it is relayed
            and is_storage_sop_class(context.abstract_syntax)
            and (terms := agreement.terms.get(context.abstract_syntax)) is not None
            and terms.role is not None
            and terms.role.scp_role
        }
        if not contexts:
            return None
        return ReverseAssociation(transport, contexts, self.config.timeouts.dimse, after=_OWN_MESSAGE_IDS)

    def relay_for(
        self, request: AssociateRQ, sender: Sender, association: int, client: Transport, on_message: Callable[[], None]
    ) -> ClientRelay | None:
        """Return the relay of an association, if a part of its presentation contexts is relayed.

        `association`: its number in the log. `on_message` is told when a message has passed.
        """
        for service in self.services:
            if isinstance(service, Relay) and service.has_routes:
                is_served = served_contexts(request, sender, self.services)
                if (plan := service.plan(request, sender, is_served)) is not None:
                    conversation = service.begin(plan, sender, association)
                    return ClientRelay(plan, self.config, client, conversation, on_message)
        return None
