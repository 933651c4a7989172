"""One request with several responses: C-FIND, C-GET, C-MOVE (PS3.7 9.1.2, 9.1.3, 9.1.4)."""

from typing import Protocol, Self

from pdu import AcceptedContext
from router.dimse import Response


class _Association(Protocol):
    @property
    def can_receive(self) -> bool: ...
    async def receive(self) -> Response: ...
    async def cancel(self, context: AcceptedContext, message_id: int) -> None: ...


class Invocation:
    """The responses to one request, read one at a time: `async for response in invocation`.

    The last one is the final response. While no response is asked for, nothing is read from the connection, and TCP
    holds the peer back. Reading may be cancelled and begun again; nothing is lost.
    """

    def __init__(self, association: _Association, context: AcceptedContext, message_id: int) -> None:
        self._association = association
        self.context = context
        """The presentation context of the request and of its responses."""
        self.message_id = message_id
        self.is_finished = False
        """Whether the final response has been read."""

    def __aiter__(self) -> Self:
        return self

    async def __anext__(self) -> Response:
        """Return the next response.

        Raises:
            AssociationError: as `Requestor.receive`.
        """
        if self.is_finished:
            raise StopAsyncIteration
        response = await self._association.receive()
        self.is_finished = not response.is_pending
        return response

    @property
    def has_arrived(self) -> bool:
        """Whether the next response, or a part of it, can be read without waiting."""
        return self._association.can_receive

    async def cancel(self) -> None:
        """Send a C-CANCEL-RQ (PS3.7 9.3.2.3): the peer is to end with a final response soon, which has to be read.

        Without effect after the final response. May be called from another task, while a response is waited for.
        """
        await self._association.cancel(self.context, self.message_id)
