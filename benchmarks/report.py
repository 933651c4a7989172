"""Write results: tables for the terminal, and a folder with results.json, README.md and plots."""

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Final

from attrs import asdict, frozen
from rich.box import SIMPLE_HEAD
from rich.table import Table

from benchmarks.aims import MEGABYTES, AimResult, check_aims
from benchmarks.readings import Absent, Curve, Failed, Series
from benchmarks.svg import Axis, Line, line_chart

COLUMNS: Final = ("case", "what", "side", "median", "least", "most", "unit")
AIMS: Final = ("work", "against", "unit", "peer", "router", "ratio", "aim", "")
_RIGHT: Final = frozenset({"median", "least", "most", "peer", "router", "ratio"})
_BYTES: Final = {"12 kB": 12e3, "525 kB": 525e3, "240 MB": 240e6}


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
    plots = plots_of(run)
    for stale in folder.glob("*.svg"):
        stale.unlink()
    for name, svg in plots.items():
        (folder / f"{name}.svg").write_text(svg, "utf-8")
    (folder / "README.md").write_text(_markdown(run, list(plots)), "utf-8")
    return folder


def _json(run: Run) -> dict[str, Any]:
    series = [asdict(one) | {"median": one.median} for one in run.series]
    return asdict(run) | {"series": series, "aims": [asdict(one) for one in run.aim_results]}


def _row(one: Series) -> list[str]:
    return [one.case, one.workload, one.side, *map(number, (one.median, *one.spread)), one.quantity]


def _aim(result: AimResult) -> list[str]:
    aim = result.aim
    met = {True: "met", False: "not met", None: "not measured"}[result.met]
    shown = [number(value) for value in (result.peer, result.router, result.ratio if aim.peer else None)]
    return [aim.work, aim.peer or "", aim.quantity, *shown, aim.bound_text, met]


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


def _markdown(run: Run, plots: Sequence[str]) -> str:
    lines = [
        f"# Benchmarks, {run.date}, {run.machine}",
        "",
        f"`{run.command}`, at revision {run.revision}, {run.rounds} rounds.",
        "",
        facts_line(run),
        "",
        "Each number is the median of its rounds, with the least and the greatest value. The sides take turns within",
        "each round. The router acknowledges after a sync; docs/performance.md says what the others do.",
        "",
        "## Aims",
        "",
        *aims_table(run),
        "",
        *[line for one in run.absent for line in (f"Not measured here: {one.side}: {one.why}.", "")],
        *[line for one in run.failed for line in (f"The case {one.case} failed.", "")],
        *[line for name in plots for line in (f"![{name}]({name}.svg)", "")],
        "## All figures",
        "",
        *markdown_table(COLUMNS, [_row(one) for one in run.series]),
    ]
    return "\n".join(lines) + "\n"


# Plots


Labels = tuple[str, str]
"""Labels of the two axes."""

_LATENCY: Final = ("percent of the objects", "ms")
_BACKLOG: Final = ("deliveries that wait", "objects/s")
_MEMORY: Final = ("seconds", "MiB resident above idle")


def plots_of(run: Run) -> dict[str, str]:
    """Return SVG documents by name, for the plots that have values."""
    made = {
        "rate-end-to-end": _rates(run, "end-to-end", "Rate by size of object, end to end"),
        "rate-receive": _rates(run, "receive", "Rate by size of object, reception alone, one association"),
        "latency": _curves(run, "latency", "Latency end to end at the top rate, 525 kB", _LATENCY, log_y=True),
        "latency-half": _curves(run, "latency-half", "Latency at half of each top rate, 525 kB", _LATENCY, log_y=True),
        "backlog": _curves(run, "backlog", "Rate against backlog, 12 kB", _BACKLOG, log_x=True),
        "memory": _curves(run, "memory", "Memory over time", _MEMORY),
    }
    return {name: svg for name, svg in made.items() if svg}


def _rates(run: Run, case: str, title: str) -> str:
    sides: dict[str, list[tuple[float, float]]] = {}
    for one in run.series:
        if one.case == case and one.quantity == MEGABYTES and one.workload in _BYTES:
            sides.setdefault(one.side, []).append((_BYTES[one.workload], one.median))
    lines = [Line(side, sorted(points)) for side, points in sides.items()]
    return _chart(title, ("bytes of an object", MEGABYTES), lines, log_x=True, log_y=True)


def _curves(run: Run, plot: str, title: str, labels: Labels, *, log_x: bool = False, log_y: bool = False) -> str:
    lines = [Line(one.name, one.points) for one in run.curves if one.plot == plot and one.points]
    return _chart(title, labels, lines, log_x=log_x, log_y=log_y)


def _chart(title: str, labels: Labels, lines: list[Line], *, log_x: bool = False, log_y: bool = False) -> str:
    points = [point for line in lines for point in line.points]
    if not points:
        return ""
    x = Axis.around(labels[0], [one for one, _ in points], log=log_x)
    y = Axis.around(labels[1], [two for _, two in points], log=log_y)
    return line_chart(title, x, y, lines)
