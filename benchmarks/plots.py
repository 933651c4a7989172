"""Plots of a run as SVG, by matplotlib: the same colour for a side in all of them."""

import io
from collections.abc import Iterable, Sequence
from itertools import cycle
from typing import Any, Final

import matplotlib as mpl
from attrs import field, frozen
from matplotlib.figure import Figure

from benchmarks import aims
from benchmarks.readings import Curve, Series

COLOURS: Final = {
    aims.ROUTER: "#0072b2",
    aims.FORWARDING: "#56b4e9",
    aims.NONE_WAITING: "#8c8c8c",
    aims.TCP: "#000000",
    aims.RAW_RECEIVE: "#000000",
    aims.STORESCP: "#d55e00",
    aims.STORESCP_FORK: "#d55e00",
    aims.PYNETDICOM: "#009e73",
    aims.ORTHANC: "#cc79a7",
    aims.DCMJS: "#e69f00",
}
"""By side; they can be told apart by those who are colour-blind (Okabe and Ito)."""
_OTHER: Final = "#7f7f7f"
_STYLES: Final = ("-", "--", ":", "-.", (0, (6, 1, 1, 1, 1, 1)), (0, (1, 3)), (0, (8, 3)))
"""Lines of the same side in one plot."""
_BYTES: Final = {"12 kB": 12e3, "525 kB": 525e3, "240 MB": 240e6}

Points = Sequence[tuple[float, float]]


@frozen(kw_only=True)
class Line:
    """A line, or a line with the least and the greatest value at each point."""

    name: str
    side: str
    points: Points
    spread: Points = field(factory=tuple)


@frozen(kw_only=True)
class Axes:
    """Labels and scales of the axes."""

    x: str
    y: str
    log_x: bool = False
    log_y: bool = False


_LATENCY: Final = Axes(x="percent of the objects", y="ms", log_y=True)
CURVES: Final = {
    "latency": ("Latency end to end at the top rate, 525 kB", _LATENCY),
    "latency-half": ("Latency end to end at half of each top rate", _LATENCY),
    "backlog": ("Rate against backlog, 12 kB", Axes(x="deliveries that wait", y="objects/s", log_x=True)),
    "memory": ("Memory of the router over time", Axes(x="seconds", y="MiB resident above idle")),
}
RATES: Final = {
    "receive": "Rate by size of object, reception, one association",
    "end-to-end": "Rate by size of object, end to end",
}


def plots(series: Iterable[Series], curves: Iterable[Curve]) -> dict[str, str]:
    """Return SVG documents by name, for the plots that have values."""
    series, curves = list(series), list(curves)
    made = {f"rate-{case}": _chart(title, _RATE_AXES, _rates(series, case)) for case, title in RATES.items()}
    for plot, (title, axes) in CURVES.items():
        lines = [Line(name=one.name, side=one.side, points=one.points) for one in curves if one.plot == plot]
        made[plot] = _chart(title, axes, lines)
    return {name: svg for name, svg in made.items() if svg}


_RATE_AXES: Final = Axes(x="bytes of an object", y=aims.MEGABYTES, log_x=True, log_y=True)


def _rates(series: Sequence[Series], case: str) -> list[Line]:
    sides: dict[str, list[Series]] = {}
    for one in series:
        if one.case == case and one.quantity == aims.MEGABYTES and one.workload in _BYTES:
            sides.setdefault(one.side, []).append(one)
    lines = []
    for side, found in sides.items():
        found.sort(key=lambda one: _BYTES[one.workload])
        points = [(_BYTES[one.workload], one.median) for one in found]
        lines.append(Line(name=side, side=side, points=points, spread=[one.spread for one in found]))
    return lines


def _chart(title: str, axes: Axes, lines: Sequence[Line]) -> str:
    """Return a plot of the lines that have points; "" without any."""
    lines = [line for line in lines if line.points]
    if not lines:
        return ""
    styles = {line.side: cycle(_STYLES) for line in lines}
    with mpl.rc_context({"svg.hashsalt": title, "svg.fonttype": "none"}):  # the same file from the same figures
        figure = Figure(figsize=(9, 5), layout="constrained")
        plot = figure.add_subplot()
        for line in lines:
            _draw(plot, line, next(styles[line.side]))
        plot.set(title=title, xlabel=axes.x, ylabel=axes.y)
        x, y = ([point[each] for line in lines for point in line.points] for each in (0, 1))
        plot.set_xscale("log" if axes.log_x and max(x) > 0 else "linear")
        plot.set_yscale("log" if axes.log_y and max(y) > 0 else "linear")
        if not axes.log_y and min(y) >= 0:
            plot.set_ylim(bottom=0)
        plot.grid(visible=True, alpha=0.3)
        plot.legend(loc="center left", bbox_to_anchor=(1.0, 0.5), frameon=False)
        document = io.StringIO()
        figure.savefig(document, format="svg", metadata={"Date": None})
    return document.getvalue()


def _draw(plot: Any, line: Line, style: Any) -> None:
    x, y = zip(*line.points, strict=True)
    look = {"color": COLOURS.get(line.side, _OTHER), "linestyle": style, "label": line.name}
    if line.spread:
        errors = [[middle - one[0] for middle, one in zip(y, line.spread, strict=True)]]
        errors.append([one[1] - middle for middle, one in zip(y, line.spread, strict=True)])
        plot.errorbar(x, y, yerr=errors, marker="o", capsize=4, **look)
    else:
        plot.plot(x, y, marker="o" if len(line.points) <= 12 else None, markersize=4, **look)
