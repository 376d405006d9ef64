"""The geometry of a line chart, for an SVG template: scales, ticks, lines, bands, and what a pointer finds where."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from itertools import pairwise
from typing import Any

WIDTH, HEIGHT = 400, 290
LEFT, RIGHT, TOP, BOTTOM = 54, 12, 10, 44
APART = 30.0  # pixels between the labels of two ticks
MARKS = (
    "m-3.5 0a3.5 3.5 0 1 0 7 0a3.5 3.5 0 1 0-7 0",  # circle
    "m-3.2-3.2h6.4v6.4h-6.4z",  # square
    "m0-4.4l4.2 7.4h-8.4z",  # triangle
    "m0-4.6l4.6 4.6l-4.6 4.6l-4.6-4.6z",  # diamond
    "m0 4.4l4.2-7.4h-8.4z",  # triangle upside down
)
CROSS = "m-4-4l8 8m0-8l-8 8"
REFERENCE = -1
"""The style of what all lines are compared with."""


@dataclass(frozen=True)
class Point:
    """A value with its spread to both sides, and the words of it that a pointer shows."""

    x: float
    y: float
    spread: float = 0.0
    words: str = ""


@dataclass(frozen=True)
class Line:
    """Points in the order of x; ``style`` says which colour and mark, REFERENCE is the dense model's."""

    name: str
    style: int
    points: Sequence[Point]
    level: bool = False
    """One value for all x: drawn over the whole width."""


@dataclass(frozen=True)
class Axis:
    """An axis: its label, scale, ticks (value and words; none = round numbers), and how a position is told."""

    label: str
    log: bool = False
    ticks: Sequence[tuple[float, str]] = ()
    told: Callable[[float], str] = str
    upright: bool = False
    """The words of all ticks are shown, turned by 90 degrees."""


@dataclass(frozen=True)
class Chart:
    """A chart: what it shows, in words, its axes and lines."""

    title: str
    x: Axis
    y: Axis
    lines: Sequence[Line]
    level: float | None = None
    """The sparsity that it is for; None = all."""
    note: str = ""
    marked: bool = True
    """Points have marks."""


@dataclass(frozen=True)
class Scale:
    """From values to pixels; values that have no place (nan, or not positive on a log scale) are None."""

    low: float
    high: float
    start: float
    end: float
    log: bool

    def __call__(self, value: float) -> float | None:
        """Return the pixel of a value."""
        if not math.isfinite(value) or (self.log and value <= 0):
            return None
        low, high, at = (math.log10(v) if self.log else v for v in (self.low, self.high, value))
        return round(self.start + (self.end - self.start) * (at - low) / (high - low), 1)


@dataclass
class Drawn:
    """What the template draws."""

    chart: Chart
    width: int
    bottom: float
    x_ticks: list[tuple[float, str]] = field(default_factory=list)
    y_ticks: list[tuple[float, str]] = field(default_factory=list)
    lines: list[dict[str, Any]] = field(default_factory=list)
    hits: list[dict[str, Any]] = field(default_factory=list)
    height: int = HEIGHT
    usual: int = WIDTH
    left: int = LEFT
    right: int = RIGHT
    top: int = TOP


def drawn(chart: Chart) -> Drawn:
    """Return the geometry of a chart."""
    upright = max((len(words) for _, words in chart.x.ticks), default=0) if chart.x.upright else 0
    width = max(WIDTH, LEFT + RIGHT + 12 * len(chart.x.ticks)) if upright else WIDTH
    below = min(int(6.2 * upright) + 30, 190) if upright else BOTTOM
    found = Drawn(chart, width, HEIGHT - BOTTOM, height=HEIGHT - BOTTOM + below)
    x, y = _scale_x(chart, width), _scale_y(chart)
    found.x_ticks, found.y_ticks = _x_ticks(chart.x, x), _ticks(chart.y, y)
    found.lines = [_drawn_line(line, x, y, found) for line in chart.lines]
    found.hits = _hits(chart, x, y, found)
    return found


def _scale_x(chart: Chart, width: int) -> Scale:
    values = [p.x for line in chart.lines if not line.level for p in line.points] + [v for v, _ in chart.x.ticks]
    low, high = _range([v for v in values if _has_place(v, chart.x.log)], chart.x.log)
    return Scale(*_padded(low, high, 0.04, chart.x.log), LEFT, width - RIGHT, chart.x.log)


def _scale_y(chart: Chart) -> Scale:
    ends = [p.y + side * p.spread for line in chart.lines for p in line.points for side in (-1, 0, 1)]
    low, high = _range([v for v in ends if _has_place(v, chart.y.log)], chart.y.log)
    return Scale(*_padded(low, high, 0.06, chart.y.log), HEIGHT - BOTTOM, TOP, chart.y.log)


