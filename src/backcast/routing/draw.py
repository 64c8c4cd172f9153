"""Pictures as plain SVG text: routes in panels side by side, and cost against time."""

import math
from collections.abc import Mapping, Sequence
from html import escape
from itertools import pairwise

import numpy as np

from backcast.routing.fleet import depots_of
from backcast.routing.problems.instance import Instance
from backcast.routing.score import Routes, cost

STYLE = "font-family:system-ui,sans-serif;font-size:11px"
COLOURS = ("#3b6ea8", "#c0504d", "#5b8c3a", "#8064a2", "#d98c2b", "#2f8f8f", "#a0527a", "#6b6b6b", "#4f81bd", "#7a5c3a")
PANEL, MARGIN, TITLE, COLUMNS = 420, 12, 30, 2


def levels_picture(instance: Instance, levels: Sequence[tuple[int, Routes]]) -> str:
    """The start, what the first levels changed, and the end, in panels; ``levels`` are a solution's."""
    shown, before = list[tuple[str, Routes, set[tuple[int, ...]]]](), set[tuple[int, ...]]()
    for k, (level, routes) in enumerate(levels):
        now = {tuple(route) for route in routes}
        last = k == len(levels) - 1
        if k and last and now == before and level == levels[k - 1][0]:
            continue
        name = "start" if k == 0 else f"{'end, ' if last else ''}after level {level}"
        changed = f", {len(now - before)} new" if k else ""
        title = f"{name}: {cost(instance, routes):,.6g}, {len(routes)} routes{changed}"
        shown.append((title, routes, set() if last else now & before))
        before = now
    return routes_picture(instance, shown)


def routes_picture(instance: Instance, panels: Sequence[tuple[str, Routes, set[tuple[int, ...]]]]) -> str:
    """Each (title, routes, pale routes) as a map: one colour a route, pale ones grey, depots as squares. Needs
    coordinates."""
    assert instance.coords is not None
    low = instance.coords.min(axis=0)
    extent = float(np.ptp(instance.coords, axis=0).max()) or 1.0
    points = (instance.coords - low) / extent * (PANEL - 2 * MARGIN)
    points[:, 1] = PANEL - 2 * MARGIN - points[:, 1]
    parts = [
        f'<g transform="translate({k % COLUMNS * PANEL} {k // COLUMNS * (PANEL + TITLE)})">'
        f"{_panel(instance, points, panel)}</g>"
        for k, panel in enumerate(panels)
    ]
    rows = -(-len(panels) // COLUMNS)
    return _svg(PANEL * min(COLUMNS, len(panels)), (PANEL + TITLE) * rows, parts, f"Routes of {instance.id}")


def _panel(instance: Instance, points: np.ndarray, panel: tuple[str, Routes, set[tuple[int, ...]]]) -> str:
    (title, routes, pale), first = panel, instance.depots
    homes = depots_of(instance, routes)
    x, y = points[:, 0] + MARGIN, points[:, 1] + TITLE + MARGIN
    width = 1.4 if len(points) < 2500 else 0.7
    parts = [f'<text x="{MARGIN}" y="21" style="{STYLE};font-size:17px">{escape(title)}</text>']
    for k, route in enumerate(routes):
        closed = [homes[k], *route, homes[k]]
        path = "M" + "L".join(f"{x[c]:.1f} {y[c]:.1f}" for c in closed)
        colour = "#ccc" if tuple(route) in pale else COLOURS[k % len(COLOURS)]
        parts.append(f'<path d="{path}" fill="none" stroke="{colour}" stroke-width="{width}" stroke-opacity="0.8"/>')
    if len(points) < 2500:
        dots = "".join(f"M{x[c]:.1f} {y[c]:.1f}h0" for c in range(first, len(points)))
        parts.append(f'<path d="{dots}" stroke="#333" stroke-width="2.4" stroke-linecap="round"/>')
    parts += [f'<rect x="{x[d] - 4:.1f}" y="{y[d] - 4:.1f}" width="8" height="8" fill="#111"/>' for d in range(first)]
    return "".join(parts)


def trace_picture(traces: Mapping[str, Sequence[tuple[float, float]]], title: str, best: float | None = None) -> str:
    """Cost against seconds, one stepped line for each name; the best known cost dashed where there is one."""
    width, height, left, base = 640, 300, 70, 260
    points = [point for line in traces.values() for point in line]
    first = min((t for t, _ in points if t > 0), default=0.01)
    t0, t1 = math.log10(max(1e-3, min(first, 0.1))), math.log10(max(max(t for t, _ in points), 0.2))
    costs = [c for _, c in points] + ([best] if best is not None else [])
    low, high = min(costs), max(costs)
    span = (high - low) or max(1.0, abs(high)) * 0.01

    def at(t: float, c: float) -> str:
        share = (math.log10(max(t, 10**t0)) - t0) / max(1e-9, t1 - t0)
        return f"{left + share * (width - left - 20):.1f} {base - (c - low) / span * (base - 40):.1f}"

    parts = [f'<text x="{left}" y="16" style="{STYLE};font-weight:600">{escape(title)}</text>']
    for k in range(5):
        value = low + span * k / 4
        y = base - (base - 40) * k / 4
        parts.append(f'<path d="M{left} {y:.1f}H{width - 20}" stroke="#ddd"/>')
        parts.append(f'<text x="{left - 6}" y="{y + 4:.1f}" text-anchor="end" style="{STYLE}">{value:,.6g}</text>')
    for power in range(math.floor(t0), math.ceil(t1) + 1):
        if t0 <= power <= t1:
            across = at(10.0**power, low).split()[0]
            parts.append(f'<path d="M{across} {base}v4" stroke="#333"/>')
            parts.append(
                f'<text x="{across}" y="{base + 16}" text-anchor="middle" style="{STYLE}">{10.0**power:g}</text>'
            )
    parts.append(f'<text x="{width - 20}" y="{base + 32}" text-anchor="end" style="{STYLE}">seconds (log scale)</text>')
    if best is not None:
        level = at(1.0, best).split()[1]
        parts.append(f'<path d="M{left} {level}H{width - 20}" stroke="#333" stroke-dasharray="4 3"/>')
    for k, (name, line) in enumerate(traces.items()):
        colour = COLOURS[k % len(COLOURS)]
        steps = [at(*line[0])]
        for (_, before), (t, after) in pairwise(line):
            steps += [at(t, before), at(t, after)]
        parts.append(f'<path d="M{"L".join(steps)}" fill="none" stroke="{colour}" stroke-width="1.8"/>')
        place = f'x="{width - 24}" y="{40 + 14 * k}" text-anchor="end"'
        parts.append(f'<text {place} style="{STYLE}" fill="{colour}">{escape(name)}</text>')
    return _svg(width, height, parts, title)


def _svg(width: float, height: float, parts: Sequence[str], label: str) -> str:
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {width:.0f} {height:.0f}" width="{width:.0f}" '
        f'height="{height:.0f}" role="img" aria-label="{escape(label)}"><rect width="100%" height="100%" fill="#fff"/>'
        f"{''.join(parts)}</svg>\n"
    )
