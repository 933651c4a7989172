"""The operations of one accepted association, from their requests to their final responses.

At most `window` of them are in flight. Those of a service that is not `parallel` are performed one by one, in the order
in which they came. A conversational operation, and with a window above 1 every operation, has its own task, so that the
association is read meanwhile. Not here: one operation (`operation`), and reading (`acceptor`).
"""

from collections.abc import Callable
from contextlib import suppress
from typing import Final

import trio
from attrs import define

from pdu import Overtaken
from router.association.agreement import Agreement
from router.association.message_turns import MessageSender
from router.association.operation import Invoker, Operation, OperationReplies, send_response
from router.association.reverse import ReverseAssociation
from router.dimse import DataSetPiece, MessageBegin, Response
from router.services import ConversationEnded

_MOST_REQUESTS: Final = 16
"""Requests after which the other tasks have a turn: a peer may send thousands in one read."""


@define
class _InFlight:
    operation: Operation
    replies: OperationReplies | None


class AcceptorOperations:
    """Performs the operations of one association."""

    def __init__(
        self,
        transport: MessageSender,
        nursery: trio.Nursery,
        agreement: Agreement,
        invoker: Invoker,
        on_response: Callable[[Operation, Response], None],
        on_idle: Callable[[], None],
        reverse: ReverseAssociation | None = None,
    ) -> None:
        """`on_response` is told each final response before it is sent, `on_idle` that no operation is in flight.

        `reverse`: for sub-operations that the peer performs on the association.
        """
        self._reverse = reverse
        self._transport = transport
        self._nursery = nursery
        self._agreement = agreement
        self._window = agreement.window or float("inf")
        self._invoker = invoker
        self._on_response = on_response
        self._on_idle = on_idle
        self._in_flight: list[_InFlight] = []
        """In the order in which they came. Without the one that is performed in the reading task."""
        self._incoming: Operation | None = None
        """The one whose request is not complete, or waits for the window."""
        self._turn = 0
        """Requests since the other tasks had a turn."""
        self._changed = trio.lowlevel.ParkingLot()
        self._ended = False

    def __bool__(self) -> bool:
        """Whether an operation is in flight."""
        return bool(self._in_flight)

    @property
    def in_request(self) -> bool:
        """Whether a request has begun and its data set is not complete."""
        return self._incoming is not None

    async def feed(self, piece: MessageBegin | DataSetPiece) -> None:
        """Accept a part of a request, and have it performed when it is complete.

        Return as soon as the next part may be read: at once, unless the window is exhausted or the operation is
        performed in this task.
        """
        if isinstance(piece, MessageBegin):
            self._incoming = operation = self._operation_of(piece)
            is_complete = not piece.command.has_data_set
        else:
            assert self._incoming is not None
            operation = self._incoming
            await operation.write(piece)
            is_complete = piece.is_last
        if is_complete:
            self._turn += 1
            if self._turn >= _MOST_REQUESTS:
                self._turn = 0
                await trio.lowlevel.checkpoint()
            if self._window == 1 and not self._in_flight and not operation.is_conversational:
                self._transport.release_buffer()
                await self._send(operation, await operation.perform())
            else:
                await self._begin(operation)
            self._incoming = None

    def _operation_of(self, begin: MessageBegin) -> Operation:
        context = self._agreement.contexts[begin.context_id]
        return Operation.begin(
            begin,
            self._invoker,
            context,
            self._agreement.services[context.id],
            terms=self._agreement.terms[context.abstract_syntax],
            is_repeated=bool(self._in_flight) and self._is_in_flight(begin.command.message_id),
        )

    def _is_in_flight(self, message_id: int | None) -> bool:
        return any(one.operation.message_id == message_id for one in self._in_flight)

    async def drop(self) -> None:
        """Discard a request that is not complete."""
        if self._incoming is not None:
            await self._incoming.drop()

    async def _begin(self, operation: Operation) -> None:
        """Have the operation performed in a task of its own, as soon as the window allows it."""
        while len(self._in_flight) >= self._window:
            await self._changed.park()
        replies = (
            OperationReplies(self._transport, operation.context_id, self._reverse)
            if operation.is_conversational
            else None
        )
        one = _InFlight(operation, replies)
        self._in_flight.append(one)
        self._nursery.start_soon(self._run, one)

    async def _run(self, one: _InFlight) -> None:
        try:
            while not self._may_begin(one):
                await self._changed.park()
            if one.replies is None:
                await self._send(one.operation, await one.operation.perform())
            elif not self._ended:
                await self._converse(one.operation, one.replies)
        finally:
            await one.operation.drop()
            self._in_flight.remove(one)
            self._changed.unpark_all()
            if not self._in_flight:
                self._on_idle()

    def _may_begin(self, one: _InFlight) -> bool:
        """Whether all operations before it allow it to be performed at the same time."""
        for earlier in self._in_flight:
            if earlier is one:
                return True
            if not (earlier.operation.is_parallel and one.operation.is_parallel):
                return False
        raise AssertionError("it is in flight")

    async def _converse(self, operation: Operation, replies: OperationReplies) -> None:
        with replies.scope, suppress(ConversationEnded):
            response = await operation.perform(replies)
            await self._send(operation, response)

    async def _send(self, operation: Operation, response: Response) -> None:
        self._on_response(operation, response)
        try:
            await send_response(self._transport, operation.context_id, response)
        except Overtaken:
            return  # the peer has ended the association without waiting for the response

    def cancel(self, message_id: int | None) -> bool:
        """Pass on a C-CANCEL-RQ. Return False if no operation with this Message ID can be cancelled."""
        for one in self._in_flight:
            if one.replies is not None and one.operation.message_id == message_id:
                one.replies.cancelled.set()
                return True
        return False

    def end(self) -> None:
        """Tell the operations that the association has ended. They are not waited for."""
        self._ended = True
        for one in self._in_flight:
            if one.replies is not None:
                one.replies.end()
