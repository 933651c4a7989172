"""Delivery: one actor per destination. `retry` and `window` decide, `destination` does."""

from router.delivery.destination import Destination, DestinationStatistics
from router.delivery.dispatcher import Dispatcher
from router.delivery.retry import restarts

__all__ = ["Destination", "DestinationStatistics", "Dispatcher", "restarts"]
