"""The operations of one accepted association, from complete requests to final responses.

At most `window` of them are in flight. Those of a service that is not `parallel` are performed one by one, in the order
in which they came. A conversational operation, and with a window above 1 every operation, has its own task, so that the
association is read meanwhile. Not here: one operation (`operation`), and reading (`acceptor`).
"""

from collections.abc import Callable
from contextlib import suppress

import trio
from attrs import define

from pdu import Overtaken
from router.association.operation import Operation, OperationReplies, send_response
from router.association.transport import Transport
from router.dimse import Response
from router.services import ConversationEnded


@define
class _InFlight:
    operation: Operation
    replies: OperationReplies | None


class Operations:
    """Performs the operations of one association."""

    def __init__(
        self,
        transport: Transport,
        nursery: trio.Nursery,
        window: int,
        on_response: Callable[[Operation, Response], None],
        on_idle: Callable[[], None],
    ) -> None:
        """`on_response` is told each final response before it is sent; `on_idle` that no operation is in flight."""
        self._transport = transport
        self._nursery = nursery
        self._window = window or float("inf")
        self._on_response = on_response
        self._on_idle = on_idle
        self._in_flight: list[_InFlight] = []
        """In the order in which they came. Without the one that is performed in the task of `perform`."""
        self._changed = trio.lowlevel.ParkingLot()
        self._ended = False

    def __bool__(self) -> bool:
        """Whether an operation is in flight."""
        return bool(self._in_flight)

    def is_in_flight(self, message_id: int | None) -> bool:
        """Return whether an operation with this Message ID is in flight."""
        return bool(self._in_flight) and message_id in {one.operation.message_id for one in self._in_flight}

    async def perform(self, operation: Operation) -> None:
        """Have a complete request performed and its responses sent.

        Return as soon as the next request may be read: at once, unless the window is exhausted or the operation needs
        no task of its own.
        """
        while len(self._in_flight) >= self._window:
            await self._changed.park()
        if self._window == 1 and not operation.is_conversational:
            await self._send(operation, await operation.perform())
            return
        replies = OperationReplies(self._transport, operation.context_id) if operation.is_conversational else None
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
        with suppress(Overtaken):  # the peer has ended the association without waiting for the response
            await send_response(self._transport, operation.context_id, response)

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
