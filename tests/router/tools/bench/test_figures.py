"""Latency statistics, the schedule of an open loop, and the results of each object."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from router.dimse import Status
from router.tools.bench import percentile, summary
from router.tools.bench.load import Schedule
from router.tools.bench.report import distribution
from router.tools.bench.results import NEVER, UNANSWERED, Results


def test_a_percentile_is_the_nearest_rank() -> None:
    values = [15.0, 20.0, 35.0, 40.0, 50.0]
    assert [percentile(values, each) for each in (0, 5, 30, 40, 50, 100)] == [15, 15, 20, 20, 35, 50]


@given(st.lists(st.floats(0, 1e6), min_size=1), st.floats(0, 100))
def test_the_given_percent_of_values_do_not_exceed_their_percentile(values: list[float], percent: float) -> None:
    found = percentile(sorted(values), percent)
    assert found in values
    assert sum(value <= found for value in values) >= len(values) * percent / 100 - 1e-6


def test_a_summary_is_in_milliseconds_whatever_the_order() -> None:
    assert summary([0.003, 0.001, 0.002, 0.010]) == {
        "count": 4, "mean": 4.0, "p50": 2.0, "p95": 10.0, "p99": 10.0, "max": 10.0,
    }  # fmt: skip


def test_a_summary_of_nothing_has_no_numbers() -> None:
    assert summary([]) == {"count": 0, "mean": None, "p50": None, "p95": None, "p99": None, "max": None}
    assert distribution([]) == []


@given(st.lists(st.floats(0, 100), min_size=1, max_size=300))
def test_a_distribution_climbs_from_the_least_to_the_greatest(values: list[float]) -> None:
    points = distribution(values)
    assert points == sorted(points)
    assert points[0] == round(min(values) * 1000, 3)
    assert points[-1] == round(max(values) * 1000, 3)


def test_with_a_rate_objects_are_due_at_even_distances_whatever_the_peer_does() -> None:
    schedule = Schedule(start=100.0, rate=4.0, objects=10)
    assert [schedule.due(number) for number in range(3)] == [100.0, 100.25, 100.5]


def test_without_a_rate_an_object_is_due_as_soon_as_it_can_leave() -> None:
    assert Schedule(start=100.0, objects=10).due(5) is None


def test_a_schedule_ends_after_its_number_of_objects() -> None:
    schedule = Schedule(start=0.0, objects=3)
    assert [schedule.is_over(number, 1e9) for number in (2, 3)] == [False, True]


def test_a_schedule_ends_after_its_seconds() -> None:
    schedule = Schedule(start=10.0, seconds=2.0)
    assert [schedule.is_over(0, now) for now in (11.9, 12.0)] == [False, True]


def test_with_a_rate_the_end_depends_on_when_an_object_is_due_not_on_how_late_it_is() -> None:
    schedule = Schedule(start=10.0, rate=2.0, seconds=2.0)
    assert [schedule.is_over(number, 1e9) for number in (3, 4)] == [False, True]


def test_latency_counts_from_the_moment_an_object_was_due_not_from_when_it_could_leave() -> None:
    results = Results([100])
    number = results.add(0)
    results.record_begin(number, due=5.0, now=8.0)
    results.record_response(number, Status.SUCCESS, now=9.0)
    assert results.latencies() == [4.0]
    assert results.lateness() == [3.0]


def test_an_unanswered_object_has_no_latency() -> None:
    results = Results([100])
    sent, unsent = results.add(0), results.add(0)
    results.record_begin(sent, None, 1.0)
    assert results.latencies() == []
    assert list(results.answered) == [NEVER, NEVER]
    assert list(results.status) == [UNANSWERED, UNANSWERED]
    assert results.begun[unsent] == NEVER
    assert results.span() == (1.0, 1.0)


def test_a_warning_counts_as_stored_and_a_failure_does_not() -> None:
    results = Results([100, 7])
    for template, status in ((0, Status.SUCCESS), (1, 0xB000), (1, 0xA700), (0, UNANSWERED)):
        number = results.add(template)
        if status != UNANSWERED:
            results.record_begin(number, None, 1.0)
            results.record_response(number, status, 2.0)
    assert list(results.numbers(stored=True)) == [0, 1]
    assert list(results.numbers(stored=False)) == [2, 3]
    assert (results.answers, results.stored, results.bytes) == (3, 2, 114)
    assert results.statuses() == {
        "0000H success": 1,
        "B000H warning: coercion of data elements": 1,
        "A700H refused: out of resources": 1,
    }


@pytest.mark.parametrize("begin", [0, 1, 2])
def test_latencies_can_be_asked_for_from_an_object_on(begin: int) -> None:
    results = Results([1])
    for seconds in (1.0, 2.0):
        number = results.add(0)
        results.record_begin(number, None, 0.0)
        results.record_response(number, Status.SUCCESS, seconds)
    assert results.latencies(begin) == [1.0, 2.0][begin:]
