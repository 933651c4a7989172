"""Read a spool without its writer: the ledger through a connection of its own.

`Reader` is for the running router, so that a long list never holds up a commit. `ReadOnlySpool` is for the command
line when no router runs; it takes no lock, and reads what the ledger had when the last router ended.
"""

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TypeVar

import trio

from router.spool.ledger.queries import QueueQueries
from router.spool.message_id import MessageId
from router.spool.values import InstanceDelivery, MessageDetail, QueueRow, Retained, Selection

T = TypeVar("T")


class ReadOnlySpool:
    """The spool of a router that does not run. It blocks: for a process that has nothing else to do."""

    def __init__(self, directory: Path) -> None:
        """Open the spool in a directory.

        Raises:
            SpoolUnusable: there is none, or another version of the router wrote it.
        """
        self.queue = QueueQueries.open_read_only(directory / "ledger.sqlite")
        """What `Spool.queue` reads, without waiting."""

    def close(self) -> None:
        self.queue.close()


class Reader:
    """Read the ledger from the event loop: one query at a time, in a worker thread."""

    def __init__(self, ledger: Path) -> None:
        self._ledger = ledger
        self._queries: QueueQueries | None = None
        self._one = trio.CapacityLimiter(1)

    async def list_deliveries(self, selection: Selection, after: MessageId, limit: int) -> list[QueueRow]:
        return await self._read(lambda queries: queries.list_deliveries(selection, after, limit))

    async def show(self, message_id: MessageId) -> MessageDetail:
        return await self._read(lambda queries: queries.show(message_id))

    async def instances(self, uids: Sequence[str]) -> dict[str, list[InstanceDelivery]]:
        return await self._read(lambda queries: queries.instances(uids))

    async def retained(self, destination: str, clock: float, limit: int) -> list[Retained]:
        return await self._read(lambda queries: queries.retained(destination, clock, limit))

    def close(self) -> None:
        if self._queries is not None:
            self._queries.close()

    async def _read(self, query: Callable[[QueueQueries], T]) -> T:
        def read() -> T:
            if self._queries is None:
                self._queries = QueueQueries.open_read_only(self._ledger)
            return query(self._queries)

        return await trio.to_thread.run_sync(read, limiter=self._one)
