"""The load: associations that take one object after the other off a schedule, until there are no more.

All associations stand before the first object leaves. One that ends early is opened again; what it had outstanding
counts as unanswered, for nobody knows what the peer has made of it.
"""

import time
from collections import Counter
from collections.abc import Sequence
from typing import Final

import trio
from attrs import evolve, frozen

from router.association import AssociationError, NoResponse, RemoteAE
from router.config import Timeouts
from router.tools.bench.client import Client
from router.tools.bench.errors import BenchError
from router.tools.bench.mixture import Mixture
from router.tools.bench.results import Records
from router.tools.bench.schedule import Schedule
from router.tools.bench.uids import Uids

_PATIENCE: Final = 3
"""Associations that may end early, one after another without an answer, before one of them gives up."""


@frozen(kw_only=True)
class Load:
    """What is sent, how much of it, how fast and how."""

    mixture: Mixture
    objects: int | None = None
    seconds: float | None = None
    rate: float | None = None
    """Objects/s; None is as fast as the peer answers."""
    associations: int = 1
    nagle: bool = False


class Generator:
    """One run of a load. `records` may be looked at while it runs."""

    def __init__(self, load: Load, target: RemoteAE, timeouts: Timeouts) -> None:
        if load.objects is None and load.seconds is None:
            raise BenchError("a load without an end: neither a number of objects nor a duration")
        self.uids = Uids()
        self.records = Records([template.length for template in load.mixture.templates])
        self.load, self.target = load, target
        self.window = 0
        """Outstanding requests that the peer has granted each association."""
        self.ended: Counter[str] = Counter()
        """Associations that ended early, by why."""
        self.unanswered = 0
        self.given_up = ""
        """Why an association was not opened again, so that not all was sent."""
        self._timeouts = timeouts
        self._schedule = Schedule(start=0)
        self._again: list[int] = []

    async def run(self) -> None:
        """Send all of it.

        Raises:
            AssociationError: not all the associations could be opened.
            BenchError: the peer does not take what is to be sent.
        """
        callers = await self._open_all()
        self.window = min(caller.window for caller in callers)
        self._schedule = evolve(
            self._schedule,
            start=time.monotonic(),
            rate=self.load.rate,
            objects=self.load.objects,
            seconds=self.load.seconds,
        )
        async with trio.open_nursery() as nursery:
            for caller in callers:
                nursery.start_soon(self._work, caller)

    async def _open_all(self) -> list[Client]:
        callers: list[Client] = []
        failures: list[AssociationError] = []

        async def open_one() -> None:
            try:
                callers.append(await self._open())
            except AssociationError as error:
                failures.append(error)

        try:
            async with trio.open_nursery() as nursery:
                for _ in range(self.load.associations):
                    nursery.start_soon(open_one)
            if failures:
                raise failures[0]
            if refused := callers[0].refused:
                raise BenchError("; ".join(f"{sop} in {syntax}: {why}" for (sop, syntax), why in refused.items()))
        except BaseException:
            for caller in callers:
                caller.close()
            raise
        return callers

    async def _open(self) -> Client:
        load = self.load
        return await Client.open(self.target, load.mixture.templates, self.uids, self._timeouts, nagle=load.nagle)

    async def _work(self, caller: Client) -> None:
        """One association after the other, until nothing is left to send."""
        strikes = 0
        while True:
            answers = self.records.answers
            outstanding: dict[int, int] = {}
            try:
                await self._send(caller, outstanding)
                await caller.release()
                return
            except AssociationError as error:
                caller.close()
                self.ended[str(error)] += 1
                self.unanswered += len(outstanding)
            strikes = 1 if self.records.answers > answers else strikes + 1
            if strikes == _PATIENCE:
                self.given_up = next(reversed(self.ended))
                return
            try:
                caller = await self._open()
            except AssociationError as error:
                self.given_up = str(error)
                return

    async def _send(self, caller: Client, outstanding: dict[int, int]) -> None:
        """Keep the window full. `outstanding` has the number of each object by its Message ID."""
        records, dimse = self.records, self._timeouts.dimse
        waiting: int | None = None
        while True:
            if waiting is None and len(outstanding) < caller.window:
                waiting = self._take(time.monotonic())
            patience = dimse
            if waiting is not None:
                due, now = self._schedule.due(waiting), time.monotonic()
                if due is None or due <= now:
                    records.leave(waiting, due, now)
                    number, waiting = waiting, None
                    outstanding[await caller.store(records.template(number), number)] = number
                    continue
                patience = due - now
            elif not outstanding:
                return
            for message_id, status in await self._answers(caller, patience, waiting):
                if message_id in outstanding:
                    records.answer(outstanding.pop(message_id), status, time.monotonic())

    async def _answers(self, caller: Client, patience: float, waiting: int | None) -> Sequence[tuple[int, int]]:
        """What is answered until the object that waits is due; that one is somebody else's if the association ends."""
        try:
            return await caller.answers(patience)
        except TimeoutError as error:
            if waiting is None:
                raise NoResponse(f"no response: {error}") from None
            return []
        except AssociationError:
            if waiting is not None:
                self._again.append(waiting)
            raise

    def _take(self, now: float) -> int | None:
        """The next object to send; None where there are no more."""
        if self._again:
            return self._again.pop()
        number = len(self.records)
        if self._schedule.over(number, now):
            return None
        return self.records.take(self.load.mixture.index(number))
