"""Note that a delivery of each of some messages is finished: shared by attempts and by operators' decisions."""

from collections.abc import Sequence

from router.spool.ledger.database import Database
from router.spool.ledger.rows import Finished


def finish(database: Database, which: str, values: Sequence[object]) -> list[Finished]:
    """Count one delivery less for each of the messages, and return those that have none left.

    `which` is a query for the ids of the messages, `values` its parameters. Writer thread only.
    """
    database.execute(f"UPDATE messages SET unfinished = unfinished - 1 WHERE id IN ({which})", values)
    rows = database.execute(
        "SELECT segment, count(*), sum(length), group_concat(nullif(file, '')) FROM messages"
        f" WHERE id IN ({which}) AND unfinished <= 0 GROUP BY segment",
        values,
    )
    return [
        Finished(segment=segment, count=count, length=length, files=tuple(files.split(",")) if files else ())
        for segment, count, length, files in rows
    ]
