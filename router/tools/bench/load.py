"""The load: associations that send one object after another on a schedule, until there are no more.

With a rate the load is an open loop: an object is due at its time whether or not those before it are answered, and its
latency counts from that time. So a peer that stalls is charged for all objects that had to wait meanwhile, which a
sender that waits for responses would leave out (coordinated omission).

All associations are established before the first object is sent. One that ends early is opened again; what it had
outstanding counts as unanswered, because nobody knows what the peer has done with it.
"""

import random
import time
from collections import Counter
from collections.abc import Callable, Sequence
from typing import Final

import trio
from attrs import evolve, field, frozen

from router.association import AssociationError, NoResponse, RemoteAE
from router.config import Timeouts
from router.tools.bench.client import Client
from router.tools.bench.errors import BenchError
from router.tools.bench.objects import InstanceUIDs, Template
from router.tools.bench.results import Results

_MOST_FAILURES: Final = 3
"""Associations in a row that may end early without an answer, before one of them is given up."""
_ORDER_LENGTH: Final = 1000
"""Objects after which the order of a mixture repeats."""


@frozen
class Mixture:
    """Templates with their weights, in an order that looks random and is the same in every run.

    Without weights, the templates follow one another.
    """

    templates: tuple[Template, ...]
    weights: tuple[float, ...] = ()
    _order: tuple[int, ...] = field(init=False, repr=False)

    @_order.default
    def _draw_order(self) -> tuple[int, ...]:
        if not self.weights:
            return tuple(range(len(self.templates)))
        return tuple(random.Random(1).choices(range(len(self.templates)), self.weights, k=_ORDER_LENGTH))

    def index(self, number: int) -> int:
        """Return the index of the template that object `number` is made of."""
        return self._order[number % len(self._order)]


def read_mixture(text: str, size: Callable[[str], int]) -> list[tuple[float, int]]:
    """Return weight and bytes of each line of a mix file: "70 12KB". A # begins a comment; `size` parses a size.

    Raises:
        BenchError: a line has another form.
    """
    parts = []
    for number, line in enumerate(text.splitlines(), 1):
        fields = line.partition("#")[0].split()
        if not fields:
            continue
        try:
            weight, of = fields
            parts.append((float(weight), size(of)))
        except ValueError as error:
            raise BenchError(f'line {number}: {error}; expected a weight and a size, like "70 12KB"') from None
        if not 0 < parts[-1][0] < float("inf"):
            raise BenchError(f"line {number}: a weight must be greater than zero")
    if not parts:
        raise BenchError("no line with a weight and a size")
    return parts


@frozen(kw_only=True)
class Schedule:
    """When each object is due, and when there are no more (pure). `objects`, `seconds` or both set the end."""

    start: float
    """Seconds of the monotonic clock."""
    rate: float | None = None
    """Objects/s; None sends as fast as the peer answers."""
    objects: int | None = None
    seconds: float | None = None

    def due(self, number: int) -> float | None:
        """Return when object `number`, counted from 0, is due; None is as soon as possible."""
        return None if self.rate is None else self.start + number / self.rate

    def is_over(self, number: int, now: float) -> bool:
        """Return whether object `number` is beyond the end of the load."""
        if self.objects is not None and number >= self.objects:
            return True
        if self.seconds is None:
            return False
        due = self.due(number)
        return (now if due is None else due) >= self.start + self.seconds


@frozen(kw_only=True)
class Load:
    """What to send, how much of it, how fast and how."""

    mixture: Mixture
    objects: int | None = None
    seconds: float | None = None
    rate: float | None = None
    """Objects/s; None sends as fast as the peer answers."""
    associations: int = 1
    nagle: bool = False


