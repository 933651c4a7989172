"""Write log lines to a stream from one thread, so that the stream can neither stop nor end the router.

`put` never waits for the stream and never raises because of it. Lines wait in a queue of `CAPACITY` characters; while
the queue is full, or when a write fails, lines are dropped and counted, and the next write that works begins with a
line that says how many. Not here: how a line is rendered (`logs`).
"""

import os
import select
import threading
from collections.abc import Callable
from typing import Final, TextIO

CAPACITY: Final = 4 << 20
"""Characters that wait to be written, some 10,000 lines; as many again may be in the write under way."""
EXIT_PATIENCE: Final = 2.0
"""Seconds that `close` waits for a reader."""
_GATHER: Final = 0.01
"""Seconds of rest between two writes: at 5,000 lines a second the thread wakes 100 times, not 5,000."""


class LogWriter:
    """One stream, its queue and its thread, which starts with the first line."""

    def __init__(self, stream: TextIO, notice: Callable[[int], str], *, capacity: int = CAPACITY) -> None:
        """Write to the file descriptor of `stream` if it has one; `notice` renders a count of dropped lines."""
        self._write = _writer_of(stream)
        self._notice = notice
        self._capacity = capacity
        self._changed = threading.Condition()
        self._closing = threading.Event()
        self._thread: threading.Thread | None = None
        self._lines: list[str] = []
        self._characters = 0
        self._untold = 0
        """Dropped lines that no written line has reported."""
        self._works = True
        """Whether the last write succeeded."""
        self._torn = False
        """Whether the last write broke off within a line."""
        self.dropped = 0
        """Lines dropped since the start."""

    def put(self, line: str) -> None:
        """Queue one line, given without its line end. Return at once."""
        with self._changed:
            if self._closing.is_set() or self._characters + len(line) > self._capacity or not self._is_started():
                self._drop(1)
                return
            self._lines.append(line)
            self._characters += len(line)
            self._changed.notify()

    def close(self, patience: float = EXIT_PATIENCE) -> None:
        """Write what is queued for at most `patience` seconds, and stop. Later lines are dropped."""
        with self._changed:
            if self._closing.is_set():
                return
            self._closing.set()
            self._changed.notify()
        if self._thread is not None:
            self._thread.join(patience)

    def _is_started(self) -> bool:
        if self._thread is None:
            thread = threading.Thread(target=self._run, name="log writer", daemon=True)
            try:
                thread.start()
            except RuntimeError:  # no more threads: the next line tries again
                return False
            self._thread = thread
        return True

    def _drop(self, count: int) -> None:
        self.dropped += count
        self._untold += count

    # The thread

    def _run(self) -> None:
        while self._wait():
            self._write_batch()
            self._closing.wait(_GATHER)

    def _wait(self) -> bool:
        """Wait for something to write. Return False when closed and nothing is left."""
        with self._changed:
            while not self._lines and not (self._untold and self._works):
                if self._closing.is_set():
                    return False
                self._changed.wait()
        return True

    def _write_batch(self) -> None:
        with self._changed:
            lines, self._lines, self._characters = self._lines, [], 0
            told = self._untold
        notices = [self._notice(told)] if told else []
        encoded = [f"{line}\n".encode(errors="backslashreplace") for line in notices + lines]
        if self._torn:
            encoded[0] = b"\n" + encoded[0]
        size = sum(map(len, encoded))
        sent = self._write(b"".join(encoded))
        whole = _whole(encoded, sent)
        with self._changed:
            self._works = sent == size
            self._torn = sent != sum(map(len, encoded[:whole])) or (self._torn and not sent)
            if whole:
                self._untold -= told
            self._drop(len(encoded) - max(whole, len(notices)))


def _whole(encoded: list[bytes], sent: int) -> int:
    """Return how many lines lie within the first `sent` bytes."""
    count = end = 0
    for line in encoded:
        end += len(line)
        if end > sent:
            break
        count += 1
    return count


def _writer_of(stream: TextIO) -> Callable[[bytes], int]:
    """Return a function that writes bytes and returns how many were written before an error, if any."""
    try:
        stream.flush()
        fd = stream.fileno()
    except (OSError, ValueError, AttributeError):
        return lambda data: _write_text(stream, data)
    return lambda data: _write_fd(fd, data)


def _write_fd(fd: int, data: bytes) -> int:
    rest = memoryview(data)
    while rest:
        try:
            rest = rest[os.write(fd, rest) :]
        except BlockingIOError:  # another process made the pipe non-blocking
            poll = select.poll()
            poll.register(fd, select.POLLOUT)
            poll.poll()
        except OSError:
            break
    return len(data) - len(rest)


def _write_text(stream: TextIO, data: bytes) -> int:
    try:
        stream.write(data.decode())
        stream.flush()
    except (OSError, ValueError):
        return 0
    return len(data)
