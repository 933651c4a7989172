"""A router that crashes where it is told to, among peers that fail as they are told to; all in one trio loop on a
thread of its own, so that a Hypothesis state machine can drive it step by step.

A crash takes the whole tree of tasks down between two of its awaits, without any winding down; what was not on the
disk by then is gone. Not here: who the peers are, and what must be so in the end.
"""

import threading
from abc import ABC, abstractmethod
from collections import Counter
from collections.abc import Awaitable, Callable
from contextlib import AbstractAsyncContextManager
from pathlib import Path
from typing import Any, Self, TypeVar

import attrs
import trio

from pdu import AssociateRJ, AssociateRQ, Rejection
from router.association import AssociationError
from router.config import Config
from router.spool import Spool, SpoolClosed
from router.supervisor import Router
from tests.support.harness import Archive, eventually

T = TypeVar("T")

CRASHES = ("before commit", "after commit", "before change", "after change")
"""Around the two things that have to be durable before an answer."""
COUNTS: Counter[str] = Counter()
"""Of all worlds of this process: steps, messages, crashes."""


class Crash(BaseException):
    """The router is no more. No Exception: a router that is no more does not answer for its failures."""


class Unheard(Exception):
    """The router ended before it answered."""


@attrs.define(slots=False)
class World(ABC):
    """Made by `begin`, and gone after `end`."""

    folder: Path
    _crash_at: str = ""
    _loses_ledger: bool = False
    _ran: float = 0.0
    _next_id: int = 1
    _port: int = 0
    _up: trio.Event = attrs.field(factory=trio.Event)
    _over: trio.Event = attrs.field(factory=trio.Event)
    _thread: threading.Thread = attrs.field(init=False)

    @classmethod
    def begin(cls, folder: Path) -> Self:
        world = cls(folder)
        ready = threading.Event()
        world._thread = threading.Thread(target=trio.run, args=(world._main, ready), daemon=True)
        world._thread.start()
        assert ready.wait(30), "the world did not begin"
        return world

    def do(self, what: Callable[..., Awaitable[T]], *arguments: Any) -> T:
        """Have something happen in the world, and wait for it."""
        return trio.from_thread.run(what, *arguments, trio_token=self._token)

    def end(self) -> None:
        """Let go of everything."""
        trio.from_thread.run_sync(self._over.set, trio_token=self._token)
        self._thread.join(30)
        assert not self._thread.is_alive(), "the world did not end"

    # In the loop

    @abstractmethod
    def peers(self) -> AbstractAsyncContextManager[Config]:
        """All of them, while it lasts, and the configuration of a router among them."""

    async def _main(self, ready: threading.Event) -> None:
        self._token = trio.lowlevel.current_trio_token()
        async with self.peers() as config, trio.open_nursery() as nursery:
            nursery.start_soon(self._keep_router, config)
            await self._up.wait()
            ready.set()
            await self._over.wait()
            nursery.cancel_scope.cancel()

    async def _keep_router(self, config: Config) -> None:
        """A router, and another after each crash."""
        while True:
            spool = await trio.to_thread.run_sync(Spool.open, config.router.spool, config.spool)
            assert spool.clock() >= self._ran, "the run clock went back"
            assert spool.next_id >= self._next_id, "message ids are given out again"
            try:
                await self._run_router(config, spool)
            finally:
                spool.close()
            if self._loses_ledger:
                self._loses_ledger = False
                for path in config.router.spool.glob("ledger.sqlite*"):
                    path.unlink()

    async def _run_router(self, config: Config, spool: Spool) -> None:
        router = Router(config, spool)
        self.spool, self.router = spool, router
        router._state.change = self._crashing(router._state.change, "change")  # type: ignore[method-assign,assignment]
        intake = spool.intake
        intake.store = self._crashing(intake.store, "commit")  # type: ignore[method-assign,assignment]
        with trio.CancelScope() as self._life:
            try:
                async with trio.open_nursery() as nursery:
                    addresses = await nursery.start(router.run)
                    self._port = int(addresses["dicom"][0].rpartition(":")[2])
                    self._up.set()
            except* (Crash, SpoolClosed):  # in a crash some parts see others gone
                assert self._life.cancel_called

    def _crashing(self, real: Callable[..., Awaitable[T]], name: str) -> Callable[..., Awaitable[T]]:
        async def call(*arguments: Any) -> T:
            self._crash_if(f"before {name}")
            result = await real(*arguments)
            self._crash_if(f"after {name}")
            return result

        return call

    def _crash_if(self, moment: str) -> None:
        if self._crash_at == moment:
            self.crash()
            raise Crash

    def crash(self) -> None:
        COUNTS["crashes"] += 1
        self._ran, self._next_id = self.spool.clock(), self.spool.next_id
        self._crash_at = ""
        if self._up.is_set():  # else somebody waits for it already
            self._up = trio.Event()
        self._life.cancel()

    async def port(self) -> int:
        """The router's, when it is up."""
        await self._up.wait()
        return self._port

    async def until_answered(self, say: Callable[[], Awaitable[bool]], crash_at: str) -> None:
        """As modalities do: repeat a message until it has an answer, whatever happens to the router meanwhile."""
        self._crash_at = crash_at
        with trio.fail_after(30):
            while not await self._said(say):
                COUNTS["repeats"] += 1
        self._crash_at = ""

    async def _said(self, say: Callable[[], Awaitable[bool]]) -> bool:
        await self._up.wait()
        try:
            return await say()
        except (OSError, trio.BrokenResourceError, AssociationError, Unheard):  # whatever a crash looks like
            return False

    async def crash_now(self, loses_ledger: bool = False) -> None:
        """The router crashes; `loses_ledger`: the next one finds none."""
        with trio.fail_after(30):
            await self._up.wait()
            COUNTS["ledgers lost"] += loses_ledger
            self._loses_ledger = loses_ledger
            self.crash()
            await self._up.wait()

    async def come_to_rest(self) -> None:
        """Wait until nothing is on its way."""

        async def at_rest() -> bool:
            await self._up.wait()
            destinations = (await self.router.status())["destinations"].values()
            return not any(one["waiting"] or one["in_flight"] for one in destinations)

        await eventually(at_rest)
        held = sum(one["held"] for one in (await self.router.status())["destinations"].values())
        assert not held, f"{held} deliveries are held"


def close_door(peer: Archive) -> None:
    """It lets nobody in for the time being."""

    def closed(request: AssociateRQ) -> AssociateRJ | str | None:
        return AssociateRJ.because(Rejection.TEMPORARY_CONGESTION)

    peer.on_request = closed


def open_door(peer: Archive) -> None:
    peer.on_request = lambda request: None
