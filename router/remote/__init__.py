"""Remote peers, each behind a `Connector`: one module for each protocol that deliveries can leave by."""

from router.remote.base import Answer, Channel, ChannelLost, Connector, NoChannel, PeerConnector, ReverseConnector
from router.remote.connectors import Connectors

__all__ = [
    "Answer",
    "Channel",
    "ChannelLost",
    "Connector",
    "Connectors",
    "NoChannel",
    "PeerConnector",
    "ReverseConnector",
]
