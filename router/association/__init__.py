"""Associations, as acceptor and as requestor. `transport` is the only code of the router that touches sockets."""

from router.association.acceptor import Acceptor, Reception
from router.association.asking import InMemory, ask
from router.association.doors import Doors
from router.association.errors import Aborted, AssociationError, NoResponse, NotConnected, Rejected
from router.association.names import NameLookup
from router.association.operation import Host
from router.association.requestor import DataSource, Requestor, plan_contexts
from router.association.target import Target
from router.association.visit import Visit

__all__ = [
    "Aborted",
    "Acceptor",
    "AssociationError",
    "DataSource",
    "Doors",
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
