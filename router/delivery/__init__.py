"""Deliver: one actor for each destination. Most modules only decide; `destination` and `session` act."""

from router.delivery.destination import Destination
from router.delivery.dispatcher import Dispatcher
from router.delivery.retry import restarts
from router.delivery.statistics import DestinationStatistics

__all__ = ["Destination", "DestinationStatistics", "Dispatcher", "restarts"]
