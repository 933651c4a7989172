"""The reserve: room on the disk that no other program can take, for what empties the spool.

At 0 bytes free nothing can be freed: the ledger must first write down what is finished, the router must ask for
commitments, and their reports must be written down. Two things are prepared for that, for as long as the disk has
room. The databases hold pages that nothing uses, and their logs are as long: transactions that find room there need
no new block, however often another program fills the disk. And the file `reserve` in the spool's folder, which holds
no data, has blocks for what needs new ones: if such a write finds the disk full, a sixteenth of the file is released
and the write is tried again. Once there is room above the floor again, the file gets its full length back. Not
here: what is accepted below the floor (intake.py).
"""

import contextlib
import sqlite3
import threading

import structlog

from router.spool.disk.filesystem import FileSystem, is_disk_full, is_no_room

NAME = "reserve"

_PARTS = 16
_SMALLEST_PART = 1 << 20
_OF_A_DATABASE = 8
"""A database and its log each hold the length of the file divided by this."""
_MOST_OF_A_DATABASE = 8 << 20
"""Bytes that each holds at most: SQLite overwrites the log after 4 MiB."""

log = structlog.get_logger("router.spool")


def keep_room_in(connection: sqlite3.Connection, reserve: int) -> None:
    """Have SQLite allocate free pages in a database, and as much in its write-ahead log.

    SQLite uses free pages before it makes the file longer. It overwrites the log from its beginning after each
    checkpoint, and does not shorten it until the database is closed. An error is ignored: the next change of the
    database meets it too.
    """
    with contextlib.suppress(sqlite3.Error):
        connection.execute("DROP TABLE IF EXISTS room")
        if size := min(reserve // _OF_A_DATABASE, _MOST_OF_A_DATABASE):
            connection.execute("CREATE TABLE room AS SELECT zeroblob(?) AS bytes", (size,))
            connection.execute("DROP TABLE room")


class Reserve:
    """The file. `relieve` may be called from any thread; the rest: writer thread only."""

    def __init__(self, files: FileSystem, directory: int, size: int) -> None:
        """Open the file that an earlier run has left, cut to `size` bytes; release a part at once if the disk is full.

        Raises:
            OSError: it is a symbolic link or cannot be opened.
        """
        self._files = files
        self._directory = directory
        self._size = size
        self._part = max(size // _PARTS, _SMALLEST_PART)
        self._lock = threading.Lock()
        self._fd: int | None = None
        self.left = 0
        """Its length now, in bytes."""
        with contextlib.suppress(FileNotFoundError):
            self._fd = files.open(directory, NAME, write=True)
            self.left = files.size(self._fd)
            if self.left > size:
                self._cut(size)
        self._release_part()

    def close(self) -> None:
        if self._fd is not None:
            self._files.close(self._fd)
            self._fd = None

    @property
    def is_short(self) -> bool:
        """Whether a part was released, or the file was never created."""
        return self.left < self._size

    def relieve(self, error: BaseException) -> bool:
        """Release a part if the error says that the disk is full; return whether to try again what failed."""
        return is_disk_full(error) and self._release_part()

    def restore(self, room: int) -> None:
        """Bring the file to its full length, unless that takes more than `room` bytes or the disk has fewer."""
        if not self.is_short or self._size - self.left > room:
            return
        with self._lock:
            try:
                if self._fd is None:
                    self._fd = self._files.create(self._directory, NAME)
                self._files.allocate(self._fd, self._size)
            except OSError as error:
                if not is_no_room(error):
                    raise
                if self._fd is not None:
                    self._cut(self.left)
                return
            self.left = self._size

    def _release_part(self) -> bool:
        """Release a part, unless as much is free already: then something else is full."""
        with self._lock:
            if not self.left or self._files.free(self._directory) >= self._part:
                return False
            try:
                self._cut(max(0, self.left - self._part))
            except OSError as error:
                if is_no_room(error):  # some file systems need room to make a file shorter
                    return False
                raise
        log.warning("the disk is full: a part of the spool's reserve is given back", bytes_left=self.left)
        return True

    def _cut(self, length: int) -> None:
        assert self._fd is not None
        self._files.truncate(self._fd, length)
        self.left = length