def _has_place(value: float, log: bool) -> bool:
    return math.isfinite(value) and (value > 0 or not log)


def _range(values: Sequence[float], log: bool) -> tuple[float, float]:
    """Return the smallest and the largest value, made to differ."""
    low, high = min(values, default=1.0), max(values, default=1.0)
    if high > low and (not log or high / low > 1.001):
        return low, high
    return (low / 2, high * 2) if log else (low - (abs(low) * 0.05 or 1), high + (abs(high) * 0.05 or 1))


def _padded(low: float, high: float, part: float, log: bool) -> tuple[float, float]:
    if log:
        factor = (high / low) ** part
        return low / factor, high * factor
    return low - part * (high - low), high + part * (high - low)


def _x_ticks(axis: Axis, scale: Scale) -> list[tuple[float, str]]:
    """Return the places of the ticks; those whose words would touch the ones before stay without words."""
    found: list[tuple[float, str]] = []
    last = -math.inf
    for at, words in _ticks(axis, scale):
        near = abs(at - last) < APART and not axis.upright
        found.append((at, "" if near else words))
        last = last if near else at
    return found


def _ticks(axis: Axis, scale: Scale) -> list[tuple[float, str]]:
    values = list(axis.ticks) or [(v, _number(v)) for v in _round_numbers(scale)]
    found = [(scale(value), words) for value, words in values if scale.low <= value <= scale.high]
    return [(at, words) for at, words in found if at is not None]


def _number(value: float) -> str:
    return f"{value:,.0f}" if 1e3 <= abs(value) < 1e5 else f"{value:.3g}"


def _round_numbers(scale: Scale) -> list[float]:
    from matplotlib.ticker import LogLocator, MaxNLocator

    if not scale.log:
        return [float(v) for v in MaxNLocator(5).tick_values(scale.low, scale.high)]
    few = math.log10(scale.high / scale.low) < 2.5
    values = LogLocator(subs=(1, 2, 5) if few else (1,)).tick_values(scale.low, scale.high)
    return [float(v) for v in values]


def _drawn_line(line: Line, x: Scale, y: Scale, found: Drawn) -> dict[str, Any]:
    """Return a line's paths: the line, its band, its marks, and crosses for values that have no place."""
    if line.level:
        points = [Point(v, line.points[0].y, line.points[0].spread) for v in (x.low, x.high)]
    else:
        points = list(line.points)
    marked = found.chart.marked and not line.level
    mark = MARKS[line.style % len(MARKS)]
    path, marks, crosses, pen = "", "", "", "M"
    for point in points:
        px, py = x(point.x), y(point.y)
        if px is None:
            continue
        if py is None:
            crosses, pen = f"{crosses}M{px} {found.bottom - 5}{CROSS}", "M"
            continue
        path, pen = f"{path}{pen}{px} {py}", "L"
        marks += f"M{px} {py}{mark}" if marked else ""
    return {"line": line, "path": path, "marks": marks, "crosses": crosses, "band": _band(points, x, y, found.bottom)}


def _band(points: Sequence[Point], x: Scale, y: Scale, bottom: float) -> str:
    """Return the outline of the spread; that of a point alone is a narrow bar."""
    known = [p for p in points if p.spread > 0 and x(p.x) is not None and y(p.y) is not None]
    above = [(x(p.x), y(p.y + p.spread)) for p in known]
    below = [(x(p.x), bottom if (low := y(p.y - p.spread)) is None else low) for p in known]
    if len(known) == 1 and above[0][0] is not None:
        above = [(above[0][0] - 2, above[0][1]), (above[0][0] + 2, above[0][1])]
        below = [(at[0], below[0][1]) for at in above]
    return "M" + "L".join(f"{px} {py}" for px, py in (*above, *reversed(below))) + "z" if known else ""


def _hits(chart: Chart, x: Scale, y: Scale, found: Drawn) -> list[dict[str, Any]]:
    """Return upright strips, one per place of x, with the words of all points there."""
    at: dict[float, list[str]] = {}
    places: dict[float, float] = {}
    for line in chart.lines:
        for point in line.points if not line.level else ():
            px = x(point.x)
            if px is not None:
                at.setdefault(px, []).append(f"{line.name}: {point.words or f'{point.y:.4g}'}")
                places.setdefault(px, point.x)
    level = [f"{line.name}: {line.points[0].words}" for line in chart.lines if line.level]
    edges = sorted(at)
    sides = [found.left, *((a + b) / 2 for a, b in pairwise(edges)), found.width - found.right]
    return [
        {"x": round(sides[i], 1), "width": round(sides[i + 1] - sides[i], 1), "at": px,
         "words": "\n".join(dict.fromkeys([chart.x.told(places[px]), *at[px], *level]))}
        for i, px in enumerate(edges)
    ]  # fmt: skip
