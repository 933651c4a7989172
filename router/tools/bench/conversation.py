"""One request with many responses, measured: C-FIND, or C-MOVE to a sink. Blocking calls, and nothing is decoded twice.

The data sets of responses are counted, not read; a response that looks like the one before it is read at the places of
its Message ID and status (`command_layout`), so that the peer is what is measured.
"""

import time
from collections.abc import Callable
from typing import Final

from attrs import define, evolve

from pdu import AcceptedContext, Fragment, Indication, Role, UpperLayer
from router.association import Aborted, NoResponse, NotConnected, RemoteAE
from router.association.describe import describe_end
from router.association.proposal import associate_rq, contexts_of
from router.config import Timeouts
from router.dicom.uids import EXPLICIT_LE, IMPLICIT_LE
from router.dimse import Command, InvalidCommandSet, Status, StatusClass, decode, encode, status_class
from router.tools.bench.client import associate, open_socket, release
from router.tools.bench.command_layout import ResponseLayout
from router.tools.bench.connection import Connection

_SYNTAXES: Final = (EXPLICIT_LE, IMPLICIT_LE)
_COMMAND_CAP: Final = 65536
"""Most bytes of a response's command set."""


@define
class Measured:
    """One request: all times are seconds of the monotonic clock."""

    sent: float = 0.0
    """When the request had been written."""
    first: float | None = None
    """When the first response came."""
    last: float = 0.0
    """When the final response came."""
    pending: int = 0
    """Pending responses."""
    bytes: int = 0
    """Bytes of their data sets."""
    final: Command | None = None


class Asker:
    """One association, on which requests are made one after the other."""

    def __init__(self, connection: Connection, context: AcceptedContext, timeouts: Timeouts) -> None:
        self._connection = connection
        self._context = context
        self._timeouts = timeouts
        self._message_id = 0
        self._gathered = bytearray()
        """Fragments of the command set that is being received."""
        self._layout: ResponseLayout | None = None
        self.transfer_syntax = context.transfer_syntax

    @classmethod
    def open(cls, target: RemoteAE, sop_class: str, timeouts: Timeouts) -> "Asker":
        """Connect, and negotiate one presentation context.

        Raises:
            AssociationError: the association was not established, or the SOP class is not accepted.
        """
        upper_layer = UpperLayer(role=Role.REQUESTOR, maximum_length=target.maximum_pdu_length)
        connection = Connection(open_socket(target, timeouts.connect), upper_layer, timeouts.write)
        try:
            return cls(connection, _context(connection, target, sop_class, timeouts), timeouts)
        except BaseException:
            connection.close()
            raise

    def measure(self, command: Command, identifier: bytes, watch: Callable[[Measured], None]) -> Measured:
        """Send a request, and read its responses to the end; call `watch` after each read.

        Raises:
            AssociationError: there was no final response.
        """
        self._message_id = self._message_id % 0xFFFF + 1
        command = evolve(command, message_id=self._message_id)
        frame = self._connection.upper_layer.send_data
        buffers = frame(self._context.id, encode(command), command=True, last=True)
        buffers += frame(self._context.id, identifier, command=False, last=True)
        measured = Measured(sent=time.monotonic())
        self._connection.send(buffers)
        while measured.final is None:
            for indication in self._read():
                self._tally(indication, measured)
            watch(measured)
        return measured

    def _read(self) -> list[Indication]:
        if not self._connection.is_open:
            raise Aborted("the connection ended before the final response")
        try:
            found = self._connection.read()
        except TimeoutError:
            raise NoResponse(f"no response within {self._timeouts.dimse:g} s") from None
        if not found:
            self._connection.acknowledge()
        return found

    def _tally(self, indication: Indication, measured: Measured) -> None:
        if not isinstance(indication, Fragment):
            raise Aborted(f"{describe_end(indication)} before the final response")
        if not indication.is_command:
            measured.bytes += len(indication.data)
            return
        self._gathered += indication.data
        if len(self._gathered) > _COMMAND_CAP:
            raise Aborted(f"the peer sent a command set of more than {_COMMAND_CAP} bytes")
        if not indication.is_last:
            return
        encoded = bytes(self._gathered)
        self._gathered.clear()
        now = time.monotonic()
        measured.first = measured.first or now
        known = self._layout.read(encoded) if self._layout is not None else None
        if known == (self._message_id, Status.PENDING):
            measured.pending += 1
            return
        self._decode(encoded, measured, now)

    def _decode(self, encoded: bytes, measured: Measured, now: float) -> None:
        try:
            command = decode(encoded)
        except InvalidCommandSet as error:
            raise Aborted(f"the peer's response is not a command set: {error}") from error
        if command.message_id_being_responded_to != self._message_id:
            raise Aborted(f"the peer sent {command.name} that answers no request")
        assert command.status is not None, "the codec demands it of a response"
        if status_class(command.status) is StatusClass.PENDING:
            measured.pending += 1
            self._layout = ResponseLayout(encoded)
        else:
            measured.final, measured.last = command, now

    def close(self) -> None:
        """Release the association."""
        release(self._connection, self._timeouts.release)


def _context(connection: Connection, target: RemoteAE, sop_class: str, timeouts: Timeouts) -> AcceptedContext:
    negotiated = associate(connection, associate_rq(target, contexts_of([(sop_class, _SYNTAXES)])), timeouts)
    accepted = (negotiated.contexts.get((sop_class, syntax)) for syntax in _SYNTAXES)
    context = next((one for one in accepted if one is not None), None)
    if context is None:
        raise NotConnected(negotiated.refused[sop_class, EXPLICIT_LE])
    return context