class Generator:
    """One run of a load. `results` may be read while it runs."""

    def __init__(self, load: Load, target: RemoteAE, timeouts: Timeouts) -> None:
        if load.objects is None and load.seconds is None:
            raise BenchError("the load has no end: give a number of objects or a duration")
        self.uids = InstanceUIDs()
        self.results = Results([template.length for template in load.mixture.templates])
        self.load, self.target = load, target
        self.window = 0
        """Outstanding requests that the peer has granted each association."""
        self.ended: Counter[str] = Counter()
        """Associations that ended early, by reason."""
        self.unanswered = 0
        """Requests that were outstanding when their association ended."""
        self.given_up = ""
        """Why an association was not opened again, so that not all was sent."""
        self._timeouts = timeouts
        self._schedule = Schedule(start=0)
        self._returned: list[int] = []
        """Objects whose association ended before they were sent, for another association."""

    async def run(self) -> None:
        """Send the load.

        Raises:
            AssociationError: not all associations could be opened.
            BenchError: the peer does not accept what is to be sent.
        """
        clients = await self._open_all()
        self.window = min(client.window for client in clients)
        self._schedule = evolve(
            self._schedule,
            start=time.monotonic(),
            rate=self.load.rate,
            objects=self.load.objects,
            seconds=self.load.seconds,
        )
        async with trio.open_nursery() as nursery:
            for client in clients:
                nursery.start_soon(self._send_share, client)

    async def _open_all(self) -> list[Client]:
        clients: list[Client] = []
        failures: list[AssociationError] = []

        async def open_one() -> None:
            try:
                clients.append(await self._open())
            except AssociationError as error:
                failures.append(error)

        try:
            async with trio.open_nursery() as nursery:
                for _ in range(self.load.associations):
                    nursery.start_soon(open_one)
            if failures:
                raise failures[0]
            if refused := clients[0].refused:
                raise BenchError("; ".join(f"{sop} in {syntax}: {why}" for (sop, syntax), why in refused.items()))
        except BaseException:
            for client in clients:
                client.close()
            raise
        return clients

    async def _open(self) -> Client:
        load = self.load
        return await Client.open(self.target, load.mixture.templates, self.uids, self._timeouts, nagle=load.nagle)

    async def _send_share(self, client: Client) -> None:
        """Send on one association after another, until nothing is left to send."""
        failures = 0
        while True:
            answers = self.results.answers
            outstanding: dict[int, int] = {}
            try:
                await self._send(client, outstanding)
                await client.release()
                return
            except AssociationError as error:
                client.close()
                self.ended[str(error)] += 1
                self.unanswered += len(outstanding)
            failures = 1 if self.results.answers > answers else failures + 1
            if failures == _MOST_FAILURES:
                self.given_up = next(reversed(self.ended))
                return
            try:
                client = await self._open()
            except AssociationError as error:
                self.given_up = str(error)
                return

    async def _send(self, client: Client, outstanding: dict[int, int]) -> None:
        """Keep the window full. `outstanding` holds the number of each object by its Message ID."""
        results, dimse = self.results, self._timeouts.dimse
        waiting: int | None = None
        while True:
            if waiting is None and len(outstanding) < client.window:
                waiting = self._next_number(time.monotonic())
            timeout = dimse
            if waiting is not None:
                due, now = self._schedule.due(waiting), time.monotonic()
                if due is None or due <= now:
                    results.record_begin(waiting, due, now)
                    number, waiting = waiting, None
                    outstanding[await client.store(results.template(number), number)] = number
                    continue
                timeout = due - now
            elif not outstanding:
                return
            for message_id, status in await self._read_responses(client, timeout, waiting):
                if message_id in outstanding:
                    results.record_response(outstanding.pop(message_id), status, time.monotonic())

    async def _read_responses(self, client: Client, timeout: float, waiting: int | None) -> Sequence[tuple[int, int]]:
        """Return the responses that come before the object `waiting` is due.

        If the association ends, another one sends that object.
        """
        try:
            return await client.read_responses(timeout)
        except TimeoutError as error:
            if waiting is None:
                raise NoResponse(f"no response: {error}") from None
            return []
        except AssociationError:
            if waiting is not None:
                self._returned.append(waiting)
            raise

    def _next_number(self, now: float) -> int | None:
        """Return the number of the next object to send; None if there are no more."""
        if self._returned:
            return self._returned.pop()
        number = len(self.results)
        if self._schedule.is_over(number, now):
            return None
        return self.results.add(self.load.mixture.index(number))
