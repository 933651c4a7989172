"""Starting and ending the processes of a measurement. Each is a context manager on a free loopback port."""

import json
import os
import selectors
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Self

from benchmarks.peers.archive import HOST, Arrival
from tests.interop.router_process import write_toml

PATIENCE = 30.0
"""Seconds for a process to start, and to end."""


class Launched:
    """A module of `benchmarks.peers` that prints its port first, and ends when its standard input does."""

    def __init__(self, module: str, *arguments: object) -> None:
        self._command = [sys.executable, "-m", f"benchmarks.peers.{module}", *map(str, arguments)]

    def __enter__(self) -> Self:
        self._process = subprocess.Popen(self._command, stdin=subprocess.PIPE, stdout=subprocess.PIPE)
        self.port = int(self._line(PATIENCE))
        return self

    def __exit__(self, *exc: object) -> None:
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        self._process.stdin.close()
        try:
            self._process.wait(PATIENCE)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()
        self._process.stdout.close()

    @property
    def address(self) -> str:
        return f"{HOST}:{self.port}"

    def _ask(self, line: str, seconds: float) -> str:
        assert self._process.stdin is not None
        self._process.stdin.write(line.encode() + b"\n")
        self._process.stdin.flush()
        return self._line(seconds)

    def _line(self, seconds: float) -> str:
        """The next line that it prints; TimeoutError where there is none."""
        assert self._process.stdout is not None
        with selectors.DefaultSelector() as selector:
            selector.register(self._process.stdout, selectors.EVENT_READ)
            if not selector.select(seconds):
                raise TimeoutError(f"{self._command[2]} said nothing for {seconds} s")
        return self._process.stdout.readline().decode()


class ArchiveProcess(Launched):
    """`benchmarks.peers.archive` in a process of its own."""

    ae_title = "ARCHIVE"

    def __init__(self, port: int = 0) -> None:
        super().__init__("archive", "--port", port)

    def take(self, count: int, seconds: float = 600.0) -> list[Arrival]:
        """Wait until so many objects have come; all that has come since the last time."""
        return [Arrival(*each) for each in json.loads(self._ask(str(count), seconds))]


class RouterUnderTest:
    """`python -m router run`, its log in a file, so that nobody spends time on reading it."""

    def __init__(self, folder: Path, content: Mapping[str, Any]) -> None:
        folder.mkdir(parents=True, exist_ok=True)
        self._config = write_toml(folder / "router.toml", content)
        self._log = folder / "log"

    def __enter__(self) -> Self:
        with self._log.open("wb") as log:
            self._process = subprocess.Popen(
                [sys.executable, "-m", "router", "run", "--config", str(self._config), "--log-format", "json"],
                stdin=subprocess.DEVNULL,
                stderr=log,
            )
        deadline = time.monotonic() + PATIENCE
        while (ready := self._event("ready")) is None:
            if self._process.poll() is not None or time.monotonic() > deadline:
                self._process.kill()
                raise RuntimeError(f"the router did not start: {self._log.read_text()}")
            time.sleep(0.02)
        self.port = int(ready["dicom"][0].rpartition(":")[2])
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: object) -> None:
        if error is not None:
            error.add_note(f"the end of the router's log:\n{self._log.read_text()[-4000:]}")
        self._process.send_signal(signal.SIGTERM)
        try:
            self._process.wait(PATIENCE)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()

    @property
    def pid(self) -> int:
        return self._process.pid

    def _event(self, name: str) -> dict[str, Any] | None:
        for line in self._log.read_bytes().splitlines():
            if line.endswith(b"}") and (event := json.loads(line)).get("event") == name:
                return dict(event)
        return None


@contextmanager
def black_hole() -> Iterator[int]:
    """A port that takes connections and never says a word."""
    with socket.create_server((HOST, 0), backlog=128) as listening:
        yield listening.getsockname()[1]


@contextmanager
def closed_port() -> Iterator[int]:
    """A port that refuses connections, and that nobody is given while the block lasts."""
    with socket.socket() as reserved:
        reserved.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        reserved.bind((HOST, 0))
        yield reserved.getsockname()[1]


def memory_of(pid: int) -> dict[str, int]:
    """What /proc/PID/status says, in bytes: VmRSS, VmHWM (the peak of it), RssAnon, RssFile."""
    lines = Path(f"/proc/{pid}/status").read_text().splitlines()
    pairs = (line.split() for line in lines if line.startswith(("VmRSS", "VmHWM", "RssAnon", "RssFile")))
    return {name.rstrip(":"): int(kilobytes) * 1024 for name, kilobytes, _ in pairs}


def forget_peak(pid: int) -> None:
    """Let VmHWM count anew from what is resident now (proc(5), clear_refs)."""
    fd = os.open(f"/proc/{pid}/clear_refs", os.O_WRONLY)
    try:
        os.write(fd, b"5")
    finally:
        os.close(fd)
