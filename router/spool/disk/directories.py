"""The spool's directories, and the stored bytes in them.

Used from several threads; holds no state but descriptors. All calls block. Not here: reading for a delivery
(stored_message.py), and what the bytes mean (record.py).
"""

import contextlib
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Self

from attrs import frozen

from router.spool.disk.counters import Counters, CountersFile
from router.spool.disk.filesystem import FileSystem
from router.spool.disk.record import TRAILER_LENGTH
from router.spool.disk.reserve import Reserve
from router.spool.disk.segments import segment_name
from router.spool.errors import DamagedMessage, SpoolLocked, SpoolUnusable
from router.spool.values import Place

PIECE = 1 << 20
"""Bytes of one read."""


@frozen(kw_only=True)
class Directories:
    """The open directories of one spool."""

    files: FileSystem
    path: Path
    root: int
    segments: int
    spare: int
    large: int
    damaged: int
    lock: int
    counters: Counters
    counters_file: CountersFile
    reserve: Reserve

    @classmethod
    def open(cls, path: Path, files: FileSystem, reserve: int) -> Self:
        """Create what is missing, and lock the spool. `reserve`: the length of the reserve, in bytes.

        Raises:
            SpoolLocked: another process uses it.
            SpoolUnusable: a directory cannot be used.
        """
        path = path.resolve()
        opened: list[int] = []

        def kept(fd: int) -> int:
            opened.append(fd)
            return fd

        try:
            root = kept(files.directory(path))
            lock, holder = files.lock(root, "lock", f"{os.getpid()}\n".encode())
            kept(lock)
            if holder is not None:
                by = holder.decode("ascii", "replace").strip() or "unknown"
                raise SpoolLocked(f"the spool {path} is in use by another router (process {by})")
            counters = Counters()
            spare = kept(files.directory(path / "spare"))
            for name in files.names(spare):  # the first room that a full disk gets back
                files.remove(spare, name)
            return cls(
                files=files,
                counters=counters,
                counters_file=CountersFile(files, root, counters),
                path=path,
                root=root,
                lock=lock,
                segments=kept(files.directory(path / "segments")),
                spare=spare,
                large=kept(files.directory(path / "large")),
                damaged=kept(files.directory(path / "damaged")),
                reserve=Reserve(files, root, reserve),
            )
        except OSError as error:
            cls._close_all(files, opened)
            raise SpoolUnusable(f"{error.filename or path} cannot be used for a spool: {error.strerror}") from error
        except BaseException:
            cls._close_all(files, opened)
            raise

    def close(self) -> None:
        """Close everything, the lock last."""
        self.reserve.close()
        self._close_all(self.files, [self.segments, self.spare, self.large, self.damaged, self.root, self.lock])

    @staticmethod
    def _close_all(files: FileSystem, descriptors: list[int]) -> None:
        for fd in descriptors:
            with contextlib.suppress(OSError):
                files.close(fd)

    @property
    def ledger(self) -> Path:
        return self.path / "ledger.sqlite"

    @contextlib.contextmanager
    def segment(self, number: int) -> Iterator[int]:
        """Open a segment for reading."""
        fd = self.files.open(self.segments, segment_name(number))
        try:
            yield fd
        finally:
            self.files.close(fd)

    def pieces(self, place: Place) -> Iterator[bytes]:
        """Read the data set of a message in pieces.

        Raises:
            DamagedMessage: there are fewer bytes than there should be.
        """
        if place.file:
            fd, offset = self.files.open(self.large, place.file), 0
        else:
            fd = self.files.open(self.segments, segment_name(place.segment))
            # the length of the envelope before it is not known: measured from the end
            offset = place.offset + place.length - TRAILER_LENGTH - place.data_length
        try:
            yield from self._read(fd, offset, place.data_length)
        finally:
            self.files.close(fd)

    def raw(self, place: Place) -> bytes:
        """Read a whole record from its segment."""
        with self.segment(place.segment) as fd:
            return b"".join(self._read(fd, place.offset, place.length))

    def _read(self, fd: int, offset: int, length: int) -> Iterator[bytes]:
        end = offset + length
        while offset < end:
            piece = self.files.read(fd, min(PIECE, end - offset), offset)
            if not piece:
                raise DamagedMessage("the stored bytes end too early")
            offset += len(piece)
            yield piece

    def set_aside(self, fd: int, offset: int, length: int, name: str) -> Path:
        """Copy bytes to a file in `damaged/`, durably. A copy from an earlier start is replaced."""
        with contextlib.suppress(FileNotFoundError):
            self.files.remove(self.damaged, name)
        target = self.files.create(self.damaged, name)
        try:
            at = 0
            while at < length:
                piece = self.files.read(fd, min(PIECE, length - at), offset + at)
                if not piece:
                    break
                self.files.write(target, [piece], at)
                at += len(piece)
            self.files.sync(target)
        except OSError:
            with contextlib.suppress(OSError):
                self.files.remove(self.damaged, name)
            raise
        finally:
            self.files.close(target)
        self.files.sync_directory(self.damaged)
        return self.path / "damaged" / name
