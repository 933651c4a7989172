"""An association of the load generator, with blocking calls and without what costs time between two objects.

Each template's C-STORE request is framed once, when the association is established; its Message ID and its UID are
overwritten in place for each object. The kernel has copied the buffers when a write returns, so that one set of buffers
serves any number of outstanding requests. A response that looks like the one before it is read at the places of its
Message ID and status (`command_layout`); any other goes through the upper layer.
"""

import select
import socket
import struct
from contextlib import suppress
from typing import Final, NamedTuple

from pdu import (
    AcceptedContext,
    AssociateConfirm,
    AssociateRQ,
    Buffer,
    Fragment,
    Indication,
    RejectIndication,
    ReleaseConfirm,
    Role,
    UpperLayer,
)
from router.association import Aborted, NotConnected, Rejected, RemoteAE, plan_contexts
from router.association.describe import describe_end
from router.association.proposal import Negotiated, associate_rq
from router.config import Timeouts
from router.dimse import DATA_SET, Command, CommandField, InvalidCommandSet, Priority, decode, encode
from router.tools.bench.command_layout import ResponseLayout, element_header
from router.tools.bench.connection import Connection
from router.tools.bench.objects import PIECE, InstanceUIDs, Template

_COMMAND_CAP: Final = 65536
"""Most bytes of a response's command set."""
_MESSAGE_ID: Final = element_header(0x0110, 2)
_UNLIMITED: Final = 1 << 20
"""Bytes of a P-DATA-TF's variable field for a peer that names no limit."""


class ReceivedResponse(NamedTuple):
    """A C-STORE response."""

    message_id: int
    status: int


class Client:
    """One association, driven by the one thread that owns it."""

    def __init__(self, connection: Connection, timeouts: Timeouts, *, nagle: bool) -> None:
        self._connection = connection
        self._timeouts = timeouts
        self._nagle = nagle
        self._gathered = bytearray()
        """Fragments of the response that is being received."""
        self._layout: ResponseLayout | None = None
        self._framed: dict[int, FramedMessage] = {}
        """By the index of the template."""
        self._message_id = 0
        self.answers = 0
        """Responses received."""
        self.window = 1
        """Requests that may be outstanding at a time."""
        self.refused: dict[tuple[str, str], str] = {}
        """Abstract and transfer syntaxes that the peer did not accept, and why."""

    @classmethod
    def open(
        cls, target: RemoteAE, templates: tuple[Template, ...], uids: InstanceUIDs, timeouts: Timeouts, *, nagle: bool
    ) -> "Client":
        """Connect, negotiate, and frame the request of each template.

        With `nagle`, Nagle's algorithm stays on, each PDU is a write of its own, and acknowledgements are left to the
        kernel, as most modalities do.

        Raises:
            AssociationError: the association was not established.
        """
        upper_layer = UpperLayer(role=Role.REQUESTOR, maximum_length=target.maximum_pdu_length)
        connection = Connection(open_socket(target, timeouts.connect), upper_layer, timeouts.write)
        client = cls(connection, timeouts, nagle=nagle)
        if nagle:
            connection.set_option(socket.IPPROTO_TCP, socket.TCP_NODELAY, 0)
        try:
            client._associate(target, templates, uids)
        except BaseException:
            client.close()
            raise
        return client

    def _associate(self, target: RemoteAE, templates: tuple[Template, ...], uids: InstanceUIDs) -> None:
        request = associate_rq(target, plan_contexts([template.syntaxes for template in templates]))
        negotiated = associate(self._connection, request, self._timeouts)
        self.window = negotiated.window
        for index, template in enumerate(templates):
            if context := negotiated.contexts.get(template.syntaxes):
                self._framed[index] = FramedMessage(template, context, self._connection.upper_layer, uids)
            else:
                self.refused[template.syntaxes] = "its presentation context was not accepted"

    def store(self, template: int, number: int) -> int:
        """Send the C-STORE request of object `number` and return its Message ID.

        If the connection has ended, the request is dropped and `read_responses` raises.
        """
        framed = self._framed[template]
        message_id = self._message_id = self._message_id % 0xFFFF + 1
        framed.renumber(number, message_id)
        if self._nagle:
            for at in range(0, len(framed.buffers), 2):  # a PDU: its header and its content
                self._connection.send(framed.buffers[at : at + 2])
        else:
            self._connection.send(framed.buffers)
        return message_id

    def responds_within(self, seconds: float) -> bool:
        """Wait up to `seconds` for something to read, to a fraction of a millisecond."""
        return bool(select.select([self._connection], [], [], seconds)[0])

    def read_responses(self) -> list[ReceivedResponse]:
        """Read once, and return the responses that are complete now.

        Raises:
            TimeoutError: nothing came for `timeouts.dimse`.
            Aborted: the association has ended.
        """
        if not self._connection.is_open:
            raise Aborted("the connection ended")
        found = []
        for indication in self._connection.read():
            if not isinstance(indication, Fragment):
                raise Aborted(describe_end(indication))
            if not indication.is_command:
                raise Aborted("the peer sent a data set where a C-STORE response was due")
            self._gathered += indication.data
            if len(self._gathered) > _COMMAND_CAP:
                raise Aborted(f"the peer sent a command set of more than {_COMMAND_CAP} bytes")
            if indication.is_last:
                encoded = bytes(self._gathered)
                self._gathered.clear()
                found.append(self._decode(encoded))
        self.answers += len(found)
        if not found and not self._nagle:  # half a response: a peer with Nagle's algorithm waits with the other half
            self._connection.acknowledge()
        return found

    def _decode(self, encoded: bytes) -> ReceivedResponse:
        known = self._layout.read(encoded) if self._layout is not None else None
        if known is not None:
            return ReceivedResponse(*known)
        try:
            command = decode(encoded)
        except InvalidCommandSet as error:
            raise Aborted(f"the peer's response is not a command set: {error}") from error
        if command.field != CommandField.C_STORE_RSP:
            raise Aborted(f"the peer sent {command.name} where C-STORE-RSP was due")
        assert command.message_id_being_responded_to is not None, "the codec demands it of a response"
        assert command.status is not None, "the codec demands it of a response"
        self._layout = ResponseLayout(encoded)
        return ReceivedResponse(command.message_id_being_responded_to, command.status)

    def release(self) -> None:
        """Release the association and close; stop waiting for a peer that does not answer after `timeouts.release`."""
        release(self._connection, self._timeouts.release)

    def close(self) -> None:
        self._connection.close()


