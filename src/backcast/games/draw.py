"""Pictures as plain SVG text: values beside best responses, a ladder, and automata as graphs."""

import math
from collections.abc import Sequence
from html import escape

from backcast.games.memory import Automaton, minimise
from backcast.games.problems.game import joint_label

STYLE = "font-family:system-ui,sans-serif;font-size:11px"
MINE, BEST, EVEN = "#3b6ea8", "#c9d6e8", "#c0504d"


PLAY = "dark: the agent; light: the best response; red mark: uniform play"


def bars(rows: Sequence[tuple[str, float, float, float | None]], title: str, said: str = PLAY) -> str:
    """Returns horizontal bars: for each (name, value, best, baseline) the value inside the best, the baseline as a
    mark (where there is one); ``said`` explains them underneath."""
    height, left, width = 22, 170, 420
    low = min(0.0, *(value if even is None else min(value, even) for _, value, _, even in rows))
    high = max(max(value, best) for _, value, best, _ in rows) or 1.0
    scale = width / (high - low)
    parts = [f'<text x="4" y="16" style="{STYLE};font-weight:600">{escape(title)}</text>']
    for i, (name, value, best, even) in enumerate(rows):
        y = 28 + i * height
        parts += [
            f'<text x="{left - 6}" y="{y + 12}" text-anchor="end" style="{STYLE}">{escape(name[:28])}</text>',
            _rect(left, y, (best - low) * scale, BEST),
            _rect(left, y + 3, (value - low) * scale, MINE, 8),
            f'<text x="{left + (max(value, best) - low) * scale + 5:.1f}" y="{y + 12}" style="{STYLE}">'
            f"{value:.2f} of {best:.2f}</text>",
        ]
        if even is not None:
            mark = f"M{left + (even - low) * scale:.1f} {y - 1}v16"
            parts.append(f'<path d="{mark}" stroke="{EVEN}" stroke-width="2"/>')
    y = 34 + len(rows) * height
    parts.append(f'<text x="{left}" y="{y + 10}" style="{STYLE}" fill="#666">{escape(said)}</text>')
    return _svg(left + width + 110, y + 20, parts, title)


def _rect(x: float, y: float, width: float, colour: str, height: int = 14) -> str:
    return f'<rect x="{x:.1f}" y="{y}" width="{max(width, 0):.1f}" height="{height}" fill="{colour}"/>'


def automaton(machine: Automaton, limit: int = 24) -> str:
    """Returns the minimal automaton as a graph on a circle: nodes say what is played, edges after which joint actions.

    Machines with more than ``limit`` nodes are not drawn; their text says so (``to_dot`` draws any).
    """
    small, _ = minimise(machine)
    title = f"{machine.name}: {small.nodes} nodes"
    if small.nodes > limit:
        return _svg(320, 40, [f'<text x="8" y="24" style="{STYLE}">{escape(title)}, too many to draw</text>'], title)
    radius = max(70, 26 * small.nodes)
    middle = radius + 90
    spots = [
        (
            middle - radius * math.cos(2 * math.pi * m / small.nodes),
            middle - radius * math.sin(2 * math.pi * m / small.nodes),
        )
        for m in range(small.nodes)
    ]
    tip = '<path d="M0 0L7 3L0 6z"/>'
    head = (
        f'<defs><marker id="tip" markerWidth="8" markerHeight="8" refX="7" refY="3" orient="auto">{tip}</marker></defs>'
    )
    parts = [head, f'<text x="6" y="16" style="{STYLE};font-weight:600">{escape(title)}</text>']
    for m in range(small.nodes):
        parts += _edges(small, m, spots, (middle, middle))
    for m, (x, y) in enumerate(spots):
        ring = 3 if m == small.start else 1.2
        parts += [
            f'<circle cx="{x:.1f}" cy="{y:.1f}" r="20" fill="#fff" stroke="#333" stroke-width="{ring}"/>',
            f'<text x="{x:.1f}" y="{y + 4:.1f}" text-anchor="middle" style="{STYLE}">{escape(_play(small, m))}</text>',
        ]
    return _svg(2 * middle, 2 * middle, parts, title)


def _play(machine: Automaton, node: int) -> str:
    own = machine.actions[machine.player]
    row = machine.chances[0, node]
    best = int(row.argmax())
    return own[best] if row[best] == 1 else f"{own[best]} {row[best]:.2g}"


def _edges(
    machine: Automaton, node: int, spots: Sequence[tuple[float, float]], middle: tuple[float, float]
) -> list[str]:
    leads: dict[int, list[str]] = {}
    for joint, target in enumerate(machine.next[0, node].tolist()):
        if machine.chances[0, node, _own(machine, joint)] > 0:
            leads.setdefault(int(target), []).append(joint_label(machine.actions, joint))
    out = []
    x, y = spots[node]
    for target, words in leads.items():
        label = escape(", ".join(words[:3]) + ("..." if len(words) > 3 else ""))
        if target == node:
            away = (x - middle[0], y - middle[1])
            norm = math.hypot(*away) or 1.0
            u, v = away[0] / norm, away[1] / norm
            a, b = (x + 16 * u - 12 * v, y + 16 * v + 12 * u), (x + 16 * u + 12 * v, y + 16 * v - 12 * u)
            c = (x + 56 * u, y + 56 * v)
            out.append(_curve(a, (c[0] - 14 * v, c[1] + 14 * u), b))
            out.append(_word(x + 62 * u, y + 62 * v, label))
            continue
        tx, ty = spots[target]
        dx, dy = tx - x, ty - y
        norm = math.hypot(dx, dy)
        u, v = dx / norm, dy / norm
        bend = (x + dx / 2 - 22 * v, y + dy / 2 + 22 * u)
        out.append(_curve((x + 20 * u, y + 20 * v), bend, (tx - 22 * u, ty - 22 * v)))
        out.append(_word(bend[0], bend[1], label))
    return out


def _own(machine: Automaton, joint: int) -> int:
    size = 1
    for names in machine.actions[machine.player + 1 :]:
        size *= len(names)
    return joint // size % len(machine.actions[machine.player])


def _curve(a: tuple[float, float], bend: tuple[float, float], b: tuple[float, float]) -> str:
    path = f"M{a[0]:.1f} {a[1]:.1f}Q{bend[0]:.1f} {bend[1]:.1f} {b[0]:.1f} {b[1]:.1f}"
    return f'<path d="{path}" fill="none" stroke="#555" marker-end="url(#tip)"/>'


def _word(x: float, y: float, label: str) -> str:
    return f'<text x="{x:.1f}" y="{y:.1f}" text-anchor="middle" style="{STYLE}" fill="#245">{label}</text>'


def _svg(width: float, height: float, parts: Sequence[str], title: str) -> str:
    size = f'width="{width:.0f}" height="{height:.0f}" viewBox="0 0 {width:.0f} {height:.0f}"'
    head = f'<svg xmlns="http://www.w3.org/2000/svg" {size} role="img" aria-label="{escape(title)}">'
    return f"{head}{''.join(parts)}</svg>\n"
