"""Which routes a message takes: facts about it, the table that matches them, and the scanner that reads a data set
just far enough. Pure functions on values: no socket, no file, no task."""

from router.routing.encoding import MalformedDataSet, TooMuchToRead
from router.routing.facts import Facts
from router.routing.scanner import AT_ONCE, IN_ALL, Bounds, scan
from router.routing.table import Match, RoutingTable, Verdict

__all__ = [
    "AT_ONCE",
    "IN_ALL",
    "Bounds",
    "Facts",
    "MalformedDataSet",
    "Match",
    "RoutingTable",
    "TooMuchToRead",
    "Verdict",
    "scan",
]
