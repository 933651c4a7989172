"""List, show, change and count deliveries for operators and services, while the router runs.

Lists are read through a connection of their own, so that a long one does not hold up commits; changes are the
writer's, in steps, so that commits go on between them. Event loop only.
"""

from collections.abc import Awaitable, Callable, Sequence

from attrs import evolve

from router.model import Purpose
from router.spool.errors import DamagedMessage, UnknownMessage
from router.spool.jobs import BringUpToDate, ChangeDeliveries, CountDeliveries, SendAgain
from router.spool.ledger.queries import START, Cursor
from router.spool.message_id import MessageId
from router.spool.offline import Reader
from router.spool.stored_message import StoredMessage
from router.spool.values import InstanceDelivery, MessageDetail, QueueAction, QueueRow, Retained, Selection, Totals
from router.spool.writer_client import WriterClient

_CHANGED_AT_ONCE = 1000
"""Deliveries changed in one turn of the writer."""


class QueueAdmin:
    def __init__(
        self,
        writer: WriterClient,
        reader: Reader,
        open_message: Callable[[MessageId], Awaitable[StoredMessage]],
        clock: Callable[[], float],
    ) -> None:
        self._writer = writer
        self._reader = reader
        self._open_message = open_message
        self._clock = clock

    async def list_deliveries(
        self, selection: Selection | None = None, *, after: MessageId = 0, limit: int = 100
    ) -> list[QueueRow]:
        """List deliveries of messages with ids above `after`, in order of the ids.

        All deliveries of the last message are in the list, even if they are more than `limit`.
        """
        await self._writer.ask(BringUpToDate())
        return await self._reader.list_deliveries(selection or Selection(), after, limit)

    async def show(self, message_id: MessageId) -> MessageDetail:
        """Return one message with its deliveries and, if it is readable, its envelope.

        Raises:
            UnknownMessage: the ledger has no such id.
        """
        await self._writer.ask(BringUpToDate())
        detail = await self._reader.show(message_id)
        try:
            with await self._open_message(message_id) as message:
                return evolve(detail, envelope=message.envelope)
        except (DamagedMessage, UnknownMessage):
            return detail

    async def instances(self, uids: Sequence[str]) -> dict[str, list[InstanceDelivery]]:
        """Look up C-STORE deliveries by SOP Instance UID: of each destination, the newest.

        Finished ones are found for as long as `spool.history` says. An instance that is not known has no key.
        """
        await self._writer.ask(BringUpToDate())
        return await self._reader.instances(uids)

    async def retained(self, destination: str, limit: int) -> list[Retained]:
        """Read what a destination may be asked to commit to now, and what is abandoned.

        Those that the destination was never asked about come first.
        """
        await self._writer.ask(BringUpToDate())
        return await self._reader.retained(destination, self._clock(), limit)

    async def change(self, selection: Selection, action: QueueAction, destination: str | None = None) -> int:
        """Do what an operator asks for to the selected deliveries, and return how many were changed.

        Durable on return. `destination` is for released or retried messages that no route wanted; without it they stay
        held. Subscribers are not told: those that keep a part of the backlog read it again from the beginning.

        Raises:
            OutOfSpace: the disk is full, or another program has locked the ledger; earlier steps are done.
        """
        count = 0
        cursor: Cursor | None = START
        while cursor is not None:
            step = await self._writer.ask(ChangeDeliveries(selection, action, destination, cursor, _CHANGED_AT_ONCE))
            count += step.count
            cursor = step.cursor
        return count

    async def send_again(self, message_id: MessageId, destination: str, reason: str) -> bool:
        """Set a delivery that was made back to waiting, while its message is retained for the destination.

        Returns False if there is no such delivery. Durable on return; subscribers are told. It takes no room but
        that of the decision, which comes from the reserve.

        Raises:
            OutOfSpace: the disk is full, or another program has locked the ledger; nothing is changed.
        """
        return await self._writer.ask(SendAgain(message_id, destination, reason))

    async def totals(self, purpose: Purpose = Purpose.SEND) -> dict[str, Totals]:
        """Count the deliveries of one purpose by destination; "" is for messages that no route wanted."""
        return await self._writer.ask(CountDeliveries(purpose))
