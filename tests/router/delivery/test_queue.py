"""The queue: only what may travel, every delivery in one place, no run of bad messages before all others."""

from collections.abc import Callable, Container
from typing import Any

from attrs import evolve
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import Bundle, RuleBasedStateMachine, consumes, invariant, multiple, precondition, rule

from router.delivery.cohort import REST
from router.delivery.queue import Carries, DeliveryQueue, Pair, pair_of
from router.model import Cause, PendingDelivery
from tests.support.deliveries import PAIRS, waiting

NOW = 100.0


def failed(message_id: int, cause: Cause = Cause.ANSWERED, due: float = 50.0) -> PendingDelivery:
    return evolve(waiting(message_id), due=due, cause=cause, attempts=1)


def on(pairs: Container[Pair]) -> Carries:
    """A channel that carries these pairs."""
    return lambda delivery: pair_of(delivery) in pairs


def begin(queue: DeliveryQueue, now: float = NOW, *, alone: bool = True) -> int | None:
    delivery = queue.pop(on(PAIRS), now, alone=alone)
    return None if delivery is None else delivery.message_id


def test_the_plan_is_led_by_the_oldest_delivery() -> None:
    queue = DeliveryQueue()
    queue.add([waiting(1, pair=PAIRS[2]), waiting(2, pair=PAIRS[0]), waiting(3, pair=PAIRS[2])])
    assert [pair_of(delivery) for delivery in queue.plan(NOW)] == [PAIRS[2], PAIRS[0]]


def test_only_what_the_association_can_carry_is_taken_oldest_first() -> None:
    queue = DeliveryQueue()
    queue.add([waiting(1, pair=PAIRS[2]), waiting(2, pair=PAIRS[0]), waiting(3, pair=PAIRS[1])])
    taken = [queue.pop(on(PAIRS[:2]), NOW, alone=True) for _ in range(3)]
    assert [delivery and delivery.message_id for delivery in taken] == [2, 3, None]
    assert queue.available(NOW) == 1


def test_a_delivered_head_asks_for_the_next_of_its_lane_a_failed_one_does_not() -> None:
    queue = DeliveryQueue()
    queue.add([waiting(1, "step"), waiting(2, "other")])
    assert begin(queue) == 1
    assert begin(queue) == 2
    queue.leave(1, delivered=True)
    queue.leave(2, delivered=False)
    assert queue.lanes_to_read == {"step"}


def test_what_has_failed_lets_the_others_go_first_but_not_for_ever() -> None:
    queue = DeliveryQueue()
    queue.add([failed(1), *(waiting(number) for number in range(2, 20))])
    assert [begin(queue) for _ in range(10)] == [2, 3, 4, 5, 6, 7, 8, 1, 9, 10]


def test_a_suspect_travels_alone_and_only_one_at_a_time() -> None:
    queue = DeliveryQueue()
    queue.add(failed(number, Cause.ABORTED) for number in (1, 2))
    assert begin(queue, alone=False) is None
    assert begin(queue) == 1
    assert begin(queue) is None
    assert queue.available(NOW) == 0
    queue.leave(1, delivered=False)
    assert begin(queue) == 2


def test_after_a_failure_the_next_is_not_its_neighbour() -> None:
    queue = DeliveryQueue()
    queue.add(waiting(number) for number in range(1, 101))
    tried = []
    for _ in range(3):
        tried.append(begin(queue))
        queue.failed(waiting(tried[-1] or 0), NOW, 0.01)
    assert tried == [1, 100, 51]


def test_after_a_failure_another_cohort_goes_first() -> None:
    queue = DeliveryQueue()
    queue.add(
        [
            *(waiting(number) for number in range(1, 10)),
            waiting(10, calling_ae="MR1"),
            waiting(11, pair=PAIRS[1]),
        ]
    )
    first = begin(queue)
    assert first == 1
    queue.failed(waiting(1), NOW, 0.01)
    assert {begin(queue), begin(queue)} == {10, 11}


def test_where_one_succeeds_its_neighbours_follow_until_it_is_time_for_the_oldest() -> None:
    queue = DeliveryQueue()
    queue.add(waiting(number) for number in range(1, 101))
    assert begin(queue) == 1
    queue.failed(waiting(1), NOW, 1.0)
    for number in (100, 99, 98):
        assert begin(queue) == number
        queue.responded(waiting(number))
    assert begin(queue, NOW + REST) == 2


def test_a_cohort_that_fails_everywhere_rests_and_what_comes_in_does_not() -> None:
    queue = DeliveryQueue()
    queue.add(waiting(number) for number in range(1, 101))
    for _ in range(3):
        queue.failed(waiting(begin(queue) or 0), NOW, 60.0)
    assert queue.available(NOW) == 0
    assert begin(queue) is None
    assert queue.next_moment(NOW) == NOW + 60 * REST
    queue.add([waiting(200)])
    assert begin(queue) == 200
    assert begin(queue) is None
    assert begin(queue, NOW + 60 * REST) is not None


def test_a_stall_that_ends_in_a_failure_counts_once() -> None:
    queue = DeliveryQueue()
    queue.add(waiting(number) for number in range(1, 101))
    for _ in range(2):
        number = begin(queue)
        queue.stalls(waiting(number or 0), NOW, 5.0)
        queue.stalls(waiting(number or 0), NOW + 5, 10.0)
        queue.failed(waiting(number or 0), NOW + 55, 60.0)
        queue.leave(number or 0, delivered=False)
    assert queue.available(NOW + 55) > 0


