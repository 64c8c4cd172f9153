"""A page with one picture: what can be had for how much, with the choice that was made. Error is on a log scale."""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from html import escape
from typing import Any

from markupsafe import Markup

from backcast import __version__
from backcast.report.figures import HEIGHT, LEFT, RIGHT, TOP, WIDTH, Range, span, ticks
from backcast.report.page import _environment, _text
from backcast.report.words import number, short

BASE = HEIGHT - 34
"""Where the x axis lies."""


@dataclass(frozen=True)
class Point:
    """One choice in the plane."""

    label: str
    x: float
    y: float


@dataclass(frozen=True)
class Plane:
    """What the page shows."""

    title: str
    note: str
    x: str
    y: str
    points: Sequence[Point]
    """Labelled, each by itself."""
    front: Sequence[tuple[float, float]]
    """Joined by a line, by rising x."""
    chosen: Point
    columns: Sequence[str] = ()
    rows: Sequence[Sequence[Any]] = ()


def page(plane: Plane) -> str:
    """The HTML: one file that needs nothing else."""
    rows = [
        [(number(cell), True) if isinstance(cell, float) else (str(cell), False) for cell in row] for row in plane.rows
    ]
    return str(
        _environment()
        .get_template("plane.html")
        .render(plane=plane, rows=rows, chart=chart(plane), style=Markup(_text("style.css")), version=__version__)
    )


def chart(plane: Plane) -> Markup:
    """The picture as one SVG; points whose error is 0 lie below any log scale and are left out."""
    shown = [point for point in [*plane.points, plane.chosen] if point.y > 0]
    line = [(x, y) for x, y in plane.front if y > 0]
    xs = span([p.x for p in shown] + [x for x, _ in line], pad=0.07)
    ys = span([math.log10(p.y) for p in shown] + [math.log10(y) for _, y in line], pad=0.08)
    parts = [_grid(xs, ys, plane)]
    path = "".join(f"{'L' if i else 'M'}{_x(x, xs):.1f} {_y(y, ys):.1f}" for i, (x, y) in enumerate(line))
    parts.append(f'<path class="line s0" d="{path}"><title>best mixes of layers</title></path>')
    parts += [_dot(point, xs, ys, "s1", 3.2) for point in plane.points if point.y > 0]
    parts += _labels(plane.points, xs, ys)
    if plane.chosen.y > 0:
        parts.append(_dot(plane.chosen, xs, ys, "s0", 5.2))
    says = "; ".join(f"{p.label}: {number(p.x)}, {number(p.y)}" for p in shown)
    label = escape(f"{plane.y} over {plane.x}. {says}")
    return Markup(
        f'<svg class="chart" viewBox="0 0 {WIDTH} {HEIGHT}" role="img" aria-label="{label}">{"".join(parts)}</svg>'
    )


def _x(value: float, xs: Range) -> float:
    return LEFT + (value - xs[0]) / (xs[1] - xs[0]) * (WIDTH - RIGHT - LEFT)


def _y(value: float, ys: Range) -> float:
    return BASE - (math.log10(value) - ys[0]) / (ys[1] - ys[0]) * (BASE - TOP)


def _grid(xs: Range, ys: Range, plane: Plane) -> str:
    parts = []
    whole = range(math.ceil(ys[0]), math.floor(ys[1]) + 1)
    levels = [10.0**power for power in whole] if len(whole) > 1 else [10**tick for tick in ticks(*ys, about=3)]
    for level in levels:
        y = _y(level, ys)
        parts.append(f'<line class="grid" x1="{LEFT}" x2="{WIDTH - RIGHT}" y1="{y:.1f}" y2="{y:.1f}"/>')
        parts.append(f'<text x="{LEFT - 7}" y="{y + 4:.1f}" text-anchor="end">{short(level)}</text>')
    for tick in ticks(*xs, about=6):
        parts.append(f'<text x="{_x(tick, xs):.1f}" y="{BASE + 16}" text-anchor="middle">{short(tick)}</text>')
    parts.append(f'<line class="axis" x1="{LEFT}" x2="{WIDTH - RIGHT}" y1="{BASE}" y2="{BASE}"/>')
    parts.append(f'<text class="name" x="{WIDTH - RIGHT}" y="{HEIGHT - 3}" text-anchor="end">{escape(plane.x)}</text>')
    return "".join(parts)


def _dot(point: Point, xs: Range, ys: Range, kind: str, radius: float) -> str:
    title = escape(f"{point.label}: {number(point.x)}, {number(point.y)}")
    place = f'cx="{_x(point.x, xs):.1f}" cy="{_y(point.y, ys):.1f}" r="{radius}"'
    return f'<circle class="dot {kind}" {place}><title>{title}</title></circle>'


def _labels(points: Sequence[Point], xs: Range, ys: Range) -> list[str]:
    """To the right of the dots, to their left where the picture ends; lower where two would overlap."""
    parts: list[str] = []
    taken: list[tuple[float, float]] = []
    for point in points:
        if point.y <= 0:
            continue
        x, y = _x(point.x, xs), _y(point.y, ys) - 4
        if any(abs(x - other) < 60 and abs(y - height) < 13 for other, height in taken):
            y += 14
        taken.append((x, y))
        late = point.x > xs[0] + 0.8 * (xs[1] - xs[0])
        place = f'x="{x + (-7 if late else 7):.1f}" y="{y:.1f}" text-anchor="{"end" if late else "start"}"'
        parts.append(f"<text {place}>{escape(point.label)}</text>")
    return parts
