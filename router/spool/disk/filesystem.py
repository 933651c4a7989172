"""The calls of the spool to the operating system, in one object.

`REAL` makes them. Tests use a file system that crashes at any call and forgets what was not synced, so the spool uses
files through this object alone. Directories and files are descriptors; a name is
one component, made by the spool and never by the network, and a symbolic link is never followed.
"""

import contextlib
import errno
import fcntl
import mmap
import os
import sqlite3
import stat
import threading
from collections.abc import Iterator, Sequence
from pathlib import Path

_DISK_FULL = frozenset({errno.ENOSPC, errno.EDQUOT})
_NO_ROOM = _DISK_FULL | {errno.EMFILE, errno.ENFILE}

_LOCKED = frozenset({sqlite3.SQLITE_BUSY, sqlite3.SQLITE_LOCKED})
_MOST_BUFFERS = 1024  # IOV_MAX on Linux
_FLAGS = os.O_CLOEXEC | os.O_NOFOLLOW


def is_no_room(error: BaseException) -> bool:
    """Return whether the disk, or the owner's quota, is full, or no more files can be open. It will pass."""
    return is_disk_full(error) or (isinstance(error, OSError) and error.errno in _NO_ROOM)


def is_disk_full(error: BaseException) -> bool:
    """Return whether the disk is full. SQLite has a separate code for a shared-memory file that cannot grow."""
    if isinstance(error, sqlite3.Error):
        code = getattr(error, "sqlite_errorcode", 0)
        return code & 0xFF == sqlite3.SQLITE_FULL or code == sqlite3.SQLITE_IOERR_SHMSIZE
    return isinstance(error, OSError) and error.errno in _DISK_FULL


def is_locked(error: BaseException) -> bool:
    """Return whether another program holds a lock on a database: it will end."""
    return isinstance(error, sqlite3.Error) and getattr(error, "sqlite_errorcode", 0) & 0xFF in _LOCKED


def is_for_now(error: BaseException) -> bool:
    """Return whether to try again later."""
    return is_no_room(error) or is_locked(error)


def describe_error(error: OSError | sqlite3.Error) -> str:
    """Return what an error says, and what to do about it if that is known."""
    return "the disk is full: make room on it and start again" if is_disk_full(error) else str(error)


class FileSystem:
    """Each method is one call, or the loop that a partial write needs."""

    def directory(self, path: Path) -> int:
        """Open a directory; create it with mode 0700 if it is missing, and sync its parent then."""
        with contextlib.suppress(FileExistsError):
            path.mkdir(mode=0o700)
            parent = os.open(path.parent, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
            try:
                os.fsync(parent)
            finally:
                os.close(parent)
        return os.open(path, os.O_RDONLY | os.O_DIRECTORY | _FLAGS)

    def names(self, directory: int) -> list[str]:
        return os.listdir(directory)

    def is_regular(self, directory: int, name: str) -> bool:
        return stat.S_ISREG(os.stat(name, dir_fd=directory, follow_symlinks=False).st_mode)

    def create(self, directory: int, name: str) -> int:
        """Create a file.

        Raises:
            FileExistsError: the name is in use, be it by a dangling link.
        """
        return os.open(name, os.O_RDWR | os.O_CREAT | os.O_EXCL | _FLAGS, 0o600, dir_fd=directory)

    def open(self, directory: int, name: str, *, write: bool = False) -> int:
        return os.open(name, (os.O_RDWR if write else os.O_RDONLY) | _FLAGS, dir_fd=directory)

    def lock(self, directory: int, name: str, owner: bytes) -> tuple[int, bytes | None]:
        """Lock a file for as long as its descriptor is open.

        Returns the descriptor, and None if the lock was obtained, else what its holder wrote.
        """
        fd = os.open(name, os.O_RDWR | os.O_CREAT | _FLAGS, 0o600, dir_fd=directory)
        try:
            fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            return fd, os.pread(fd, 64, 0)
        os.ftruncate(fd, 0)
        with contextlib.suppress(OSError):  # a full disk takes no name; the lock holds without
            os.pwrite(fd, owner, 0)
        return fd, None

    def allocate(self, fd: int, length: int) -> None:
        os.posix_fallocate(fd, 0, length)

    def write(self, fd: int, buffers: Sequence[bytes | bytearray | memoryview], offset: int) -> None:
        """Write all of the buffers, one after the other."""
        left: list[bytes | bytearray | memoryview] = list(buffers)
        start = 0
        while start < len(left):
            some = left[start : start + _MOST_BUFFERS]
            done = os.pwritev(fd, some, offset)
            offset += done
            for buffer in some:
                if done < len(buffer):
                    break
                done -= len(buffer)
                start += 1
            if done:
                left[start] = memoryview(left[start])[done:]

    def read(self, fd: int, length: int, offset: int) -> bytes:
        """Read up to `length` bytes; fewer only at the end of the file. `length` is below 2 GiB."""
        return os.pread(fd, length, offset)

    def read_into(self, fd: int, buffer: memoryview, offset: int, *, patient: bool = True) -> int:
        """Read into a buffer, and return how many bytes were read.

        Raises:
            BlockingIOError: not `patient`, and the bytes are not in the page cache.
            OSError: the disk failed; or not `patient`, and the kernel cannot tell.
        """
        return os.preadv(fd, [buffer], offset, 0 if patient else os.RWF_NOWAIT)

    @contextlib.contextmanager
    def mapped(self, fd: int, length: int) -> Iterator[memoryview]:
        """Map the first `length` bytes, more than 0, of a file; they are paged in when they are read."""
        with mmap.mmap(fd, length, access=mmap.ACCESS_READ) as area, memoryview(area) as view:
            yield view

    def size(self, fd: int) -> int:
        return os.fstat(fd).st_size

    def truncate(self, fd: int, length: int) -> None:
        os.ftruncate(fd, length)

    def sync(self, fd: int) -> None:
        os.fdatasync(fd)

    def sync_directory(self, directory: int) -> None:
        os.fsync(directory)

    def remove(self, directory: int, name: str) -> None:
        os.unlink(name, dir_fd=directory)

    def remove_large(self, directory: int, name: str) -> None:
        """Remove a file of many blocks.

        Its name is gone on return. The kernel takes tens of milliseconds to free the blocks when the last descriptor
        is closed, so another thread closes that.
        """
        try:
            last = os.open(name, os.O_RDONLY | _FLAGS, dir_fd=directory)
        except OSError:  # no descriptor to be had, or nothing to remove
            self.remove(directory, name)
            return
        try:
            self.remove(directory, name)
        finally:
            threading.Thread(target=os.close, args=(last,), name="spool remover").start()

    def move(self, directory: int, name: str, target: int, new_name: str) -> None:
        os.rename(name, new_name, src_dir_fd=directory, dst_dir_fd=target)

    def close(self, fd: int) -> None:
        os.close(fd)

    def free(self, directory: int) -> int:
        """Return the bytes that this process may still write on the file system of the directory."""
        status = os.fstatvfs(directory)
        return status.f_bavail * status.f_frsize

    def connect(self, path: Path) -> sqlite3.Connection:
        """Open a database; create it with mode 0600 if it is missing. Transactions are explicit."""
        os.close(os.open(path, os.O_RDWR | os.O_CREAT | _FLAGS, 0o600))
        return sqlite3.connect(path, isolation_level=None, check_same_thread=False)


REAL = FileSystem()
