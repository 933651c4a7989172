"""Which routes a message takes: facts about it, the table that matches them, and the scanner that reads a data set
just far enough. Pure functions on values: no socket, no file, no task."""

from router.routing.facts import Facts
from router.routing.table import Match, RouteVerdict, RoutingTable

__all__ = [
    "Facts",
    "Match",
    "RouteVerdict",
    "RoutingTable",
]
