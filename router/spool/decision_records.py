"""Write the decisions of operators about deliveries to a segment: hold, release, retry, re-route, discard.

Promises: a decision is durable in a segment before the ledger has it, and a ledger that is rebuilt gets all of them
again, in the order in which they were made. The last decision on a delivery stays as long as the record of its message:
the ledger knows the segment that holds it, and housekeeping moves it before that segment goes. A decision about a
message whose record is gone may go too. Writer thread only. Not here: the choice of deliveries (ledger/queries.py), the
rows (ledger/decisions.py), the bytes (disk/record.py).
"""

from collections.abc import Sequence

from router.spool.disk.record import encode_decisions
from router.spool.disk.segments import Draft, Segments
from router.spool.errors import OutOfSpace
from router.spool.ledger.ledger import Ledger
from router.spool.values import Decision


def append(segments: Segments, decisions: Sequence[Decision]) -> int:
    """Make decisions durable; return the number of the segment that holds them.

    Raises:
        OutOfSpace: the disk is full; nothing of them is left.
        SpoolFailure: the disk failed.
    """
    draft = Draft(0, encode_decisions(decisions), b"", 0, from_reserve=True)
    if not segments.append([draft]):
        raise OutOfSpace("no room in the spool to write the change down")
    segment = segments.known[draft.segment]
    segment.live -= 1  # it is not a message
    segment.live_bytes -= draft.length
    segment.has_decisions = True
    return draft.segment


def move(ledger: Ledger, segments: Segments, decisions: Sequence[Decision]) -> None:
    """Write decisions once more, so that the segment that holds them can go.

    Raises:
        OutOfSpace, SpoolFailure: as `append`.
        sqlite3.Error: the ledger has no room; the old copies still count.
    """
    number = append(segments, decisions)
    target = segments.known[number]
    with ledger.transaction():
        ledger.decisions.locate(decisions, number)
        ledger.know(number, target.nonce, target.end)
