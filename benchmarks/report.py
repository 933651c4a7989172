"""Write results: tables for the terminal, and a folder with results.json, README.md and plots."""

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Final

from attrs import asdict, frozen
from rich.box import SIMPLE_HEAD
from rich.table import Table

from benchmarks.aims import AimResult, check_aims
from benchmarks.plots import plots
from benchmarks.readings import Absent, Curve, Failed, Series

COLUMNS: Final = ("case", "what", "side", "median", "least", "most", "unit")
AIMS: Final = ("work", "against", "unit", "peer", "router", "ratio", "aim", "", "cores left", "MiB above idle")
_RIGHT: Final = frozenset({"median", "least", "most", "peer", "router", "ratio", "cores left", "MiB above idle"})


@frozen(kw_only=True)
class Run:
    """One run of the benchmarks."""

    date: str
    command: str
    revision: str
    machine: str
    rounds: int
    facts: dict[str, str]
    series: tuple[Series, ...]
    curves: tuple[Curve, ...] = ()
    absent: tuple[Absent, ...] = ()
    failed: tuple[Failed, ...] = ()

    @property
    def aim_results(self) -> list[AimResult]:
        return check_aims(self.series)


def tables(run: Run) -> list[Table]:
    """Return the tables for the terminal."""
    made = [_table("side by side", COLUMNS, [_row(one) for one in run.series])]
    measured = [_aim(one) for one in run.aim_results if one.met is not None]
    return [*made, _table("aims", AIMS, measured)] if measured else made


def plots_of(run: Run) -> dict[str, str]:
    """Return SVG documents by name, for the plots that have values."""
    return plots(run.series, run.curves)


def _table(title: str, columns: Sequence[str], rows: Sequence[Sequence[str]]) -> Table:
    table = Table(title=title, box=SIMPLE_HEAD, title_justify="left")
    for name in columns:
        table.add_column(name, justify="right" if name in _RIGHT else "left")
    for row in rows:
        table.add_row(*row)
    return table


def write(run: Run, results: Path) -> Path:
    """Write the folder of the run and return it; a folder of the same day and machine is replaced."""
    folder = results / f"{run.date}-{run.machine}"
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "results.json").write_text(json.dumps(_json(run), indent=1) + "\n", "utf-8")
    made = plots_of(run)
    for stale in folder.glob("*.svg"):
        stale.unlink()
    for name, svg in made.items():
        (folder / f"{name}.svg").write_text(svg, "utf-8")
    (folder / "README.md").write_text(_markdown(run, list(made)), "utf-8")
    return folder


def _json(run: Run) -> dict[str, Any]:
    series = [asdict(one) | {"median": one.median} for one in run.series]
    return asdict(run) | {"series": series, "aims": [asdict(one) for one in run.aim_results]}


def _row(one: Series) -> list[str]:
    return [one.case, one.workload, one.side, *map(number, (one.median, *one.spread)), one.quantity]


def _aim(result: AimResult) -> list[str]:
    aim = result.aim
    met = {True: "met", False: "not met", None: "not measured"}[result.met]
    return [
        aim.work,
        aim.peer or "",
        aim.quantity,
        _ranged(result.peer),
        _ranged(result.router),
        number(result.ratio if aim.peer else None),
        aim.bound_text,
        f"{met}; generator or sink was the limit" if result.limited else met,
        number(result.cores_left),
        number(result.above_idle),
    ]


def _ranged(series: Series | None) -> str:
    """Return the median with the least and the greatest value."""
    if series is None:
        return ""
    if len(series.values) == 1:
        return number(series.median)
    return f"{number(series.median)} ({number(series.spread[0])}-{number(series.spread[1])})"


def number(value: float | None) -> str:
    """Return a number with at least three digits; "" for None."""
    if value is None:
        return ""
    return f"{value:,.0f}" if abs(value) >= 100 else f"{value:.3g}"


def aims_table(run: Run) -> list[str]:
    """Return the aims and their results, as lines of Markdown."""
    return markdown_table(AIMS, [_aim(one) for one in run.aim_results])


def facts_line(run: Run) -> str:
    """Return the machine and the software as a line."""
    return ", ".join(f"{name} {value}" for name, value in run.facts.items()) + "."


def markdown_table(columns: Sequence[str], rows: Sequence[Sequence[str]]) -> list[str]:
    """Return a table as lines of Markdown, with numbers right-aligned."""
    rules = ("---:" if name in _RIGHT else "---" for name in columns)
    return [f"| {' | '.join(row)} |" for row in (columns, tuple(rules), *rows)]


def _markdown(run: Run, names: Sequence[str]) -> str:
    lines = [
        f"# Benchmarks, {run.date}, {run.machine}",
        "",
        f"`{run.command}`, at revision {run.revision}, {run.rounds} rounds.",
        "",
        facts_line(run),
        "",
        "Each number is the median of its rounds, with the least and the greatest value. The sides take turns within",
        "each round. The router acknowledges after a sync; docs/performance.md says what the others do, and what was",
        "counted as CPU and as memory.",
        "",
        "## Aims",
        "",
        *aims_table(run),
        "",
        *[line for one in run.absent for line in (f"Not measured here: {one.side}: {one.why}.", "")],
        *[line for one in run.failed for line in (f"The case {one.case} failed.", "")],
        *[line for name in names for line in (f"![{name}]({name}.svg)", "")],
        "## All figures",
        "",
        *markdown_table(COLUMNS, [_row(one) for one in run.series]),
    ]
    return "\n".join(lines) + "\n"
