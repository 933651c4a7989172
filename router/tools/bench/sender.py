"""One process of the load generator: its associations send objects until there are no more, and it tells the results.

A process with one association has one thread, without locks: so a load of a few associations costs least. With more
associations than there are processes, each one has a thread.
"""

import threading
import time
from collections import Counter
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from multiprocessing.connection import Connection as Pipe
from typing import Final

from attrs import define, field, frozen

from router.association import AssociationError, NoResponse, RemoteAE
from router.config import Timeouts
from router.tools.bench.client import Client
from router.tools.bench.load import Load, Schedule
from router.tools.bench.objects import InstanceUIDs
from router.tools.bench.processes import SharedCounter
from router.tools.bench.results import NEVER, RECORD, UNANSWERED

_MOST_FAILURES: Final = 3
"""Associations in a row that may end early without an answer, before one of them is given up."""
_TELL_EVERY: Final = 0.25
"""Seconds between two reports of results."""


@frozen
class NotOpened:
    """An association was not established."""

    why: str


@frozen(kw_only=True)
class Opened:
    """The associations of a process are established."""

    window: int
    """Outstanding requests that the peer has granted each association."""
    refused: dict[tuple[str, str], str]
    """Abstract and transfer syntaxes that the peer did not accept, and why."""


@define(kw_only=True)
class Finished:
    """A process has nothing left to send."""

    ended: Counter[str] = field(factory=Counter)
    """Associations that ended early, by reason."""
    unanswered: int = 0
    """Requests that were outstanding when their association ended."""
    not_sent: int = 0
    """Objects that no association was left for."""
    given_up: str = ""
    """Why an association was not opened again."""
    cpu: float = 0.0
    """Seconds of CPU that the process used from the first object on."""


class Sender:
    """A share of a load. The parent gets `Opened`, bytes of `RECORD`s, and at last `Finished` through a pipe."""

    def __init__(
        self, load: Load, target: RemoteAE, timeouts: Timeouts, uids: InstanceUIDs, numbers: SharedCounter
    ) -> None:
        self._load, self._target, self._timeouts, self._uids = load, target, timeouts, uids
        self._numbers = numbers
        """The numbers of the objects, shared by all processes."""
        self._schedule = Schedule(start=0)
        self._returned: list[int] = []
        """Objects whose association ended before they were sent, for another association."""
        self._records = bytearray()
        self._finished = Finished()
        self._telling = threading.Lock()
        self._told_at = 0.0

    def run(self, associations: int, parent: Pipe) -> None:
        """Open the associations, wait for the parent to send the time of the start, and send.

        The parent gets `NotOpened` instead if an association is not established.
        """
        self._parent = parent
        try:
            clients = [self._open() for _ in range(associations)]
        except AssociationError as error:
            parent.send(NotOpened(str(error)))
            return
        parent.send(Opened(window=min(client.window for client in clients), refused=clients[0].refused))
        load, start = self._load, parent.recv()
        self._schedule = Schedule(start=start, rate=load.rate, objects=load.objects, seconds=load.seconds)
        used = time.process_time()
        if len(clients) == 1:
            self._send_share(clients[0])
        else:
            with ThreadPoolExecutor(len(clients)) as threads:
                list(threads.map(self._send_share, clients))
        self._finished.cpu = time.process_time() - used
        self._finished.not_sent = len(self._returned)
        self._report()
        parent.send(self._finished)

    def _open(self) -> Client:
        load = self._load
        return Client.open(self._target, load.mixture.templates, self._uids, self._timeouts, nagle=load.nagle)

    def _send_share(self, client: Client) -> None:
        """Send on one association after another, until nothing is left to send."""
        failures, finished = 0, self._finished
        while True:
            answers = client.answers
            outstanding: dict[int, tuple[int, float, float]] = {}
            try:
                self._send(client, outstanding)
                client.release()
                return
            except AssociationError as error:
                client.close()
                with self._telling:
                    finished.ended[str(error)] += 1
                    finished.unanswered += len(outstanding)
                    for begun in outstanding.values():
                        self._records += RECORD.pack(*begun, NEVER, UNANSWERED)
                    failures = 1 if client.answers > answers else failures + 1
                    if failures == _MOST_FAILURES:
                        finished.given_up = str(error)
                        return
            try:
                client = self._open()
            except AssociationError as error:
                finished.given_up = str(error)
                return

    def _send(self, client: Client, outstanding: dict[int, tuple[int, float, float]]) -> None:
        """Keep the window full. `outstanding`: number, when it was due and begun, of each object by its Message ID."""
        template_of, due_of, clock = self._load.mixture.index, self._schedule.due, time.monotonic
        window, records = client.window, self._records
        waiting: int | None = None
        while True:
            now = clock()
            if waiting is None and len(outstanding) < window:
                waiting = self._next_number(now)
            if waiting is not None:
                due = due_of(waiting)
                if due is None or due <= now:
                    number, waiting = waiting, None
                    message_id = client.store(template_of(number), number)
                    outstanding[message_id] = number, now if due is None else due, now
                    if len(outstanding) < window:
                        continue
                elif not client.responds_within(due - now):
                    continue
            elif not outstanding:
                return
            for message_id, status in self._read_responses(client, waiting):
                if begun := outstanding.pop(message_id, None):
                    now = clock()
                    records += RECORD.pack(*begun, now, status)
                    if now > self._told_at:
                        self._report()

    def _read_responses(self, client: Client, waiting: int | None) -> Sequence[tuple[int, int]]:
        """Return the next responses. If the association ends, another one sends the object `waiting`."""
        try:
            return client.read_responses()
        except TimeoutError:
            if waiting is not None:
                return []
            raise NoResponse(f"no response: the peer was silent for {self._timeouts.dimse:g} s") from None
        except AssociationError:
            if waiting is not None:
                self._returned.append(waiting)
            raise

    def _next_number(self, now: float) -> int | None:
        """Return the number of the next object to send; None if there are no more."""
        if self._returned:
            return self._returned.pop()
        number = self._numbers.next()
        return None if self._schedule.is_over(number, now) else number

    def _report(self) -> None:
        """Tell the parent what was answered since the last time."""
        with self._telling:
            self._told_at = time.monotonic() + _TELL_EVERY
            if told := bytes(self._records):
                del self._records[: len(told)]
                self._parent.send(told)
