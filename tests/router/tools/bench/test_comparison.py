"""The comparison without its processes: series, aims, charts, and the pages that quote the result."""

import xml.etree.ElementTree as ET
from pathlib import Path

import pytest
from attrs import evolve
from hypothesis import given
from hypothesis import strategies as st

from benchmarks import report
from benchmarks.aims import AIMS, MEGABYTES, OBJECTS, PYNETDICOM, ROUTER, STORESCP, check_aims
from benchmarks.pages import PERFORMANCE, README, ROOT, between, update_pages
from benchmarks.readings import Absent, Curve, Reading, Series, series_of
from benchmarks.report import Run, plots_of, write
from benchmarks.svg import HEIGHT, WIDTH, Axis, Line, line_chart

SVG = "{http://www.w3.org/2000/svg}"


def reading(side: str, value: float, workload: str = "12 kB", quantity: str = OBJECTS) -> Reading:
    return Reading(workload=workload, side=side, quantity=quantity, value=value)


def series(case: str, side: str, value: float, workload: str, quantity: str) -> Series:
    return Series(case=case, workload=workload, side=side, quantity=quantity, values=(value,))


RUN = Run(
    date="2030-01-02",
    command="dicom-router bench compare --rounds 5",
    revision="abc1234",
    machine="2-cores",
    rounds=5,
    facts={"cores": "2", "Python": "3.11"},
    series=(
        series("receive", STORESCP, 100.0, "525 kB", MEGABYTES),
        series("receive", ROUTER, 250.0, "525 kB", MEGABYTES),
        series("receive", STORESCP, 100.0, "240 MB", MEGABYTES),
        series("receive", ROUTER, 250.0, "240 MB", MEGABYTES),
        series("memory", ROUTER, 12.5, "2 GiB", "MiB above idle"),
    ),
    curves=(
        Curve(plot="latency", name=ROUTER, points=((0, 1.0), (50, 2.0), (99, 30.0))),
        Curve(plot="backlog", name="delivered", points=((1, 900.0), (1000, 910.0))),
        Curve(plot="memory", name="<2 GiB>", points=((0.0, 0.0), (0.5, 12.0), (1.0, -1.0))),
    ),
    absent=(Absent(side="somebody", why="not installed"),),
)


def test_readings_of_all_rounds_make_a_series_with_its_median_and_spread() -> None:
    rounds = [reading(side, value) for value in (3.0, 1.0, 2.0) for side in (ROUTER, PYNETDICOM)]
    router, relay = series_of("end-to-end", [*rounds, reading(PYNETDICOM, 100.0)])
    assert (router.side, router.values, router.median, router.spread) == (ROUTER, (3.0, 1.0, 2.0), 2.0, (1.0, 3.0))
    assert (relay.median, relay.spread) == (2.5, (1.0, 100.0))


def test_an_aim_is_judged_by_the_ratio_of_the_medians() -> None:
    judged = {(one.aim.work, one.aim.peer): one for one in check_aims(RUN.series)}
    assert judged["receive 525 kB, 1 association", STORESCP].ratio == 2.5
    assert judged["receive 525 kB, 1 association", STORESCP].met is True
    assert judged["receive 240 MB, 1 association", STORESCP].met is False


def test_an_aim_without_a_peer_is_judged_by_the_number_itself() -> None:
    judged = {one.aim.work: one for one in check_aims(RUN.series)}
    assert (judged["peak RSS, an object of 2 GiB"].ratio, judged["peak RSS, an object of 2 GiB"].met) == (12.5, True)


def test_what_was_not_measured_is_neither_met_nor_missed() -> None:
    assert {one.met for one in check_aims([])} == {None}
    assert len(check_aims([])) == len(AIMS)


@given(st.lists(st.floats(-1e9, 1e9), min_size=1, max_size=20))
def test_an_axis_has_room_for_all_its_values_and_ticks_within_it(values: list[float]) -> None:
    axis = Axis.around("x", values)
    assert all(-1e-6 <= axis.share(value) <= 1 + 1e-6 for value in values)
    ticks = axis.ticks()
    assert ticks == sorted(ticks)
    assert 2 <= len(ticks) <= 20
    assert axis.share(ticks[0]) == pytest.approx(0)
    assert axis.share(ticks[-1]) == pytest.approx(1)


@given(st.lists(st.floats(1e-6, 1e12), min_size=1, max_size=20))
def test_a_logarithmic_axis_goes_from_power_to_power_of_ten(values: list[float]) -> None:
    axis = Axis.around("x", values, log=True)
    assert all(-1e-6 <= axis.share(value) <= 1 + 1e-6 for value in values)
    assert axis.ticks()[0] <= min(values) * 1.000001
    assert max(values) <= axis.ticks()[-1] * 1.000001


def test_a_chart_is_well_formed_and_within_its_frame_whatever_its_words() -> None:
    lines = [Line("a < b & c", [(1, 1), (10, 50)]), Line("other", [(5, -3), (7, 2)])]
    x, y = Axis.around("x", [1, 10]), Axis.around("y", [-3, 50])
    root = ET.fromstring(line_chart('"title" <of it>', x, y, lines))
    words = [text.text for text in root.iter(f"{SVG}text")]
    assert {'"title" <of it>', "a < b & c", "other"} <= set(words)
    for curve in root.iter(f"{SVG}polyline"):
        for spot in curve.attrib["points"].split():
            across, down = map(float, spot.split(","))
            assert 0 < across < WIDTH
            assert 0 < down < HEIGHT


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
    assert "| receive 525 kB, 1 association | storescp | MB/s | 100 | 250 | 2.5 | at least 2x | met |" in page
    assert "| receive 240 MB, 1 association | storescp | MB/s | 100 | 250 | 2.5 | at least 3x | not met |" in page
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
    assert "| receive 525 kB, 1 association | storescp | MB/s | 100 | 250 | 2.5 | at least 2x | met |" in full
    assert "| receive 525 kB, 1 association (MB/s) | storescp | 250 | 100 | 2.5x |" in short
    assert "2 GiB" not in short.split("benchmark result: begin")[1].split("benchmark result: end")[0]


def test_tables_for_the_terminal_have_a_row_for_each_series() -> None:
    both, aims = report.tables(RUN)
    assert both.row_count == len(RUN.series)
    assert aims.row_count == 3
