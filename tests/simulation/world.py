"""A modality, a router that crashes where it is told to, and two RIS that fail as they are told to; all in one trio
loop on a thread of its own, so that a Hypothesis state machine can drive it step by step.

A crash takes the whole tree of tasks down between two of its awaits, without any winding down; what was not on the
disk by then is gone. The modality behaves as modalities do: it repeats a message until it has an answer.
"""

import threading
from collections import Counter
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any, TypeVar

import attrs
import trio
from pydicom.dataset import Dataset

from pdu import AssociateRJ, AssociateRQ, Rejection
from router.config import Config
from router.spool import Spool, SpoolClosed
from router.supervisor import Router
from tests.router.harness import eventually
from tests.router.mpps.messages import encoded
from tests.router.mpps.playing import LAST, RIS, Heard, Scanner, hub

T = TypeVar("T")

CRASHES = ("before commit", "after commit", "before change", "after change")
"""Around the two things that have to be durable before an answer."""
COUNTS: Counter[str] = Counter()
"""Of all worlds of this process: steps, messages, crashes."""


class Crash(Exception):
    """The router is no more."""


@attrs.define
class Acknowledged:
    """What the modality has an answer to."""

    uid: str
    data: bytes
    state: str


@attrs.define(slots=False)
class World:
    """Made by `begin`, and gone after `end`."""

    folder: Path
    acknowledged: list[Acknowledged] = attrs.field(factory=list)
    _crash_at: str = ""
    _port: int = 0
    _up: trio.Event = attrs.field(factory=trio.Event)
    _over: trio.Event = attrs.field(factory=trio.Event)
    _thread: threading.Thread = attrs.field(init=False)

    @classmethod
    def begin(cls, folder: Path) -> "World":
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

    async def _main(self, ready: threading.Event) -> None:
        self._token = trio.lowlevel.current_trio_token()
        async with RIS().serving() as one, RIS().serving() as two:
            self.all_ris = (one, two)
            self.forgotten: tuple[set[str], set[str]] = (set(), set())
            config = hub(self.folder, one=one.port, two=two.port)
            async with trio.open_nursery() as nursery:
                nursery.start_soon(self._keep_router, config)
                await self._up.wait()
                ready.set()
                await self._over.wait()
                nursery.cancel_scope.cancel()

    async def _keep_router(self, config: Config) -> None:
        """A router, and another after each crash."""
        while True:
            spool = await trio.to_thread.run_sync(Spool.open, config.router.spool, config.spool)
            try:
                await self._run_router(config, spool)
            finally:
                spool.close()

    async def _run_router(self, config: Config, spool: Spool) -> None:
        router = Router(config, spool)
        self.spool, self.router = spool, router
        router._state.change = self._crashing(router._state.change, "change")  # type: ignore[method-assign,assignment]
        spool.commit = self._crashing(spool.commit, "commit")  # type: ignore[method-assign,assignment]
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
        self._crash_at = ""
        if self._up.is_set():  # else somebody waits for it already
            self._up = trio.Event()
        self._life.cancel()

    # What may happen

    async def report(self, uid: str, data_set: Dataset, state: str, crash_at: str) -> None:
        """The modality reports, and repeats itself until it is answered."""
        self._crash_at = crash_at
        with trio.fail_after(30):
            while not await self._say(uid, data_set, creates=state == "IN PROGRESS" and bool(data_set.get("Modality"))):
                COUNTS["repeats"] += 1
        self._crash_at = ""
        COUNTS["messages"] += 1
        self.acknowledged.append(Acknowledged(uid, encoded(data_set), state))

    async def _say(self, uid: str, data_set: Dataset, *, creates: bool) -> bool:
        await self._up.wait()
        try:
            async with Scanner.connected(self._port) as scanner:
                response = await (scanner.create if creates else scanner.set)(uid, data_set)
        except (OSError, trio.BrokenResourceError, AssertionError, AttributeError):  # whatever a crash looks like
            return False
        assert response.status == 0, f"{response.status:04X}H to {'N-CREATE' if creates else 'N-SET'} of {uid}"
        return True

    async def crash_now(self) -> None:
        with trio.fail_after(30):
            await self._up.wait()
            self.crash()
            await self._up.wait()

    async def crash_when_heard(self, number: int) -> None:
        """When that RIS hears its next message: it gets it, its answer finds nobody."""
        ris = self.all_ris[number]

        def judged(heard: Heard) -> None:
            ris.judged = lambda heard: None
            self.crash()

        ris.judged = judged

    async def fail_next(self, number: int, fault: int | str) -> None:
        self.all_ris[number].faults.append(fault)

    async def close_door(self, number: int) -> None:
        """The RIS is down for the time being: it ends what is open and lets nobody in."""

        def closed(request: AssociateRQ) -> AssociateRJ | str | None:
            return AssociateRJ.because(Rejection.TEMPORARY_CONGESTION)

        self.all_ris[number].on_request = closed
        self.all_ris[number].faults.append("close")

    async def open_door(self, number: int) -> None:
        self.all_ris[number].on_request = lambda request: None

    async def forget(self, number: int, uid: str) -> None:
        """The RIS loses a step that it believes in progress."""
        ris = self.all_ris[number]
        if ris.steps.get(uid) == "IN PROGRESS":
            del ris.steps[uid]
            self.forgotten[number].add(uid)

    async def come_to_rest(self) -> None:
        """All faults are over; wait until nothing is on its way."""
        for number, ris in enumerate(self.all_ris):
            ris.faults.clear()
            ris.judged = lambda heard: None
            await self.open_door(number)

        async def at_rest() -> bool:
            await self._up.wait()
            destinations = (await self.router.status())["destinations"].values()
            return not any(one["waiting"] or one["in_flight"] for one in destinations)

        await eventually(at_rest)
        held = sum(one["held"] for one in (await self.router.status())["destinations"].values())
        assert not held, f"{held} deliveries are held"

    # What must be so

    async def judge(self) -> None:
        last = {one.uid: one.state for one in self.acknowledged}
        for number, ris in enumerate(self.all_ris):
            assert ris.steps == last, "a RIS and the modality disagree on how a step has ended"
            seen: set[str] = set()
            for heard in ris.heard:
                if heard.kind == "N-CREATE-RQ":
                    seen.add(heard.uid)
                assert heard.uid in seen, "an N-SET came before its N-CREATE"
                if heard.answer == 0x0112:
                    assert heard.uid in self.forgotten[number]
            arrived = {(heard.uid, heard.data) for heard in ris.heard if heard.answer not in ("close", "abort", 0x0213)}
            for one in self.acknowledged:
                assert (one.uid, one.data) in arrived, "what was acknowledged never came"
            self._judge_order(ris)

    def _judge_order(self, ris: RIS) -> None:
        """Messages of a step came, each for the first time, in the order in which they were acknowledged."""
        for uid in {one.uid for one in self.acknowledged}:
            ours = [one.data for one in self.acknowledged if one.uid == uid]
            theirs = list(dict.fromkeys(heard.data for heard in ris.heard if heard.uid == uid and heard.data in ours))
            assert theirs == ours, "messages of a step overtook one another"

    @property
    def open_steps(self) -> list[str]:
        last = {one.uid: one.state for one in self.acknowledged}
        return [uid for uid, state in last.items() if state not in LAST]
