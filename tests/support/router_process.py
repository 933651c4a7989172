"""The real router as a process of its own, the way an operator starts it: `python -m router run --config FILE`.

`configuration` and `write_toml` make its router.toml from Python values. Nothing here knows the inside of the router:
what a test learns of it comes from its log, its admin API and its exit code.
"""

import json
import signal
import subprocess
import sys
import threading
import urllib.request
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, Self

from benchmarks.peers.router_toml import Archive as Archive
from benchmarks.peers.router_toml import configuration as configuration
from benchmarks.peers.router_toml import write_toml as write_toml

Event = dict[str, Any]


class RouterProcess:
    """A running router. As a context manager it starts when entered and is stopped, or found dead, when left.

    After `kill` or `stop` it can be started again on the same folder: the spool is still there.
    """

    def __init__(self, folder: Path, content: Mapping[str, Any], *run_options: str) -> None:
        folder.mkdir(parents=True, exist_ok=True)
        self.folder = folder
        self._run_options = run_options
        self.config = write_toml(folder / "router.toml", content)
        self.logs: list[Event] = []
        """Every line of its standard error; one that is no JSON object stands under "raw"."""
        self._logged = threading.Condition()
        self._ended = True

    def start(self, *, seconds: float = 30.0) -> Self:
        """Start it and wait until it is ready."""
        begin = len(self.logs)
        self._ended = False
        self._process = subprocess.Popen(
            [
                sys.executable,
                "-m",
                "router",
                "run",
                "--config",
                str(self.config),
                "--log-format",
                "json",
                *self._run_options,
            ],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.PIPE,
            text=True,
            errors="replace",
        )
        self._reader = threading.Thread(target=self._read, daemon=True)
        self._reader.start()
        try:
            ready = self.wait_for_log(lambda event: event.get("event") == "ready", begin=begin, seconds=seconds)
        except AssertionError:
            self.kill()
            raise
        self.dicom: list[str] = ready["dicom"]
        self.admin: str = ready["admin"]
        return self

    @property
    def options(self) -> tuple[str, ...]:
        """What a command needs to find it, and its token."""
        return ("--config", str(self.config), "--admin", self.admin)

    @property
    def pid(self) -> int:
        return self._process.pid

    @property
    def host(self) -> str:
        return self.dicom[0].rpartition(":")[0]

    @property
    def port(self) -> int:
        """The port of the first listener."""
        return int(self.dicom[0].rpartition(":")[2])

    def stop(self, *, seconds: float = 30.0) -> None:
        """SIGTERM; fails unless it ends by itself with exit code 0."""
        self._process.send_signal(signal.SIGTERM)
        try:
            code = self._process.wait(seconds)
        except subprocess.TimeoutExpired:
            self.kill()
            raise AssertionError(f"the router did not stop within {seconds} s:\n{self.tail()}") from None
        self._close()
        assert code == 0, f"the router ended with {code}:\n{self.tail()}"

    def send_signal(self, number: int) -> None:
        self._process.send_signal(number)

    def kill(self) -> None:
        """SIGKILL: what a power cut leaves of a process."""
        self._process.kill()
        self._process.wait()
        self._close()

    def get(self, path: str) -> Any:
        """The JSON that the admin API has under `path`."""
        token = (self.folder / "spool" / "admin.token").read_text("ascii").strip()
        request = urllib.request.Request(f"http://{self.admin}{path}", headers={"Authorization": f"Bearer {token}"})
        with urllib.request.urlopen(request, timeout=30) as response:
            return json.load(response)

    def wait_for_log(self, wanted: Callable[[Event], bool], *, begin: int = 0, seconds: float = 30.0) -> Event:
        """The first line of the log from number `begin` on that is wanted."""

        def found() -> Event | None:
            return next((event for event in self.logs[begin:] if wanted(event)), None)

        with self._logged:
            self._logged.wait_for(lambda: found() or self._ended, seconds)
            event = found()
        assert event is not None, f"the router never logged it:\n{self.tail()}"
        return event

    def tail(self, lines: int = 40) -> str:
        """The end of the log."""
        return "\n".join(event.get("raw") or json.dumps(event) for event in self.logs[-lines:])

    def __enter__(self) -> Self:
        return self.start()

    def __exit__(self, kind: type[BaseException] | None, *exc: object) -> None:
        if self._ended and self._process.returncode is not None:
            return  # stopped or killed by the test itself
        if kind is None:
            self.stop()
        else:
            self.kill()

    def _read(self) -> None:
        assert self._process.stderr
        for line in self._process.stderr:
            with self._logged:
                self.logs.append(_parsed(line.rstrip("\n")))
                self._logged.notify_all()
        with self._logged:
            self._ended = True
            self._logged.notify_all()

    def _close(self) -> None:
        self._reader.join(10)
        assert self._process.stderr
        self._process.stderr.close()


def _parsed(line: str) -> Event:
    try:
        value = json.loads(line)
    except ValueError:
        return {"raw": line}
    return value if isinstance(value, dict) else {"raw": line}
