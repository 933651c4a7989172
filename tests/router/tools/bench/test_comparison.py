"""The comparison without its processes: series, aims, charts, and the pages that quote the result."""

import xml.etree.ElementTree as ET
from pathlib import Path

import pytest
from attrs import evolve
from hypothesis import given, settings
from hypothesis import strategies as st

from benchmarks import report
from benchmarks.aims import (
    ABOVE_IDLE,
    AIMS,
    BUSIEST,
    CORES_LEFT,
    FORWARDING,
    MEGABYTES,
    OBJECTS,
    PYNETDICOM,
    RAW_RECEIVE,
    ROUTER,
    STORESCP,
    check_aims,
)
from benchmarks.pages import PERFORMANCE, README, ROOT, between, update_pages
from benchmarks.plots import COLOURS, CURVES
from benchmarks.readings import Absent, Curve, Reading, Series, series_of
from benchmarks.report import Run, plots_of, write

SVG = "{http://www.w3.org/2000/svg}"


def reading(side: str, value: float, workload: str = "12 kB", quantity: str = OBJECTS) -> Reading:
    return Reading(workload=workload, side=side, quantity=quantity, value=value)


def series(case: str, side: str, workload: str, quantity: str, *values: float) -> Series:
    return Series(case=case, workload=workload, side=side, quantity=quantity, values=values)


RUN = Run(
    date="2030-01-02",
    command="dicom-router bench compare --rounds 5",
    revision="abc1234",
    machine="2-cores",
    rounds=5,
    facts={"cores": "2", "Python": "3.11"},
    series=(
        series("receive", STORESCP, "525 kB", MEGABYTES, 50.0, 100.0, 400.0),
        series("receive", RAW_RECEIVE, "525 kB", MEGABYTES, 200.0, 250.0, 260.0),
        series("receive", ROUTER, "525 kB", MEGABYTES, 225.0),
        series("receive", FORWARDING, "525 kB", MEGABYTES, 140.0, 150.0, 160.0),
        series("receive", FORWARDING, "525 kB", CORES_LEFT, 0.25, 0.5, 0.75),
        series("receive", FORWARDING, "525 kB", ABOVE_IDLE, 7.0),
        series("receive", STORESCP, "240 MB", MEGABYTES, 100.0),
        series("receive", FORWARDING, "240 MB", MEGABYTES, 110.0),
        series("receive", FORWARDING, "240 MB", BUSIEST, 0.97),
        series("memory", ROUTER, "2 GiB", ABOVE_IDLE, 12.5),
    ),
    curves=(
        Curve(plot="latency", name=ROUTER, side=ROUTER, points=((0, 1.0), (50, 2.0), (99, 30.0))),
        Curve(plot="backlog", name="delivered", side=ROUTER, points=((1, 900.0), (1000, 910.0))),
        Curve(plot="memory", name="<2 GiB>", side=ROUTER, points=((0.0, 0.0), (0.5, 12.0), (1.0, -1.0))),
    ),
    absent=(Absent(side="somebody", why="not installed"),),
)


LINE = (
    "| receive 525 kB while forwarding | storescp | MB/s | 100 (50-400) | 150 (140-160) | 1.5 | at least 1x | met "
    "| 0.5 | 7 |"
)


def test_readings_of_all_rounds_make_a_series_with_its_median_and_spread() -> None:
    rounds = [reading(side, value) for value in (3.0, 1.0, 2.0) for side in (ROUTER, PYNETDICOM)]
    router, relay = series_of("end-to-end", [*rounds, reading(PYNETDICOM, 100.0)])
    assert (router.side, router.values, router.median, router.spread) == (ROUTER, (3.0, 1.0, 2.0), 2.0, (1.0, 3.0))
    assert (relay.median, relay.spread) == (2.5, (1.0, 100.0))


def test_an_aim_is_judged_by_the_ratio_of_the_medians() -> None:
    judged = {(one.aim.work, one.aim.peer): one for one in check_aims(RUN.series)}
    alone = judged["receive 525 kB, 1 association", RAW_RECEIVE]
    assert (alone.ratio, alone.met) == (0.9, True)
    forwarding = judged["receive 525 kB while forwarding", STORESCP]
    assert (forwarding.ratio, forwarding.met) == (1.5, True)
    assert judged["receive 240 MB while forwarding", STORESCP].met is False


