"""Associations, as acceptor and as requestor. `transport` is the only code of the router that touches sockets."""

from router.association.acceptor import Acceptor, Reception
from router.association.doors import Doors
from router.association.errors import Aborted, AssociationError, NoResponse, NotConnected, Rejected
from router.association.requestor import DataSource, Requestor, Target, plan_contexts

__all__ = [
    "Aborted",
    "Acceptor",
    "AssociationError",
    "DataSource",
    "Doors",
    "NoResponse",
    "NotConnected",
    "Reception",
    "Rejected",
    "Requestor",
    "Target",
    "plan_contexts",
]
