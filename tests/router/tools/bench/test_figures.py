"""Latency statistics, the schedule of an open loop, and the results of each object."""

from hypothesis import given
from hypothesis import strategies as st

from router.dimse import Status
from router.tools.bench import Mixture, ct_template, percentile, summary
from router.tools.bench.load import Schedule
from router.tools.bench.processes import bottleneck, cpu_figures
from router.tools.bench.report import distribution
from router.tools.bench.results import NEVER, RECORD, UNANSWERED, Results


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


def results(*records: tuple[int, float, float, float, int], sizes: tuple[int, ...] = (12_000,)) -> Results:
    """The results of objects: number; when due, begun, answered; status."""
    found = Results(Mixture(tuple(ct_template(size) for size in sizes)))
    for record in records:
        found.add(RECORD.pack(*record))
    return found


def test_latency_counts_from_the_moment_an_object_was_due_not_from_when_it_could_leave() -> None:
    found = results((0, 5.0, 8.0, 9.0, Status.SUCCESS))
    assert found.latencies() == [4.0]
    assert found.lateness() == [3.0]


def test_an_unanswered_object_has_no_latency_and_one_that_was_never_sent_does_not_count() -> None:
    found = results((1, 1.0, 1.0, NEVER, UNANSWERED))
    assert found.latencies() == []
    assert list(found.begun) == [NEVER, 1.0]
    assert (found.sent, found.answers, found.stored, found.bytes) == (1, 0, 0, 0)
    assert found.span() == (1.0, 1.0)


def test_a_warning_counts_as_stored_and_a_failure_does_not() -> None:
    sizes = 12_000, 2_000
    statuses = (Status.SUCCESS, 0xB000, UNANSWERED, 0xA700)
    found = results(*((number, 1.0, 1.0, 2.0, status) for number, status in enumerate(statuses)), sizes=sizes)
    lengths = [ct_template(size).length for size in sizes]
    assert list(found.numbers(stored=True)) == [0, 1]
    assert list(found.numbers(stored=False)) == [2, 3]
    assert (found.sent, found.answers, found.stored, found.bytes) == (4, 3, 2, lengths[0] + 2 * lengths[1])
    assert found.statuses() == {
        "0000H success": 1,
        "B000H warning: coercion of data elements": 1,
        "A700H refused: out of resources": 1,
    }


@given(st.permutations(range(20)), st.integers(1, 20))
def test_the_order_in_which_processes_tell_their_results_does_not_matter(order: list[int], at: int) -> None:
    told = [RECORD.pack(number, number, number, number + 0.5, Status.SUCCESS) for number in order]
    found = results()
    found.add(b"".join(told[:at]))
    found.add(b"".join(told[at:]))
    assert list(found.due) == list(range(20))
    assert found.latencies() == [0.5] * 20
    assert found.span() == (0.0, 19.5)


def test_what_used_up_its_core_was_the_limit_and_else_the_machine_if_nothing_was_left() -> None:
    slow, quick = cpu_figures([1.9, 0.5], 2.0, 1000), cpu_figures([0.5], 2.0, 1000)
    assert slow == {"processes": 2, "cpu_us_per_object": 2400.0, "busiest_share_of_a_core": 0.95}
    free, full = {"cores": 2, "cores_left": 1.0}, {"cores": 2, "cores_left": 0.1}
    assert bottleneck(free, generator=quick, sink=slow) == "sink"
    assert bottleneck(full, generator=quick, sink=slow) == "sink"
    assert bottleneck(full, generator=quick, sink=quick) == "machine"
    assert bottleneck(free, generator=quick, sink=quick) is None
    assert bottleneck({"cores": 2, "cores_left": None}, generator=cpu_figures([], 0.0, 0)) is None
