"""One association of the sink, with blocking calls: receive its messages one after another, and respond to them.

It costs as little as a receiver in Python can: of an object it keeps the UID, the length, the time of its last byte and
the CRC, and tells its parent of several at a time, at most `_TELL_AFTER` later.
"""

import os
import signal
import socket
import struct
import time
from collections.abc import Callable
from pathlib import Path
from typing import Final

from attrs import define, frozen
from isal import isal_zlib

from pdu import (
    AcceptedContext,
    AssociateAC,
    AssociateIndication,
    AssociateRQ,
    AsynchronousOperationsWindow,
    Fragment,
    PresentationContext,
    ReleaseIndication,
    Role,
    State,
    UpperLayer,
    UserInformation,
    accept_window,
    accepted_contexts,
    negotiate,
)
from router.config import Config, Timeouts
from router.dicom.part10 import encode_head
from router.dimse import AssemblyError, Command, CommandField, InvalidCommandSet, Status, decode, encode, response_to
from router.tools.bench.command_layout import RequestLayout, ResponseForm
from router.tools.bench.connection import Connection
from router.tools.bench.processes import SharedCounter
from router.tools.bench.results import is_stored

ARRIVAL: Final = struct.Struct("<64sdQI")
"""An object that arrived: SOP Instance UID, time of its last byte, bytes and CRC-32 of its data set."""
TOTALS: Final = struct.Struct("<qdqqq?")
"""What precedes the arrivals in each report: the association, the CPU it has used, objects answered, C-ECHO and the
like answered, associations aborted, and whether it is open."""
_LONGEST_REPORT: Final = 4000
"""Bytes: the kernel does not mix writes of up to 4096 bytes to a pipe (pipe(7), PIPE_BUF)."""

_MAXIMUM_LENGTH: Final = 131072
_TELL_AFTER: Final = 0.02
"""Seconds after which an arrival is told."""
_IDLE_DEADLINE: Final = 3600.0
"""Seconds that an association may be idle."""
_COMMAND_CAP: Final = 65536
"""Most bytes of a request's command set."""


@frozen(kw_only=True)
class Behaviour:
    """How the sink treats objects."""

    status: int = Status.SUCCESS
    delay: float = 0.0
    """Seconds between the last byte of an object and the response."""
    abort_every: int = 0
    """Abort the association instead of responding to every n-th object, over all associations; 0 never aborts."""
    store: Path | None = None
    """Folder to write objects to as PS3.10 files, without a sync; None discards them."""
    window: int = 0
    """Most outstanding requests to grant; 0 grants what is proposed."""


@define
class _Message:
    """A message that is being received."""

    context: AcceptedContext
    command: Command
    """The command set of the first message of this layout: with another Message ID and UID."""
    message_id: int
    sop_instance_uid: str
    fd: int = -1
    length: int = 0
    crc: int = 0


