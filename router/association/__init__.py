"""Associations, as acceptor and as requestor. `transport` is the only code of the router that touches sockets."""

from router.association.acceptor import Acceptor, AcceptorContext
from router.association.errors import Aborted, AssociationError, NoResponse, NotConnected, Rejected
from router.association.invoke import InMemory, ask
from router.association.operation import OperationContext
from router.association.remote_ae import RemoteAE
from router.association.requestor import DataSource, Requestor, plan_contexts
from router.association.reverse import ReverseAssociation
from router.network.names import NameLookup

__all__ = [
    "Aborted",
    "Acceptor",
    "AcceptorContext",
    "AssociationError",
    "DataSource",
    "InMemory",
    "NameLookup",
    "NoResponse",
    "NotConnected",
    "OperationContext",
    "Rejected",
    "RemoteAE",
    "Requestor",
    "ReverseAssociation",
    "ask",
    "plan_contexts",
]
