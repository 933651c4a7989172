"""Queue and ledger together: whatever happens in whatever order, everything that may travel does, in its order."""

import tempfile
from collections.abc import Callable, Collection
from pathlib import Path
from typing import Any, cast

from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule

from router.delivery.backlog import Backlog
from router.delivery.queue import DeliveryQueue
from router.model import AttemptResult, Cause, PendingDelivery, Result
from router.spool import Spool
from router.spool.disk.counters import Counters
from router.spool.disk.filesystem import REAL
from router.spool.ledger.ledger import Ledger
from router.spool.ledger.rows import LedgerEntry, SettledDelivery
from router.spool.values import Place
from tests.router.spool.driver import envelope


class LedgerOfOne:
    """A spool's answers about one destination, at once; `meanwhile` happens between an answer and its arrival."""

    def __init__(self, path: Path) -> None:
        self.ledger = Ledger.open(REAL, path, Counters())
        self.now = 1.0
        self.ledger.database.clock = self.clock
        self.meanwhile: list[Callable[[], None]] = []

    def clock(self) -> float:
        return self.now

    async def fresh(self, destination: str, after: int, limit: int) -> Any:
        return self._late(self.ledger.backlog.fresh(destination, after, limit))

    async def newest(self, destination: str, limit: int) -> Any:
        return self._late(self.ledger.backlog.newest(destination, limit))

    async def due(self, destination: str, after: tuple[float, int], limit: int) -> Any:
        return self._late(self.ledger.backlog.due(destination, after, limit))

    async def first_of_lanes(self, destination: str, lanes: Collection[str]) -> Any:
        return self._late(self.ledger.backlog.first_of_lanes(destination, lanes))

    def _late(self, answer: Any) -> Any:
        meanwhile, self.meanwhile = self.meanwhile, []
        for what in meanwhile:
            what()
        return answer


