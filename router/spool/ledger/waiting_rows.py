"""Read the deliveries that wait for one destination, in bounded parts: each part is a range of one index.

Of the deliveries with one ordering key (a lane), only the first unfinished one is returned: those after it may not
begin yet. A part is limited by the rows that were read, not by those that may begin, so that a long lane costs a turn
of the writer no more than anything else. Not here: settling the deliveries (ledger.py).
"""

from collections.abc import Iterable, Sequence
from typing import Any, Final

from attrs import frozen

from router.spool.ledger.database import Database
from router.spool.ledger.rows import LOOKED_AT, WAITING_ROW, row_of
from router.spool.ledger.schema import DELIVERED, HELD, SEND, WAITING
from router.spool.message_id import MessageId
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

PENDING: Final = f"{_SELECT} WHERE {_WAITING} AND d.message_id = ?"

Position = tuple[float, MessageId]
"""(due, message id): the next part begins after it."""


@frozen
class Part:
    """A part of the deliveries that wait and have not failed."""

    rows: list[LocatedDelivery]
    """Deliveries that may begin now."""
    last: MessageId
    """The next part begins after this message."""
    is_end: bool
    """There is no next part."""


@frozen
class DuePart:
    """A part of the deliveries that have failed and are due again."""

    rows: list[LocatedDelivery]
    last: Position
    """The next part begins after it."""
    next_due: float | None
    """When the next delivery becomes due, on the run clock; infinite without one; None if not all were read."""


@frozen(kw_only=True)
class Earlier:
    """Earlier deliveries of an instance to the same destination, as far as they are known."""

    same_bytes: bool
    """Another message with the same bytes was delivered there; they are compared by length and CRC."""
    other_bytes: bool
    """Another message of the instance with other bytes was delivered there."""
    may_be_lost: bool
    """The router has stopped without warning since the message came in: an attempt may have gone unrecorded."""


class WaitingRows:
    """Writer thread only."""

    def __init__(self, database: Database) -> None:
        self._execute = database.execute
        self._database = database

    def fresh(self, destination: str, after: int, limit: int) -> Part:
        """Read deliveries that have not failed, of message ids above `after`, in order of the ids."""
        found = self._execute(FRESH, (destination, after, limit)).fetchall()
        return Part(_first_ones(found), found[-1][0] if found else after, len(found) < limit)

    def newest(self, destination: str, limit: int) -> list[LocatedDelivery]:
        """Read the deliveries of the highest message ids among those that have not failed."""
        return _first_ones(self._execute(NEWEST, (destination, limit)).fetchall())

    def due(self, destination: str, after: Position, limit: int) -> DuePart:
        """Read deliveries that have failed and are due by now, in the order in which they became due."""
        now = self._database.clock()
        found = self._execute(DUE, (destination, *after, limit)).fetchall()
        ripe = [row for row in found if row[17] <= now]
        last = (ripe[-1][17], ripe[-1][0]) if ripe else after
        if len(ripe) < len(found):
            return DuePart(_first_ones(ripe), last, found[len(ripe)][17])
        return DuePart(_first_ones(ripe), last, None if len(found) == limit else float("inf"))

    def first_of_lanes(self, destination: str, lanes: Iterable[str]) -> list[LocatedDelivery]:
        """Read the first delivery of each lane, if it may begin now."""
        now = self._database.clock()
        found = [self._execute(FIRST_OF_LANE, (destination, lane)).fetchone() for lane in lanes]
        return [row_of(row) for row in found if row is not None and row[-1] == WAITING and row[17] <= now]

    def delivered_before(self, message_id: MessageId, destination: str) -> Earlier:
        """Look up earlier deliveries of the message's instance, among messages that `spool.history` still remembers."""
        same, other = self._execute(
            "SELECT coalesce(max(is_same), 0), coalesce(max(NOT is_same), 0) FROM (SELECT e.kind = m.kind"
            " AND e.transfer_syntax = m.transfer_syntax AND e.data_length = m.data_length AND e.data_crc = m.data_crc"
            " AS is_same FROM messages m JOIN messages e ON e.sop_instance_uid = m.sop_instance_uid AND e.id <> m.id"
            " JOIN deliveries d ON d.message_id = e.id"
            f" WHERE m.id = ? AND d.destination = ? AND d.purpose = {SEND} AND d.state = {DELIVERED}"
            f" LIMIT {LOOKED_AT})",
            (message_id, destination),
        ).fetchone()
        (lost,) = self._execute(
            "SELECT coalesce(max(born < (SELECT cut_off FROM facts)), 0) FROM deliveries"
            f" WHERE message_id = ? AND destination = ? AND purpose = {SEND}",
            (message_id, destination),
        ).fetchone()
        return Earlier(same_bytes=bool(same), other_bytes=bool(other), may_be_lost=bool(lost))

    def pending(self, message_id: MessageId, destination: str) -> list[LocatedDelivery]:
        """Read one delivery, if it waits and may begin now."""
        return _first_ones(self._execute(PENDING, (destination, message_id)).fetchall())


def _first_ones(found: Sequence[Sequence[Any]]) -> list[LocatedDelivery]:
    return [row_of(row) for row in found if row[-1]]
