"""Read a stored message for a delivery.

Promises: the event loop never waits for the disk: what is not in the page cache is read in a worker thread; and the
last bytes are returned only if the checksum over all of them is right. Not here: reading whole segments
(disk/segment_reader.py), reading for the writer (disk/directories.py).
"""

import contextlib
import errno
from collections.abc import Callable
from functools import partial
from types import TracebackType
from typing import Self

import trio
from isal.isal_zlib import crc32

from router.concurrency import DISK_OUT
from router.model import Envelope
from router.spool.disk import record
from router.spool.disk.directories import Directories
from router.spool.disk.filesystem import FileSystem, is_no_room
from router.spool.disk.segments import segment_name
from router.spool.errors import DamagedMessage, OutOfSpace
from router.spool.recent_messages import RecentMessage
from router.spool.values import Place

_HEAD = 32 << 10
"""Bytes read at once when a message is opened: a small object whole."""


class StoredMessage:
    """One message, open for reading by one task. `close` it, or use it in a `with`.

    Its file stays open, so that it can be read to the end even if the message is finished or moved meanwhile.
    """

    def __init__(self, files: FileSystem, place: Place, envelope: Envelope, damaged: Callable[[str], None]) -> None:
        self.envelope = envelope
        self.data_length = place.data_length
        """Bytes of the data set."""
        self._files = files
        self._crc = place.data_crc
        self._damaged = damaged
        self._fd = -1
        self._base = 0
        self._head = memoryview(b"")
        """The data set's first bytes, or all of them, in memory."""
        self._is_checked = False
        self._on_close: Callable[[], None] = lambda: None
        self._seen = 0
        self._seen_crc = 0

    @classmethod
    def in_memory(cls, files: FileSystem, recent: RecentMessage, close: Callable[[RecentMessage], None]) -> Self:
        """Return a message that is in memory and was checked; `close` is called at its end."""
        message = cls(files, recent.entry.place, recent.entry.envelope, lambda reason: None)
        message._head = memoryview(recent.data)
        message._is_checked = True
        message._on_close = partial(close, recent)
        return message

    def view(self) -> memoryview | None:
        """Return the whole data set, checked, if it is in memory; valid until `close`.

        Raises:
            DamagedMessage: the data set is not what was received. The message is then held.
        """
        if len(self._head) < self.data_length:
            return None
        if not self._is_checked:
            self._check(self._head, 0)
            self._is_checked = True
        return self._head

    async def read_into(self, buffer: memoryview, offset: int) -> int:
        """Read the data set from `offset` into the buffer; return how many bytes were read, 0 at its end.

        Fewer bytes than asked for are possible anywhere. Not a checkpoint if the bytes are in memory. A data set that
        is read from the beginning and in order is checked on the way.

        Raises:
            DamagedMessage: in place of the last bytes, if the data set is not what was received. The message is then
                held.
        """
        wanted = min(len(buffer), self.data_length - offset)
        if wanted <= 0:
            return 0
        part = buffer[:wanted]
        if offset < len(self._head):
            piece = self._head[offset : offset + wanted]
            count = len(piece)
            part[:count] = piece
        else:
            count = await self._read(part, self._base + offset)
        self._check(part[:count], offset)
        return count

    def close(self) -> None:
        on_close, self._on_close = self._on_close, lambda: None
        on_close()
        if self._fd >= 0:
            with contextlib.suppress(OSError):
                self._files.close(self._fd)
            self._fd = -1

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    async def _read(self, part: memoryview, at: int) -> int:
        try:
            count = await read_patiently(self._files, self._fd, part, at)
        except OSError as error:
            raise self._is_damaged(f"the stored bytes cannot be read: {error.strerror}") from error
        if not count:
            raise self._is_damaged("the stored bytes end too early")
        return count

    def _check(self, part: memoryview, offset: int) -> None:
        if offset == 0:
            self._seen = self._seen_crc = 0
        if offset != self._seen:
            return
        self._seen_crc = crc32(part, self._seen_crc)
        self._seen += len(part)
        if self._seen == self.data_length and self._seen_crc != self._crc:
            raise self._is_damaged("the data set does not fit its checksum")

    def _is_damaged(self, reason: str) -> DamagedMessage:
        self._damaged(reason)
        return DamagedMessage(reason)

    @classmethod
    async def open(
        cls, store: Directories, message_id: int, place: Place, nonce: bytes, damaged: Callable[[str], None]
    ) -> Self:
        """Open the message at a place.

        Raises:
            FileNotFoundError: the place has no file; the message has moved, or is gone.
            DamagedMessage: its record is not what was written.
            OutOfSpace: no more files can be open.
        """
        fd = -1
        try:
            fd = store.files.open(store.segments, segment_name(place.segment))
            message, ends_in_head = await cls._decode(store, fd, message_id, place, nonce, damaged)
            if place.file:
                message._fd = store.files.open(store.large, place.file)
            elif not ends_in_head:
                message._fd, fd = fd, -1
            return message
        except FileNotFoundError:
            raise
        except (DamagedMessage, OSError) as error:
            if is_no_room(error):
                raise OutOfSpace(f"its file cannot be opened: {error}") from error
            reason = str(error) if isinstance(error, DamagedMessage) else f"it cannot be read: {error.strerror}"
            damaged(reason)
            raise DamagedMessage(reason) from error
        finally:
            if fd >= 0:
                store.files.close(fd)

    @classmethod
    async def _decode(
        cls, store: Directories, fd: int, message_id: int, place: Place, nonce: bytes, damaged: Callable[[str], None]
    ) -> tuple[Self, bool]:
        """Decode the record's head; return the message without its descriptor, and whether all of it was read."""
        head = await _read(store.files, fd, min(place.length, _HEAD), place.offset)
        header = record.decode_header(head[: record.HEADER_LENGTH], nonce)
        if header is None or header.message_id != message_id or header.length != place.length:
            raise DamagedMessage("the record's header is broken")
        if header.data_offset > len(head):
            head += await _read(store.files, fd, header.data_offset - len(head), place.offset + len(head))
        packed = head[record.HEADER_LENGTH : header.data_offset]
        if len(packed) < header.envelope_length or crc32(packed) != header.envelope_crc:
            raise DamagedMessage("the envelope does not fit its checksum")
        message = cls(store.files, place, record.decode_envelope(packed).envelope, damaged)
        if not place.file:
            message._head = memoryview(head)[header.data_offset : header.data_offset + header.data_length]
            message._base = place.offset + header.data_offset
        return message, len(message._head) == header.data_length


async def _read(files: FileSystem, fd: int, length: int, offset: int) -> bytes:
    """Read `length` bytes, or as many as there are."""
    buffer = bytearray(length)
    view = memoryview(buffer)
    done = 0
    while done < length:
        count = await read_patiently(files, fd, view[done:], offset + done)
        if not count:
            break
        done += count
    return bytes(view[:done])


async def read_patiently(files: FileSystem, fd: int, buffer: memoryview, offset: int) -> int:
    """Read at once what is in the page cache, and in a worker thread what is not."""
    try:
        count = files.read_into(fd, buffer, offset, patient=False)
    except BlockingIOError:
        count = 0
    except OSError as error:
        if error.errno not in (errno.EOPNOTSUPP, errno.EINVAL, errno.ENOSYS):
            raise
        count = 0
    return count or await trio.to_thread.run_sync(files.read_into, fd, buffer, offset, limiter=DISK_OUT)
