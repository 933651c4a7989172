"""Associations, as acceptor and as requestor. `transport` is the only code of the router that touches sockets."""

from router.association.acceptor import Acceptor, Reception
from router.association.errors import Aborted, AssociationError, NoResponse, NotConnected, Rejected
from router.association.invoke import InMemory, ask
from router.association.operation import Host
from router.association.remote_ae import Target
from router.association.requestor import DataSource, Requestor, plan_contexts
from router.association.reverse import Visit
from router.network.names import NameLookup

__all__ = [
    "Aborted",
    "Acceptor",
    "AssociationError",
    "DataSource",
    "Host",
    "InMemory",
    "NameLookup",
    "NoResponse",
    "NotConnected",
    "Reception",
    "Rejected",
    "Requestor",
    "Target",
    "Visit",
    "ask",
    "plan_contexts",
]
