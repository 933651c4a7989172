"""Looking into a spool without its writer: the ledger through a connection of its own.

`Reader` is the running router's, so that a long list never holds up a commit. `ReadOnlySpool` is for the command
line when no router runs; it takes no lock, and sees what the ledger had when the last one ended.
"""

import sqlite3
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TypeVar

import trio

from router.model import Envelope, Purpose, Recipient
from router.spool.errors import SpoolUnusable, UnknownMessage
from router.spool.ledger import queries
from router.spool.ledger.schema import SCHEMA_VERSION, refuse_newer
from router.spool.values import InstanceDelivery, MessageDetail, QueueRow, Retained, Selection, Totals

T = TypeVar("T")


class ReadOnlySpool:
    """Sync: for a process that has nothing else to do."""

    def __init__(self, ledger: Path) -> None:
        try:
            self._connection = queries.connect_read_only(ledger)
            (version,) = self._connection.execute("PRAGMA user_version").fetchone()
        except sqlite3.Error as error:
            raise SpoolUnusable(f"{ledger} cannot be read: {error}") from error
        if version != SCHEMA_VERSION:
            self._connection.close()
            refuse_newer(ledger, version)
            raise SpoolUnusable(
                f"{ledger} was written by an earlier version of the router (schema number {version}, this version"
                f" reads {SCHEMA_VERSION}): start the router, which brings it up to date"
            )

    def queue(self, selection: Selection, after: int = 0, limit: int = 100) -> list[QueueRow]:
        """As `Spool.queue`."""
        return queries.list_rows(self._connection, selection, after, limit)

    def show(self, message_id: int) -> MessageDetail:
        """As `Spool.show`; the command set is not read. UnknownMessage."""
        row = self._connection.execute(
            "SELECT kind, service, abstract_syntax, transfer_syntax, sop_class_uid, sop_instance_uid, calling_ae,"
            " called_ae, peer, received, data_length, segment, offset, file, unfinished FROM messages WHERE id = ?",
            (message_id,),
        ).fetchone()
        if row is None:
            raise UnknownMessage(f"there is no message {message_id}")
        deliveries = tuple(self.queue(Selection(message_ids=(message_id,)), limit=10_000))
        *names, received, data_length, segment, offset, file, unfinished = row
        envelope = Envelope(
            kind=names[0],
            command=b"",
            service=names[1],
            abstract_syntax=names[2],
            transfer_syntax=names[3],
            sop_class_uid=names[4],
            sop_instance_uid=names[5],
            calling_ae=names[6],
            called_ae=names[7],
            peer=names[8],
            received=received,
            deliveries=tuple(
                Recipient(destination=row.destination, key=row.key, purpose=row.purpose) for row in deliveries
            ),
        )
        where = f"large/{file}" if file else f"segments/{segment:08d} at {offset}" if segment else "damaged or gone"
        if unfinished <= 0 and (file or not self._is_there(segment)):
            where = "gone: delivered or discarded"
        return MessageDetail(
            message_id=message_id, envelope=envelope, deliveries=deliveries, data_length=data_length, where=where
        )

    def _is_there(self, segment: int) -> bool:
        found = self._connection.execute("SELECT 1 FROM segments WHERE number = ? AND gone IS NULL", (segment,))
        return found.fetchone() is not None

    def instances(self, uids: Sequence[str]) -> dict[str, list[InstanceDelivery]]:
        """As `Spool.instances`."""
        return queries.instances(self._connection, uids)

    def retained(self, destination: str, clock: float, limit: int) -> list[Retained]:
        return queries.retained(self._connection, destination, clock, limit)

    def totals(self, purpose: Purpose = Purpose.SEND) -> dict[str, Totals]:
        """As `Spool.totals`."""
        return queries.totals(self._connection, purpose)

    def close(self) -> None:
        self._connection.close()


def read_only(directory: Path) -> ReadOnlySpool:
    """The spool of a router that does not run. SpoolUnusable where there is none."""
    return ReadOnlySpool(directory / "ledger.sqlite")


class Reader:
    """The same for the event loop: one question at a time, in a worker's thread."""

    def __init__(self, ledger: Path) -> None:
        self._ledger = ledger
        self._spool: ReadOnlySpool | None = None
        self._one = trio.CapacityLimiter(1)

    async def queue(self, selection: Selection, after: int, limit: int) -> list[QueueRow]:
        return await self._ask(lambda spool: spool.queue(selection, after, limit))

    async def show(self, message_id: int) -> MessageDetail:
        return await self._ask(lambda spool: spool.show(message_id))

    async def instances(self, uids: Sequence[str]) -> dict[str, list[InstanceDelivery]]:
        return await self._ask(lambda spool: spool.instances(uids))

    async def retained(self, destination: str, clock: float, limit: int) -> list[Retained]:
        return await self._ask(lambda spool: spool.retained(destination, clock, limit))

    def close(self) -> None:
        if self._spool is not None:
            self._spool.close()

    async def _ask(self, question: Callable[[ReadOnlySpool], T]) -> T:
        def ask() -> T:
            if self._spool is None:
                self._spool = ReadOnlySpool(self._ledger)
            return question(self._spool)

        return await trio.to_thread.run_sync(ask, limiter=self._one)
