"""Open the file of the services' state at a start, or set it aside and create a new one.

It is better to forget a transaction than not to start: a file that SQLite finds corrupt, now or while the last router
ran, is moved to `damaged/` with all that belongs to it, and so is a symbolic link, which is never followed. A file that
cannot be opened for another reason is left alone, and the start fails. Not here: its content (state_store.py).
"""

import os
import sqlite3
import stat
from collections.abc import Iterator
from contextlib import closing, contextmanager
from itertools import count
from pathlib import Path
from typing import Final

import structlog

from router.spool import SpoolUnusable
from router.spool.disk.filesystem import describe_error
from router.spool.ledger.database import WAL_KEPT

NAME: Final = "state.sqlite"
_MARK: Final = "state.corrupt"
"""Created when SQLite finds the state corrupt while a router runs: the next start sets it aside."""
_PARTS: Final = ("-wal", "-shm", "-journal", "")
"""Suffixes of SQLite's files of a database. The database itself is moved last: while it is there, setting aside is not
complete."""
_CORRUPT: Final = frozenset({sqlite3.SQLITE_CORRUPT, sqlite3.SQLITE_NOTADB})
_PATIENCE: Final = 5.0
"""Seconds that a change waits for another program's lock; SQLite tries again at growing intervals."""

log = structlog.get_logger()

Connections = tuple[sqlite3.Connection, sqlite3.Connection, sqlite3.Connection]


def open_state(folder: Path) -> Connections:
    """Open the state three times: to change it, to read it in a worker's thread, and to read it in the event loop's.

    Raises:
        SpoolUnusable: it can neither be opened nor set aside.
    """
    with _translated(folder):
        why = _fault(folder)
        if why:
            set_aside(folder, why)
        try:
            return _connect(folder)
        except sqlite3.DatabaseError as error:
            if not is_corrupt(error):
                raise
            set_aside(folder, str(error))
            return _connect(folder)


def look_into(folder: Path) -> "closing[sqlite3.Connection]":
    """Open the state of a router that does not run, for reading."""
    return closing(sqlite3.connect(f"{(folder / NAME).resolve().as_uri()}?mode=ro", uri=True))


def is_corrupt(error: sqlite3.Error) -> bool:
    return getattr(error, "sqlite_errorcode", 0) & 0xFF in _CORRUPT


def mark_corrupt(folder: Path) -> None:
    """Mark the state, so that the next start sets it aside.

    Raises:
        OSError: the disk takes no new file.
    """
    os.close(os.open(folder / _MARK, os.O_WRONLY | os.O_CREAT | os.O_NOFOLLOW | os.O_CLOEXEC, 0o600))
    _sync(folder)


def set_aside(folder: Path, why: str) -> None:
    """Move the state, and what belongs to it, to `damaged/`. If that is cut short, the next start goes on.

    Raises:
        OSError: it cannot be moved.
    """
    mark_corrupt(folder)
    damaged = folder / "damaged"
    damaged.mkdir(mode=0o700, exist_ok=True)
    copy = next(path for n in count(1) if not os.path.lexists(path := damaged / f"state-{n}.sqlite"))
    for part in _PARTS:
        if os.path.lexists(folder / f"{NAME}{part}"):
            os.rename(folder / f"{NAME}{part}", f"{copy}{part}")
    _sync(damaged)
    (folder / _MARK).unlink()
    _sync(folder)
    log.error("the services' state is set aside and begins empty", why=why, copy=str(copy))


def _fault(folder: Path) -> str:
    """Return why the state must be set aside before it is opened; empty if it need not be."""
    if os.path.lexists(folder / _MARK):
        return "SQLite found it corrupt while the router ran"
    for part in _PARTS:
        path = folder / f"{NAME}{part}"
        if os.path.lexists(path) and stat.S_ISLNK(path.lstat().st_mode):
            return f"{path.name} was a symbolic link"
    return ""


def _connect(folder: Path) -> Connections:
    path = folder / NAME
    os.close(os.open(path, os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW | os.O_CLOEXEC, 0o600))
    opened: list[sqlite3.Connection] = []
    try:
        for patience in (_PATIENCE, _PATIENCE, 0.0):
            connection = sqlite3.connect(path, timeout=patience, isolation_level=None, check_same_thread=False)
            opened.append(connection)
            connection.execute("PRAGMA journal_mode = WAL")
            connection.execute("PRAGMA synchronous = FULL")
            connection.execute(f"PRAGMA journal_size_limit = {WAL_KEPT}")
        (found,) = opened[0].execute("PRAGMA quick_check(1)").fetchone()
        if found != "ok":
            error = sqlite3.DatabaseError(found)
            error.sqlite_errorcode = sqlite3.SQLITE_CORRUPT
            raise error
    except BaseException:
        for connection in opened:
            connection.close()
        raise
    return opened[0], opened[1], opened[2]


@contextmanager
def _translated(folder: Path) -> Iterator[None]:
    try:
        yield
    except (OSError, sqlite3.Error) as error:
        reason = error.strerror if isinstance(error, OSError) else describe_error(error)
        raise SpoolUnusable(f"{folder / NAME} cannot be opened: {reason}") from error


def _sync(folder: Path) -> None:
    fd = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        os.fsync(fd)
    finally:
        os.close(fd)
