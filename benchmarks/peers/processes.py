"""Start and end the processes of a measurement: each is a context manager on a free loopback port."""

import json
import os
import selectors
import signal
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Final, Self

from attrs import define, frozen

from benchmarks.peers.ports import HOST
from benchmarks.peers.router_toml import write_toml

DEADLINE: Final = 30.0
"""Seconds for a process to start, and to end."""


@frozen
class Address:
    """Port and AE title of an archive, for a router.toml."""

    port: int
    ae_title: str = "SINK"

    @property
    def address(self) -> str:
        return f"{HOST}:{self.port}"


class Launched:
    """A program that prints its port first, and ends with its standard input."""

    def __init__(self, *command: object, folder: Path | None = None) -> None:
        self._command = [*map(str, command)]
        self._folder = folder

    @classmethod
    def module(cls, name: str, *arguments: object) -> Self:
        """A module of `benchmarks.peers`."""
        return cls(sys.executable, "-m", f"benchmarks.peers.{name}", *arguments)

    def __enter__(self) -> Self:
        self._process = subprocess.Popen(self._command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, cwd=self._folder)
        try:
            self.port = int(self._line(DEADLINE).split()[-1].rpartition(":")[2])
        except BaseException:
            self._process.kill()
            self._process.communicate()
            raise
        return self

    def __exit__(self, *exc: object) -> None:
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        self._process.stdin.close()
        self._end()
        self._process.stdout.close()

    def _end(self) -> None:
        try:
            self._process.wait(DEADLINE)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()

    @property
    def address(self) -> str:
        return f"{HOST}:{self.port}"

    def _line(self, seconds: float) -> str:
        """Return the next line that it prints."""
        assert self._process.stdout is not None
        with selectors.DefaultSelector() as selector:
            selector.register(self._process.stdout, selectors.EVENT_READ)
            if not selector.select(seconds) or not (line := self._process.stdout.readline().decode().strip()):
                raise RuntimeError(f"{' '.join(self._command)} did not start")
        return line


class SinkProcess(Launched):
    """`bench sink` as a process, for measurements without `bench route`."""

    def __init__(self, folder: Path, *, port: int = 0, options: Sequence[object] = ()) -> None:
        self._json = folder / "sink.json"
        arguments = f"{HOST}:{port}", "--json", self._json, *options
        super().__init__(sys.executable, "-m", "router", "bench", "sink", *arguments)

    def wait(self) -> dict[str, Any]:
        """Wait until it ends by itself, as with `--objects`, and return its figures."""
        self._process.wait(20 * DEADLINE)
        return self.figures()

    def figures(self) -> dict[str, Any]:
        """Return the figures of one that has ended."""
        return dict(json.loads(self._json.read_text()))

    def _end(self) -> None:
        if self._process.poll() is None:
            self._process.send_signal(signal.SIGTERM)
        super()._end()


@define
class Use:
    """What a program has used."""

    cpu: float = 0.0
    """Seconds of CPU, the kernel's part included."""
    above_idle: int = 0
    """Bytes of its peak resident memory above those before it was loaded."""


class RouterUnderTest:
    """`python -m router run`, with its log in a file, so that reading it costs no time."""

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
        deadline = time.monotonic() + DEADLINE
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
            self._process.wait(DEADLINE)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()

    @property
    def pid(self) -> int:
        return self._process.pid

    @contextmanager
    def in_use(self) -> Iterator["Use"]:
        """Measure what the router uses while the block lasts; complete after it."""
        forget_peak(self.pid)
        use, idle, cpu = Use(), memory_of(self.pid)["VmRSS"], cpu_of(self.pid)
        yield use
        use.cpu = cpu_of(self.pid) - cpu
        use.above_idle = memory_of(self.pid)["VmHWM"] - idle

    def _event(self, name: str) -> dict[str, Any] | None:
        for line in self._log.read_bytes().splitlines():
            if line.endswith(b"}") and (event := json.loads(line)).get("event") == name:
                return dict(event)
        return None


def cpu_of(pid: int) -> float:
    """Return the seconds of CPU that a process has used (proc(5), stat)."""
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def memory_of(pid: int) -> dict[str, int]:
    """Return VmRSS, VmHWM (its peak), RssAnon and RssFile of a process, in bytes."""
    lines = Path(f"/proc/{pid}/status").read_text().splitlines()
    pairs = (line.split() for line in lines if line.startswith(("VmRSS", "VmHWM", "RssAnon", "RssFile")))
    return {name.rstrip(":"): int(kilobytes) * 1024 for name, kilobytes, _ in pairs}


def forget_peak(pid: int) -> None:
    """Reset VmHWM to what is resident now (proc(5), clear_refs)."""
    fd = os.open(f"/proc/{pid}/clear_refs", os.O_WRONLY)
    try:
        os.write(fd, b"5")
    finally:
        os.close(fd)
