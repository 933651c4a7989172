"""A file system in memory that loses power at any call, and then has forgotten what was not synced.

What a real one may do after a power cut, this one does: each write since a file's last sync is there, or not, or
torn; each change of a directory since its last sync is there or not, in whatever order. SQLite is taken at its word:
of the ledger's transactions, those up to some point at or after the last durable one are there.
"""

import contextlib
import errno
import os
import random
import sqlite3
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

from attrs import define, field

from router.spool.disk.filesystem import FileSystem


class PowerCut(BaseException):
    """The machine is off. Nothing may catch it and go on."""


@define(eq=False)
class File:
    content: bytearray = field(factory=bytearray)
    durable: bytearray = field(factory=bytearray)
    pending: list[Callable[[bytearray], None]] = field(factory=list)
    """Changes since the last sync."""

    def change(self, *changes: Callable[[bytearray], None]) -> None:
        for one in changes:
            one(self.content)
            self.pending.append(one)

    def sync(self) -> None:
        self.durable = bytearray(self.content)
        self.pending = []

    def lose(self, chance: random.Random) -> None:
        for one in self.pending:
            if chance.random() < 0.5:
                one(self.durable)
        self.content = bytearray(self.durable)
        self.pending = []


@define(eq=False)
class Directory:
    entries: dict[str, File] = field(factory=dict)
    durable: dict[str, File] = field(factory=dict)

    def sync(self) -> None:
        self.durable = dict(self.entries)

    def lose(self, chance: random.Random) -> None:
        for name in dict.fromkeys([*self.durable, *self.entries]):
            new, old = self.entries.get(name), self.durable.get(name)
            kept = new if chance.random() < 0.5 else old
            if kept is None:
                self.entries.pop(name, None)
            else:
                self.entries[name] = kept
        self.sync()


def _put(data: bytes, offset: int) -> Callable[[bytearray], None]:
    def change(content: bytearray) -> None:
        if len(content) < offset:
            content.extend(bytes(offset - len(content)))
        content[offset : offset + len(data)] = data

    return change


def _resize(length: int, *, only_grow: bool) -> Callable[[bytearray], None]:
    def change(content: bytearray) -> None:
        if len(content) < length:
            content.extend(bytes(length - len(content)))
        elif not only_grow:
            del content[length:]

    return change


class LedgerConnection(sqlite3.Connection):
    """A database in memory whose committed states the file system remembers."""

    disk: "FragileFiles"
    durable = False

    def execute(self, sql: str, parameters: Any = (), /) -> sqlite3.Cursor:
        if sql.startswith("PRAGMA synchronous"):
            self.durable = sql.endswith("FULL")
        return super().execute(sql, parameters)

    def commit(self) -> None:
        self.disk.step("commit")
        super().commit()
        self.disk.ledger_states.append(self.serialize())
        if self.durable:
            self.disk.ledger_states = self.disk.ledger_states[-1:]
        self.disk.step("committed")


