"""The window: every delivery in exactly one place, lanes in order, contexts oldest first."""

from attrs import evolve
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import Bundle, RuleBasedStateMachine, consumes, invariant, precondition, rule

from router.delivery.window import Pair, Window
from router.messages import Waiting

PAIRS: tuple[Pair, ...] = (("ct", "implicit"), ("ct", "jpeg"), ("mr", "implicit"))


def waiting(message_id: int, key: str = "", pair: Pair = PAIRS[0]) -> Waiting:
    return Waiting(
        message_id=message_id,
        destination="pacs",
        key=key,
        attempts=0,
        born=0.0,
        service="storage",
        kind="C-STORE-RQ",
        abstract_syntax=pair[0],
        transfer_syntax=pair[1],
        sop_instance_uid=f"1.2.{message_id}",
        data_length=10,
    )


def test_the_plan_is_led_by_the_oldest_delivery() -> None:
    window = Window()
    window.add([waiting(1, pair=PAIRS[2]), waiting(2, pair=PAIRS[0]), waiting(3, pair=PAIRS[2])])
    assert window.plan() == [PAIRS[2], PAIRS[0]]


def test_only_what_the_association_can_carry_is_taken_oldest_first() -> None:
    window = Window()
    window.add([waiting(1, pair=PAIRS[2]), waiting(2, pair=PAIRS[0]), waiting(3, pair=PAIRS[1])])
    assert [taken.message_id for _ in range(2) if (taken := window.take(PAIRS[:2]))] == [2, 3]
    assert window.take(PAIRS[:2]) is None
    assert window.ready == 1


def test_a_lane_travels_one_at_a_time_and_others_overtake_it() -> None:
    window = Window()
    window.add([waiting(1, "step"), waiting(2, "step"), waiting(3)])
    first, other = window.take(PAIRS), window.take(PAIRS)
    assert first is not None
    assert other is not None
    assert (first.message_id, other.message_id) == (1, 3)
    assert window.take(PAIRS) is None
    window.finish(1)
    second = window.take(PAIRS)
    assert second is not None
    assert second.message_id == 2


def test_a_deferred_head_keeps_its_lane_behind_it() -> None:
    window = Window()
    window.add([waiting(1, "step"), waiting(2, "step")])
    head = window.take(PAIRS)
    assert head is not None
    window.defer(head, 10.0)
    assert window.next_due == 10.0
    assert window.take(PAIRS) is None
    window.wake(10.0)
    assert window.take(PAIRS) == head


def test_a_held_head_takes_its_lane_out_of_the_window() -> None:
    window = Window()
    window.add([waiting(1, "step"), waiting(2, "step"), waiting(3)])
    assert window.take(PAIRS)
    window.drop(1)
    assert 2 not in window
    assert len(window) == 1


def test_what_has_failed_lets_the_others_go_first_but_not_for_ever() -> None:
    window = Window()
    window.add([evolve(waiting(1), attempts=3), *(waiting(number) for number in range(2, 20))])
    taken = [delivery.message_id for _ in range(10) if (delivery := window.take(PAIRS))]
    assert taken == [2, 3, 4, 5, 6, 7, 8, 1, 9, 10]


def test_a_lane_whose_head_is_held_while_the_ledger_is_read_stays_blocked() -> None:
    window = Window()
    window.add([waiting(1, "step"), waiting(2)])
    assert window.take(PAIRS)
    assert window.take(PAIRS)
    with window.being_read():
        window.drop(1)
        window.finish(2)
        window.add([waiting(1, "step"), waiting(2), waiting(3, "step"), waiting(4, "other")])
    assert [taken.message_id for _ in range(4) if (taken := window.take(PAIRS))] == [4]
    window.add([waiting(3, "step")])  # a person has let it go
    assert window.ready == 1


class WindowMachine(RuleBasedStateMachine):
    """Random use of a window against a list of what should travel when."""

    in_flight: Bundle[Waiting] = Bundle("in_flight")

    def __init__(self) -> None:
        super().__init__()
        self.window = Window(capacity=20)
        self.next_id = 1
        self.now = 0.0
        self.travelled: dict[str, list[int]] = {}
        self.owned: set[int] = set()
        self.stale: set[int] = set()
        """In flight since before the ledger was changed by hand."""

    @precondition(lambda self: self.window.room)
    @rule(key=st.sampled_from(["", "a", "b"]), pair=st.sampled_from(PAIRS))
    def arrive(self, key: str, pair: Pair) -> None:
        self.window.add([waiting(self.next_id, key, pair)])
        self.owned.add(self.next_id)
        self.next_id += 1

    @rule(target=in_flight, offered=st.sets(st.sampled_from(PAIRS), min_size=1))
    def take(self, offered: set[Pair]) -> Waiting:
        delivery = self.window.take(offered)
        if delivery is None:
            return waiting(0)
        assert (delivery.abstract_syntax, delivery.transfer_syntax) in offered
        if delivery.key:
            travelled = self.travelled.setdefault(delivery.key, [])
            assert not travelled or travelled[-1] <= delivery.message_id
            travelled.append(delivery.message_id)
        return delivery

    @rule(delivery=consumes(in_flight), how=st.sampled_from(["finish", "defer", "drop"]))
    def settle(self, delivery: Waiting, how: str) -> None:
        if not delivery.message_id:
            return
        if how == "defer":
            stale = delivery.message_id in self.stale
            comes_back = self.window.defer(evolve(delivery, attempts=delivery.attempts + 1), self.now + 5)
            assert comes_back is not stale
            if stale:
                self.stale.discard(delivery.message_id)
                self.owned = {message_id for message_id in self.owned if message_id in self.window}
            return
        self.stale.discard(delivery.message_id)
        getattr(self.window, how)(delivery.message_id)
        self.owned.discard(delivery.message_id)
        if how == "drop" and delivery.key:
            self.owned = {message_id for message_id in self.owned if message_id in self.window}

    @rule(seconds=st.floats(0, 10))
    def wait(self, seconds: float) -> None:
        self.now += seconds
        self.window.wake(self.now)

    @rule()
    def forget(self) -> None:
        self.window.forget_idle()
        self.stale = {message_id for message_id in self.owned if message_id in self.window}
        self.owned = {message_id for message_id in self.owned if message_id in self.window}
        assert len(self.window) == self.window.in_flight

    @invariant()
    def every_delivery_is_in_exactly_one_place(self) -> None:
        behind = sum(map(len, self.window._lanes.values()))
        assert self.window.ready + behind + self.window.in_flight + self.window.deferred == len(self.window)
        assert len(self.window) == len(self.owned)


WindowMachine.TestCase.settings = settings(max_examples=150, stateful_step_count=40, deadline=None)
TestWindow = WindowMachine.TestCase
