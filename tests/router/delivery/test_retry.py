"""When to try again: backoff, giving up, and the circuit breaker, as plain functions of numbers."""

from hypothesis import given
from hypothesis import strategies as st

from router.delivery.retry import UNANSWERED_TO_OPEN, Breaker, RetryPolicy

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
    assert breaker.allows(0.0, associations=3, news=False)
    breaker.record_site_failure(0.0, 1.0, "connection refused")
    for news in (False, True):  # what comes in does not make a dead destination live
        assert not breaker.allows(4.9, associations=0, news=news)
        assert breaker.allows(5.0, associations=0, news=news)
        assert not breaker.allows(5.0, associations=1, news=news)
    breaker.record_site_failure(5.0, 1.0, "connection refused")
    assert not breaker.allows(14.9, associations=0, news=False)
    breaker.record_response()
    assert breaker.allows(15.0, associations=1, news=False)


def leave_unanswered(breaker: Breaker, times: int, now: float = 0.0, *, is_retry: bool = False) -> None:
    for _ in range(times):
        breaker.record_unanswered(now, 1.0, "aborted by the peer", is_retry=is_retry)


def test_attempts_without_a_response_open_the_breaker_only_when_nothing_is_answered_between_them() -> None:
    breaker = Breaker(POLICY)
    leave_unanswered(breaker, UNANSWERED_TO_OPEN - 1)
    breaker.record_response()
    leave_unanswered(breaker, UNANSWERED_TO_OPEN - 1)
    assert not breaker.is_open
    leave_unanswered(breaker, 1)
    assert breaker.is_open
    assert "5 attempts in a row" in breaker.reason


def test_what_comes_in_is_tried_soon_where_the_breaker_is_open_on_suspicion() -> None:
    breaker = Breaker(POLICY)
    leave_unanswered(breaker, UNANSWERED_TO_OPEN + 6)
    assert breaker.quiet_until == 320.0
    assert not breaker.allows(100.0, associations=0, news=False)
    assert not breaker.allows(4.9, associations=0, news=True)
    assert breaker.allows(5.0, associations=0, news=True)


def test_a_dead_destination_stays_cheap_whatever_comes_in() -> None:
    """Also where it was suspected before it died, and the other way round."""
    breaker = Breaker(POLICY)
    leave_unanswered(breaker, UNANSWERED_TO_OPEN)
    for _ in range(9):
        breaker.record_site_failure(100.0, 1.0, "connection refused")
    assert not breaker.allows(699.0, associations=0, news=True)


def test_an_open_breaker_never_gives_a_destination_up() -> None:
    breaker = Breaker(RetryPolicy(first=1.0, factor=2.0, max=60.0, give_up=0.0))
    breaker.record_site_failure(100.0, 1.0, "gone")
    assert breaker.quiet_until == 160.0


def test_a_retry_without_a_response_says_nothing_new_about_the_destination() -> None:
    breaker = Breaker(POLICY)
    leave_unanswered(breaker, 100, is_retry=True)
    assert not breaker.is_open
    breaker.record_site_failure(0.0, 1.0, "connection refused")
    leave_unanswered(breaker, 1, 5.0, is_retry=True)
    assert breaker.quiet_until == 10.0  # it is left in peace once more, but not for longer than before


@given(
    st.lists(
        st.tuples(st.sampled_from(["site", "unanswered", "retry", "response", "wait"]), st.floats(0.1, 1000)),
        max_size=60,
    )
)
def test_an_open_breaker_always_allows_a_probe_in_time_and_never_two_at_once(steps: list[tuple[str, float]]) -> None:
    breaker, now = Breaker(POLICY), 0.0
    for step, seconds in steps:
        now += seconds
        match step:
            case "site":
                breaker.record_site_failure(now, 1.0, "gone")
            case "unanswered" | "retry":
                breaker.record_unanswered(now, 1.0, "aborted", is_retry=step == "retry")
            case "response":
                breaker.record_response()
        assert breaker.allows(now + POLICY.max, associations=0, news=False)
        assert breaker.next_try(news=True) <= breaker.next_try(news=False)
        if breaker.is_open:
            assert not breaker.allows(now + POLICY.max, associations=1, news=True)
        if step == "site":
            assert not breaker.allows(now, associations=0, news=True)
