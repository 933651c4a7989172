"""What people ask of a running spool, and say to it: list, show, change, count.

A part of `Spool`, in a file of its own. Long lists are read beside the writer, through a connection of their own;
changes are the writer's, in steps, so that commits go on between them.
"""

from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence
from functools import partial
from typing import TypeVar

from attrs import evolve

from router.model import Purpose
from router.spool.errors import DamagedMessage, UnknownMessage
from router.spool.jobs import Ask
from router.spool.ledger import queries
from router.spool.offline import Reader
from router.spool.stored_message import StoredMessage
from router.spool.values import InstanceDelivery, MessageDetail, QueueAction, QueueRow, Retained, Selection, Totals
from router.spool.writer import Changed, Writer

T = TypeVar("T")

_CHANGED_AT_ONCE = 1000
"""Deliveries changed by hand in one turn of the writer."""


class QueueAdmin(ABC):
    _writer: Writer
    _reader: Reader

    @abstractmethod
    async def open_message(self, message_id: int) -> StoredMessage: ...

    @abstractmethod
    def clock(self) -> float: ...

    @abstractmethod
    def _hand_over(self) -> None:
        """Give the writer what was settled and it has not heard of yet."""

    @abstractmethod
    def _check(self) -> None:
        """Raise what ended the spool, if it has ended."""

    async def queue(self, selection: Selection | None = None, *, after: int = 0, limit: int = 100) -> list[QueueRow]:
        """Deliveries in order of their message ids, of ids above `after`: `limit`, and what the last message has
        beyond it."""
        await self._ask(lambda writer: None)  # what was settled before shall be seen
        return await self._reader.queue(selection or Selection(), after, limit)

    async def show(self, message_id: int) -> MessageDetail:
        """UnknownMessage."""
        await self._ask(lambda writer: None)
        detail = await self._reader.show(message_id)
        try:
            with await self.open_message(message_id) as message:
                return evolve(detail, envelope=message.envelope)
        except (DamagedMessage, UnknownMessage):
            return detail

    async def instances(self, uids: Sequence[str]) -> dict[str, list[InstanceDelivery]]:
        """By SOP Instance UID, how the C-STORE deliveries of instances stand, one for each destination: those of the
        newest message that went there. Of what is finished, for as long as `history` says; of what was never seen,
        there is no key."""
        await self._ask(lambda writer: None)
        return await self._reader.instances(uids)

    async def retained(self, destination: str, limit: int) -> list[Retained]:
        """Of what is retained for a destination, what it may be asked to commit to now, those first that it was
        never asked about; and what is abandoned."""
        await self._ask(lambda writer: None)
        return await self._reader.retained(destination, self.clock(), limit)

    async def change(self, selection: Selection, action: QueueAction, destination: str | None = None) -> int:
        """Do what a person says to the selected deliveries; how many were changed. It is on the disk when this
        returns. `destination` is where released or retried deliveries go that no route wanted; without it they stay
        held. Subscribers are not told: whoever keeps a part of `waiting` reads it anew from the beginning."""
        count = 0
        cursor: queries.Cursor | None = queries.START
        while cursor is not None:
            step = await self._ask(partial(_change, selection, action, destination, cursor))
            count += step.count
            cursor = step.cursor
        return count

    async def totals(self, purpose: Purpose = Purpose.SEND) -> dict[str, Totals]:
        """By destination, of one purpose; "" is what no route wanted."""
        return await self._ask(lambda writer: queries.totals(writer.ledger.connection, purpose))

    async def _ask(self, question: Callable[[Writer], T]) -> T:
        self._check()
        self._hand_over()
        ask = Ask(question)
        self._writer.jobs.put(ask)
        return await ask.answer.wait()


def _change(
    selection: Selection, action: QueueAction, target: str | None, after: queries.Cursor, writer: Writer
) -> Changed:
    return writer.change(selection, action, target, after, _CHANGED_AT_ONCE)