class BacklogMachine(RuleBasedStateMachine):
    """A destination without a network: deliveries come in, are taken, end in every way; an operator interferes."""

    def __init__(self) -> None:
        super().__init__()
        self.folder = tempfile.TemporaryDirectory()
        self.spool = LedgerOfOne(Path(self.folder.name) / "ledger.sqlite")
        self.next_id = 1
        self.flying: list[PendingDelivery] = []
        self.finished: list[int] = []
        self.keys: dict[int, str] = {}

        self.restart()

    @precondition(lambda self: self.finished)
    @rule()
    def restart(self) -> None:
        """The process ends with deliveries in flight, and another begins on the same ledger."""
        self.flying.clear()
        self.spool.meanwhile.clear()
        self.queue = DeliveryQueue(capacity=6, again_capacity=3)
        self.backlog = Backlog("pacs", cast("Spool", self.spool), self.queue)

    def teardown(self) -> None:
        try:
            self.let_everything_travel()
        finally:
            self.spool.ledger.close()
            self.folder.cleanup()

    def write(self, key: str) -> LedgerEntry:
        """A message comes in; nobody is told."""
        place = Place(segment=1, offset=0, length=1, data_length=1, data_crc=0)
        entry = LedgerEntry(
            message_id=self.next_id,
            place=place,
            envelope=envelope(f"1.2.{self.next_id}", key=key),
            born=self.spool.now,
        )
        self.keys[self.next_id] = key
        self.next_id += 1
        with self.spool.ledger.transaction():
            self.spool.ledger.enter([entry])
        return entry

    @rule(keys=st.lists(st.sampled_from(["", "a", "b"]), min_size=1, max_size=4), at_once=st.booleans())
    def arrive(self, keys: list[str], at_once: bool) -> None:
        def arrive() -> None:
            self.backlog.arrived([row.waiting for key in keys for row in self.write(key).rows()])

        self.happen(arrive, at_once)

    @rule(count=st.integers(1, 4), alone=st.booleans())
    def take_some(self, count: int, alone: bool) -> None:
        for _ in range(count):
            self.begin(alone)

    def begin(self, alone: bool) -> None:
        self.refill()
        if (delivery := self.queue.pop(lambda _: True, self.spool.now, alone=alone)) is not None:
            assert delivery.message_id not in self.finished
            assert delivery.message_id not in [one.message_id for one in self.flying]
            ahead = [number for number, key in self.keys.items() if key and key == delivery.key]
            assert all(number in self.finished for number in ahead if number < delivery.message_id)
            self.flying.append(delivery)

    @precondition(lambda self: self.flying)
    @rule(
        which=st.integers(0, 100),
        how=st.sampled_from(["delivered", "delivered", "held", "A700H", "aborted"]),
        at_once=st.booleans(),
    )
    def end(self, which: int, how: str, at_once: bool) -> None:
        delivery = self.flying.pop(which % len(self.flying))
        self.happen(lambda: self.settle(delivery, how), at_once)

    def settle(self, delivery: PendingDelivery, how: str) -> None:
        results = {"delivered": Result.DELIVERED, "held": Result.HELD}
        result = AttemptResult(
            result=results.get(how, Result.RETRY),
            reason=how,
            cause=Cause.ABORTED if how == "aborted" else Cause.ANSWERED,
            due=0.0 if how in results else self.spool.now + 5,
        )
        if result.due:
            self.backlog.deferred(result.due)
        if how == "aborted":
            self.queue.failed(delivery, self.spool.now, 0.1)
            self.backlog.look_at_newest()
        else:
            self.queue.responded(delivery)
        self.queue.leave(delivery.message_id, delivered=how == "delivered")
        with self.spool.ledger.transaction():
            outcome = SettledDelivery(message_id=delivery.message_id, destination="pacs", result=result)
            _, freed = self.spool.ledger.settle([outcome])
        for _, lane in freed:
            rows = self.spool.ledger.backlog.first_of_lanes("pacs", [lane])
            if rows:
                self.backlog.arrived([row.waiting for row in rows])
        if how == "delivered":
            self.finished.append(delivery.message_id)

    @rule(seconds=st.floats(0.1, 10))
    def wait(self, seconds: float) -> None:
        self.spool.now += seconds

    @rule(action=st.sampled_from(["release", "hold", "retry"]), at_once=st.booleans())
    def interfere(self, action: str, at_once: bool) -> None:
        def interfere() -> None:
            before, after = {"release": ("2", 0), "hold": ("0", 2), "retry": ("0, 2", 0)}[action]
            with self.spool.ledger.transaction():
                self.spool.ledger.database.execute(
                    f"UPDATE deliveries SET state = {after}, due = 0 WHERE state IN ({before}) AND message_id % 3 = 0"
                )
            self.backlog.changed()

        self.happen(interfere, at_once)

    def happen(self, what: Callable[[], None], at_once: bool) -> None:
        """Now, or between the next question to the ledger and its answer."""
        if at_once:
            what()
        else:
            self.spool.meanwhile.append(what)

    def refill(self) -> None:
        coroutine = self.backlog.refill()
        try:
            coroutine.send(None)
        except StopIteration:
            return
        raise AssertionError("nothing here waits")

    def let_everything_travel(self) -> None:
        """Deliver whatever comes: nothing that may travel is forgotten, before or after an operator releases it."""
        self.spool._late(None)
        self.deliver_what_comes()
        blocked = self.spool.ledger.database.execute(
            "SELECT count(*) FROM deliveries d WHERE state = 0 AND NOT EXISTS (SELECT 1 FROM deliveries h"
            " WHERE h.state = 2 AND h.lane = d.lane AND h.lane <> '' AND h.message_id < d.message_id)"
        )
        assert blocked.fetchone() == (0,)
        with self.spool.ledger.transaction():
            self.spool.ledger.database.execute("UPDATE deliveries SET state = 0, due = 0 WHERE state = 2")
        self.backlog.changed()
        self.deliver_what_comes()
        assert sorted(self.finished) == list(range(1, self.next_id))

    def deliver_what_comes(self) -> None:
        for _ in range(2 * self.next_id + 50):
            self.begin(True)
            if self.flying:
                self.settle(self.flying.pop(0), "delivered")
            self.spool.now += 1

    @invariant()
    def memory_is_bounded(self) -> None:
        assert self.queue.fresh <= 6 + 64 + 2  # the newest may come on top, and the first of each lane
        assert self.queue.again <= 3 + 2


BacklogMachine.TestCase.settings = settings(max_examples=200, stateful_step_count=40, deadline=None)
TestBacklog = BacklogMachine.TestCase


def test_a_lane_whose_first_is_delivered_while_the_ledger_is_read_goes_on() -> None:
    world = BacklogMachine()
    world.arrive(["a"], True)
    world.begin(True)
    world.arrive(["a"], True)  # the ledger is asked, and says that the first is still waiting
    world.end(0, "delivered", False)
    world.refill()
    world.begin(True)
    assert [delivery.message_id for delivery in world.flying] == [2]
    world.teardown()


def test_what_is_delivered_while_the_ledger_is_read_is_not_delivered_again() -> None:
    world = BacklogMachine()
    world.arrive([""], True)
    world.begin(True)
    world.interfere("retry", True)  # everything is read anew
    world.end(0, "delivered", False)
    world.refill()
    world.begin(True)
    assert not world.flying
    world.teardown()
