"""The segments: preallocated files that records are appended to, and how much of each is needed.

A file whose records are all finished is used again: to overwrite its blocks is quicker than to free them and allocate
new ones. Promises: `append` returns only when what it says is durable; after it raised or
fell short, nothing of what failed can be found in a segment later, nor anything that the file held in an earlier use.
The writer only, but for recovery, which runs before it. Not here: what a record means (record.py), when a segment
may go (housekeeping.py), reading (segment_reader.py, stored_message.py).
"""

import contextlib
import os
import time
from collections.abc import Sequence

from attrs import define, field

from router.spool.disk import record
from router.spool.disk.filesystem import FileSystem, is_disk_full, is_no_room
from router.spool.disk.reserve import Reserve
from router.spool.errors import SpoolFailure

_SMALL = 256 << 10
"""Bytes of a batch below which zeros are written ahead of it."""
_ZEROS = bytes(1 << 20)
_SHORTEST = 1 << 20
"""Bytes of a segment that is created although the free space is at the floor."""
_MOST_SPARE = 2
"""Files kept to be used again. More are not needed: as much is finished as comes in."""


@define(eq=False)
class Draft:
    """A record to write. `append` fills in its segment and offset."""

    message_id: int
    envelope: bytes
    data: bytes | bytearray | memoryview
    """The data set; empty if it has a file of its own."""
    crc: int
    """CRC-32 of `data`."""
    from_reserve: bool = False
    """It may use the reserve on a full disk, because it helps to empty the spool."""
    segment: int = 0
    offset: int = 0

    @property
    def length(self) -> int:
        """Bytes of the whole record."""
        return record.HEADER_LENGTH + len(self.envelope) + len(self.data) + record.TRAILER_LENGTH


@define(eq=False)
class Segment:
    """One segment, and how much of it is needed."""

    number: int
    nonce: bytes
    end: int
    """Offset after the last record."""
    live: int = 0
    """Unfinished messages in it."""
    live_bytes: int = 0
    has_decisions: bool = False
    """It holds decisions of operators that may be needed."""
    keep: bool = False
    """It holds damaged bytes that could not be copied: not to be deleted in this run."""
    fd: int | None = field(default=None, repr=False)
    """Open for appending; None unless it is the current segment."""
    size: int = 0
    """Bytes allocated, while it is the current segment."""
    written: int = 0
    """Offset up to which blocks were written before: to overwrite them syncs faster."""
    sealed: float = float("-inf")
    """When it was sealed, on the monotonic clock; minus infinity if an earlier run wrote it."""
    not_again: bool = False
    """Its file is not to be used again: what was moved out of it, or discarded, may still be read."""


def segment_name(number: int) -> str:
    return f"{number:08d}"


