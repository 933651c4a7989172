"""Line charts as SVG, without a library, readable in a diff and on a dark page."""

import math
from collections.abc import Sequence
from typing import Final
from xml.sax.saxutils import escape

from attrs import frozen

WIDTH, HEIGHT = 720, 420
_LEFT, _RIGHT, _TOP, _BOTTOM = 76, 190, 46, 56
"""Space around the plot; the legend is to its right."""
_COLOURS: Final = ("#1664c0", "#c2410c", "#15803d", "#7e22ce", "#b91c8c", "#57534e", "#0e7490")
_TICKS: Final = 6
_LEAST: Final = 1e-6
"""Least span of an axis, even if all values are zero."""

Point = tuple[float, float]


@frozen
class Line:
    """One curve, with its name in the legend."""

    name: str
    points: Sequence[Point]


@frozen
class Axis:
    """Label and range of an axis; logarithmic for values that span orders of magnitude."""

    label: str
    low: float
    high: float
    log: bool = False
    step: float = 1.0
    """Distance of two ticks of a linear axis."""

    @classmethod
    def around(cls, label: str, values: Sequence[float], *, log: bool = False) -> "Axis":
        """Return an axis from zero to the greatest value, or between powers of ten for positive values with `log`."""
        if log:
            usable = [value for value in values if value > 0] or [1.0]
            least, most = math.floor(math.log10(min(usable))), math.ceil(math.log10(max(usable)))
            return cls(label, 10.0**least, 10.0 ** max(most, least + 1), True)
        low, high = min([0.0, *values]), max([0.0, *values])
        step = _step(max(high - low, _LEAST))
        first, last = math.floor(low / step), math.ceil(high / step)
        return cls(label, first * step, max(last, first + 1) * step, step=step)

    def share(self, value: float) -> float:
        """Return the position of a value, from 0 to 1."""
        if self.log:
            value = max(value, self.low)
            return (math.log10(value) - math.log10(self.low)) / (math.log10(self.high) - math.log10(self.low))
        return (value - self.low) / (self.high - self.low)

    def ticks(self) -> list[float]:
        """Return the values to label."""
        if self.log:
            return [10.0**power for power in range(round(math.log10(self.low)), round(math.log10(self.high)) + 1)]
        return [self.low + self.step * number for number in range(round((self.high - self.low) / self.step) + 1)]


def line_chart(title: str, x: Axis, y: Axis, lines: Sequence[Line]) -> str:
    """Return the chart as an SVG document."""
    parts = [
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {HEIGHT}" '
        'font-family="system-ui, sans-serif" font-size="12">',
        f'<rect width="{WIDTH}" height="{HEIGHT}" fill="#ffffff"/>',
        _text(_LEFT, 26, title, size=15),
        *_axes(x, y),
    ]
    for index, line in enumerate(lines):
        colour = _COLOURS[index % len(_COLOURS)]
        spots = [(_across(x.share(one)), _down(y.share(two))) for one, two in line.points]
        path = " ".join(f"{across:.1f},{down:.1f}" for across, down in spots)
        parts.append(f'<polyline points="{path}" fill="none" stroke="{colour}" stroke-width="2"/>')
        if len(spots) <= 12:
            parts += [f'<circle cx="{across:.1f}" cy="{down:.1f}" r="3.5" fill="{colour}"/>' for across, down in spots]
        at = _TOP + 12 + 20 * index
        begin = WIDTH - _RIGHT + 16
        parts.append(f'<rect x="{begin}" y="{at - 9}" width="14" height="4" fill="{colour}"/>')
        parts.append(_text(begin + 20, at - 2, line.name))
    return "\n".join([*parts, "</svg>", ""])


def _axes(x: Axis, y: Axis) -> list[str]:
    parts = []
    for value in x.ticks():
        across = _across(x.share(value))
        parts.append(_rule(across, _down(0), across, _down(1)))
        parts.append(_text(across, HEIGHT - _BOTTOM + 18, _number(value), anchor="middle"))
    for value in y.ticks():
        down = _down(y.share(value))
        parts.append(_rule(_across(0), down, _across(1), down))
        parts.append(_text(_LEFT - 8, down + 4, _number(value), anchor="end"))
    middle = (_down(0) + _down(1)) / 2
    return [
        *parts,
        _text((_across(0) + _across(1)) / 2, HEIGHT - 14, x.label, anchor="middle"),
        f'<g transform="rotate(-90 18 {middle:.0f})">{_text(18, middle, y.label, anchor="middle")}</g>',
    ]


def _across(share: float) -> float:
    return _LEFT + share * (WIDTH - _LEFT - _RIGHT)


def _down(share: float) -> float:
    return HEIGHT - _BOTTOM - share * (HEIGHT - _TOP - _BOTTOM)


def _rule(x1: float, y1: float, x2: float, y2: float) -> str:
    return f'<line x1="{x1:.1f}" y1="{y1:.1f}" x2="{x2:.1f}" y2="{y2:.1f}" stroke="#d6d3d1"/>'


def _text(x: float, y: float, text: str, *, anchor: str = "start", size: int = 12) -> str:
    return (
        f'<text x="{x:.1f}" y="{y:.1f}" text-anchor="{anchor}" font-size="{size}" fill="#292524">{escape(text)}</text>'
    )


def _step(span: float) -> float:
    """Return 1, 2 or 5 times a power of ten, so that about six ticks fill the span."""
    rough = span / _TICKS
    power = 10.0 ** math.floor(math.log10(rough))
    return next(factor * power for factor in (1, 2, 5, 10) if factor * power >= rough * 0.999)


def _number(value: float) -> str:
    for limit, unit in ((1e9, "G"), (1e6, "M"), (1e3, "k")):
        if abs(value) >= limit:
            return f"{value / limit:g}{unit}"
    return f"{value:.6g}"
