"""The messages from one side of a relay to the other: read in parts, passed on in parts, nothing held.

Each keeps its presentation context, its command set but for the Message ID, and its data set byte for byte. What
responds to nothing is dropped. The sender is not read while the other side does not read. Not here: the two
associations (`paired`), the Message IDs (`dimse.relayed_operations`).
"""

from collections import Counter
from contextlib import suppress
from typing import Final

import trio
from attrs import define

from pdu import Overtaken
from router.association.message_turns import MessageTurns
from router.dimse import Command, CommandField, DataSetPiece, MessageBegin, describe
from router.dimse.relayed_operations import RelayedOperations, with_message_id
from router.network.sockets import Buffer

_PENDING: Final = 0xFF
"""High byte of the statuses of responses that others follow (PS3.7 annex C); some services have more of them."""


@define
class _Passing:
    """The message whose data set is being passed on."""

    context_id: int
    command: list[Buffer]
    """Its command set, which leaves with the first part of the data set."""
    request: int | None
    """Message ID of a request on the other side."""


class RelayedMessages:
    """One direction of a relay."""

    def __init__(
        self,
        to: MessageTurns,
        *,
        invoked: RelayedOperations,
        performed: RelayedOperations,
    ) -> None:
        """Send on `to`.

        `invoked`: the operations of these requests. `performed`: those that the responses here belong to.
        """
        self._to: Final = to
        self._invoked: Final = invoked
        self._performed: Final = performed
        self._passing: _Passing | None = None
        self._has_ended = False
        self.in_message = False
        """Whether a message has begun and its data set is not complete, be it passed on or dropped."""
        self.operations: Final[Counter[str]] = Counter()
        """Requests by the name of their operation."""
        self.statuses: Final[Counter[str]] = Counter()
        """Final responses by status."""
        self.data_bytes = 0

    async def pass_on(self, piece: MessageBegin | DataSetPiece) -> None:
        """Pass a part of a message on. Return when the other side has accepted it."""
        with suppress(Overtaken):  # the other association has ended, which whoever reads it tells
            if isinstance(piece, MessageBegin):
                self.in_message = piece.command.has_data_set
                await self._begin(piece)
            else:
                self.in_message = not piece.is_last
                self.data_bytes += len(piece.data)
                await self._pass_data(piece)

    def close(self) -> None:
        """Drop what comes from now on, and break off the message that is being passed on."""
        self._has_ended = True
        if self._passing is not None:
            self._passing = None
            self._to.break_off()

    async def _begin(self, begin: MessageBegin) -> None:
        command = begin.command
        message_id = self._message_id(command)
        if message_id is None:
            return
        encoded = with_message_id(begin.command_bytes, command.field, message_id)
        request = None if command.is_response or command.field == CommandField.C_CANCEL_RQ else message_id
        await self._to.begin()
        if self._has_ended:  # while this waited
            self._to.finish()
            return
        self._passing = passing = _Passing(begin.context_id, [], request)
        passing.command = self._to.upper_layer.send_data(begin.context_id, encoded, command=True, last=True)
        if not command.has_data_set:
            await self._to.send_part(passing.command)
            self._finish(passing)

    def _message_id(self, command: Command) -> int | None:
        """Return the Message ID of a message on the other side; None for one that belongs to nothing there."""
        now = trio.current_time()
        if command.is_response:
            return self._id_of_response(command, now)
        assert command.message_id is not None or command.field == CommandField.C_CANCEL_RQ
        if command.message_id is None:
            cancelled = command.message_id_being_responded_to
            return self._invoked.cancel(cancelled) if cancelled is not None else None
        self.operations[command.name.removesuffix("-RQ")] += 1
        self._performed.restart_all(now)  # what performs C-GET invokes C-STORE meanwhile (PS3.4 C.4.3)
        return self._invoked.begin(command.message_id)

    def _id_of_response(self, command: Command, now: float) -> int | None:
        message_id, status = command.message_id_being_responded_to, command.status
        assert message_id is not None
        assert status is not None
        is_final = status >> 8 != _PENDING
        self._performed.restart(message_id, now)
        self._invoked.restart_all(now)
        invoked_as = self._performed.invoked_as(message_id, is_final=is_final)
        if is_final and invoked_as is not None:
            self.statuses[describe(status)] += 1
        return invoked_as

    async def _pass_data(self, piece: DataSetPiece) -> None:
        passing = self._passing
        if passing is None or not (piece.data or piece.is_last):
            return
        buffers, passing.command = passing.command, []
        buffers += self._to.upper_layer.send_data(passing.context_id, piece.data, command=False, last=piece.is_last)
        await self._to.send_part(buffers)
        if piece.is_last:
            self._finish(passing)

    def _finish(self, passing: _Passing) -> None:
        if self._passing is passing:  # else it was broken off
            self._passing = None
            self._to.finish()
        if passing.request is not None:
            self._invoked.restart(passing.request, trio.current_time())
