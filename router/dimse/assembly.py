"""Assemble fragments into messages without holding a data set (PS3.7 6.3, PS3.8 annex E).

Command fragments are gathered up to a cap and decoded with the last one. Data-set fragments pass through as they
arrive. A fragment out of order ends the association, because the message that it belongs to is unknown.
"""

from typing import NamedTuple

from pdu import Fragment
from router.dimse.command import Command, InvalidCommandSet
from router.dimse.layout import LayoutDecoder


class AssemblyError(ValueError):
    """The fragments do not form a message. The association is aborted."""


class MessageBegin(NamedTuple):
    """A complete command set. `DataSetPiece`s follow if `command.has_data_set`."""

    context_id: int
    command: Command
    command_bytes: bytes
    """The command set as received, for the spool."""


class DataSetPiece(NamedTuple):
    """Bytes of the data set of the message that began last; valid until the next read of the transport."""

    data: memoryview
    is_last: bool


class MessageAssembler:
    """The incoming messages of one association, one at a time."""

    def __init__(self, *, command_cap: int = 65536) -> None:
        """Expect the first message.

        `command_cap`: bytes of the largest command set. Real ones have 100 to 300; an N-GET-RQ for 10,000 attributes
        has 40 KB.
        """
        self._command_cap = command_cap
        self._decoder = LayoutDecoder()
        self._gathered = bytearray()
        self._context_id: int | None = None
        self._in_data_set = False

    @property
    def in_message(self) -> bool:
        """True between the first fragment of a message and its last."""
        return self._context_id is not None

    def feed(self, fragment: Fragment) -> MessageBegin | DataSetPiece | None:
        """Add one fragment; return None while the command set is incomplete.

        Raises:
            AssemblyError: the fragment is of the wrong kind or context, or the command set too large or not valid.
        """
        if self._context_id is None:
            self._context_id = fragment.context_id
        elif self._context_id != fragment.context_id:
            raise AssemblyError(
                f"a fragment of presentation context {fragment.context_id} inside a message "
                f"of presentation context {self._context_id}"
            )
        if fragment.is_command == self._in_data_set:
            raise AssemblyError(
                "a command fragment inside a data set" if self._in_data_set else "a data set without a command set"
            )
        if self._in_data_set:
            if fragment.is_last:
                self._end_message()
            return DataSetPiece(fragment.data, fragment.is_last)
        return self._gather(fragment)

    def _gather(self, fragment: Fragment) -> MessageBegin | None:
        if len(self._gathered) + len(fragment.data) > self._command_cap:
            raise AssemblyError(f"a command set of more than {self._command_cap} bytes")
        self._gathered += fragment.data
        if not fragment.is_last:
            return None
        encoded = bytes(self._gathered)
        self._gathered.clear()
        try:
            command = self._decoder.decode(fragment.context_id, encoded)
        except InvalidCommandSet as error:
            raise AssemblyError(f"no command set: {error}") from error
        if command.has_data_set:
            self._in_data_set = True
        else:
            self._end_message()
        return MessageBegin(fragment.context_id, command, encoded)

    def _end_message(self) -> None:
        self._context_id = None
        self._in_data_set = False