class FragileFiles(FileSystem):
    """All calls of `FileSystem`, on memory. `fails` is asked before each of them."""

    def __init__(self) -> None:
        self.directories: dict[str, Directory] = {}
        self.ledger_states: list[bytes | None] = [None]
        self.steps = 0
        self.calls: list[str] = []
        self.cut_after: int | None = None
        """How many calls are done before the power goes."""
        self.fails: Callable[[str], OSError | sqlite3.Error | None] = lambda call: None
        self.space = 1 << 40
        self._open: dict[int, File | Directory] = {}
        self._next = 1000

    def step(self, call: str) -> None:
        if self.cut_after is not None and self.steps >= self.cut_after:
            raise PowerCut
        self.steps += 1
        self.calls.append(call)
        error = self.fails(call)
        if error is not None:
            raise error

    def power_on(self, seed: int) -> None:
        """After a cut: what was not synced is lost, or not, as the seed will have it."""
        chance = random.Random(seed)
        self._open.clear()
        for path in sorted(self.directories):
            directory = self.directories[path]
            directory.lose(chance)
            for file in directory.entries.values():
                file.lose(chance)
        kept = self.ledger_states[chance.randrange(len(self.ledger_states))]
        self.ledger_states = [kept]
        self.steps, self.cut_after, self.calls = 0, None, []

    def files_in(self, name: str) -> dict[str, File]:
        """By name, of the directory whose path ends so."""
        (found,) = [d for path, d in self.directories.items() if path.endswith(name)]
        return found.entries

    @property
    def open_files(self) -> int:
        return sum(isinstance(thing, File) for thing in self._open.values())

    def _opened(self, thing: File | Directory) -> int:
        self._next += 1
        self._open[self._next] = thing
        return self._next

    def _directory(self, fd: int) -> Directory:
        thing = self._open[fd]
        assert isinstance(thing, Directory)
        return thing

    def _file(self, fd: int) -> File:
        thing = self._open[fd]
        assert isinstance(thing, File)
        return thing

    # FileSystem.

    def directory(self, path: Path) -> int:
        self.step("directory")
        return self._opened(self.directories.setdefault(str(path), Directory()))

    def names(self, directory: int) -> list[str]:
        self.step("names")
        here = self._directory(directory)
        names = list(here.entries)
        if here is self.directories.get("/spool") and self.ledger_states[-1] is not None:
            names.append("ledger.sqlite")
        return names

    def is_regular(self, directory: int, name: str) -> bool:
        return True

    def create(self, directory: int, name: str) -> int:
        self.step("create")
        entries = self._directory(directory).entries
        if name in entries:
            raise FileExistsError(errno.EEXIST, "exists", name)
        entries[name] = File()
        return self._opened(entries[name])

    def open(self, directory: int, name: str, *, write: bool = False) -> int:
        self.step("open")
        entries = self._directory(directory).entries
        if name not in entries:
            raise FileNotFoundError(errno.ENOENT, "not there", name)
        return self._opened(entries[name])

    def lock(self, directory: int, name: str, owner: bytes) -> tuple[int, bytes | None]:
        self.step("lock")
        return self._opened(File()), None

    def allocate(self, fd: int, length: int) -> None:
        self.step("allocate")
        self._file(fd).change(_resize(length, only_grow=True))

    def write(self, fd: int, buffers: Sequence[bytes | bytearray | memoryview], offset: int) -> None:
        data = b"".join(buffers)
        pieces = [(data[at : at + 512], offset + at) for at in range(0, len(data), 512)]
        half = pieces[: len(pieces) // 2]
        self._file(fd).change(*(_put(piece, at) for piece, at in half))
        self.step("write")
        self._file(fd).change(*(_put(piece, at) for piece, at in pieces[len(half) :]))

    def read(self, fd: int, length: int, offset: int) -> bytes:
        self.step("read")
        return bytes(self._file(fd).content[offset : offset + length])

    def read_into(self, fd: int, buffer: memoryview, offset: int, *, patient: bool = True) -> int:
        if not patient:
            raise BlockingIOError
        data = self.read(fd, len(buffer), offset)
        buffer[: len(data)] = data
        return len(data)

    @contextlib.contextmanager
    def mapped(self, fd: int, length: int) -> Iterator[memoryview]:
        self.step("mapped")
        yield memoryview(bytes(self._file(fd).content[:length]))

    def size(self, fd: int) -> int:
        self.step("size")
        return len(self._file(fd).content)

    def truncate(self, fd: int, length: int) -> None:
        self.step("truncate")
        self._file(fd).change(_resize(length, only_grow=False))

    def sync(self, fd: int) -> None:
        self.step("sync")
        self._file(fd).sync()

    def sync_directory(self, directory: int) -> None:
        self.step("sync_directory")
        self._directory(directory).sync()

    def remove(self, directory: int, name: str) -> None:
        self.step("remove")
        entries = self._directory(directory).entries
        if name not in entries:
            raise FileNotFoundError(errno.ENOENT, "not there", name)
        del entries[name]

    remove_large = remove

    def move(self, directory: int, name: str, target: int, new_name: str) -> None:
        self.step("move")
        if name.startswith("ledger.sqlite"):
            self.ledger_states = [None]
            return
        self._directory(target).entries[new_name] = self._directory(directory).entries.pop(name)

    def close(self, fd: int) -> None:
        self._open.pop(fd, None)

    def free(self, directory: int) -> int:
        return self.space

    def connect(self, path: Path) -> sqlite3.Connection:
        self.step("connect")
        connection = sqlite3.connect(
            ":memory:", isolation_level=None, check_same_thread=False, factory=LedgerConnection
        )
        connection.disk = self
        state = self.ledger_states[-1]
        if state is not None:
            connection.deserialize(state)
        return connection


def full() -> OSError:
    return OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))


def ledger_full() -> sqlite3.Error:
    error = sqlite3.OperationalError("database or disk is full")
    error.sqlite_errorcode = sqlite3.SQLITE_FULL
    return error


def broken() -> OSError:
    return OSError(errno.EIO, os.strerror(errno.EIO))
