"""Stream a stored object as a PS3.10 file: the head, then the bytes of the data set as they were received.

One chunk is in memory at a time, whatever the size. The spool checks the bytes as they are read; if they are damaged,
or deleted because the message was finished meanwhile, the response breaks off before its end: the client sees that it
is short, and the log says why.
"""

from collections.abc import Awaitable, Callable, MutableMapping
from typing import Any, Final, Self

import structlog
import trio
from starlette.responses import Response
from starlette.types import Receive, Scope, Send

from router.config import IMPLEMENTATION_CLASS_UID, IMPLEMENTATION_VERSION_NAME
from router.dicom.part10 import encode_head
from router.model import DeliveryState, Envelope
from router.spool import DamagedMessage, Selection, Spool, StoredMessage, UnknownMessage

CHUNK: Final = 256 * 1024
"""Bytes to read at once."""
_FINISHED: Final = "its message was finished meanwhile, and its bytes are deleted"

log = structlog.get_logger()


def head_of(envelope: Envelope) -> bytes:
    """Return the PS3.10 head for the data set of a message."""
    return encode_head(
        sop_class_uid=envelope.sop_class_uid,
        sop_instance_uid=envelope.sop_instance_uid,
        transfer_syntax=envelope.transfer_syntax,
        implementation_class_uid=IMPLEMENTATION_CLASS_UID,
        implementation_version_name=IMPLEMENTATION_VERSION_NAME,
        source_ae_title=envelope.calling_ae,
    )


class Export(Response):
    """The response to an export. It owns the open message, and closes it."""

    media_type = "application/dicom"

    @classmethod
    async def begin(cls, spool: Spool, message_id: int) -> Self:
        """Open a message and read its first chunk, so that an error there is still answered with a message.

        Raises:
            UnknownMessage: there is no such message, or its bytes are deleted.
            DamagedMessage: its bytes are not those that were received.
        """
        message = await spool.open_message(message_id)
        try:
            first = await _chunk(message, 0)
        except DamagedMessage as error:
            message.close()
            if await _is_finished(spool, message_id):
                raise UnknownMessage(f"there is no message {message_id} any more: {_FINISHED}") from error
            raise
        except BaseException:
            message.close()
            raise
        return cls(spool, message_id, message, first)

    def __init__(self, spool: Spool, message_id: int, message: StoredMessage, first: bytes) -> None:
        self._spool = spool
        self._message_id = message_id
        self._message = message
        self._first = first
        self._head = head_of(message.envelope)
        length = len(self._head) + message.data_length
        name = f"message-{message_id}.dcm"
        super().__init__(
            headers={"Content-Length": str(length), "Content-Disposition": f'attachment; filename="{name}"'}
        )

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        with self._message:
            async with trio.open_nursery() as nursery:
                nursery.start_soon(_watch_disconnect, receive, nursery.cancel_scope)
                try:
                    await self._stream(send)
                except DamagedMessage as error:
                    why = _FINISHED if await _is_finished(self._spool, self._message_id) else str(error)
                    log.warning("export broke off", message_id=self._message_id, why=why)
                nursery.cancel_scope.cancel()

    async def _stream(self, send: Send) -> None:
        await send({"type": "http.response.start", "status": 200, "headers": self.raw_headers})
        await send({"type": "http.response.body", "body": self._head + self._first, "more_body": True})
        offset = len(self._first)
        while offset < self._message.data_length:
            piece = await _chunk(self._message, offset)
            await send({"type": "http.response.body", "body": piece, "more_body": True})
            offset += len(piece)
        await send({"type": "http.response.body", "body": b"", "more_body": False})


async def _is_finished(spool: Spool, message_id: int) -> bool:
    """Return whether all deliveries are finished, so that the space of the message may have been used again."""
    unfinished = frozenset({DeliveryState.WAITING, DeliveryState.HELD})
    return not await spool.queue.list_deliveries(Selection(message_ids=(message_id,), states=unfinished), limit=1)


async def _chunk(message: StoredMessage, offset: int) -> bytes:
    """Return the bytes from `offset`: a chunk, or the rest."""
    buffer = bytearray(min(CHUNK, message.data_length - offset))
    filled = 0
    while filled < len(buffer):
        filled += await message.read_into(memoryview(buffer)[filled:], offset + filled)
    return bytes(buffer)


async def _watch_disconnect(
    receive: Callable[[], Awaitable[MutableMapping[str, Any]]], scope: trio.CancelScope
) -> None:
    """Cancel the scope when the client disconnects."""
    while (await receive())["type"] != "http.disconnect":
        pass
    scope.cancel()