def test_an_aim_tells_what_was_left_and_whether_the_measurement_itself_was_the_limit() -> None:
    judged = {one.aim.work: one for one in check_aims(RUN.series)}
    free, full = judged["receive 525 kB while forwarding"], judged["receive 240 MB while forwarding"]
    assert (free.cores_left, free.above_idle, free.limited) == (0.5, 7.0, False)
    assert (full.cores_left, full.above_idle, full.limited) == (None, None, True)


def test_an_aim_without_a_peer_is_judged_by_the_number_itself() -> None:
    judged = {one.aim.work: one for one in check_aims(RUN.series)}
    assert (judged["peak RSS, an object of 2 GiB"].ratio, judged["peak RSS, an object of 2 GiB"].met) == (12.5, True)


def test_what_was_not_measured_is_neither_met_nor_missed() -> None:
    assert {one.met for one in check_aims([])} == {None}
    assert len(check_aims([])) == len(AIMS)


@given(st.lists(st.floats(-1e12, 1e12, allow_subnormal=False), min_size=1, max_size=5), st.sampled_from(list(CURVES)))
@settings(max_examples=10, deadline=None)
def test_a_plot_can_be_drawn_of_any_numbers_and_words(values: list[float], plot: str) -> None:
    curve = Curve(plot=plot, name='a < "b" & $c', side=ROUTER, points=tuple(enumerate(values)))
    (drawn,) = plots_of(evolve(RUN, series=(), curves=(curve,))).values()
    assert 'a < "b" & $c' in {text.text for text in ET.fromstring(drawn).iter(f"{SVG}text")}


def test_a_side_has_its_own_colour_in_every_plot_where_it_is() -> None:
    drawn = plots_of(RUN)
    assert set(drawn) == {"rate-receive", "latency", "backlog", "memory"}
    assert {name for name, svg in drawn.items() if COLOURS[ROUTER] in svg} == set(drawn)
    assert {name for name, svg in drawn.items() if COLOURS[STORESCP] in svg} == {"rate-receive"}


def test_the_same_figures_make_the_same_files() -> None:
    assert plots_of(RUN) == plots_of(RUN)


def test_a_result_is_a_folder_of_json_tables_and_charts_without_those_of_the_run_before(tmp_path: Path) -> None:
    (tmp_path / "2030-01-02-2-cores").mkdir()
    (tmp_path / "2030-01-02-2-cores" / "old.svg").touch()
    folder = write(RUN, tmp_path)
    assert {path.name for path in folder.iterdir()} == {
        "README.md", "results.json", "rate-receive.svg", "latency.svg", "backlog.svg", "memory.svg",
    }  # fmt: skip
    for path in folder.glob("*.svg"):
        ET.fromstring(path.read_text())
    page = (folder / "README.md").read_text()
    assert LINE in page
    assert "| 1.1 | at least 1.2x | not met; generator or sink was the limit |  |  |" in page
    assert "Not measured here: somebody: not installed." in page


def test_nothing_is_drawn_of_what_was_not_measured() -> None:
    assert plots_of(evolve(RUN, series=(), curves=())) == {}


def test_what_stands_between_the_markers_is_exchanged_and_nothing_else() -> None:
    text = "before\n<!-- it: begin -->\nold\nolder\n<!-- it: end -->\nafter\n"
    once = between(text, "it", ["new"])
    assert once == "before\n<!-- it: begin -->\nnew\n<!-- it: end -->\nafter\n"
    assert between(once, "it", ["old", "older"]) == text


def test_a_page_without_markers_is_left_alone() -> None:
    with pytest.raises(ValueError, match="begin"):
        between("nothing here", "it", ["new"])


def test_the_newest_result_is_shown_on_both_pages(tmp_path: Path) -> None:
    (tmp_path / "docs").mkdir()
    for page in (PERFORMANCE, README):
        (tmp_path / page).write_text((ROOT / page).read_text())
    folder = write(RUN, tmp_path / "benchmarks" / "results")
    update_pages(RUN, folder, tmp_path)
    full, short = (tmp_path / PERFORMANCE).read_text(), (tmp_path / README).read_text()
    assert "![latency](../benchmarks/results/2030-01-02-2-cores/latency.svg)" in full
    assert LINE in full
    assert "| receive 525 kB while forwarding (MB/s) | storescp | 150 | 100 | 1.5x |" in short
    assert "2 GiB" not in short.split("benchmark result: begin")[1].split("benchmark result: end")[0]


def test_tables_for_the_terminal_have_a_row_for_each_series() -> None:
    both, aims = report.tables(RUN)
    assert both.row_count == len(RUN.series)
    assert aims.row_count == 4
