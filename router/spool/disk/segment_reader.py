"""Read a segment from front to back, in any state: records, and broken bytes between them.

It decides nothing (recovery/ does), and holds one window and one record's envelope in memory.
"""

from collections.abc import Iterator

from attrs import frozen
from isal.isal_zlib import crc32

from router.spool.disk import record
from router.spool.disk.filesystem import FileSystem
from router.spool.disk.record import RecordHeader, StoredEnvelope
from router.spool.values import Decision

_WINDOW = 1 << 20
Stored = StoredEnvelope | tuple[Decision, ...]
"""Content of a record apart from the data set: a message's envelope, or decisions of operators."""


@frozen(kw_only=True)
class FoundRecord:
    """A complete record."""

    offset: int
    header: RecordHeader
    stored: Stored
    data_crc: int


@frozen(kw_only=True)
class BrokenRecord:
    """Bytes that are not a complete record. `header` and `stored` are what can be read of one."""

    offset: int
    length: int
    """Bytes up to the next record; at the end of the file, those that were certainly written."""
    reason: str
    header: RecordHeader | None = None
    stored: StoredEnvelope | None = None


class SegmentReader:
    """One pass over a segment."""

    def __init__(self, files: FileSystem, fd: int, nonce: bytes) -> None:
        self.size = files.size(fd)
        self._files = files
        self._fd = fd
        self._nonce = nonce
        self._window = b""
        self._start = 0

    def run(self, offset: int) -> Iterator[FoundRecord | BrokenRecord]:
        """Read from an offset at which a record begins or should begin.

        Zeros in place of a header are the end, unless a record follows after all; other bytes after them are from an
        earlier use of the file.
        """
        while offset < self.size:
            found = self._record(offset)
            if isinstance(found, FoundRecord):
                yield found
                offset += found.header.length
                continue
            end = self._next_header(offset + 1)
            if end == self.size and not self._read(offset, record.HEADER_LENGTH).strip(b"\0"):
                return
            length = self._length(found, offset, end)
            if length:
                yield BrokenRecord(
                    offset=offset, length=length, reason=found.reason, header=found.header, stored=found.stored
                )
            offset = end

    def _length(self, broken: BrokenRecord, offset: int, end: int) -> int:
        """Return the length of broken bytes: that of the header, else up to the next record.

        At the end of the file: up to the zeros, or to a record of an earlier use.
        """
        if broken.header is not None:
            return min(end - offset, broken.header.length)
        if end == self.size:
            return self._without_zeros(offset, self._find(record.RECORD_MAGIC, offset + 1)) - offset
        return end - offset if self._without_zeros(offset, end) > offset else 0

    def is_zero(self) -> bool:
        """Return whether all bytes of the file are zero."""
        return self._without_zeros(0, self.size) == 0

    def _record(self, offset: int) -> FoundRecord | BrokenRecord:
        def broken(reason: str, header: RecordHeader | None = None, stored: Stored | None = None) -> BrokenRecord:
            its_message = stored if isinstance(stored, StoredEnvelope) else None
            return BrokenRecord(offset=offset, length=0, reason=reason, header=header, stored=its_message)

        header = record.decode_header(self._read(offset, record.HEADER_LENGTH), self._nonce)
        if header is None:
            return broken("no record header")
        envelope = self._read(offset + record.HEADER_LENGTH, header.envelope_length)
        if crc32(envelope) != header.envelope_crc:
            return broken("the envelope does not fit its checksum", header)
        stored: Stored
        try:
            stored = record.decode_envelope(envelope) if header.message_id else record.decode_decisions(envelope)
        except (ValueError, TypeError, KeyError) as error:
            return broken(f"the envelope cannot be read: {error!r}", header)
        data_end = offset + header.data_offset + header.data_length
        if data_end + record.TRAILER_LENGTH > self.size:
            return broken("the segment ends before the record", header, stored)
        crc = record.decode_trailer(self._read(data_end, record.TRAILER_LENGTH), self._nonce, header)
        if crc is None:
            return broken("the trailer is broken or missing", header, stored)
        if self._crc(offset + header.data_offset, data_end) != crc:
            return broken("the data set does not fit its checksum", header, stored)
        return FoundRecord(offset=offset, header=header, stored=stored, data_crc=crc)

    def _read(self, offset: int, length: int) -> bytes:
        at = offset - self._start
        if at < 0 or at + length > len(self._window):
            self._window = self._files.read(self._fd, max(length, _WINDOW), offset)
            self._start, at = offset, 0
        return self._window[at : at + length]

    def _crc(self, offset: int, end: int) -> int:
        crc = 0
        while offset < end:
            piece = self._read(offset, min(_WINDOW, end - offset))
            if not piece:
                break
            crc = crc32(piece, crc)
            offset += len(piece)
        return crc

    def _next_header(self, offset: int) -> int:
        """Find the next readable header of this segment; the end of the file if there is none.

        The nonce tells it from the image of a header inside a data set.
        """
        while (offset := self._find(record.RECORD_MAGIC + self._nonce, offset)) < self.size:
            if record.decode_header(self._read(offset, record.HEADER_LENGTH), self._nonce) is not None:
                break
            offset += 1
        return offset

    def _find(self, marker: bytes, offset: int) -> int:
        """Find these bytes; the end of the file if they are not there."""
        while offset < self.size:
            piece = self._files.read(self._fd, _WINDOW, offset)
            at = piece.find(marker)
            if at >= 0:
                return offset + at
            offset += max(len(piece) - len(marker) + 1, 1)
        return self.size

    def _without_zeros(self, offset: int, end: int) -> int:
        """Return the end of a range without the zeros at its end."""
        while end > offset:
            start = max(offset, end - _WINDOW)
            piece = self._files.read(self._fd, end - start, start).rstrip(b"\0")
            if piece:
                return start + len(piece)
            end = start
        return offset
