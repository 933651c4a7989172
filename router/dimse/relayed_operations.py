"""The operations of a relay: Message IDs on both sides, and deadlines (PS3.7 9.1, 10.1).

One `RelayedOperations` holds what one side invokes at the other. A Message ID stays as it is unless the other side has
an operation under it already, so that a Move Originator Message ID means the same on both sides. Pure: times are the
caller's. Not here: the messages themselves (`association.paired`).
"""

import struct
from typing import Final

from attrs import define

from router.dimse.command import CommandField, InvalidCommandSet

MOST_OUTSTANDING: Final = 1024
"""Operations of one side: more than any window that is agreed (`limits.window`)."""

_LAST_MESSAGE_ID: Final = 0xFFFF
_HEADER: Final = struct.Struct("<HHL")
_US: Final = struct.Struct("<H")
_MESSAGE_ID: Final = 0x0110
_MESSAGE_ID_BEING_RESPONDED_TO: Final = 0x0120


@define
class _Operation:
    """One operation without its final response."""

    original_id: int
    """The Message ID that its invoker has given it."""
    deadline: float = float("inf")


class RelayedOperations:
    """The outstanding operations that one side invokes at the other, by the Message ID on the other side."""

    def __init__(self, patience: float = float("inf")) -> None:
        """`patience`: seconds that each response may take."""
        self._patience = patience
        self._outstanding: dict[int, _Operation] = {}
        self._last_id = 0

    def __len__(self) -> int:
        """Return the number of outstanding operations."""
        return len(self._outstanding)

    @property
    def deadline(self) -> float:
        """The earliest moment at which an operation is overdue; infinite without one."""
        return min((one.deadline for one in self._outstanding.values()), default=float("inf"))

    def begin(self, message_id: int) -> int:
        """Return the Message ID for the other side. Its deadline begins with `restart`.

        Beyond `MOST_OUTSTANDING` operations the oldest one is forgotten: some clients never respond to an event.
        """
        if len(self._outstanding) >= MOST_OUTSTANDING:
            del self._outstanding[next(iter(self._outstanding))]
        passed_on = message_id
        while passed_on in self._outstanding:
            self._last_id = self._last_id % _LAST_MESSAGE_ID + 1
            passed_on = self._last_id
        self._outstanding[passed_on] = _Operation(message_id)
        return passed_on

    def restart(self, message_id: int, now: float) -> None:
        """Begin the deadline of an operation; without effect after its final response."""
        if one := self._outstanding.get(message_id):
            one.deadline = now + self._patience

    def restart_all(self, now: float) -> None:
        """Begin the deadlines of all operations anew that have begun."""
        for one in self._outstanding.values():
            if one.deadline != float("inf"):
                one.deadline = now + self._patience

    def invoked_as(self, message_id: int, *, is_final: bool) -> int | None:
        """Return the invoker's Message ID for a response; None if no operation is outstanding under this one."""
        one = self._outstanding.get(message_id)
        if one is None:
            return None
        if is_final:
            del self._outstanding[message_id]
        return one.original_id

    def cancel(self, message_id: int) -> int | None:
        """Return the Message ID to cancel on the other side; None if its operation is not outstanding.

        Of several operations to which the invoker gave one Message ID, the last one is cancelled.
        """
        return next(
            (passed_on for passed_on, one in reversed(self._outstanding.items()) if one.original_id == message_id), None
        )


def with_message_id(command_set: bytes, field: int, message_id: int) -> bytes:
    """Return an encoded command set with another Message ID, or Message ID Being Responded To; else byte for byte.

    `field`: its Command Field, which says which of the two it has.

    Raises:
        InvalidCommandSet: the command set has no such element.
    """
    is_request = field < 0x8000 and field != CommandField.C_CANCEL_RQ
    wanted = _MESSAGE_ID if is_request else _MESSAGE_ID_BEING_RESPONDED_TO
    offset, found = 0, None
    while offset < len(command_set):
        _, element, length = _HEADER.unpack_from(command_set, offset)
        if element == wanted:
            found = offset + _HEADER.size  # of several the last counts, as in `decode`
        offset += _HEADER.size + length
    if found is None:
        raise InvalidCommandSet(f"no element (0000,{wanted:04X})")
    return command_set[:found] + _US.pack(message_id) + command_set[found + _US.size :]
