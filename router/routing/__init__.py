"""Routing: facts about a message, and the table of routes that is matched with them.

Pure functions on values: no socket, no file, no task. Not here: reading elements of a data set
(`router.dicom.scanner`).
"""

from router.routing.facts import Facts
from router.routing.table import Match, RouteExplanation, RoutingTable

__all__ = [
    "Facts",
    "Match",
    "RouteExplanation",
    "RoutingTable",
]
