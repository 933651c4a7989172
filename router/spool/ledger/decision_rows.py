"""The ledger's part of what operators decide: the deliveries that follow, and the segment that holds the decision."""

import time
from collections.abc import Iterable

from router.model import Purpose
from router.spool.ledger.database import Database
from router.spool.ledger.finish import finish
from router.spool.ledger.rows import Finished
from router.spool.ledger.schema import DELIVERED, DISCARDED, HELD, RETAIN, SEND, STATES, WAITING
from router.spool.message_id import MessageId
from router.spool.values import Decision

_WHICH = "message_id = ? AND destination = ? AND purpose = ?"


class DecisionRows:
    """Writer thread only."""

    def __init__(self, database: Database) -> None:
        self._database = database
        self._execute = database.execute

    def apply(self, decisions: Iterable[Decision], segment: int) -> list[Finished]:
        """Bring deliveries to the state that was decided; return the messages that are finished by it.

        A finished delivery stays as it is, unless the decision is to send again what was delivered and is still
        retained; the attempt before then counts as unanswered, since the destination may have the object after all.
        What waits again is owed as if it had just come; what is retained counts its refusals from 0.
        `segment` holds the decisions; 0 if they need not outlive the ledger.
        """
        finished: list[Finished] = []
        for one in decisions:
            found = self._execute(  # the delivery that no route wanted is the one that gets the destination
                "SELECT destination, state FROM deliveries WHERE message_id = ? AND purpose = ?"
                " AND destination IN (?, '') ORDER BY destination DESC LIMIT 1",
                (one.message_id, one.purpose, one.destination),
            ).fetchone()
            if found is None:
                continue
            destination, before = found
            after = STATES.index(one.state)
            is_again = (before, after) == (DELIVERED, WAITING) and self._may_go_again(one)
            if before in (WAITING, HELD) or is_again:
                self._execute(
                    "UPDATE deliveries SET destination = ?, state = ?, born = iif(?, ?, born), due = 0, crashes = 0,"
                    f" attempts = iif(? AND purpose = {RETAIN}, 0, attempts), unanswered = unanswered + ?,"
                    f" reason = ?, changed = ? WHERE {_WHICH}",
                    (
                        *(one.destination, after, after == WAITING, self._database.clock(), after == WAITING, is_again),
                        *(one.reason, time.time(), one.message_id, destination, one.purpose),
                    ),
                )
                self._database.deltas[destination, one.purpose, before] -= 1
                self._database.deltas[one.destination, one.purpose, after] += 1
                if is_again:
                    self._execute("UPDATE messages SET unfinished = unfinished + 1 WHERE id = ?", (one.message_id,))
                if after in (DELIVERED, DISCARDED):
                    finished += finish(self._database, "?", (one.message_id,))
            if segment:
                self.locate([one], segment)
        return finished

    def _may_go_again(self, decision: Decision) -> bool:
        return decision.purpose is Purpose.SEND and self.is_retained(decision.message_id, decision.destination)

    def is_retained(self, message_id: MessageId, destination: str) -> bool:
        """Return whether a message that was delivered is on the disk and still retained for its destination."""
        row = self._execute(
            "SELECT 1 FROM deliveries s JOIN deliveries r USING (message_id, destination)"
            " JOIN messages m ON m.id = s.message_id"
            f" WHERE s.message_id = ? AND s.destination = ? AND s.purpose = {SEND} AND s.state = {DELIVERED}"
            f" AND r.purpose = {RETAIN} AND r.state IN ({WAITING}, {HELD}) AND m.segment > 0",
            (message_id, destination),
        ).fetchone()
        return row is not None

    def needed_in(self, segment: int, limit: int) -> list[Decision]:
        """Read the last decisions on deliveries that lie in a segment, as the deliveries stand by now.

        Only those about messages whose records are on the disk and in other segments.
        """
        rows = self._execute(
            "SELECT d.message_id, d.destination, d.purpose, d.state, d.reason FROM deliveries d"
            " JOIN messages m ON m.id = d.message_id JOIN segments s ON s.number = m.segment"
            " WHERE d.decided = ? AND d.decided <> 0 AND m.segment <> d.decided AND s.gone IS NULL LIMIT ?",
            (segment, limit),
        )
        return [
            Decision(
                message_id=row[0], destination=row[1], purpose=Purpose(row[2]), state=STATES[row[3]], reason=row[4]
            )
            for row in rows
        ]

    def locate(self, decisions: Iterable[Decision], segment: int) -> None:
        """Note the segment in which the last decisions on these deliveries lie."""
        self._database.connection.executemany(
            f"UPDATE deliveries SET decided = ? WHERE {_WHICH}",
            [(segment, one.message_id, one.destination, one.purpose) for one in decisions],
        )

    def segments(self) -> list[int]:
        """List the segments in which the last decisions on deliveries lie; `EARLIER` may be among them."""
        return [row[0] for row in self._execute("SELECT DISTINCT decided FROM deliveries WHERE decided <> 0")]
