"""A forest plot as an SVG picture of its own: one estimate with its interval a row, beside a line for no difference."""

from collections.abc import Sequence
from dataclasses import dataclass
from xml.sax.saxutils import escape

from backcast.report.bars import STYLE
from backcast.report.words import number

WIDTH, ROW, LEFT, RIGHT, TOP, FOOT = 640, 32, 110, 205, 52, 34
MARKS = (
    ".zero{stroke:#8c959f;stroke-dasharray:4 3}.reach{stroke:#1b5e94;stroke-width:2.5}.point{fill:#1b5e94}"
    ".axis{fill:#57606a;font-size:12px;text-anchor:middle}"
)


@dataclass(frozen=True)
class Estimate:
    """One row; bounds are None where there is no interval."""

    name: str
    value: float
    low: float | None = None
    high: float | None = None
    note: str = ""


def forest(title: str, rows: Sequence[Estimate], axis: str, zero: float = 0.0) -> str:
    """The SVG text of a forest plot; ``axis`` says what is measured, ``zero`` is where the line stands.

    Raises ValueError for no rows, and for an estimate outside its interval.
    """
    if not rows:
        raise ValueError("a forest plot needs at least one row")
    if wrong := next((row for row in rows if not _low(row) <= row.value <= _high(row)), None):
        raise ValueError(f"'{wrong.name}': {wrong.value:g} lies outside its interval {wrong.low} to {wrong.high}")
    left, right = min(zero, *map(_low, rows)), max(zero, *map(_high, rows))
    pad = 0.06 * (right - left) or 0.5
    left, right = left - pad, right + pad
    bottom = TOP + ROW * len(rows)

    def place(value: float) -> float:
        return LEFT + (WIDTH - LEFT - RIGHT) * (value - left) / (right - left)

    parts = [
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {bottom + FOOT}" role="img">',
        f"<title>{escape(title)}</title><style>{STYLE}{MARKS}</style>",
        f'<rect width="{WIDTH}" height="{bottom + FOOT}" fill="#fdfcf8"/>',
        f'<text class="title" x="14" y="26">{escape(title)}</text>',
        f'<line class="zero" x1="{place(zero):.1f}" x2="{place(zero):.1f}" y1="{TOP - 10}" y2="{bottom}"/>',
        f'<text class="axis" x="{(LEFT + WIDTH - RIGHT) / 2:.0f}" y="{bottom + 22}">{escape(axis)}</text>',
    ]
    for i, row in enumerate(rows):
        y, x = TOP + ROW * i + ROW / 2, [place(value) for value in (_low(row), row.value, _high(row))]
        reach = "" if row.low is None else f" [{number(row.low)}, {number(row.high)}]"
        said = " · ".join(part for part in (number(row.value) + reach, row.note) if part)
        parts += [
            f'<text class="name" x="{LEFT - 10}" y="{y + 4:.0f}">{escape(row.name)}</text>',
            f'<line class="reach" x1="{x[0]:.1f}" x2="{x[2]:.1f}" y1="{y:.0f}" y2="{y:.0f}"/>',
            f'<circle class="point" cx="{x[1]:.1f}" cy="{y:.0f}" r="5"/>',
            f'<text class="figure" x="{WIDTH - RIGHT + 8}" y="{y + 4:.0f}">{escape(said)}</text>',
        ]
    return "".join([*parts, "</svg>"])


def _low(row: Estimate) -> float:
    return row.value if row.low is None else row.low


def _high(row: Estimate) -> float:
    return row.value if row.high is None else row.high
