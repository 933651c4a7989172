"""Counters that only grow: seconds that routers have run with this spool, and message ids that were assigned.

Promises: neither starts again when the ledger, every segment or the services' state is lost. The file `counters` in
the spool's folder has two slots; one at a time is overwritten and synced, so that a power cut leaves the other. The
ledger and the state keep both as well, with every row that is measured by them: a start takes the highest. The time
of day has no part in it. Not here: when to save (writer.py, housekeeping.py).

A slot, at byte 0 and at byte 4096, little-endian:

    offset  size  field
    0       8     "DRCOUN01"
    8       8     running time, seconds, float
    16      8     lowest sequence number of a message id that was never assigned
    24      4     CRC-32 of the bytes before
"""

import contextlib
import struct
import time

from isal.isal_zlib import crc32

from router.spool.disk.filesystem import FileSystem, is_no_room
from router.spool.message_id import MessageId, message_id

NAME = "counters"

_MAGIC = b"DRCOUN01"
_SLOT = struct.Struct("<8sdQ")
_CRC = struct.Struct("<I")
_OFFSETS = (0, 4096)


class Counters:
    """The values, read from any thread."""

    def __init__(self) -> None:
        self.next_id = 1
        """Lowest sequence number of a message id that was never assigned."""
        self._offset = -time.monotonic()

    def new_id(self) -> MessageId:
        """Assign a message id. The writer only."""
        sequence, self.next_id = self.next_id, self.next_id + 1
        return message_id(sequence)

    def clock(self) -> float:
        """Seconds that routers have run with this spool."""
        return self._offset + time.monotonic()

    def advance(self, *, clock: float = 0.0, next_id: int = 1) -> None:
        """Raise the counters to at least these values. The writer only, or before it starts."""
        self._offset += max(0.0, clock - self.clock())
        self.next_id = max(self.next_id, next_id)


class CountersFile:
    """The file. Used by one thread at a time."""

    def __init__(self, files: FileSystem, directory: int, counters: Counters) -> None:
        """Raise the counters to what the file says, if there is one.

        Raises:
            OSError: it cannot be opened, or is a symbolic link, or no file.
        """
        self._files = files
        self._directory = directory
        self._counters = counters
        self._next = 0
        """The slot to overwrite: not the one with the highest values."""
        with contextlib.suppress(FileNotFoundError):
            self._load()

    def _load(self) -> None:
        fd = self._files.open(self._directory, NAME, write=True)
        try:
            slots = [_decoded(self._files.read(fd, _SLOT.size + _CRC.size, offset)) for offset in _OFFSETS]
        finally:
            self._files.close(fd)
        for clock, next_id in slots:
            self._counters.advance(clock=clock, next_id=next_id)
        self._next = slots.index(min(slots))

    def save(self) -> None:
        """Make both durable as they are now.

        Raises:
            OSError: no room, or the disk is at fault.
        """
        try:
            fd, is_new = self._files.open(self._directory, NAME, write=True), False
        except FileNotFoundError:
            fd, is_new = self._files.create(self._directory, NAME), True
        try:
            slot = _SLOT.pack(_MAGIC, self._counters.clock(), self._counters.next_id)
            for offset in _OFFSETS if is_new else [_OFFSETS[self._next]]:  # both, so that no later save needs room
                self._files.write(fd, [slot, _CRC.pack(crc32(slot))], offset)
            self._files.sync(fd)
        finally:
            self._files.close(fd)
        if is_new:
            self._files.sync_directory(self._directory)
        self._next = 1 - self._next

    def save_if_room(self) -> None:
        """Save, but not on a full disk: for a moment when nothing depends on it."""
        try:
            self.save()
        except OSError as error:
            if not is_no_room(error):
                raise


def _decoded(slot: bytes) -> tuple[float, int]:
    """Decode running time and next sequence number; the lowest if the bytes are not what `save` writes."""
    if len(slot) < _SLOT.size + _CRC.size or _CRC.unpack_from(slot, _SLOT.size) != (crc32(slot[: _SLOT.size]),):
        return 0.0, 1
    magic, clock, next_id = _SLOT.unpack_from(slot)
    return (clock, next_id) if magic == _MAGIC else (0.0, 1)
