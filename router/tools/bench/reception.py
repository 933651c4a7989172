"""The messages of one association of the sink, one after the other: taken in, counted, answered."""

import os
import time
import zlib
from pathlib import Path
from typing import TYPE_CHECKING, Final

import trio
from attrs import define

from pdu import AcceptedContext, Fragment
from router.association.transport import Transport
from router.config import Config
from router.dicom.part10 import encode_head
from router.dimse import AssemblyError, Command, CommandField, InvalidCommandSet, Status, decode, encode, response_to
from router.tools.bench.command_layout import RequestLayout, ResponseForm
from router.tools.bench.results import took

if TYPE_CHECKING:
    from router.tools.bench.sink import Sink

_COMMAND_CAP: Final = 65536


@define
class _Message:
    """What is coming in."""

    context: AcceptedContext
    command: Command
    """Of the first message like it: its Message ID and UID are not this one's."""
    message_id: int
    sop_instance_uid: str
    fd: int = -1
    length: int = 0
    crc: int = 0


class SinkConnection:
    """Fed with the fragments of one association."""

    def __init__(self, sink: "Sink", transport: Transport) -> None:
        self._sink, self._transport = sink, transport
        self._behaviour = sink.behaviour
        self._gathered = bytearray()
        self._message: _Message | None = None
        self._layout: RequestLayout | None = None
        self._form: ResponseForm | None = None
        self.contexts: dict[int, AcceptedContext] = {}

    @property
    def in_message(self) -> bool:
        """Whether the peer has more to send before it is answered."""
        return self._message is not None or bool(self._gathered)

    async def take(self, fragment: Fragment) -> None:
        """The next fragment; with the last one of a message, its answer.

        Raises:
            AssemblyError: the fragments make no message.
        """
        message = self._message
        if fragment.is_command:
            if message is not None:
                raise AssemblyError("a command fragment inside a data set")
            self._gathered += fragment.data
            if len(self._gathered) > _COMMAND_CAP:
                raise AssemblyError(f"a command set of more than {_COMMAND_CAP} bytes")
            if fragment.is_last:
                await self._begin(self.contexts[fragment.context_id])
            return
        if message is None:
            raise AssemblyError("a data set without a command set")
        message.length += len(fragment.data)
        if self._behaviour.checks:
            message.crc = zlib.crc32(fragment.data, message.crc)
        if message.fd >= 0:
            os.write(message.fd, fragment.data)
        if fragment.is_last:
            await self._end(message, time.monotonic())

    async def _begin(self, context: AcceptedContext) -> None:
        encoded = bytes(self._gathered)
        self._gathered.clear()
        known = self._layout.read(encoded) if self._layout is not None else None
        if known is not None and self._layout is not None:
            self._message = _Message(context, self._layout.command, *known)
        else:
            await self._begin_other(context, encoded)
        if self._message is not None and self._behaviour.store is not None:
            self._message.fd = _create(self._behaviour.store, self._message)

    async def _begin_other(self, context: AcceptedContext, encoded: bytes) -> None:
        """A message that is not like the one before."""
        try:
            command = decode(encoded)
        except InvalidCommandSet as error:
            raise AssemblyError(f"no command set: {error}") from error
        if command.has_data_set:
            self._layout = RequestLayout(encoded, command)
            self._message = _Message(context, command, command.message_id or 0, command.sop_instance_uid)
        elif not command.is_response and command.field != CommandField.C_CANCEL_RQ:
            await self._respond(context.id, encode(response_to(command, Status.SUCCESS)))
            self._sink.answers[Status.SUCCESS] += 1

    async def _end(self, message: _Message, now: float) -> None:
        self.drop()
        self._message = None
        behaviour, sink = self._behaviour, self._sink
        if sink.aborts_now():
            sink.aborted += 1
            await self._transport.tell(self._transport.upper_layer.abort)
            return
        if behaviour.delay:
            await trio.sleep(behaviour.delay)
        await self._respond(message.context.id, self._response(message))
        sink.answers[behaviour.status] += 1
        if took(behaviour.status):
            sink.arrived(message.sop_instance_uid, now, message.length, message.crc)

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

    async def _respond(self, context_id: int, response: bytes | bytearray) -> None:
        await self._transport.send(self._transport.upper_layer.send_data(context_id, response, command=True, last=True))

    def drop(self) -> None:
        """Close the file of the message, if it has one that is open."""
        if self._message is not None and self._message.fd >= 0:
            os.close(self._message.fd)
            self._message.fd = -1


def _create(folder: Path, message: _Message) -> int:
    """A file with the head of PS3.10, for a data set to follow. Its name is made of what a UID may have, whatever the
    peer has sent."""
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