class Segments:
    """All segments; records are appended to the newest."""

    def __init__(
        self, files: FileSystem, directory: int, spare: int, segment_size: int, *, floor: int, reserve: Reserve
    ) -> None:
        """Begin without segments.

        `directory` holds the segments, `spare` the files to be used again. `floor`: bytes that stay free if a segment
        can be shorter.
        """
        self.directory = directory
        self.known: dict[int, Segment] = {}
        self.current: Segment | None = None
        self.syncs = 0
        self._files = files
        self._spare = spare
        self._spares: list[tuple[str, int]] = []
        """Names, and the bytes that removing each would free."""
        self._segment_size = segment_size
        self._floor = floor
        self._reserve = reserve
        self._next_number = 1

    def add(self, segment: Segment) -> None:
        """Add a segment that recovery found."""
        self.known[segment.number] = segment
        self.skip_number(segment.number)

    def skip_number(self, number: int) -> None:
        """Never create a segment of this number."""
        self._next_number = max(self._next_number, number + 1)

    def append(self, drafts: Sequence[Draft]) -> int:
        """Make the drafts durable, in order, and return how many are.

        Fewer than all only if the disk is full; nothing of the others is then left.

        Raises:
            SpoolFailure: the disk failed.
        """
        done = 0
        while done < len(drafts):
            try:
                segment = self._with_room(drafts[done].length)
                group = self._that_fit(segment, drafts, done)
                self._write(segment, group)
            except OSError as error:
                if not is_no_room(error):
                    raise SpoolFailure(f"writing to the spool failed: {error}") from error
                self._abandon()
                if not self._has_made_room(error, drafts[done:]):
                    return done
            else:
                done += len(group)
        return done

    def _has_made_room(self, error: OSError, drafts: Sequence[Draft]) -> bool:
        """Make room for drafts that found none: any of them may use the spare files, only some the reserve."""
        if any(draft.from_reserve for draft in drafts):
            return self.relieve(error)
        return is_disk_full(error) and self.give_up_spare()

    def relieve(self, error: BaseException) -> bool:
        """Delete the spare files, or else release a part of the reserve, if the error says that the disk is full.

        Returns whether to try again what failed.
        """
        return is_disk_full(error) and (self.give_up_spare() or self._reserve.relieve(error))

    @property
    def spare_bytes(self) -> int:
        """Bytes that `give_up_spare` would free. From any thread."""
        return sum(length for _, length in list(self._spares))

    def give_up_spare(self) -> bool:
        """Delete the files that are kept to be used again; return whether one was deleted.

        A disk can be so full that it has no room to delete a file.
        """
        there_were = len(self._spares)
        while self._spares:
            try:
                self._files.remove(self._spare, self._spares[-1][0])
            except FileNotFoundError:
                pass
            except OSError as error:
                if is_no_room(error):
                    break
                raise
            self._spares.pop()
        return len(self._spares) < there_were

    def retire(self, number: int) -> None:
        """Remove a segment that is not needed; its file may be kept to be used again.

        The caller syncs the directory.
        """
        segment, name = self.known[number], segment_name(number)
        with contextlib.suppress(FileNotFoundError):
            if not self._is_kept(segment, name):
                self._files.remove_large(self.directory, name)
        del self.known[number]

    def _is_kept(self, segment: Segment, name: str) -> bool:
        """Move the file to those that are used again, if it may be and there is room for its name."""
        if segment.not_again or segment.end > self._segment_size or len(self._spares) == _MOST_SPARE:
            return False
        try:
            self._files.move(self.directory, name, self._spare, name)
        except OSError as error:
            if is_no_room(error):
                return False
            raise
        self._spares.append((name, segment.end))
        return True

    def seal(self) -> None:
        """Append no more to the current segment, and free what was not used."""
        segment, self.current = self.current, None
        if segment is not None and segment.fd is not None:
            fd, segment.fd = segment.fd, None
            segment.sealed = time.monotonic()
            try:
                self._files.truncate(fd, segment.end)
            finally:
                self._files.close(fd)

    def _with_room(self, length: int) -> Segment:
        current = self.current
        if current is not None and current.end + length <= current.size:
            return current
        self.seal()
        return self._begin(record.SEGMENT_HEADER_LENGTH + length)

    def _begin(self, least: int) -> Segment:
        """Create a segment of at least `least` bytes.

        A file that was used before gets its new name last: until then, recovery does not look at it.
        """
        number, fd = self._create()
        nonce = os.urandom(record.NONCE_LENGTH)
        spare, written = "", 0
        try:
            if least <= self._segment_size and (found := self._open_spare()):
                self._files.close(fd)
                spare, fd = found
                written = self._files.size(fd)
            size = self._affordable(least, written)
            self._files.allocate(fd, size)
            self._files.write(fd, [record.encode_segment_header(number, nonce), record.END], 0)
            self._files.sync(fd)
            if spare:
                self._files.move(self._spare, spare, self.directory, segment_name(number))
            self._files.sync_directory(self.directory)
        except OSError:
            self._files.close(fd)
            self._files.remove(self.directory, segment_name(number))
            if spare:
                with contextlib.suppress(FileNotFoundError):  # it has its new name already
                    self._files.remove(self._spare, spare)
            raise
        segment = Segment(
            number=number, nonce=nonce, end=record.SEGMENT_HEADER_LENGTH, fd=fd, size=size, written=written
        )
        self.known[number] = segment
        self.current = segment
        return segment

    def _affordable(self, least: int, here: int) -> int:
        """Return the length of a new segment: shorter than configured, rather than below the floor.

        `here`: bytes of its file that are allocated already.
        """
        room = max(0, self._files.free(self.directory) - self._floor)
        return max(least, min(_SHORTEST, self._segment_size), min(self._segment_size, here + room))

    def _open_spare(self) -> tuple[str, int] | None:
        """Open a file to be used again, if there is one; return its name and descriptor."""
        while self._spares:
            name, _ = self._spares.pop()
            with contextlib.suppress(FileNotFoundError):
                return name, self._files.open(self._spare, name, write=True)
        return None

    def _create(self) -> tuple[int, int]:
        """Create a file, and return its number and descriptor. Names in use are skipped."""
        while True:
            number = self._next_number
            self._next_number += 1
            with contextlib.suppress(FileExistsError):
                return number, self._files.create(self.directory, segment_name(number))

    def _that_fit(self, segment: Segment, drafts: Sequence[Draft], start: int) -> Sequence[Draft]:
        """Return the drafts that fit; `_with_room` made sure that the first does."""
        end = segment.end + drafts[start].length
        stop = start + 1
        while stop < len(drafts) and end + drafts[stop].length <= segment.size:
            end += drafts[stop].length
            stop += 1
        return drafts[start:stop]

    def _write(self, segment: Segment, drafts: Sequence[Draft]) -> None:
        assert segment.fd is not None
        buffers: list[bytes | bytearray | memoryview] = []
        nonce, batch, end = segment.nonce, segment.end, segment.end
        for draft in drafts:
            length = draft.length
            header = record.encode_header(nonce, draft.message_id, batch, len(draft.data), draft.envelope)
            buffers.append(header + draft.envelope)
            if draft.data:
                buffers.append(draft.data)
            buffers.append(record.encode_trailer(nonce, draft.message_id, length, draft.crc))
            draft.segment, draft.offset = segment.number, end
            end += length
        if end - batch < _SMALL and end > segment.written:
            segment.written = min(end + len(_ZEROS), segment.size)
            buffers.append(_ZEROS[: segment.written - end])
        else:
            buffers.append(record.END[: segment.size - end])
        self._files.write(segment.fd, buffers, batch)
        self._files.sync(segment.fd)
        self.syncs += 1
        segment.end = end
        segment.live += len(drafts)
        segment.live_bytes += end - batch

    def _abandon(self) -> None:
        """Cut the current segment back to what is durable after a failed write, and append no more to it.

        The cut is synced: a crash could bring the failed records back.
        """
        segment, self.current = self.current, None
        if segment is None or segment.fd is None:
            return
        fd, segment.fd = segment.fd, None
        try:
            self._files.truncate(fd, segment.end)
            self._files.sync(fd)
        except OSError as error:
            raise SpoolFailure(f"undoing a failed write to the spool failed: {error}") from error
        finally:
            self._files.close(fd)