class Receiver:
    """One association."""

    def __init__(
        self,
        serial: int,
        sock: socket.socket,
        behaviour: Behaviour,
        objects: SharedCounter,
        tell: Callable[[bytes], None],
    ) -> None:
        """Begin with a connection; `objects` counts those of all associations, for `abort_every`."""
        self._serial, self._behaviour, self._objects, self._tell_parent = serial, behaviour, objects, tell
        self._upper_layer = UpperLayer(role=Role.ACCEPTOR, maximum_length=_MAXIMUM_LENGTH)
        self._connection = Connection(sock, self._upper_layer, Timeouts().write)
        self._gathered = bytearray()
        """Fragments of the command set that is being received."""
        self._message: _Message | None = None
        self._layout: RequestLayout | None = None
        self._form: ResponseForm | None = None
        self._contexts: dict[int, AcceptedContext] = {}
        self._stored = is_stored(behaviour.status)
        self._arrivals = bytearray()
        self._tell_at = 0.0
        """When the arrivals are to be told; 0 without any."""
        self._answers = self._others = self._aborted = 0
        self._cpu_before = 0.0
        """Seconds of CPU until the association was accepted."""
        self._stopping = False

    def run(self) -> None:
        """Serve the association until it ends, or until SIGTERM comes and no object is being processed."""

        def on_sigterm(*_: object) -> None:
            self._stopping = True
            self._connection.wake()

        signal.signal(signal.SIGTERM, on_sigterm)
        connection = self._connection
        self._report()
        try:
            connection.perform_primitive(self._upper_layer.transport_connected)
            while connection.is_open and not self._stopping:
                self._read()
        except AssemblyError:
            connection.perform_primitive(self._upper_layer.abort)
        finally:
            self._close_file()
            connection.close()
            self._report(is_open=False)

    def _read(self) -> None:
        """Wait for bytes and process them; tell the parent of what has arrived if nothing comes for a while."""
        try:
            indications = self._connection.read()
        except TimeoutError:
            if not self._tell_at:
                raise AssemblyError("idle for too long") from None
            self._report()
            self._connection.set_timeout(_IDLE_DEADLINE)
            return
        for indication in indications:
            match indication:
                case Fragment() if self._upper_layer.state is State.STA6:  # the sink itself may have aborted
                    self._feed(indication)
                case AssociateIndication(request=request):
                    accept = self._accept(request)
                    self._contexts = accepted_contexts(request, accept)
                    self._connection.perform_primitive(self._upper_layer.accept, accept)
                    self._connection.set_timeout(_IDLE_DEADLINE)
                    self._cpu_before = time.process_time()
                case ReleaseIndication():
                    self._report()
                    self._connection.perform_primitive(self._upper_layer.respond_release)
        if self._message is not None or self._gathered:
            self._connection.acknowledge()

    def _accept(self, request: AssociateRQ) -> AssociateAC:
        own = Config().router
        limit = AsynchronousOperationsWindow(invoked=self._behaviour.window, performed=1)
        return AssociateAC(
            called_ae_title=request.called_ae_title,
            calling_ae_title=request.calling_ae_title,
            presentation_contexts=negotiate(request.presentation_contexts, _first_transfer_syntax),
            user_information=UserInformation(
                maximum_length=_MAXIMUM_LENGTH,
                implementation_class_uid=own.implementation_class_uid,
                implementation_version_name=own.implementation_version_name,
                asynchronous_operations_window=accept_window(
                    request.user_information.asynchronous_operations_window, limit
                ),
            ),
        )

    def _feed(self, fragment: Fragment) -> None:
        """Process the next fragment; respond after the last one of a message.

        Raises:
            AssemblyError: the fragments do not form a message.
        """
        message = self._message
        if fragment.is_command:
            if message is not None:
                raise AssemblyError("a command fragment inside a data set")
            self._gathered += fragment.data
            if len(self._gathered) > _COMMAND_CAP:
                raise AssemblyError(f"a command set of more than {_COMMAND_CAP} bytes")
            if fragment.is_last:
                self._begin(self._contexts[fragment.context_id])
            return
        if message is None:
            raise AssemblyError("a data set without a command set")
        data = fragment.data
        message.length += len(data)
        message.crc = isal_zlib.crc32(data, message.crc)
        if message.fd >= 0:
            os.write(message.fd, data)
        if fragment.is_last:
            self._complete(message, time.monotonic())

    def _begin(self, context: AcceptedContext) -> None:
        encoded = bytes(self._gathered)
        self._gathered.clear()
        known = self._layout.read(encoded) if self._layout is not None else None
        if known is not None and self._layout is not None:
            self._message = _Message(context, self._layout.command, *known)
        else:
            self._decode(context, encoded)
        if self._message is not None and self._behaviour.store is not None:
            self._message.fd = _create_file(self._behaviour.store, self._message)

    def _decode(self, context: AcceptedContext, encoded: bytes) -> None:
        """Begin a message of another layout than the one before."""
        try:
            command = decode(encoded)
        except InvalidCommandSet as error:
            raise AssemblyError(f"not a command set: {error}") from error
        if command.has_data_set:
            self._layout = RequestLayout(encoded, command)
            self._message = _Message(context, command, command.message_id or 0, command.sop_instance_uid)
        elif not command.is_response and command.field != CommandField.C_CANCEL_RQ:
            self._respond(context.id, encode(response_to(command, Status.SUCCESS)))
            self._others += 1

    def _complete(self, message: _Message, now: float) -> None:
        self._close_file()
        self._message = None
        behaviour = self._behaviour
        if behaviour.abort_every and (self._objects.next() + 1) % behaviour.abort_every == 0:
            self._aborted += 1
            self._connection.perform_primitive(self._upper_layer.abort)
            return
        if behaviour.delay:
            time.sleep(behaviour.delay)
        self._respond(message.context.id, self._response(message))
        self._answers += 1
        if self._stored:
            uid = message.sop_instance_uid.encode("ascii", "replace")
            self._record(ARRIVAL.pack(uid, now, message.length, message.crc), now)

    def _response(self, message: _Message) -> bytearray:
        form = self._form
        if (
            form is None
            or form.request is not message.command
            or not form.fill(message.message_id, message.sop_instance_uid)
        ):
            form = self._form = ResponseForm(message.command, self._behaviour.status)
            form.fill(message.message_id, message.sop_instance_uid)
        return form.encoded

    def _respond(self, context_id: int, response: bytes | bytearray) -> None:
        self._connection.send(self._upper_layer.send_data(context_id, response, command=True, last=True))

    def _record(self, arrival: bytes, now: float) -> None:
        self._arrivals += arrival
        if not self._tell_at:
            self._tell_at = now + _TELL_AFTER
            self._connection.set_timeout(_TELL_AFTER)
        elif now > self._tell_at or len(self._arrivals) > _LONGEST_REPORT - TOTALS.size - ARRIVAL.size:
            self._report()
            self._tell_at = now + _TELL_AFTER  # the timeout stays: more may come soon

    def _report(self, *, is_open: bool = True) -> None:
        """Tell the parent of the arrivals, and the totals."""
        totals = TOTALS.pack(
            self._serial, time.process_time() - self._cpu_before, self._answers, self._others, self._aborted, is_open
        )
        self._tell_parent(totals + self._arrivals)
        self._arrivals.clear()
        self._tell_at = 0.0

    def _close_file(self) -> None:
        """Close the file of the message, if one is open."""
        if self._message is not None and self._message.fd >= 0:
            os.close(self._message.fd)
            self._message.fd = -1


def _first_transfer_syntax(context: PresentationContext) -> str:
    return context.transfer_syntaxes[0]


def _create_file(folder: Path, message: _Message) -> int:
    """Create a PS3.10 file up to its data set, and return its descriptor.

    Its name consists of characters that a UID may have, whatever the peer has sent.
    """
    uid = message.sop_instance_uid
    name = "".join(sign for sign in uid if sign in "0123456789.")[:64].strip(".") or "nameless"
    own = Config().router
    fd = os.open(folder / f"{name}.dcm", os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC, 0o644)
    head = encode_head(
        sop_class_uid=message.command.sop_class_uid,
        sop_instance_uid=uid,
        transfer_syntax=message.context.transfer_syntax,
        implementation_class_uid=own.implementation_class_uid,
        implementation_version_name=own.implementation_version_name,
    )
    os.write(fd, head)
    return fd
