"""The directory `large/`: a file for each data set that is not in a segment.

All calls block. Not here: what is written to the files, and when (incoming.py).
"""

import contextlib
import secrets
from collections.abc import Callable

from router.spool.disk.filesystem import FileSystem, is_no_room
from router.spool.disk.reserve import Reserve
from router.spool.errors import OutOfSpace, SpoolFailure


class LargeFiles:
    """The directory, and what its files share."""

    def __init__(
        self, files: FileSystem, directory: int, failed: Callable[[SpoolFailure], None], reserve: Reserve
    ) -> None:
        self.files = files
        self.directory = directory
        self.reserve = reserve
        self.in_use: set[str] = set()
        """Names of files that no record names yet."""
        self._failed = failed

    def create(self) -> tuple[str, int]:
        name = secrets.token_hex(16)
        self.in_use.add(name)
        try:
            return name, self.files.create(self.directory, name)
        except OSError:
            self.in_use.discard(name)
            raise

    def remove(self, name: str) -> None:
        with contextlib.suppress(FileNotFoundError):
            self.files.remove(self.directory, name)
        self.in_use.discard(name)

    def translate(self, error: OSError) -> OutOfSpace | SpoolFailure:
        """Return what a failed write or sync means to the caller; a failure of the disk also ends the writer."""
        if is_no_room(error):
            return OutOfSpace(f"no room for a large data set: {error.strerror}")
        failure = SpoolFailure(f"writing a large data set failed: {error}")
        self._failed(failure)
        return failure
