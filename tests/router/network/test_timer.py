"""The timer of a connection: never later than a deadline that it was given."""

import math

import trio
from hypothesis import given
from hypothesis import strategies as st
from trio.testing import MockClock, wait_all_tasks_blocked

from router.network.timer import Timer


async def test_it_goes_off_at_the_earliest_deadline_and_forgets_the_others(autojump_clock: MockClock) -> None:
    moments: list[float] = []
    timer = Timer(lambda: moments.append(trio.current_time()))
    started = trio.current_time()
    for seconds in (30, 10, 20):
        timer.by(started + seconds)
    await trio.sleep(100)
    assert moments == [started + 10]
    timer.by(started + 150)
    await trio.sleep(100)
    assert moments == [started + 10, started + 150]
    timer.disarm()


async def test_a_deadline_that_has_passed_makes_it_go_off_at_once(autojump_clock: MockClock) -> None:
    moments: list[float] = []
    timer = Timer(lambda: moments.append(trio.current_time()))
    started = trio.current_time()
    timer.by(started - 1)
    await trio.sleep(1)
    assert moments == [started]
    timer.disarm()


async def test_it_does_not_go_off_after_it_was_disarmed(autojump_clock: MockClock) -> None:
    moments: list[float] = []
    timer = Timer(lambda: moments.append(trio.current_time()))
    timer.by(trio.current_time() + 1)
    timer.disarm()
    timer.by(trio.current_time())
    await trio.sleep(10)
    assert moments == []


async def test_it_has_a_task_only_from_its_first_deadline_until_it_is_stopped() -> None:
    before = trio.lowlevel.current_statistics().tasks_living
    timer = Timer(lambda: None)
    await wait_all_tasks_blocked()
    assert trio.lowlevel.current_statistics().tasks_living == before
    timer.by(trio.current_time() + 1000)
    await wait_all_tasks_blocked()
    assert trio.lowlevel.current_statistics().tasks_living == before + 1
    timer.disarm()
    await wait_all_tasks_blocked()
    assert trio.lowlevel.current_statistics().tasks_living == before


@given(st.lists(st.tuples(st.integers(0, 20), st.integers(0, 40)), max_size=20))
def test_it_has_gone_off_between_each_deadline_and_the_moment_it_was_given(waits: list[tuple[int, int]]) -> None:
    """`waits`: the seconds before each deadline is given, and those until it."""
    moments: list[float] = []
    given_at: list[tuple[float, float]] = []

    async def run() -> None:
        timer = Timer(lambda: moments.append(trio.current_time()))
        for before, until in waits:
            await trio.sleep(before)
            given_at.append((trio.current_time(), trio.current_time() + until))
            timer.by(given_at[-1][1])
        await trio.sleep(100)
        timer.disarm()

    trio.run(run, clock=MockClock(autojump_threshold=0))
    for moment, deadline in given_at:
        assert any(moment <= one <= deadline for one in moments)
    assert len(moments) <= len(waits)
    assert math.inf not in moments
