"""The requests that are outstanding on one association, and their responses as they come in (PS3.7 9.1.2, annex C).

The same for an association that we opened and for one that was opened to us. A request is outstanding until its final
response is complete; one that may have several responses, until one of them is not pending. Each request has a
deadline of its own, which only its own responses move. A response's data set is held whole, up to a limit. Not here:
clock and connection, which the caller has.
"""

from collections import deque
from typing import Final

from attrs import define

from router.dimse import RESPONSE, Command, CommandField, Response

LARGEST_DATA_SET: Final = 1 << 20
"""Bytes of a response's data set: identifiers and N-GET attributes are some kilobytes; this bounds what a peer can make
one association hold."""

_LAST_MESSAGE_ID: Final = 0xFFFF


class UnexpectedResponse(Exception):
    """A response that does not fit what was asked, or a data set over the limit. The association has to be aborted."""


class StrayResponse(UnexpectedResponse):
    """A response to a request that is not outstanding. It can be a late one to a request that was given up."""


@define
class _Outstanding:
    """One request without its final response."""

    request: Command
    patience: float
    """Seconds that the next response may take."""
    has_several: bool
    """Whether pending responses may come before the final one."""
    deadline: float = float("inf")


class PendingResponses:
    """The outstanding requests of one association, and the responses that are complete and not yet read."""

    def __init__(self, largest: int = LARGEST_DATA_SET, *, after: int = 0) -> None:
        """`largest`: bytes of a response's data set. `after`: the Message ID before the first one."""
        self._largest = largest
        self._last_id = after
        self._outstanding: dict[int, _Outstanding] = {}
        self._complete: deque[Response] = deque()
        self._command: Command | None = None
        """The response whose data set is coming in."""
        self._data_set = bytearray()

    def __bool__(self) -> bool:
        """Whether a response can be popped."""
        return bool(self._complete)

    @property
    def is_idle(self) -> bool:
        """Whether no request is outstanding and no response waits to be popped."""
        return not self._outstanding and not self._complete

    @property
    def due(self) -> str:
        """The names of the outstanding requests; "" without any."""
        return " and ".join(dict.fromkeys(one.request.name for one in self._outstanding.values()))

    @property
    def deadline(self) -> float:
        """The earliest moment at which a request is overdue; infinite while none is outstanding."""
        return min((one.deadline for one in self._outstanding.values()), default=float("inf"))

    def overdue(self, now: float) -> str:
        """Name the requests that are overdue, and the seconds that they have waited."""
        late = [one for one in self._outstanding.values() if one.deadline <= now]
        names = " and ".join(dict.fromkeys(one.request.name for one in late))
        return f"no response to {names} within {max((one.patience for one in late), default=0.0):g} s"

    def is_outstanding(self, message_id: int) -> bool:
        return message_id in self._outstanding

    def expect(self, request: Command, patience: float, *, has_several: bool = False) -> int:
        """Return the Message ID under which the request has to be sent. Its deadline begins with `restart`.

        `patience`: seconds that each of its responses may take. `has_several`: pending responses may come before the
        final one; without it, the first response is final.
        """
        self._last_id = self._last_id % _LAST_MESSAGE_ID + 1
        while self._last_id in self._outstanding:
            self._last_id = self._last_id % _LAST_MESSAGE_ID + 1
        self._outstanding[self._last_id] = _Outstanding(request, patience, has_several)
        return self._last_id

    def restart(self, message_id: int, now: float) -> None:
        """Begin the deadline of a request: it has been sent, or a part of a response to it has come."""
        if one := self._outstanding.get(message_id):
            one.deadline = now + one.patience

    def peer_invoked(self, now: float) -> None:
        """Note that the peer invokes an operation: its C-STOREs are how it works on a C-GET (PS3.4 C.4.3.1)."""
        for one in self._outstanding.values():
            if one.request.field == CommandField.C_GET_RQ:
                one.deadline = now + one.patience

    def begin(self, command: Command, now: float) -> None:
        """Accept the command set of a response.

        Raises:
            StrayResponse: no request with its Message ID is outstanding.
            UnexpectedResponse: it is of another kind, or names another SOP class or instance, than was asked.
        """
        self._command = None
        self._data_set.clear()
        message_id = command.message_id_being_responded_to
        one = self._outstanding.get(message_id) if message_id is not None else None
        if one is None or not command.is_response:
            due = " or ".join(map(str, self._outstanding)) or "none"
            raise StrayResponse(f"{command.name} with Message ID {message_id} where {due} was due")
        if fault := _mismatch(one.request, command):
            raise UnexpectedResponse(fault)
        one.deadline = now + one.patience
        if command.has_data_set:
            self._command = command
        else:
            self._finish(Response(command))

    def feed(self, data: memoryview, now: float, *, is_last: bool) -> None:
        """Accept the next bytes of the data set of the response that began last; drop those of any other message.

        Raises:
            UnexpectedResponse: the data set is longer than the limit.
        """
        if self._command is None:
            return
        if len(self._data_set) + len(data) > self._largest:
            raise UnexpectedResponse(f"the peer's response has a data set of more than {self._largest} bytes")
        self._data_set += data
        message_id = self._command.message_id_being_responded_to
        assert message_id is not None
        self.restart(message_id, now)
        if is_last:
            response, self._command = Response(self._command, bytes(self._data_set)), None
            self._data_set.clear()
            self._finish(response)

    def _finish(self, response: Response) -> None:
        message_id = response.command.message_id_being_responded_to
        assert message_id is not None
        one = self._outstanding.get(message_id)
        if one is None:  # given up while its data set came in
            return
        if not (one.has_several and response.is_pending):
            del self._outstanding[message_id]
        self._complete.append(response)

    def forget(self) -> None:
        """Give up all outstanding requests: a response to them is a stray one from now on."""
        self._outstanding.clear()

    def pop(self) -> Response:
        """Return the response that has been complete for longest."""
        return self._complete.popleft()


def _mismatch(request: Command, response: Command) -> str:
    """Say how a response differs from what was asked; "" if it does not.

    A response need not name its SOP class or instance, and one to an N-CREATE may name an instance that the peer has
    chosen.
    """
    if response.field != request.field | RESPONSE:
        return f"{response.name} in response to {request.name}"
    for kind, named, asked in (
        ("class", response.sop_class_uid, request.sop_class_uid),
        ("instance", response.sop_instance_uid, request.sop_instance_uid),
    ):
        if named and asked and named != asked:
            return f"{response.name} for SOP {kind} {named}, where {asked} was asked"
    return ""
