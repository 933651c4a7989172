"""Choose the protocol by which a peer of the configuration is reached."""

from collections.abc import Iterable
from typing import Final

from router.association import AssociationPools, ReverseAssociation
from router.config import Config, Peer
from router.remote.base import PeerConnector, ReverseConnector
from router.remote.dimse import DimseConnector, DimseReverseConnector
from router.services import DeliveryPolicy, Service
from router.spool import Spool


class Connectors:
    """Makes the connectors of one router."""

    def __init__(self, spool: Spool, services: Iterable[Service], pools: AssociationPools) -> None:
        self._spool: Final = spool
        self._policies: Final = {service.name: service for service in services if isinstance(service, DeliveryPolicy)}
        self._pools: Final = pools

    def to(self, peer: Peer, config: Config) -> PeerConnector | None:
        """Return the connector to a peer; None for a peer without an address."""
        if peer.address is None:
            return None
        return DimseConnector(peer, config, self._spool, self._policies, self._pools.of(peer.name))

    def reverse(self, association: ReverseAssociation) -> ReverseConnector:
        """Return the connector to the peer that has opened an association to us."""
        return DimseReverseConnector(association, self._policies)
