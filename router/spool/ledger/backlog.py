"""What waits for one destination, read in bounded parts: each answer comes from a range of one index.

Of each lane only the first unfinished delivery is ever given: what follows may not travel yet. A part is cut by the
rows that were looked at, not by those that may travel, so that a long lane costs a turn of the writer no more than
anything else. Not here: what becomes of the deliveries (ledger.py).
"""

from collections.abc import Iterable, Sequence
from typing import Any, Final

from attrs import frozen

from router.spool.ledger.ledger import LOOKED_AT, WAITING_ROW, Ledger, row_of
from router.spool.ledger.schema import DELIVERED, HELD, SEND, WAITING
from router.spool.values import LocatedDelivery

_IS_FIRST: Final = (
    "(d.lane = '' OR NOT EXISTS (SELECT 1 FROM deliveries e WHERE e.destination = d.destination AND e.lane = d.lane"
    f" AND e.lane <> '' AND e.state IN ({WAITING}, {HELD}) AND e.message_id < d.message_id))"
)
_FROM: Final = "FROM deliveries d CROSS JOIN messages m ON m.id = d.message_id"
_SELECT: Final = f"SELECT {WAITING_ROW}, {_IS_FIRST} {_FROM}"
_WAITING: Final = f"d.state = {WAITING} AND d.purpose = {SEND} AND d.destination = ?"
FRESH: Final = f"{_SELECT} WHERE {_WAITING} AND d.due = 0 AND d.message_id > ? ORDER BY d.message_id LIMIT ?"
NEWEST: Final = f"{_SELECT} WHERE {_WAITING} AND d.due = 0 ORDER BY d.message_id DESC LIMIT ?"
DUE: Final = (
    f"{_SELECT} WHERE {_WAITING} AND d.due > 0 AND (d.due, d.message_id) > (?, ?) ORDER BY d.due, d.message_id LIMIT ?"
)
FIRST_OF_LANE: Final = (
    f"SELECT {WAITING_ROW}, d.state {_FROM} WHERE d.destination = ? AND d.lane = ? AND d.lane <> ''"
    f" AND d.state IN ({WAITING}, {HELD}) ORDER BY d.message_id LIMIT 1"
)

Position = tuple[float, int]
"""(due, message id): where the reading of what is due goes on."""


@frozen
class Part:
    """A part of what waits."""

    rows: list[LocatedDelivery]
    """Deliveries that may travel now."""
    last: int
    """The message id where the next part goes on."""
    is_end: bool
    """Nothing more waits behind it."""


@frozen
class DuePart:
    """A part of what has failed before and is due again."""

    rows: list[LocatedDelivery]
    last: Position
    next_due: float | None
    """When something is due that is not yet, on the ledger's clock; None where all of it was not looked at."""


@frozen(kw_only=True)
class Earlier:
    """What is known about earlier deliveries of an instance to the same destination."""

    same_bytes: bool
    """Another message with the same bytes was delivered there; they are compared by length and CRC."""
    other_bytes: bool
    """Another message of the instance with other bytes was delivered there."""
    may_be_lost: bool
    """The router has stopped without warning since the message came in: an attempt may have gone unrecorded."""


def fresh(ledger: Ledger, destination: str, after: int, limit: int) -> Part:
    """Read deliveries that have not failed, of message ids above `after`, in their order."""
    found = ledger.execute(FRESH, (destination, after, limit)).fetchall()
    return Part(_first_ones(found), found[-1][0] if found else after, len(found) < limit)


def newest(ledger: Ledger, destination: str, limit: int) -> list[LocatedDelivery]:
    """Read the deliveries of the highest message ids among those that have not failed."""
    return _first_ones(ledger.execute(NEWEST, (destination, limit)).fetchall())


def due(ledger: Ledger, destination: str, after: Position, limit: int) -> DuePart:
    """Read deliveries that have failed and are due by now, in the order in which they became due."""
    now = ledger.clock()
    found = ledger.execute(DUE, (destination, *after, limit)).fetchall()
    ripe = [row for row in found if row[17] <= now]
    last = (ripe[-1][17], ripe[-1][0]) if ripe else after
    if len(ripe) < len(found):
        return DuePart(_first_ones(ripe), last, found[len(ripe)][17])
    return DuePart(_first_ones(ripe), last, None if len(found) == limit else float("inf"))


def first_of_lanes(ledger: Ledger, destination: str, lanes: Iterable[str]) -> list[LocatedDelivery]:
    """Read the first delivery of each lane, where it may travel now."""
    now = ledger.clock()
    found = [ledger.execute(FIRST_OF_LANE, (destination, lane)).fetchone() for lane in lanes]
    return [row_of(row) for row in found if row is not None and row[-1] == WAITING and row[17] <= now]


def delivered_before(ledger: Ledger, message_id: int, destination: str) -> Earlier:
    """Look up earlier deliveries of the message's instance, among messages that `spool.history` still remembers."""
    same, other = ledger.execute(
        "SELECT coalesce(max(is_same), 0), coalesce(max(NOT is_same), 0) FROM (SELECT e.kind = m.kind"
        " AND e.transfer_syntax = m.transfer_syntax AND e.data_length = m.data_length AND e.data_crc = m.data_crc"
        " AS is_same FROM messages m JOIN messages e ON e.sop_instance_uid = m.sop_instance_uid AND e.id <> m.id"
        " JOIN deliveries d ON d.message_id = e.id"
        f" WHERE m.id = ? AND d.destination = ? AND d.purpose = {SEND} AND d.state = {DELIVERED} LIMIT {LOOKED_AT})",
        (message_id, destination),
    ).fetchone()
    (lost,) = ledger.execute(
        "SELECT coalesce(max(born < (SELECT cut_off FROM facts)), 0) FROM deliveries"
        f" WHERE message_id = ? AND destination = ? AND purpose = {SEND}",
        (message_id, destination),
    ).fetchone()
    return Earlier(same_bytes=bool(same), other_bytes=bool(other), may_be_lost=bool(lost))


def _first_ones(found: Sequence[Sequence[Any]]) -> list[LocatedDelivery]:
    return [row_of(row) for row in found if row[-1]]
