"""Bars as an SVG picture of their own: counts by name, the part that counts filled, a figure behind each."""

from collections.abc import Sequence
from dataclasses import dataclass
from xml.sax.saxutils import escape

from backcast.report.words import number

WIDTH, ROW, LEFT, RIGHT, TOP = 640, 30, 150, 150, 44
STYLE = (
    "text{font:13px system-ui,sans-serif;fill:#1f2328}.name{text-anchor:end}.figure{fill:#57606a}"
    ".title{font-weight:600;font-size:15px}.whole{fill:#c9d4df}.part{fill:#1b5e94}"
)
"""Its own colours on its own ground: a picture inside a page does not see the page's theme."""


@dataclass(frozen=True)
class Bar:
    """One row: ``part`` of ``whole`` is filled, ``note`` stands behind it."""

    name: str
    whole: float
    part: float = 0.0
    note: str = ""


def bars(title: str, rows: Sequence[Bar]) -> str:
    """The SVG text of a bar chart. Raises ValueError for no rows, and for a part above its whole."""
    if not rows:
        raise ValueError("a bar chart needs at least one row")
    if wrong := next((row for row in rows if not 0 <= row.part <= row.whole), None):
        raise ValueError(f"'{wrong.name}': part {wrong.part:g} must lie in 0..{wrong.whole:g}")
    most = max(row.whole for row in rows) or 1.0
    height = TOP + ROW * len(rows) + 12
    scale = (WIDTH - LEFT - RIGHT) / most
    parts = [
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {height}" role="img">',
        f"<title>{escape(title)}</title><style>{STYLE}</style>",
        f'<rect width="{WIDTH}" height="{height}" fill="#fdfcf8"/>',
        f'<text class="title" x="14" y="26">{escape(title)}</text>',
    ]
    for i, row in enumerate(rows):
        parts += _bar(row, TOP + ROW * i, scale)
    return "".join([*parts, "</svg>"])


def _bar(row: Bar, y: float, scale: float) -> list[str]:
    width, middle = row.whole * scale, y + ROW / 2 + 1
    said = " · ".join(part for part in (number(row.whole), row.note) if part)
    return [
        f'<text class="name" x="{LEFT - 10}" y="{middle + 3:.0f}">{escape(row.name)}</text>',
        f'<rect class="whole" x="{LEFT}" y="{y + 5:.0f}" width="{width:.1f}" height="{ROW - 10}"/>',
        f'<rect class="part" x="{LEFT}" y="{y + 5:.0f}" width="{row.part * scale:.1f}" height="{ROW - 10}"/>',
        f'<text class="figure" x="{LEFT + width + 8:.1f}" y="{middle + 3:.0f}">{escape(said)}</text>',
    ]
