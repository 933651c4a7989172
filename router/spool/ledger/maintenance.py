"""The ledger's statements about messages as records on a disk: found, moved, lost, forgotten.

Recovery and housekeeping use them, inside their transactions.
"""

import time

from attrs import evolve

from router.spool.ledger.database import Database
from router.spool.ledger.rows import PLACE, place_of
from router.spool.ledger.schema import HELD, WAITING
from router.spool.message_id import MessageId
from router.spool.values import C_STORE, Place


class Maintenance:
    """Writer thread only, but for recovery, which runs before it."""

    def __init__(self, database: Database) -> None:
        self._database = database
        self._execute = database.execute

    def begin_use(self) -> None:
        """Note that the spool is in use, and when the use before did not end as it should."""
        with self._database.transaction(durable=True):
            self._execute("UPDATE facts SET cut_off = iif(is_open, ?, cut_off), is_open = 1", (self._database.clock(),))

    def end_use(self) -> None:
        """Note that this run stopped cleanly, with everything written."""
        with self._database.transaction(durable=True):
            self._execute("UPDATE facts SET is_open = 0")

    def unfinished_in(self, segment: int, limit: int = 1000) -> list[tuple[int, Place]]:
        """List unfinished messages of a segment with their places, in order of their ids."""
        rows = self._execute(
            f"SELECT m.id, {PLACE} FROM messages m WHERE m.segment = ? AND m.unfinished > 0 ORDER BY m.id LIMIT ?",
            (segment, limit),
        )
        return [(row[0], place_of(row[1:])) for row in rows]

    def unfinished_instances(self, after: MessageId, limit: int) -> tuple[list[str], MessageId | None]:
        """List the SOP Instance UIDs of unfinished C-STOREs among the next `limit` messages after an id.

        Returns the last of these ids with them; None at the end.
        """
        rows = self._execute(
            "SELECT id, iif(unfinished > 0 AND kind = ?, sop_instance_uid, '') FROM messages WHERE id > ?"
            " ORDER BY id LIMIT ?",
            (C_STORE, after, limit),
        ).fetchall()
        return [uid for _, uid in rows if uid], rows[-1][0] if len(rows) == limit else None

    def move(self, message_id: MessageId, place: Place, segment: int, offset: int) -> Place:
        """Point a message to another copy of its record; return its new place."""
        self._execute("UPDATE messages SET segment = ?, offset = ? WHERE id = ?", (segment, offset, message_id))
        return evolve(place, segment=segment, offset=offset)

    def lose(self, message_id: MessageId, reason: str, *, keep_place: bool = False) -> None:
        """Hold the unfinished deliveries of a message that cannot be read.

        Unless `keep_place`, nothing in the spool belongs to it from now on.
        """
        now = time.time()
        rows = self._execute(
            f"SELECT destination, purpose, state FROM deliveries WHERE message_id = ? AND state IN ({WAITING}, {HELD})",
            (message_id,),
        ).fetchall()
        for destination, purpose, state in rows:
            self._execute(
                "UPDATE deliveries SET state = ?, reason = ?, changed = ?"
                " WHERE message_id = ? AND destination = ? AND purpose = ?",
                (HELD, reason, now, message_id, destination, purpose),
            )
            self._database.count(destination, purpose, state, HELD)
        if not keep_place:
            self._execute("UPDATE messages SET segment = 0, offset = 0, file = '' WHERE id = ?", (message_id,))

    def drop_segment(self, segment: int) -> None:
        """Note that all of a segment is finished, and that its file is about to go."""
        self._execute("UPDATE segments SET dropped = 1 WHERE number = ?", (segment,))

    def segment_is_gone(self, segment: int) -> float:
        """Note that the file of a segment is gone; return the time of it on the run clock."""
        now = self._database.clock()
        self._execute("UPDATE segments SET gone = ? WHERE number = ?", (now, segment))
        return now

    def gone_segments(self) -> list[tuple[int, float]]:
        """List segments whose files are gone, and since when, the oldest first."""
        return self._execute(
            "SELECT number, gone FROM segments WHERE gone IS NOT NULL ORDER BY gone, number"
        ).fetchall()

    def forget(self, segment: int, limit: int) -> bool:
        """Forget up to `limit` finished messages of a segment that is gone.

        Returns whether those were all; the segment is then forgotten too. Segment 0 is for damaged and lost messages.
        """
        found = self._execute(
            "SELECT id FROM messages WHERE segment = ? AND unfinished <= 0 LIMIT ?", (segment, limit)
        ).fetchall()
        self._database.connection.executemany("DELETE FROM deliveries WHERE message_id = ?", found)
        self._database.connection.executemany("DELETE FROM messages WHERE id = ?", found)
        if len(found) == limit:
            return False
        self._execute("DELETE FROM segments WHERE number = ?", (segment,))
        return True

    def segments(self) -> dict[int, tuple[bytes, int, bool]]:
        """List segments whose files are there: by number, the nonce, the known length, whether the file is to go."""
        rows = self._execute("SELECT number, nonce, known, dropped FROM segments WHERE gone IS NULL")
        return {number: (nonce, known, bool(dropped)) for number, nonce, known, dropped in rows}

    def live(self) -> dict[int, tuple[int, int]]:
        """Count by segment the unfinished messages, and the bytes of their records."""
        rows = self._execute(
            "SELECT segment, count(*), sum(length) FROM messages WHERE unfinished > 0 GROUP BY segment"
        )
        return {segment: (count, size) for segment, count, size in rows}

    def unfinished_files(self) -> list[tuple[int, str, int]]:
        """List message id, name and length of every large file that is needed."""
        return self._execute(
            "SELECT id, file, data_length FROM messages WHERE file <> '' AND unfinished > 0 ORDER BY id"
        ).fetchall()

    def is_file_known(self, name: str) -> bool:
        return self._execute("SELECT 1 FROM messages WHERE file = ? LIMIT 1", (name,)).fetchone() is not None

    def recount(self) -> None:
        """Count `totals` of unfinished deliveries from the rows, after a rebuild or in doubt."""
        self._execute(f"DELETE FROM totals WHERE state IN ({WAITING}, {HELD})")
        self._execute(
            "INSERT INTO totals SELECT destination, purpose, state, count(*) FROM deliveries"
            f" WHERE state IN ({WAITING}, {HELD}) GROUP BY destination, purpose, state"
        )

    def postdate(self, seconds: float) -> None:
        """Date all deliveries later by some seconds, and have them due later by as much."""
        with self._database.transaction():
            self._execute("UPDATE deliveries SET born = born + ?, due = iif(due > 0, due + ?, 0)", (seconds, seconds))
