"""What operators decided about deliveries: hold, release, retry, re-route, discard.

Promises: a decision is durable in a segment before the ledger has it, and a ledger that is rebuilt has it again, in the
order in which they were made. The last one on a delivery stays as long as the record of its message: `decided` in the
ledger says in which segment it lies, and housekeeping moves it before that segment goes. One about a message whose
record is gone may go too. Used by the writer's thread. Not here: which deliveries are meant (queries.py), the bytes
(record.py).
"""

import time
from collections.abc import Iterable, Sequence

from router.model import Purpose
from router.spool.disk.record import encode_decisions
from router.spool.disk.segments import Draft, Segments
from router.spool.errors import OutOfSpace
from router.spool.ledger.ledger import Finished, Ledger
from router.spool.ledger.schema import DELIVERED, DISCARDED, HELD, STATES, WAITING
from router.spool.values import Decision

_WHICH = "message_id = ? AND destination = ? AND purpose = ?"


def append(segments: Segments, decisions: Sequence[Decision]) -> int:
    """Make decisions durable; the number of the segment that has them.

    Raises:
        OutOfSpace: the disk is full; nothing of them is left.
        SpoolFailure: the disk did not do as it said.
    """
    draft = Draft(0, encode_decisions(decisions), b"", 0, from_reserve=True)
    if not segments.append([draft]):
        raise OutOfSpace("no room in the spool to write the change down")
    segment = segments.known[draft.segment]
    segment.live -= 1  # it is no message
    segment.live_bytes -= draft.length
    segment.has_decisions = True
    return draft.segment


def apply(ledger: Ledger, decisions: Iterable[Decision], segment: int) -> list[Finished]:
    """Bring deliveries to the state that was decided; the messages that are finished by it. What is finished already
    stays as it is. `segment`: where the decisions lie, 0 where they need not outlive the ledger."""
    finished: list[Finished] = []
    for one in decisions:
        found = ledger.execute(  # one that no route wanted is the one that was sent on its way
            "SELECT destination, state FROM deliveries WHERE message_id = ? AND purpose = ? AND destination IN (?, '')"
            " ORDER BY destination DESC LIMIT 1",
            (one.message_id, one.purpose, one.destination),
        ).fetchone()
        if found is None:
            continue
        destination, before = found
        if before in (WAITING, HELD):
            after = STATES.index(one.state)
            ledger.execute(  # what waits again is owed as if it had just come
                "UPDATE deliveries SET destination = ?, state = ?, born = iif(?, ?, born), due = 0, crashes = 0,"
                f" reason = ?, changed = ? WHERE {_WHICH}",
                (
                    *(one.destination, after, after == WAITING, ledger.clock(), one.reason, time.time()),
                    *(one.message_id, destination, one.purpose),
                ),
            )
            ledger.deltas[destination, one.purpose, before] -= 1
            ledger.deltas[one.destination, one.purpose, after] += 1
            if after in (DELIVERED, DISCARDED):
                finished += ledger.finish("?", (one.message_id,))
        if segment:
            _moved(ledger, [one], segment)
    return finished


def needed_in(ledger: Ledger, segment: int, limit: int) -> list[Decision]:
    """The last decisions on deliveries that lie in a segment, about messages whose records are in others and on the
    disk. They say how the deliveries stand by now."""
    rows = ledger.execute(
        "SELECT d.message_id, d.destination, d.purpose, d.state, d.reason FROM deliveries d"
        " JOIN messages m ON m.id = d.message_id JOIN segments s ON s.number = m.segment"
        " WHERE d.decided = ? AND d.decided <> 0 AND m.segment <> d.decided AND s.gone IS NULL LIMIT ?",
        (segment, limit),
    )
    return [
        Decision(message_id=row[0], destination=row[1], purpose=Purpose(row[2]), state=STATES[row[3]], reason=row[4])
        for row in rows
    ]


def move(ledger: Ledger, segments: Segments, decisions: Sequence[Decision]) -> None:
    """Write decisions down once more, so that the segment where they lie can go. Raises as `append`, and
    sqlite3.Error: then they are where they were."""
    number = append(segments, decisions)
    target = segments.known[number]
    with ledger.transaction():
        _moved(ledger, decisions, number)
        ledger.know(number, target.nonce, target.end)


def _moved(ledger: Ledger, decisions: Iterable[Decision], segment: int) -> None:
    ledger.connection.executemany(
        f"UPDATE deliveries SET decided = ? WHERE {_WHICH}",
        [(segment, one.message_id, one.destination, one.purpose) for one in decisions],
    )


def segments_with(ledger: Ledger) -> list[int]:
    """The segments in which the last decisions on deliveries lie; `EARLIER` among them."""
    return [row[0] for row in ledger.execute("SELECT DISTINCT decided FROM deliveries WHERE decided <> 0")]