def test_no_suspect_travels_while_another_message_waits_for_long() -> None:
    queue = DeliveryQueue()
    queue.add([waiting(1), failed(2, Cause.TIMED_OUT)])
    assert begin(queue) == 1
    queue.stalls(waiting(1), NOW, 5.0)
    assert queue.available(NOW) == 0
    assert begin(queue) is None
    queue.responded(waiting(1))
    assert begin(queue) == 2


def test_forgiven_cohorts_begin_with_their_oldest() -> None:
    queue = DeliveryQueue()
    queue.add(waiting(number) for number in range(1, 101))
    for _ in range(3):
        queue.failed(waiting(begin(queue) or 0), NOW, 60.0)
    queue.forgive()
    assert begin(queue) == 2


def test_what_left_while_the_ledger_was_read_is_not_taken_in_again() -> None:
    queue = DeliveryQueue()
    queue.add([waiting(1)])
    assert begin(queue) == 1
    with queue.being_read():
        queue.leave(1, delivered=True)
        queue.add([waiting(1), waiting(2)])
    assert [begin(queue), begin(queue)] == [2, None]


class QueueMachine(RuleBasedStateMachine):
    """Random use of a queue against a list of what should be where."""

    in_flight: Bundle[PendingDelivery] = Bundle("in_flight")

    def __init__(self) -> None:
        super().__init__()
        self.queue = DeliveryQueue(capacity=20, again_capacity=5)
        self.next_id = 1
        self.now = 0.0
        self.ready: dict[int, PendingDelivery] = {}
        self.flying: dict[int, PendingDelivery] = {}

    @precondition(lambda self: self.queue.room > 0)
    @rule(pair=st.sampled_from(PAIRS), calling_ae=st.sampled_from(["CT1", "CT2"]), key=st.sampled_from(["", "a"]))
    def arrive(self, pair: Pair, calling_ae: str, key: str) -> None:
        self.know(waiting(self.next_id, key, pair, calling_ae))

    @precondition(lambda self: self.queue.again_room > 0)
    @rule(pair=st.sampled_from(PAIRS), cause=st.sampled_from([Cause.ANSWERED, Cause.ABORTED, Cause.TIMED_OUT]))
    def become_due(self, pair: Pair, cause: Cause) -> None:
        self.know(evolve(waiting(self.next_id, pair=pair), due=self.now + 1, cause=cause, attempts=1))

    def know(self, delivery: PendingDelivery) -> None:
        self.queue.add([delivery, delivery])
        self.ready[delivery.message_id] = delivery
        self.next_id += 1

    @rule(target=in_flight, offered=st.sets(st.sampled_from(PAIRS), min_size=1), alone=st.booleans())
    def begin(self, offered: set[Pair], alone: bool) -> Any:
        available = self.queue.available(self.now)
        delivery = self.queue.pop(on(offered), self.now, alone=alone)
        if delivery is None:
            assert not available or offered != set(PAIRS) or not alone
            return multiple()
        assert (delivery.abstract_syntax, delivery.transfer_syntax) in offered
        suspects = [one for one in self.flying.values() if one.cause in (Cause.ABORTED, Cause.TIMED_OUT)]
        if delivery.cause in (Cause.ABORTED, Cause.TIMED_OUT):
            assert alone
            assert not suspects
        self.flying[delivery.message_id] = self.ready.pop(delivery.message_id)
        return delivery

    @rule(
        delivery=consumes(in_flight),
        seconds=st.none() | st.floats(0, 100),
        delivered=st.booleans(),
        stalled=st.booleans(),
    )
    def end(self, delivery: PendingDelivery, seconds: float | None, delivered: bool, stalled: bool) -> None:
        if delivery.message_id not in self.flying:
            return
        if stalled:
            self.queue.stalls(delivery, self.now, 5.0)
        if seconds is None:
            self.queue.responded(delivery)
        else:
            self.queue.failed(delivery, self.now, seconds)
        self.queue.leave(delivery.message_id, delivered=delivered and seconds is None)
        del self.flying[delivery.message_id]

    @rule(seconds=st.floats(0, 100))
    def wait(self, seconds: float) -> None:
        self.now += seconds

    @rule()
    def forget(self) -> None:
        self.queue.forget_ready()
        self.ready.clear()

    @rule(remainder=st.integers(0, 2))
    def settle_some(self, remainder: int) -> None:
        chosen: Callable[[PendingDelivery], bool] = lambda delivery: delivery.message_id % 3 == remainder  # noqa: E731
        taken = {delivery.message_id for delivery in self.queue.pop_all(chosen)}
        assert taken == {number for number in self.ready if number % 3 == remainder}
        for message_id in taken:
            del self.ready[message_id]
            self.queue.leave(message_id, delivered=False)

    @rule()
    def forgive(self) -> None:
        self.queue.forgive()
        assert self.queue.next_moment(self.now) == float("inf")

    @invariant()
    def every_delivery_is_in_one_place(self) -> None:
        assert self.queue.fresh + self.queue.again == len(self.ready)
        assert self.queue.in_flight == len(self.flying)
        assert len(self.queue) == len(self.ready) + len(self.flying)

    @invariant()
    def what_rests_comes_back(self) -> None:
        """Nothing is ready for ever without a moment at which it may travel."""
        if self.ready and not self.queue.available(self.now):
            moment = self.queue.next_moment(self.now)
            suspects = any(one.cause in (Cause.ABORTED, Cause.TIMED_OUT) for one in self.flying.values())
            assert suspects or self.queue.available(moment)


QueueMachine.TestCase.settings = settings(max_examples=150, stateful_step_count=40, deadline=None)
TestQueue = QueueMachine.TestCase
