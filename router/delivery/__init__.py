"""Delivery: one actor per destination. `queue`, `cohort`, `retry` and `outcome` decide, `destination` does."""

from router.delivery.destination import Destination, DestinationStatistics
from router.delivery.dispatcher import Dispatcher
from router.delivery.retry import restarts

__all__ = ["Destination", "DestinationStatistics", "Dispatcher", "restarts"]