def associate(connection: Connection, request: AssociateRQ, timeouts: Timeouts) -> Negotiated:
    """Establish the association; from then on a read waits for `timeouts.dimse`.

    Raises:
        AssociationError: it was not established.
    """
    connection.perform_primitive(connection.upper_layer.associate, request)
    connection.perform_primitive(connection.upper_layer.transport_connected)
    connection.set_timeout(timeouts.association)
    indications: list[Indication] = []
    while not indications:
        if not connection.is_open:
            raise Aborted("the connection ended before the association was established")
        try:
            indications = connection.read()
        except TimeoutError:
            raise NotConnected("no answer to A-ASSOCIATE-RQ") from None
    match indications[0]:
        case AssociateConfirm(accept=accept):
            connection.set_timeout(timeouts.dimse)
            return Negotiated.of(request, accept)
        case RejectIndication(rejection=rejection):
            raise Rejected(rejection.message, rejection)
        case other:
            raise Aborted(describe_end(other))


def release(connection: Connection, patience: float) -> None:
    """Release the association and close; stop waiting for a peer that does not answer after `patience` seconds."""
    connection.perform_primitive(connection.upper_layer.release)
    connection.set_timeout(patience)
    with suppress(TimeoutError):
        while connection.is_open and not any(isinstance(one, ReleaseConfirm) for one in connection.read()):
            pass
    connection.close()


def open_socket(target: RemoteAE, patience: float) -> socket.socket:
    where = f"{target.host}:{target.port}"
    try:
        return socket.create_connection((target.host, target.port), timeout=patience)
    except TimeoutError as error:
        raise NotConnected(f"no connection to {where} within {patience:g} s") from error
    except OSError as error:
        raise NotConnected(f"no connection to {where}: {error.strerror or error}") from error
    except UnicodeError as error:
        raise NotConnected(f"no connection: {target.host!r} cannot be a host name: {error}") from error


class FramedMessage:
    """The C-STORE request of one template, as buffers to write again and again."""

    def __init__(
        self, template: Template, context: AcceptedContext, upper_layer: UpperLayer, uids: InstanceUIDs
    ) -> None:
        uid = uids.uid(0, template.uid_length)
        root, digits = uids.parts(template.uid_length)
        self._first: int = 10 ** (digits - 1)
        self._command = bytearray(encode(_request(template, uid)))
        self._message_id_at = self._command.index(_MESSAGE_ID) + len(_MESSAGE_ID)
        at = self._command.index(uid.encode())
        self._in_command = slice(at + len(root), at + len(uid))
        self._in_data = slice(template.uid_at + len(root), template.uid_at + len(uid))
        room = ((upper_layer.peer_maximum_length or _UNLIMITED) - 6) & ~1
        edge = min(max(room, template.uid_at + template.uid_length), template.length)
        self._begin = bytearray(template.content.piece(0, edge))
        self._begin[template.uid_at : template.uid_at + len(uid)] = uid.encode()
        frame = upper_layer.send_data
        self.buffers: list[Buffer] = frame(context.id, self._command, command=True, last=True)
        self.buffers += frame(context.id, self._begin, command=False, last=edge == template.length)
        step = min(room, PIECE)
        for offset in range(edge, template.length, step):
            piece = template.content.piece(offset, min(step, template.length - offset))
            self.buffers += frame(context.id, piece, command=False, last=offset + step >= template.length)

    def renumber(self, number: int, message_id: int) -> None:
        """Make it the request for object `number`, with this Message ID."""
        serial = b"%d" % (self._first + number)
        self._command[self._in_command] = self._begin[self._in_data] = serial
        struct.pack_into("<H", self._command, self._message_id_at, message_id)


def _request(template: Template, uid: str) -> Command:
    return Command(
        field=CommandField.C_STORE_RQ,
        message_id=1,
        affected_sop_class_uid=template.sop_class_uid,
        affected_sop_instance_uid=uid,
        priority=Priority.MEDIUM,
        data_set_type=DATA_SET,
    )
