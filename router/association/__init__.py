"""Associations, as acceptor and as requestor. `transport` is the only code of the router that touches sockets."""

from router.association.acceptor import Acceptor
from router.association.acceptor_context import AcceptorContext
from router.association.data_source import DataSource, InMemory, InOrder
from router.association.errors import Aborted, AssociationError, NoResponse, NotConnected, Rejected
from router.association.invocation import Invocation
from router.association.operation import OperationPerformer
from router.association.pool import AssociationPool, AssociationPools
from router.association.pooled_peers import PooledPeers
from router.association.proposal import plan_contexts
from router.association.remote_ae import RemoteAE
from router.association.requestor import Requestor
from router.association.reverse import ReverseAssociation
from router.network.names import NameLookup

__all__ = [
    "Aborted",
    "Acceptor",
    "AcceptorContext",
    "AssociationError",
    "AssociationPool",
    "AssociationPools",
    "DataSource",
    "InMemory",
    "InOrder",
    "Invocation",
    "NameLookup",
    "NoResponse",
    "NotConnected",
    "OperationPerformer",
    "PooledPeers",
    "Rejected",
    "RemoteAE",
    "Requestor",
    "ReverseAssociation",
    "plan_contexts",
]
