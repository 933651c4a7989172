"""A storage SCP that records what arrived, and when: the destination of a measurement.

It accepts every SOP class in every transfer syntax and as many outstanding requests as are proposed, and answers with a
given status. Each association is a process of its own (`receiver`), forked by one that accepts connections; `Sink` is
what their common parent knows of them.
"""

import os
import signal
import socket
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from fcntl import F_SETPIPE_SZ, fcntl
from functools import partial
from multiprocessing import Pipe
from multiprocessing.connection import Connection
from typing import Any, Final, NamedTuple, Self

from router.tools.bench.errors import BenchError
from router.tools.bench.processes import SharedCounter, cpu_figures, fork
from router.tools.bench.receiver import ARRIVAL, TOTALS, Behaviour, Receiver

HOST: Final = "127.0.0.1"
_BACKLOG: Final = 1024
_FAILED: Final = -1
"""In place of an association's number: the rest of the report is the text of a failure."""
_LOOK_EVERY: Final = 0.5
"""Seconds between two looks at processes that ended."""
_STOP_DEADLINE: Final = 5.0
"""Seconds for the processes to end."""
_ROOM: Final = 1 << 20
"""Bytes of reports that the kernel keeps while the parent does something else."""


class Arrival(NamedTuple):
    """One object that was answered with success or a warning."""

    sop_instance_uid: str
    at: float
    """When its last byte was received: seconds of the monotonic clock, which the processes of a machine share."""
    length: int
    """Bytes of the data set."""
    crc: int
    """CRC-32 of the data set."""


class Sink:
    """A storage SCP on one address, as its parent process sees it. `receive` brings the counts up to date."""

    def __init__(self, *, host: str = HOST, port: int = 0, behaviour: Behaviour | None = None) -> None:
        self.host, self.port = host, port
        self.behaviour = behaviour or Behaviour()
        self.count = 0
        """Objects that arrived, repeated ones included."""
        self.bytes = 0
        """Bytes of the data sets that arrived."""
        self._reports: list[bytes] = []
        """Arrivals, as the processes have told them."""
        self._totals: dict[int, tuple[float, int, int, int, bool]] = {}
        """By association: what it has told last (`TOTALS`)."""

    @property
    def address(self) -> str:
        return f"{self.host}:{self.port}"

    def arrivals(self, since: int = 0) -> Iterator[Arrival]:
        """Return the arrivals from the `since`-th report on; `reports` tells how many there are."""
        for report in self._reports[since:]:
            for uid, at, length, crc in ARRIVAL.iter_unpack(report):
                yield Arrival(uid.rstrip(b"\0").decode("ascii"), at, length, crc)

    @property
    def reports(self) -> int:
        """Reports of arrivals so far."""
        return len(self._reports)

    @property
    def associations(self) -> int:
        """Associations so far."""
        return len(self._totals)

    @property
    def open(self) -> int:
        """Associations that are open now."""
        return sum(is_open for *_, is_open in self._totals.values())

    @property
    def aborted(self) -> int:
        """Associations that were aborted for `abort_every`."""
        return sum(aborted for _, _, _, aborted, _ in self._totals.values())

    @property
    def answers(self) -> Counter[int]:
        """Number of responses by status."""
        found: Counter[int] = Counter()
        for _, answers, others, _, _ in self._totals.values():
            found += Counter({self.behaviour.status: answers}) + Counter({0: others})
        return found

    def cpu_figures(self, elapsed: float) -> dict[str, Any]:
        """Return the CPU of the associations that have received objects, over `elapsed` seconds."""
        return cpu_figures((cpu for cpu, answers, *_ in self._totals.values() if answers), elapsed, self.count)

    @contextmanager
    def serving(self) -> Iterator[Self]:
        """Serve while the block lasts. A second block uses the same port.

        Raises:
            OSError: the address cannot be listened on.
        """
        family = socket.AF_INET6 if ":" in self.host else socket.AF_INET
        self._pipe, reports = Pipe(duplex=False)
        with suppress(OSError):  # more than an unprivileged process may have
            fcntl(self._pipe.fileno(), F_SETPIPE_SZ, _ROOM)
        with reports, socket.create_server((self.host, self.port), family=family, backlog=_BACKLOG) as listening:
            self.port = listening.getsockname()[1]
            pid = fork(partial(_accept, listening, self.behaviour, reports))
            os.setpgid(pid, pid)
        try:
            yield self
        finally:
            self._stop(pid)
            self._pipe.close()

    def receive(self, timeout: float = 0.0) -> None:
        """Wait up to `timeout` seconds for a report, and read all that have come.

        Raises:
            BenchError: a process of the sink has failed, or all have ended.
        """
        try:
            while self._pipe.poll(timeout):
                self._read(self._pipe.recv_bytes())
                timeout = 0.0
        except EOFError:
            raise BenchError("the sink has ended") from None

    def _read(self, report: bytes) -> None:
        serial, *totals = TOTALS.unpack_from(report)
        if serial == _FAILED:
            raise BenchError(report[TOTALS.size :].decode())
        self._totals[serial] = (*totals,)
        if arrivals := report[TOTALS.size :]:
            self._reports.append(arrivals)
            self.count += len(arrivals) // ARRIVAL.size
            self.bytes += sum(length for _, _, length, _ in ARRIVAL.iter_unpack(arrivals))

    def _stop(self, pid: int) -> None:
        """End all processes, and read what they still tell."""
        os.killpg(pid, signal.SIGTERM)
        deadline = time.monotonic() + _STOP_DEADLINE
        with suppress(EOFError, BenchError):
            while self._pipe.poll(max(deadline - time.monotonic(), 0)):
                self._read(self._pipe.recv_bytes())
        with suppress(ProcessLookupError, PermissionError):
            os.killpg(pid, signal.SIGKILL)
        os.waitpid(pid, 0)


def _accept(listening: socket.socket, behaviour: Behaviour, reports: Connection) -> None:
    """Accept connections, each for a process of its own, until SIGTERM."""
    os.setpgid(0, 0)
    objects = SharedCounter()
    listening.settimeout(_LOOK_EVERY)
    serial = 0
    while True:
        with suppress(TimeoutError):
            sock, _ = listening.accept()
            with sock:
                serial += 1
                fork(
                    partial(_run_receiver, serial, listening, sock, behaviour, objects, reports),
                    parent_died=signal.SIGTERM,
                )
        _look_for_failures(reports)


def _run_receiver(
    serial: int,
    listening: socket.socket,
    sock: socket.socket,
    behaviour: Behaviour,
    objects: SharedCounter,
    reports: Connection,
) -> None:
    listening.close()
    Receiver(serial, sock, behaviour, objects, reports.send_bytes).run()


def _look_for_failures(reports: Connection) -> None:
    """Tell the parent if a process has ended otherwise than by the end of its association."""
    with suppress(ChildProcessError):
        while (ended := os.waitpid(-1, os.WNOHANG))[0]:
            if code := os.waitstatus_to_exitcode(ended[1]):
                how = f"was killed by {signal.Signals(-code).name}" if code < 0 else f"ended with exit code {code}"
                reports.send_bytes(TOTALS.pack(_FAILED, 0, 0, 0, 0, False) + f"a process of the sink {how}".encode())
