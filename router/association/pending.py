"""What we asked on one association, and the responses as they come in.

The same for an association that we opened and for one that was opened to us. A response's data set, which only those
of the N-services have, is small and held whole.
"""

from collections import deque

from attrs import evolve

from router.dimse import Command, Response

_MOST = 1 << 20
"""Bytes of a response's data set."""


class UnexpectedResponse(Exception):
    """It answers nothing that was asked, or too much; in words."""


class PendingResponses:
    """The requests that are outstanding, and their responses."""

    def __init__(self) -> None:
        self._last_id = 0
        self._outstanding: dict[int, str] = {}
        self._ready: deque[Response] = deque()
        self._command: Command | None = None
        self._data_set = bytearray()

    def __bool__(self) -> bool:
        """Whether a response is ready to be taken."""
        return bool(self._ready)

    @property
    def due(self) -> str:
        """The names of what is outstanding; "" where nothing is."""
        return " and ".join(dict.fromkeys(self._outstanding.values()))

    def expect(self, command: Command) -> Command:
        """The request with the Message ID under which it goes out."""
        self._last_id = self._last_id % 0xFFFF + 1
        self._outstanding[self._last_id] = command.name
        return evolve(command, message_id=self._last_id)

    def begin(self, command: Command) -> None:
        """A response's command set is in. Raises UnexpectedResponse."""
        message_id = command.message_id_being_responded_to
        if message_id is None or self._outstanding.pop(message_id, None) is None:
            due = " or ".join(map(str, self._outstanding)) or "none"
            raise UnexpectedResponse(f"{command.name} with Message ID {message_id} where {due} was due")
        self._data_set.clear()
        self._command = None
        if command.has_data_set:
            self._command = command
        else:
            self._ready.append(Response(command))

    def take(self, data: memoryview, *, is_last: bool) -> None:
        """The next bytes of the data set of the response that began last; of another one, they are dropped. Raises
        UnexpectedResponse."""
        if self._command is None:
            return
        if len(self._data_set) + len(data) > _MOST:
            raise UnexpectedResponse(f"the peer's response has a data set of more than {_MOST} bytes")
        self._data_set += data
        if is_last:
            self._ready.append(Response(self._command, bytes(self._data_set)))
            self._command = None

    def forget(self) -> None:
        """Wait no longer for what is outstanding: an answer to it is one to nothing."""
        self._outstanding.clear()

    def pop(self) -> Response:
        """The response that has been ready for longest."""
        return self._ready.popleft()
