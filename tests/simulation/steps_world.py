"""A modality and two RIS around a router that crashes: procedure steps."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from functools import partial

import attrs
from pydicom.dataset import Dataset

from router.config import Config
from tests.simulation.world import COUNTS, Unheard, World, close_door, open_door
from tests.support.mpps_messages import encoded
from tests.support.mpps_peers import LAST, RIS, Heard, Scanner, hub


@attrs.define
class Acknowledged:
    """What the modality has an answer to."""

    uid: str
    data: bytes
    state: str


@attrs.define(slots=False)
class StepsWorld(World):
    """The modality repeats a message until it has an answer."""

    acknowledged: list[Acknowledged] = attrs.field(factory=list)

    @asynccontextmanager
    async def peers(self) -> AsyncIterator[Config]:
        async with RIS().serving() as one, RIS().serving() as two:
            self.all_ris = (one, two)
            self.forgotten: tuple[set[str], set[str]] = (set(), set())
            yield hub(self.folder, one=one.port, two=two.port)

    # What may happen

    async def report(self, uid: str | None, data_set: Dataset, state: str, crash_at: str) -> None:
        """The modality reports; without a UID, on a step that the router names."""
        creates = state == "IN PROGRESS" and bool(data_set.get("Modality"))
        await self.until_answered(partial(self._say, uid, data_set, creates), crash_at)
        COUNTS["messages"] += 1
        self.acknowledged.append(Acknowledged(self._named, encoded(data_set), state))

    async def _say(self, uid: str | None, data_set: Dataset, creates: bool) -> bool:
        try:
            async with Scanner.connected(self._port) as scanner:
                response = await (scanner.create(uid, data_set) if creates else scanner.set(uid or "", data_set))
        except (AssertionError, AttributeError) as error:  # it heard something else than an answer
            raise Unheard from error
        assert response.status == 0, f"{response.status:04X}H to {'N-CREATE' if creates else 'N-SET'} of {uid}"
        self._named = uid or response.command.affected_sop_instance_uid or ""
        return True

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
        close_door(self.all_ris[number])
        self.all_ris[number].faults.append("close")

    async def open_door(self, number: int) -> None:
        open_door(self.all_ris[number])

    async def forget(self, number: int, uid: str) -> None:
        """The RIS loses a step that it believes in progress."""
        ris = self.all_ris[number]
        if ris.steps.get(uid) == "IN PROGRESS":
            del ris.steps[uid]
            self.forgotten[number].add(uid)

    async def come_to_rest(self) -> None:
        """All faults are over."""
        for ris in self.all_ris:
            ris.faults.clear()
            ris.judged = lambda heard: None
            open_door(ris)
        await super().come_to_rest()

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
