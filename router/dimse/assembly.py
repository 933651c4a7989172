"""From fragments to messages (PS3.7 6.3, PS3.8 Annex E), without ever holding a data set.

Command fragments are gathered up to a cap and decoded when the last one is in. Data-set fragments are handed
through as they come. What breaks the order of fragments ends the association: the engine has no way to know which
message the stray bytes belong to.
"""

from attrs import frozen

from pdu import Fragment
from router.dimse.command import Command, InvalidCommandSet, decode


class AssemblyError(ValueError):
    """The fragments make no message. The answer on the wire is an A-ABORT."""


@frozen
class MessageBegin:
    """A command set is complete. Where `command.has_data_set`, `DataSetPiece`s follow."""

    context_id: int
    command: Command
    command_bytes: bytes
    """As received, for the spool."""


@frozen
class DataSetPiece:
    """Some bytes of the data set of the message that began last; good until the next read of the transport."""

    data: memoryview
    is_last: bool


class MessageAssembler:
    """One association's incoming fragments, one message at a time."""

    def __init__(self, *, command_cap: int = 65536) -> None:
        """`command_cap`: the largest command set accepted, in bytes."""
        self._command_cap = command_cap
        self._gathered = bytearray()
        self._context_id: int | None = None
        self._in_data_set = False

    @property
    def in_message(self) -> bool:
        """True between the first fragment of a message and its last."""
        return self._context_id is not None

    def feed(self, fragment: Fragment) -> MessageBegin | DataSetPiece | None:
        """Take one fragment; None while a command set is still incomplete.

        Raises:
            AssemblyError: wrong kind or context for this moment, an oversized or undecodable command set.
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
            command = decode(encoded)
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
