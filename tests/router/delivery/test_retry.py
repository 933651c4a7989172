"""When to try again: backoff, giving up, and the circuit breaker, as plain functions of numbers."""

from hypothesis import given
from hypothesis import strategies as st

from router.delivery.retry import STRIKES, Breaker, RetryPolicy

POLICY = RetryPolicy(first=5.0, factor=2.0, max=600.0, give_up=7 * 86400.0)


def test_the_wait_doubles_up_to_its_maximum() -> None:
    waits = [POLICY.next(attempt, 0.0, 1.0) for attempt in range(1, 10)]
    assert waits == [5.0, 10.0, 20.0, 40.0, 80.0, 160.0, 320.0, 600.0, 600.0]


@given(st.integers(1, 10**6), st.floats(0, 1), st.floats(0, 7 * 86400 - 1))
def test_jitter_keeps_the_wait_between_half_and_the_whole_of_the_backoff(
    attempt: int, jitter: float, age: float
) -> None:
    longest, wait = POLICY.next(attempt, age, 1.0), POLICY.next(attempt, age, jitter)
    assert longest is not None
    assert wait is not None
    assert longest / 2 <= wait <= longest <= 600.0


def test_what_is_owed_for_longer_than_give_up_is_not_tried_again() -> None:
    assert POLICY.next(3, 7 * 86400.0, 0.5) is None


def test_a_destination_that_cannot_be_reached_is_probed_one_association_at_a_time() -> None:
    breaker = Breaker(POLICY)
    assert breaker.allows(0.0, associations=3)
    breaker.failed(0.0, 1.0, "connection refused")
    assert not breaker.allows(4.9, associations=0)
    assert breaker.allows(5.0, associations=0)
    assert not breaker.allows(5.0, associations=1)
    breaker.failed(5.0, 1.0, "connection refused")
    assert not breaker.allows(14.9, associations=0)
    breaker.succeeded()
    assert breaker.allows(15.0, associations=1)


def test_single_failures_open_the_breaker_only_when_nothing_succeeds_between_them() -> None:
    breaker = Breaker(POLICY)
    for _ in range(STRIKES - 1):
        breaker.struck(0.0, 1.0, "A700H", again=False)
    breaker.succeeded()
    for _ in range(STRIKES - 1):
        breaker.struck(0.0, 1.0, "A700H", again=False)
    assert not breaker.is_open
    breaker.struck(0.0, 1.0, "A700H", again=False)
    assert breaker.is_open
    assert "5 failures in a row" in breaker.reason


def test_an_open_breaker_never_gives_a_destination_up() -> None:
    breaker = Breaker(RetryPolicy(first=1.0, factor=2.0, max=60.0, give_up=0.0))
    breaker.failed(100.0, 1.0, "gone")
    assert breaker.closed_at == 160.0


def test_what_fails_again_says_nothing_new_about_the_destination() -> None:
    breaker = Breaker(POLICY)
    for _ in range(100):
        breaker.struck(0.0, 1.0, "A700H", again=True)
    assert not breaker.is_open
    breaker.failed(0.0, 1.0, "connection refused")
    breaker.struck(5.0, 1.0, "A700H", again=True)
    assert breaker.closed_at == 10.0  # it is left in peace once more, but not for longer than before
