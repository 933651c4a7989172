"""The load generator: processes that share the associations of a load, and one that gathers their results.

All associations are established before the first object is sent. One that ends early is opened again; what it had
outstanding counts as unanswered, because nobody knows what the peer has done with it.
"""

import math
import time
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial
from multiprocessing import Pipe
from multiprocessing.connection import Connection, wait
from typing import Any, Final

from router.association import RemoteAE
from router.config import Timeouts
from router.tools.bench.errors import BenchError
from router.tools.bench.load import Load
from router.tools.bench.objects import InstanceUIDs
from router.tools.bench.processes import MachineUse, SharedCounter, cpu_figures, describe_exit, end, fork
from router.tools.bench.results import Results
from router.tools.bench.sender import Finished, NotOpened, Opened, Sender

WATCH_EVERY: Final = 0.02
"""Most seconds between two calls of `watch`."""
_MOST_PROCESSES: Final = 32
"""A load of more associations has several in each process."""


class Generator:
    """One run of a load. The counts may be read while it runs, `results` when it is over."""

    def __init__(self, load: Load, target: RemoteAE, timeouts: Timeouts) -> None:
        if load.objects is None and load.seconds is None:
            raise BenchError("the load has no end: give a number of objects or a duration")
        self.uids = InstanceUIDs()
        self.results = Results(load.mixture)
        self.load, self.target = load, target
        self.window = 0
        """Outstanding requests that the peer has granted each association."""
        self.machine = MachineUse()
        self._timeouts = timeouts
        self._records: list[bytes] = []
        self._finished: list[Finished] = []
        self._elapsed = 0.0

    def recent(self, since: int) -> tuple[Results, int]:
        """Return the results that the processes have told after the first `since` reports, and the number of all."""
        results = Results(self.load.mixture)
        for records in self._records[since:]:
            results.add(records)
        return results, len(self._records)

    @property
    def ended(self) -> Counter[str]:
        """Associations that ended early, by reason."""
        return sum((one.ended for one in self._finished), Counter[str]())

    @property
    def unanswered(self) -> int:
        """Requests that were outstanding when their association ended."""
        return sum(one.unanswered for one in self._finished)

    @property
    def not_sent(self) -> int:
        """Objects that no association was left for."""
        return sum(one.not_sent for one in self._finished)

    @property
    def given_up(self) -> str:
        """Why an association was not opened again, so that not all was sent."""
        return next((one.given_up for one in self._finished if one.given_up), "")

    def cpu_figures(self) -> dict[str, Any]:
        """Return the CPU of the processes, from the first object to the last response."""
        return cpu_figures((one.cpu for one in self._finished), self._elapsed, self.results.sent)

    def run(self, watch: Callable[[], None] = lambda: None) -> None:
        """Send the load, and call `watch` at least every `WATCH_EVERY` seconds after the associations are opened.

        Raises:
            BenchError: not all associations could be opened, the peer does not accept what is to be sent, or a process
                of the generator has failed.
        """
        with self._processes() as pipes:
            opened = [self._receive(pipe, pid) for pipe, pid in pipes.items()]
            self._check_opened(opened)
            started = time.monotonic()
            self.machine.start()
            for pipe in pipes:
                pipe.send(started)
            sending = dict(pipes)
            while sending:
                for ready in wait(list(sending), WATCH_EVERY):
                    assert isinstance(ready, Connection)
                    match self._receive(ready, sending[ready]):
                        case bytes() as records:
                            self._records.append(records)
                        case Finished() as finished:
                            self._finished.append(finished)
                            del sending[ready]
                watch()
            self._elapsed = time.monotonic() - started
            self.machine.stop()
        for records in self._records:
            self.results.add(records)

    @contextmanager
    def _processes(self) -> Iterator[dict[Connection, int]]:
        """Run the processes while the block lasts; yield the ID of each by its pipe."""
        count = min(self.load.associations, _MOST_PROCESSES)
        numbers = SharedCounter()
        sender = Sender(self.load, self.target, self._timeouts, self.uids, numbers)
        pids: dict[Connection, int] = {}
        try:
            for index in range(count):
                here, there = Pipe()
                share = math.ceil((self.load.associations - index) / count)
                pids[here] = fork(partial(sender.run, share, there))
                there.close()
            yield pids
        finally:
            end(pids.values())
            for pipe in pids:
                pipe.close()

    def _receive(self, pipe: Connection, pid: int) -> object:
        try:
            return pipe.recv()
        except (EOFError, ConnectionError):
            raise BenchError(f"a process of the generator {describe_exit(pid)}") from None

    def _check_opened(self, answers: list[object]) -> None:
        opened = [one for one in answers if isinstance(one, Opened)]
        for one in answers:
            if isinstance(one, NotOpened):
                raise BenchError(one.why)
        if refused := opened[0].refused:
            raise BenchError("; ".join(f"{sop} in {syntax}: {why}" for (sop, syntax), why in refused.items()))
        self.window = min(one.window for one in opened)
