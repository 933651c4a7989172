"""The results: a table for the terminal, and a folder with results.json, README.md and a plot for each case."""

import json
from collections.abc import Sequence
from itertools import groupby
from pathlib import Path
from typing import Any

import matplotlib as mpl
from attrs import asdict, frozen
from rich.table import Table

from benchmarks.measuring import Series

mpl.use("Agg")
from matplotlib import pyplot as plt

COLUMNS = ("case", "what", "side", "median", "least", "most", "unit", "ratio")


@frozen(kw_only=True)
class Run:
    """One run of the benchmarks."""

    date: str
    command: str
    revision: str
    machine: str
    facts: dict[str, str]
    series: tuple[Series, ...]


def table(series: Sequence[Series]) -> Table:
    """For the terminal."""
    made = Table(*COLUMNS, title="side by side")
    for one in series:
        made.add_row(*_row(one), end_section=one is series[-1])
    return made


def write(run: Run, results: Path) -> Path:
    """Write the folder of the run and return it. One of the same day and machine is replaced."""
    folder = results / f"{run.date}-{run.machine}"
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "results.json").write_text(json.dumps(_json(run), indent=1) + "\n", "utf-8")
    plots = [_plot(case, list(series), folder) for case, series in groupby(run.series, lambda one: one.case)]
    (folder / "README.md").write_text(_markdown(run, plots), "utf-8")
    return folder


def _json(run: Run) -> dict[str, Any]:
    series = [asdict(one) | {"median": one.median} for one in run.series]
    return asdict(run, recurse=False) | {"series": series}


def _row(one: Series) -> list[str]:
    least, most = one.spread
    ratio = "" if one.ratio is None else f"{one.ratio:.2f}"
    return [one.case, one.workload, one.side, *map(_number, (one.median, least, most)), one.quantity, ratio]


def _number(value: float) -> str:
    return f"{value:,.0f}" if abs(value) >= 100 else f"{value:.3g}"


def _markdown(run: Run, plots: Sequence[str]) -> str:
    lines = [
        f"# Benchmarks, {run.date}, {run.machine}",
        "",
        f"`{run.command}`, at revision {run.revision}.",
        "",
        ", ".join(f"{name} {value}" for name, value in run.facts.items()) + ".",
        "",
        "Each number is the median of its rounds, beside it the least and the most. Rounds alternate between the",
        "sides. The ratio is by the first side of the same line of work.",
        "",
        "| " + " | ".join(COLUMNS) + " |",
        "| " + " | ".join("---:" if name in ("median", "least", "most", "ratio") else "---" for name in COLUMNS) + " |",
        *("| " + " | ".join(_row(one)) + " |" for one in run.series),
        "",
        *(f"![{name.removesuffix('.png')}]({name})\n" for name in plots),
    ]
    return "\n".join(lines).rstrip("\n") + "\n"


def _plot(case: str, series: Sequence[Series], folder: Path) -> str:
    """One panel for each thing measured, one bar for each side, from the least to the most a line."""
    panels = [list(group) for _, group in groupby(series, lambda one: (one.workload, one.quantity))]
    figure, axes = plt.subplots(len(panels), 1, figsize=(8, 0.7 + 1.1 * len(panels)), squeeze=False)
    for axis, panel in zip(axes[:, 0], panels, strict=True):
        sides = [one.side for one in panel]
        medians = [one.median for one in panel]
        errors = [[one.median - one.spread[0] for one in panel], [one.spread[1] - one.median for one in panel]]
        colours = ["tab:blue" if side.startswith("router") else "tab:grey" for side in sides]
        axis.barh(sides, medians, xerr=errors, color=colours, height=0.6, capsize=3)
        axis.invert_yaxis()
        axis.set_title(f"{panel[0].workload}: {panel[0].quantity}", fontsize=9, loc="left")
        axis.tick_params(labelsize=8)
    figure.suptitle(case)
    figure.tight_layout()
    name = f"{case}.png"
    figure.savefig(folder / name, dpi=100)
    plt.close(figure)
    return name
